"""How much of everything some traffic wants, reckoned from what was measured. Pure.

What was measured are the last whole bench (`bench/results/latest.json`), the last crowd (`bench/results/crowd.json`)
and the sample of the load suite (`tests/load/results/sample.json`). Every formula stands here, and nowhere else.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from math import ceil, inf
from typing import Any

BUSY = 0.5  # share of a core that is planned for: the rest is for bursts, restarts and what nobody thought of
US = 1e-6


@dataclass(frozen=True, slots=True)
class Peer:
    """What it costs so many instances to be one over a Redis, everything together. Each a second, but for what a purge
    costs: `*_each`. Bytes are those on the wire of Redis, CPU is Redis's own, in seconds."""

    members: int
    calls: float
    cpu: float
    bytes: float
    cpu_each: float
    bytes_each: float
    memory: float  # bytes of Redis
    connections: float


_COSTS = [each.name for each in fields(Peer) if each.name != "members"]
_EACH_OTHER = {"cpu", "bytes", "cpu_each", "bytes_each"}


@dataclass(frozen=True, slots=True)
class Measured:
    """`us_*`: microseconds of the gateway's CPU for each answer, `redis_us_*`: of Redis's. Memory in bytes."""

    us_memory: float
    us_file: float
    us_redis: float
    us_miss: float
    us_miss_file: float
    us_miss_redis: float
    us_plain: float  # a hit by the way that the fast lane spares
    us_logged: float  # a hit with a line of log, beside `us_unlogged` in the same rounds
    us_unlogged: float
    us_thousand_rules: float  # a hit with 1,000 rules, beside `us_ten_rules`
    us_ten_rules: float
    us_many: float  # a hit among many entries, beside `us_few`
    us_few: float
    us_two_workers: float  # a hit with two workers, beside `us_one_worker`
    us_one_worker: float
    rate: float  # hits from memory a second of one worker on a core of its own
    entry: float  # of an entry in memory, beyond its bytes
    connection: float  # of an open one, the dearest that was measured
    connection_least: float
    process: float  # with nothing in it
    start: float  # seconds to the first answer
    packed: float  # what zstd leaves of JSON
    redis_around: float  # of an answer in Redis, beyond its body
    redis_us_hit: float
    redis_us_miss: float
    redis_connections: float  # of an instance
    record: float  # bytes of Redis for a purge in the journal
    crowd: tuple[Peer, ...]

    def among(self, members: float) -> Peer:
        """Of so many: by a straight line between those that were measured. Beyond the last, what each costs the others
        (bytes, CPU) grows with the square of their number."""
        known, last = self.crowd, self.crowd[-1]
        if members > last.members:
            more = members / last.members
            grown = {name: getattr(last, name) * more ** (2 if name in _EACH_OTHER else 1) for name in _COSTS}
            return Peer(members=ceil(members), **grown)
        place = next(place for place, each in enumerate(known) if each.members >= members)
        low, high = known[max(place - 1, 0)], known[max(place, 1)]
        share = (members - low.members) / (high.members - low.members)
        between = {name: getattr(low, name) + share * (getattr(high, name) - getattr(low, name)) for name in _COSTS}
        return Peer(members=ceil(members), **between)


def measured(bench: Mapping[str, Any], crowd: Mapping[str, Any], load: Mapping[str, Any]) -> Measured:
    """Out of the three files. KeyError or StopIteration: they do not hold it."""

    def of(case: str, title: str = "", who: str = "Cachegate") -> float:
        line = next(each for each in bench["lines"] if each["case"] == case and each["title"].startswith(title))
        return float(next(each["median"] for each in line["figures"] if each["who"] == who))

    scenarios = {each["name"]: each for each in load["scenarios"]}
    share = scenarios["redis_share"]["figures"]
    connections = [
        float(each["figures"][0]["median"])
        for each in bench["lines"]
        if each["case"] == "connections" and each["unit"] == "KB"
    ]
    return Measured(
        us_memory=of("memory_hit"),
        us_file=of("file_hit"),
        us_redis=of("redis_hit"),
        us_miss=of("miss_memory"),
        us_miss_file=of("miss_file"),
        us_miss_redis=share["gateway_us_miss"],
        us_plain=of("memory_hit", who="lane off"),
        us_logged=of("observed"),
        us_unlogged=of("observed", who="unwatched"),
        us_thousand_rules=of("rules"),
        us_ten_rules=of("rules", who="10 rules"),
        us_many=of("entries", "memory hit"),
        us_few=of("entries", "memory hit", "1,000 entries"),
        us_two_workers=of("workers", "memory hit with 2 workers, CPU"),
        us_one_worker=of("workers", "memory hit with 2 workers, CPU", "one worker"),
        rate=of("workers", "memory hit with 2 workers, rate", "one worker"),
        entry=of("entries", "memory per entry") * 1e3,
        connection=max(connections) * 1e3,
        connection_least=min(connections) * 1e3,
        process=next(each["first_mb"] for each in scenarios["hit"]["watched"] if each["who"] == "gateway 1") * 1e6,
        start=of("start"),
        packed=of("compression") / of("compression", who="uncompressed"),
        redis_around=share["redis_bytes_per_key"] - share["body_bytes"],
        redis_us_hit=share["redis_us_hit"],
        redis_us_miss=share["redis_us_miss"],
        redis_connections=max(
            each["figures"]["redis_clients"] / each["instances"] for each in scenarios.values() if each["redis"]
        ),
        record=crowd["runs"][-1]["record"],
        crowd=tuple(_peer(run) for run in crowd["runs"]),
    )


