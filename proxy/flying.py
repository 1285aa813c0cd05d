"""Sharing fetches: who asks for what is being fetched already waits for that flight; else he leads one of his own."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import assert_never

from proxy.entry import Entry, Found
from proxy.errors import Fault, StoreError, UpstreamError
from proxy.fetching import Fetching
from proxy.flight import Flight, Flights, Lately, Waiters
from proxy.hooks import hook
from proxy.landing import Arrived, Confirmed, Failed, Kept, Landing, Skipped, Trip, Visit
from proxy.message import Fields, Head, Reply
from proxy.outcome import Outcome, Verdict
from proxy.policy.cache_control import asked
from proxy.policy.freshness import current_age
from proxy.policy.identity import for_everybody
from proxy.policy.reuse import Fetch, answers, vary_values
from proxy.posting import Log, Posting
from proxy.reasons import Why
from proxy.recording import State
from proxy.replying import Replying
from proxy.tasks import Tasks


@dataclass(frozen=True, slots=True)
class Patience:
    """`flight`: how long followers wait before one of them fetches too, `total`: how long anybody waits."""

    flight: Waiters
    total: Waiters


class Flying:
    """Every fetch for the cache goes through here. `uncacheable` remembers whose answers could not be shared lately."""

    def __init__(
        self,
        fetching: Fetching,
        standing: Log,
        uncacheable: Lately[Why],
        tasks: Tasks,
        patience: Patience,
        replying: Replying,
        clock: Callable[[], float],
    ) -> None:
        self.flights: Flights[Landing] = Flights()
        self.waiting = 0  # requests that wait for a landing
        self.patience = patience
        self.posting = Posting(fetching, standing, tasks, replying)
        self._fetching = fetching
        self._standing = standing
        self._uncacheable = uncacheable
        self._tasks = tasks
        self._reply = replying
        self._clock = clock
        self._varies: Lately[tuple[str, ...]] = Lately(3600.0, clock)

    def lately(self, visit: Visit) -> Why | None:
        """Why this visit flies alone: it forbids that its answer is kept (RFC 9111 5.2.1.5), or the last one for its
        company could not be, and that is not long ago."""
        if asked(visit.request, visit.rule).no_store:
            return Why.REQUEST_NO_STORE
        return self._uncacheable.get(visit.company)

    def under_way(self, visit: Visit) -> Flight[Landing] | None:
        """The fetch that this visit would share if it came now; nothing begins."""
        if self.lately(visit) is not None:
            return None
        return self.flights.find(self._flight_key(visit), lambda landing: self._joinable(visit, landing))

    async def elsewhere(self, visit: Visit) -> Why | bool:
        """Whether another process fetches what this visit would share, or why the last answer could not be kept."""
        return await self._fetching.elsewhere(visit.keyed.hash, self._flight_key(visit))

    def refresh(self, visit: Visit, found: Found, decision: Fetch) -> None:
        """Fetch behind the client's back, once: who comes meanwhile finds the flight under way. What answered this
        client answers everybody, so it is asked for in nobody's name."""
        visit = replace(visit, request=for_everybody(visit.request, visit.rule, found.entry.vary))
        key = self._flight_key(visit)
        flight, leads = self.flights.join(key, _still_coming)
        if not leads:
            return
        try:
            body = found.entry.body.share()  # the client's reply closes the other
        except StoreError:
            self.flights.over(key, flight)
            return
        found = replace(found, entry=replace(found.entry, body=body))
        self._start(key, flight, Trip(visit, found, decision, behind=True), after=body.close)

    def heard(self, visit: Visit, found: Found, head: Head) -> None:
        """A HEAD was answered that a stored answer to GET was there for. Takes over the body."""
        if not self._tasks.spawn(self._fetching.describe(visit, found.entry, head), "describe"):
            give_back(found)

    async def fly(self, visit: Visit, found: Found | None, decision: Fetch, outcome: Outcome) -> Reply:
        """Share the fetch of whoever asks for the same already, or lead one; alone where sharing leads nowhere."""
        for sharing in (True, True, True, False):
            trip = Trip(visit, found, decision)
            lately = self.lately(visit)
            alone = not sharing or lately is not None
            if found is None and lately not in (None, Why.REQUEST_NO_STORE):
                outcome.reason = Why.LATELY_UNCACHEABLE
            landing = await self._landing(visit, trip, alone=alone)
            reply = self._landed(visit, trip, landing, outcome)
            if reply is not None:
                return reply
        raise AssertionError("who leads a flight of its own always gets a reply")

    async def _landing(self, visit: Visit, trip: Trip, *, alone: bool) -> Landing:
        """Wait for the flight; after flight_wait one waiter starts a second fetch, and the rest wait on."""
        key, flight, leads = self._board(visit, alone=alone)
        if leads:
            self._start(key, flight, trip)
        self.waiting += 1
        try:
            landing = await flight.wait(self.patience.total if leads else self.patience.flight)
            if landing is None and not leads and flight.relieve():
                self._start(key, flight, trip, company="")
            if landing is None:
                landing = await flight.wait(self.patience.total)
        except asyncio.CancelledError:
            self._leave(flight, trip)
            raise
        finally:
            self.waiting -= 1
        if landing is None:
            self._leave(flight, trip)
            return Failed(UpstreamError(Fault.FIRST_BYTE_TIMEOUT, "the fetch of this answer took too long"))
        return landing

    def _leave(self, flight: Flight[Landing], trip: Trip) -> None:
        """Give back what this trip alone was to have, now or when it lands."""
        trip.left = True
        match flight.landing:
            case Skipped(owner=owner, answer=answer) if owner is trip:
                self._tasks.spawn(answer.close(), "close")
            case Kept(owner=owner, reader=reader) if owner is trip:
                reader.leave()

    @hook
    def _board(self, visit: Visit, *, alone: bool) -> tuple[str, Flight[Landing], bool]:
        """The flight to take, by what key it is known, and whether this visit leads it."""
        if alone:
            return "", Flight(), True
        key = self._flight_key(visit)
        flight, leads = self.flights.join(key, lambda landing: self._joinable(visit, landing))
        return key, flight, leads

    @hook
    def _start(
        self,
        key: str,
        flight: Flight[Landing],
        trip: Trip,
        *,
        company: str | None = None,
        after: Callable[[], None] = lambda: None,
    ) -> None:
        """Lead the flight in a task of its own; `after` it is over. `company`: who shares the fetch, if not all who
        share the flight; "" asks no other instance."""

        def over() -> None:
            self.flights.over(key, flight)
            after()

        if not self._tasks.spawn(self._fetching.lead(flight, trip, key if company is None else company, over), "fetch"):
            over()
            flight.land(Failed(UpstreamError(Fault.BUSY, "too many fetches are under way", retry_after=1)))

    def _flight_key(self, visit: Visit) -> str:
        """Who may share a fetch: the same key, the same values of what the last answer varied by, and nobody who
        brings credentials together with those who do not."""
        key = visit.company
        names = self._varies.get(visit.keyed.hash)
        if not names:
            return key
        return f"{key}.{vary_values(names, visit.request.fields, visit.rule)!r}"

    def _joinable(self, visit: Visit, landing: Landing) -> bool:
        """Whether a newcomer may join a flight that has landed already."""
        if not isinstance(landing, Kept) or landing.recording.state is State.FAILED:
            return False
        return landing.recording.joinable and self._shares(visit, landing.entry)

    def _shares(self, visit: Visit, entry: Entry) -> bool:
        """Whether the answer to another's request may answer this one too: not purged meanwhile, the same variant,
        and reusable by the same judgement as a stored one."""
        if self._standing.ended(entry) is not None:
            return False
        return answers(visit.request, entry, visit.rule, self._clock())

    # -- landed ----------------------------------------------------------------------------------------------------

    def _landed(self, visit: Visit, trip: Trip, landing: Landing, outcome: Outcome) -> Reply | None:
        """The reply that a landing gives this visit; None when it has to fetch again."""
        match landing:
            case Kept():
                return self._landed_kept(visit, trip, landing, outcome)
            case Confirmed():
                return self._landed_confirmed(visit, trip, landing, outcome)
            case Skipped(head=head, skip=skip, owner=owner, answer=answer):
                if owner is not trip:
                    if head.status < 500:
                        return None
                    return self._landed_failed(visit, trip, Failed.of(head), outcome)
                give_back(trip.found)
                outcome.stored_why, outcome.origin_ttl = skip.why, skip.origin_ttl
                outcome.upstream_seconds = landing.seconds
                reply = self._reply.streamed(visit.request, visit.rule, answer, outcome, unasked=True)
                if reply.status != head.status:  # the client has it already: its own condition was ours to answer
                    self._tasks.spawn(answer.close(), "close")
                return reply
            case Arrived(found=found):
                return self._landed_arrived(visit, trip, found, outcome)
            case Failed():
                return self._landed_failed(visit, trip, landing, outcome)
            case _:
                assert_never(landing)

    def _landed_confirmed(self, visit: Visit, trip: Trip, landing: Confirmed, outcome: Outcome) -> Reply | None:
        found, led = landing.found, landing.owner is trip
        if not led:
            own = trip.found
            if (
                landing.skip is not None
                or own is None
                or own.entry.key != found.entry.key
                or not self._shares(visit, found.entry)
            ):
                return None
            if own.entry.received_at != landing.was.received_at:
                return None
            found = replace(found, entry=replace(found.entry, body=own.entry.body))
        outcome.verdict, outcome.reason, outcome.collapsed = Verdict.REVALIDATED, Why.REVALIDATED, not led
        outcome.upstream_status, outcome.upstream_seconds = 304, landing.seconds
        outcome.stored, outcome.stored_why = landing.skip is None, landing.skip.why if landing.skip else None
        reply = self._reply.stored(visit.request, visit.rule, found, outcome, current_age(found.entry, self._clock()))
        if led and len(landing.personal):
            reply.fields = Fields(reply.fields.pairs + landing.personal.pairs)
        return reply

    def _landed_kept(self, visit: Visit, trip: Trip, kept: Kept, outcome: Outcome) -> Reply | None:
        led = kept.owner is trip
        if kept.entry.vary:
            self._varies.learn(visit.keyed.hash, tuple(name for name, _ in kept.entry.vary))
        if not led and (not kept.recording.joinable or not self._shares(visit, kept.entry)):
            return None
        give_back(trip.found)
        outcome.stored, outcome.collapsed = True, not led
        outcome.upstream_status, outcome.upstream_seconds = kept.head.status, kept.seconds
        outcome.origin_ttl, outcome.ttl = kept.keep.origin_ttl, kept.keep.lifetime
        age = None if led else current_age(kept.entry, self._clock())
        reader = kept.reader if led else kept.recording.reader()
        entry = replace(kept.entry, fields=kept.head.fields) if led and kept.keep.withheld else kept.entry
        return self._reply.recorded(visit.request, visit.rule, entry, reader, kept.fate, outcome, age)

    def _landed_arrived(self, visit: Visit, trip: Trip, found: Found, outcome: Outcome) -> Reply | None:
        """Another instance's fetch is shared as one of our own would be."""
        if not self._shares(visit, found.entry):
            return None
        give_back(trip.found)
        outcome.stored, outcome.collapsed = True, True
        return self._reply.stored(visit.request, visit.rule, found, outcome, current_age(found.entry, self._clock()))

    def _landed_failed(self, visit: Visit, trip: Trip, failed: Failed, outcome: Outcome) -> Reply:
        outcome.upstream_status = failed.status
        if trip.found is not None and trip.decision.fallback:
            age = current_age(trip.found.entry, self._clock())
            return self._reply.stale(visit.request, visit.rule, trip.found, outcome, trip.decision.ttl, age)
        give_back(trip.found)
        return self._reply.failed(visit.request, visit.rule, failed.error, outcome)


def _still_coming(landing: Landing) -> bool:
    """Whether a flight that has landed is as good as a refresh of one's own: what is whole already is in store, and
    was judged there."""
    return isinstance(landing, Kept) and landing.recording.state is State.GROWING


def give_back(found: Found | None) -> None:
    """Close a stored body that is not going to be sent."""
    if found is not None:
        found.entry.body.close()
