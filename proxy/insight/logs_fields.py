"""Single values of log lines: times in their several forms, targets, hosts, numbers, fields."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from urllib.parse import quote

from proxy.insight.seen import Malformed
from proxy.message import Fields

_MONTHS = {
    name: n
    for n, name in enumerate(["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"], 1)
}
_CLF_TIME = re.compile(r"(\d{1,2})/([A-Z][a-z]{2})/(\d{4}):(\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)")
_KEPT = "".join(map(chr, range(0x21, 0x7F)))  # what a target may hold as it is; the rest is percent-encoded
_PORTS = {"http": ":80", "https": ":443"}
_LATEST_MS = 1e11  # seconds of the year 5138: a larger number counts milliseconds or less
_METHOD = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}")
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,200}")


@lru_cache(maxsize=64)
def clf_time(text: str) -> float:
    """Wall-clock seconds of "10/Oct/2000:13:55:36 -0700"."""
    found = _CLF_TIME.fullmatch(text)
    if found is None or found[2] not in _MONTHS:
        raise Malformed(f"{text[:40]!r} is no time like 10/Oct/2000:13:55:36 -0700")
    day, _, year, hour, minute, second = found.group(1, 2, 3, 4, 5, 6)
    off = timedelta(hours=int(found[8]), minutes=int(found[9])) * (1 if found[7] == "+" else -1)
    try:
        at = datetime(
            int(year), _MONTHS[found[2]], int(day), int(hour), int(minute), min(int(second), 59), tzinfo=timezone(off)
        )
    except ValueError as error:
        raise Malformed(f"{text} is no time: {error}") from None
    return at.timestamp()


def time_of(value: object) -> float:
    """Wall-clock seconds of RFC 3339 text, of the form of nginx, or of a number of seconds, milli-, micro- or
    nanoseconds since 1970."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _in_seconds(float(value))
    text = str(value)
    if text[2:3] == "/" or text[1:2] == "/":
        return clf_time(text)
    try:
        return _in_seconds(float(text))
    except ValueError:
        pass
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise Malformed(f"{text[:40]!r} is no time") from None
    return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()


def _in_seconds(number: float) -> float:
    while number > _LATEST_MS:
        number /= 1000
    if not number > 0:
        raise Malformed(f"{number:g} is no time")
    return number


def method_of(text: str) -> str:
    if _METHOD.fullmatch(text) is None:
        raise Malformed(f"{text[:40]!r} is no method")
    return text


def target_of(text: str) -> tuple[str, str, str]:
    """Scheme, host and target in origin-form of what a log has as the URL; "" where it does not say."""
    scheme, mark, rest = text.partition("://")
    host = ""
    if mark and scheme.lower() in ("http", "https"):
        host, slash, path = rest.partition("/")
        text, scheme = slash + path or "/", scheme.lower()
    else:
        scheme = ""
    if not text.startswith("/") and text != "*":
        raise Malformed(f"{text[:40]!r} is no path")
    target = text.partition("#")[0]
    return scheme, host, target if target.isascii() and target.isprintable() else quote(target, safe=_KEPT)


def host_of(text: str, scheme: str) -> str:
    """As `Request.host`: lower case, default port off."""
    return text.lower().removesuffix(_PORTS.get(scheme, ":80"))


def count_of(value: object, name: str) -> int:
    """A number that is not negative; "-" and nothing are 0."""
    if value in (None, "", "-"):
        return 0
    try:
        number = int(float(str(value)))
    except (ValueError, OverflowError):
        raise Malformed(f"{name}: {str(value)[:40]!r} is no number") from None
    return max(0, number)


def status_of(value: object) -> int:
    status = count_of(value, "status")
    if not 100 <= status <= 599:
        raise Malformed(f"{str(value)[:40]!r} is no status")
    return status


def seconds_of(value: object) -> float:
    """A duration in seconds; nginx lists several tries ("0.012, 0.020"), which add up. What is none is 0."""
    if isinstance(value, int | float):
        return max(0.0, float(value))
    total = 0.0
    for part in str(value or "").replace(" : ", ",").split(","):
        try:
            total += float(part)
        except ValueError:
            continue
    return max(0.0, total)


# The connection's own are no matter for a cache behind it, and browsers write those of HTTP/2 too.
_LEFT_OUT = frozenset({"host", "content-length", "connection", "transfer-encoding", "te", "upgrade", "keep-alive"})


def fields_of(pairs: Iterable[tuple[object, object]]) -> Fields:
    """Those of a message as logs name them, without what no field is called."""
    told = ((str(name), str(value)) for name, value in pairs)
    return Fields(
        (name.encode(), value.encode("utf-8", "replace"))
        for name, value in told
        if _NAME.fullmatch(name) and name.lower() not in _LEFT_OUT
    )
