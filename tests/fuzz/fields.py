"""The grammar of fields: lists, numbers, weights, dates, entity tags (RFC 9110 5.6, 8.8.3, 12.4.2)."""

from time import gmtime

from proxy.message import Fields
from proxy.policy.fields import (
    INFINITE,
    OWS,
    date_field,
    delta_seconds,
    entity_tags,
    etag,
    http_date,
    members,
    parse_date,
    weighted,
)
from proxy.policy.freshness import initial_age
from tests.fuzz.target import Target

NOW = 1_700_000_000.0

SEEDS = (
    b"foo , ,bar,charlie",  # 5.6.1.2
    b'"a, b", c;d="e\\"f", "never closed',
    b"Sun, 06 Nov 1994 08:49:37 GMT",  # 5.6.7
    b"Sunday, 06-Nov-94 08:49:37 GMT",
    b"Sun Nov  6 08:49:37 1994",
    b"Sat, 31 Dec 2016 23:59:60 GMT",
    b'"xyzzy", W/"r2d2xxxx", "", "a,b"',  # 8.8.3, 13.1.2
    b"da, en-gb;q=0.8, en;q=0.7",  # 12.5.4
    b"gzip;q=1.0, identity; q=0.5, *;q=0",  # 12.5.3
    b"2147483648",
    b"000000000000000000000000000000000000042",
)
TOKENS = (b'"', b"W/", b";q=", b"0.8", b"GMT", b"Nov", b"Sunday", b":", b"-", b"\x80", b'""', b'\\"', b'"a",', b'W/"",')


def check(data: bytes) -> None:
    text = data.decode("latin-1")
    _list(text)
    _number(text)
    _weights(text)
    _date(text)
    _tags(text)


def _list(text: str) -> None:
    found = members(text)
    assert all(member and member.strip(OWS) == member for member in found)
    assert sum(map(len, found)) <= len(text)
    assert members(", ".join(found)) == found
    if '"' not in text:
        assert found == [part.strip(OWS) for part in text.split(",") if part.strip(OWS)]


def _number(text: str) -> None:
    seconds = delta_seconds(text)
    if seconds is None:
        assert not (text.isascii() and text.isdigit())
    else:
        assert 0 <= seconds <= INFINITE
        assert len(text) > 4000 or seconds == min(int(text), INFINITE)
    age = initial_age(Fields.of(("Age", text)), NOW, NOW)
    assert 0 <= age <= INFINITE


def _weights(text: str) -> None:
    found = weighted(text)
    if found is not None:
        assert all(name == name.lower() and 0 <= weight <= 1 for name, weight in found.items())
        assert weighted(", ".join(f"{name};q={weight:.3f}" for name, weight in found.items())) == found


def _date(text: str) -> None:
    seconds = parse_date(text, NOW)
    fields = Fields.of(("Date", text), ("Date", text))
    assert date_field(fields, "date", NOW) == seconds
    if seconds is None:
        return
    assert seconds == parse_date(text.lower(), NOW)
    assert seconds == parse_date(text, NOW + 86_400) or "-" in text  # two digits of a year are read by the clock
    if seconds < 253_402_300_800:  # the year 10000, which a leap second can begin
        assert parse_date(http_date(seconds), NOW) == seconds
    if "-" in text:
        assert (
            int(text.partition("GMT")[0].split()[1][-2:]) == gmtime(seconds - 1).tm_year % 100 or seconds % 86_400 < 2
        )
        assert NOW - 51 * 31_622_400 < seconds <= NOW + 50 * 31_622_400


def _tags(text: str) -> None:
    found = entity_tags(text)
    said = [("W/" if tag.weak else "") + tag.opaque for tag in found]
    assert all(each in text for each in said)
    assert entity_tags(", ".join(said)) == found
    assert etag(Fields.of(("ETag", text))) == (found[0] if len(found) == 1 else None)


TARGET = Target(check, SEEDS, TOKENS)
