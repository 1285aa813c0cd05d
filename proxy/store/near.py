"""The nearest tier held against the journal: what is found with no await, no lock, and nothing purged."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from proxy.entry import Entry, Found, Select, Variant
from proxy.outcome import Tier
from proxy.store.memory import Hold, MemoryStore, Slot

Known = TypeVar("Known", covariant=True)


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
    def until(self) -> float:
        """When it is over, in seconds of the wall clock."""
        return self.slot.until

    @property
    def kept(self) -> bytes | None:
        """Its content, as the tier holds it."""
        return self.slot.entry.body.data

    @property
    def nominated(self) -> set[str]:
        """The request fields by which it was chosen among its variants."""
        return {name for slot in self.shelf for name, _ in slot.entry.vary}


@dataclass(frozen=True, slots=True)
class FarHeld(Generic[Known]):
    """What a tier behind memory holds for a request, and by what that is known again there. Nothing is counted until
    it is taken."""

    found: Found
    slot: Known
    variants: Sequence[Variant]  # among these it was chosen

    @property
    def until(self) -> float:
        """When it is over, in seconds of the wall clock."""
        return self.found.entry.keep_until

    @property
    def kept(self) -> None:
        """Its content is read each time."""

    @property
    def nominated(self) -> set[str]:
        """The request fields by which it was chosen among its variants."""
        return {name for variant in self.variants for name, _ in variant.vary}


class Near:
    """Memory's entries that no later purge matches. `clock` is the wall clock; while `blind` says so, purges may have
    come that are not known here, and nothing is found."""

    def __init__(
        self, memory: MemoryStore, standing: Standing, clock: Callable[[], float], blind: Callable[[], bool] | None
    ) -> None:
        self._memory = memory
        self._take = memory.take
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

    def hold(self, held: Held, hold: Hold) -> None:
        """From now on `slot` may be taken again for the same choice, until `hold` is ended."""
        self._memory.hold(held.slot, hold)

    def again(self, slot: Slot, now: float) -> bool:
        """Take what is held, unless the journal says something else of it by now; `now` is the clock's, and before
        `slot.until`. While nothing was purged one integer is compared."""
        if slot.checked != self._standing.head or self._blind is not None:
            before = slot.ended_at
            if (self._blind is not None and self._blind()) or not self._stands(slot) or slot.ended_at != before:
                return False
        self._take(slot, now)
        return True

    def _stands(self, slot: Slot) -> bool:
        head = self._standing.head
        if slot.checked != head:
            checked = slot.checked if slot.ended_at is None else 0
            ended_at = self._standing.ended(slot.entry, max(checked, 0))
            if ended_at != slot.ended_at:
                slot.ended_at = ended_at
                slot.end_holds()
            slot.checked = head
        return slot.ended_at != -math.inf
