"""What one instance counts by itself: in its own process, or at the parent of its workers."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from proxy.limits.table import Table
from proxy.limits.window import Quota, Standing

# Verbs of what a worker asks its parent, and tells it.
TAKE, PEEK, NOTE = "limit-take", "limit-peek", "limit-note"


class Near(Protocol):
    """Exact over all workers of the instance. It answers always."""

    async def take(self, key: str, quota: Quota) -> Standing: ...

    async def peek(self, key: str, quota: Quota) -> Standing: ...

    def glance(self, key: str, quota: Quota) -> Standing | None:
        """As `peek`, where nobody has to be asked for it."""
        ...

    def take_at_once(self, key: str, quota: Quota) -> Standing | None:
        """As `take`, where nobody has to be asked for it; None, and nothing counted, where somebody has."""
        ...

    def note(self, key: str, quota: Quota) -> None:
        """One was let through elsewhere."""
        ...


class Here:
    """The table of this process is that of the instance. Nothing is awaited."""

    def __init__(self, table: Table) -> None:
        self._table = table

    async def take(self, key: str, quota: Quota) -> Standing:
        return self._table.take(key, quota)

    async def peek(self, key: str, quota: Quota) -> Standing:
        return self._table.peek(key, quota)

    def glance(self, key: str, quota: Quota) -> Standing | None:
        return self._table.peek(key, quota)

    def take_at_once(self, key: str, quota: Quota) -> Standing | None:
        return self._table.take(key, quota)

    def note(self, key: str, quota: Quota) -> None:
        self._table.note(key, quota)


class AtParent:
    """The parent's table is that of the instance. `ask` gives None where the parent does not answer in time: then this
    worker counts in its own `table`, what it sees alone."""

    def __init__(self, ask: Callable[..., Awaitable[Any]], tell: Callable[..., object], table: Table) -> None:
        self._ask = ask
        self._tell = tell
        self._table = table

    async def take(self, key: str, quota: Quota) -> Standing:
        standing: Standing | None = await self._ask(TAKE, key, quota)
        return self._table.take(key, quota) if standing is None else standing

    async def peek(self, key: str, quota: Quota) -> Standing:
        standing: Standing | None = await self._ask(PEEK, key, quota)
        return self._table.peek(key, quota) if standing is None else standing

    def glance(self, key: str, quota: Quota) -> Standing | None:
        return None

    def take_at_once(self, key: str, quota: Quota) -> Standing | None:
        return None

    def note(self, key: str, quota: Quota) -> None:
        self._tell(key, quota)


def duties(table: Table) -> dict[str, Callable[..., Awaitable[object]]]:
    """What a parent with this table does for its workers."""
    here = Here(table)
    return {TAKE: here.take, PEEK: here.peek}


async def swept(table: Table) -> int:
    """Drop all that ended, in slices between which others have their turn; how much went."""
    went = 0
    while part := table.sweep():
        went += part
        await asyncio.sleep(0)
    return went
