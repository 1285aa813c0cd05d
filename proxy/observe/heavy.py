"""Who weighs most of very many, in memory that does not grow: Space-Saving (Metwally, Agrawal, El Abbadi 2005).

The heaviest are kept exactly as long as there is room. What comes when there is none begins with the weight of the
lightest, so that no weight is told too small, and too large by `error` at most. Instead of looking for the lightest
each time, twice as many are let in and the lighter half leaves at once: adding costs a look into a dict.
"""

from heapq import nlargest


class Heavy:
    """The `size` heaviest names, and fewer than as many again, with their `weights`; a name longer than LONGEST is
    cut."""

    __slots__ = ("_floor", "_size", "weights")

    def __init__(self, size: int) -> None:
        self._size = size
        self._floor = 0.0
        self.weights: dict[str, float] = {}

    @property
    def error(self) -> float:
        """By how much a weight may be told too large."""
        return self._floor

    def count(self, name: str, weight: float) -> None:
        """So much more of this name."""
        weights = self.weights
        known = weights.get(name)
        if known is not None:
            weights[name] = known + weight
            return
        weights[name[:LONGEST]] = weights.get(name[:LONGEST], self._floor) + weight
        if len(weights) >= 2 * self._size:
            self._lighten()

    def most(self, number: int) -> list[tuple[str, float]]:
        """The heaviest, heaviest first."""
        return nlargest(min(number, self._size), self.weights.items(), key=_weight)

    def add(self, other: "Heavy") -> None:
        """Count what another has seen. Whom one of the two has forgotten may have weighed as much there as its error
        says, so the errors add up."""
        mine, others = self.weights, other.weights
        self.weights = {
            name: mine.get(name, self._floor) + others.get(name, other.error) for name in {**mine, **others}
        }
        self._floor += other.error
        if len(self.weights) >= 2 * self._size:
            self._lighten()

    def _lighten(self) -> None:
        kept = nlargest(self._size, self.weights.items(), key=_weight)
        self._floor = kept[-1][1]
        self.weights = dict(kept)


LONGEST = 512  # characters


def _weight(item: tuple[str, float]) -> float:
    return item[1]
