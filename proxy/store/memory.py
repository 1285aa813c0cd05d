"""The nearest tier: entries in this process, found with no await and no lock."""

import math
from collections.abc import AsyncIterator, Callable

from proxy.entry import Entry, Select
from proxy.policy.variants import as_variant
from proxy.store.eviction import Name, policy
from proxy.store.shelves import Shelves


class Slot:
    """One stored entry and what is known of it here. Times are wall-clock seconds.

    `checked` is the journal head that it was last held against (-1: never), `ended_at` what came of that.
    """

    __slots__ = (
        "__weakref__",
        "checked",
        "ended_at",
        "entry",
        "hits",
        "last_access",
        "stored_at",
        "told",
        "until",
        "variant",
    )

    def __init__(self, entry: Entry, now: float, until: float) -> None:
        self.entry = entry
        self.variant = as_variant(entry)
        self.stored_at = now
        self.last_access = now
        self.until = until
        self.hits = 0
        self.told = 0  # of them, that the other instances know of
        self.checked = -1
        self.ended_at: float | None = None

    @property
    def key(self) -> str:
        return self.entry.key

    @property
    def size(self) -> int:
        return self.entry.size

    @property
    def received_at(self) -> float:
        return self.entry.received_at


class MemoryStore:
    """A Store whose hits are synchronous.

    `max_object` bounds a body, `max_bytes` the sum of `entry.size`, `variants` those of one hash; `ttl` caps how many
    seconds a copy is trusted, whatever its own life. `clock` is the wall clock.
    """

    def __init__(
        self,
        *,
        max_entries: int,
        max_bytes: int,
        max_object: int,
        eviction: Name = "s3fifo",
        ttl: float | None = None,
        variants: int = 32,
        clock: Callable[[], float],
    ) -> None:
        leaving = policy(eviction, max_entries, max_bytes)
        self._shelves: Shelves[Slot] = Shelves(leaving, variants)
        self._by_hash = self._shelves.by_hash
        self._used = leaving.touch
        self._max_object = max_object
        self._ttl = math.inf if ttl is None else ttl
        self._clock = clock
        self.hits = 0
        self.misses = 0

    @property
    def entries(self) -> int:
        return len(self._shelves)

    @property
    def bytes(self) -> int:
        return self._shelves.bytes

    @property
    def max_bytes(self) -> int:
        return self._shelves.max_bytes

    def resize(self, max_bytes: int) -> int:
        """Let another bound hold; how many entries left for it."""
        return len(self._shelves.resize(max_bytes))

    @property
    def evictions(self) -> int:
        return self._shelves.evictions

    def find(self, hash: str, select: Select) -> Slot | None:
        """The slot of the variant that `select` picks, counted as a hit; None is counted as a miss."""
        slot = self.look(hash, select)
        if slot is None:
            self.misses += 1
            return None
        self.take(slot, self._clock())
        return slot

    def look(self, hash: str, select: Select) -> Slot | None:
        """As `find`, but nothing is counted until the slot is taken."""
        shelf = self._by_hash.get(hash)
        return None if shelf is None else self._pick(shelf, select)

    def take(self, slot: Slot, now: float) -> None:
        """Count a hit."""
        self.hits += 1
        slot.hits += 1
        slot.last_access = now
        self._used(slot.entry.key)

    def shelf(self, hash: str) -> tuple[Slot, ...] | None:
        """All variants of a hash, dead ones too: another tuple whenever one of them is another."""
        return self._by_hash.get(hash)

    def refuse(self, slot: Slot) -> None:
        """What `find` gave has turned out to be purged: it goes, and was a miss."""
        self.hits -= 1
        self.misses += 1
        self._shelves.discard(slot)

    def remove(self, slot: Slot) -> int:
        """Take away this very slot; 0 when it has gone already."""
        return int(self._shelves.discard(slot))

    def peek(self, key: str) -> Slot | None:
        """What lies under exactly this key; nothing is counted."""
        slot = self._shelves.find(key)
        return slot if slot is not None and slot.until > self._clock() else None

    def slots(self) -> list[Slot]:
        """All that are stored now, dead ones too."""
        return list(self._shelves)

    def keep(self, entry: Entry) -> bool:
        """`put` without the await. What it has no room for ends the life of what it would have replaced."""
        now = self._clock()
        held = self.peek(entry.key)
        if held is not None and held.entry.fence > entry.fence:
            return False
        data = entry.body.data
        until = min(entry.keep_until, now + self._ttl)
        if data is None or len(data) > self._max_object or entry.size > self.max_bytes or until <= now:
            if held is not None:
                self._shelves.discard(held)
            return False
        slot = Slot(entry, now, until)
        return slot not in self._shelves.add(slot)

    def sweep(self, now: float) -> int:
        """Remove what nobody can want any more at `now`; how many entries went."""
        dead = [slot for slot in self._shelves if slot.until <= now]
        for slot in dead:
            self._shelves.discard(slot)
        return len(dead)

    async def get(self, hash: str, select: Select) -> Entry | None:
        slot = self.find(hash, select)
        return slot.entry if slot else None

    async def put(self, entry: Entry) -> bool:
        return self.keep(entry)

    async def delete(self, key: str) -> int:
        return self.forget(key)

    def forget(self, key: str) -> int:
        """`delete` without the await."""
        return len(self._shelves.drop(key))

    async def scan(self) -> AsyncIterator[Entry]:
        now = self._clock()
        for slot in self.slots():
            if slot.until > now:
                yield slot.entry

    async def clear(self) -> int:
        return sum(self.forget(key) for key in list(self._by_hash))

    async def close(self) -> None:
        """Nothing is held but memory, which goes with the object."""

    def _pick(self, shelf: tuple[Slot, ...], select: Select) -> Slot | None:
        now = self._clock()
        live = [slot for slot in shelf if slot.until > now]
        if not live:
            return None
        wanted = select([slot.variant for slot in live])
        return next((slot for slot in live if slot.variant.id == wanted), None)