def _peer(run: Mapping[str, Any]) -> Peer:
    idle, seconds, purging = run["idle"], run["idle_seconds"], run["purging"]
    return Peer(
        members=run["instances"],
        calls=idle["calls"] / seconds,
        cpu=idle["cpu"] / seconds,
        bytes=idle["bytes"] / seconds,
        cpu_each=purging["cpu"] / run["purges"],
        bytes_each=purging["bytes"] / run["purges"],
        memory=run["memory"],
        connections=run["connections"],
    )


# -- a plan ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wanted:
    """The traffic of all machines together. `memory` and `redis` are the shares of the requests that those answer; what
    is left is a miss. `body` in bytes, `packed` is what compression leaves of it, `entries` are all answers that are
    worth keeping, `purges` are a second."""

    rate: float = 5_000
    machines: int = 8
    memory: float = 0.85
    redis: float = 0.05
    entries: int = 1_000_000
    body: float = 4_000
    packed: float | None = None  # None: as JSON of the bench
    connections: int = 10_000
    purges: float = 10
    cores: int = 2  # of each machine
    near_entries: int = 20_000  # memory.max_entries and memory.max_bytes, of each instance
    near_bytes: int = 256 * 2**20
    records: int = 100_000  # journal.records
    node: float = 4e9  # bytes that a node of Redis may hold

    @property
    def misses(self) -> float:
        """Their share."""
        return 1 - self.memory - self.redis


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a plan: what, how it was reckoned with the numbers in it, and what came of it."""

    what: str
    how: str
    so: str


@dataclass(frozen=True, slots=True)
class Plan:
    steps: tuple[Step, ...]
    workers: int  # of each machine
    enough: bool  # for the cores that there are, with one machine away
    nodes: int  # primaries of Redis


# The least that makes sense of each number; `memory` and `redis` are held against each other.
_LEAST = {
    **dict.fromkeys((each.name for each in fields(Wanted) if each.name not in ("memory", "redis")), 1),
    "connections": 0,
    "purges": 0,
}


def plan(found: Measured, wanted: Wanted) -> Plan:
    """Line by line, each with the numbers that went into it. ValueError: shares that are none, or a number that no
    traffic has."""
    for name, least in _LEAST.items():
        value = getattr(wanted, name)
        if value is not None and not least <= value < inf:
            raise ValueError(f"{name} wants {least:g} or more, found {value:g}")
    if wanted.misses < -1e-9 or min(wanted.memory, wanted.redis) < 0:
        raise ValueError(f"{wanted.memory:g} from memory and {wanted.redis:g} from Redis are more than all requests")
    hits, far, misses = wanted.rate * wanted.memory, wanted.rate * wanted.redis, wanted.rate * wanted.misses
    log = found.us_logged - found.us_unlogged
    used = (hits * found.us_memory + far * found.us_redis + misses * found.us_miss_redis + wanted.rate * log) * US
    left = max(wanted.machines - 1, 1)
    least = ceil(used / wanted.cores / BUSY) + 1
    each = used / left / BUSY
    workers = max(1, ceil(each))
    members = wanted.machines * workers
    processes = workers + 1 if workers > 1 else 1
    peer = found.among(members)
    cpu = (far * found.redis_us_hit + misses * found.redis_us_miss) * US + peer.cpu + wanted.purges * peer.cpu_each
    packed = found.packed if wanted.packed is None else wanted.packed
    kept = wanted.body * packed + found.redis_around
    near = min(wanted.near_bytes, wanted.near_entries * wanted.body)
    resident = (
        processes * found.process
        + near
        + wanted.near_entries * found.entry
        + wanted.connections / left * found.connection
    )
    journal = wanted.records * found.record
    memory = wanted.entries * kept + peer.memory + journal
    wire = wanted.purges * peer.bytes_each + peer.bytes
    nodes = max(ceil(cpu / BUSY), ceil(memory / wanted.node))
    steps = (
        Step(
            "CPU of all gateways",
            f"{number(hits)}/s × {number(found.us_memory)} µs + {number(far)}/s × {number(found.us_redis)} µs"
            f" + {number(misses)}/s × {number(found.us_miss_redis)} µs"
            f" + {number(wanted.rate)}/s × {number(log)} µs for the log",
            f"{number(used)} cores",
        ),
        Step(
            f"of each, one of {wanted.machines} away, cores half busy",
            f"{number(used)} / {left} / {BUSY:g}",
            f"{number(each)} cores: {workers} worker{'s' * (workers > 1)}",
        ),
        Step(
            f"machines of {wanted.cores} cores that would do, one of them to spare",
            f"{number(used)} / {wanted.cores} / {BUSY:g}, and one",
            str(least),
        ),
        Step("calls upstream, at most", f"{number(wanted.rate)}/s × {number(wanted.misses)}", f"{number(misses)}/s"),
        Step(
            "answers to clients, of each machine",
            f"{number(wanted.rate)}/s × {size(wanted.body)} / {left}",
            f"{size(wanted.rate * wanted.body / left)}/s",
        ),
        Step(
            "memory of each gateway",
            f"{processes} process{'es' * (processes > 1)} × {size(found.process)}"
            f" + {size(near)} of bodies + {wanted.near_entries:,} entries × {size(found.entry)}"
            f" + {number(wanted.connections / left)} connections × {size(found.connection)}",
            size(resident),
        ),
        Step(
            "an answer in Redis",
            f"{size(wanted.body)} × {number(packed)} + {size(found.redis_around)} around it",
            size(kept),
        ),
        Step(
            "memory of Redis",
            f"{wanted.entries:,} answers × {size(kept)} + {size(peer.memory)} for {members} members"
            f" + {wanted.records:,} purges × {size(found.record)}",
            size(memory),
        ),
        Step(
            "CPU of Redis",
            f"{number(far)}/s × {number(found.redis_us_hit)} µs + {number(misses)}/s × {number(found.redis_us_miss)} µs"
            f" + {number(100 * peer.cpu)} % at rest + {number(wanted.purges)}/s × {number(1e6 * peer.cpu_each)} µs",
            f"{number(100 * cpu)} % of a core",
        ),
        Step(
            "answers on the wire of Redis",
            f"({number(far)}/s + {number(misses)}/s) × {size(kept)}",
            f"{size((far + misses) * kept)}/s",
        ),
        Step(
            "the journal on the wire of Redis",
            f"{number(wanted.purges)} purges/s × {size(peer.bytes_each)} + {size(peer.bytes)}/s at rest",
            f"{size(wire)}/s",
        ),
        Step(
            "connections to Redis",
            f"{members} members × {number(found.redis_connections)}",
            number(ceil(members * found.redis_connections)),
        ),
        Step(
            "nodes of Redis",
            f"the more of {number(100 * cpu)} % / {100 * BUSY:.0f} % and {size(memory)} / {size(wanted.node)}",
            "one, with a replica" if nodes == 1 else f"a Cluster of {max(nodes, 3)}, each with a replica",
        ),
    )
    return Plan(steps, workers, each <= wanted.cores, nodes)


def tabled(head: Sequence[str], rows: Iterator[Sequence[str]] | Sequence[Sequence[str]]) -> str:
    """A table of Markdown."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *lines])


def number(value: float) -> str:
    """Three digits that mean something, and all those before the point."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def size(value: float) -> str:
    """Bytes, by thousands."""
    for name in ("bytes", "KB", "MB"):
        if abs(value) < 1000:
            return f"{number(value)} {name}"
        value /= 1000
    return f"{number(value)} GB"
