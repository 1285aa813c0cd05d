"""The cases, in the order of the table. A new one is a function in one of these modules, and a line here."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench.arena import Arena
from bench.cases import day, hits, misses, pace, processes, rest, sizes, starting, tiers
from bench.figures import Line


@dataclass(frozen=True, slots=True)
class Case:
    """What `--case` names, and what measures it: a line for each thing that it tells."""

    name: str
    run: Callable[[Arena], Iterator[Line]]


CASES = (
    Case("memory_hit", hits.memory_hit),
    Case("memory_hit_identical", hits.memory_hit_identical),
    Case("forms", hits.forms),
    Case("file_hit", tiers.file_hit),
    Case("redis_hit", tiers.redis_hit),
    Case("miss_memory", misses.miss_memory),
    Case("miss_file", misses.miss_file),
    Case("large", misses.large),
    Case("p99", pace.p99),
    Case("rules", sizes.rules),
    Case("entries", sizes.entries),
    Case("start", starting.start),
    Case("tier_latency", tiers.tier_latency),
    Case("slow_origin", pace.slow_origin),
    Case("hit_ratios", day.hit_ratios),
    Case("compression", rest.compression),
    Case("saved", day.saved),
    Case("workers", processes.workers),
    Case("observed", processes.observed),
    Case("connections", sizes.connections),
)
