"""What the file tier knows of its records without reading them, and how it learns that after a restart."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from proxy.entry import Entry, Variant
from proxy.policy.variants import as_variant
from proxy.store.file_body import Proof
from proxy.store.file_dir import Directory
from proxy.store.file_kept import Kept
from proxy.store.file_listing import Seen
from proxy.store.shelves import Node, Shelves, hash_of

BATCH = 500  # records that are taken in before the event loop gets its turn


@dataclass(slots=True, eq=False)
class Record(Node):
    """One file. `size` is what it takes on disk; `variant` is None until its head has been read once."""

    key: str
    size: int
    received_at: float
    keep_until: float
    variant: Variant | None = None
    fence: int = 0
    proof: Proof = field(default_factory=Proof)
    file: tuple[int, int] = (0, 0)  # as in `Seen`
    moves: int = 0  # how often something changed on its shelf
    kept: Kept | None = None  # its file, where that is kept open

    @property
    def hash(self) -> str:
        return hash_of(self.key)

    @classmethod
    def of(cls, entry: Entry, size: int) -> "Record":
        record = cls(entry.key, size, entry.received_at, entry.keep_until)
        record.learn(entry)
        return record

    @classmethod
    def seen(cls, seen: Seen) -> "Record":
        return cls(seen.key, seen.size, seen.used_at, seen.keep_until, file=seen.file)

    def move(self) -> None:
        """It goes from its shelf, or something beside it comes or goes."""
        self.moves += 1
        if self.kept is not None:
            self.kept.end()

    def learn(self, entry: Entry) -> None:
        """Take over what its head says."""
        self.variant = as_variant(entry)
        self.received_at = entry.received_at
        self.keep_until = entry.keep_until
        self.fence = entry.fence


class FileIndex:
    """Shelves of records that are true for every hash once `complete`, and before that for those asked about.

    Until then a hash that nobody asked about is looked up on disk, so that records are found right from the start.
    """

    __slots__ = ("_directory", "_known", "complete", "shelves", "told")

    def __init__(self, directory: Directory, shelves: Shelves[Record]) -> None:
        self.shelves = shelves
        self.complete = False
        self._directory = directory
        self._known: set[str] = set()  # hashes that the shelves are true for; emptied when complete

    async def shelf(self, hash: str) -> tuple[Record, ...]:
        """The records of one hash."""
        if not self.complete and hash not in self._known:
            seen = await self._directory.run(self._directory.variants, hash)
            if not self.complete and hash not in self._known:
                self._known.add(hash)
                for one in seen:
                    self.shelves.restore(Record.seen(one))
        return self.shelves.of(hash)

    async def look(self, hash: str) -> tuple[Record, ...]:
        """As `shelf`; nothing is remembered of what the disk says."""
        if self.complete or hash in self._known:
            return self.shelves.of(hash)
        return tuple(map(Record.seen, await self._directory.run(self._directory.variants, hash)))

    def known(self, hash: str) -> Record | tuple[Record, ...] | None:
        """The shelf of one hash, where it is known."""
        return self.shelves.by_hash.get(hash, ()) if self.complete or hash in self._known else None

    def add(self, record: Record) -> list[Record]:
        """A file that was written; whose have to go for it."""
        return self.shelves.add(record)

    def discard(self, record: Record) -> bool:
        """A file that goes or has gone; False when this was known."""
        return self.shelves.discard(record)

    def touch(self, record: Record) -> None:
        """It was read."""
        if hasattr(record, "queue"):  # else it has left
            self.shelves.touch(record)

    async def records(self) -> AsyncIterator[Record]:
        """Every record that is known."""
        for record in list(self.shelves):
            yield record

    @asynccontextmanager
    async def emptying(self) -> AsyncIterator[None]:
        """Forget all, and let the files go."""
        self.settle()
        for number, record in enumerate(list(self.shelves)):
            self.shelves.discard(record)
            if number % BATCH == 0:
                await asyncio.sleep(0)
        yield

    def close(self) -> None:
        """Nothing is held."""

    async def build(self) -> None:
        """Learn of every record there is, the lately used ones last to leave. Runs beside everything else."""
        found: list[Seen] = []
        for top in await self._directory.run(self._directory.tops):
            found += await self._directory.run(self._directory.walk, top)
        found = await self._directory.run(sorted, found, key=lambda seen: seen.used_at, reverse=True)
        await self._take(found)
        self.settle()

    def settle(self) -> None:
        """The shelves are true for every hash from here on."""
        self.complete = True
        self._known.clear()

    async def _take(self, found: Iterable[Seen]) -> None:
        for number, seen in enumerate(found):
            if number % BATCH == 0:
                await asyncio.sleep(0)
            if self.complete:  # cleared meanwhile: what was found is no more
                return
            if hash_of(seen.key) not in self._known:
                self.shelves.restore(Record.seen(seen))
