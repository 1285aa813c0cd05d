"""The tier on disk: what is in it survives a restart, a kill and a bad block, and costs at most a miss."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import suppress
from heapq import nlargest
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from proxy.entry import Entry, Select
from proxy.errors import StoreError
from proxy.policy.variants import as_variant
from proxy.store import codec
from proxy.store.codec import HEADER, BadRecord, Header
from proxy.store.eviction import Name, policy
from proxy.store.file_body import AbsentBody, FileBody, SpoolBody
from proxy.store.file_dir import Directory, Role
from proxy.store.file_handle import BLOCK, Foreign, disk_size
from proxy.store.file_index import BATCH, FileIndex, Record
from proxy.store.file_shared import SharedIndex, Tell
from proxy.store.file_temp import TempFile
from proxy.store.shelves import Shelves, hash_of

WHOLE = 1024 * 1024  # bodies up to this are read at once and checked at every read
SPOOL_SHARE = 4  # recordings under way may take a quarter of max_bytes beside it
UNTOLD_SHARE = 64  # all workers may have written so much of max_bytes before they tell of it
STRIPES = 64  # writers of one hash take turns; those of others hardly ever meet

R = TypeVar("R")


class FileStore:
    """A Store on disk. `max_bytes` bounds what records take there, `max_object` a body; `clock` is the wall clock.

    `open` first. `directory` is where recordings may spool to (`spool.open_spool`). One of several `workers` has the
    role of one, and a `tell`: their parent's Keeper (`file_keeper`) then accounts and evicts for them.
    """

    def __init__(
        self,
        dir: Path,
        *,
        max_bytes: int,
        max_object: int,
        eviction: Name = "lru",
        variants: int = 32,
        clock: Callable[[], float],
        role: Role = Role.ALONE,
        workers: int = 1,
        tell: Tell | None = None,
    ) -> None:
        self.directory = Directory(dir, spool_max=max_bytes // SPOOL_SHARE // workers, role=role)
        self.damaged = 0
        self.index_task: asyncio.Task[None] | None = None
        # Of a worker it stays empty: what lies on disk is the truth there.
        self._shelves: Shelves[Record] = Shelves(policy(eviction, max(1, max_bytes // BLOCK), max_bytes), variants)
        self._index: FileIndex | SharedIndex = FileIndex(self.directory, self._shelves)
        if tell is not None:
            self._index = SharedIndex(self.directory, tell, max_bytes // UNTOLD_SHARE // workers)
        self._max_bytes = max_bytes
        self._max_object = max_object
        self._clock = clock
        self._stripes = [asyncio.Lock() for _ in range(STRIPES)]
        self._writes: set[asyncio.Task[Any]] = set()

    @property
    def entries(self) -> int:
        return len(self._shelves)

    @property
    def bytes(self) -> int:
        return self._shelves.bytes

    @property
    def evictions(self) -> int:
        return self._shelves.evictions

    def names(self, limit: int = 100) -> list[str]:
        """Some of the keys that are stored."""
        return [record.key for record in islice(self._shelves, limit)]

    async def newest(self, limit: int) -> list[str]:
        """Keys of what was used last before the start, or stored since; waits until all is known that is there."""
        if self.index_task is not None:
            await asyncio.wait({self.index_task})
        return [record.key for record in nlargest(limit, self._shelves, key=lambda record: record.received_at)]

    async def open(self) -> None:
        """Take the directory, and start to learn what is in it; StoreError, in one line, when it cannot be ours."""
        await self.directory.run(self.directory.claim)
        self.index_task = asyncio.create_task(self._build())

    async def get(self, hash: str, select: Select) -> Entry | None:
        now = self._clock()
        live = [record for record in await self._index.shelf(hash) if record.keep_until > now]
        if len(live) == 1 and live[0].variant is None:
            return await self._first_meeting(live[0], select)
        chosen = await self._choose(live, select)
        return await self._fetch(chosen) if chosen else None

    async def put(self, entry: Entry) -> bool:
        """As the port says. A recording in this directory becomes the record without a copy; the caller still
        closes `entry.body`. A write that has begun is finished, also when the caller is cancelled."""
        return await asyncio.shield(self._start(self._put(entry)))

    async def delete(self, key: str) -> int:
        async with self._stripe(key):
            gone = [held for held in await self._index.shelf(hash_of(key)) if key in (held.key, hash_of(held.key))]
            for record in gone:
                self._index.discard(record)
            return sum([await self.directory.run(self.directory.remove, record.key) for record in gone])

    async def scan(self) -> AsyncIterator[Entry]:
        if self.index_task is not None:
            await asyncio.wait({self.index_task})
        async for record in self._index.records():
            entry = await self._load(record, self._read_head)
            if entry is not None and entry.keep_until > self._clock():
                yield entry

    async def clear(self) -> int:
        async with self._index.emptying():
            tops = await self.directory.run(self.directory.tops)
            return sum([await self.directory.run(self._clear_top, top) for top in tops])

    async def close(self) -> None:
        if self.index_task is not None and not self.index_task.done():
            self.index_task.cancel()
            await asyncio.wait({self.index_task})
        while self._writes:
            await asyncio.wait(self._writes)
        self._index.close()
        await asyncio.to_thread(self.directory.release)

    async def sweep(self) -> int:
        """Remove records past their `keep_until`, and temporary files that nobody is writing; how many records."""
        now = self._clock()
        dead = [record for record in self._shelves if record.keep_until <= now]
        for record in dead:
            self._shelves.discard(record)
        await self._unlink(dead)
        await self.directory.run(self.directory.sweep_temps)
        return len(dead)

    # reading

    async def _first_meeting(self, record: Record, select: Select) -> Entry | None:
        """A lone record from before a restart: it is read whole, since what `select` wants to know lies in it."""
        entry = await self._fetch(record)
        if entry is None or select([as_variant(entry)]) == entry.variant:
            return entry
        entry.body.close()
        return None

    async def _choose(self, live: list[Record], select: Select) -> Record | None:
        for record in live:
            if record.variant is None:
                await self._load(record, self._read_head)
        known = {record.variant: record for record in live if record.variant is not None}
        wanted = select(list(known)) if known else None
        return next((record for variant, record in known.items() if variant.id == wanted), None)

    async def _fetch(self, record: Record) -> Entry | None:
        entry = await self._load(record, self._read_whole)
        if entry is None or entry.keep_until <= self._clock():
            _drop(entry)
            return None
        self._index.touch(record)
        return entry

    async def _load(self, record: Record, read: Callable[[Record], Entry | None]) -> Entry | None:
        """What `read` finds; a record that is gone, damaged or foreign leaves the index."""
        try:
            entry = await self.directory.run_open(lambda: read(record), _drop)
        except (BadRecord, Foreign):
            self._condemn(record)
            return None
        if entry is None:
            self._index.discard(record)
            return None
        record.learn(entry)
        return entry

    def _read_whole(self, record: Record) -> Entry | None:
        """The one function that reads an answer from disk: a large body is left open, to be read in parts. Blocks."""
        file = self.directory.open(record.key)
        if file is None:
            return None

        def left_open(header: Header) -> FileBody:
            return FileBody(self.directory, file, HEADER, header, record.proof, lambda: self._condemn(record))

        try:
            entry = codec.read(file, record.key, WHOLE, left_open)
        except BaseException:
            file.close()
            raise
        if entry.body.data is not None:
            file.close()
        return entry

    def _read_head(self, record: Record) -> Entry | None:
        """All but the body. Blocks."""
        file = self.directory.open(record.key)
        if file is None:
            return None
        try:
            return codec.read(file, record.key, -1, lambda header: AbsentBody(header.body_size))
        finally:
            file.close()

    # writing

    async def _put(self, entry: Entry) -> bool:
        async with self._stripe(entry.key):
            held = next((held for held in await self._index.shelf(entry.hash) if held.key == entry.key), None)
            if held is not None and await self._is_newer(held, entry):
                return False
            if not self._wants(entry):
                if held is not None:
                    self._index.discard(held)
                    await self.directory.run(self.directory.remove, entry.key)
                return False
            record = Record.of(entry, await self._write(entry))
            left = self._index.add(record)
        await self._unlink(left)
        return record not in left

    async def _is_newer(self, held: Record, entry: Entry) -> bool:
        if held.variant is None:
            await self._load(held, self._read_head)
        return held.fence > entry.fence and held.keep_until > self._clock()

    def _wants(self, entry: Entry) -> bool:
        fits = entry.body.size <= self._max_object and disk_size(entry.size) <= self._max_bytes
        return fits and entry.keep_until > self._clock()

    async def _write(self, entry: Entry) -> int:
        """Bytes on disk of the record that now holds the entry."""
        body = entry.body
        if isinstance(body, SpoolBody) and body.temp.directory is self.directory and not body.temp.published:
            return await self.directory.run(self._publish, body.temp, entry)
        if body.data is not None:
            return await self.directory.run(self._write_at_once, entry)
        temp = await self.directory.run_open(lambda: TempFile(self.directory, HEADER), TempFile.discard)
        try:
            async for chunk in body.read():
                await self.directory.run(temp.append, chunk)
            if temp.size != body.size:
                raise StoreError("a body is not as long as it says")
            return await self.directory.run(self._publish, temp, entry)
        finally:
            self.directory.later(temp.discard)

    def _write_at_once(self, entry: Entry) -> int:
        temp = TempFile(self.directory, HEADER)
        try:
            temp.append(entry.body.data or b"")
            return self._publish(temp, entry)
        finally:
            temp.discard()

    def _publish(self, temp: TempFile, entry: Entry) -> int:
        header, head = codec.frame(entry, temp.size, temp.sum)
        return disk_size(temp.publish(entry.key, header, head, self._clock(), entry.keep_until))

    def _condemn(self, record: Record) -> None:
        """It is damaged or foreign: it leaves the index now, the disk as soon as may be."""
        if self._index.discard(record):
            self.damaged += 1
            self._start(self._unlink([record]))

    async def _unlink(self, records: Iterable[Record]) -> None:
        """Remove the files of records that have left the index, unless a new one has come under the key."""
        for record in records:
            async with self._stripe(record.key):
                if self._shelves.find(record.key) is None:
                    await self.directory.run(self.directory.remove, record.key)

    def _clear_top(self, top: str) -> int:
        return sum(self.directory.remove(seen.key) for seen in self.directory.walk(top))

    async def _build(self) -> None:
        with suppress(StoreError):  # records are still found one by one, on disk
            while await self.directory.run(self.directory.drop_left, BATCH):
                pass
            await self._index.build()
            await self._unlink(self._shelves.evict())

    def _stripe(self, key: str) -> asyncio.Lock:
        return self._stripes[hash(hash_of(key)) % STRIPES]

    def _start(self, work: Coroutine[Any, Any, R]) -> "asyncio.Task[R]":
        """A task that `close` waits for and whose failure may go unseen."""
        task = asyncio.create_task(work)
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task


def _drop(entry: Entry | None) -> None:
    if entry is not None:
        entry.body.close()
