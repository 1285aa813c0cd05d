"""What one rule did, or one group of its keys: how requests came out, and what answers from store saved."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from proxy.outcome import Verdict
from proxy.reasons import Why

HITS = frozenset({Verdict.HIT, Verdict.STALE, Verdict.UPDATING, Verdict.REVALIDATED})
MISSES = frozenset({Verdict.MISS, Verdict.EXPIRED})

K = TypeVar("K")


@dataclass(slots=True)
class ShadowCounts:
    """What a rule in shadow would have answered from store; of so many `compared` with the live answer, `wrong` were
    another."""

    would_hits: int = 0
    compared: int = 0
    wrong: int = 0

    @property
    def wrong_rate(self) -> float:
        return rate(self.wrong, self.compared - self.wrong)

    def add(self, other: "ShadowCounts") -> None:
        """Count what another process saw."""
        self.would_hits += other.would_hits
        self.compared += other.compared
        self.wrong += other.wrong


@dataclass(slots=True)
class RuleCounts:
    """What one rule did, or one group of its keys (`observe.grouping`); `shadow` is of a rule alone, and None where it
    was never in shadow. A call is saved when a client was answered without one of its own; what a call would have taken
    is the mean of those that were made."""

    outcomes: dict[tuple[Verdict, Why], int] = field(default_factory=dict)
    bytes_saved: int = 0
    calls_saved: int = 0
    seconds_saved: float = 0.0
    money_saved: float = 0.0
    calls: int = 0
    call_seconds: float = 0.0
    shadow: ShadowCounts | None = None

    @property
    def verdicts(self) -> dict[Verdict, int]:
        told = dict.fromkeys(Verdict, 0)
        for (verdict, _), count in self.outcomes.items():
            told[verdict] += count
        return told

    @property
    def hits(self) -> int:
        return sum(count for (verdict, _), count in self.outcomes.items() if verdict in HITS)

    @property
    def misses(self) -> int:
        return sum(count for (verdict, _), count in self.outcomes.items() if verdict in MISSES)

    @property
    def missed(self) -> dict[Why, int]:
        """Why what was asked for was not answered from store, bypasses included."""
        told: dict[Why, int] = {}
        for (verdict, why), count in self.outcomes.items():
            if verdict not in HITS:
                told[why] = told.get(why, 0) + count
        return told

    def count(self, verdict: Verdict, why: Why, number: int = 1) -> None:
        """So many more requests came out so."""
        self.outcomes[verdict, why] = self.outcomes.get((verdict, why), 0) + number

    def add(self, other: "RuleCounts") -> None:
        """Count what was done elsewhere, or at another time."""
        add_counts(self.outcomes, other.outcomes)
        self.bytes_saved += other.bytes_saved
        self.calls_saved += other.calls_saved
        self.seconds_saved += other.seconds_saved
        self.money_saved += other.money_saved
        self.calls += other.calls
        self.call_seconds += other.call_seconds
        if other.shadow is not None:
            self.shadow = self.shadow or ShadowCounts()
            self.shadow.add(other.shadow)


def total(parts: Iterable[RuleCounts]) -> RuleCounts:
    """All of them as one."""
    whole = RuleCounts()
    for part in parts:
        whole.add(part)
    return whole


def rate(hits: int, misses: int) -> float:
    """hits / (hits + misses), 0 when there were none."""
    return round(hits / (hits + misses), 4) if hits or misses else 0.0


def add_counts(mine: dict[K, int], others: Mapping[K, int]) -> None:
    """Count what others counted by the same names."""
    for name, count in others.items():
        mine[name] = mine.get(name, 0) + count
