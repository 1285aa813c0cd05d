"""The story of one request, from arrival to reply. Judgement is asked here and obeyed here; nothing is decided here.

rule -> (its limit) -> key -> memory -> (redis, file)
    -> fresh: serve | stale in its window: serve and refresh behind
    | a range, and nothing whole to confirm: what is held in parts (`ranging`)
    | else: fly with whoever fetches the same already, or lead

A plain hit may be answered before anybody waits, by the same questions: see `instant`.
"""

import time
from collections.abc import Callable
from typing import Protocol, assert_never

from proxy.entry import Found, Select
from proxy.errors import UpstreamError
from proxy.flying import Flying, give_back
from proxy.insight.shadow import Look, Shadow
from proxy.landing import Visit
from proxy.limiting import Limiting, Turn
from proxy.message import Reply, Request
from proxy.outcome import Outcome, Tier, Verdict
from proxy.passing import Looked, Passing
from proxy.policy.cache_status import forward_word
from proxy.policy.conditional import NOT_WHOLE, ORIGIN_CONDITIONS, for_the_origin
from proxy.policy.forwarding import has_loop, hops_left
from proxy.policy.keys import Keyed, Refused, derive, needs_body
from proxy.policy.own_answers import own_answer
from proxy.policy.reuse import Choice, Fetch, Serve, ServeStale, judge_reuse, only_if_cached
from proxy.policy.storing import barred
from proxy.ranging import Ranging
from proxy.reasons import Why
from proxy.redis.budget import one_budget, the_budget
from proxy.replying import Replying
from proxy.rules import Mode, Rule, RuleTable
from proxy.upstream.protocol import Link
from proxy.upstream.routes import Routes


class Shelves(Protocol):
    """The tiers: the near one answers without waiting."""

    def near(self, hash: str, select: Select) -> Found | None: ...

    async def far(self, hash: str, select: Select, spent: dict[Tier, float]) -> Found | None:
        """`spent` gets the seconds that each tier took."""
        ...

    @property
    def deep(self) -> bool:
        """Whether there are others to ask than the near one, or reasons not to trust any."""
        ...

    @property
    def blind(self) -> bool:
        """Whether nothing is found because nothing may be trusted."""
        ...


_NOT_PLAIN = ORIGIN_CONDITIONS | {"range"}  # what a GET may bring that is the origin's to answer
# By which a client may say that he does not want what is kept for all, or not the whole of it.
_WISHES = _NOT_PLAIN | NOT_WHOLE | {"cache-control", "pragma"}
_REFUSALS = {
    Why.LOOP: (508, "This request has passed here before."),
    Why.METHOD: (200, "Max-Forwards ended here: this is the gateway."),
    Why.UNSAFE_TARGET: (400, "This path could be read as one outside of what is served here."),
}


