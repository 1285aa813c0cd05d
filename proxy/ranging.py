"""The story of a range of what is not held whole: cut from the parts that are held, completed by what is missing.

parts -> all there: fresh: serve | stale in its window: serve, confirm behind | stale: ask whether they still hold
      -> some missing: ask for these alone, If-Range -> of the same representation: splice and store
      -> else, and when what came did not fit: ask what the client asked, and store what comes

Who asks the same at the same time shares the answer while it comes. A part is stored once its end was proven; one that
all its readers have left is not fetched any further.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol, assert_never

from proxy.completing import Arrival, Completing, Errand
from proxy.entry import Entry, Found
from proxy.errors import Fault, UpstreamError
from proxy.flight import Flight, Flights, Lately
from proxy.flying import Patience
from proxy.gathering import Brought, Gathering, Leg, Unshared
from proxy.hooks import hook
from proxy.landing import Failed, Start, Visit
from proxy.message import Head, Reply
from proxy.outcome import Outcome, Tier, Verdict
from proxy.policy.cache_control import asked
from proxy.policy.cache_status import forward_word
from proxy.policy.conditional import CLIENT_CONDITIONS, NOT_WHOLE, validators
from proxy.policy.identity import for_everybody
from proxy.policy.parts import AsCame, Confirm, Course, Fill, judge_range
from proxy.policy.renewal import Outdated, Renewed, judge_head, judge_renewal
from proxy.policy.reuse import Choice, Serve, ServeStale, answers
from proxy.policy.storing import for_all, judge_renewed
from proxy.reasons import Why
from proxy.recording import GivenUp
from proxy.replying import Replying
from proxy.store.parts import Parts
from proxy.store.parts_held import Partly
from proxy.tasks import Tasks
from proxy.upstream.routes import Routes

TURNS = 3  # in the last one nobody is waited for, and the origin is asked what the client asked


class Journal(Protocol):
    """What of the journal ranges need."""

    def ended(self, entry: Entry) -> float | None: ...


class Ranging:
    """Answers ranges. `begin` says where a fetch begins; `patience`: how long another's answer to the same is
    waited for; `uncacheable` remembers whose answers could not be kept lately; `clock` is wall time in seconds.
    `among`: there are other instances, which know nothing of these parts."""

    def __init__(
        self,
        routes: Routes,
        parts: Parts,
        gathering: Gathering,
        journal: Journal,
        begin: Callable[[], Start],
        uncacheable: Lately[Why],
        tasks: Tasks,
        patience: Patience,
        replying: Replying,
        clock: Callable[[], float],
        *,
        among: bool,
    ) -> None:
        self.waiting = 0  # requests that wait for another's answer
        self._flights: Flights[Brought] = Flights()
        self._routes = routes
        self._parts = parts
        self._completing = Completing(parts, gathering, replying, uncacheable, clock)
        self._journal = journal
        self._begin = begin
        self._uncacheable = uncacheable
        self._tasks = tasks
        self._reply = replying
        self._patience = patience
        self._clock = clock
        self._among = among

    def change(self, routes: Routes, patience: Patience) -> None:
        """Fetch from these services, and wait so long, from now on."""
        self._routes, self._patience = routes, patience

    # -- from what is held -----------------------------------------------------------------------------------------

    def held(self, visit: Visit, whole: Found | None, spent: dict[Tier, float] | None) -> Reply | None:
        """The reply from parts that are held, asking nobody; None when they do not answer, or `whole` came later."""
        partly, course = self._course(visit)
        if partly is None:
            return None
        match served(partly, course, whole):
            case Serve(age, ttl, why, ahead):
                outcome = Outcome(Verdict.HIT, why, visit.rule.name, ttl=ttl, tier_seconds=spent)
            case ServeStale(age, ttl, why):
                outcome, ahead = Outcome(Verdict.UPDATING, why, visit.rule.name, ttl=ttl, tier_seconds=spent), True
            case None:
                return None
        if ahead:
            self._refresh(visit, partly)
        found = partly.taken()
        return None if found is None else self._reply.stored(visit.request, visit.rule, found, outcome, age)

    def completes(self, visit: Visit) -> bool:
        """Whether what is held would be whole with the rest of it, so that no more has to be asked for. Where there are
        other instances, a whole answer is fetched once for all of them."""
        if self._among or visit.request.method != "GET" or not self._parts:
            return False
        return isinstance(self.look(visit)[1], Fill)

    def look(self, visit: Visit) -> tuple[Partly | None, Course]:
        """What is held in parts, and what that means for this visit; it leaves no trace."""
        return self._judged(visit, self._parts.look(visit.keyed.hash, Choice(visit.request, visit.rule)))

    def _course(self, visit: Visit) -> tuple[Partly | None, Course]:
        return self._judged(visit, self._parts.find(visit.keyed.hash, Choice(visit.request, visit.rule)))

    def _judged(self, visit: Visit, partly: Partly | None) -> tuple[Partly | None, Course]:
        if partly is None:
            return None, AsCame()
        return partly, judge_range(visit.request, partly.found, partly.extents, visit.rule, self._clock())

    def heard(self, visit: Visit, head: Head) -> None:
        """A HEAD was answered: parts of something else are of no use any more (RFC 9111 4.3.5)."""
        partly, _ = self._course(visit)
        if partly is None:
            return
        if isinstance(judge_head(visit.request, partly.entry, head, visit.rule, self._clock()), Outdated):
            self._parts.end(partly.held)

    # -- from the origin -------------------------------------------------------------------------------------------

    async def fetch(self, visit: Visit, outcome: Outcome) -> Reply:
        """The reply to a range that what is held does not answer by itself."""
        for turn in range(1, TURNS + 1):
            if (reply := self.held(visit, None, outcome.tier_seconds)) is not None:
                return reply
            partly, course = self._course(visit)
            way = errand(visit, AsCame() if turn == TURNS else course, partly, outcome)
            name = "" if turn == TURNS or self.lately(visit) is not None else _name(way)
            flight, leads = self._flights.join(name, _joinable) if name else (Flight[Brought](), True)
            go = self._lead if leads else self._share
            reply = await go(way, name, flight, outcome)
            if reply is not None:
                return reply
        raise AssertionError("what is asked as the client did gets a reply")

    def lately(self, visit: Visit) -> Why | None:
        """Why sharing would lead nowhere, as `Flying.lately`."""
        if asked(visit.request, visit.rule).no_store:
            return Why.REQUEST_NO_STORE
        return self._uncacheable.get(visit.company)

    @hook
    async def _lead(self, errand: Errand, name: str, flight: Flight[Brought], outcome: Outcome) -> Reply | None:
        """Ask the origin; None when what came does not fit what is held."""

        def over() -> None:
            self._flights.over(name, flight)

        visit = errand.visit
        brought: Brought = Unshared.UNSHARED
        try:
            start = self._begin()
            try:
                answer = await self._routes.fetch(
                    visit.request, visit.rule, visit.keyed.target, drop=errand.drop, extra=errand.extra, behind=False
                )
            except UpstreamError as error:
                brought = Failed(error.with_traceback(None))  # its frames hold this one
                return self._failed(errand, brought, outcome)
            if answer.head.status >= 500:  # unless it lands to be shared before
                brought = Failed.of(answer.head)
            try:
                seconds = self._clock() - start.began
                return await self._completing.reply(Arrival(errand, answer, start, seconds, flight, over), outcome)
            except BaseException:
                await answer.close()
                raise
        finally:
            if flight.land(brought):
                over()

    def _failed(self, errand: Errand, failed: Failed, outcome: Outcome) -> Reply:
        """The same for who asked and for those who share it: one failure does not make many."""
        outcome.upstream_status = failed.status
        stale = self._completing.stand_in(errand, outcome)
        return stale or self._reply.failed(errand.visit.request, errand.visit.rule, failed.error, outcome)

    # -- shared with others ----------------------------------------------------------------------------------------

    @hook
    async def _share(self, errand: Errand, name: str, flight: Flight[Brought], outcome: Outcome) -> Reply | None:
        """The reply from the answer to somebody else; None when it is not for this one too. As with whole answers, one
        of those who wait for too long asks a second time, and the rest wait on."""
        self.waiting += 1
        try:
            brought = await flight.wait(self._patience.flight)
            second = brought is None and flight.relieve()
            if brought is None and not second:
                brought = await flight.wait(self._patience.total)
        finally:
            self.waiting -= 1
        match brought:
            case None if second:
                return await self._lead(errand, name, flight, outcome)
            case None:
                error = UpstreamError(Fault.FIRST_BYTE_TIMEOUT, "the fetch of this answer took too long")
                return self._failed(errand, Failed(error), outcome)
            case Failed():
                return self._failed(errand, brought, outcome)
            case Unshared():
                return None
            case Leg():
                return self._joined(errand, brought, outcome)
            case _:
                assert_never(brought)

    def _joined(self, errand: Errand, leg: Leg, outcome: Outcome) -> Reply | None:
        """The reply from an answer that still comes, or has come."""
        if leg.filing is None or not self._shares(errand.visit, leg.filing.entry):
            return None
        try:
            reader = leg.recording.reader()
        except GivenUp:
            return None
        return self._completing.share(errand, leg, leg.filing, reader, outcome)

    def _shares(self, visit: Visit, entry: Entry) -> bool:
        """As for flights: the answer to another's request has to be reusable like a stored one."""
        if self._journal.ended(entry) is not None:
            return False
        return answers(visit.request, entry, visit.rule, self._clock())

    # -- behind a client's back ------------------------------------------------------------------------------------

    def _refresh(self, visit: Visit, partly: Partly) -> None:
        """Ask once whether what is held still holds, in nobody's name."""
        name = f"{partly.entry.key} refresh"
        flight, leads = self._flights.join(name, _joinable)
        if not leads:
            return

        async def work() -> None:
            try:
                await self._confirm(visit, partly)
            finally:
                flight.land(Unshared.UNSHARED)
                self._flights.over(name, flight)

        if not self._tasks.spawn(work(), "refresh"):
            self._flights.over(name, flight)

    @hook
    async def _confirm(self, visit: Visit, partly: Partly) -> None:
        """A 304 renews it; any other answer but an error shows that it is not current, and the next one asks anew."""
        request, rule = for_everybody(visit.request, visit.rule, partly.entry.vary), visit.rule
        start = self._begin()
        drop, extra = CLIENT_CONDITIONS, validators(partly.entry)
        try:
            answer = await self._routes.fetch(request, rule, visit.keyed.target, drop=drop, extra=extra, behind=True)
        except UpstreamError:
            return
        await answer.close()
        renewal = judge_renewal(partly.entry, answer.head, rule, self._clock(), fallback=True)
        match renewal:
            case Renewed(entry):
                entry = replace(entry, position=start.position, fence=start.fence)
                skip = judge_renewed(request, answer.head, entry, rule, self._clock())
                if skip is None:
                    self._parts.renew(partly, entry)
                elif for_all(request, rule, skip):
                    self._parts.end(partly.held)
            case _:
                if answer.head.status < 500:
                    self._parts.end(partly.held)


