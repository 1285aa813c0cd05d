"""Ranges of a whole answer: RFC 9110 13.1.5, 14.1.1, 14.1.2, 14.2, 14.4, 14.6, 15.3.7.2, 17.15."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.message import Fields
from proxy.policy.ranges import (
    FEW,
    MOST,
    OVERHEAD,
    Part,
    Several,
    Unsatisfiable,
    Wanted,
    Whole,
    client_range,
    length,
    multipart,
)
from tests.support.judged import Told, date, get

OUTSIDE = Unsatisfiable()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("bytes=0-499", Part(0, 500), id="14.1.2 first 500"),
        pytest.param("bytes=500-999", Part(500, 1000), id="14.1.2 second 500"),
        pytest.param("bytes=-500", Part(9500, 10000), id="14.1.2 last 500"),
        pytest.param("bytes=9500-", Part(9500, 10000), id="14.1.2 from 9500"),
        pytest.param("bytes=0-0", Part(0, 1), id="one byte"),
        pytest.param("bytes=9999-9999", Part(9999, 10000), id="the last byte"),
        pytest.param("bytes=0-", Part(0, 10000), id="all of it is still a part"),
        pytest.param("bytes=9000-20000", Part(9000, 10000), id="14.1.2 an end beyond is the end"),
        pytest.param("bytes=-20000", Part(0, 10000), id="14.1.2 a suffix beyond is all"),
        pytest.param("BYTES=0-4", Part(0, 5), id="14.1 units in any case"),
        pytest.param("bytes= 0-4 ", Part(0, 5), id="whitespace in the list"),
        pytest.param("bytes=0-4,", Part(0, 5), id="an empty member"),
        pytest.param("bytes=0-" + "9" * 5000, Part(0, 10000), id="14.1.2 large numerals"),
        pytest.param("bytes=" + "0" * 5000 + "-4", Part(0, 5), id="14.1.2 long numerals"),
        pytest.param("bytes=10000-", OUTSIDE, id="14.1.2 begins behind the end"),
        pytest.param("bytes=" + "9" * 5000 + "-", OUTSIDE, id="14.1.2 begins far behind"),
        pytest.param("bytes=-0", OUTSIDE, id="14.1.2 a suffix of nothing"),
        pytest.param("bytes=5-4", Whole(), id="14.1.1 backwards is invalid"),
        pytest.param("bytes=20000-19999", Whole(), id="14.1.1 backwards is invalid, outside too"),
        pytest.param("bytes=-", Whole(), id="14.1.1 no number"),
        pytest.param("bytes=a-b", Whole(), id="14.1.1 no digits"),
        pytest.param("bytes=0x0-4", Whole(), id="14.1.1 hexadecimal"),
        pytest.param("bytes=1 - 4", Whole(), id="14.1.1 space inside"),
        pytest.param("bytes=+1-4", Whole(), id="14.1.1 a sign"),
        pytest.param("bytes=²-4", Whole(), id="14.1.1 a digit that is none"),
        pytest.param("bytes", Whole(), id="no ranges"),
        pytest.param("bytes=", Whole(), id="an empty set"),
        pytest.param("lines=0-4", Whole(), id="14.2 another unit"),
        pytest.param("bytes=0-4,5-4", Whole(), id="14.1.1 one invalid range makes all of them invalid"),
        pytest.param("bytes=0-4,x", Whole(), id="14.1.1 bytes know no other ranges"),
        pytest.param("bytes=20000-,10000-10001", OUTSIDE, id="14.1.1 no range is satisfiable"),
        pytest.param("bytes=20000-,0-4", Part(0, 5), id="14.1.1 one range is satisfiable"),
    ],
)
def test_client_range(value: str, expected: Wanted) -> None:
    assert client_range(get(("Range", value)), 10000, Fields()) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("bytes=0-", OUTSIDE, id="14.1.2 nothing begins in nothing"),
        pytest.param("bytes=-5", Whole(), id="14.1.2 a suffix is satisfiable, and all there is"),
    ],
)
def test_an_empty_representation(value: str, expected: Wanted) -> None:
    assert client_range(get(("Range", value)), 0, Fields()) == expected


def several(*bounds: tuple[int, int]) -> Several:
    return Several(tuple(Part(start, end) for start, end in bounds))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("0-0,-1", several((0, 1), (9999, 10000)), id="14.1.2 the first and the last byte"),
        pytest.param(
            " 0-999, 4500-5499, -1000",
            several((0, 1000), (4500, 5500), (9000, 10000)),
            id="14.1.2 first, middle and last",
        ),
        pytest.param("500-600,601-999", Part(500, 1000), id="14.1.2 those that touch are one"),
        pytest.param("500-700,601-999", Part(500, 1000), id="14.1.2 those that overlap are one"),
        pytest.param("0-9,0-9", Part(0, 10), id="twice the same is one"),
        pytest.param("0-,5-,9-", Part(0, 10000), id="17.15 many that overlap cost as much as the whole"),
        pytest.param("900-909,0-9", several((900, 910), (0, 10)), id="15.3.7.2 in the order in which they were asked"),
        pytest.param(
            "900-909,0-9,905-919", several((900, 920), (0, 10)), id="15.3.7.2 coalesced, where the first of them stood"
        ),
        pytest.param("900-909,0-9,895-901", several((895, 910), (0, 10)), id="15.3.7.2 coalesced from behind"),
        pytest.param(
            "0-9,20000-,900-909", several((0, 10), (900, 910)), id="15.3.7.2 without the ones that lie outside"
        ),
        pytest.param("0-9,11-19", several((0, 10), (11, 20)), id="a few parts are sent as they were asked for"),
        pytest.param("0-9,,11-19,", several((0, 10), (11, 20)), id="5.6.1.2 empty members"),
    ],
)
def test_several_ranges(value: str, expected: Wanted) -> None:
    assert client_range(get(("Range", f"bytes={value}")), 10000, Fields()) == expected


def spread(number: int, step: int) -> list[tuple[int, int]]:
    return [(start, start + 9) for start in range(0, number * step, step)]


def ranges(bounds: list[tuple[int, int]]) -> str:
    return "bytes=" + ",".join(f"{first}-{last}" for first, last in bounds)


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        pytest.param(spread(MOST, 100), MOST, id="14.2 as many as are answered"),
        pytest.param(spread(MOST + 1, 100), 0, id="17.15 too many"),
        pytest.param(spread(FEW, 100)[::-1], FEW, id="14.2 a few in any order"),
        pytest.param(spread(FEW + 1, 100)[::-1], 0, id="14.2 many that do not ascend"),
        pytest.param(spread(FEW + 1, 10 + OVERHEAD + 1), FEW + 1, id="15.3.7.2 gaps that pay"),
        pytest.param(spread(FEW + 1, 10 + OVERHEAD), 1, id="15.3.7.2 many with gaps that do not pay are one"),
        pytest.param(spread(FEW, 11), FEW, id="15.3.7.2 a few are not held to it"),
    ],
)
def test_many_ranges(bounds: list[tuple[int, int]], expected: int) -> None:
    """How many parts come of them; 0: they are ignored."""
    match client_range(get(("Range", ranges(bounds))), 100_000, Fields()):
        case Several(parts):
            assert [(part.start, part.end - 1) for part in parts] == bounds
            assert len(parts) == expected
        case Part(0, end):
            assert (end, expected) == (bounds[-1][1] + 1, 1)
        case other:
            assert (other, expected) == (Whole(), 0)


def test_the_content_of_several_parts() -> None:
    """RFC 9110 14.4, 14.6, 15.3.7.2: byte for byte the example, but for the ranges."""
    data = bytes(range(256)) * 32
    pieces = multipart((Part(500, 503), Part(0, 1)), 8000, "application/pdf", "THIS_STRING_SEPARATES")
    content = b"".join(piece if isinstance(piece, bytes) else data[piece.start : piece.end] for piece in pieces)
    assert content == (
        b"--THIS_STRING_SEPARATES\r\n"
        b"Content-Type: application/pdf\r\n"
        b"Content-Range: bytes 500-502/8000\r\n"
        b"\r\n"
        b"\xf4\xf5\xf6\r\n"
        b"--THIS_STRING_SEPARATES\r\n"
        b"Content-Type: application/pdf\r\n"
        b"Content-Range: bytes 0-0/8000\r\n"
        b"\r\n"
        b"\x00\r\n"
        b"--THIS_STRING_SEPARATES--\r\n"
    )
    assert length(pieces) == len(content)


def test_parts_of_what_has_no_type_have_none() -> None:
    heads = [piece for piece in multipart((Part(0, 1), Part(5, 6)), 9, None, "B") if isinstance(piece, bytes)]
    assert heads == [
        b"--B\r\nContent-Range: bytes 0-0/9\r\n\r\n",
        b"\r\n--B\r\nContent-Range: bytes 5-5/9\r\n\r\n",
        b"\r\n--B--\r\n",
    ]


def test_only_get_has_ranges() -> None:
    """RFC 9110 14.2."""
    assert client_range(get(("Range", "bytes=0-1"), method="HEAD"), 10, Fields()) == Whole()
    assert client_range(get(), 10, Fields()) == Whole()


TAG = ("ETag", '"a"')
OLD = (("Last-Modified", date(-100)), ("Date", date()))


@pytest.mark.parametrize(
    ("condition", "told", "holds"),
    [
        pytest.param('"a"', [TAG], True, id="13.1.5 the same tag"),
        pytest.param('"b"', [TAG], False, id="13.1.5 another tag"),
        pytest.param('W/"a"', [TAG], False, id="13.1.5 weak is never the same"),
        pytest.param('"a"', [("ETag", 'W/"a"')], False, id="13.1.5 weak here neither"),
        pytest.param('"a", "b"', [TAG], False, id="13.1.5 one tag, no list"),
        pytest.param('"a"', [], False, id="13.1.5 no tag here"),
        pytest.param(date(-100), OLD, True, id="13.1.5 the same date"),
        pytest.param(date(-99), OLD, False, id="13.1.5 exact, not earlier or equal"),
        pytest.param(date(-10), [("Last-Modified", date(-10)), ("Date", date())], False, id="8.8.2.2 a weak date"),
        pytest.param(date(-100), [("Last-Modified", date(-100))], False, id="8.8.2.2 no Date"),
        pytest.param("soon", OLD, False, id="13.1.5 neither tag nor date"),
        pytest.param("soon", [], False, id="13.1.5 neither, and nothing to compare"),
    ],
)
def test_if_range(condition: str, told: list[Told], holds: bool) -> None:
    request = get(("Range", "bytes=0-4"), ("If-Range", condition))
    assert client_range(request, 10, Fields.of(*told)) == (Part(0, 5) if holds else Whole())


@given(st.text(st.sampled_from("0123456789-, ")), st.integers(0, 30))
def test_a_part_lies_inside_and_is_not_empty(value: str, size: int) -> None:
    wanted = client_range(get(("Range", f"bytes={value}")), size, Fields())
    parts = wanted.parts if isinstance(wanted, Several) else (wanted,) if isinstance(wanted, Part) else ()
    for part in parts:
        assert 0 <= part.start < part.end <= size


BOUNDS = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 40)), min_size=1, max_size=MOST)


@given(BOUNDS, st.integers(1, 250))
def test_parts_are_what_was_asked_and_never_twice_the_same_byte(asked: list[tuple[int, int]], size: int) -> None:
    """RFC 9110 17.15: whatever is asked for, no more than the whole is read."""
    bounds = [(first, first + more) for first, more in asked]
    wanted = client_range(get(("Range", ranges(bounds))), size, Fields())
    assert isinstance(wanted, Whole | Unsatisfiable | Part | Several)
    if isinstance(wanted, Whole):
        assert len(bounds) > FEW
        return
    parts = wanted.parts if isinstance(wanted, Several) else (wanted,) if isinstance(wanted, Part) else ()
    sent = [at for part in parts for at in range(part.start, part.end)]
    assert len(sent) == len(set(sent))
    assert set(sent) >= {at for first, last in bounds for at in range(first, min(last + 1, size))}
