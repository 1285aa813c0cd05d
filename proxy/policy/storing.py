"""May this answer be stored? (RFC 9111 3)"""

from dataclasses import dataclass, replace

from proxy.entry import Body, Entry, Pairs, Position
from proxy.fixed import fixed
from proxy.message import Framing, Head, Request
from proxy.policy.cache_control import Directives, asked
from proxy.policy.conditional import ORIGIN_CONDITIONS, conditions
from proxy.policy.freshness import Lifetime, initial_age, keep_until, lifetime, may_guess, windows
from proxy.policy.identity import sets_cookies, uncovered
from proxy.policy.keys import Keyed
from proxy.policy.tags import tags_of
from proxy.policy.vary import vary_names, vary_values
from proxy.reasons import Why
from proxy.rules import Mode, Rule


@fixed
class Keep:
    """Store it. `lifetime` seconds from `received_at` less the age it came with; `keep_until` wall clock; `withheld`
    fields (lower case) are for the client that asked, and not stored (RFC 9111 5.2.2.4, 5.2.2.7)."""

    lifetime: float
    keep_until: float
    vary: Pairs
    origin_ttl: float | None = None
    withheld: frozenset[str] = frozenset()
    why: Why = Why.STORED


@dataclass(frozen=True, slots=True)
class Skip:
    """Do not store it, and why."""

    why: Why
    origin_ttl: float | None = None


Storing = Keep | Skip

# Statuses whose caching is specified and implemented here (RFC 9111 3); 206 is judged by `policy.parts`.
UNDERSTOOD = frozenset(
    {200, 201, 202, 203, 204, 205, 300, 301, 302, 303, 305, 307, 308}
    | set(range(400, 418))
    | {421, 422, 426, 500, 501, 502, 503, 504, 505}
)


def judge_storing(request: Request, head: Head, rule: Rule, now: float) -> Storing:
    """Keep it, or skip it for the first of these reasons: what was asked, what came, whose it is, what it is worth.

    `head` holds end-to-end fields; `now` is wall-clock seconds. A body of unknown length is judged at its end by
    `judge_size`.
    """
    fields, status = head.fields, head.status
    life = lifetime(fields, status, rule, head.received_at)
    why = (
        _of_request(request, rule)
        or _of_status(request, status, life)
        or _of_directives(head, life.said, rule)
        or _of_person(request, head, rule, life)
    )
    names = vary_names(fields)
    if names is None:
        return Skip(why or Why.VARY_STAR, life.origin)
    initial = initial_age(fields, head.requested_at, head.received_at)
    age = initial + max(0.0, now - head.received_at)
    renewable = bool(conditions(request.method, status, fields))
    why = why or _of_body(head, rule) or _of_worth(status, rule, life, age, renewable)
    if why is not None:
        return Skip(why, life.origin)
    return Keep(
        lifetime=max(0.0, life.seconds - initial),
        keep_until=keep_until(life, rule, age, now, renewable=renewable),
        vary=vary_values(names, request.fields, rule),
        origin_ttl=life.origin,
        withheld=life.said.withheld,
    )


def entry_of(
    request: Request,
    rule: Rule,
    keyed: Keyed,
    head: Head,
    keep: Keep,
    position: Position,
    *,
    content: bytes | None,
    body: Body,
    fence: int = 0,
) -> tuple[Entry, int]:
    """What is stored of an answer that is kept, and how many of its tags are not. `content` is that of the request,
    where it is part of the key; `position` and `fence` are those with which its fetch began."""
    tags = tags_of(rule, request, keyed, head.fields, content)
    entry = Entry(
        hash=keyed.hash,
        parts=keyed.parts,
        status=head.status,
        phrase=head.phrase,
        fields=head.fields.without(keep.withheld) if keep.withheld else head.fields,
        requested_at=head.requested_at,
        received_at=head.received_at,
        keep_until=keep.keep_until,
        body=body,
        vary=keep.vary,
        rule=rule.name,
        tags=tags.kept,
        position=position,
        fence=fence,
    )
    return entry, tags.dropped


def judge_posted(request: Request, head: Head, rule: Rule, now: float) -> Storing:
    """As `judge_storing`, of an answer to a POST that says it is one to `request`, a GET: only with explicit freshness
    of the origin's (RFC 9110 9.3.3)."""
    storing = judge_storing(request, head, rule, now)
    if isinstance(storing, Keep) and not lifetime(head.fields, head.status, rule, head.received_at, own=True).explicit:
        return Skip(Why.NO_FRESHNESS, storing.origin_ttl)
    return storing


def barred(request: Request, rule: Rule) -> Why | None:
    """Why a request is no matter for the cache, whatever is stored or answered; None when it is one."""
    match rule.mode:
        case Mode.ON | Mode.ORIGIN:
            return None if request.method in rule.methods else Why.METHOD
        case Mode.OFF:
            return Why.RULE_OFF
        case Mode.SHADOW:
            return Why.SHADOW
        case Mode.BYPASS:
            return Why.NO_RULE


def judge_size(rule: Rule, size: int) -> Skip | None:
    """The rule's word on a body of `size` bytes; None when it may be kept."""
    if size < rule.min_size:
        return Skip(Why.MIN_SIZE)
    return Skip(Why.MAX_SIZE) if rule.max_size is not None and size > rule.max_size else None


