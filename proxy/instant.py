"""The part of the story that nobody has to wait for: a fresh answer lies in memory, ours or that of the disk.

`Pipeline.answer` comes to the same reply by the same questions; whoever is not answered here is answered there.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

from proxy.entry import Found
from proxy.landing import Visit
from proxy.limiting import Limiting, Turn
from proxy.message import Reply, Request
from proxy.outcome import Outcome, Tier, Verdict
from proxy.policy.forwarding import has_loop
from proxy.policy.keys import Keyed, derive
from proxy.policy.reuse import Choice, Serve, judge_reuse
from proxy.policy.storing import barred
from proxy.redis.budget import WHOLE, one_budget
from proxy.redis.reads import Told
from proxy.replying import Replying
from proxy.rules import Rule, RuleTable
from proxy.store.file_warm import Mark
from proxy.store.memory import Hold
from proxy.store.near import FarHeld, Held, Near
from proxy.store.near_file import NearFile
from proxy.store.near_redis import NearRedis
from proxy.store.redis_again import Mark as AwayMark
from proxy.upstream.routes import Routes


@dataclass(frozen=True, slots=True)
class Instant:
    """A reply for which nothing is waited and nothing begun: a stored answer that is at hand. Seconds; for so long
    as it is `lasting`, the same request is answered the same way, but for its age, and what is `held` may be taken
    again."""

    reply: Reply
    held: Held | FarHeld[Mark | AwayMark]
    age: float
    ttl: float
    lasting: float


Answered = Instant | Visit | None


class AtOnce:
    """Answers from memory, and from files that can be read at once where they come next. `timed` hears what each tier
    took once memory alone does not answer, `full` tells that memory has no room for more; `timer` measures, in
    seconds.

    `again` takes what was found before and was `lasting`, by the `slot` of what was held, where it would be found
    again: False where not, and its content where that is not `kept`. `asks`: what Redis gave may be asked for again.
    """

    def __init__(
        self,
        table: RuleTable,
        near: Near | None,
        file: NearFile | None,
        redis: NearRedis | None,
        routes: Routes,
        limiting: Limiting,
        replying: Replying,
        timed: Callable[[Tier, float], None],
        full: Callable[[], bool],
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.table = table
        self._near = near
        self._file = file
        self._redis = redis
        self._routes = routes
        self._limiting = limiting
        self._reply = replying
        self._timed = timed
        self._full = full
        self._timer = timer
        self.again: Callable[[Any, float], bytes | bool] = self._from_file_again if near is None else near.again
        self.asks = redis is not None
        self._watching: list[Callable[[], None]] = []

    def watch(self, changed: Callable[[], None]) -> None:
        """`changed` is called as soon as other rules hold."""
        self._watching.append(changed)

    def change(self, table: RuleTable, routes: Routes) -> None:
        """Let new settings hold from the next request on."""
        self.table, self._routes = table, routes
        for changed in self._watching:
            changed()

    def answer(self, request: Request, most: int, learn: Callable[[Instant], None] | None = None) -> Answered:
        """The reply where it is at hand, it has at most so many bytes of content, and nobody has to be asked or told.
        Else nothing has happened yet, and a visit is how far the first questions have led: `Pipeline.receive` goes on
        from there. `learn` hears then of what Redis gave, where that may be asked for again."""
        rule = self.table.match(request)
        visit = self._visit(request, rule, learn)
        if visit is None:
            return None
        turn = self._limiting.turn(request, rule)
        instant = self._instant(visit, turn, most)
        return visit if instant is None and turn is None else instant

    def fresh(self, request: Request) -> bool:
        """Whether `answer` would be a stored one, but for its size and limit. Nothing is counted."""
        visit = self._visit(request, self.table.match(request), None)
        if visit is None:
            return False
        choice = Choice(request, visit.rule)
        held = self._look(request, visit.keyed.hash, choice, {})
        found = None if held is None else held.found
        return isinstance(judge_reuse(request, found, visit.rule, visit.arrived, others=choice.others), Serve)

    def hold(self, held: Held | FarHeld[Mark | AwayMark], hold: Hold) -> None:
        """From now on it may be taken `again`, until `hold` is ended."""
        if isinstance(held, Held) and self._near is not None:  # else each time is a look at the file
            self._near.hold(held, hold)

    def ask(self, mark: AwayMark, told: Told) -> bool:
        """Ask Redis again for what it gave before; what is told in time is for `take`. False, and nothing is told,
        where it has to be looked for anew."""
        return self._redis is not None and not self._full() and self._redis.ask(mark, WHOLE, told)

    def take(self, mark: AwayMark, said: object, seconds: float) -> bytes | None:
        """The content, where what was told after so many seconds is what it was, and nothing has come in between; then
        it is counted."""
        content = None if self._redis is None else self._redis.take(mark, said)
        if content is not None:
            self._timed(Tier.MEMORY, 0.0)
            self._timed(Tier.REDIS, seconds)
        return content

    def rest(self, seconds: float) -> AbstractContextManager[object]:
        """What a request has left for Redis that has waited so long for it."""
        return one_budget(max(0.0, WHOLE - seconds))

    def _from_file_again(self, mark: Mark, now: float) -> bytes | bool:
        if self._file is None:
            return False
        began = self._timer()
        content = self._file.again(mark)
        if content is None:
            return False
        self._timed(Tier.MEMORY, 0.0)
        self._timed(Tier.FILE, self._timer() - began)
        return content or True

    def _visit(self, request: Request, rule: Rule, learn: Callable[[Instant], None] | None) -> Visit | None:
        """None where it takes more to know whether the request is on a cached route."""
        if not rule.caches or request.body is not None or barred(request, rule) is not None:
            return None
        if has_loop(request.fields, self._reply.name) or self._routes.leaves_base(request, rule):
            return None
        keyed = derive(request, rule)
        if not isinstance(keyed, Keyed):
            return None
        if learn is None or self._redis is None or self._reply.timing or "range" in request.fields:
            # the next one is told something else, or parts that are held of it go first
            return Visit(request, rule, keyed, None, request.received_at)
        return Visit(request, rule, keyed, None, request.received_at, learn=partial(self._learnt, learn))

    def _learnt(self, learn: Callable[[Instant], None], reply: Reply, found: Found, decision: Serve) -> None:
        held = self._redis.held(found) if self._redis is not None and found.tier is Tier.REDIS else None
        if held is not None:
            learn(Instant(reply, held, decision.age, decision.ttl, decision.lasting))

    def _instant(self, visit: Visit, turn: Turn | None, most: int) -> Instant | None:
        request, rule = visit.request, visit.rule
        choice = Choice(request, rule)
        spent: dict[Tier, float] = {}
        held = self._look(request, visit.keyed.hash, choice, spent)
        if held is None:
            return None
        decision = judge_reuse(request, held.found, rule, visit.arrived, others=choice.others)
        if not isinstance(decision, Serve) or decision.refresh:
            return None
        outcome = Outcome(Verdict.HIT, decision.why, rule.name, ttl=decision.ttl, tier_seconds=spent)
        reply = self._reply.stored(request, rule, held.found, outcome, decision.age)
        if not isinstance(reply.body, bytes) or len(reply.body) > most:
            return None
        if turn is not None:
            if not turn.at_once():
                return None
            reply.fields = turn.told(reply.fields)
        self._take(held, spent)
        lasting = decision.lasting
        if turn is not None or self._reply.timing:  # the next one is told something else
            lasting = 0.0
        if isinstance(held, FarHeld) and self._near is not None:  # or finds it in memory then
            lasting = 0.0
        return Instant(reply, held, decision.age, decision.ttl, lasting)

    def _look(
        self, request: Request, hash: str, choice: Choice, spent: dict[Tier, float]
    ) -> Held | FarHeld[Mark] | None:
        """The file tier is asked where memory has nothing at all; parts that may be held of the answer go before it."""
        began = self._timer()
        near = None if self._near is None else self._near.look(hash, choice)
        after = self._timer()
        spent[Tier.MEMORY] = after - began
        if near is not None or self._file is None or "range" in request.fields or self._full():
            return near
        far = self._file.look(hash, choice)
        spent[Tier.FILE] = self._timer() - after
        return far

    def _take(self, held: Held | FarHeld[Mark], spent: dict[Tier, float]) -> None:
        if isinstance(held, FarHeld):
            assert self._file is not None
            self._file.take(held)
            for tier, seconds in spent.items():
                self._timed(tier, seconds)
        else:
            assert self._near is not None
            self._near.take(held)
