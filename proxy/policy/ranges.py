"""Which parts of a whole 200 a client wants (RFC 9110 14), and how several of them make one content (14.6)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from proxy.message import Fields, Request
from proxy.policy.fields import EntityTag, entity_tags, etag, members, parse_date, same_strongly, strong_last_modified

# What 14.2 and 17.15 let us ignore or coalesce, so that a small request cannot make much work.
MOST = 200  # ranges in one request; more are ignored
FEW = 10  # so many are answered in any order; more have to ascend, and gaps that do not pay are closed
OVERHEAD = 80  # bytes that a part costs beside its data (15.3.7.2)


@dataclass(frozen=True, slots=True)
class Whole:
    """No range, or none that counts."""


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes [start, end) of the representation."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Several:
    """More than one part, in the order in which they were asked for; none overlaps or touches another."""

    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Unsatisfiable:
    """A valid range that lies outside (416)."""


Wanted = Whole | Part | Several | Unsatisfiable

_SPEC = re.compile(r"([0-9]*)-([0-9]*)")


def client_range(request: Request, size: int, fields: Fields) -> Wanted:
    """What of a 200 answer of `size` bytes the request wants; the client's other conditions are evaluated before
    (14.2). An invalid range, a unit other than bytes and a failed If-Range mean the whole."""
    value = request.fields.get("range")
    if value is None or request.method != "GET" or not _if_range(request, fields):
        return Whole()
    unit, equals, spec = value.partition("=")
    specs = members(spec)
    if not equals or unit.strip(" \t").lower() != "bytes" or not 0 < len(specs) <= MOST:
        return Whole()
    cuts = [_cut(each, size) for each in specs]
    if any(isinstance(cut, Whole) for cut in cuts):
        return Whole()  # one invalid range makes all of them invalid (14.1.1)
    parts = [cut for cut in cuts if isinstance(cut, Part)]
    return _coalesced(parts) if parts else Unsatisfiable()


def _cut(spec: str, size: int) -> Whole | Part | Unsatisfiable:
    match = _SPEC.fullmatch(spec)
    if match is None:
        return Whole()
    first, last = match[1], match[2]
    if not first:
        return _suffix(last, size)
    start = _number(first)
    end = size if not last else _number(last) + 1
    if end <= start and last:
        return Whole()  # invalid, not unsatisfiable (14.1.1)
    return Part(start, min(end, size)) if start < size else Unsatisfiable()


def _suffix(length: str, size: int) -> Whole | Part | Unsatisfiable:
    if not length:
        return Whole()
    if _number(length) == 0:
        return Unsatisfiable()
    return Part(max(0, size - _number(length)), size) if size else Whole()


def _number(digits: str) -> int:
    """Saturating: nothing bounds how many digits are sent (14.1.2)."""
    digits = digits.lstrip("0") or "0"
    return 10**18 if len(digits) > 18 else int(digits)


def _coalesced(asked: list[Part]) -> Wanted:
    """Parts that overlap or touch made one, which stands where the first of them stood (15.3.7.2)."""
    rising = sorted(asked, key=lambda part: part.start)
    gap = 0
    if len(asked) > FEW:
        if asked != rising:
            return Whole()
        gap = OVERHEAD
    merged: list[Part] = []
    for part in rising:
        if merged and part.start <= merged[-1].end + gap:
            merged[-1] = Part(merged[-1].start, max(merged[-1].end, part.end))
        else:
            merged.append(part)
    if len(merged) == 1:
        return merged[0]  # a multipart of one part would be allowed, and understood by fewer
    if len(asked) <= FEW:
        merged.sort(key=lambda whole: min(at for at, part in enumerate(asked) if whole.start <= part.start < whole.end))
    return Several(tuple(merged))


# -- If-Range ----------------------------------------------------------------------------------------------------------


def _if_range(request: Request, fields: Fields) -> bool:
    """Exact match with a strong validator of the answer (13.1.5)."""
    value = request.fields.get("if-range")
    if value is None:
        return True
    if '"' in value[:3]:
        return _same_tag(entity_tags(value), etag(fields))
    asked = parse_date(value, request.received_at)
    return asked is not None and asked == strong_last_modified(fields, request.received_at)


def _same_tag(asked: tuple[EntityTag, ...], own: EntityTag | None) -> bool:
    return own is not None and len(asked) == 1 and same_strongly(asked[0], own)


# -- several parts in one content --------------------------------------------------------------------------------------

Pieces = tuple[bytes | Part, ...]  # bytes of our own, and parts of the representation


def multipart(parts: tuple[Part, ...], size: int, media: str | None, boundary: str) -> Pieces:
    """The content of a multipart/byteranges with the parts of a representation of `size` bytes. `media` is its
    Content-Type; `boundary` must be nothing that its content can hold."""
    return tuple(_pieces(parts, size, media, boundary))


def _pieces(parts: tuple[Part, ...], size: int, media: str | None, boundary: str) -> Iterator[bytes | Part]:
    typed = "" if media is None else f"Content-Type: {media}\r\n"
    opening = ""
    for part in parts:
        head = f"{opening}--{boundary}\r\n{typed}Content-Range: {content_range(part, size)}\r\n\r\n"
        yield head.encode("latin-1")
        yield part
        opening = "\r\n"
    yield f"\r\n--{boundary}--\r\n".encode("latin-1")


def content_range(part: Part, size: int) -> str:
    """14.4; the last position is inclusive."""
    return f"bytes {part.start}-{part.end - 1}/{size}"


def length(pieces: Pieces) -> int:
    """Bytes of content."""
    return sum(len(piece) if isinstance(piece, bytes) else piece.end - piece.start for piece in pieces)
