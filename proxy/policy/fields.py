"""The grammar of the fields that caching reads (RFC 9110 5.6, 8.8, 10.2.3, 12.4): strict and total.

Every function takes text and gives a value, or None when the text is not of that form; what a peer sent raises nothing.
"""

import re
from calendar import monthrange, timegm
from email.utils import formatdate
from functools import lru_cache
from math import ceil
from typing import NamedTuple

from proxy.message import Fields

OWS = " \t"
INFINITE = 2**31  # seconds; what does not fit is taken for this (RFC 9111 1.2.2)
LONGEST_WAIT = 86_400  # seconds that anybody is asked to stay away, whatever an origin says
TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105
IS_TOKEN = re.compile(TOKEN).fullmatch

_YEAR = 31_556_952.0  # seconds of a mean Gregorian year

# -- lists and numbers -------------------------------------------------------------------------------------------------

_MEMBER = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*")+', re.DOTALL)
_CLOSED = re.compile(r'[^"]*(?:"(?:[^"\\]|\\.)*"[^"]*)*', re.DOTALL).match  # up to a quote that never ends


def members(value: str) -> list[str]:
    """The members of a comma-separated list, empty ones left out; commas in quoted strings do not count (5.6.1).

    A quote that never ends begins no quoted string: it must not swallow what stands behind it.
    """
    if '"' not in value:
        parts = value.split(",")
    else:
        closed = _CLOSED(value)
        end = closed.end() if closed else 0
        parts = [*_MEMBER.findall(value[:end]), *value[end:].split(",")]
    return [member for part in parts if (member := part.strip(OWS))]


def delta_seconds(text: str) -> int | None:
    """A whole number of seconds, saturating (RFC 9111 1.2.2)."""
    if not (text.isascii() and text.isdigit()):
        return None
    digits = text.lstrip("0") or "0"  # int() takes no more than some thousand
    return INFINITE if len(digits) > 10 else min(int(digits), INFINITE)


_WEIGHTED = re.compile(
    rf"({TOKEN})(?:[ \t]*;[ \t]*q=(0(?:\.[0-9]{{0,3}})?|1(?:\.0{{0,3}})?))?", re.IGNORECASE
).fullmatch


def weighted(value: str) -> dict[str, float] | None:
    """Names in lower case with their weights (12.4.2), for lists whose members have no other parameters: encodings,
    languages, charsets. None when it is not such a list, or contradicts itself."""
    weights: dict[str, float] = {}
    for member in members(value):
        match = _WEIGHTED(member)
        if match is None:
            return None
        name, weight = match[1].lower(), float(match[2] or 1)
        if weights.setdefault(name, weight) != weight:
            return None
    return weights


# -- dates -------------------------------------------------------------------------------------------------------------

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAY = "(?:mon|tue|wed|thu|fri|sat|sun)"
_LONG_DAY = "(?:mon|tues|wednes|thurs|fri|satur|sun)day"
_MONTH = f"(?P<month>{'|'.join(_MONTHS)})"
_CLOCK = "(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_YEAR4 = "(?P<year>[0-9]{4})"
# RFC 9111 4.2 asks caches to compare case-insensitively what 9110 5.6.7 spells in one case.
_DATE_FORMS = tuple(
    re.compile(form, re.IGNORECASE | re.ASCII)
    for form in (
        f"{_DAY}, (?P<day>[0-9]{{2}}) {_MONTH} {_YEAR4} {_CLOCK} GMT",
        f"{_LONG_DAY}, (?P<day>[0-9]{{2}})-{_MONTH}-(?P<short>[0-9]{{2}}) {_CLOCK} GMT",
        f"{_DAY} {_MONTH} (?P<day>[0-9]{{2}}| [0-9]) {_CLOCK} {_YEAR4}",
    )
)


class _Short(NamedTuple):
    """A date whose year has two digits."""

    year: int
    month: int
    day: int
    clock: tuple[int, int, int]


