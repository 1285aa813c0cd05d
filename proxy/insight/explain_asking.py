"""What becomes of a request that store does not answer: the questions of `Pipeline` behind the tiers, not acted upon.

The limit, who fetches the same, whether the service would be asked, what is known of storing its answer.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import assert_never

from proxy.entry import Entry, Found
from proxy.flying import Flying
from proxy.insight.explained import Explained, Ruling, Storing, UnderWay
from proxy.landing import Visit
from proxy.message import Fields, Head, Request
from proxy.outcome import Outcome, Verdict
from proxy.pipeline import asked_of_the_origin_alone
from proxy.policy.conditional import NOT_WHOLE
from proxy.policy.parts import Confirm
from proxy.policy.presenting import plan
from proxy.policy.reuse import Fetch, Serve, ServeStale, only_if_cached
from proxy.policy.storing import Keep, Skip, judge_size, judge_storing
from proxy.ranging import Ranging, errand, served
from proxy.reasons import Why

PLAIN = "a plain 200 answer"
STORED = "the answer that is stored"
NEAREST = "one like the nearest that is stored"


class Asking:
    """`clock` is wall time in seconds."""

    def __init__(self, flying: Flying, ranging: Ranging, clock: Callable[[], float]) -> None:
        self._flying = flying
        self._ranging = ranging
        self._clock = clock

    async def asked(self, told: Explained, visit: Visit, found: Found | None, decision: Fetch) -> Explained:
        """With the ruling, and what it goes by."""
        elsewhere = await self._flying.elsewhere(visit)
        learnt = elsewhere if isinstance(elsewhere, Why) else None
        nearest = told.search.nearest if told.search is not None else None
        if found is not None:
            storing = self._storing(visit, learnt, found.entry, STORED)
        else:
            storing = self._storing(visit, learnt, None if nearest is None else nearest.entry, NEAREST)
        told = replace(told, storing=storing)
        told = replace(told, under_way=self._under_way(visit, elsewhere is True))
        return replace(told, ruling=self._forwarded(told, visit, found, decision))

    def _forwarded(self, told: Explained, visit: Visit, found: Found | None, decision: Fetch) -> Ruling:
        request, rule = visit.request, visit.rule
        if (why := limited(told)) is not None:
            return Ruling(Verdict.BYPASS, why, found=found)
        if only_if_cached(request, rule):
            return Ruling(Verdict.MISS, Why.ONLY_IF_CACHED, found=found)
        alone = asked_of_the_origin_alone(request, decision)
        if alone is Why.PARTIAL and not decision.fallback:
            return self._ranged(told, visit, found, decision)
        if alone is None and found is None and self._ranging.completes(visit):
            return self._ranged(told, visit, found, decision)
        lately = self._flying.lately(visit)
        if alone is None and request.fields.has_any(NOT_WHOLE) and (found is None or "range" in request.fields):
            alone = lately
        verdict = Verdict.MISS if found is None else Verdict.EXPIRED
        fallback = found is not None and decision.fallback
        if (refusal := withheld(told)) is not None and not (alone is None and _joins(told.under_way)):
            stands_in = Ruling(Verdict.STALE, Why.STALE_IF_ERROR, found=found)
            return stands_in if fallback else Ruling(verdict, refusal, found=found)
        maybe = _maybe(renewable=found is not None and alone is None and decision.conditional, fallback=fallback)
        if (unkept := alone or _lately(told.storing)) is None:
            return Ruling(verdict, decision.why, maybe, found=found)
        learnt = alone is None and found is None and lately not in (None, Why.REQUEST_NO_STORE)
        return Ruling(verdict, unkept, maybe, Why.LATELY_UNCACHEABLE if learnt else decision.why, found)

    def _ranged(self, told: Explained, visit: Visit, found: Found | None, decision: Fetch) -> Ruling:
        """As `Ranging.fetch` begins."""
        partly, course = self._ranging.look(visit)
        if partly is not None and (within := served(partly, course, None)) is not None:
            return from_store(visit.request, partly.found, within)
        outcome = Outcome(Verdict.MISS if found is None else Verdict.EXPIRED, decision.why, visit.rule.name)
        errand(visit, course, partly, outcome)
        held = found if partly is None else partly.found
        fallback = isinstance(course, Confirm) and course.fetch.fallback
        if (refusal := withheld(told)) is not None:
            stands_in = Ruling(Verdict.STALE, Why.STALE_IF_ERROR, found=held)
            return stands_in if fallback else Ruling(outcome.verdict, refusal, found=held)
        maybe = _maybe(renewable=isinstance(course, Confirm), fallback=fallback)
        if (unkept := _lately(told.storing)) is None:
            return Ruling(outcome.verdict, outcome.reason, maybe, found=held)
        return Ruling(outcome.verdict, unkept, maybe, outcome.reason, held)

    def _under_way(self, visit: Visit, elsewhere: bool) -> UnderWay | None:
        flight = self._flying.under_way(visit)
        if flight is not None:
            return UnderWay(flight.passengers)
        return UnderWay(0, elsewhere=True) if elsewhere and self._flying.lately(visit) is None else None

    def _storing(self, visit: Visit, learnt: Why | None, like: Entry | None, assumed: str) -> Storing:
        """Judged by an answer that is stored, where there is one, else by the plainest that an origin may give."""
        request, rule, now = visit.request, visit.rule, self._clock()
        if like is None:
            length, assumed = str(max(1, rule.min_size)), PLAIN
            head = Head(200, "", Fields.of(("Content-Length", length)), requested_at=now, received_at=now)
        else:
            head = Head(like.status, "", like.fields, requested_at=like.requested_at, received_at=like.received_at)
        judged = judge_storing(request, head, rule, head.received_at)
        if isinstance(judged, Keep) and head.length is not None:
            judged = judge_size(rule, head.length) or judged
        lately = self._flying.lately(visit) or self._ranging.lately(visit) or learnt
        match judged:
            case Keep(lifetime=seconds):
                return Storing(Why.STORED, True, assumed, seconds, lately)
            case Skip(why):
                return Storing(why, False, assumed, None, lately)
            case _:
                assert_never(judged)


def from_store(request: Request, found: Found, decision: Serve | ServeStale) -> Ruling:
    """What a stored answer makes of it."""
    match decision:
        case Serve(why=why, refresh=refresh):
            entry = found.entry
            what = plan(request, entry.status, entry.phrase, entry.fields, entry.body.size)
            return Ruling(Verdict.HIT, what.why or why, found=found, refreshes=refresh)
        case ServeStale(why=why):
            return Ruling(Verdict.UPDATING, why, found=found, refreshes=True)
        case _:
            assert_never(decision)


def limited(told: Explained) -> Why | None:
    """Why its limit lets nothing pass that store does not answer."""
    return None if told.stand is None else told.stand.refusal


def withheld(told: Explained) -> Why | None:
    """Why its service would not be asked."""
    return None if told.upstream is None else told.upstream.refusal


def _maybe(*, renewable: bool, fallback: bool) -> tuple[Verdict, ...]:
    """What the origin's answer, or its failure, may make of a verdict on what is stale."""
    said = {Verdict.REVALIDATED: renewable, Verdict.STALE: fallback}
    return tuple(verdict for verdict, holds in said.items() if holds)


def _lately(storing: Storing | None) -> Why | None:
    """Why the last answer could not be kept, whole or in part, here or in another instance."""
    return None if storing is None else storing.lately


def _joins(under_way: UnderWay | None) -> bool:
    """Whether it shares a fetch of this process, which has been let through already."""
    return under_way is not None and not under_way.elsewhere
