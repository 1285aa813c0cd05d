"""Where answers are kept. A Store has six verbs; one contract suite runs on every store and on their compositions."""

from collections.abc import AsyncIterator
from typing import Protocol, runtime_checkable

from proxy.entry import Entry, Select


class Store(Protocol):
    """Keeps entries by key `<h>` with their variants side by side.

    Every verb may raise StoreError and nothing else; only `guarded` turns that into a miss. An entry is replaced
    whole or not at all, and what `get` returns is what `put` was given, byte for byte.
    """

    async def get(self, hash: str, select: Select) -> Entry | None:
        """The variant of `<h>` that `select` picks among those stored (it is called only when any are stored); None
        when nothing is there or nothing fits. The caller closes `entry.body`."""
        ...

    async def put(self, entry: Entry) -> bool:
        """Store under `entry.key`, taking the place of what was there. False when the store does not want it
        (too large, would not outlive now, an older fence): that is no error."""
        ...

    async def delete(self, key: str) -> int:
        """Forget `<h>` with all its variants, or one `<h>.<variant>`; how many entries went."""
        ...

    def scan(self) -> AsyncIterator[Entry]:
        """Every entry, in no order, without their bodies being read; those put or deleted meanwhile may be missed."""
        ...

    async def clear(self) -> int:
        """Forget all; how many entries went."""
        ...

    async def close(self) -> None:
        """Finish writes under way and give back what is held; idempotent."""
        ...


@runtime_checkable
class Glances(Protocol):
    """A store that can be read without leaving a trace."""

    async def glance(self, hash: str, select: Select) -> Entry | None:
        """As `get`, but nothing is counted, counts as used, or is taken away."""
        ...


@runtime_checkable
class Heads(Protocol):
    """A store whose entries can be gone through without leaving a trace."""

    def heads(self) -> AsyncIterator[Entry]:
        """As `scan`, but nothing is learnt or taken away."""
        ...
