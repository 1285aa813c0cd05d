"""The file tier of one of several workers: the disk says what is there, and the parent is told what changes.

A record is written whole beside the others and renamed, so that nobody needs a lock to read or to replace one. What a
worker remembers of a record saves reading its head again, and holds as long as the very same file lies there.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import NamedTuple

from proxy.store.file_dir import Directory
from proxy.store.file_index import Record
from proxy.store.file_listing import Seen

REMEMBERED = 20_000  # records
FLUSH = 0.25  # seconds that changes are gathered
MOST = 1000  # of them


class Change(NamedTuple):
    """A record that was written, or went. `at` is the monotonic clock, which all workers share, `size` bytes on disk,
    0 when it went; the others are wall-clock seconds."""

    at: float
    size: int
    received_at: float = 0.0
    keep_until: float = 0.0


@dataclass(frozen=True, slots=True)
class Changes:
    """What a worker did lately, by key, and which records it read. `emptied`: the monotonic time at which it had taken
    away everything, 0 when it had not."""

    records: Mapping[str, Change]
    used: Collection[str] = ()
    emptied: float = 0.0


Tell = Callable[[Changes], object]  # may lose them: whoever keeps account looks at the disk itself now and then


@dataclass(slots=True)
class _Gathered:
    records: dict[str, Change] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    emptied: float = 0.0


class SharedIndex:
    """As `FileIndex`, for a directory in which others write too. Once `untold` bytes were written it tells at once."""

    __slots__ = ("_directory", "_flushing", "_gathered", "_remembered", "_tell", "_untold", "_written")

    def __init__(self, directory: Directory, tell: Tell, untold: int) -> None:
        self._directory = directory
        self._tell = tell
        self._untold = untold
        self._written = 0  # bytes that nobody was told of
        self._remembered: OrderedDict[str, Record] = OrderedDict()
        self._gathered = _Gathered()
        self._flushing: asyncio.TimerHandle | None = None

    async def shelf(self, hash: str) -> tuple[Record, ...]:
        """The records of one hash."""
        return tuple(self._record(seen) for seen in await self._directory.run(self._directory.variants, hash))

    async def look(self, hash: str) -> tuple[Record, ...]:
        """As `shelf`; nothing is remembered of what the disk says."""
        return tuple(map(Record.seen, await self._directory.run(self._directory.variants, hash)))

    def known(self, hash: str) -> None:
        """Nothing is known without asking the disk."""

    def add(self, record: Record) -> list[Record]:
        """A file that was written; nobody has to go for it here."""
        change = Change(monotonic(), record.size, record.received_at, record.keep_until)
        self._gathered.records[record.key] = change
        self._written += record.size
        self._changed()
        return []

    def discard(self, record: Record) -> bool:
        """A file that goes or has gone."""
        self._remembered.pop(record.key, None)
        self._gathered.records[record.key] = Change(monotonic(), 0)
        self._changed()
        return True

    def touch(self, record: Record) -> None:
        """It was read."""
        self._gathered.used.add(record.key)
        self._changed()

    async def records(self) -> AsyncIterator[Record]:
        """Every record there is."""
        for top in await self._directory.run(self._directory.tops):
            for seen in await self._directory.run(self._directory.walk, top):
                yield self._record(seen)

    @asynccontextmanager
    async def emptying(self) -> AsyncIterator[None]:
        """Let the files go, and forget all."""
        yield
        self._remembered.clear()
        self._gathered = _Gathered(emptied=monotonic())
        self._flush()

    async def build(self) -> None:
        """There is nothing to learn."""

    def close(self) -> None:
        """Tell what was not told yet."""
        if self._flushing is not None:
            self._flush()

    def _record(self, seen: Seen) -> Record:
        """What is remembered of this very file, or a record whose head is still to be read."""
        record = self._remembered.get(seen.key)
        if record is None or record.file != seen.file or record.size != seen.size:
            record = self._remembered[seen.key] = Record.seen(seen)
            if len(self._remembered) > REMEMBERED:
                self._remembered.popitem(last=False)
        self._remembered.move_to_end(seen.key)
        return record

    def _changed(self) -> None:
        if self._flushing is None:
            self._flushing = asyncio.get_running_loop().call_later(FLUSH, self._flush)
        if self._written > self._untold or len(self._gathered.records) + len(self._gathered.used) >= MOST:
            self._flush()

    def _flush(self) -> None:
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        gathered, self._gathered, self._written = self._gathered, _Gathered(), 0
        self._tell(Changes(gathered.records, frozenset(gathered.used), gathered.emptied))
