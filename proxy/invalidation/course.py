"""What a number of the shared stream means in the journal of one instance. Pure.

Instances apply the same records under numbers of their own, and each its own records before it reads them back. For an
answer whose writer had applied the stream up to `number`, all that is safe to say here is: it was checked against every
record up to the local number L, where L is the largest such that none up to it stands later in the stream.

What grows is bounded: beyond LIMIT records the older half is thinned. Of two neighbours the later stream number is kept
with the earlier local one, so the answers only get smaller, which can only cost misses.
"""

from bisect import bisect_right
from typing import Any, Self

LIMIT = 4096
NEVER = 1 << 62  # stands for the local number of a record that brought nothing new


class Course:
    """One epoch of the stream as it was read, from the number `base` on; `begin` is all that was applied then."""

    __slots__ = ("_exact", "_least", "_numbers", "ceiling", "epoch", "limit")

    def __init__(self, epoch: int, base: int, *, limit: int = LIMIT) -> None:
        self.epoch = epoch
        self.limit = limit
        self.ceiling = NEVER  # no answer is larger, once the epoch is over
        self._numbers = [base]
        self._least = [NEVER]  # the smallest local number of the records from here on; the first is never asked for
        self._exact = base  # from here on every number that was read is here

    @property
    def last(self) -> int:
        """The last number read."""
        return self._numbers[-1]

    def add(self, number: int, local: int = NEVER) -> None:
        """The next record read; `local` is the least number under which something in it was applied here."""
        self._numbers.append(number)
        self._least.append(local)
        at = len(self._least) - 2
        while at > 0 and self._least[at] > local:
            self._least[at] = local
            at -= 1
        if len(self._numbers) > self.limit:
            self._thin()

    def local(self, number: int, head: int) -> int | None:
        """L for an answer stamped with `number`, where `head` is the last local number that was told or needs no
        telling. None for what this instance has not read itself: it lies before, or we are behind, or the server has
        lost records that we read, and goes on without them."""
        at = bisect_right(self._numbers, number)
        if at == 0 or (number >= self._exact and self._numbers[at - 1] != number):
            return None
        later = self._least[at] - 1 if at < len(self._numbers) else head
        return min(later, head, self.ceiling)

    def end(self, head: int) -> None:
        """The epoch is over; nothing above `head` was applied in it. What it says of older answers goes on to hold."""
        self.ceiling = head

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, f"_{name}") for name in ("numbers", "least", "exact")} | {
            "epoch": self.epoch,
            "ceiling": self.ceiling,
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """Back from `to_json`; KeyError, ValueError or TypeError when it is none."""
        numbers, least = [[int(each) for each in content[name]] for name in ("numbers", "least")]
        if not numbers or len(numbers) != len(least):
            raise ValueError("a course whose halves do not fit")
        epoch, exact, ceiling = [int(content[name]) for name in ("epoch", "exact", "ceiling")]
        if max(map(abs, (epoch, exact, ceiling, *numbers, *least))) >= 1 << 63:
            raise ValueError("a course of numbers past 64 bits")
        course = cls(epoch, numbers[0])
        course._numbers, course._least = numbers, least
        course._exact, course.ceiling = exact, ceiling
        return course

    def _thin(self) -> None:
        """Join pairs of the older half, the base left as it is."""
        half = len(self._numbers) // 2
        half -= (half - 1) % 2
        self._numbers[1:half] = self._numbers[2:half:2]
        self._least[1:half] = self._least[1:half:2]
        self._exact = self._numbers[(half - 1) // 2]
