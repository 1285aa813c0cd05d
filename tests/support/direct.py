"""The parent of several workers in the test's own process: the bus between them is a call."""

from dataclasses import dataclass

from proxy.invalidation.parent_log import ParentLog
from proxy.invalidation.records import Purge, Spread
from proxy.invalidation.worker_log import Snapshot


@dataclass
class Direct:
    """`invalidation.worker_log.Parent` as a worker reaches it."""

    parent: ParentLog

    async def append(self, purge: Purge) -> int:
        return self.parent.append(purge)

    async def kept(self, number: int) -> bool:
        return await self.parent.kept(number)

    async def spread(self, id: str, seconds: float) -> Spread:
        return await self.parent.spread(id, seconds)

    async def snapshot(self) -> Snapshot:
        return await self.parent.snapshot()
