"""The list of scenarios, which k6.js and locustfile.py read too, and what is held against each. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LIST = Path(__file__).parent / "scenarios.json"


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
    0 is the default. `skew`: of Zipf's law over the paths; 0 asks for all alike."""

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

    def broken(self, figures: Mapping[str, float]) -> list[str]:
        """Each bound that was not kept, with what was measured."""
        return [
            f"{self.name}: {each}, but it is {told(figures.get(each.figure))}"
            for each in self.thresholds
            if not each.holds(figures)
        ]


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
    return Scenario(**{**data, "thresholds": thresholds})


HOST: str = json.loads(LIST.read_text())["host"]  # what all ask for, wherever it listens: the host is part of the key
