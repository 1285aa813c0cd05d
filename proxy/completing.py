"""What the origin's answer to a range means: it confirms what is held in parts, completes it, or takes its place."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import assert_never

from proxy.entry import Entry, Found, Pairs
from proxy.flight import Flight, Lately
from proxy.flying import give_back
from proxy.gathering import Brought, Filing, Gathering, Leg
from proxy.landing import Start, Visit
from proxy.message import Fields, Head, Reply
from proxy.outcome import Outcome, Verdict
from proxy.policy.freshness import current_age
from proxy.policy.parts import AsCame, Combined, Confirm, Fill, combine, same_representation
from proxy.policy.presenting import end_to_end
from proxy.policy.renewal import FallBack, Mismatch, Renewed, Replaced, judge_renewal
from proxy.policy.storing import Skip, for_all, judge_renewed
from proxy.reasons import Why
from proxy.recording_reader import Reader
from proxy.replying import Fate, Replying
from proxy.splicing import SplicedBody
from proxy.store.parts import Parts
from proxy.store.parts_held import Partly
from proxy.upstream.protocol import Answer


@dataclass(frozen=True, slots=True)
class Errand:
    """One visit's way upstream: what is held that the answer may confirm or complete, and how it is asked for: without
    the client's fields in `drop`, with our own in `extra`."""

    visit: Visit
    course: Confirm | Fill | AsCame
    partly: Partly | None
    drop: frozenset[str] = frozenset()
    extra: Pairs = ()


@dataclass(frozen=True, slots=True)
class Arrival:
    """An answer whose head has come. `flight` lands with what others may share; `over` when nobody may any more."""

    errand: Errand
    answer: Answer
    start: Start
    seconds: float
    flight: Flight[Brought]
    over: Callable[[], None]


