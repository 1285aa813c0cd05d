"""The nearest tier held against the journal: what is found with no await, no lock, and nothing purged."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from operator import is_not
from typing import Protocol
from weakref import ref

from proxy.entry import Entry, Found, Select
from proxy.outcome import Tier
from proxy.store.memory import MemoryStore, Slot


class Standing(Protocol):
    """What the journal says of entries (`invalidation.journal`)."""

    @property
    def head(self) -> int:
        """Grows with every purge."""
        ...

    def ended(self, entry: Entry, checked: int = 0) -> float | None:
        """None when no purge after its fetch began matches it, -inf when a hard one does, else the wall time at which
        a soft one ended its lifetime. `checked`: a head at which this was None."""
        ...


@dataclass(frozen=True, slots=True)
class Held:
    """What memory holds for a request. Nothing is counted until it is taken."""

    found: Found
    slot: Slot
    shelf: tuple[Slot, ...]  # among these variants it was chosen

    @property
    def trace(self) -> "Trace":
        return Trace(self.slot.entry.hash, ref(self.slot), tuple(map(ref, self.shelf)), self.found.ended_at)


@dataclass(frozen=True, slots=True)
class Trace:
    """Where something was found, and among which; it keeps nothing in memory that the tier lets go."""

    hash: str
    slot: "ref[Slot]"
    shelf: tuple["ref[Slot]", ...]
    ended_at: float | None

    def is_of(self, shelf: tuple[Slot, ...]) -> bool:
        """Whether these are the variants among which it was found."""
        return len(shelf) == len(self.shelf) and not any(map(is_not, shelf, [each() for each in self.shelf]))


class Near:
    """Memory's entries that no later purge matches. `clock` is the wall clock; while `blind` says so, purges may have
    come that are not known here, and nothing is found."""

    def __init__(
        self, memory: MemoryStore, standing: Standing, clock: Callable[[], float], blind: Callable[[], bool] | None
    ) -> None:
        self._memory = memory
        self._standing = standing
        self._clock = clock
        self._blind = blind

    def find(self, hash: str, select: Select) -> Found | None:
        """The variant that `select` picks, counted as a hit; None is counted as a miss, but while we are blind. One
        integer is compared when nothing was purged since last time."""
        if self._blind is not None and self._blind():
            return None
        slot = self._memory.find(hash, select)
        if slot is None:
            return None
        if not self._stands(slot):
            self._memory.refuse(slot)
            return None
        return Found(slot.entry, Tier.MEMORY, slot.ended_at)

    def look(self, hash: str, select: Select) -> Held | None:
        """As `find`, but it leaves no trace."""
        shelf = self._memory.shelf(hash)
        if shelf is None or (self._blind is not None and self._blind()):
            return None
        slot = self._memory.look(hash, select)
        if slot is None or not self._stands(slot):
            return None
        return Held(Found(slot.entry, Tier.MEMORY, slot.ended_at), slot, shelf)

    def take(self, held: Held) -> None:
        """Count it as a hit."""
        self._memory.take(held.slot, self._clock())

    def again(self, trace: Trace, now: float) -> Entry | None:
        """Take what was found before, if `look` with the same choice would find the same; `now` is the clock's."""
        slot, shelf = trace.slot(), self._memory.shelf(trace.hash)
        if slot is None or shelf is None or slot.until <= now or (self._blind is not None and self._blind()):
            return None
        if not (len(shelf) == 1 and shelf[0] is slot) and not trace.is_of(shelf):
            return None
        if slot.checked != self._standing.head and not self._stands(slot):
            return None
        if slot.ended_at != trace.ended_at:
            return None
        self._memory.take(slot, now)
        return slot.entry

    def _stands(self, slot: Slot) -> bool:
        head = self._standing.head
        if slot.checked != head:
            checked = slot.checked if slot.ended_at is None else 0
            slot.ended_at = self._standing.ended(slot.entry, max(checked, 0))
            slot.checked = head
        return slot.ended_at != -math.inf
