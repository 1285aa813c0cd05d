"""How long things took, in memory that does not grow: counts in buckets whose bounds grow by a fixed ratio."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator

FLOOR = 50e-6  # seconds; what is faster needs no telling apart
_PER_OCTAVE = 4  # neighbouring bounds differ by 2 ** 1/4, so that a quantile is off by at most 19%
_OCTAVES = 24  # up to 839 s
BOUNDS = tuple(FLOOR * 2 ** (step / _PER_OCTAVE) for step in range(_PER_OCTAVE * _OCTAVES + 1))


class Histogram:
    """Durations in seconds. A bucket holds what is above the bound before it and at most its own."""

    __slots__ = ("buckets", "count", "total")

    def __init__(self) -> None:
        self.buckets = [0] * (len(BOUNDS) + 1)
        self.count = 0
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        self.buckets[0 if seconds <= FLOOR else bisect_left(BOUNDS, seconds)] += 1
        self.count += 1
        self.total += seconds

    def add_quick(self, count: int, total: float) -> None:
        """As `observe` of so many that took no longer than FLOOR each, and `total` seconds together."""
        self.buckets[0] += count
        self.count += count
        self.total += total

    def add(self, other: "Histogram") -> None:
        """Count what another has seen."""
        self.buckets = [mine + theirs for mine, theirs in zip(self.buckets, other.buckets, strict=True)]
        self.count += other.count
        self.total += other.total

    @classmethod
    def merged(cls, parts: Iterable["Histogram"]) -> "Histogram":
        """One histogram of everything that the parts have seen."""
        whole = cls()
        for part in parts:
            whole.add(part)
        return whole

    @property
    def mean(self) -> float:
        """Exact, in seconds; 0 when nothing was seen."""
        return self.total / self.count if self.count else 0.0

    def quantile(self, q: float) -> float:
        """Seconds within which a share `q` of what was seen lies, interpolated in its bucket; 0 when nothing was."""
        wanted = q * self.count
        below = 0
        for at, inside in enumerate(self.buckets):
            if inside and below + inside >= wanted:
                low = BOUNDS[at - 1] if at else 0.0
                high = BOUNDS[min(at, len(BOUNDS) - 1)]
                return low + (high - low) * max(0.0, wanted - below) / inside
            below += inside
        return 0.0

    def summary(self) -> dict[str, float]:
        """avg, p50, p95 and p99 in milliseconds."""
        told = {"avg": self.mean} | {f"p{q}": self.quantile(q / 100) for q in (50, 95, 99)}
        return {name: round(seconds * 1000, 3) for name, seconds in told.items()}

    def occupied(self) -> Iterator[tuple[float, int]]:
        """(upper bound in seconds, how many) of the buckets that hold any, so that who looks twice can tell what lies
        between; what is beyond the last bound is told as the next one."""
        for at, inside in enumerate(self.buckets):
            if inside:
                yield FLOOR * 2 ** (at / _PER_OCTAVE), inside

    def cumulative(self) -> Iterator[tuple[str, int]]:
        """(upper bound, how many were at most that) by octaves, as Prometheus wants its buckets; the last is +Inf."""
        below = 0
        for at, inside in enumerate(self.buckets[:-1]):
            below += inside
            if at % _PER_OCTAVE == 0:
                yield f"{BOUNDS[at]:.6g}", below
        yield "+Inf", self.count
