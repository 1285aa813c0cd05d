"""How things stand now, as their owners say when they are asked; the counters say what has happened."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from proxy.outcome import Tier


@dataclass(frozen=True, slots=True)
class TierFigures:
    """One tier now, in entries and bytes. `off` says why it does not work, "" when it does."""

    entries: int = 0
    bytes: int = 0
    max_bytes: int = 0
    evictions: int = 0
    off: str = ""


@dataclass(frozen=True, slots=True)
class Figures:
    """The instance now. `files` are names of records, at most FILES; `breakers` map an upstream to its state."""

    tiers: Mapping[Tier, TierFigures] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    breakers: Mapping[str, str] = field(default_factory=dict)
    workers: int = 1


FILES = 100


class Measure(Protocol):
    """Takes the figures; cheap, since stats and metrics are asked for often."""

    def __call__(self) -> Figures: ...
