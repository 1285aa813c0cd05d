"""Hits from the tiers beyond memory, and how long each tier takes to answer within the server."""

import math
import re
from collections.abc import Iterator
from contextlib import ExitStack

from prometheus_client.parser import text_string_to_metric_families

from bench.arena import Arena, Contender, Start, gateway
from bench.figures import Figure, Line, at_most
from bench.heads import each_path, varied
from bench.load import Load
from bench.pacer import paced
from bench.peers import nginx
from bench.peers.cachegate import FILES, MEMORY, NAME, NO_FILES, NO_MEMORY, page
from bench.programs import Missing
from bench.redis import redis

RATE = 200.0  # requests a second while the latency of a tier is told: nobody waits for another
TIMED = {**MEMORY, "observe": {"server_timing": True}}
_CALM = 1.0  # seconds of it are enough: every lookup counts by itself
Buckets = dict[float, float]  # how many were at most so many seconds


def file_hit(arena: Arena) -> Iterator[Line]:
    load = Load(varied(size="4k"))
    with ExitStack() as stack:
        starts = {NAME: gateway(FILES), nginx.NAME: nginx.nginx}
        figures = arena.contest(
            [arena.enter(stack, name, start, load, each_path("4k")) for name, start in starts.items()]
        )
    goals = (at_most(1.2, nginx.NAME),)
    yield Line("file_hit", "file hit, warm page cache, 4 KB, memory tier off", "µs", figures, goals)


def redis_hit(arena: Arena) -> Iterator[Line]:
    title, goals = "Redis hit, memory tier off", (at_most(55),)
    with ExitStack() as stack:
        try:
            start = _over_redis(arena, stack)
        except Missing as missing:
            yield Line("redis_hit", title, "µs", (Figure(NAME, problem=str(missing)),), goals)
            return
        figures = arena.contest([arena.enter(stack, NAME, start, Load(varied()), each_path())])
    yield Line("redis_hit", title, "µs", figures, goals, "the CPU of Redis itself is not in it")


def tier_latency(arena: Arena) -> Iterator[Line]:
    """p50 and p99 of lookups, as the gateway tells them, under a calm load."""
    for tier, bound in (("memory", 0.05), ("redis", 1.0), ("file", 1.0)):
        with ExitStack() as stack:
            try:
                start = {"memory": gateway(TIMED), "file": gateway(FILES)}.get(tier) or _over_redis(arena, stack)
                us = arena.enter(stack, NAME, start, Load(varied()), each_path())
                p50, p99 = (_as_told if tier == "memory" else _within_the_server)(arena, us, tier)
            except Missing as missing:
                p50 = p99 = Figure(NAME, problem=str(missing))
        where = "each answer's Server-Timing" if tier == "memory" else "the gateway's own buckets"
        note = f"at {RATE:.0f} requests a second, from {where}"
        yield Line("tier_latency", f"lookup in {tier} within the server, p50", "ms", (p50,), (), note)
        yield Line("tier_latency", f"lookup in {tier} within the server, p99", "ms", (p99,), (at_most(bound),), note)


def _over_redis(arena: Arena, stack: ExitStack) -> Start:
    """A gateway that has Redis alone. Missing where there is no Redis."""
    server = stack.enter_context(redis(arena.directory(), arena.on))
    url = f"redis://127.0.0.1:{server.port}/0"
    return gateway({"memory": NO_MEMORY, "file": NO_FILES, "redis": {"url": url}})


def _as_told(arena: Arena, us: Contender, tier: str) -> tuple[Figure, Figure]:
    """By the field that tells clients of it, of each answer by itself."""
    assert us.server is not None
    rounds = [_durations(arena, us.server.port, tier) for _ in range(arena.plan.rounds if not us.absent else 0)]
    p50, p99 = (tuple(told[int(len(told) * share)] if told else math.nan for told in rounds) for share in (0.5, 0.99))
    return Figure(NAME, p50, us.absent), Figure(NAME, p99, us.absent)


def _durations(arena: Arena, port: int, tier: str) -> list[float]:
    """In rising order, milliseconds."""
    told: list[float] = []
    seconds = min(arena.plan.seconds, _CALM)
    paced(port, varied(), RATE, seconds, connections=8, note=lambda _, answer: told.extend(took(answer, tier)))
    return sorted(told)


def took(answer: bytes, tier: str) -> Iterator[float]:
    """The milliseconds that a lookup in this tier took, where the answer's Server-Timing tells of one."""
    found = re.search(rb"\r\nServer-Timing: .*?\b%b;dur=([0-9.]+)" % tier.encode(), answer)
    if found is not None:
        yield float(found[1])


def _within_the_server(arena: Arena, us: Contender, tier: str) -> tuple[Figure, Figure]:
    assert us.server is not None
    port, told = us.server.port, list[Buckets]()
    before = _buckets(port, tier)
    for _ in range(arena.plan.rounds if not us.absent else 0):
        paced(port, varied(), RATE, min(arena.plan.seconds, _CALM), connections=8)
        after = _buckets(port, tier)
        told.append({bound: after[bound] - before.get(bound, 0) for bound in after})
        before = after
    p50, p99 = ([within(each, share) * 1000 for each in told] for share in (0.5, 0.99))
    return Figure(NAME, tuple(p50), us.absent), Figure(NAME, tuple(p99), us.absent)


def _buckets(port: int, tier: str) -> Buckets:
    return buckets(page(port, "/metrics").body.decode(), "cachegate_tier_seconds", "tier", tier)


def buckets(text: str, name: str, label: str, value: str) -> Buckets:
    """Of one histogram on the page that Prometheus scrapes."""
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    return {
        float(sample.labels["le"]): sample.value
        for sample in samples
        if sample.name == f"{name}_bucket" and sample.labels[label] == value
    }


def within(counts: Buckets, share: float) -> float:
    """Seconds within which a share of them lies, evenly within a bucket, as Prometheus' histogram_quantile has it.
    NaN when there are none."""
    wanted, low, below = share * max(counts.values(), default=0.0), 0.0, 0.0
    for bound, count in sorted(counts.items()):
        if wanted and count >= wanted:
            return low + (bound - low) * (wanted - below) / (count - below) if bound != math.inf else low
        low, below = bound, count
    return math.nan
