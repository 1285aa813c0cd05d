"""Fetches and lookups as spans: who leads one, who waits for another's, and what was looked at before."""

from collections.abc import Callable
from typing import Any

from proxy.completing import Errand
from proxy.entry import Found, Select
from proxy.flight import Flight
from proxy.flying import Flying
from proxy.gathering import Brought
from proxy.landing import Failed, Kept, Landing, Trip, Visit
from proxy.message import Reply
from proxy.observe.tracing import Current, TraceSpan, Tracing, Value
from proxy.outcome import Outcome, Tier
from proxy.pipeline import Shelves
from proxy.policy.trace_context import TraceContext
from proxy.ranging import Ranging
from proxy.reasons import Why
from proxy.recording import State
from proxy.store.parts_held import Partly


class TracedShelves:
    """Shelves of which each lookup is a span."""

    def __init__(self, tracing: Tracing, shelves: Shelves) -> None:
        self._tracing = tracing
        self._shelves = shelves

    @property
    def deep(self) -> bool:
        return self._shelves.deep

    @property
    def blind(self) -> bool:
        return self._shelves.blind

    def near(self, hash: str, select: Select) -> Found | None:
        here = self._tracing.current
        if not isinstance(here, TraceSpan):
            return self._shelves.near(hash, select)
        began = self._tracing.clock()
        found = self._shelves.near(hash, select)
        looked_up(self._tracing, here, began, {Tier.MEMORY: (self._tracing.clock() - began) / 1e9}, _tier(found))
        return found

    async def far(self, hash: str, select: Select, spent: dict[Tier, float]) -> Found | None:
        here = self._tracing.current
        if not isinstance(here, TraceSpan):
            return await self._shelves.far(hash, select, spent)
        before, began = frozenset(spent), self._tracing.clock()
        found = await self._shelves.far(hash, select, spent)
        took = {tier: seconds for tier, seconds in spent.items() if tier not in before}
        looked_up(self._tracing, here, began, took, _tier(found))
        return found


def looked_up(tracing: Tracing, here: TraceSpan, began: int, spent: dict[Tier, float], found_in: Tier | None) -> None:
    """A span for each tier that was asked, one after the other; the last may be where it was found."""
    for tier, seconds in spent.items():
        told: dict[str, Value] = {"cachegate.tier": tier.value, "cachegate.found": tier is found_in}
        began = tracing.past(f"lookup {tier}", here, began, seconds, told)


class TracedFlying(Flying):
    """Flying whose fetches are spans. Those who wait for another's have a link to it; those of which nobody waits are
    traces of their own."""

    def __init__(self, tracing: Tracing, *parts: Any) -> None:
        super().__init__(*parts)
        self._tracing = tracing

    def _board(self, visit: Visit, *, alone: bool) -> tuple[str, Flight[Landing], bool]:
        key, flight, leads = super()._board(visit, alone=alone)
        if not leads:
            _link(self._tracing, flight)
        return key, flight, leads

    def _start(
        self,
        key: str,
        flight: Flight[Landing],
        trip: Trip,
        *,
        company: str | None = None,
        after: Callable[[], None] = lambda: None,
    ) -> None:
        tracing = self._tracing
        span = tracing.apart("refresh") if trip.behind else tracing.begin("fetch")
        if isinstance(span, TraceSpan):
            span.attributes["cachegate.reason"] = trip.decision.why.word
            if trip.visit.rule.name:
                span.attributes["cachegate.rule"] = trip.visit.rule.name
        flight.traced = _recorded(span)

        def over() -> None:
            if isinstance(span, TraceSpan):
                span.error = _failure(flight.landing)
            tracing.end(span)
            after()

        with tracing.within(span):  # the task of the fetch is begun in here
            super()._start(key, flight, trip, company=company, after=over)


class TracedRanging(Ranging):
    """As `TracedFlying`, of ranges."""

    def __init__(self, tracing: Tracing, *parts: Any, **named: Any) -> None:
        super().__init__(*parts, **named)
        self._tracing = tracing

    async def _lead(self, errand: Errand, name: str, flight: Flight[Brought], outcome: Outcome) -> Reply | None:
        flight.traced = _recorded(self._tracing.current)
        return await super()._lead(errand, name, flight, outcome)

    async def _share(self, errand: Errand, name: str, flight: Flight[Brought], outcome: Outcome) -> Reply | None:
        _link(self._tracing, flight)
        return await super()._share(errand, name, flight, outcome)

    async def _confirm(self, visit: Visit, partly: Partly) -> None:
        span = self._tracing.apart("refresh")
        try:
            with self._tracing.within(span):
                await super()._confirm(visit, partly)
        finally:
            self._tracing.end(span)


def _failure(landing: Landing | None) -> str | None:
    """How a fetch that is over has failed, in one word."""
    match landing:
        case Kept(recording=recording) if recording.state is State.FAILED:
            return Why.TRUNCATED.word
        case Failed(error=error, status=None):
            return error.fault.value
        case Failed(status=status):
            return str(status)
        case _:
            return None


def _link(tracing: Tracing, flight: Flight[Any]) -> None:
    if isinstance(flight.traced, TraceContext):
        tracing.link(flight.traced)


def _recorded(span: Current | None) -> TraceContext | None:
    return span.context if isinstance(span, TraceSpan) else None


def _tier(found: Found | None) -> Tier | None:
    return None if found is None else found.tier
