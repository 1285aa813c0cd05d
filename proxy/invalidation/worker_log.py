"""The journal of an instance with several workers: the parent has the log, every worker a journal that keeps up.

The parent applies a purge, and writes the line that it keeps of it to the shared ring too, and only then says so. A
worker looks at one shared word whenever it asks its journal anything, and first takes the lines that it has not seen;
so a purge that was acknowledged holds on all workers at once, whichever instance took it. One that the ring has
overtaken distrusts everything that was fetched before, which can only cost misses; so does a line too long for it.

Where instances share a stream, the lines also tell how the journal is tied to it, so that a worker knows what an answer
in Redis is worth without asking anybody. Whether the link is there stands in a word too, as the time until which that
is proven: a parent that hangs cuts its workers off. A worker that was overtaken knows nothing of the tie: it is cut off
until it has begun again, from another snapshot.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple, Protocol, Self

from proxy.entry import Entry, Position
from proxy.errors import CachegateError
from proxy.invalidation.journal import Journal
from proxy.invalidation.lines import Kept, applied, changed, restore, unline
from proxy.invalidation.link import Proof
from proxy.invalidation.records import Appended, Kind, Purge, Spread
from proxy.invalidation.ring import RingView, Word
from proxy.tasks import end

LOOK = 0.25  # seconds between looks at the ring while nobody asks; between two snapshots
MICRO = 1_000_000
OVERTAKEN = "overtaken by purges"


class Snapshot(NamedTuple):
    """What a worker begins with: a compact copy of the journal and its tie, and the ring's position when it was made.
    `shares`: with other instances, `strict` when they are trusted only for so long, `reason` why they are cut off."""

    copy: bytes
    at: int
    instance: str
    shares: bool = False
    strict: bool = False
    reason: str = ""


class Parent(Protocol):
    """The parent as a worker reaches it. CachegateError when it has gone."""

    async def append(self, purge: Purge) -> int: ...

    async def kept(self, number: int) -> bool: ...

    async def spread(self, id: str, seconds: float) -> Spread: ...

    async def snapshot(self) -> Snapshot: ...


class WorkerLog:
    """A worker's side: asked like a journal, added to like a log. Every question is answered by all that any worker
    was told up to now. With other instances it has the members of `invalidation.shared.SharedLog`; then `start` it.
    `clock` is the parent's: the monotonic one of this machine, in seconds."""

    def __init__(
        self,
        snapshot: Snapshot,
        kept: Kept,
        ring: RingView,
        parent: Parent,
        records: int,
        clock: Callable[[], float],
    ) -> None:
        self._instance = snapshot.instance
        self._reason = snapshot.reason
        self._shares = snapshot.shares
        self._strict = snapshot.strict
        self._kept = kept
        self._ring = ring
        self._parent = parent
        self._records = records
        self._clock = clock
        self._lost = False  # nothing is known of the tie
        self._overtaken = asyncio.Event()
        self._on_link: Callable[[bool, str], None] = lambda linked, reason: None
        self._was_linked = False
        self._cut = ""  # why it was not linked, at some time since that was told
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    def begin(
        cls,
        snapshot: Snapshot,
        ring_fd: int,
        parent: Parent,
        records: int = 100_000,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> Self:
        """From what the parent's journal held; `records` as in `Journal`."""
        kept = restore(snapshot.copy, records)
        if kept is None:
            raise CachegateError("the parent's journal cannot be read")
        return cls(snapshot, kept, RingView(ring_fd, snapshot.at), parent, records, clock)

    # -- as a journal and a log ------------------------------------------------------------------------------------

    @property
    def instance(self) -> str:
        if self._ring.behind:
            self._catch_up()
        return self._instance

    @property
    def durable(self) -> bool:
        """Whether purges outlive the instance."""
        return bool(self._ring.get(Word.DURABLE))

    @property
    def journal(self) -> Journal:
        """What has been applied up to now; for one question, not to be kept."""
        if self._ring.behind:
            self._catch_up()
        return self._kept.journal

    @property
    def head(self) -> int:
        return self.journal.head

    def position(self) -> Position:
        return self.journal.position()

    def ended(self, entry: Entry, checked: int = 0) -> float | None:
        return self.journal.ended(entry, checked)

    async def apply(self, purge: Purge) -> Appended:
        """Let it hold on every worker, this one included, before it returns. BusError when the parent has gone."""
        number = await self._parent.append(purge)
        return Appended(number, self._parent.kept(number))

    # -- as what instances share -----------------------------------------------------------------------------------

    @property
    def linked(self) -> bool:
        """As `SharedLog.linked`, by the last proof that the parent had."""
        return self._proof().until > self._clock() and not self._lost

    @property
    def reason(self) -> str:
        """Why it is not linked."""
        if self.linked:
            return ""
        return OVERTAKEN if self._lost else self._reason or "no sign of life from the parent process"

    @property
    def blind(self) -> bool:
        """As `SharedLog.blind`. Whoever was overtaken trusts nothing older anyway."""
        return self._strict and self._proof().blind(self._clock())

    @property
    def unsent(self) -> int:
        """How many purges the others have not been told, as far as is known here."""
        self._catch_up()
        return len(self._kept.tie.unsent)

    def stamp(self) -> tuple[int, int] | None:
        """As `SharedLog.stamp`, as of the last question to the journal: what was found good by that is good up to
        there, and nobody looked at what the parent has read since."""
        tie = self._kept.tie
        if self._lost or not tie.epoch or self._ring.get(Word.LINKED) <= self._clock() * MICRO:
            return None
        return tie.epoch, tie.last

    def local(self, epoch: int, number: int) -> Position | None:
        """As `SharedLog.local`."""
        if not self.linked:
            return None
        journal, tie = self._kept
        local = tie.local(epoch, number, journal.head)
        return None if local is None else Position(journal.epoch, 0, local)

    async def spread(self, id: str, seconds: float = 1.0) -> Spread:
        """As `SharedLog.spread`, asked of the parent; without an answer nobody is known to have applied it but us."""
        try:
            return await self._parent.spread(id, seconds)
        except CachegateError:
            return Spread({self.instance: "applied"}, complete=False)

    @property
    def on_link(self) -> Callable[[bool, str], None]:
        """Hears when the link is there and when it is not, with the reason; whoever comes to a link that is there
        hears that first."""
        return self._on_link

    @on_link.setter
    def on_link(self, heard: Callable[[bool, str], None]) -> None:
        self._on_link, self._was_linked = heard, False

    # -- life ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Keep up while nobody asks, where instances share the journal; needs a running loop."""
        if self._shares and not self._tasks:
            loops = (self._look_on(), self._begin_again_on())
            self._tasks = [asyncio.create_task(loop, name="journal") for loop in loops]

    async def close(self) -> None:
        """Give back the shared memory."""
        tasks, self._tasks = self._tasks, []
        await end(tasks)
        self._ring.close()

    async def _look_on(self) -> None:
        while True:
            self._tell_link()
            await asyncio.sleep(LOOK)

    def _tell_link(self) -> None:
        """Also that it was gone for less than a moment: what failed then is made up for when it is there again."""
        linked, reason = self.linked, self.reason
        if self._was_linked and (self._cut or not linked):
            self._was_linked = False
            self._on_link(False, self._cut or reason)
        if linked and not self._was_linked:
            self._was_linked = True
            self._on_link(True, "")
        self._cut = ""

    async def _begin_again_on(self) -> None:
        while True:
            await self._overtaken.wait()
            self._overtaken.clear()
            with suppress(CachegateError):
                await self._begin_again()
            self._tell_link()
            if self._lost:
                self._overtaken.set()
            await asyncio.sleep(LOOK)

    async def _begin_again(self) -> None:
        snapshot = await self._parent.snapshot()
        kept = await asyncio.to_thread(restore, snapshot.copy, self._records)
        if kept is None:
            return
        self._kept, self._instance, self._reason = kept, snapshot.instance, snapshot.reason
        self._lost = False
        self._ring.go(snapshot.at)

    # -- the ring --------------------------------------------------------------------------------------------------

    def _proof(self) -> Proof:
        """The link as it was at one moment, when all lines up to then had been taken."""
        while True:
            until, unlinked = self._ring.get(Word.LINKED), self._ring.get(Word.UNLINKED)
            if not self._ring.behind:
                return Proof(until / MICRO, unlinked / MICRO)
            self._catch_up()

    def _catch_up(self) -> None:
        contents = self._ring.read()
        if contents is None:
            self._distrust(self._ring.get(Word.NUMBER))
            return
        for content in contents:
            self._take(unline(content[:-1]))

    def _take(self, told: dict[str, Any]) -> None:
        if "lost" in told:
            self._distrust(told["lost"])
        elif "said" in told:
            self._instance, self._reason = told["said"]
            self._cut = self._reason or self._cut
        elif self._lost:
            for number, purge in applied(told):
                self._kept.journal.apply(number, Purge.from_json(purge))
        else:
            self._kept = changed(self._kept, told)

    def _distrust(self, number: int) -> None:
        """What was told up to there cannot be known here: all that was fetched before is dead."""
        self._kept.journal.apply(number, Purge("", Kind.ALL, (), False, 0.0, ""))
        if self._shares:
            self._lost, self._cut = True, OVERTAKEN
            self._overtaken.set()
