"""How far the purges of this instance have spread. Pure."""

from collections import OrderedDict
from typing import NamedTuple

from proxy.invalidation.records import Spread
from proxy.invalidation.stream import Look

LIVE = 5_000_000  # microseconds after its last sign of life that an instance is waited for
KEPT = 2000  # purges: more than there are receipts
APPLIED, PENDING = "applied", "pending"


class Standing(NamedTuple):
    """Where this instance stands: what others know of each other, and the epoch that it reads, 0 when it is cut off."""

    instance: str
    epoch: int
    look: Look | None


class Numbers:
    """The numbers in the present epoch from which on whoever has read them has applied a purge; 0: not told yet."""

    def __init__(self) -> None:
        self._numbers: OrderedDict[str, int] = OrderedDict()
        self._untold: set[str] = set()

    def made(self, id: str) -> None:
        self._numbers[id] = 0
        self._untold.add(id)
        if len(self._numbers) > KEPT:
            self._untold.discard(self._numbers.popitem(last=False)[0])

    def told(self, id: str, number: int) -> None:
        """It stands in the stream there."""
        if id in self._untold:
            self._untold.remove(id)
            self._numbers[id] = number

    def all_told(self, number: int) -> None:
        """Nothing is left to be told after record `number`."""
        for each in self._untold:
            self._numbers[each] = number
        self._untold.clear()

    def epoch_began(self) -> None:
        """What was told in another epoch has to be told again, in one way or another."""
        self._numbers = OrderedDict.fromkeys(self._numbers, 0)
        self._untold = set(self._numbers)

    def number(self, id: str) -> int:
        return self._numbers.get(id, 0)

    def spread(self, id: str, standing: Standing) -> Spread:
        """What is known of the purge now."""
        number, look = self.number(id), standing.look
        instances = {standing.instance: APPLIED}
        for name, beat in sorted(look.instances.items() if look else ()):
            if look is not None and name != standing.instance and abs(look.at - beat.seen) < LIVE:
                there = number and beat.epoch == standing.epoch and beat.number >= number
                instances[name] = APPLIED if there else PENDING
        complete = bool(number and standing.epoch) and all(state == APPLIED for state in instances.values())
        return Spread(instances, complete)