def served(partly: Partly | None, course: Course, whole: Found | None) -> Serve | ServeStale | None:
    """How parts answer that are held, asking nobody; None when they do not, or `whole` came later."""
    if partly is None or (whole is not None and whole.entry.received_at >= partly.entry.received_at):
        return None
    return course if isinstance(course, Serve | ServeStale) else None


def errand(visit: Visit, course: Course, partly: Partly | None, outcome: Outcome) -> Errand:
    """How to ask, and why as the outcome tells it."""
    match course:
        case Confirm(fetch):
            assert partly is not None
            outcome.verdict, outcome.reason, outcome.fwd = Verdict.EXPIRED, fetch.why, forward_word(fetch.why)
            return Errand(visit, course, partly, CLIENT_CONDITIONS, validators(partly.entry))
        case Fill(part, validator):
            outcome.reason, outcome.fwd = Why.PARTIAL, forward_word(Why.PARTIAL)
            extra = ("Range", f"bytes={part.start}-{part.end - 1}"), ("If-Range", validator)
            return Errand(visit, course, partly, NOT_WHOLE, extra)
        case AsCame():
            if partly is not None:
                outcome.reason, outcome.fwd = Why.PARTIAL, forward_word(Why.PARTIAL)
            return Errand(visit, course, partly)
        case Serve() | ServeStale():  # what `held` did not serve has ended meanwhile
            return Errand(visit, AsCame(), None)
        case _:
            assert_never(course)


def _name(errand: Errand) -> str:
    """What tells who asks the same; "" for who is not to be shared with."""
    fields, extra = errand.visit.request.fields, errand.extra
    if isinstance(errand.course, AsCame) and fields.has_any(CLIENT_CONDITIONS):
        return ""
    own = "" if isinstance(errand.course, Fill) else f"{fields.get('range')} {fields.get('if-range')}"
    return f"{errand.visit.company} {own} {extra!r}"


def _joinable(brought: Brought) -> bool:
    """Whether a newcomer may join a flight that has landed already."""
    return isinstance(brought, Leg) and not brought.recording.given_up