def parse_date(text: str, now: float) -> float | None:
    """Wall-clock seconds of an HTTP-date in one of its three forms (5.6.7).

    A two-digit year is the latest one with these digits that is not more than 50 years after `now`.
    """
    date = _date(text)
    if not isinstance(date, _Short):
        return date
    latest = 1970 + int(now // _YEAR) + 51
    year = latest - (latest - date.year) % 100
    seconds = _seconds(year, *date[1:])
    return _seconds(year - 100, *date[1:]) if seconds is None or seconds > now + 50 * _YEAR else seconds


@lru_cache(maxsize=1024)
def _date(text: str) -> float | _Short | None:
    match = next(filter(None, (form.fullmatch(text) for form in _DATE_FORMS)), None)
    if match is None:
        return None
    part = match.groupdict()
    month, day = _MONTHS.index(part["month"].lower()) + 1, int(part["day"])
    clock = int(part["hour"]), int(part["minute"]), int(part["second"])
    if "short" in part:
        return _Short(int(part["short"]), month, day, clock)
    return _seconds(int(part["year"]), month, day, clock)


def _seconds(year: int, month: int, day: int, clock: tuple[int, int, int]) -> float | None:
    """Wall-clock seconds; None for a time that does not exist. The 60th second is a leap second."""
    hour, minute, second = clock
    if year < 1 or not 1 <= day <= monthrange(year, month)[1] or hour > 23 or minute > 59 or second > 60:
        return None
    return float(timegm((year, month, day, hour, minute, second)))


def http_date(t: float) -> str:
    """The IMF-fixdate of a wall-clock time, cut to whole seconds."""
    return formatdate(t // 1, usegmt=True)


def date_field(fields: Fields, name: str, now: float) -> float | None:
    """The date in a field; None when it is absent, invalid, or given more than once with differing values."""
    text = fields.get(name)
    if text is None:
        return None
    seconds = parse_date(text, now)
    if seconds is None and len(lines := set(fields.lines(name))) == 1:
        seconds = parse_date(lines.pop(), now)
    return seconds


def retry_after(fields: Fields, now: float) -> int | None:
    """Whole seconds after which to come again, at most LONGEST_WAIT; None when the answer does not say (10.2.3)."""
    seconds: float | None = delta_seconds(fields.get("retry-after") or "")
    if seconds is None:
        date = date_field(fields, "retry-after", now)
        seconds = None if date is None else max(0.0, date - now)
    return None if seconds is None else min(ceil(seconds), LONGEST_WAIT)


# -- validators --------------------------------------------------------------------------------------------------------


class EntityTag(NamedTuple):
    """An entity tag; `opaque` has its quotes (8.8.3)."""

    weak: bool
    opaque: str


_TAG_MEMBER = re.compile(r'[ \t]*(?:(W/)?("[\x21\x23-\x7e\x80-\xff]*")[ \t]*)?(?:,|\Z)')


def entity_tags(value: str) -> tuple[EntityTag, ...]:
    """A list of entity tags; () when any part of it is not one. A tag may hold commas and knows no escapes."""
    tags = []
    at = 0
    while at < len(value):
        member = _TAG_MEMBER.match(value, at)
        if member is None:
            return ()
        if member[2] is not None:
            tags.append(EntityTag(member[1] is not None, member[2]))
        at = member.end()
    return tuple(tags)


IS_TAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"').fullmatch  # exactly one, with nothing around it


def etag(fields: Fields) -> EntityTag | None:
    """The ETag of an answer; None when it has none, or not exactly one valid one."""
    text = fields.get("etag")
    tags = entity_tags(text) if text is not None else ()
    return tags[0] if len(tags) == 1 else None


def same_strongly(a: EntityTag, b: EntityTag) -> bool:
    """Strong comparison (8.8.3.2)."""
    return not a.weak and not b.weak and a.opaque == b.opaque


def same_weakly(a: EntityTag, b: EntityTag) -> bool:
    """Weak comparison (8.8.3.2)."""
    return a.opaque == b.opaque


def strong_last_modified(fields: Fields, now: float) -> float | None:
    """Last-Modified where it may count as a strong validator: Date is so much later that neither a second change in
    the same second nor two clocks that disagree can hide behind it (8.8.2.2)."""
    modified, date = date_field(fields, "last-modified", now), date_field(fields, "date", now)
    return modified if modified is not None and date is not None and date - modified >= 60 else None
