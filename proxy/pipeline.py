"""The story of one request, from arrival to reply. Judgement is asked here and obeyed here; nothing is decided here.

rule -> (its limit) -> key -> memory -> (redis, file)
    -> fresh: serve | stale in its window: serve and refresh behind
    | a range, and nothing whole to confirm: what is held in parts (`ranging`)
    | else: fly with whoever fetches the same already, or lead
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, assert_never

from proxy.entry import Found, Select
from proxy.errors import UpstreamError
from proxy.flying import Flying, give_back
from proxy.landing import Visit
from proxy.limiting import Limiting, Turn
from proxy.message import Reply, Request
from proxy.outcome import Outcome, Tier, Verdict
from proxy.passing import Looked, Passing
from proxy.policy.cache_status import forward_word
from proxy.policy.conditional import NOT_WHOLE, for_the_origin
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
from proxy.store.near import Held
from proxy.upstream.protocol import Link
from proxy.upstream.routes import Routes


class Shelves(Protocol):
    """The tiers: the near one answers without waiting."""

    def near(self, hash: str, select: Select) -> Found | None: ...

    def look(self, hash: str, select: Select) -> Held | None:
        """As `near`, but it leaves no trace."""
        ...

    def take(self, held: Held) -> None:
        """Count what was looked at as a hit."""
        ...

    async def far(self, hash: str, select: Select, spent: dict[Tier, float]) -> Found | None:
        """`spent` gets the seconds that each tier took."""
        ...

    @property
    def blind(self) -> bool:
        """Whether nothing is found because nothing may be trusted."""
        ...


@dataclass(frozen=True, slots=True)
class Instant:
    """A reply for which nothing is waited and nothing begun: a stored answer that lies in memory. Seconds; for so long
    as it is `lasting`, the same request is answered the same way, but for its age, and what is `held` may be taken
    again."""

    reply: Reply
    held: Held
    age: float
    ttl: float
    lasting: float


_OUTSIDE = "This path could be read as one outside of what is served here."


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

    def at_once(self, request: Request, most: int) -> Instant | None:
        """The reply that `answer` would give, where memory has it, it has at most so many bytes of content, and nobody
        has to be asked or told; None leaves no trace. The same questions in the same order: whatever is not a plain
        hit is for `answer`."""
        rule = self.table.match(request)
        hit = self._plain_hit(request, rule)
        if hit is None:
            return None
        held, decision, seconds = hit
        spent = {Tier.MEMORY: seconds}
        outcome = Outcome(Verdict.HIT, decision.why, rule.name, ttl=decision.ttl, tier_seconds=spent)
        reply = self._reply.stored(request, rule, held.found, outcome, decision.age)
        if not isinstance(reply.body, bytes) or len(reply.body) > most:
            return None
        turn, lasting = self._limiting.turn(request, rule), decision.lasting
        if turn is not None:
            if not turn.at_once():
                return None
            reply.fields = turn.told(reply.fields)
        self._shelves.take(held)
        if turn is not None or self._reply.timing:  # the next one is told something else
            lasting = 0.0
        return Instant(reply, held, decision.age, decision.ttl, lasting)

    def _plain_hit(self, request: Request, rule: Rule) -> tuple[Held, Serve, float] | None:
        """What memory has for the request and may be served as fresh, and the seconds that the look took."""
        if not rule.caches or request.body is not None or barred(request, rule) is not None:
            return None
        if has_loop(request.fields, self._reply.name) or self._routes.leaves_base(request, rule):
            return None
        keyed = derive(request, rule)
        if not isinstance(keyed, Keyed):
            return None
        choice = Choice(request, rule)
        began = self._timer()
        held = self._shelves.look(keyed.hash, choice)
        if held is None:
            return None
        seconds = self._timer() - began
        decision = judge_reuse(request, held.found, rule, request.received_at, others=choice.others)
        return (held, decision, seconds) if isinstance(decision, Serve) and not decision.refresh else None

    async def _answer(self, request: Request, rule: Rule, turn: Turn | None) -> Reply:
        if has_loop(request.fields, self._reply.name):
            return self._refuse(request, rule, 508, Why.LOOP, "This request has passed here before.")
        if hops_left(request) == 0:
            return self._refuse(request, rule, 200, Why.METHOD, "Max-Forwards ended here: this is the gateway.")
        if self._routes.leaves_base(request, rule):
            return self._refuse(request, rule, 400, Why.UNSAFE_TARGET, _OUTSIDE)
        why = barred(request, rule)
        if why is not None:
            return await self._pass(request, rule, why, turn)
        body = None
        if request.body is not None and needs_body(request, rule):
            body = await request.body.peek(self._key_body, self._full)
            if body is None:
                return await self._pass(request, rule, Why.BODY_TOO_LARGE, turn)
        match derive(request, rule, body):
            case Refused(why):
                return await self._pass(request, rule, why, turn)
            case Keyed() as keyed:
                return await self._cached(Visit(request, rule, keyed, body, self._clock(), turn))

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
        if has_loop(request.fields, self._reply.name):
            return self._refuse(request, rule, 508, Why.LOOP, "This request has passed here before.")
        if self._routes.leaves_base(request, rule):
            return self._refuse(request, rule, 400, Why.UNSAFE_TARGET, _OUTSIDE)
        outcome = Outcome(Verdict.BYPASS, Why.UPGRADE, rule.name, fwd="bypass")
        try:
            result = await self._routes.connect(request, rule)
        except UpstreamError as error:
            return self._reply.failed(request, rule, error, outcome)
        if isinstance(result, Link):
            return self._reply.opened(request, rule, result, outcome)
        return self._reply.streamed(request, rule, result, outcome)

    # -- not for the cache -----------------------------------------------------------------------------------------

    async def _pass(self, request: Request, rule: Rule, why: Why, turn: Turn | None) -> Reply:
        """Send it on as it came; what a successful unsafe request changed is purged before its client is told."""
        if turn is not None and (refusal := await turn.go_on()) is not None:
            return refusal
        outcome = Outcome(Verdict.BYPASS, why, rule.name, fwd=forward_word(why))
        return await self._passing.send(request, rule, outcome)

    def _refuse(self, request: Request, rule: Rule, status: int, why: Why, text: str) -> Reply:
        return self._reply.own(request, rule, own_answer(status, why, text), Outcome(Verdict.BYPASS, why, rule.name))

    # -- cached routes ---------------------------------------------------------------------------------------------

    async def _cached(self, visit: Visit) -> Reply:
        request, rule, key = visit.request, visit.rule, visit.keyed.hash
        choice = Choice(request, rule)
        spent: dict[Tier, float] = {}
        began = self._timer()
        found = self._shelves.near(key, choice)
        spent[Tier.MEMORY] = self._timer() - began
        decision = judge_reuse(request, found, rule, visit.arrived, others=choice.others)
        if isinstance(decision, Fetch):
            if _wants_part(request) and (reply := self._ranging.held(visit, found, spent)) is not None:
                return reply
            with the_budget():
                return await self._beyond(visit, found, choice, spent)
        return await self._decided(visit, found, decision, spent)

    async def _beyond(self, visit: Visit, near: Found | None, choice: Choice, spent: dict[Tier, float]) -> Reply:
        """Memory does not answer: the far tiers may, before the origin is asked."""
        far = None if self._full() else await self._shelves.far(visit.keyed.hash, choice, spent)
        found = _better(choice, near, far)
        for tier, seconds in spent.items():
            self._timed(tier, seconds)
        decision = judge_reuse(visit.request, found, visit.rule, visit.arrived, others=choice.others)
        if isinstance(decision, Fetch) and found is None and self._shelves.blind:
            decision = Fetch(Why.CUT_OFF)
        return await self._decided(visit, found, decision, spent)

    async def _decided(
        self, visit: Visit, found: Found | None, decision: Serve | ServeStale | Fetch, spent: dict[Tier, float]
    ) -> Reply:
        rule = visit.rule
        match decision:
            case Serve(age, ttl, why, refresh):
                assert found is not None
                if refresh:
                    self._flying.refresh(visit, found, Fetch(Why.REFRESH_AHEAD, conditional=True))
                return self._serve(visit, found, Outcome(Verdict.HIT, why, rule.name, ttl=ttl, tier_seconds=spent), age)
            case ServeStale(age, ttl, why):
                assert found is not None
                self._flying.refresh(visit, found, Fetch(why, conditional=True, fallback=True))
                outcome = Outcome(Verdict.UPDATING, why, rule.name, ttl=ttl, tier_seconds=spent)
                return self._serve(visit, found, outcome, age)
            case Fetch():
                return await self._forward(visit, found, decision, spent)
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
        if only_if_cached(request, rule):
            give_back(found)
            outcome = Outcome(Verdict.MISS, Why.ONLY_IF_CACHED, rule.name, visit.keyed.hash)
            return self._reply.own(request, rule, own_answer(504, Why.ONLY_IF_CACHED, "Not in store."), outcome)
        alone = _asked_of_the_origin_alone(request, decision)
        if alone is Why.PARTIAL and not decision.fallback:
            give_back(found)
            return await self._ranging.fetch(visit, outcome)
        if alone is None and found is None and self._ranging.completes(visit):
            return await self._ranging.fetch(visit, outcome)
        ranged = "range" in request.fields
        if alone is None and (found is None or ranged) and any(name in request.fields for name in NOT_WHOLE):
            alone = self._flying.lately(visit)  # it is not going to be kept: the origin may say 304 or 206 for itself
        try:
            if alone is not None:
                outcome.stored_why = alone
                return await self._passing.send(request, rule, outcome, Looked(visit, found, decision))
            return await self._flying.fly(visit, found, decision, outcome)
        except BaseException:
            give_back(found)
            raise


def _asked_of_the_origin_alone(request: Request, decision: Fetch) -> Why | None:
    """What a fetch for the cache cannot answer: no flight, and nothing of it is kept. A range of what can be confirmed
    is cut from what the revalidation leaves in store (RFC 9110 14.2)."""
    if request.method == "HEAD":
        return Why.HEAD_ONLY
    if for_the_origin(request):
        return Why.PRECONDITION
    return Why.PARTIAL if _wants_part(request) and not decision.conditional else None


def _wants_part(request: Request) -> bool:
    """Whether it asks for a range; with other methods that means nothing (RFC 9110 14.2)."""
    return request.method == "GET" and "range" in request.fields


def _better(choice: Choice, near: Found | None, far: Found | None) -> Found | None:
    """Of two copies the one that suits better; the other's body is given back."""
    if near is None or far is None:
        return near or far
    keep, drop = (far, near) if choice.better(far.entry, near.entry) else (near, far)
    drop.entry.body.close()
    return keep
