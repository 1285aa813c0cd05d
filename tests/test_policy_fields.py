"""The grammar of single fields: RFC 9110 5.6.1, 5.6.7, 8.8.2.2, 8.8.3, 10.2.3, 12.4.2; RFC 9111 1.2.2, 4.2."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.message import Fields
from proxy.policy.fields import (
    INFINITE,
    LONGEST_WAIT,
    EntityTag,
    date_field,
    delta_seconds,
    entity_tags,
    etag,
    http_date,
    members,
    parse_date,
    retry_after,
    same_strongly,
    same_weakly,
    strong_last_modified,
    weighted,
)
from tests.support.judged import T, date

WHEN = 784111777.0  # Sun, 06 Nov 1994 08:49:37 GMT

LATIN1 = st.text(st.characters(min_codepoint=0, max_codepoint=255))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("a,b", ["a", "b"], id="5.6.1 comma"),
        pytest.param(" a ,\tb ", ["a", "b"], id="5.6.1 whitespace around"),
        pytest.param(",a,, ,b,", ["a", "b"], id="5.6.1.2 empty members are ignored"),
        pytest.param('a="x,y", b', ['a="x,y"', "b"], id="5.6.4 comma in a quoted string"),
        pytest.param(r'a="x\",y", b', [r'a="x\",y"', "b"], id="5.6.4 escaped quote"),
        pytest.param('a="x, b', ["a=", '"x', "b"], id="5.6.4 a quote that never ends begins no quoted string"),
        pytest.param(r'a="x,y", b="\", c', ['a="x,y"', "b=", r'"\"', "c"], id="5.6.4 nor does an escaped one end it"),
        pytest.param("", [], id="5.6.1 nothing"),
    ],
)
def test_members(value: str, expected: list[str]) -> None:
    assert members(value) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("0", 0, id="zero"),
        pytest.param("0060", 60, id="leading zeros"),
        pytest.param("2147483648", INFINITE, id="1.2.2 the greatest"),
        pytest.param("99999999999999999999", INFINITE, id="1.2.2 saturates"),
        pytest.param("9" * 5000, INFINITE, id="1.2.2 saturates past what int takes"),
        pytest.param("0" * 5000 + "7", 7, id="zeros past what int takes"),
        pytest.param("", None, id="empty"),
        pytest.param("-1", None, id="negative"),
        pytest.param("+1", None, id="signed"),
        pytest.param("1.0", None, id="decimal"),
        pytest.param("1e3", None, id="exponent"),
        pytest.param("²", None, id="a digit that is none"),
        pytest.param(" 1", None, id="whitespace"),
    ],
)
def test_delta_seconds(text: str, expected: int | None) -> None:
    assert delta_seconds(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("Sun, 06 Nov 1994 08:49:37 GMT", WHEN, id="5.6.7 IMF-fixdate"),
        pytest.param("Sunday, 06-Nov-94 08:49:37 GMT", WHEN, id="5.6.7 RFC 850"),
        pytest.param("Sun Nov  6 08:49:37 1994", WHEN, id="5.6.7 asctime"),
        pytest.param("Sun Nov 16 08:49:37 1994", WHEN + 864000, id="5.6.7 asctime, two-digit day"),
        pytest.param("sun, 06 nOV 1994 08:49:37 gmt", WHEN, id="9111-4.2 case is forgiven"),
        pytest.param("Sun, 06 Nov 1994 08:49:60 GMT", WHEN + 23, id="5.6.7 leap second"),
        pytest.param("Thu, 29 Feb 2024 00:00:00 GMT", 1709164800.0, id="leap day"),
        pytest.param("Sun, 6 Nov 1994 08:49:37 GMT", None, id="one-digit day"),
        pytest.param("Sun,  06 Nov 1994 08:49:37 GMT", None, id="two spaces"),
        pytest.param("Sun 06 Nov 1994 08:49:37 GMT", None, id="no comma"),
        pytest.param("Sun, 06 Nov 1994 8:49:37 GMT", None, id="one-digit hour"),
        pytest.param("Sun, 06 Nov 1994 08.49.37 GMT", None, id="dots"),
        pytest.param("Sun, 06-Nov-1994 08:49:37 GMT", None, id="dashes with four digits"),
        pytest.param("Sun, 06 Nov 94 08:49:37 GMT", None, id="short year in the long form"),
        pytest.param("Sun, 06 Nov 1994 08:49:37 UTC", None, id="9111-4.2 another zone"),
        pytest.param("Sun, 06 Nov 1994 08:49:37 +0000", None, id="9111-4.2 numeric zone"),
        pytest.param("Sun, 06 Nov 1994 08:49:37", None, id="no zone"),
        pytest.param("Sun, 06 Nov 1994 24:00:00 GMT", None, id="hour 24"),
        pytest.param("Sun, 06 Nov 1994 08:60:00 GMT", None, id="minute 60"),
        pytest.param("Sun, 06 Nov 1994 08:49:61 GMT", None, id="second 61"),
        pytest.param("Thu, 30 Feb 2023 00:00:00 GMT", None, id="no such day"),
        pytest.param("Thu, 29 Feb 2023 00:00:00 GMT", None, id="no leap year"),
        pytest.param("Sun, 06 Nov 0000 08:49:37 GMT", None, id="year zero"),
        pytest.param("Sun, 06 Nov ١٩٩٤ 08:49:37 GMT", None, id="digits that are none"),
        pytest.param("0", None, id="zero"),
        pytest.param("", None, id="empty"),
        pytest.param("784111777", None, id="epoch"),
    ],
)
def test_parse_date(text: str, expected: float | None) -> None:
    assert parse_date(text, T) == expected


@pytest.mark.parametrize(
    ("now", "year", "meant"),
    [
        pytest.param("14 Nov 2023", "73", 2073, id="five days less than 50 years ahead"),
        pytest.param("14 Nov 2023", "74", 1974, id="more than 50 years ahead is the past"),
        pytest.param("02 Nov 2023", "73", 1973, id="four days more than 50 years ahead is the past"),
        pytest.param("14 Nov 2023", "23", 2023, id="this year"),
        pytest.param("14 Nov 2023", "24", 2024, id="next year"),
        pytest.param("31 Dec 1999", "05", 2005, id="across a century"),
        pytest.param("01 Jan 2099", "05", 2105, id="across the next one"),
    ],
)
def test_two_digit_years(now: str, year: str, meant: int) -> None:
    """RFC 9110 5.6.7: not more than 50 years ahead, else the most recent past year with these digits."""
    clock = parse_date(f"Mon, {now} 00:00:00 GMT", 0)
    assert clock is not None
    expected = parse_date(f"Mon, 06 Nov {meant} 08:49:37 GMT", 0)
    assert parse_date(f"Monday, 06-Nov-{year} 08:49:37 GMT", clock) == expected


@given(st.integers(min_value=-(10**9), max_value=2**33))
def test_a_date_that_we_write_reads_the_same(seconds: int) -> None:
    assert parse_date(http_date(seconds), T) == seconds


@given(LATIN1)
def test_readers_never_raise(text: str) -> None:
    parse_date(text, T)
    members(text)
    delta_seconds(text)
    entity_tags(text)
    weighted(text)


def test_http_date_is_cut_not_rounded() -> None:
    assert http_date(WHEN + 0.999) == "Sun, 06 Nov 1994 08:49:37 GMT"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        pytest.param([], None, id="absent"),
        pytest.param([date()], T, id="one"),
        pytest.param([date(), date()], T, id="the same twice"),
        pytest.param([date(), date(5)], None, id="two that differ"),
        pytest.param([f"{date()}, {date()}"], None, id="a list in one line"),
        pytest.param(["soon"], None, id="invalid"),
    ],
)
def test_date_field(lines: list[str], expected: float | None) -> None:
    assert date_field(Fields.of(*(("Date", line) for line in lines)), "date", T) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param('"a"', [(False, '"a"')], id="8.8.3 strong"),
        pytest.param('W/"a"', [(True, '"a"')], id="8.8.3 weak"),
        pytest.param('"a", W/"b" ,"c"', [(False, '"a"'), (True, '"b"'), (False, '"c"')], id="list"),
        pytest.param('"a,b", "c"', [(False, '"a,b"'), (False, '"c"')], id="8.8.3 comma inside"),
        pytest.param('"a\\", "b"', [(False, '"a\\"'), (False, '"b"')], id="8.8.3 a backslash escapes nothing"),
        pytest.param('""', [(False, '""')], id="empty tag"),
        pytest.param(', "a",,', [(False, '"a"')], id="5.6.1.2 empty members"),
        pytest.param('w/"a"', [], id="8.8.3 W is upper case"),
        pytest.param('W/ "a"', [], id="space inside"),
        pytest.param("a", [], id="unquoted"),
        pytest.param('"a" "b"', [], id="no comma"),
        pytest.param('"a', [], id="no end"),
        pytest.param('"a b"', [], id="space in the tag"),
        pytest.param("*", [], id="star is no tag"),
    ],
)
def test_entity_tags(value: str, expected: list[tuple[bool, str]]) -> None:
    assert list(entity_tags(value)) == [EntityTag(*tag) for tag in expected]


@pytest.mark.parametrize(
    ("a", "b", "strongly", "weakly"),
    [
        pytest.param('W/"1"', 'W/"1"', False, True, id="weak weak"),
        pytest.param('W/"1"', 'W/"2"', False, False, id="weak, other"),
        pytest.param('W/"1"', '"1"', False, True, id="weak strong"),
        pytest.param('"1"', '"1"', True, True, id="strong strong"),
    ],
)
def test_comparison_is_the_table_of_8_8_3_2(a: str, b: str, strongly: bool, weakly: bool) -> None:
    (left,), (right,) = entity_tags(a), entity_tags(b)
    assert (same_strongly(left, right), same_weakly(left, right)) == (strongly, weakly)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], None),
        (["120"], 120),
        (["0"], 0),
        (["99999999999999999999"], LONGEST_WAIT),
        (["Sun, 06 Nov 1994 08:49:37 GMT"], 30),  # a part of a second is waited for too
        (["Sun, 06 Nov 1994 08:00:00 GMT"], 0),
        (["Sun, 06 Nov 2094 08:49:37 GMT"], LONGEST_WAIT),
        (["soon"], None),
        (["-1"], None),
        (["1.5"], None),
        (["120", "120"], None),
        ([""], None),
    ],
)
def test_retry_after(lines: list[str], expected: int | None) -> None:
    fields = Fields.of(*(("Retry-After", line) for line in lines))
    assert retry_after(fields, WHEN - 29.5) == expected


@pytest.mark.parametrize("lines", [[], ["a"], ['"a"', '"b"'], ["*"]])
def test_no_etag(lines: list[str]) -> None:
    assert etag(Fields.of(*(("ETag", line) for line in lines))) is None


@pytest.mark.parametrize(
    ("modified", "made", "strong"),
    [
        pytest.param(-60, 0, True, id="a minute apart"),
        pytest.param(-59, 0, False, id="less than a minute"),
        pytest.param(0, 0, False, id="the same second"),
        pytest.param(60, 0, False, id="modified in the future"),
        pytest.param(-60, None, False, id="no Date"),
    ],
)
def test_last_modified_as_a_strong_validator(modified: int, made: int | None, strong: bool) -> None:
    """RFC 9110 8.8.2.2."""
    told = Fields.of(("Last-Modified", date(modified)))
    if made is not None:
        told = told.plus(("Date", date(made)))
    assert strong_last_modified(told, T) == (T + modified if strong else None)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("gzip, br;q=0.5", {"gzip": 1.0, "br": 0.5}, id="weights"),
        pytest.param("GZIP ; Q=0.001", {"gzip": 0.001}, id="case and whitespace"),
        pytest.param("a;q=0", {"a": 0.0}, id="not acceptable"),
        pytest.param("a;q=1.000", {"a": 1.0}, id="three digits"),
        pytest.param("*;q=0.1", {"*": 0.1}, id="wildcard"),
        pytest.param("a, a", {"a": 1.0}, id="the same twice"),
        pytest.param("", {}, id="empty"),
        pytest.param("a;q=0.1, a", None, id="a contradiction"),
        pytest.param("a;q=1.1", None, id="above one"),
        pytest.param("a;q=0.1234", None, id="four digits"),
        pytest.param("a;x=1", None, id="another parameter"),
        pytest.param("a b", None, id="no token"),
    ],
)
def test_weighted(value: str, expected: dict[str, float] | None) -> None:
    """RFC 9110 12.4.2."""
    assert weighted(value) == expected
