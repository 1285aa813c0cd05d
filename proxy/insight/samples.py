"""Answers of origins by digests alone: who asked for what, part by part, and whether the same came. From the running
gateway's last ones, or from a log."""

from collections import deque
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import Any, Self
from urllib.parse import unquote_plus

import orjson

from proxy.entry import Entry, KeyParts, Pairs
from proxy.fixed import fixed
from proxy.rules import Rule

LARGEST = 256 * 1024  # bytes of a body that is digested; larger ones are left out
PACE = 4 << 20  # bytes that are digested in a second, some 5 ms of CPU; of more, some places are left out
_EACH = 1 << 10  # bytes that one answer counts for beside its own
PARTS = 48  # of one request; the rest is one part together
_HASHES = (1 << 32) - 1
_DEEP = 2  # levels of a JSON document whose members are parts


@fixed
class Sample:
    """`at` is wall-clock seconds when it was fetched; `rule` "" where none fits; `place` the method, host and path;
    `parts` (name, digest) of what else is in the key, sorted: `query.page`, `header.accept`, `json.user`."""

    at: float
    rule: str
    place: str
    parts: Pairs
    digest: str

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> Self:
        """Back from what `as_json` made; KeyError, TypeError or ValueError when it is none."""
        parts = tuple((str(name), str(digest)) for name, digest in told["parts"])
        return cls(float(told["at"]), str(told["rule"]), str(told["place"]), parts, str(told["digest"]))

    def as_json(self) -> dict[str, Any]:
        return {"at": self.at, "rule": self.rule, "place": self.place, "parts": self.parts, "digest": self.digest}


@fixed
class _Kept:
    """As it is held: what a request was asked for is taken apart only when somebody wants to know."""

    at: float
    rule: str
    parts: KeyParts
    vary: Pairs
    content: Pairs
    digest: bytes


class _Share:
    """Which answers are digested where all of them would cost too much: by the hash of their place, so that those which
    can be compared are there together."""

    def __init__(self) -> None:
        self._began = 0.0  # of this second
        self._offered = 0  # bytes in it
        self._left = PACE
        self._below = 1.0

    def takes(self, parts: KeyParts, size: int, now: float) -> bool:
        """`now` is the wall clock, in seconds."""
        if not 0 <= now - self._began < 1:
            self._below = PACE / max(PACE, self._offered)
            self._began, self._offered, self._left = now, 0, PACE
        size += _EACH
        self._offered += size
        if size > self._left or hash((parts.host, parts.path)) & _HASHES >= self._below * _HASHES:
            return False
        self._left -= size
        return True


class Samples:
    """The last `bound` answers that were stored, of this process, but for what PACE leaves out. Values are digested
    with the instance's `key`: nobody outside can try which value it was."""

    def __init__(self, bound: int, key: bytes) -> None:
        self._key = key
        self._kept: deque[_Kept] = deque(maxlen=bound)
        self._on = bound > 0
        self._share = _Share()

    def add(self, rule: Rule, entry: Entry, content: bytes | None) -> None:
        """One more, which was fetched or confirmed; `content` is that of the request, where it is in the key."""
        data = entry.body.data
        if not self._on or data is None or len(data) > LARGEST:
            return
        if not self._share.takes(entry.parts, len(data), entry.received_at):
            return
        keyed = rule.key.body.kind == "json"
        members = tuple(json_parts(content, rule.key.body.ignore, self._key)) if content and keyed else ()
        digest = blake2b(data, digest_size=8, key=self._key, person=b"%d" % entry.status).digest()
        self._kept.append(_Kept(entry.received_at, entry.rule, entry.parts, entry.vary, members, digest))

    def taken(self) -> list[Sample]:
        """All of them, the oldest first."""
        return [
            Sample(
                each.at,
                each.rule,
                place_of(each.parts),
                tuple(sorted(parts_of(each.parts, each.vary, each.content, self._key))),
                each.digest.hex(),
            )
            for each in self._kept
        ]


def json_parts(content: bytes, ignored: tuple[str, ...] = (), key: bytes = b"") -> Iterator[tuple[str, str]]:
    """(`json.<dotted path>`, digest) of the members of a JSON document, two levels deep; nothing for other content."""
    try:
        document = orjson.loads(content)
        members = list(_members(document, _DEEP)) if isinstance(document, dict) else []
        told = [(path, orjson.dumps(value, option=orjson.OPT_SORT_KEYS)) for path, value in members]
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):  # the second where it is too deep to be written again
        return
    yield from ((f"json.{path}", short(value, key)) for path, value in told if path not in ignored)


def _members(document: dict[str, Any], deep: int) -> Iterator[tuple[str, Any]]:
    for name, value in document.items():
        if isinstance(value, dict) and value and deep > 1:
            yield from ((f"{name}.{path}", inner) for path, inner in _members(value, deep - 1))
        else:
            yield name, value


def short(data: bytes, key: bytes = b"") -> str:
    """12 hex digits that stand for a value."""
    return blake2b(data, digest_size=6, key=key).hexdigest()


def place_of(parts: KeyParts) -> str:
    """Method, host and path."""
    return f"{parts.method} {parts.host}{parts.path}"


def parts_of(parts: KeyParts, vary: Pairs, content: Pairs, key: bytes = b"") -> Iterator[tuple[str, str]]:
    """What else is in a key: names with digests of their values. `vary` as in `Entry`, `content` by `json_parts`."""
    values: dict[str, list[str]] = {}
    for name, value in _named(parts, vary):
        values.setdefault(name if len(values) < PARTS or name in values else "query.*", []).append(value)
    yield from ((name, short("\0".join(each).encode("utf-8", "replace"), key)) for name, each in values.items())
    if content:
        yield from content
    elif parts.body:
        yield "body", short(parts.body.encode(), key)


def _named(parts: KeyParts, vary: Pairs) -> Iterable[tuple[str, str]]:
    for pair in (parts.query or "").split("&"):
        if pair:
            name, _, value = pair.partition("=")
            yield f"query.{unquote_plus(name)}", value
    for name, value in parts.selected:
        yield (name.replace(":", ".", 1) if ":" in name else f"header.{name}"), value
    for name, value in vary:
        yield f"vary.{name}", value
