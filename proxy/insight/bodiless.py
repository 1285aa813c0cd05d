"""Entries without their bodies, in a tier that evicts as the real one does: what would lie there, who would leave."""

from collections.abc import AsyncIterator
from math import inf

from proxy.entry import Entry, Select
from proxy.errors import StoreError
from proxy.fixed import fixed
from proxy.store.eviction import Name, policy
from proxy.store.memory import Slot, VariedSlot
from proxy.store.shelves import Eviction, Shelves


@fixed
class Weight:
    """The size of a body that is not here; `digest` stands for its bytes, b"" where nobody knows them."""

    size: int
    digest: bytes = b""
    data: None = None

    async def read(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        raise StoreError("there are no bytes")
        yield b""

    async def verify(self) -> None:
        pass

    def share(self) -> "Weight":
        return self

    def close(self) -> None:
        pass


class Ledger:
    """A tier of entries whose bodies are Weights. Bounds as of the tier that it stands for; `ttl` caps how many seconds
    a copy is trusted. Times are arguments, wall-clock seconds."""

    def __init__(
        self,
        eviction: Name,
        *,
        max_entries: int,
        max_bytes: int,
        max_object: float = inf,
        variants: int = 32,
        ttl: float | None = None,
    ) -> None:
        leaving: Eviction[Slot] = policy(eviction, max_entries, max_bytes)
        self._shelves = Shelves(leaving, variants)
        self._max_object = max_object
        self._ttl = inf if ttl is None else ttl

    @property
    def evictions(self) -> int:
        return self._shelves.evictions

    @property
    def bytes(self) -> int:
        return self._shelves.bytes

    def __len__(self) -> int:
        return len(self._shelves)

    def find(self, hash: str, select: Select, now: float) -> Entry | None:
        """The live variant that `select` picks, counted as used."""
        live = [slot for slot in self._shelves.of(hash) if slot.until > now]
        wanted = select([slot.variant for slot in live]) if live else None
        slot = next((slot for slot in live if slot.variant.id == wanted), None)
        if slot is None:
            return None
        self._shelves.touch(slot)
        return slot.entry

    def keep(self, entry: Entry, now: float) -> bool:
        """Take it in; False when the tier does not want it, which then forgets what it would have replaced."""
        until = min(entry.keep_until, now + self._ttl)
        if entry.body.size > self._max_object or entry.size > self._shelves.max_bytes or until <= now:
            self._shelves.drop(entry.key)
            return False
        slot = VariedSlot(entry, until) if entry.vary else Slot(entry, until)
        return slot not in self._shelves.add(slot)

    def drop(self, entry: Entry) -> None:
        """Forget this one."""
        self._shelves.drop(entry.key)

    def sweep(self, now: float) -> None:
        """Forget what nobody can want any more."""
        for slot in [slot for slot in self._shelves if slot.until <= now]:
            self._shelves.discard(slot)
