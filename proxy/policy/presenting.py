"""What of an answer this client gets, and how it is dressed: status, fields and the part of the content."""

from collections.abc import Iterator

from proxy.fixed import fixed
from proxy.message import Fields, Head, Request
from proxy.names import order_of
from proxy.outcome import Outcome
from proxy.policy import cache_status
from proxy.policy.conditional import client_condition, not_modified_fields
from proxy.policy.fields import http_date
from proxy.policy.forwarding import response_fields, upgrade_required
from proxy.policy.memo import Memo
from proxy.policy.ranges import Part, Pieces, Several, Unsatisfiable, client_range, content_range, length, multipart
from proxy.reasons import Why
from proxy.rules import Rule

# What we say ourselves on every reply; an origin's own fields of these names give way. Age is computed anew.
_OURS = frozenset({"x-cache", "x-cache-tier", "x-request-id"})
_OURS_AND_AGE = _OURS | {"age"}
# They tell of the content of one message, and a part of it is another (RFC 9530 2, RFC 2616 14.15).
_OF_THE_CONTENT = frozenset({"content-digest", "content-md5"})


@fixed
class Plan:
    """The head to send and the content [start, end) of the representation that follows it."""

    status: int
    phrase: str
    fields: Fields
    start: int = 0
    end: int | None = None  # None: to the end, which is not known yet
    why: Why | None = None  # when the content was cut or left out on the client's own condition
    parts: tuple[Part, ...] = ()  # when several are wanted: see `in_parts`
    media: str | None = None  # their Content-Type

    @property
    def empty(self) -> bool:
        return self.end is not None and self.end <= self.start

    @property
    def outside(self) -> bool:
        """Whether no part of what was asked for exists; a 416 of the origin's own is like any other answer of it."""
        return self.status == 416 and self.why is Why.RANGE


def plan(
    request: Request, status: int, phrase: str, fields: Fields, size: int | None, *, growing: bool = False
) -> Plan:
    """Answer the client's own preconditions and range from a whole answer (RFC 9110 13.2.2, 14.2).

    `size` is the content's length in bytes, None while nobody knows it; then no range is cut. Of what is `growing`,
    and read but once, one part is cut at most.
    """
    code = client_condition(request, status, fields)
    if code == 304:
        return Plan(304, "Not Modified", not_modified_fields(fields), end=0, why=Why.NOT_MODIFIED)
    if size is not None and "content-length" not in fields and status not in (204, 304):
        fields = fields.plus(("Content-Length", str(size)))
    if request.method == "HEAD":
        return Plan(status, phrase, fields, end=0)
    if size is not None and status == 200 and "range" in request.fields:
        return _cut(request, phrase, fields, size, growing=growing)
    return Plan(status, phrase, fields, end=size)


def _cut(request: Request, phrase: str, fields: Fields, size: int, *, growing: bool) -> Plan:
    match client_range(request, size, fields):
        case Part(start, end):
            told = _of_a_part(request, fields).replacing(
                ("Content-Range", content_range(Part(start, end), size)), ("Content-Length", str(end - start))
            )
            return Plan(206, "Partial Content", told, start, end, Why.RANGE)
        case Several(parts) if not growing:
            told, media = _of_a_part(request, fields), fields.get("content-type")
            return Plan(206, "Partial Content", told, 0, size, Why.RANGE, parts, media)
        case Unsatisfiable():
            told = Fields.of(("Content-Range", f"bytes */{size}"))
            return Plan(416, "Range Not Satisfiable", told, end=0, why=Why.RANGE)
        case _:
            return Plan(200, phrase, fields, end=size)


def _of_a_part(request: Request, fields: Fields) -> Fields:
    """Who asks with If-Range has the representation's metadata; the validator by which parts are combined stays
    (RFC 9110 15.3.7)."""
    return not_modified_fields(fields) if "if-range" in request.fields else fields.without(_OF_THE_CONTENT)


def in_parts(what: Plan, boundary: str) -> tuple[Fields, Pieces]:
    """The fields and the content of a plan with several parts (RFC 9110 14.6, 15.3.7.2)."""
    assert what.end is not None
    pieces = multipart(what.parts, what.end, what.media, boundary)
    media = "Content-Type", f"multipart/byteranges; boundary={boundary}"
    fields = what.fields.without({"content-range"})  # it would be a single part's
    return fields.replacing(media, ("Content-Length", str(length(pieces)))), pieces


def dress(
    fields: Fields,
    request: Request,
    rule: Rule,
    outcome: Outcome,
    name: str,
    age: float | None,
    *,
    status: int | None = None,
) -> Fields:
    """Add what the gateway itself says. `age` in seconds for an answer from store (RFC 9111 5.1), else None: then
    the Age that came from upstream stands. `status` is what the client is told."""
    drop = _OURS if age is None else _OURS_AND_AGE
    if rule.client_cache_control is not None and rule.caches:
        drop |= {"cache-control", "expires", "pragma"}
    control = rule.client_cache_control if rule.caches else None
    told = _said(control, outcome, name, None if age is None else int(age), status, debug=request.debug)
    whole = fields.without(drop).followed_by(told)
    return whole.followed_by(Fields.laid(_ID, (request.id.encode("latin-1"),))) if request.id else whole


_ID = order_of((b"X-Request-Id",))


_SAID: Memo[object, Fields] = Memo(1024)  # few words in few combinations, but for ages and lifetimes


def _said(
    control: str | None, outcome: Outcome, name: str, age: int | None, status: int | None, *, debug: bool
) -> Fields:
    """The same lines for all whose outcome is the same."""
    if debug:
        return Fields.of(*_lines(control, outcome, name, age, status, debug=True))
    known = _SAID.get(key := (control, name, age, *cache_status.told(outcome, status)))
    if known is None:
        known = Fields.of(*_lines(control, outcome, name, age, status, debug=False))
        _SAID.put(key, known)
    return known


def _lines(
    control: str | None, outcome: Outcome, name: str, age: int | None, status: int | None, *, debug: bool
) -> Iterator[tuple[str, str]]:
    if age is not None:
        yield "Age", str(age)
    if control is not None:
        yield "Cache-Control", control
    yield "Via", f"1.1 {name}"
    yield "X-Cache", outcome.verdict
    if outcome.tier is not None:
        yield "X-Cache-Tier", outcome.tier
    yield "Cache-Status", cache_status.render("cachegate", outcome, status, debug=debug)


def server_timing(outcome: Outcome) -> str:
    """Where the time went, in milliseconds: each tier that was asked, and the upstream."""
    told = [(tier.value, seconds) for tier, seconds in (outcome.tier_seconds or {}).items()]
    if outcome.upstream_seconds is not None:
        told.append(("upstream", outcome.upstream_seconds))
    return ", ".join(f"{name};dur={seconds * 1000:.3f}" for name, seconds in told)


def end_to_end(head: Head) -> Fields:
    """What everybody past us may know of an answer's fields. A Cache-Status that cannot be read would make ours, which
    stands behind it, unreadable too (RFC 9651 4.2)."""
    fields = response_fields(head.fields)
    if "cache-status" in fields and not cache_status.readable(fields.get("cache-status")):
        fields = fields.without({"cache-status"})
    fields = dated(head, fields)
    return fields if head.status != 426 else fields.plus(*upgrade_required(head))


def dated(head: Head, fields: Fields) -> Fields:
    """A recipient with a clock adds the Date that an answer lacks (RFC 9110 6.6.1)."""
    return fields if "date" in fields else fields.plus(("Date", http_date(head.received_at)))
