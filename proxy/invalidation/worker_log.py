"""The journal of an instance with several workers: the parent has the log, every worker a journal that keeps up.

The parent applies a purge, writes it to the shared ring, and only then says so. A worker looks at one shared word
whenever it asks its journal anything, and first applies what it has not seen, under the same numbers; so a purge that
was acknowledged holds on all workers at once. One that the ring has overtaken distrusts everything that was fetched
before, which can only cost misses; so does a purge too large for the ring.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, NamedTuple, Protocol, Self

import orjson

from proxy.entry import Entry, Position
from proxy.errors import CachegateError
from proxy.invalidation.journal import Journal
from proxy.invalidation.local import compact_copy, replay
from proxy.invalidation.records import Appended, Kind, Purge
from proxy.invalidation.ring import Ring, RingView, Word


class Snapshot(NamedTuple):
    """What a worker begins with: a compact copy of the journal, and the ring's position when it was made."""

    copy: bytes
    at: int
    instance: str


class Log(Protocol):
    """What the parent keeps its purges in (`invalidation.local`)."""

    journal: Journal
    instance: str
    durable: bool

    def append(self, purge: Purge) -> Coroutine[Any, Any, bool]: ...

    async def close(self) -> None: ...


class ParentLog:
    """The parent's side: what is appended here holds on every worker when `append` returns."""

    def __init__(self, log: Log, ring: Ring) -> None:
        self._log = log
        self._ring = ring
        self._keeping: dict[int, asyncio.Task[bool]] = {}  # each ends with its write to the disk
        ring.set(Word.DURABLE, log.durable)
        ring.set(Word.NUMBER, log.journal.head)

    def append(self, purge: Purge) -> int:
        """Apply and tell every worker; the purge's number. `kept` says when it is on disk. Wants a running loop."""
        keeping = asyncio.ensure_future(self._log.append(purge))
        number = self._log.journal.head
        self.publish(number, purge)
        self._keeping[number] = keeping
        keeping.add_done_callback(lambda _: self._kept(number))
        return number

    async def kept(self, number: int) -> bool:
        """Whether this purge will outlive the instance, once that is known."""
        keeping = self._keeping.get(number)
        return self._log.durable if keeping is None else await asyncio.shield(keeping)

    def publish(self, number: int, purge: Purge) -> None:
        """Tell every worker of a record that the journal has applied; also of one that came from elsewhere."""
        content = orjson.dumps((number, purge))
        if not self._ring.fits(content):
            content = orjson.dumps((number, _everything(number)))
        self._ring.write(number, content)

    async def snapshot(self) -> Snapshot:
        """For a worker that starts now."""
        journal, at = self._log.journal.copy(), self._ring.written
        return Snapshot(await asyncio.to_thread(b"".join, compact_copy(journal)), at, self._log.instance)

    async def close(self) -> None:
        """Let what is being written reach the disk, and close the log and the ring."""
        while self._keeping:
            await asyncio.wait(self._keeping.values())
        await self._log.close()
        self._ring.close()

    def _kept(self, number: int) -> None:
        self._keeping.pop(number, None)
        self._ring.set(Word.DURABLE, self._log.durable)


class Parent(Protocol):
    """The parent as a worker reaches it."""

    async def append(self, purge: Purge) -> int: ...

    async def kept(self, number: int) -> bool: ...


class WorkerLog:
    """A worker's side: asked like a journal, added to like a log. Every question is answered by all that any worker
    was told up to now."""

    def __init__(self, journal: Journal, ring: RingView, parent: Parent, instance: str) -> None:
        self.instance = instance
        self._journal = journal
        self._ring = ring
        self._parent = parent

    @classmethod
    def begin(cls, snapshot: Snapshot, ring_fd: int, parent: Parent, records: int = 100_000) -> Self:
        """From what the parent's journal held; `records` as in `Journal`."""
        journal = replay(snapshot.copy, records)
        if journal is None:
            raise CachegateError("the parent's journal cannot be read")
        return cls(journal, RingView(ring_fd, snapshot.at), parent, snapshot.instance)

    @property
    def durable(self) -> bool:
        """Whether purges outlive the instance."""
        return bool(self._ring.get(Word.DURABLE))

    @property
    def journal(self) -> Journal:
        """What has been applied up to now; for one question, not to be kept."""
        if self._ring.behind:
            self._catch_up()
        return self._journal

    @property
    def head(self) -> int:
        if self._ring.behind:
            self._catch_up()
        return self._journal.head

    def position(self) -> Position:
        return self.journal.position()

    def ended(self, entry: Entry, checked: int = 0) -> float | None:
        return self.journal.ended(entry, checked)

    async def apply(self, purge: Purge) -> Appended:
        """Let it hold on every worker, this one included, before it returns. BusError when the parent has gone."""
        number = await self._parent.append(purge)
        return Appended(number, self._parent.kept(number))

    def close(self) -> None:
        """Give back the shared memory."""
        self._ring.close()

    def _catch_up(self) -> None:
        contents = self._ring.read()
        if contents is None:
            number = self._ring.get(Word.NUMBER)
            self._journal.apply(number, _everything(number))
            return
        for content in contents:
            number, purge = orjson.loads(content)
            self._journal.apply(number, Purge.from_json(purge))


def _everything(number: int) -> Purge:
    """What stands for records that cannot be known: it ends all that was fetched before it."""
    return Purge(str(number), Kind.ALL, (), False, 0.0, "")
