"""What an answer says that it cost: a number in its JSON, such as the tokens that a model took for it. A stream of
events (WHATWG HTML, server-sent events) says it in one of its last."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite

import orjson

from proxy.message import Fields

MAX_BODY = 1 << 20  # bytes of JSON that are looked through, packed and unpacked
LAST_LINES = 16  # of a stream of events; what it cost is told at its end
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS


@dataclass(frozen=True, slots=True)
class Price:
    """`each` of the units that stand at `path`: names of members, or indices of elements."""

    path: tuple[str, ...]
    each: float

    def of(self, fields: Fields, content: bytes | None) -> float | None:
        """The money; None where the answer is neither JSON nor events, too large, packed by what we do not read, or
        does not say. `content` is None where it is not at hand."""
        media = (fields.get("content-type") or "").lower()
        if content is None or not ("json" in media or media.startswith(_EVENTS)):
            return None
        plain = _unpacked(content, (fields.get("content-encoding") or "identity").strip().lower())
        if plain is None:
            return None
        told = _last_data(plain) if media.startswith(_EVENTS) else (plain,)
        return next((money for each in told if (money := self._in(each)) is not None), None)

    def _in(self, document: bytes) -> float | None:
        try:
            units = _at(orjson.loads(document), self.path)
        except (ValueError, LookupError):
            return None
        if isinstance(units, bool) or not isinstance(units, int | float) or not (isfinite(units) and units >= 0):
            return None
        return units * self.each


_EVENTS = "text/event-stream"


def _last_data(stream: bytes) -> Iterator[bytes]:
    """What the last lines of data hold, the very last first. Data over several lines is no document in any of them."""
    for line in reversed(stream.rsplit(b"\n", LAST_LINES)[-LAST_LINES:]):
        if line.startswith(b"data:"):
            yield line[5:]


def _unpacked(content: bytes, coding: str) -> bytes | None:
    if len(content) > MAX_BODY:
        return None
    if coding == "identity":
        return content
    if coding not in ("gzip", "x-gzip", "deflate"):
        return None
    reader = zlib.decompressobj(_GZIP_OR_ZLIB)
    try:
        plain = reader.decompress(content, MAX_BODY)
    except zlib.error:
        return None
    return plain if reader.eof else None


def _at(value: object, path: tuple[str, ...]) -> object:
    """LookupError or ValueError where nothing stands there."""
    for step in path:
        match value:
            case dict():
                value = value[step]
            case list():
                value = value[int(step)]
            case _:
                raise LookupError(step)
    return value