class Completing:
    """Makes replies of what came. `uncacheable` learns whose answers could not be kept; `clock` is wall time in
    seconds."""

    def __init__(
        self,
        parts: Parts,
        gathering: Gathering,
        replying: Replying,
        uncacheable: Lately[Why],
        clock: Callable[[], float],
    ) -> None:
        self._parts = parts
        self._gathering = gathering
        self._reply = replying
        self._uncacheable = uncacheable
        self._clock = clock

    async def reply(self, arrival: Arrival, outcome: Outcome) -> Reply | None:
        """The reply to who asked; None when what came does not fit what is held: that has ended, and the answer is
        closed."""
        errand, answer = arrival.errand, arrival.answer
        outcome.upstream_status, outcome.upstream_seconds = answer.head.status, arrival.seconds
        if errand.partly is not None:
            held, rule, now = errand.partly.entry, errand.visit.rule, self._clock()
            match errand.course:
                case Confirm(fetch):
                    renewal = judge_renewal(held, answer.head, rule, now, fallback=fetch.fallback)
                    if not isinstance(renewal, Replaced):
                        await answer.close()
                        return self._confirmed(arrival, errand.partly, renewal, outcome)
                case Fill(part) if answer.head.status in (206, 304, 416):
                    both = combine(held, _past_us(answer.head), rule, now)
                    reply = None
                    if both is not None and both.piece.part == part:
                        reply = self._completed(arrival, errand.partly, both, outcome)
                    if reply is None:
                        self._parts.end(errand.partly.held)
                        await answer.close()
                    return reply
                case Fill() | AsCame():
                    pass
                case _:
                    assert_never(errand.course)
        return await self._came(arrival, outcome)

    def stand_in(self, errand: Errand, outcome: Outcome) -> Reply | None:
        """What is held, stale, in the place of an answer that did not come (RFC 5861 4)."""
        if errand.partly is None or not isinstance(errand.course, Confirm) or not errand.course.fetch.fallback:
            return None
        found = errand.partly.taken()
        if found is None:
            return None
        age, ttl = current_age(found.entry, self._clock()), errand.course.fetch.ttl
        return self._reply.stale(errand.visit.request, errand.visit.rule, found, outcome, ttl, age)

    def share(self, errand: Errand, leg: Leg, filing: Filing, reader: Reader, outcome: Outcome) -> Reply | None:
        """The reply to who asked the same meanwhile. Takes over the reader."""
        found = None
        if isinstance(errand.course, Fill) and filing.piece is not None and errand.partly is not None:
            found = errand.partly.taken()
            if found is None:
                reader.leave()
                return None
        outcome.collapsed, outcome.upstream_status = True, leg.head.status
        _tell_stored(filing, leg, outcome)
        if found is not None and errand.partly is not None:
            return self._spliced(errand, found, errand.partly, filing.entry, reader, outcome)
        return self._recorded(errand.visit, leg, filing, reader, outcome, current_age(filing.entry, self._clock()))

    # -- what is held still holds ----------------------------------------------------------------------------------

    def _confirmed(
        self, arrival: Arrival, partly: Partly, renewal: Renewed | FallBack | Mismatch, outcome: Outcome
    ) -> Reply | None:
        visit = arrival.errand.visit
        match renewal:
            case Renewed(entry, personal):
                found = partly.taken()
                if found is None:
                    return None
                entry = replace(entry, position=arrival.start.position, fence=arrival.start.fence)
                skip = judge_renewed(visit.request, arrival.answer.head, entry, visit.rule, self._clock())
                outcome.verdict, outcome.reason = Verdict.REVALIDATED, Why.REVALIDATED
                outcome.stored = skip is None and self._parts.renew(partly, entry)
                outcome.stored_why = skip.why if skip is not None else None
                if skip is not None and for_all(visit.request, visit.rule, skip):
                    self._parts.end(partly.held)
                found = replace(found, entry=replace(entry, body=found.entry.body))
                age = current_age(entry, self._clock())
                reply = self._reply.stored(visit.request, visit.rule, found, outcome, age)
                reply.fields = Fields(reply.fields.pairs + personal.pairs)
                return reply
            case FallBack():
                return self.stand_in(arrival.errand, outcome)
            case Mismatch():
                self._parts.end(partly.held)
                return None
            case _:
                assert_never(renewal)

    # -- what is missing came --------------------------------------------------------------------------------------

    def _completed(self, arrival: Arrival, partly: Partly, both: Combined, outcome: Outcome) -> Reply | None:
        """What was asked for of what is held came: both together are the reply, whether it can be stored or not."""
        visit, head = arrival.errand.visit, _past_us(arrival.answer.head)
        judged = self._gathering.judge(visit, head, partly, arrival.start, self._clock())
        filing = judged if isinstance(judged, Filing) else None
        leg = Leg(head, filing, self._gathering.record(), arrival.seconds, Fate())
        found, reader = partly.taken(), leg.recording.reader()
        if found is None or not self._begin(arrival, leg):
            reader.leave()
            give_back(found)
            return None
        if isinstance(judged, Skip):
            leg.recording.give_up()
            self._skipped(arrival.errand, judged, outcome)
        else:
            _tell_stored(judged, leg, outcome)
        entry = both.entry if filing is None else filing.entry
        reply = self._spliced(arrival.errand, found, partly, entry, reader, outcome)
        reply.fields = Fields(reply.fields.pairs + both.personal.pairs)
        return reply

    def _spliced(
        self, errand: Errand, found: Found, partly: Partly, entry: Entry, reader: Reader, outcome: Outcome
    ) -> Reply:
        """What is held and what comes, as one; `entry` has the head of both."""
        assert isinstance(errand.course, Fill)
        body = SplicedBody(found.entry.body, partly.extents, errand.course.part, reader)
        found, age = replace(found, entry=replace(entry, body=body)), current_age(entry, self._clock())
        reply = self._reply.stored(errand.visit.request, errand.visit.rule, found, outcome, age)
        outcome.tier = None  # not all of the body came from there
        reply.fields = reply.fields.without({"x-cache-tier"})
        return reply

    # -- something else came ---------------------------------------------------------------------------------------

    async def _came(self, arrival: Arrival, outcome: Outcome) -> Reply:
        """As it is, to its client; stored on the way, as a part or as a whole, where it may be."""
        errand, answer, head = arrival.errand, arrival.answer, _past_us(arrival.answer.head)
        judged = self._gathering.judge(errand.visit, head, errand.partly, arrival.start, self._clock())
        if isinstance(judged, Filing):
            if errand.partly is not None and _is_another(errand.partly.entry, judged):
                self._parts.end(errand.partly.held)
            leg = Leg(head, judged, self._gathering.record(), arrival.seconds, Fate())
            reader = leg.recording.reader()
            if self._begin(arrival, leg):
                _tell_stored(judged, leg, outcome)
                return self._recorded(errand.visit, leg, judged, reader, outcome, None)
            reader.leave()
        else:
            self._skipped(errand, judged, outcome)
        unasked = isinstance(errand.course, Confirm)
        reply = self._reply.streamed(errand.visit.request, errand.visit.rule, answer, outcome, unasked=unasked)
        if reply.status != head.status:  # the client has it already: its own condition was ours to answer
            await answer.close()
        return reply

    def _recorded(
        self, visit: Visit, leg: Leg, filing: Filing, reader: Reader, outcome: Outcome, age: float | None
    ) -> Reply:
        head, fields = leg.head, leg.head.fields
        if filing.piece is not None and "content-length" not in fields:
            fields = fields.plus(("Content-Length", str(filing.piece.size)))
        told = replace(filing.entry, status=head.status, phrase=head.phrase, fields=fields)
        return self._reply.recorded(visit.request, visit.rule, told, reader, leg.fate, outcome, age)

    def _begin(self, arrival: Arrival, leg: Leg) -> bool:
        """Let it come; False when too much is under way."""
        if not self._gathering.begin(arrival.answer, leg, arrival.errand.visit, arrival.over):
            return False
        if leg.filing is not None:
            self._uncacheable.forget(arrival.errand.visit.company)
            if leg.filing.shared:
                arrival.flight.land(leg)
        return True

    def _skipped(self, errand: Errand, skip: Skip, outcome: Outcome) -> None:
        """It is not stored, and others are not to wait for what they cannot share. Where that is not for who asked,
        what is held has lost its permission too."""
        outcome.stored_why, outcome.origin_ttl = skip.why, skip.origin_ttl
        if skip.why is Why.REQUEST_NO_STORE or outcome.upstream_status not in (200, 206):
            return
        self._uncacheable.learn(errand.visit.company, skip.why)
        personal = skip.why in (Why.CREDENTIALS, Why.COOKIE)
        if errand.partly is not None and not personal and not isinstance(errand.course, AsCame):
            self._parts.end(errand.partly.held)


def _past_us(head: Head) -> Head:
    return replace(head, fields=end_to_end(head))


def _is_another(held: Entry, filing: Filing) -> bool:
    """Whether an answer shows that what is held is of a representation that is not the current one."""
    entry = filing.entry
    total = filing.piece.total if filing.piece is not None else held.body.size
    return entry.status == 200 and not same_representation(held, entry.fields, entry.received_at, total)


def _tell_stored(filing: Filing, leg: Leg, outcome: Outcome) -> None:
    outcome.stored, outcome.upstream_seconds = True, leg.seconds
    outcome.origin_ttl, outcome.ttl = filing.keep.origin_ttl, filing.keep.lifetime
