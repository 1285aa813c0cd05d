"""An answer that is recorded on its way to those who asked for it, and stored once its end was proven: a part with the
other parts of the same representation, what is whole in the tiers."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Protocol

from proxy.entry import Entry
from proxy.landing import Failed, Start, ToItsEnd, Visit, made
from proxy.message import Head
from proxy.outcome import Tier
from proxy.policy.parts import Piece, judge_part
from proxy.policy.storing import Keep, Skip, judge_size, judge_storing, may_replace
from proxy.reasons import Why
from proxy.recording import Abandoned, Recording
from proxy.replying import Fate
from proxy.store.parts import Parts
from proxy.store.parts_held import Partly
from proxy.tasks import Tasks
from proxy.upstream.protocol import Answer


class Shelf(Protocol):
    """Where whole answers go."""

    async def put(self, entry: Entry) -> frozenset[Tier]: ...


@dataclass(frozen=True, slots=True)
class Filing:
    """How an answer is to be stored: as this `piece` of `entry`, or with None as all of it. `shared`: nothing in its
    head is for one client alone."""

    entry: Entry
    keep: Keep
    piece: Piece | None
    shared: bool


@dataclass(frozen=True, slots=True)
class Leg:
    """An answer under way. `head` has what is told of it; `filing` is None where it is not stored."""

    head: Head
    filing: Filing | None
    recording: Recording
    seconds: float
    fate: Fate


class Unshared(Enum):
    """What came is for who asked alone."""

    UNSHARED = "unshared"


Brought = Leg | Failed | Unshared  # by a flight to those who share it


class Gathering:
    """Records and stores. `record` makes an empty recording; `dropped` hears how many tags were too many."""

    def __init__(
        self,
        parts: Parts,
        shelf: Shelf,
        record: Callable[[], Recording],
        tasks: Tasks,
        dropped: Callable[[int], None],
    ) -> None:
        self.record = record
        self._parts = parts
        self._shelf = shelf
        self._tasks = tasks
        self._dropped = dropped

    def judge(self, visit: Visit, head: Head, partly: Partly | None, start: Start, now: float) -> Filing | Skip:
        """How it may be stored. `partly` is what is held in parts of the same answer; `head` has end-to-end fields."""
        held = partly.entry if partly is not None else None
        if head.status == 206:
            part = judge_part(visit.request, head, visit.rule, now, held)
            if isinstance(part, Skip):
                return part
            if not self._parts.takes(part.piece.total):
                return Skip(Why.MAX_SIZE, part.keep.origin_ttl)
            shared = not part.keep.withheld and not part.personal
            whole = replace(head, status=200, phrase="OK", fields=part.fields)
            return Filing(made(visit, whole, part.keep, start, self._dropped), part.keep, part.piece, shared)
        keep = judge_storing(visit.request, head, visit.rule, now)
        if isinstance(keep, Skip):
            return keep
        if held is not None and not may_replace(held, head):
            return Skip(Why.STATUS, keep.origin_ttl)
        if head.length is not None and head.length > self.record().limit:
            return Skip(Why.MAX_SIZE, keep.origin_ttl)
        whole = replace(head, fields=head.fields.without(keep.withheld))
        return Filing(made(visit, whole, keep, start, self._dropped), keep, None, not keep.withheld)

    def begin(self, answer: Answer, leg: Leg, visit: Visit, over: Callable[[], None]) -> bool:
        """Read the answer into its recording, in a task of its own; `over` is called when nobody may join any more.
        False when too much is under way: nothing has begun then."""
        return self._tasks.spawn(self._gather(answer, leg, visit, over), "range")

    async def _gather(self, answer: Answer, leg: Leg, visit: Visit, over: Callable[[], None]) -> None:
        recording, filing = leg.recording, leg.filing
        piece = filing.piece if filing is not None else None
        try:
            with ToItsEnd(recording):
                async for chunk in answer:
                    await recording.write(chunk)
                    if piece is not None and not recording.readers and recording.size < piece.size:
                        raise Abandoned("nobody reads this part any more")  # a whole is kept whoever leaves
                await recording.finish()
                if filing is not None:
                    leg.fate.why = await self._store(filing, recording, visit)
        finally:
            over()
            await answer.close()

    async def _store(self, filing: Filing, recording: Recording, visit: Visit) -> Why | None:
        """Why it was not stored after all."""
        if recording.given_up:
            return Why.MAX_SIZE
        if filing.piece is not None:
            return None if await self._parts.add(filing.entry, filing.piece, recording.body()) else Why.PARTIAL
        if (skip := judge_size(visit.rule, recording.size)) is not None:
            return skip.why
        await self._shelf.put(replace(filing.entry, body=recording.body()))
        return None
