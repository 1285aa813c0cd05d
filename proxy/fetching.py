"""What a flight's fetch does: ask the origin, judge the answer, land, record, store.

Runs in a task of its own, so that no client's leaving ends what others wait for. A fetch begins by noting the
journal's position: whatever is purged after that moment is not undone by what the fetch stores.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, assert_never

from proxy.entry import BytesBody, Entry, Found, Position
from proxy.errors import Fault, StoreError, TruncatedError, UpstreamError
from proxy.flight import Flight, Lately
from proxy.message import Fields, Head, Request
from proxy.outcome import Tier
from proxy.policy.conditional import CLIENT_CONDITIONS, validators
from proxy.policy.forwarding import response_fields
from proxy.policy.identity import uncovered
from proxy.policy.keys import Keyed
from proxy.policy.presenting import dated
from proxy.policy.renewal import FallBack, Mismatch, Renewed, Replaced, judge_renewal
from proxy.policy.reuse import Fetch
from proxy.policy.storing import Keep, Skip, judge_size, judge_storing, may_replace
from proxy.policy.tags import tags_of
from proxy.reasons import Why
from proxy.recording import Abandoned, Reader, Recording
from proxy.replying import Fate
from proxy.rules import Rule
from proxy.upstream.protocol import Answer
from proxy.upstream.routes import Routes

# What a fetch for the cache leaves out: the answer must be the whole representation.
_WHOLE = CLIENT_CONDITIONS | {"range", "if-range"}


@dataclass(frozen=True, slots=True)
class Start:
    """When a fetch began: what the journal held, and the wall clock."""

    position: Position
    began: float


@dataclass(frozen=True, slots=True)
class Visit:
    """A request on a cached route; `content` is its body where that is part of the key."""

    request: Request
    rule: Rule
    keyed: Keyed
    content: bytes | None
    arrived: float

    @property
    def company(self) -> str:
        """Who may share a fetch. Requests that carry something bound to a person, which the key does not cover, never
        fly with the others, nor teach them anything: whether they may share an answer is decided by other clauses
        (RFC 9111 3.5)."""
        key = self.keyed.hash
        return key if uncovered(self.request, self.rule) is None else f"{key}+personal"


@dataclass(slots=True, eq=False)
class Trip:
    """One visit's way upstream. `behind`: nobody waits for it; `left`: its client went away before the landing."""

    visit: Visit
    found: Found | None
    decision: Fetch
    behind: bool = False
    left: bool = False


@dataclass(frozen=True, slots=True)
class Kept:
    """The answer may be shared: read it from the recording as it grows. `entry` has all but the body; `reader` is
    the owner's, there from the first byte on."""

    head: Head
    entry: Entry
    recording: Recording
    reader: Reader
    fate: Fate
    keep: Keep
    owner: Trip
    seconds: float


@dataclass(frozen=True, slots=True)
class Confirmed:
    """A 304 renewed the stored answer that `was`. `personal` is what it said to the owner alone."""

    found: Found
    was: Entry
    personal: Fields
    owner: Trip
    seconds: float


@dataclass(frozen=True, slots=True)
class Skipped:
    """The answer may not be shared: it belongs to the trip that asked, everybody else only learns why."""

    head: Head
    skip: Skip
    owner: Trip
    answer: Answer
    seconds: float


@dataclass(frozen=True, slots=True)
class Failed:
    """No answer, or one that says that the origin is in trouble."""

    error: UpstreamError
    status: int | None = None  # what the origin said, if it spoke


Landing = Kept | Confirmed | Skipped | Failed


class Log(Protocol):
    """What of the journal a fetch needs."""

    def position(self) -> Position: ...


class Shelf(Protocol):
    """Where a finished answer goes."""

    async def put(self, entry: Entry) -> frozenset[Tier]: ...


