"""What the origin would have answered, as far as a log tells: for requests whose answer came from a store, and under
other rules than held then.

Our own lines hold reasons and not fields, so that the fields are made that have the judgement say the same again:
`stored: false, reason: no-store` is an answer with `Cache-Control: no-store`. Where the log is silent something is
assumed, and each assumption is counted by what it says.
"""

from collections import Counter
from collections.abc import AsyncIterator
from functools import lru_cache

from proxy.fixed import fixed
from proxy.insight.seen import NO_FIELDS, Ours, Seen
from proxy.message import Fields, Framing, Head, Request, Upload
from proxy.outcome import Verdict
from proxy.policy.memo import Memo
from proxy.rules import Rule, RuleTable

TARGETS = 100_000  # whose last answer is remembered, twice as many at most
VARIANT = "x-logged-variant"  # stands for the request fields that our log tells only by the variant's digest
_WHOLE = frozenset({206, 304, 412, 416})  # statuses that answer what one client asked for himself
UNSAID = (
    "the log does not say how long the origin lets answers live; taken as saying nothing, so that a rule's ttl acts"
)
NO_BODY = "bodies of requests are not in the log; the key that it tells stands for them"
NO_BODY_AT_ALL = "bodies of requests are not in the log; taken as the same for every request to a URL"
STOOD_IN = "headers that are in a rule's key are not in the log; the key that it tells stands for them"
NO_HEADERS = "headers that a rule asks for are not in the log; such a rule gets no request"
UNKEYED = "headers that are in a rule's key are not in the log; taken as the same for every request to a URL"
UNSIZED = "the whole size of an answer is not in the log (HEAD, 206, 304); taken as that of the last whole one"

# Reasons for which an answer was not stored, and the fields that make it so.
_ANSWERS: dict[str, tuple[tuple[str, str], ...]] = {
    "no-store": (("Cache-Control", "no-store"),),
    "private": (("Cache-Control", "private"),),
    "set-cookie": (("Set-Cookie", "logged=1"),),
    "vary-star": (("Vary", "*"),),
    "origin-no-cache": (("Cache-Control", "no-cache"),),
    "must-revalidate": (("Cache-Control", "must-revalidate"),),
}
_OPEN_END = frozenset({"unproven-end", "truncated"})
# Reasons that lie in the request, and the fields that make it so.
_REQUESTS: dict[str, tuple[tuple[str, str], ...]] = {
    "request-no-store": (("Cache-Control", "no-store"),),
    "request-no-cache": (("Cache-Control", "no-cache"),),
    "request-max-age": (("Cache-Control", "max-age=0"),),
    "only-if-cached": (("Cache-Control", "only-if-cached"),),
    "precondition": (("If-Match", '"logged"'),),
    "credentials": (("Authorization", "logged"),),
    "cookie": (("Cookie", "logged=1"),),
    "method-override": (("X-HTTP-Method-Override", "LOGGED"),),
}
_ASSUMED_VALIDATOR = ("ETag", '"logged"')


@fixed
class Said:
    """An answer of the origin's: `size` of its content, `took` seconds; `failed`: there was none."""

    head: Head
    size: int
    took: float
    failed: bool = False


@fixed
class _Known:
    """What is remembered. `confirms`: whether the origin says 304 when it is asked again, None while nobody knows."""

    status: int
    size: int
    fields: Fields
    framing: Framing
    took: float
    confirms: bool | None = None


_NOTHING = _Known(200, 0, NO_FIELDS, Framing.LENGTH, 0.0)


class Recollection:
    """Requests and answers as they were. Who asks gives an `assumed`: there requests are counted for which something
    was assumed, by what that says."""

    def __init__(self) -> None:
        self._known: Memo[str, _Known] = Memo(TARGETS)

    def hear(self, seen: Seen) -> None:
        """Remember what the origin said, where this line tells it."""
        ours = seen.ours
        if (ours is not None and not ours.from_origin) or seen.method == "HEAD" or seen.status in _WHOLE:
            return
        names = _names(seen)
        known = _of_line(seen, self._known.get(names[0]))
        for name in names if seen.status == 200 else names[:2]:
            self._known.put(name, known)

    def answer(self, seen: Seen, now: float, assumed: Counter[str], *, conditional: bool) -> Said:
        """What the origin says when it is asked now, `conditional` with the validator of its last answer."""
        ours, known = seen.ours, self._find(seen)
        if ours is not None and (ours.reason.startswith("upstream-") or ours.verdict is Verdict.STALE):
            return Said(Head(502, "", NO_FIELDS), 0, seen.took, failed=True)
        if seen.answer is None and (ours is None or known is _NOTHING):
            assumed[UNSAID] += 1
        took = seen.took if ours is None or ours.from_origin else known.took
        if conditional and (known.confirms or (ours is not None and ours.verdict is Verdict.REVALIDATED)):
            return Said(Head(304, "", _validated(known.fields), Framing.NONE, now, now + took), 0, took)
        status, size = seen.status, seen.size
        if seen.method == "HEAD" or status in _WHOLE:
            assumed[UNSIZED] += 1
            status, size = known.status, known.size
        fields = known.fields.plus(("Content-Length", str(size)))
        return Said(Head(status, "", fields, known.framing, now, now + took), size, took)

    def _find(self, seen: Seen) -> _Known:
        """Of the narrowest name that is known."""
        return next(filter(None, map(self._known.get, _names(seen))), _NOTHING)

    def request(self, seen: Seen, table: RuleTable, assumed: Counter[str]) -> tuple[Request, bytes | None]:
        """The request as these rules see it, and its content, None where it has none."""
        fields, body = seen.asked, seen.body
        if fields is None:
            fields = _fields_asked(seen, table, assumed)
        if body is None and (seen.method == "POST" or (seen.ours and seen.ours.reason == "content-in-get")):
            body = _stand_in(seen, assumed)
        upload = None if body is None else Upload(_nothing(), len(body))
        trusted = seen.ours is not None
        request = Request(
            seen.method,
            seen.scheme,
            seen.host,
            seen.target,
            fields,
            received_at=seen.time,
            trusted=trusted,
            body=upload,
        )
        return request, body


