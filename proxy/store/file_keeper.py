"""Keeps account of a directory in which several workers write: evicts, sweeps, and looks at the disk now and then.

The parent of the workers does this, because it outlives each of them: no role is handed on, and nothing is walked
anew, when a worker dies. What is on disk may pass `max_bytes` by what all workers have not told of yet (a 64th of it,
for `file_shared.FLUSH` at most, and a record of each), and what they write while word comes and files are unlinked.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

from proxy.store.eviction import Name
from proxy.store.file import FileStore
from proxy.store.file_dir import Role
from proxy.store.file_index import BATCH, Record
from proxy.store.file_listing import Seen
from proxy.store.file_shared import Change, Changes

TOPS = "0123456789abcdef"
LATELY = 10_000  # keys


class Keeper(FileStore):
    """The file tier as the parent sees it: `open` claims the directory for all workers, `take` hears what they do.

    Each `sweep` also holds a sixteenth of the account against the disk: notes may get lost, and files may be deleted
    by somebody else. `settled`: seconds after which a file that nobody told of is taken in.
    """

    def __init__(
        self,
        dir: Path,
        *,
        max_bytes: int,
        eviction: Name = "lru",
        variants: int = 32,
        clock: Callable[[], float],
        settled: float = 2.0,
    ) -> None:
        super().__init__(
            dir,
            max_bytes=max_bytes,
            max_object=max_bytes,
            eviction=eviction,
            variants=variants,
            clock=clock,
            role=Role.PARENT,
        )
        self._settled = settled
        self._tops = cycle(TOPS)
        self._looking: set[str] | None = None  # keys that changed while the disk was looked at
        self._changed_at: OrderedDict[str, float] = OrderedDict()  # the last LATELY keys that were told of
        self._emptied_at = 0.0

    def take(self, changes: Changes) -> None:
        """Account for what a worker did. What another did after that may have been told before."""
        if changes.emptied:
            self._empty(changes.emptied)
        if self._looking is not None:
            self._looking |= changes.records.keys()
        left: list[Record] = []
        for key, change in changes.records.items():
            if change.at >= max(self._changed_at.get(key, 0.0), self._emptied_at):
                self._remember(key, change.at)
                left += self._account(key, change)
        for key in changes.used:
            if (held := self._shelves.find(key)) is not None:
                self._shelves.touch(held)
        if left:
            self._start(self._unlink(left))

    def _account(self, key: str, change: Change) -> list[Record]:
        """Who has to go for it."""
        if change.size:
            return self._shelves.add(Record(key, change.size, change.received_at, change.keep_until))
        if (gone := self._shelves.find(key)) is not None:
            self._shelves.discard(gone)
        return []

    def _empty(self, at: float) -> None:
        self._emptied_at = at
        for record in list(self._shelves):
            self._shelves.discard(record)
        self._start(self._look_at_all())  # what was written while it was being emptied

    def _remember(self, key: str, at: float) -> None:
        self._changed_at[key] = at
        self._changed_at.move_to_end(key)
        if len(self._changed_at) > LATELY:
            self._changed_at.popitem(last=False)

    async def sweep(self) -> int:
        went = await super().sweep()
        await self.look(next(self._tops))
        return went

    async def look(self, top: str) -> None:
        """Hold the account of one folder of the first level against the disk."""
        if self._looking is not None or self.index_task is None or not self.index_task.done():
            return
        self._looking = set()
        try:
            seen = {
                one.key: one for one in await self.directory.run(self.directory.walk, str(self.directory.root / top))
            }
            await self._correct(top, seen, self._looking)
        finally:
            self._looking = None
        await self._unlink(self._shelves.evict())

    async def _look_at_all(self) -> None:
        for top in TOPS:
            await self.look(top)

    async def _correct(self, top: str, seen: dict[str, Seen], changed: set[str]) -> None:
        for number, record in enumerate(list(self._shelves)):
            if number % BATCH == 0:
                await asyncio.sleep(0)
            if record.key.startswith(top) and record.key not in changed:
                found = seen.pop(record.key, None)
                if found is None or found.size != record.size:
                    self._shelves.discard(record)
                if found is not None and found.size != record.size:
                    self._shelves.restore(Record.seen(found))
        latest = time.time_ns() - int(self._settled * 1e9)  # who wrote a later one may still tell of it
        for number, one in enumerate(seen.values()):
            if number % BATCH == 0:
                await asyncio.sleep(0)
            if one.key not in changed and one.file[1] <= latest:
                self._shelves.restore(Record.seen(one))
