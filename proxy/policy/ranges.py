"""Which part of a whole 200 a client wants (RFC 9110 14). One range so far: several are answered with the whole."""

import re
from dataclasses import dataclass

from proxy.message import Fields, Request
from proxy.policy.fields import EntityTag, entity_tags, etag, members, parse_date, same_strongly, strong_last_modified


@dataclass(frozen=True, slots=True)
class Whole:
    """No range, or none that counts."""


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes [start, end) of the representation."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Unsatisfiable:
    """A valid range that lies outside (416)."""


Wanted = Whole | Part | Unsatisfiable

_SPEC = re.compile(r"([0-9]*)-([0-9]*)")


def client_range(request: Request, size: int, fields: Fields) -> Wanted:
    """What of a 200 answer of `size` bytes the request wants; the client's other conditions are evaluated before
    (14.2). An invalid range, a unit other than bytes and a failed If-Range mean the whole."""
    value = request.fields.get("range")
    if value is None or request.method != "GET" or not _if_range(request, fields):
        return Whole()
    unit, equals, spec = value.partition("=")
    specs = members(spec)
    if not equals or unit.strip(" \t").lower() != "bytes" or len(specs) != 1:
        return Whole()
    match = _SPEC.fullmatch(specs[0])
    return Whole() if match is None else _cut(match[1], match[2], size)


def _cut(first: str, last: str, size: int) -> Wanted:
    if not first:
        return _suffix(last, size)
    start = _number(first)
    end = size if not last else _number(last) + 1
    if end <= start and last:
        return Whole()  # invalid, not unsatisfiable (14.1.1)
    return Part(start, min(end, size)) if start < size else Unsatisfiable()


def _suffix(length: str, size: int) -> Wanted:
    if not length:
        return Whole()
    if _number(length) == 0:
        return Unsatisfiable()
    return Part(max(0, size - _number(length)), size) if size else Whole()


def _number(digits: str) -> int:
    """Saturating: nothing bounds how many digits are sent (14.1.2)."""
    digits = digits.lstrip("0") or "0"
    return 10**18 if len(digits) > 18 else int(digits)


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
