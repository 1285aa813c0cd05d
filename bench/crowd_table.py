"""What came of a crowd, as Markdown. Pure."""

import math
import statistics
from collections.abc import Iterator, Mapping
from typing import Any

FETCH = 0.1  # seconds that the origin takes


def table(runs: list[Mapping[str, Any]], machine: Mapping[str, Any]) -> str:
    """What docs/scaling.md quotes: a column for each run."""
    lines = [
        "| | " + " | ".join(f"{run['instances']} instance{'s' * (run['instances'] > 1)}" for run in runs) + " |",
        "|---|" + "---|" * len(runs),
    ]
    for name, cell in _rows():
        lines.append(f"| {name} | " + " | ".join(cell(run) for run in runs) + " |")
    where = f"{machine['when']}, commit {machine['commit']}, {machine['cpu']}, Redis {machine['redis']}."
    return "\n".join([*lines, "", where, ""])


def _rows() -> Iterator[tuple[str, Any]]:
    def each(spent: Mapping[str, Any], over: float, of: str) -> float:
        return float(spent[of]) / over

    yield "connections to Redis", lambda run: f"{run['connections']:,}"
    yield "memory of Redis before anything is stored", lambda run: f"{run['memory'] / 1e6:.1f} MB"
    yield "at rest: calls a second", lambda run: f"{each(run['idle'], run['idle_seconds'], 'calls'):,.0f}"
    yield "at rest: CPU of Redis", lambda run: f"{100 * each(run['idle'], run['idle_seconds'], 'cpu'):.1f} %"
    yield "at rest: on the wire", lambda run: f"{each(run['idle'], run['idle_seconds'], 'bytes') / 1e3:,.0f} KB/s"
    yield "all want one missing key: fetches for each key", lambda run: f"{run['fetches'] / run['keys']:g}"
    yield (
        f"until the last of them has it (the origin takes {FETCH:g} s)",
        lambda run: f"{statistics.median(run['taken']):.2f} s",
    )
    yield (
        "calls of Redis for it, each instance",
        lambda run: f"{each(run['coalescing'], run['keys'] * run['instances'], 'calls'):.1f}",
    )
    yield "a purge until all have applied it, median", lambda run: f"{1000 * statistics.median(run['applied']):.0f} ms"
    yield "the slowest of a hundred", lambda run: f"{1000 * quantile(run['applied'], 0.99):.0f} ms"
    yield (
        "calls of Redis for a purge, each instance",
        lambda run: f"{each(run['purging'], run['purges'] * run['instances'], 'calls'):.1f}",
    )
    yield (
        "a storm of purges at once, until all have applied all",
        lambda run: f"{run['storm']:,}: {run['storm_seconds']:.1f} s",
    )
    yield (
        "one more joins: until it has read all purges, and all know of it",
        lambda run: f"{run['joined_seconds']:.2f} s",
    )


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, math.ceil(share * len(values)) - 1)]