class Pipeline:
    """Answers requests. `key_body`: bytes of a body that are read for the key; `clock` is wall time and `timer`
    measures, both in seconds; `timed` hears what each tier took; `full` tells that memory has no room for more."""

    def __init__(
        self,
        *,
        table: RuleTable,
        shelves: Shelves,
        routes: Routes,
        flying: Flying,
        ranging: Ranging,
        passing: Passing,
        shadow: Shadow,
        limiting: Limiting,
        replying: Replying,
        key_body: int,
        timed: Callable[[Tier, float], None],
        full: Callable[[], bool],
        clock: Callable[[], float],
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.table = table
        self._shelves = shelves
        self._routes = routes
        self._flying = flying
        self._ranging = ranging
        self._passing = passing
        self._shadow = shadow
        self._limiting = limiting
        self._reply = replying
        self._key_body = key_body
        self._timed = timed
        self._full = full
        self._clock = clock
        self._timer = timer

    def change(self, table: RuleTable, routes: Routes, key_body: int) -> None:
        """Let new settings hold from the next request on."""
        self.table, self._routes, self._key_body = table, routes, key_body
        self._passing.change(routes)

    # -- arrival ---------------------------------------------------------------------------------------------------

    async def answer(self, request: Request) -> Reply:
        """The reply to `request`; never raises for what an origin, a tier or the network does."""
        rule = self.table.match(request)
        turn = self._limiting.turn(request, rule)
        if turn is None:
            return await self._answer(request, rule, None)
        with one_budget():
            reply = await turn.arrive() or await self._answer(request, rule, turn)
            reply.fields = turn.told(reply.fields)
            return reply

    async def _answer(self, request: Request, rule: Rule, turn: Turn | None) -> Reply:
        why = turned_away(request, rule, self._routes, self._reply.name)
        if why is not None:
            return self._refuse(request, rule, why)
        why = barred(request, rule)
        if why is not None:
            look = await self._shadowed(request, rule) if why is Why.SHADOW else None
            return await self._pass(request, rule, why, turn, look)
        body = None
        if request.body is not None and needs_body(request, rule):
            body = await request.body.peek(self._key_body, self._full)
            if body is None:
                return await self._pass(request, rule, Why.BODY_TOO_LARGE, turn)
        match derive(request, rule, body):
            case Refused(why):
                return await self._pass(request, rule, why, turn)
            case Keyed() as keyed:
                return await self.receive(Visit(request, rule, keyed, body, self._clock(), turn))

    async def upgrade(self, request: Request) -> Link | Reply:
        """A websocket upgrade: the open link to the origin, or the reply when there is none."""
        rule = self.table.match(request)
        if rule.mode is Mode.ON:  # a cached route takes no upgrade: the field is dropped, the request is a plain one
            return await self.answer(request)
        turn = self._limiting.turn(request, rule)
        if turn is None:
            return await self._upgrade(request, rule)
        with one_budget():
            result = await turn.go_on() or await self._upgrade(request, rule)
            result.fields = turn.told(result.fields)
            return result

    async def _upgrade(self, request: Request, rule: Rule) -> Link | Reply:
        why = turned_away(request, rule, self._routes, self._reply.name)
        if why is not None:
            return self._refuse(request, rule, why)
        outcome = Outcome(Verdict.BYPASS, Why.UPGRADE, rule.name, fwd="bypass")
        try:
            result = await self._routes.connect(request, rule)
        except UpstreamError as error:
            return self._reply.failed(request, rule, error, outcome)
        if isinstance(result, Link):
            return self._reply.opened(request, rule, result, outcome)
        return self._reply.streamed(request, rule, result, outcome)

    # -- not for the cache -----------------------------------------------------------------------------------------

    async def _shadowed(self, request: Request, rule: Rule) -> Look | None:
        """What a rule in shadow would do with the request, which goes on whatever that is."""
        body = None
        if request.body is not None and needs_body(request, rule):
            body = await request.body.peek(self._key_body, self._full)
            if body is None:
                return None
        return self._shadow.look(request, rule, body)

    async def _pass(self, request: Request, rule: Rule, why: Why, turn: Turn | None, look: Look | None = None) -> Reply:
        """Send it on as it came; what a successful unsafe request changed is purged before its client is told."""
        if turn is not None and (refusal := await turn.go_on()) is not None:
            return refusal
        outcome = Outcome(Verdict.BYPASS, why, rule.name, fwd=forward_word(why))
        return await self._passing.send(request, rule, outcome, look=look)

    def _refuse(self, request: Request, rule: Rule, why: Why) -> Reply:
        status, text = _REFUSALS[why]
        return self._reply.own(request, rule, own_answer(status, why, text), Outcome(Verdict.BYPASS, why, rule.name))

    # -- cached routes ---------------------------------------------------------------------------------------------

    async def receive(self, visit: Visit) -> Reply:
        """The reply to a request on a cached route."""
        request, rule, key = visit.request, visit.rule, visit.keyed.hash
        choice = Choice(request, rule)
        spent: dict[Tier, float] = {}
        began = self._timer()
        found = self._shelves.near(key, choice)
        spent[Tier.MEMORY] = self._timer() - began
        decision = judge_reuse(request, found, rule, visit.arrived, others=choice.others)
        if not isinstance(decision, Fetch):
            return self._from_store(visit, found, decision, spent)
        if wants_part(request) and (reply := self._ranging.held(visit, found, spent)) is not None:
            return reply
        if self._shelves.deep:
            with the_budget():
                return await self._beyond(visit, found, choice, spent)
        self._timed(Tier.MEMORY, spent[Tier.MEMORY])
        return await self._forward(visit, found, decision, spent)

    async def _beyond(self, visit: Visit, near: Found | None, choice: Choice, spent: dict[Tier, float]) -> Reply:
        """Memory does not answer: the far tiers may, before the origin is asked."""
        far = None if self._full() else await self._shelves.far(visit.keyed.hash, choice, spent)
        found = _better(choice, near, far)
        for tier, seconds in spent.items():
            self._timed(tier, seconds)
        decision = judge_reuse(visit.request, found, visit.rule, visit.arrived, others=choice.others)
        if not isinstance(decision, Fetch):
            return self._from_store(visit, found, decision, spent)
        if found is None and self._shelves.blind:
            decision = Fetch(Why.CUT_OFF)
        return await self._forward(visit, found, decision, spent)

    def _from_store(
        self, visit: Visit, found: Found | None, decision: Serve | ServeStale, spent: dict[Tier, float]
    ) -> Reply:
        rule = visit.rule
        assert found is not None
        match decision:
            case Serve(age, ttl, why, refresh):
                if refresh:
                    self._flying.refresh(visit, found, Fetch(Why.REFRESH_AHEAD, conditional=True))
                outcome = Outcome(Verdict.HIT, why, rule.name, ttl=ttl, tier_seconds=spent)
                reply = self._serve(visit, found, outcome, age)
                if visit.learn is not None and not refresh:
                    visit.learn(reply, found, decision)
                return reply
            case ServeStale(age, ttl, why):
                self._flying.refresh(visit, found, Fetch(why, conditional=True, fallback=True))
                outcome = Outcome(Verdict.UPDATING, why, rule.name, ttl=ttl, tier_seconds=spent)
                return self._serve(visit, found, outcome, age)
            case _:
                assert_never(decision)

    def _serve(self, visit: Visit, found: Found, outcome: Outcome, age: float) -> Reply:
        return self._reply.stored(visit.request, visit.rule, found, outcome, age)

    async def _forward(self, visit: Visit, found: Found | None, decision: Fetch, spent: dict[Tier, float]) -> Reply:
        request, rule, turn = visit.request, visit.rule, visit.turn
        if turn is not None and (refusal := await turn.go_on()) is not None:
            give_back(found)
            return refusal
        verdict = Verdict.MISS if found is None else Verdict.EXPIRED
        outcome = Outcome(
            verdict,
            decision.why,
            rule.name,
            visit.keyed.hash,
            fwd=forward_word(decision.why),
            tier_seconds=spent,
        )
        special = request.method != "GET" or request.fields.has_any(_WISHES)
        if special and only_if_cached(request, rule):
            give_back(found)
            outcome = Outcome(Verdict.MISS, Why.ONLY_IF_CACHED, rule.name, visit.keyed.hash)
            return self._reply.own(request, rule, own_answer(504, Why.ONLY_IF_CACHED, "Not in store."), outcome)
        alone = asked_of_the_origin_alone(request, decision) if special else None
        if alone is Why.PARTIAL and not decision.fallback:
            give_back(found)
            return await self._ranging.fetch(visit, outcome)
        if alone is None and found is None and self._ranging.completes(visit):
            return await self._ranging.fetch(visit, outcome)
        if (
            special
            and alone is None
            and request.fields.has_any(NOT_WHOLE)
            and (found is None or "range" in request.fields)
        ):
            alone = self._flying.lately(visit)  # it is not going to be kept: the origin may say 304 or 206 for itself
        try:
            if alone is not None:
                outcome.stored_why = alone
                return await self._passing.send(request, rule, outcome, Looked(visit, found, decision))
            return await self._flying.fly(visit, found, decision, outcome)
        except BaseException:
            give_back(found)
            raise


def turned_away(request: Request, rule: Rule, routes: Routes, name: str) -> Why | None:
    """Why we answer a request ourselves, without a look at store or origin. `name` is what our Via says."""
    if has_loop(request.fields, name):
        return Why.LOOP
    if hops_left(request) == 0:
        return Why.METHOD
    return Why.UNSAFE_TARGET if routes.leaves_base(request, rule) else None


def asked_of_the_origin_alone(request: Request, decision: Fetch) -> Why | None:
    """What a fetch for the cache cannot answer: no flight, and nothing of it is kept. A range of what can be confirmed
    is cut from what the revalidation leaves in store (RFC 9110 14.2)."""
    if request.method == "HEAD":
        return Why.HEAD_ONLY
    if request.method == "GET" and not request.fields.has_any(_NOT_PLAIN):
        return None
    if for_the_origin(request):
        return Why.PRECONDITION
    return Why.PARTIAL if wants_part(request) and not decision.conditional else None


def wants_part(request: Request) -> bool:
    """Whether it asks for a range; with other methods that means nothing (RFC 9110 14.2)."""
    return request.method == "GET" and "range" in request.fields


def _better(choice: Choice, near: Found | None, far: Found | None) -> Found | None:
    """Of two copies the one that suits better; the other's body is given back."""
    if near is None or far is None:
        return near or far
    keep, drop = (far, near) if choice.better(far.entry, near.entry) else (near, far)
    drop.entry.body.close()
    return keep
