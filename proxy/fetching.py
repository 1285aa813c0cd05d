"""What a flight's fetch does: ask the origin, judge the answer, land, record, store.

Runs in a task of its own, so that no client's leaving ends what others wait for. A fetch begins by noting the
journal's position: whatever is purged after that moment is not undone by what the fetch stores.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Protocol, assert_never

from proxy.entry import Entry, Found, Position, Select
from proxy.errors import Fault, StoreError, UpstreamError
from proxy.flight import Flight, Lately
from proxy.landing import Arrived, Confirmed, Failed, Kept, Landing, Skipped, Start, ToItsEnd, Trip, Visit, made
from proxy.message import Head
from proxy.outcome import Tier
from proxy.passes import Pass, Passes
from proxy.policy.conditional import NOT_WHOLE, validators
from proxy.policy.presenting import end_to_end
from proxy.policy.renewal import FallBack, Mismatch, Outdated, Renewed, Replaced, judge_head, judge_renewal
from proxy.policy.reuse import Choice, Serve, judge_reuse
from proxy.policy.storing import Keep, Skip, for_all, judge_renewed, judge_size, judge_storing, may_replace, outdates
from proxy.reasons import Why
from proxy.recording import Recording, State
from proxy.replying import Fate
from proxy.rules import Rule
from proxy.upstream.protocol import Answer
from proxy.upstream.routes import Routes


class Log(Protocol):
    """What of the journal a fetch needs."""

    def position(self) -> Position: ...


class Shelf(Protocol):
    """Where a finished answer goes, and where those of other instances come from."""

    async def put(self, entry: Entry) -> frozenset[Tier]: ...

    async def far(self, hash: str, select: Select, spent: dict[Tier, float]) -> Found | None: ...


# With the request's content, where that is in the key, and whether the answer is new: a 304 has confirmed it else.
Sampled = Callable[[Rule, Entry, bytes | None, bool], None]


class Fetching:
    """Leads flights. `record` makes an empty recording; `outdate` ends a stored answer everywhere; `clock` is wall time
    in seconds; `passes` see to it that one of all instances fetches at a time; `dropped` hears how many tags were too
    many for an entry, `sampled` of each answer that was stored, or stored anew."""

    def __init__(
        self,
        routes: Routes,
        shelf: Shelf,
        journal: Log,
        record: Callable[[], Recording],
        uncacheable: Lately[Why],
        outdate: Callable[[Entry], Awaitable[None]],
        clock: Callable[[], float],
        passes: Passes,
        dropped: Callable[[int], None],
        sampled: Sampled,
    ) -> None:
        self._routes = routes
        self._shelf = shelf
        self._journal = journal
        self._record = record
        self._uncacheable = uncacheable
        self._outdate = outdate
        self._clock = clock
        self._passes = passes
        self._dropped = dropped
        self._sampled = sampled

    def change(self, routes: Routes) -> None:
        """Fetch from these services from now on."""
        self._routes = routes

    async def lead(self, flight: Flight[Landing], trip: Trip, company: str, over: Callable[[], None]) -> None:
        """Bring `flight` to its landing and what it brought into the store; `over` is called when nobody may join
        any more. The flight lands whatever happens. `company`: the key that its passengers share, "" for one alone."""
        try:
            await self._lead(flight, trip, company)
        except UpstreamError as error:
            flight.land(Failed(error.with_traceback(None)))  # its frames hold the flight: a circle for each failure
        finally:
            over()
            if flight.landing is None:
                flight.land(Failed(UpstreamError(Fault.RESET, "the fetch ended without an answer")))

    async def _lead(self, flight: Flight[Landing], trip: Trip, company: str) -> None:
        """Fetch with the leave of the other instances, or take what one of them has fetched. Where nothing would be
        sent, nobody is asked for leave."""
        known = trip.found.entry.fence if trip.found is not None else 0
        free = self._passes.free(company)
        if free is not None:
            await self._fetch(flight, trip, self._start(free, known), free)
            return
        self._routes.preflight(trip.visit.rule)
        async with self._passes.for_trip(trip.visit.keyed.hash, company, known, lambda: self._look(trip)) as leave:
            if isinstance(leave, Found):
                flight.land(Arrived(leave))
                return
            if leave.learnt is not None:
                self._uncacheable.learn(trip.visit.company, leave.learnt)
            await self._fetch(flight, trip, self._start(leave, known), leave)

    def _start(self, leave: Pass, known: int) -> Start:
        return Start(self._journal.position(), self._clock(), max(leave.fence, known + 1))

    async def _look(self, trip: Trip) -> Found | None:
        """What another instance has stored by now, if it answers this visit."""
        request, rule = trip.visit.request, trip.visit.rule
        found = await self._shelf.far(trip.visit.keyed.hash, Choice(request, rule), {})
        if found is None:
            return None
        if found.entry.body.data is not None and isinstance(judge_reuse(request, found, rule, self._clock()), Serve):
            return found
        found.entry.body.close()
        return None

    async def elsewhere(self, hash: str, company: str) -> Why | bool:
        """As `Passes.look`."""
        return await self._passes.look(hash, company)

    def begin(self) -> Start:
        """Where a fetch begins that is nobody's to share."""
        return Start(self._journal.position(), self._clock(), self._passes.fence())

    async def _fetch(self, flight: Flight[Landing], trip: Trip, start: Start, leave: Pass) -> None:
        answer, landing = await self._ask(trip, start, conditional=trip.decision.conditional)
        if landing is None:  # a 304 for something we do not have: ask again, whole
            answer, landing = await self._ask(trip, start, conditional=False)
        match landing:
            case Kept():
                self._uncacheable.forget(trip.visit.company)
                if not flight.land(landing) or trip.behind or trip.left:
                    landing.reader.leave()
                if flight.landing is landing:
                    await self.keep(answer, landing, trip, leave)
                else:
                    await answer.close()
            case Skipped(head=head, skip=skip):
                self._learn(trip, skip, leave)
                if not flight.land(landing) or trip.behind or trip.left:
                    await answer.close()
                await self._outdated(trip, head, skip)
            case Confirmed():
                await answer.close()
                await self._renew(flight, landing, trip, leave)
            case Failed() | Arrived() | None:
                await answer.close()
                flight.land(landing or Failed.unasked())
            case _:
                assert_never(landing)

    async def _ask(self, trip: Trip, start: Start, *, conditional: bool) -> tuple[Answer, Landing | None]:
        """One exchange and what it means; None when the 304 fits nothing that we have."""
        found = trip.found if conditional else None
        answer = await self._routes.fetch(
            trip.visit.request,
            trip.visit.rule,
            trip.visit.keyed.target,
            drop=NOT_WHOLE,
            extra=validators(found.entry) if found else (),
            behind=trip.behind,
        )
        try:
            landing = self._judge(trip, answer, found, start)
        except BaseException:
            await answer.close()
            raise
        if landing is None:
            await answer.close()
        return answer, landing

    def _judge(self, trip: Trip, answer: Answer, asked: Found | None, start: Start) -> Landing | None:
        head, now = answer.head, self._clock()
        request, rule, seconds = trip.visit.request, trip.visit.rule, now - start.began
        if trip.found is not None:
            match judge_renewal(trip.found.entry, head, rule, now, fallback=trip.decision.fallback):
                case Renewed(entry, personal) if asked is not None:
                    skip = judge_renewed(request, head, entry, rule, now)
                    entry = replace(entry, position=start.position, fence=start.fence)
                    found = Found(entry, trip.found.tier)
                    return Confirmed(found, trip.found.entry, personal, skip, trip, seconds)
                case Renewed() | Mismatch():
                    return None
                case FallBack():
                    return Failed.of(head)
                case Replaced():
                    pass
        head = head.having(end_to_end(head))
        match judge_storing(request, head, rule, now):
            case Keep() if trip.found is not None and not may_replace(trip.found.entry, head):
                return Skipped(head, Skip(Why.STATUS), trip, answer, seconds)
            case Keep() as keep:
                kept = self.recorded(trip, head, keep, start, seconds, answer.at_hand)
                return kept or Skipped(head, Skip(Why.MAX_SIZE, keep.origin_ttl), trip, answer, seconds)
            case Skip() as skip:
                return Skipped(head, skip, trip, answer, seconds)

    def recorded(
        self, trip: Trip, head: Head, keep: Keep, start: Start, seconds: float, content: bytes | None = None
    ) -> Kept | None:
        """An answer with its recording, which is empty but for a `content` that is here as a whole; None when it says
        itself that it is too large for one."""
        recording, length = self._record(), head.length
        if length is not None and length > recording.limit:
            return None
        if content is None or not recording.fill(content):
            entry = made(trip.visit, head, keep, start, self._dropped)
            return Kept(head, entry, recording, recording.reader(), Fate(), keep, trip, seconds)
        entry = made(trip.visit, head, keep, start, self._dropped, recording.body())
        skip = judge_size(trip.visit.rule, recording.size)
        fate = Fate(None if skip is None else skip.why)
        return Kept(head, entry, recording, recording.reader(), fate, keep, trip, seconds)

    async def _outdated(self, trip: Trip, head: Head, skip: Skip) -> None:
        """What was asked about and is over is not served any longer, in no window."""
        request, rule, conditional = trip.visit.request, trip.visit.rule, trip.decision.conditional
        if trip.found is not None and outdates(request, head, rule, skip, conditional=conditional):
            await self._outdate(trip.found.entry)

    async def describe(self, visit: Visit, entry: Entry, head: Head) -> None:
        """The answer to a HEAD renews what a GET stored, or ends it (RFC 9111 4.3.5). Takes over the entry's body."""
        request, rule, now = visit.request, visit.rule, self._clock()
        try:
            match judge_head(request, entry, head, rule, now):
                case Renewed(renewed):
                    skip = judge_renewed(replace(request, method="GET"), head, renewed, rule, now)
                    if skip is None:
                        await self._shelf.put(replace(renewed, fence=entry.fence + 1))
                    elif for_all(request, rule, skip):
                        await self._outdate(entry)
                case Outdated():
                    await self._outdate(entry)
        finally:
            entry.body.close()

    async def _renew(self, flight: Flight[Landing], landing: Confirmed, trip: Trip, leave: Pass) -> None:
        """Tell those who wait, then store what the 304 changed. The body is theirs to close, so we take our own."""
        entry = landing.found.entry
        if landing.skip is not None:
            self._learn(trip, landing.skip, leave)
            flight.land(landing)
            if for_all(trip.visit.request, trip.visit.rule, landing.skip):
                await self._outdate(landing.was)
            return
        try:
            body = entry.body.share()
        except StoreError:
            flight.land(landing)
            return
        try:
            flight.land(landing)
            await self._shelf.put(replace(entry, body=body))
            self._sampled(trip.visit.rule, entry, trip.visit.content, False)
        finally:
            body.close()

    async def keep(self, answer: Answer, kept: Kept, trip: Trip, leave: Pass) -> None:
        """Record the content to its proven end, then store it. What is cut is cut for everyone, and kept nowhere."""
        recording = kept.recording
        try:
            with ToItsEnd(recording):
                if recording.state is State.GROWING:
                    if kept.head.length is not None:
                        await leave.told_size(kept.head.length)
                    async for chunk in answer:
                        await recording.write(chunk)
                    await recording.finish()
                await self._store(kept, trip, leave)
        finally:
            await answer.close()

    async def _store(self, kept: Kept, trip: Trip, leave: Pass) -> None:
        recording = kept.recording
        await leave.told_size(recording.size)
        skip = Skip(Why.MAX_SIZE) if recording.given_up else judge_size(trip.visit.rule, recording.size)
        if skip is not None:
            kept.fate.why = skip.why
            self._learn(trip, skip, leave)
        else:
            body = recording.body()
            entry = kept.entry if kept.entry.body is body else replace(kept.entry, body=body)
            await self._shelf.put(entry)
            self._sampled(trip.visit.rule, entry, trip.visit.content, True)
            if trip.found is not None and trip.found.entry.variant not in ("", kept.entry.variant):
                await self._outdate(trip.found.entry)  # it fits the request still, and might go before the new one

    def _learn(self, trip: Trip, skip: Skip, leave: Pass) -> None:
        """Fetches of these are better not shared for a while; what a client forbade, it forbade for itself."""
        if skip.why is not Why.REQUEST_NO_STORE:
            self._uncacheable.learn(trip.visit.company, skip.why)
            leave.tell(skip.why)
