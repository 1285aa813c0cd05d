"""Parts of an answer: RFC 9111 3.3, 3.4, 4.3.2; RFC 9110 8.8.2.2, 13.1.5, 14.4, 14.6, 15.3.7, 15.3.7.3."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.entry import BytesBody, Entry, Found
from proxy.message import Fields, Framing, Head
from proxy.outcome import Tier
from proxy.policy.parts import (
    AsCame,
    Confirm,
    Extents,
    Fill,
    Piece,
    Take,
    combine,
    described,
    judge_part,
    judge_range,
    missing,
    same_representation,
    strong_validator,
)
from proxy.policy.ranges import Part
from proxy.policy.reuse import Serve, ServeStale
from proxy.policy.storing import Skip
from proxy.rules import Rule
from tests.support.judged import ORIGIN, T, Told, answer, cc, date, get, stored

HOUR = -3600.0
FRESH = cc("max-age=60")
TAG = ("ETag", '"a"')
DATED = ("Date", date())
OLD = ("Last-Modified", date(HOUR))
FIRST = ("Content-Range", "bytes 0-9/100")
ASKED = ("Range", "bytes=0-9")


def part(*fields: Told, framing: Framing = Framing.LENGTH, at: float = T) -> Head:
    """A 206; without fields of its own a plain first part of ten bytes."""
    return answer(*fields or (FIRST, TAG, FRESH), status=206, framing=framing, at=at)


def held(*fields: Told, total: int = 100, at: float = T) -> Entry:
    return replace(stored(*fields or (TAG, FRESH, DATED), at=at), body=BytesBody(bytes(total)))


# -- extents -----------------------------------------------------------------------------------------------------------

bounds = st.tuples(st.integers(0, 40), st.integers(0, 40)).map(lambda pair: Part(min(pair), max(pair)))


@given(st.lists(bounds, max_size=12), bounds)
def test_extents_are_a_set_of_bytes(parts: list[Part], asked: Part) -> None:
    extents, naive = Extents(), set[int]()
    for each in parts:
        extents, naive = extents.plus(each), naive | set(range(each.start, each.end))
    assert {at for each in extents.parts for at in range(each.start, each.end)} == naive
    assert extents.size == len(naive)
    assert all(a.end < b.start for a, b in zip(extents.parts, extents.parts[1:], strict=False))
    wanted = set(range(asked.start, asked.end))
    assert {at for gap in extents.gaps(asked) for at in range(gap.start, gap.end)} == wanted - naive
    if wanted:
        assert extents.covers(asked) == (wanted <= naive)


@pytest.mark.parametrize(
    ("parts", "wanted", "expected"),
    [
        pytest.param([], [(0, 10)], (0, 10), id="nothing is held"),
        pytest.param([(0, 10)], [(0, 20)], (10, 20), id="a gap at the end"),
        pytest.param([(10, 20)], [(5, 20)], (5, 10), id="a gap at the start"),
        pytest.param([(10, 20)], [(0, 30)], (0, 30), id="two gaps, and little between them"),
        pytest.param([(10, 90)], [(0, 100)], None, id="two gaps, and much between them"),
        pytest.param([(0, 10)], [(0, 20), (30, 40)], (10, 40), id="gaps of several"),
        pytest.param([(50, 60)], [(0, 1), (99, 100)], None, id="17.15 a few bytes from both ends"),
        pytest.param([(50, 60)], [(20, 30), (0, 20)], None, id="asked for in another order than they would come"),
        pytest.param([(50, 60)], [(50, 60), (0, 20)], (0, 20), id="what is held may come in any order"),
    ],
)
def test_what_is_missing(
    parts: list[tuple[int, int]], wanted: list[tuple[int, int]], expected: tuple[int, int] | None
) -> None:
    extents = Extents()
    for start, end in parts:
        extents = extents.plus(Part(start, end))
    hull = missing(extents, tuple(Part(*each) for each in wanted))
    assert hull == (None if expected is None else Part(*expected))


# -- what a 206 says ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param([("Content-Range", "bytes 0-9/100")], Piece(Part(0, 10), 100), id="14.4 a range"),
        pytest.param([("Content-Range", "bytes 99-99/100")], Piece(Part(99, 100), 100), id="14.4 the last byte"),
        pytest.param([("Content-Range", "Bytes 0-9/100")], Piece(Part(0, 10), 100), id="14.1 units in any case"),
        pytest.param([FIRST, ("Content-Length", "10")], Piece(Part(0, 10), 100), id="a length that agrees"),
        pytest.param([], None, id="15.3.7.1 none"),
        pytest.param([("Content-Range", "bytes 0-9/*")], None, id="14.4 of unknown length"),
        pytest.param([("Content-Range", "bytes */100")], None, id="14.4 unsatisfied"),
        pytest.param([("Content-Range", "bytes 9-0/100")], None, id="14.4 last before first"),
        pytest.param([("Content-Range", "bytes 0-100/100")], None, id="14.4 length not beyond last"),
        pytest.param([("Content-Range", "lines 0-9/100")], None, id="14.4 another unit"),
        pytest.param([("Content-Range", "bytes=0-9/100")], None, id="no space"),
        pytest.param([("Content-Range", "bytes 0-9")], None, id="no length"),
        pytest.param([("Content-Range", "bytes 0 - 9/100")], None, id="space inside"),
        pytest.param([("Content-Range", "bytes -9/100")], None, id="no first"),
        pytest.param([("Content-Range", "bytes +0-9/100")], None, id="a sign"),
        pytest.param([("Content-Range", "bytes 0-9/" + "9" * 5000)], None, id="more digits than bytes can be counted"),
        pytest.param([("Content-Range", "bytes ²-9/100")], None, id="a digit that is none"),
        pytest.param([FIRST, FIRST], None, id="twice"),
        pytest.param([("Content-Range", "bytes 0-9/100, bytes 0-9/100")], None, id="a list"),
        pytest.param([FIRST, ("Content-Length", "9")], None, id="a length that does not agree"),
        pytest.param([FIRST, ("Content-Type", "multipart/byteranges; boundary=x")], None, id="15.3.7.2 several parts"),
        pytest.param([FIRST, ("Content-Type", "Multipart/X-Byteranges;boundary=x")], None, id="14.6 of an early draft"),
    ],
)
def test_what_a_206_says_it_is(fields: list[Told], expected: Piece | None) -> None:
    assert described(part(*fields, TAG)) == expected


def test_only_a_206_is_a_part() -> None:
    assert described(answer(FIRST, status=200)) is None  # 14.4: it has no meaning there


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param([TAG], '"a"', id="8.8.3 a strong tag"),
        pytest.param([TAG, OLD, DATED], '"a"', id="13.1.5 a tag before a date"),
        pytest.param([("ETag", 'W/"a"')], None, id="13.1.5 a weak tag"),
        pytest.param([("ETag", 'W/"a"'), OLD, DATED], None, id="13.1.5 a date only where there is no tag"),
        pytest.param([("ETag", "a"), OLD, DATED], None, id="a tag that is none"),
        pytest.param([OLD, DATED], date(HOUR), id="8.8.2.2 a date long before Date"),
        pytest.param([("Last-Modified", date(-59)), DATED], None, id="8.8.2.2 a date shortly before"),
        pytest.param([OLD], None, id="8.8.2.2 no Date to compare"),
        pytest.param([], None, id="none"),
    ],
)
def test_strong_validators(fields: list[Told], expected: str | None) -> None:
    assert strong_validator(Fields.of(*fields), T) == expected


@pytest.mark.parametrize(
    ("own", "told", "total", "expected"),
    [
        pytest.param([TAG], [TAG], 100, True, id="3.4 the same strong tag"),
        pytest.param([TAG], [("ETag", '"b"')], 100, False, id="3.4 another"),
        pytest.param([TAG], [TAG], 101, False, id="another length"),
        pytest.param([("ETag", 'W/"a"')], [("ETag", 'W/"a"')], 100, False, id="3.4 weak ones"),
        pytest.param([TAG], [("ETag", 'W/"a"')], 100, False, id="3.4 one of them weak"),
        pytest.param([TAG], [], 100, False, id="none was told"),
        pytest.param([TAG, OLD, DATED], [OLD, DATED], 100, False, id="a date for a tag"),
        pytest.param([OLD, DATED], [OLD, DATED], 100, True, id="8.8.2.2 the same strong date"),
        pytest.param([OLD, DATED], [("Last-Modified", date(HOUR + 1)), DATED], 100, False, id="another date"),
        pytest.param([OLD, DATED], [OLD, ("Date", date(HOUR))], 100, False, id="8.8.2.2 the same date, weak now"),
    ],
)
def test_same_representation(own: list[Told], told: list[Told], total: int, expected: bool) -> None:
    assert same_representation(held(*own), Fields.of(*told), T, total) is expected


# -- storing it --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "told", "expected"),
    [
        pytest.param([ASKED], [FIRST, TAG, FRESH], "stored", id="3.3 a part"),
        pytest.param([ASKED], [FIRST, OLD, DATED, FRESH], "stored", id="8.8.2.2 a strong date"),
        pytest.param(
            [("Range", "bytes=-95")], [("Content-Range", "bytes 5-99/100"), TAG, FRESH], "stored", id="suffix"
        ),
        pytest.param([("Range", "bytes=0-50")], [FIRST, TAG, FRESH], "stored", id="15.3.7 less than was asked for"),
        pytest.param([("Range", "bytes=0-1,8-9")], [FIRST, TAG, FRESH], "stored", id="15.3.7.2 coalesced"),
        pytest.param(
            [("Range", "bytes=10-19")], [FIRST, TAG, FRESH], "partial", id="something else than was asked for"
        ),
        pytest.param([("Range", "bytes=0-5")], [FIRST, TAG, FRESH], "partial", id="more than was asked for"),
        pytest.param([("Range", "lines=0-9")], [FIRST, TAG, FRESH], "partial", id="14.2 asked for in another unit"),
        pytest.param([], [FIRST, TAG, FRESH], "partial", id="nothing was asked for"),
        pytest.param([ASKED], [FIRST, FRESH], "partial", id="3.4 no validator"),
        pytest.param([ASKED], [FIRST, ("ETag", 'W/"a"'), FRESH], "partial", id="3.4 a weak validator"),
        pytest.param([ASKED, ("If-Range", '"a"')], [FIRST, TAG, FRESH], "partial", id="15.3.7 fields were left out"),
        pytest.param([ASKED], [FIRST, TAG, cc("no-store")], "no-store", id="5.2.2.5"),
        pytest.param([ASKED], [FIRST, TAG, cc("private")], "private", id="5.2.2.7"),
        pytest.param([ASKED], [FIRST, TAG, FRESH, ("Set-Cookie", "a=b")], "set-cookie", id="7.3"),
        pytest.param([ASKED], [FIRST, TAG, FRESH, ("Vary", "*")], "vary-star", id="4.1"),
        pytest.param([ASKED, ("Authorization", "a")], [FIRST, TAG, FRESH], "credentials", id="3.5"),
        pytest.param([ASKED, ("Authorization", "a")], [FIRST, TAG, cc("s-maxage=9")], "stored", id="3.5 permitted"),
        pytest.param([ASKED, cc("no-store")], [FIRST, TAG, FRESH], "request-no-store", id="5.2.1.5"),
        pytest.param([ASKED], [FIRST, TAG], "stored", id="a validator is worth keeping"),
    ],
)
def test_may_it_be_stored(asked: list[Told], told: list[Told], expected: str) -> None:
    judged = judge_part(get(*asked), part(*told), ORIGIN, T)
    assert (judged.why.word if isinstance(judged, Skip) else "stored") == expected


def test_the_end_has_to_be_proven() -> None:
    judged = judge_part(get(ASKED), part(framing=Framing.CLOSE), ORIGIN, T)
    assert isinstance(judged, Skip)
    assert judged.why.word == "unproven-end"


@pytest.mark.parametrize(
    ("bounds", "expected"), [({"min_size": 101}, "min-size"), ({"max_size": 99}, "max-size"), ({"max_size": 100}, None)]
)
def test_a_rules_bounds_are_those_of_the_whole(bounds: dict[str, int], expected: str | None) -> None:
    judged = judge_part(get(ASKED), part(), Rule(name="r", ttl=60, **bounds), T)  # type: ignore[arg-type]
    assert (judged.why.word if isinstance(judged, Skip) else None) == expected


def test_it_is_stored_under_the_fields_of_the_whole() -> None:
    head = part(
        FIRST,
        ("X-One", "1"),
        TAG,
        cc('max-age=60, private="X-Mine"'),
        ("X-Mine", "me"),
        ("Content-Type", "text/x"),
        ("Content-Digest", "of the part"),
        ("Repr-Digest", "of the whole"),
        ("Content-Length", "10"),
    )
    judged = judge_part(get(ASKED), head, ORIGIN, T)
    assert isinstance(judged, Take)
    assert judged.piece == Piece(Part(0, 10), 100)
    assert [name for name, _ in judged.fields] == [
        "x-one",
        "etag",
        "cache-control",
        "content-type",
        "repr-digest",
        "content-length",
    ]
    assert judged.fields.get("content-length") == "100"
    assert (judged.keep.lifetime, judged.keep.withheld) == (60, {"x-mine"})


# -- combining ---------------------------------------------------------------------------------------------------------


def test_the_newer_head_rules() -> None:
    own = held(TAG, FRESH, DATED, ("Age", "7"), ("X-Said", "first"), ("Content-Type", "text/x"), ("X-Old", "kept"))
    told = part(("X-Said", "second"), FIRST, TAG, cc("max-age=9"), ("Content-Length", "10"), ("Set-Cookie", "a=b"))
    both = combine(own, told, ORIGIN, T)
    assert both is not None
    fields = both.entry.fields
    assert (fields.get("x-said"), fields.get("x-old"), fields.get("content-type")) == ("second", "kept", "text/x")
    assert (fields.get("cache-control"), fields.get("age")) == ("max-age=9", None)
    assert all(name not in fields for name in ("content-range", "content-length", "set-cookie"))
    assert both.personal == Fields.of(("Set-Cookie", "a=b"))


@pytest.mark.parametrize(
    "told",
    [
        pytest.param([("Content-Range", "bytes 0-9/101"), TAG], id="another length"),
        pytest.param([FIRST, ("ETag", '"b"')], id="3.4 another validator"),
        pytest.param([FIRST], id="3.4 no validator"),
        pytest.param([("Content-Range", "bytes 0-9/*"), TAG], id="14.4 a length that is not known"),
        pytest.param([FIRST, TAG, ("Vary", "Accept")], id="4.1 it depends on something else now"),
    ],
)
def test_what_is_not_combined(told: list[Told]) -> None:
    assert combine(held(), part(*told), ORIGIN, T) is None


def test_a_part_without_the_fields_of_the_whole_is_stored_with_those_that_are_held() -> None:
    request = get(ASKED, ("If-Range", '"a"'))
    judged = judge_part(request, part(), ORIGIN, T, held(TAG, DATED, FRESH, ("Content-Type", "text/x")))
    assert isinstance(judged, Take)
    assert judged.fields.get("content-type") == "text/x"


@pytest.mark.parametrize("said", ["no-store", "private"])
def test_what_may_not_be_stored_any_more_is_not_added(said: str) -> None:
    judged = judge_part(get(ASKED), part(FIRST, TAG, cc(said)), ORIGIN, T, held())
    assert isinstance(judged, Skip)
    assert judged.why.word == said


# -- answering from it -------------------------------------------------------------------------------------------------

HALF = Extents((Part(0, 50),))


def course(*asked: Told, own: Entry | None = None, later: float = 0.0, ended_at: float | None = None) -> object:
    found = Found(own or held(), Tier.MEMORY, ended_at)
    return judge_range(get(*asked), found, HALF, ORIGIN, T + later)


@pytest.mark.parametrize(
    "wanted", ["0-9", "0-49", "40-49", "0-0", "0-9,20-29"], ids=lambda wanted: f"3.3 wholly within: {wanted}"
)
def test_what_is_there_answers(wanted: str) -> None:
    assert isinstance(course(("Range", f"bytes={wanted}")), Serve)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        pytest.param([("Range", "bytes=0-50")], Fill(Part(50, 51), '"a"'), id="one byte is missing"),
        pytest.param([("Range", "bytes=40-")], Fill(Part(50, 100), '"a"'), id="the rest is missing"),
        pytest.param([("Range", "bytes=-10")], Fill(Part(90, 100), '"a"'), id="nothing of it is there"),
        pytest.param([("Range", "bytes=0-9,45-54")], Fill(Part(50, 55), '"a"'), id="a piece of one of several"),
        pytest.param([("Range", "bytes=40-"), ("If-Range", '"a"')], Fill(Part(50, 100), '"a"'), id="13.1.5 true"),
        pytest.param([("Range", "bytes=0-9"), ("If-Range", '"b"')], AsCame(), id="13.1.5 false: the whole is wanted"),
        pytest.param([("Range", "bytes=0-9"), ("If-Range", 'W/"a"')], AsCame(), id="13.1.5 weak: false"),
        pytest.param([("Range", "bytes=100-")], AsCame(), id="3.3 outside: no 416 of ours"),
        pytest.param([("Range", "bytes=5-4")], AsCame(), id="3.3 invalid: the whole is wanted"),
        pytest.param([("Range", "lines=0-4")], AsCame(), id="3.3 another unit: the whole is wanted"),
        pytest.param([], Fill(Part(50, 100), '"a"'), id="3.3 the whole is wanted: the rest is missing"),
        pytest.param([("If-None-Match", '"a"')], AsCame(), id="3.3 the whole, on their own condition"),
        pytest.param([("Range", "bytes=50-50,99-99")], AsCame(), id="more would come than is wanted"),
        pytest.param([("Range", "bytes=40-"), ("If-None-Match", '"a"')], AsCame(), id="4.3.2 theirs to evaluate"),
        pytest.param([("Range", "bytes=0-9"), ("If-Match", '"a"')], AsCame(), id="4.3.2 the origin's alone"),
        pytest.param([("Range", "bytes=40-"), ("Authorization", "a")], AsCame(), id="3.5 asked for somebody"),
    ],
)
def test_what_is_not_there_is_asked_for(asked: list[Told], expected: object) -> None:
    assert course(*asked) == expected


def test_the_clients_conditions_count_where_all_is_there() -> None:
    assert isinstance(course(("Range", "bytes=0-9"), ("If-None-Match", '"a"')), Serve)


def test_what_is_stale_has_to_be_confirmed() -> None:
    assert isinstance(course(ASKED, later=59), Serve)
    judged = course(ASKED, later=61)
    assert isinstance(judged, Confirm)
    assert (judged.fetch.why.word, judged.fetch.fallback) == ("stale", True)
    assert course(("Range", "bytes=40-"), later=61) == Fill(Part(50, 100), '"a"')  # If-Range confirms it on the way
    window = held(TAG, cc("max-age=60, stale-while-revalidate=60"), DATED)
    assert isinstance(course(ASKED, own=window, later=61), ServeStale)
    assert isinstance(course(ASKED, ended_at=T - 1), Confirm)


def test_what_may_not_be_reused_is_not() -> None:
    assert course(ASKED, own=held(TAG, cc("private"), DATED)) == AsCame()
    assert course(ASKED, ("Authorization", "a"), own=held(TAG, DATED)) == AsCame()