def judge_renewed(request: Request, told: Head, renewed: Entry, rule: Rule, now: float) -> Skip | None:
    """Why what the 304 `told` made of a stored answer is for this client alone; None when it may take its place.

    It has to be storable as it stands now. And where the request is bound to a person, the 304 itself has to say that
    it is for everybody: what the stored fields permit was said of an answer to somebody else (RFC 9111 3.5).
    """
    times = renewed.requested_at, renewed.received_at
    judged = judge_storing(
        request, Head(renewed.status, renewed.phrase, renewed.fields, Framing.LENGTH, *times), rule, now
    )
    if isinstance(judged, Skip):
        return judged
    life = lifetime(told.fields, renewed.status, rule, told.received_at)
    why = _of_person(request, replace(told, status=renewed.status), rule, life)
    return Skip(why, judged.origin_ttl) if why is not None else None


def may_replace(entry: Entry, head: Head) -> bool:
    """Whether an answer that may be stored may take the place of `entry`: an error never puts out a good answer."""
    return head.status < 500 or entry.status >= 500


def for_all(request: Request, rule: Rule, skip: Skip) -> bool:
    """Whether the reason why an answer is not kept holds for everybody. What one client asked for himself, or is told
    as a person, says nothing of what everybody gets. Of a 304 it takes away the leave to keep what it confirms
    (RFC 9111 3.2, 4.3.4)."""
    return skip.why is not Why.REQUEST_NO_STORE and uncovered(request, rule) is None


def outdates(request: Request, head: Head, rule: Rule, skip: Skip, *, conditional: bool) -> bool:
    """Whether an answer that is not kept shows all the same that the stored one is over: there is nothing any more, or
    something else than the validators of our request (`conditional`) describe (RFC 9111 4.3.3)."""
    if not for_all(request, rule, skip):
        return False
    return head.status in (404, 410) or (conditional and 200 <= head.status < 400)


# -- judge_storing, in the order of its reasons ------------------------------------------------------------------------


def _of_request(request: Request, rule: Rule) -> Why | None:
    if request.method == "HEAD":
        return Why.HEAD_ONLY
    if request.method not in ("GET", "POST") or request.method not in rule.methods:
        return Why.METHOD
    if asked(request, rule).no_store:
        return Why.REQUEST_NO_STORE
    return barred(request, rule)


def _of_status(request: Request, status: int, life: Lifetime) -> Why | None:
    if status < 200 or status == 304:
        return Why.STATUS
    if status == 206:
        return Why.PARTIAL
    if status in (412, 416) and request.fields.has_any(_SPECIAL):
        return Why.STATUS  # it answers a condition or range that is not in the key
    return Why.MUST_UNDERSTAND if life.said.must_understand and status not in UNDERSTOOD else None


_SPECIAL = ORIGIN_CONDITIONS | {"range", "if-range"}


def _of_directives(head: Head, said: Directives, rule: Rule) -> Why | None:
    if said.no_store and not said.must_understand:  # RFC 9111 5.2.2.3; the status is understood by now
        return Why.NO_STORE
    if said.private and not rule.store_private:
        return Why.PRIVATE
    if sets_cookies(head.fields) and not (said.public and rule.store_set_cookie):
        return Why.SET_COOKIE
    return None


def _of_person(request: Request, head: Head, rule: Rule, life: Lifetime) -> Why | None:
    """Credentials and cookies that the rule does not cover: stored on the origin's own word alone (RFC 9111 3.5)."""
    why = uncovered(request, rule)
    if why is None:
        return None
    own = life if life.explicit else lifetime(head.fields, head.status, rule, head.received_at, own=True)
    if why is Why.CREDENTIALS:
        if not _permits_credentials(own):
            return why
        if rule.key.cookies is not None or "cookie" not in request.fields:
            return None
        why = Why.COOKIE
    return None if own.shareable else why


def _permits_credentials(own: Lifetime) -> bool:
    """RFC 9111 3.5. `must-revalidate` permits it for a lifetime that the origin gave beside it: a rule's ttl must not
    stretch it to a permission that nobody gave."""
    said = own.said
    return said.public or said.s_maxage is not None or (said.must_revalidate and own.shareable)


def _of_body(head: Head, rule: Rule) -> Why | None:
    if head.framing is Framing.CLOSE:
        return Why.UNPROVEN_END
    if rule.max_size is None and rule.min_size <= 0:
        return None
    size = 0 if head.framing is Framing.NONE else head.length
    skip = judge_size(rule, size) if size is not None else None
    return skip.why if skip is not None else None


def _of_worth(status: int, rule: Rule, life: Lifetime, age: float, renewable: bool) -> Why | None:
    """What has neither a lifetime, nor a window that somebody named, nor a validator can serve nobody."""
    if life.source in ("none", "no-cache") and not may_guess(status, rule, life.said):
        return Why.STATUS
    if renewable:
        return None
    match life.source:
        case "none":
            return Why.NO_FRESHNESS
        case "no-cache":
            return Why.ORIGIN_NO_CACHE
        case _:
            return None if life.seconds + _named_window(life, rule) > age else Why.ZERO_TTL


def _named_window(life: Lifetime, rule: Rule) -> float:
    """The longest window that the origin or the rule names; the default for errors alone is no reason to keep."""
    window = windows(life, rule)
    named = rule.stale_if_error is not None or life.said.stale_if_error is not None
    return max(window.while_revalidate, window.if_error if named else 0.0)