class Fetching:
    """Leads flights. `record` makes an empty recording; `clock` is wall time in seconds."""

    def __init__(
        self,
        routes: Routes,
        shelf: Shelf,
        journal: Log,
        record: Callable[[], Recording],
        uncacheable: Lately[Why],
        clock: Callable[[], float],
    ) -> None:
        self._routes = routes
        self._shelf = shelf
        self._journal = journal
        self._record = record
        self._uncacheable = uncacheable
        self._clock = clock

    def change(self, routes: Routes) -> None:
        """Fetch from these services from now on."""
        self._routes = routes

    async def lead(self, flight: Flight[Landing], trip: Trip, over: Callable[[], None]) -> None:
        """Bring `flight` to its landing and what it brought into the store; `over` is called when nobody may join
        any more. The flight lands whatever happens."""
        try:
            await self._fetch(flight, trip)
        except UpstreamError as error:
            flight.land(Failed(error))
        finally:
            over()
            flight.land(Failed(UpstreamError(Fault.RESET, "the fetch ended without an answer")))

    async def _fetch(self, flight: Flight[Landing], trip: Trip) -> None:
        start = Start(self._journal.position(), self._clock())
        answer, landing = await self._ask(trip, start, conditional=trip.decision.conditional)
        if landing is None:  # a 304 for something we do not have: ask again, whole
            answer, landing = await self._ask(trip, start, conditional=False)
        match landing:
            case Kept():
                self._uncacheable.forget(trip.visit.company)
                if not flight.land(landing) or trip.behind or trip.left:
                    landing.reader.leave()
                if flight.landing is landing:
                    await self._keep(answer, landing, trip)
                else:
                    await answer.close()
            case Skipped(skip=skip):
                self._uncacheable.learn(trip.visit.company, skip.why)
                if not flight.land(landing) or trip.behind or trip.left:
                    await answer.close()
            case Confirmed(found=found):
                await answer.close()
                await self._renew(flight, landing, found.entry)
            case Failed() | None:
                await answer.close()
                flight.land(landing or Failed(_unasked()))
            case _:
                assert_never(landing)

    async def _ask(self, trip: Trip, start: Start, *, conditional: bool) -> tuple[Answer, Landing | None]:
        """One exchange and what it means; None when the 304 fits nothing that we have."""
        found = trip.found if conditional else None
        answer = await self._routes.fetch(
            trip.visit.request,
            trip.visit.rule,
            trip.visit.keyed.target,
            drop=_WHOLE,
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
        seconds = now - start.began
        if trip.found is not None:
            fallback = trip.decision.fallback
            match judge_renewal(trip.found.entry, head, trip.visit.rule, now, fallback=fallback):
                case Renewed(entry, personal) if asked is not None:
                    found = Found(replace(entry, position=start.position), trip.found.tier)
                    return Confirmed(found, trip.found.entry, personal, trip, seconds)
                case Renewed() | Mismatch():
                    return None
                case FallBack():
                    return Failed(in_trouble(head.status), head.status)
                case Replaced():
                    pass
        head = replace(head, fields=dated(head, response_fields(head.fields)))
        match judge_storing(trip.visit.request, head, trip.visit.rule, now):
            case Keep() if trip.found is not None and not may_replace(trip.found.entry, head):
                return Skipped(head, Skip(Why.STATUS), trip, answer, seconds)
            case Keep() as keep:
                recording = self._record()
                if head.length is not None and head.length > recording.limit:
                    return Skipped(head, Skip(Why.MAX_SIZE, keep.origin_ttl), trip, answer, seconds)
                entry = self._entry(trip, head, keep, start.position)
                return Kept(head, entry, recording, recording.reader(), Fate(), keep, trip, seconds)
            case Skip() as skip:
                return Skipped(head, skip, trip, answer, seconds)

    def _entry(self, trip: Trip, head: Head, keep: Keep, position: Position) -> Entry:
        return Entry(
            hash=trip.visit.keyed.hash,
            parts=trip.visit.keyed.parts,
            status=head.status,
            phrase=head.phrase,
            fields=head.fields,
            requested_at=head.requested_at,
            received_at=head.received_at,
            keep_until=keep.keep_until,
            body=BytesBody(b""),
            vary=keep.vary,
            rule=trip.visit.rule.name,
            tags=tags_of(trip.visit.rule, trip.visit.request, trip.visit.keyed, head.fields, trip.visit.content).kept,
            position=position,
        )

    async def _renew(self, flight: Flight[Landing], landing: Confirmed, entry: Entry) -> None:
        """Tell those who wait, then store what the 304 changed. The body is theirs to close, so we take our own."""
        try:
            body = entry.body.share()
        except StoreError:
            flight.land(landing)
            return
        try:
            flight.land(landing)
            await self._shelf.put(replace(entry, body=body))
        finally:
            body.close()

    async def _keep(self, answer: Answer, kept: Kept, trip: Trip) -> None:
        """Record the content to its proven end, then store it. What is cut is cut for everyone, and kept nowhere."""
        recording = kept.recording
        try:
            async for chunk in answer:
                await recording.write(chunk)
            await recording.finish()
            await self._store(kept, trip)
        except UpstreamError as error:
            recording.fail(TruncatedError(str(error)))
        except Abandoned:
            pass
        except BaseException:
            recording.fail(TruncatedError("the fetch was ended"))
            raise
        finally:
            recording.discard()
            await answer.close()

    async def _store(self, kept: Kept, trip: Trip) -> None:
        recording = kept.recording
        skip = Skip(Why.MAX_SIZE) if recording.given_up else judge_size(trip.visit.rule, recording.size)
        if skip is not None:
            kept.fate.why = skip.why
            self._uncacheable.learn(trip.visit.company, skip.why)
        else:
            await self._shelf.put(replace(kept.entry, body=recording.body()))


def in_trouble(status: int) -> UpstreamError:
    """What those are told whose fetch somebody else made and who may not have its 5xx answer."""
    fault = {503: Fault.UNAVAILABLE, 504: Fault.GATEWAY_TIMEOUT}.get(status, Fault.ERROR)
    return UpstreamError(fault, f"the origin answered {status}")


def _unasked() -> UpstreamError:
    return UpstreamError(Fault.FRAMING, "the origin answered 304 to an unconditional request")
