"""What is told of a case: figures of those who were measured, and goals that are held against them. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from statistics import median
from typing import Literal

Unit = Literal["µs", "ms", "s", "KB", "MB", "MB/CPU s", "%", "/s", ""]


@dataclass(frozen=True, slots=True)
class Figure:
    """One of those measured, round by round. `problem` says why there is no figure, or why it does not count."""

    who: str
    values: tuple[float, ...] = ()
    problem: str = ""

    @property
    def valid(self) -> bool:
        return bool(self.values) and not self.problem and all(map(isfinite, self.values))

    @property
    def median(self) -> float:
        return median(self.values)

    @property
    def spread(self) -> float:
        """Half of what lies between the best and the worst round, as a share of the median."""
        return (max(self.values) - min(self.values)) / 2 / abs(self.median) if self.median else 0.0


@dataclass(frozen=True, slots=True)
class Goal:
    """`bound` is held against the first figure: as a multiple of another's, or by itself where `of` is ""."""

    bound: float
    of: str = ""
    least: bool = False  # the bound is what is wanted at least, not at most

    @property
    def sign(self) -> str:
        return ">=" if self.least else "<="


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a goal. `reached` is None where there is nothing to hold it against."""

    goal: Goal
    reached: float | None

    @property
    def met(self) -> bool | None:
        if self.reached is None:
            return None
        return self.reached >= self.goal.bound if self.goal.least else self.reached <= self.goal.bound


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table. The first figure is ours; `note` says what the reader has to know beside it."""

    case: str
    title: str
    unit: Unit
    figures: tuple[Figure, ...]
    goals: tuple[Goal, ...] = ()
    note: str = ""

    def figure(self, who: str) -> Figure | None:
        return next((each for each in self.figures if each.who == who), None)

    def verdicts(self) -> Iterator[Verdict]:
        """Of each goal, in their order."""
        ours = self.figures[0]
        for goal in self.goals:
            if not goal.of:
                yield Verdict(goal, ours.median if ours.valid else None)
                continue
            theirs = self.figure(goal.of)
            both = ours.valid and theirs is not None and theirs.valid and theirs.median
            yield Verdict(goal, ours.median / theirs.median if both and theirs is not None else None)


def at_most(bound: float, of: str = "") -> Goal:
    return Goal(bound, of)


def at_least(bound: float, of: str = "") -> Goal:
    return Goal(bound, of, least=True)


def quantile(ordered: Sequence[float], share: float) -> float:
    """Of values in rising order: the smallest that at least this share of them does not exceed."""
    return ordered[max(0, -(-len(ordered) * round(share * 1000) // 1000) - 1)]
