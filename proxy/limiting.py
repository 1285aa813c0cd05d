"""The limited rules' part of the story: a request is counted, refused when its client has no more left, and whatever it
is answered says how the client stands.

`hits: count` counts a request as it arrives, before anything else is done for it; `hits: exempt` once it turns out that
store does not answer it. What is refused uses nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import assert_never

from proxy.limits.client import CLIENT_IP, by_address, by_header, client_of, counted_as
from proxy.limits.fields import seconds, with_limit
from proxy.limits.limiter import Counted, Limiter, Unknown
from proxy.limits.window import Standing
from proxy.message import Fields, Reply, Request
from proxy.outcome import Outcome, Verdict
from proxy.policy.own_answers import own_answer
from proxy.reasons import Why
from proxy.redis.budget import one_budget
from proxy.replying import Replying
from proxy.rules import RateLimit, Rule, RuleTable

AWAY = 1  # seconds after which another try makes sense when nobody counts: Redis is knocked at about so often


@dataclass(frozen=True, slots=True)
class Status:
    """How a client of a limited rule stands. `remaining` is None where nobody counts now; `reset`: seconds until it
    grows, rounded up, 0 when nothing is used; `counted`: who says so."""

    rule: str
    limit: int
    window: float
    remaining: int | None
    reset: int | None
    counted: Counted


class Turn:
    """One request of a limited rule, counted once at most."""

    __slots__ = ("_key", "_limiter", "_rate", "_reply", "_request", "_rule", "_standing")

    def __init__(self, limiter: Limiter, reply: Replying, request: Request, rule: Rule, rate: RateLimit) -> None:
        self._limiter = limiter
        self._reply = reply
        self._request = request
        self._rule = rule
        self._rate = rate
        self._key = counted_as(rule, client_of(request, rate.by))
        self._standing: Standing | Unknown | None = None

    async def arrive(self) -> Reply | None:
        """The refusal, before anything is done for the request; None: go on."""
        return None if self._rate.hits == "exempt" else await self.go_on()

    def at_once(self) -> bool:
        """Whether what store answers goes on, where nobody has to be asked for that. When not, nothing was counted."""
        if self._rate.hits == "count":
            standing = self._limiter.take_at_once(self._key, self._rate)
            if standing is None or not standing.allowed:
                return False
            self._standing = standing
        return True

    async def go_on(self) -> Reply | None:
        """The refusal of what store does not answer; None: go on."""
        if self._standing is not None:
            return None
        self._standing = await self._limiter.take(self._key, self._rate)
        if self._standing.allowed:
            return None
        match self._standing:
            case Standing():
                wait, window = seconds(self._standing), self._rate.window
                text = f"More than {self._rate.limit} requests in {window:g} s. The next one is welcome in {wait} s."
                return self._refused(429, Why.RATE_LIMITED, text, wait)
            case Unknown():
                return self._refused(503, Why.LIMITER_AWAY, "Nobody can say how much is left for you.", AWAY)
            case _:
                assert_never(self._standing)

    def told(self, fields: Fields) -> Fields:
        """What the client is told of the limit beside these. A hit that is not counted asks nobody for it."""
        standing = self._standing
        if standing is None:
            standing = self._limiter.glance(self._key, self._rate)
        known = standing if isinstance(standing, Standing) else None
        return with_limit(fields, self._rule.name, self._rate, known)

    def _refused(self, status: int, why: Why, text: str, wait: int) -> Reply:
        answer = own_answer(status, why, text, fields=(("Retry-After", str(wait)),))
        return self._reply.own(self._request, self._rule, answer, Outcome(Verdict.BYPASS, why, self._rule.name))


@dataclass(frozen=True, slots=True)
class Stand:
    """How the client of one request stands, and why that would be refused now; None: it would not. `arriving`: also
    where store answers it."""

    status: Status
    refusal: Why | None
    arriving: bool


class Limiting:
    """Gives each request of a limited rule its turn, and tells operators how its clients stand. `table` gives the rules
    that hold now."""

    def __init__(self, limiter: Limiter, replying: Replying, table: Callable[[], RuleTable]) -> None:
        self._limiter = limiter
        self._reply = replying
        self._table = table

    def turn(self, request: Request, rule: Rule) -> Turn | None:
        """None where the rule has no limit."""
        return None if rule.rate_limit is None else Turn(self._limiter, self._reply, request, rule, rule.rate_limit)

    async def status(self, key: str, *, by_address_alone: bool = False) -> Status | None:
        """How the client stands that `key` names: `<rule>:<address, or value of the header that the rule goes by>`;
        `by_address_alone`: the address of one who did not send the header. Nothing is used. None: there is no such
        rule, or it has no limit."""
        found = self._named(key)
        if found is None:
            return None
        rule, rate, value = found
        named = rate.by == CLIENT_IP or by_address_alone
        client = by_address(value) if named else by_header(rate.by, value)
        return (await self._look(rule, rate, client)).status

    async def stand(self, request: Request, rule: Rule) -> Stand | None:
        """What its turn would come to; nothing is used. None where the rule has no limit."""
        rate = rule.rate_limit
        return None if rate is None else await self._look(rule, rate, client_of(request, rate.by))

    async def _look(self, rule: Rule, rate: RateLimit, client: str) -> Stand:
        with one_budget():
            standing, counted = await self._limiter.peek(counted_as(rule, client), rate)
        remaining, reset, refusal = None, None, Why.LIMITER_AWAY
        if isinstance(standing, Standing):
            remaining, reset, refusal = standing.remaining, seconds(standing), Why.RATE_LIMITED
        status = Status(rule.name, rate.limit, rate.window, remaining, reset, counted)
        return Stand(status, None if standing.allowed else refusal, rate.hits == "count")

    def _named(self, key: str) -> tuple[Rule, RateLimit, str] | None:
        """Both a rule's name and a value may have colons: the longest name that fits is meant."""
        fits = [rule for rule in self._table().rules if rule.rate_limit and key.startswith(f"{rule.name}:")]
        rule = max(fits, key=lambda rule: len(rule.name), default=None)
        if rule is None or rule.rate_limit is None:
            return None
        return rule, rule.rate_limit, key[len(rule.name) + 1 :]
