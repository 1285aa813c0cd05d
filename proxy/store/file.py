"""The tier on disk: what is in it survives a restart, a kill and a bad block, and costs at most a miss."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import suppress
from functools import partial
from heapq import nlargest
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from proxy.entry import Entry, Select
from proxy.errors import StoreError
from proxy.policy.variants import as_variant
from proxy.store import codec
from proxy.store.codec import BadRecord
from proxy.store.eviction import Name, policy
from proxy.store.file_batches import Batches, Job, Waiting, settle
from proxy.store.file_dir import Directory, Role
from proxy.store.file_handle import BLOCK, Foreign, disk_size
from proxy.store.file_index import BATCH, FileIndex, Record
from proxy.store.file_kept import KeptFiles
from proxy.store.file_read import read_head, read_whole
from proxy.store.file_shared import SharedIndex, Tell
from proxy.store.file_warm import Warm
from proxy.store.file_write import write_in_parts, write_whole
from proxy.store.shelves import Eviction, Shelves, hash_of

SPOOL_SHARE = 4  # recordings under way may take a quarter of max_bytes beside it
UNTOLD_SHARE = 64  # all workers may have written so much of max_bytes before they tell of it
QUIET = 3600.0  # seconds without damage, after which it is told again
STRIPES = 512  # writers of one hash take turns; those of others hardly ever meet

R = TypeVar("R")
Read = Callable[[Directory, Record, Callable[[], None]], Entry | None]


class FileStore:
    """A Store on disk. `max_bytes` bounds what records take there, `max_object` a body, `open_files` how many files are
    `kept` open; `clock` is the wall clock.

    `open` first. `directory` is where recordings may spool to (`spool.open_spool`). One of several `workers` has the
    role of one, and a `tell`: their parent's Keeper (`file_keeper`) then accounts and evicts for them. `damaged` counts
    the records that were damaged or foreign, and went; `on_damage` hears the first one's key, and again after QUIET.
    """

    def __init__(
        self,
        dir: Path,
        *,
        max_bytes: int,
        max_object: int,
        eviction: Name = "lru",
        variants: int = 32,
        open_files: int = 1000,
        clock: Callable[[], float],
        role: Role = Role.ALONE,
        workers: int = 1,
        tell: Tell | None = None,
    ) -> None:
        self.directory = Directory(dir, spool_max=max_bytes // SPOOL_SHARE // workers, role=role)
        self.damaged = 0
        self.on_damage: Callable[[str], None] = lambda key: None
        self._damaged_at = -QUIET
        self.index_task: asyncio.Task[None] | None = None
        # Of a worker it stays empty: what lies on disk is the truth there.
        leaving: Eviction[Record] = policy(eviction, max(1, max_bytes // BLOCK), max_bytes)
        self._shelves: Shelves[Record] = Shelves(leaving, variants, Record.move)
        self._index: FileIndex | SharedIndex = FileIndex(self.directory, self._shelves)
        if tell is not None:
            self._index = SharedIndex(self.directory, tell, max_bytes // UNTOLD_SHARE // workers)
        self._max_bytes = max_bytes
        self._max_object = max_object
        self._clock = clock
        self._stripes = [asyncio.Lock() for _ in range(STRIPES)]
        self._writes: set[asyncio.Task[Any]] = set()
        self._waiting = Waiting()
        self._batches = Batches(self.directory, self._start)
        self.kept = KeptFiles(open_files, self._close_file)

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

    async def glance(self, hash: str, select: Select) -> Entry | None:
        """As `get`, but it leaves no trace: nothing counts as used, is learnt or taken away."""
        records = await self._index.look(hash)
        heads = [(record, await self._seen(record, read_head)) for record in records]
        variants = {as_variant(entry): record for record, entry in heads if entry is not None}
        wanted = select(list(variants)) if variants else None
        record = next((record for variant, record in variants.items() if variant.id == wanted), None)
        return None if record is None else await self._seen(record, read_whole)

    async def heads(self) -> AsyncIterator[Entry]:
        """As `scan`, of what is known by now; it leaves no trace either."""
        async for record in self._index.records():
            if (entry := await self._seen(record, read_head)) is not None:
                yield entry

    def warm(self, trusted: Callable[[], bool]) -> Warm:
        """What of it needs no thread, for as long as `trusted` says that the disk gives no trouble."""
        return Warm(self.directory, self._index, self._clock, trusted, self.kept)

    async def put(self, entry: Entry) -> bool:
        """As the port says. A recording in this directory becomes the record without a copy; the caller still
        closes `entry.body`. A write that has begun is finished, also when the caller is cancelled. StoreError, too,
        when as much waits to be written as may."""
        self._waiting.add(entry.size)
        try:
            if entry.body.data is None or not self._wants(entry):
                return await asyncio.shield(self._start(self._put(entry)))
            return await self._put_small(entry, entry.key)
        finally:
            self._waiting.over(entry.size)

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
            entry = await self._load(record, read_head)
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
        self.kept.clear()
        while self._writes:
            await asyncio.wait(self._writes)
        self._index.close()
        await asyncio.to_thread(self.directory.release)

    async def sweep(self) -> int:
        """Remove records past their `keep_until`, and temporary files that nobody is writing; how many records. Note
        which were used."""
        self.kept.clear()  # whoever moved the directory away is noticed at the latest now
        now = self._clock()
        dead = [record for record in self._shelves if record.keep_until <= now]
        for record in dead:
            self._shelves.discard(record)
        await self._unlink(dead)
        await self.directory.run(self.directory.sweep_temps)
        await self.directory.run(self.directory.note_used)
        return len(dead)

    # reading

    async def _first_meeting(self, record: Record, select: Select) -> Entry | None:
        """A lone record from before a restart: it is read whole, since what `select` wants to know lies in it."""
        entry = await self._fetch(record)
        if entry is None or select([as_variant(entry)]) == entry.variant:
            return entry
        entry.body.close()
        return None

    async def _seen(self, record: Record, read: Read) -> Entry | None:
        """As `_load`, but nothing is learnt, and what is bad stays where it is."""
        try:
            entry = await self.directory.run_open(lambda: read(self.directory, record, _unheeded), _drop)
        except (BadRecord, Foreign):
            return None
        if entry is not None and entry.keep_until <= self._clock():
            _drop(entry)
            return None
        return entry

    async def _choose(self, live: list[Record], select: Select) -> Record | None:
        for record in live:
            if record.variant is None:
                await self._load(record, read_head)
        known = {record.variant: record for record in live if record.variant is not None}
        wanted = select(list(known)) if known else None
        return next((record for variant, record in known.items() if variant.id == wanted), None)

    async def _fetch(self, record: Record) -> Entry | None:
        entry = await self._load(record, read_whole)
        if entry is None or entry.keep_until <= self._clock():
            _drop(entry)
            return None
        self._index.touch(record)
        return entry

    async def _load(self, record: Record, read: Read) -> Entry | None:
        """What `read` finds; a record that is gone, damaged or foreign leaves the index."""
        on_damage = partial(self._condemn, record)
        try:
            entry = await self.directory.run_open(lambda: read(self.directory, record, on_damage), _drop)
        except (BadRecord, Foreign):
            on_damage()
            return None
        if entry is None:
            self._index.discard(record)
            return None
        record.learn(entry)
        return entry

    # writing

    async def _put_small(self, entry: Entry, key: str) -> bool:
        """In a batch with others. Its stripe is held until it is written, whether or not the caller waits for that."""
        stripe = self._stripe(key)
        await stripe.acquire()
        try:
            if await self._is_outdone(entry, key):
                stripe.release()
                return False
            pieces = codec.framed(entry, entry.body.data or b"")
            record = Record.of(entry, disk_size(sum(map(len, pieces))))
            done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            write = partial(write_whole, self.directory, key, pieces, self._clock(), entry.keep_until)
            self._batches.add(Job(write, partial(self._written, record, stripe, done), record.size))
        except BaseException:
            stripe.release()
            raise
        return await done

    def _written(
        self, record: Record, stripe: asyncio.Lock, done: "asyncio.Future[bool]", error: Exception | None
    ) -> None:
        left = self._index.add(record) if error is None else []
        stripe.release()
        if left:
            self._start(self._make_room(left, done, record not in left))
        else:
            settle(done, True, error)

    async def _make_room(self, left: list[Record], done: "asyncio.Future[bool]", took: bool) -> None:
        error: StoreError | None = None
        try:
            await self._unlink(left)
        except StoreError as caught:
            error = caught
        settle(done, took, error)

    async def _put(self, entry: Entry) -> bool:
        async with self._stripe(entry.key):
            if await self._is_outdone(entry, entry.key):
                return False
            if not self._wants(entry):
                await self._drop_under(entry)
                return False
            record = Record.of(entry, await write_in_parts(self.directory, entry, self._clock()))
            left = self._index.add(record)
        await self._unlink(left)
        return record not in left

    async def _held(self, hash: str, key: str) -> Record | None:
        shelf = await self._index.shelf(hash)
        return next((held for held in shelf if held.key == key), None) if shelf else None

    async def _is_outdone(self, entry: Entry, key: str) -> bool:
        """Whether what lies under its key is newer."""
        held = await self._held(entry.hash, key)
        if held is None:
            return False
        if held.variant is None:
            await self._load(held, read_head)
        return held.fence > entry.fence and held.keep_until > self._clock()

    async def _drop_under(self, entry: Entry) -> None:
        """It ends what it does not replace."""
        held = await self._held(entry.hash, entry.key)
        if held is not None:
            self._index.discard(held)
            await self.directory.run(self.directory.remove, held.key)

    def _wants(self, entry: Entry) -> bool:
        fits = entry.body.size <= self._max_object and disk_size(entry.size) <= self._max_bytes
        return fits and entry.keep_until > self._clock()

    def _condemn(self, record: Record) -> None:
        """It is damaged or foreign: it leaves the index now, the disk as soon as may be."""
        if self._index.discard(record):
            self.damaged += 1
            now, before = self._clock(), self._damaged_at
            self._damaged_at = now
            if now - before >= QUIET:
                self.on_damage(record.key)
            self._start(self._unlink([record]))

    async def _unlink(self, records: Iterable[Record]) -> None:
        """Remove the files of records that have left the index, unless a new one has come under the key."""
        for record in records:
            async with self._stripe(record.key):
                if self._shelves.find(record.key) is None:
                    await self._batches.run(partial(self.directory.remove, record.key))

    def _clear_top(self, top: str) -> int:
        return sum(self.directory.remove(seen.key) for seen in self.directory.walk(top))

    async def _build(self) -> None:
        with suppress(StoreError):  # records are still found one by one, on disk
            while await self.directory.run(self.directory.drop_left, BATCH):
                pass
            await self._index.build()
            await self._unlink(self._shelves.evict())

    def _close_file(self, fd: int) -> None:
        self._batches.add(Job(partial(os.close, fd), lambda error: None))

    def _stripe(self, key: str) -> asyncio.Lock:
        return self._stripes[hash(hash_of(key)) % STRIPES]

    def _start(self, work: Coroutine[Any, Any, R]) -> "asyncio.Task[R]":
        """A task that `close` waits for and whose failure may go unseen."""
        task = asyncio.create_task(work)
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task


def _unheeded() -> None:
    """Damage that is left for a lookup to find."""


def _drop(entry: Entry | None) -> None:
    if entry is not None:
        entry.body.close()
