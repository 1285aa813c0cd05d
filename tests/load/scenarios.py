"""The list of scenarios, which k6.js and locustfile.py read too, and what is held against each. Pure."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LIST = Path(__file__).parent / "scenarios.json"
# Only who has started everything can tell them: k6 and locust see answers alone.
OF_THE_RUNNER = frozenset({"memory_limit", "redis_mb", "redis_cores", "redis_clients"})


@dataclass(frozen=True, slots=True)
class Threshold:
    """A bound on one figure; one that was never measured is broken."""

    figure: str
    bound: float
    least: bool = False  # the bound is what is wanted at least, not at most

    def holds(self, figures: Mapping[str, float]) -> bool:
        value = figures.get(self.figure)
        if value is None:
            return False
        return value >= self.bound if self.least else value <= self.bound

    def __str__(self) -> str:
        return f"{self.figure} {'>=' if self.least else '<='} {self.bound:g}"


@dataclass(frozen=True, slots=True)
class Scenario:
    """So many clients ask for so long (seconds), each again as soon as it is answered. `memory`: entries of that tier;
    0 is the default. `skew`: of Zipf's law over the paths; 0 asks for all alike. `workers`: of the one gateway, one
    number after the other, with so many clients for each worker. `runner`: it is for `make load` alone."""

    name: str
    title: str
    clients: int
    seconds: float
    thresholds: tuple[Threshold, ...]
    paths: int = 0
    skew: float = 0.0
    instances: int = 1
    redis: bool = False
    memory: int = 0
    workers: tuple[int, ...] = ()
    runner: bool = False

    def broken(self, figures: Mapping[str, float], excused: Collection[str] = ()) -> list[str]:
        """Each bound that was not kept, with what was measured; but for figures that cannot be told here."""
        return [
            f"{self.name}: {each}, but it is {told(figures.get(each.figure))}"
            for each in self.thresholds
            if each.figure not in excused and not each.holds(figures)
        ]

    @property
    def connections(self) -> int:
        """The most that are open at once."""
        return self.clients * max(self.workers, default=1)


def told(value: float | None) -> str:
    return "not measured" if value is None else f"{value:,.0f}" if abs(value) >= 100 else f"{value:.4g}"


def scenarios(text: str | None = None) -> tuple[Scenario, ...]:
    """In the order of the list."""
    return tuple(map(_scenario, json.loads(text or LIST.read_text())["scenarios"]))


def _scenario(data: dict[str, Any]) -> Scenario:
    thresholds = tuple(
        Threshold(figure, bound, sign == "least")
        for figure, bounds in data["thresholds"].items()
        for sign, bound in bounds.items()
    )
    return Scenario(**{**data, "thresholds": thresholds, "workers": tuple(data.get("workers", ()))})


HOST: str = json.loads(LIST.read_text())["host"]  # what all ask for, wherever it listens: the host is part of the key
