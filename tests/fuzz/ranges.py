"""Ranges and conditions (RFC 9110 13, 14). Lines: a byte that chooses the size and Range, If-Range, Content-Range,
If-None-Match, If-Modified-Since, ETag, Last-Modified."""

from itertools import pairwise

from proxy.message import Fields, Framing, Head, Request
from proxy.policy.conditional import client_condition
from proxy.policy.fields import etag
from proxy.policy.parts import Extents, described, missing, strong_validator
from proxy.policy.ranges import MOST, Part, Several, client_range, content_range, length, multipart
from tests.fuzz.fields import NOW
from tests.fuzz.target import Feed, Target

SIZES = (10_000, 0, 1, 2, 500, 2**31, 2**53, 10**17)
_DATE = b"Tue, 15 Nov 1994 12:45:26 GMT"
SEEDS = (
    b'\x00bytes=500-600,601-999\n"a"\nbytes 42-1233/1234\n"a", W/"b"\n\n"a"\n' + _DATE,  # 14.1.2, 14.4
    b"\x00bytes=500-700,601-999, -1\n\nbytes 0-499/1234\n*\n" + _DATE,
    b"\x04bytes= 0-0, -1\n" + _DATE + b"\nbytes */47022\n\n" + _DATE + b"\n\n" + _DATE,
    b"\x00bytes=0-,0-9,20-29,9999-\n\nbytes 21010-47021/47022",
    b"\x07bytes=999999999999999999-,-999999999999999999999\n",
    b"\x02exampleunit=1.2-4.3, 11.2-14.3",
)
TOKENS = (b"bytes=", b"bytes ", b"0-", b"-1", b"0-0,", b"1-", b"9999", b"/", b"*", b'"a"', b'W/"', b"\n", _DATE)


def check(data: bytes) -> None:
    feed = Feed(data)
    size = SIZES[feed.number() % len(SIZES)]
    asked, if_range, held = feed.text(), feed.text(), feed.text()
    match, since, tag, modified = feed.text(), feed.text(), feed.text(), feed.text()
    answer = Fields.of(("ETag", tag), ("Last-Modified", modified), ("Date", "Tue, 15 Nov 1994 13:45:26 GMT"))
    _range(Fields.of(("Range", asked)), size, answer)
    _range(Fields.of(("Range", asked), ("If-Range", if_range)), size, answer)
    _content_range(held)
    _condition(match, since, answer)


def _request(fields: Fields) -> Request:
    return Request("GET", "http", "a", "/", fields, received_at=NOW)


def _range(asked: Fields, size: int, answer: Fields) -> None:
    wanted = client_range(_request(asked), size, answer)
    parts = wanted.parts if isinstance(wanted, Several) else (wanted,) if isinstance(wanted, Part) else ()
    assert len(parts) <= MOST
    assert all(0 <= part.start < part.end <= size for part in parts)
    rising = sorted(parts, key=lambda part: part.start)
    assert all(a.end < b.start for a, b in pairwise(rising))
    pieces = multipart(parts, size, "text/plain", "b")
    told = [piece for piece in pieces if isinstance(piece, Part)]
    assert told == list(parts)
    assert length(pieces) >= sum(part.end - part.start for part in parts)
    held = Extents()
    for part in parts:
        assert _piece(content_range(part, size)) == (part, size)
        held = held.plus(part)
        assert held.covers(part)
        assert held.gaps(part) == ()
    assert held.parts == tuple(rising)
    gaps = held.gaps(Part(0, size))
    assert sum(gap.end - gap.start for gap in gaps) + held.size == size
    if gaps:
        hull = missing(held, (Part(0, size),))
        assert hull is None or (hull.start, hull.end) == (gaps[0].start, gaps[-1].end)


def _piece(said: str) -> tuple[Part, int] | None:
    head = Head(206, "", Fields.of(("Content-Range", said)), Framing.CHUNKED)
    piece = described(head)
    return None if piece is None else (piece.part, piece.total)


def _content_range(said: str) -> None:
    piece = _piece(said)
    if piece is not None:
        part, total = piece
        assert 0 <= part.start < part.end <= total
        assert _piece(content_range(part, total)) == piece


def _condition(match: str, since: str, answer: Fields) -> None:
    request = _request(Fields.of(("If-None-Match", match), ("If-Modified-Since", since)))
    assert client_condition(request, 200, answer) in (None, 304)
    strong_validator(answer, NOW)
    own = etag(answer)
    if own is not None:
        among = _request(Fields.of(("If-None-Match", f'"x", W/{own.opaque}')))
        assert client_condition(among, 200, answer) == 304


TARGET = Target(check, SEEDS, TOKENS)
