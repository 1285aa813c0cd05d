"""How long an answer is fresh, how old it is, and how long after that it may still be of use.

Facts are stored, verdicts computed: all of this is worked out from the stored fields and the current rule whenever it
is asked for, so that a reloaded ttl acts at once. Seconds everywhere, wall clock for times.
"""

from typing import Literal, NamedTuple

from proxy.entry import Entry
from proxy.message import Fields
from proxy.policy.cache_control import Directives, for_shared_cache
from proxy.policy.fields import date_field, delta_seconds, members
from proxy.rules import Mode, Rule

HEURISTIC_STATUSES = frozenset({200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501})  # RFC 9110 15.1
HEURISTIC_SHARE = 0.1  # of the time since Last-Modified (RFC 9111 4.2.2)
HEURISTIC_LIMIT = 86_400.0

Source = Literal["override", "no-cache", "s-maxage", "max-age", "expires", "rule", "heuristic", "none"]


class Lifetime(NamedTuple):
    """A freshness lifetime, counted from the answer's generation, and who gave it.

    `origin` is what the origin itself said, None when it said nothing.
    """

    seconds: float
    origin: float | None
    source: Source
    said: Directives

    @property
    def explicit(self) -> bool:
        """Whether it is the origin's own explicit expiration time (RFC 9111 4.2)."""
        return self.source in ("s-maxage", "max-age", "expires")

    @property
    def shareable(self) -> bool:
        """Whether the origin itself, knowing of shared caches, let them give the answer to anybody: a positive
        lifetime, or one of any length with `public` or `s-maxage`. A bare `max-age=0` says no such thing."""
        return self.explicit and (self.seconds > 0 or self.said.public or self.source == "s-maxage")

    @property
    def never_stale(self) -> bool:
        """Whether a stale answer must not be sent unvalidated, whatever its windows say (RFC 9111 4.2.4)."""
        said = self.said
        return said.must_revalidate or said.proxy_revalidate or said.s_maxage is not None or self.source == "no-cache"


def lifetime(fields: Fields, status: int, rule: Rule, received_at: float, *, own: bool = False) -> Lifetime:
    """The freshness lifetime of an answer under `rule` (RFC 9111 4.2.1).

    The origin's explicit word wins over the rule's ttl unless the rule overrides it; without either, heuristics.
    `own`: by the origin's word alone, for requests that a rule's ttl does not cover.
    """
    said = for_shared_cache(fields)
    ttl = None if own else rule_ttl(rule, status)
    if ttl is not None and rule.override:
        return Lifetime(ttl, _explicit(said, fields, received_at)[0], "override", said)
    if said.no_cache:  # conflicting directives: the most restrictive counts
        return Lifetime(0.0, 0.0, "no-cache", said)
    origin, source = _explicit(said, fields, received_at)
    if origin is not None:
        return Lifetime(origin, origin, source, said)
    if ttl is not None:
        return Lifetime(ttl, None, "rule", said)
    if not own and rule.heuristic and may_guess(status, rule, said):
        return _guessed(said, fields, received_at)
    return Lifetime(0.0, None, "none", said)


def rule_ttl(rule: Rule, status: int) -> float | None:
    """The ttl that a rule gives to answers of this status; errors only where they are named."""
    for code, ttl in rule.negative_ttl:
        if code == status:
            return ttl
    return rule.ttl if status in rule.statuses else None


def may_guess(status: int, rule: Rule, said: Directives) -> bool:
    """Whether an answer that says nothing of its freshness may be kept at all (RFC 9111 3, 4.2.2). A rule narrows it
    to the statuses that it names. An error nobody has a word for is not guessed at: it would be kept for everybody,
    and may have been drawn by one odd request."""
    if rule.mode is not Mode.ORIGIN and status not in rule.statuses:
        return False
    return said.public or (status in HEURISTIC_STATUSES and (status < 400 or rule.mode is not Mode.ORIGIN))


def _explicit(said: Directives, fields: Fields, received_at: float) -> tuple[float | None, Source]:
    if said.s_maxage is not None:
        return said.s_maxage, "s-maxage"
    if said.max_age is not None:
        return said.max_age, "max-age"
    if "expires" not in fields or said.targeted:  # RFC 9213 2.2
        return None, "none"
    expires = date_field(fields, "expires", received_at)
    if expires is None:  # invalid, "0" above all, is in the past (RFC 9111 5.3)
        return 0.0, "expires"
    date = date_field(fields, "date", received_at)
    return expires - (received_at if date is None else date), "expires"  # negative where it was over before it came


def _guessed(said: Directives, fields: Fields, received_at: float) -> Lifetime:
    modified = date_field(fields, "last-modified", received_at)
    if modified is None:
        return Lifetime(0.0, None, "none", said)
    date = date_field(fields, "date", received_at)
    since = (received_at if date is None else date) - modified
    return Lifetime(min(max(0.0, since * HEURISTIC_SHARE), HEURISTIC_LIMIT), None, "heuristic", said)


# -- age ---------------------------------------------------------------------------------------------------------------

# Date has whole seconds, and what the answer was under way is in the response delay already: a smaller difference
# between our clock and Date says nothing about age.
_CLOCK_GRAIN = 2.0


def initial_age(fields: Fields, requested_at: float, received_at: float) -> float:
    """The age of an answer when it came: corrected_initial_age of RFC 9111 4.2.3."""
    date = date_field(fields, "date", received_at)
    apparent = 0.0 if date is None else received_at - date
    if apparent < _CLOCK_GRAIN:
        apparent = 0.0
    corrected = _age_value(fields) + max(0.0, received_at - requested_at)
    return max(apparent, corrected)


def _age_value(fields: Fields) -> int:
    """The first member of Age; what is no number is ignored (RFC 9111 5.1)."""
    said = fields.get("age")
    return 0 if said is None else delta_seconds(next(iter(members(said)), "")) or 0


def current_age(entry: Entry, now: float) -> float:
    """RFC 9111 4.2.3; a clock that was set back makes nothing younger than it came."""
    return initial_age(entry.fields, entry.requested_at, entry.received_at) + max(0.0, now - entry.received_at)


# -- after the lifetime ------------------------------------------------------------------------------------------------


class Windows(NamedTuple):
    """How many seconds beyond its lifetime an answer may be sent: while it is refreshed, and when that fails."""

    while_revalidate: float
    if_error: float


_SHUT = Windows(0.0, 0.0)


def windows(life: Lifetime, rule: Rule) -> Windows:
    """The windows of RFC 5861: the rule's where it names them, else the origin's; shut by every prohibition. What
    never had a lifetime has none to be prolonged behind the clients' backs."""
    if life.never_stale:
        return _SHUT
    said = life.said
    behind = said.stale_while_revalidate if rule.stale_while_revalidate is None else rule.stale_while_revalidate
    if life.source == "none":
        behind = 0.0
    error = said.stale_if_error if rule.stale_if_error is None else rule.stale_if_error
    return Windows(behind or 0.0, rule.default_stale_if_error if error is None else error)


def keep_until(life: Lifetime, rule: Rule, age: float, now: float, *, renewable: bool) -> float:
    """When nobody can want an answer of this `age` any more: after its lifetime, its windows, and with a validator
    `cache.keep`."""
    remaining = max(0.0, life.seconds - age)
    return now + remaining + max(windows(life, rule)) + (rule.keep if renewable else 0.0)
