"""The nearest tier: entries in this process, found with no await and no lock."""

import math
from collections.abc import AsyncIterator, Callable
from typing import Protocol

from proxy.entry import Entry, Select, Variant
from proxy.policy.variants import as_variant
from proxy.store.eviction import Name, policy
from proxy.store.shelves import Eviction, Node, Shelves

HOLDS = 8  # of one slot; the oldest one ends for the next


class Hold(Protocol):
    """Whoever takes a slot again and again without another look."""

    def end(self) -> None:
        """Another look may find something else now."""
        ...


class Slot(Node):
    """One stored entry and what is known of it here. Times are wall-clock seconds.

    `checked` is the journal head that it was last held against (-1: never), `ended_at` what came of that.
    """

    __slots__ = ("checked", "ended_at", "entry", "holds", "last_access", "told", "until")

    def __init__(self, entry: Entry, until: float) -> None:
        self.entry = entry
        self.last_access = entry.received_at  # nobody has asked for it since
        self.until = until
        self.told = 0  # of its uses, that the other instances know of
        self.checked = -1
        self.ended_at: float | None = None
        self.holds: tuple[Hold, ...] = ()

    @property
    def variant(self) -> Variant:
        """What choosing among variants asks of it."""
        return as_variant(self.entry)

    @property
    def hits(self) -> int:
        return self.uses

    def end_holds(self) -> None:
        """Another look may find something else from now on."""
        if self.holds:
            for hold in self.holds:
                hold.end()
            self.holds = ()

    @property
    def key(self) -> str:
        return self.entry.key

    @property
    def hash(self) -> str:
        return self.entry.hash

    @property
    def size(self) -> int:
        return self.entry.size

    @property
    def received_at(self) -> float:
        return self.entry.received_at


class VariedSlot(Slot):
    """A slot that has others beside it, as a rule: what they are chosen by is at hand."""

    __slots__ = ("_variant",)

    def __init__(self, entry: Entry, until: float) -> None:
        super().__init__(entry, until)
        self._variant = as_variant(entry)

    @property
    def variant(self) -> Variant:
        return self._variant


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
        leaving: Eviction[Slot] = policy(eviction, max_entries, max_bytes)
        self._shelves = Shelves(leaving, variants, Slot.end_holds)
        self._by_hash = self._shelves.by_hash
        self._moves = None if leaving.only_counts else leaving.touch
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

    def tell(self, left: Callable[[Slot], object]) -> None:
        """`left` is called for what leaves from now on; what makes room only where somebody had asked for it."""
        self._shelves.left = left

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
        if shelf is None:
            return None
        if isinstance(shelf, tuple):
            return self._pick(shelf, select)
        if shelf.until <= self._clock():
            return None
        variant = shelf.variant
        return shelf if select((variant,)) == variant.id else None

    def take(self, slot: Slot, now: float) -> None:
        """Count a hit."""
        self.hits += 1
        slot.last_access = now
        if self._moves is None:  # on the hottest path a call less
            slot.uses += 1
        else:
            self._moves(slot)

    def hold(self, slot: Slot, hold: Hold) -> None:
        """Let `hold` be ended when the slot leaves, another variant comes beside it, or its life is ended."""
        if len(slot.holds) >= HOLDS:
            slot.holds[0].end()
        slot.holds = (*slot.holds[1 - HOLDS :], hold)

    def shelf(self, hash: str) -> tuple[Slot, ...] | None:
        """All variants of a hash, dead ones too; None where there is none."""
        return self._shelves.of(hash) or None

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
        held = self.peek(entry.key) if entry.hash in self._by_hash else None
        if held is not None and held.entry.fence > entry.fence:
            return False
        data = entry.body.data
        until = min(entry.keep_until, now + self._ttl)
        if data is None or len(data) > self._max_object or entry.size > self.max_bytes or until <= now:
            if held is not None:
                self._shelves.discard(held)
            return False
        slot = VariedSlot(entry, until) if entry.vary else Slot(entry, until)
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