def _stand_in(seen: Seen, assumed: Counter[str]) -> bytes:
    key = seen.ours.key if seen.ours else ""
    assumed[NO_BODY if key else NO_BODY_AT_ALL] += 1
    return (key or "unknown").encode()


def _fields_asked(seen: Seen, table: RuleTable, assumed: Counter[str]) -> Fields:
    ours = seen.ours
    if ours is None:
        if any(rule.request_headers for rule in table.rules):
            assumed[NO_HEADERS] += 1
        if any(rule.key.headers or rule.key.cookies for rule in table.rules):
            assumed[UNKEYED] += 1
        return NO_FIELDS
    pairs = dict(_REQUESTS.get(ours.reason, ()))
    digest, _, variant = ours.key.partition(".")
    if variant:
        pairs[VARIANT] = variant
    rule = next((rule for rule in table.rules if rule.name == ours.rule), None)
    if rule is not None and digest:
        stood_in = _stand_ins(rule, digest)
        if stood_in:
            assumed[STOOD_IN] += 1
        pairs |= stood_in
    elif any(rule.request_headers for rule in table.rules):
        assumed[NO_HEADERS] += 1
    return _fields(*pairs.items())


def _stand_ins(rule: Rule, digest: str) -> dict[str, str]:
    """What the rule's key reads of a request, told apart as the logged key tells it apart."""
    values = {name: digest for name in rule.key.headers if name not in rule.credential_headers}
    values |= {name: glob.replace("*", digest).replace("?", "x") for name, glob in rule.request_headers}
    if rule.key.credentials == "key":
        values["authorization"] = digest
    if rule.key.cookies:
        values["cookie"] = f"{rule.key.cookies[0]}={digest}"
    return values


async def _nothing() -> AsyncIterator[bytes]:
    """An upload that nobody reads: its length is all that is asked for."""
    return
    yield b""


def _names(seen: Seen) -> tuple[str, ...]:
    """By what an answer is remembered, the narrowest first: the key that our log tells, the URL, its path, its rule,
    its method, each standing for those of its kind of which nothing is known. HEAD is asked of what GET has."""
    ours, method = seen.ours, "GET" if seen.method == "HEAD" else seen.method
    url = f"{method} {seen.host}{seen.target}"
    narrow = ours.key if ours is not None and ours.key else url
    return narrow, url, url.partition("?")[0], f"{method} {ours.rule if ours is not None else ''}", method


def _of_line(seen: Seen, before: _Known | None) -> _Known:
    ours = seen.ours
    if ours is None:
        fields = seen.answer or NO_FIELDS
        return _Known(seen.status, seen.size, fields.without(_LENGTH), Framing.LENGTH, seen.took)
    confirms = before.confirms if before is not None else None
    if ours.verdict in (Verdict.REVALIDATED, Verdict.EXPIRED):
        confirms = ours.verdict is Verdict.REVALIDATED
    framing = Framing.CLOSE if ours.reason in _OPEN_END else Framing.LENGTH
    fields = _fields_of(ours, confirms, before)
    return _Known(seen.status, seen.size, fields, framing, seen.took, confirms)


_LENGTH = frozenset({"content-length"})


def _fields_of(ours: Ours, confirms: bool | None, before: _Known | None) -> Fields:
    if ours.verdict is Verdict.REVALIDATED and before is not None and ours.origin_ttl is None:
        return _validated(before.fields)
    pairs = list(_ANSWERS.get(ours.reason, ()))
    if ours.origin_ttl is not None:
        pairs.append(("Cache-Control", f"max-age={max(0, int(ours.origin_ttl))}"))
    if ours.stored and (confirms is not False or not (ours.origin_ttl or ours.rule)):
        pairs.append(_ASSUMED_VALIDATOR)
    if ours.key.partition(".")[2]:
        pairs.append(("Vary", VARIANT))
    return _fields(*pairs)


@lru_cache(1024)
def _fields(*pairs: tuple[str, str]) -> Fields:
    """One of those that are equal: answers of many URLs are alike."""
    return Fields.of(*pairs)


def _validated(fields: Fields) -> Fields:
    return fields if "etag" in fields else fields.plus(_ASSUMED_VALIDATOR)
