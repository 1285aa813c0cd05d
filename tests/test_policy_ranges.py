"""Ranges of a whole answer: RFC 9110 13.1.5, 14.1.1, 14.1.2, 14.2."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.message import Fields
from proxy.policy.ranges import Part, Unsatisfiable, Wanted, Whole, client_range
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
        pytest.param("bytes=0-0,-1", Whole(), id="several: the whole"),
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


@given(st.text(st.sampled_from("bytes=0123456789-, ")), st.integers(0, 30))
def test_a_part_lies_inside_and_is_not_empty(value: str, size: int) -> None:
    wanted = client_range(get(("Range", value)), size, Fields())
    if isinstance(wanted, Part):
        assert 0 <= wanted.start < wanted.end <= size
