"""One normal form for paths and queries, so that what is matched, keyed and sent upstream are the same bytes.

Text is latin-1: one character a byte of the wire. Only such differences are taken away as no server may see
(RFC 3986 6.2.2.1, 6.2.2.2: hex case, needlessly encoded unreserved characters, bytes that had to be encoded).
A path that servers read in more than one way has no normal form: it is refused where a rule would share its answer,
never "cleaned". An encoded slash is a different path from a plain one and stays as it is.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from urllib.parse import unquote_plus, unquote_to_bytes

from proxy.policy.globs import Glob, compile_glob

# Characters of a URI's path and query (RFC 3986 3.3, 3.4); every other byte is only valid percent-encoded.
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_NOT_VALID = r"[^A-Za-z0-9\-._~!$&'()*+,;=:@/?%]"
_REWRITE = re.compile(r"%[0-9A-Fa-f]{2}|" + _NOT_VALID)
_ENCODE = re.compile(_NOT_VALID)
_STRAY = re.compile(r"%(?![0-9A-Fa-f]{2})")
# Already in normal form, and read in one way: no escapes, no ";", no segment that is empty or begins with a dot.
_PLAIN = r"A-Za-z0-9\-_~!$&'()*+,=:@"
_PLAIN_PATH = re.compile(rf"(?:/[{_PLAIN}][{_PLAIN}.]*)+/?").fullmatch
_PLAIN_QUERY = re.compile(rf"[{_PLAIN}./?;]*").fullmatch
_BROKEN = re.compile("[\\x00-\\x20\\x7f#\u0100-\U0010ffff]")  # no part of any request target (RFC 9112 3.2)

# What one server takes for a separator, a parameter or a parent directory, and the next one for a name.
_AMBIGUOUS = re.compile(
    r"//|;|%00|%5C"
    r"|(?:/|%2F)\.\.?(?=/|%2F|\Z)"  # dot segments, between encoded slashes too
    r"|%25(?i:00|2E|2F|5C)"  # the same, encoded twice
    r"|%C[01]%[89AB]|%E0%[89]|%F0%8"  # overlong UTF-8, which some decoders read as ASCII (RFC 3629 3)
)


def normal_path(path: str) -> str | None:
    """The path's one normal form, idempotent; None when it has none."""
    if _PLAIN_PATH(path):
        return path
    if _BROKEN.search(path):
        return None
    text = _percent_normal(path)
    if text is None or not text.startswith("/") or _AMBIGUOUS.search(text):
        return None
    return text


def normal_query(query: str, sort: bool, ignore: Sequence[str] = (), only: Sequence[str] = ()) -> str | None:
    """The query's normal form, "" never: None when nothing is left of it.

    Parameters are what stands between "&" (a ";" is a byte like any other); empty ones say nothing and go. Sorting
    is by name and stable, so repeated names keep their order; "a" and "a=" differ, "+" stays as it came. A parameter
    with a stray "%" is left as it came. `ignore` and `only` are globs on the decoded name.
    """
    kept = []
    plain = _PLAIN_QUERY(query) is not None
    for piece in query.split("&"):
        if not piece:
            continue
        text = piece if plain else _percent_normal(piece) or _ENCODE.sub(_rewrite, piece)
        name = text.partition("=")[0]
        if (ignore or only) and not _wanted(name, ignore, only):
            continue
        kept.append((name, text))
    if sort:
        kept.sort(key=lambda pair: pair[0])
    return "&".join(text for _, text in kept) or None


def normal_target(
    target: str, sort: bool, ignore: Sequence[str] = (), only: Sequence[str] = ()
) -> tuple[str, str | None] | None:
    """(path, query) in normal form, None when the target has none. A bare "?" is no query."""
    path, _, query = target.partition("?")
    normal = normal_path(path)
    if normal is None or _BROKEN.search(query):
        return None
    return normal, normal_query(query, sort, ignore, only) if query else None


def readings(path: str) -> tuple[str, ...]:
    """The paths that rules are matched against: the normal form, or, where there is none, the path as it came and
    the one that the most lenient server would make of it, so that no spelling slips past a rule."""
    normal = normal_path(path)
    return (normal,) if normal is not None else (path, _lenient(path))


# What servers take for the end of a segment: "/" alone, with its encoding, with "\\", or all of these, encoded twice
# and in overlong UTF-8 too.
_SLASH, _BACKSLASH = r"/|%2F", r"\\|%5C"
_LONG_SLASH = r"%252F|%C0%AF|%E0%80%AF|%F0%80%80%AF|%255C|%C1%9C|%E0%81%9C|%F0%80%81%9C"
_ENDS = tuple(
    re.compile(ends, re.IGNORECASE)
    for ends in ("/", _SLASH, r"/|\\", rf"{_SLASH}|{_BACKSLASH}", rf"{_SLASH}|{_BACKSLASH}|{_LONG_SLASH}")
)
_LONG_DOT = re.compile(b"\xc0\xae|\xe0\x80\xae|\xf0\x80\x80\xae")


def climbs(path: str) -> bool:
    """Whether in some reading a dot segment leads above the root of the path. Empty segments lead nowhere, since many
    servers drop them."""
    if ".." not in path and "%" not in path:
        return False
    return any(_climbs(ends.split(path)) for ends in _ENDS)


def _climbs(segments: Sequence[str]) -> bool:
    depth = 0
    for segment in segments:
        name = _decoded(segment).partition(b";")[0].partition(b"\0")[0]
        if name == b"..":
            depth -= 1
        elif name not in (b"", b"."):
            depth += 1
        if depth < 0:
            return True
    return False


def _decoded(segment: str) -> bytes:
    """Percent-encoding taken off twice, dots out of overlong UTF-8."""
    if "%" not in segment:
        return segment.encode("latin-1", "replace")
    return _LONG_DOT.sub(b".", unquote_to_bytes(unquote_to_bytes(segment.encode("latin-1", "replace"))))


@lru_cache(maxsize=4096)
def path_glob(pattern: str) -> Glob:
    """A glob for normal paths: what the pattern writes in plain letters fits its percent-encoded bytes."""
    return compile_glob(_percent_normal(pattern.encode().decode("latin-1")) or pattern)


def _percent_normal(text: str) -> str | None:
    return None if "%" in text and _STRAY.search(text) else _REWRITE.sub(_rewrite, text)


def _rewrite(match: re.Match[str]) -> str:
    piece = match[0]
    if piece[0] != "%":
        return f"%{ord(piece):02X}"
    char = chr(int(piece[1:], 16))
    return char if char in _UNRESERVED else piece.upper()


def _wanted(name: str, ignore: Sequence[str], only: Sequence[str]) -> bool:
    decoded = unquote_plus(name, errors="replace")
    if only and not any(compile_glob(glob).match(decoded) for glob in only):
        return False
    return not any(compile_glob(glob).match(decoded) for glob in ignore)


def _lenient(path: str) -> str:
    """Decoded twice, "\\" as "/", path parameters off, dot segments and empty ones resolved; in normal form."""
    once = unquote_to_bytes(path.encode("latin-1", "replace"))
    text = unquote_to_bytes(once).decode("latin-1").replace("\\", "/")
    out: list[str] = []
    names = [segment.partition(";")[0] for segment in text.split("/")]
    for name in names:
        if name == "..":
            del out[-1:]
        elif name not in ("", "."):
            out.append(name)
    open_end = bool(out) and names[-1] in ("", ".", "..")
    flat = "/" + "/".join(out) + ("/" if open_end else "")
    return _percent_normal(flat) or flat
