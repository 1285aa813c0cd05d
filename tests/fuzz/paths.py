"""Targets of requests and the globs that are held against them. Lines: glob, ignored parameter, base path, prefix; then
the target."""

import re
from urllib.parse import unquote_to_bytes

from proxy.invalidation.records import PathPattern
from proxy.policy.forwarding import leaves_base, upstream_target
from proxy.policy.globs import compile_glob
from proxy.policy.paths import climbs, normal_path, normal_query, normal_target, path_glob, readings
from tests.fuzz.target import Feed, Target

SEEDS = (
    b"?ab*ba\n\n\n\nxaba",
    b"\n\n\n\n/a%2fb",
    b"\n\n\n\n/a%5cb",
    b"*/users/*\nutm_*\n/v1\n/api\n/api/users/7?utm_source=x&b=2&a=1&a=0",
    b"/a?c*\n*\n\n\n/%7Esmith/home.html?%61=%7e&&x",  # RFC 3986 6.2.2
    b"//host.example/a*b?\n\n/base\n\n/a/b/c/./../../g",  # 5.2.4
    b"*%2F*\na b\n\n\n/a%2fb/%2e%2E/%252e%252e%5c..;x=1/%c0%ae",
    b"*" + b"a?" * 100 + b"b*\n\n\n\n" + b"a" * 300 + b"b",
    b"a*a*a*a*?b\n\n\n\naaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac",
    b"/\xc3\xa4*\n\n\n\n/%C3%A4/\xe4?%zz%41&=&+",
)
TOKENS = (
    b"/..",
    b"/.",
    b"%2F",
    b"%2e",
    b"%25",
    b"%5c",
    b"%c0%ae",
    b"*",
    b"?",
    b"&",
    b"=",
    b"//",
    b";",
    b"%",
    b"\n",
    b"\xe4",
)
_ESCAPE = re.compile("%[0-9A-Fa-f]{2}")
_SHORT = 200  # characters up to which a glob is tried in the slow and certain way


def check(data: bytes) -> None:
    feed = Feed(data)
    glob, ignore, base, prefix = feed.text(), feed.text(), feed.text(), feed.text()
    target = feed.rest().decode("latin-1")
    _path(target.partition("?")[0])
    _query(target.partition("?")[2], ignore)
    _target(target, ignore)
    _upstream(base, prefix, target)
    _glob(glob, target)


def _path(path: str) -> None:
    normal = normal_path(path)
    if normal is None:
        assert len(readings(path)) == 2
        climbs(path)
        return
    assert normal_path(normal) == normal
    assert readings(path) == (normal,)
    assert not any(doubtful in normal for doubtful in ("//", ";", "%00", "%5C", "/../", "%2F..%2F"))
    assert normal_path(_ESCAPE.sub(lambda escape: escape[0].lower(), path)) == normal
    assert unquote_to_bytes(normal) == unquote_to_bytes(path.encode("latin-1"))
    assert normal.isascii()
    assert not climbs(path)
    assert not climbs(normal)
    assert path_glob(normal.replace("*", "?")).match(normal)


def _query(query: str, ignore: str) -> None:
    for sort in (True, False):
        for ignored in ((), (ignore,)):
            normal = normal_query(query, sort, ignored)
            if normal is not None:
                assert normal_query(normal, sort, ignored) == normal
                assert normal.isascii()
    plain = normal_query(query, False)
    pieces = [piece for piece in query.split("&") if piece]
    assert (plain or "").split("&") == [normal_query(piece, False) for piece in pieces] or not pieces
    assert normal_query(query, True, only=("\0",)) is None or "\0" in query or "%00" in query


def _target(target: str, ignore: str) -> None:
    found = normal_target(target, True, (ignore,))
    if found is not None:
        path, query = found
        assert normal_target(path if query is None else f"{path}?{query}", True, (ignore,)) == found


def _upstream(base: str, prefix: str, target: str) -> None:
    sent = upstream_target(base, prefix, target)
    assert sent.startswith(base.rstrip("/")) or not target.startswith("/")
    if normal_path(target.partition("?")[0]) is not None and not prefix:
        assert not leaves_base(base, prefix, target)


def _glob(pattern: str, text: str) -> None:
    found = compile_glob(pattern).match(text)
    if len(pattern) + len(text) <= _SHORT:
        assert found == _matches(pattern, text)
    assert compile_glob(f"*{pattern}*").match(f"x{text}y") or not found
    PathPattern.parse(pattern).match("host.example", text)


def _matches(pattern: str, text: str) -> bool:
    """One row of the table for each character of the pattern."""
    row = [True, *(False for _ in text)]
    for char in pattern:
        before, row = row, [char == "*" and row[0]]
        for at, own in enumerate(text):
            row.append(before[at + 1] or row[at] if char == "*" else before[at] and char in ("?", own))
    return row[-1]


TARGET = Target(check, SEEDS, TOKENS)
