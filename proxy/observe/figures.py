"""How things stand now, as their owners say when they are asked; the counters say what has happened."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from proxy.observe.counters import Counters
from proxy.outcome import Tier
from proxy.policy.pressure import Level


@dataclass(frozen=True, slots=True)
class TierFigures:
    """One tier now, in entries and bytes. `off` says why it does not work, "" when it does."""

    entries: int = 0
    bytes: int = 0
    max_bytes: int = 0
    evictions: int = 0
    off: str = ""


@dataclass(frozen=True, slots=True)
class RedisFigures:
    """Redis as this instance sees it. `connected`: it is linked to the others and has caught up with their purges;
    `state` is one of STATES and `reason` says why it is not ready. Seconds and bytes; `keys` are our entries alone,
    `max_memory` is what Redis may take, 0 for no bound."""

    state: str
    connected: bool
    reason: str = ""
    latency: float = 0.0
    keys: int = 0
    memory: int = 0
    keyspace: Mapping[str, str] = field(default_factory=dict)
    errors: int = 0
    evictions: int = 0
    max_memory: int = 0


@dataclass(frozen=True, slots=True)
class Pressure:
    """The memory of the processes that serve, in bytes: `used` of `limit` (0: none, and the `level` is CALM); `room` is
    what their memory tier may hold now."""

    used: int = 0
    limit: int = 0
    room: int = 0
    level: Level = Level.CALM


BREAKER_STATES = ("closed", "half-open", "open")  # the later, the worse
STATES = ("connecting", "ready", "degraded", "closed")


@dataclass(frozen=True, slots=True)
class ReplicaFigures:
    """One of the origins behind a service. `up`: it gets calls, as far as anybody knows. `checks`: health checks, which
    are no requests."""

    name: str
    up: bool = True
    in_flight: int = 0
    requests: int = 0
    errors: int = 0
    checks: int = 0


@dataclass(frozen=True, slots=True)
class ServiceGlance:
    """A service at one moment, seen by who calls nobody. `withheld`: seconds for which its breaker lets no call
    through, None when one would be let through now; calls under way, and those that wait for a place."""

    breaker: str
    withheld: float | None = None
    in_flight: int = 0
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class ServiceFigures:
    """A service: how its breaker stands (one of BREAKER_STATES), the word of what opened it, and its replicas."""

    breaker: str = "closed"
    cause: str = ""
    replicas: tuple[ReplicaFigures, ...] = ()


@dataclass(frozen=True, slots=True)
class Figures:
    """The instance now. `files` are names of records, at most FILES; `services` are the upstreams by name; `redis` is
    None where it is not in use; `parts` and `part_bytes` are of answers held in parts; `durable`: purges outlive the
    instance."""

    tiers: Mapping[Tier, TierFigures] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    services: Mapping[str, ServiceFigures] = field(default_factory=dict)
    redis: RedisFigures | None = None
    workers: int = 1
    parts: int = 0
    part_bytes: int = 0
    pressure: Pressure = Pressure()
    durable: bool = True


FILES = 100


class Take(Protocol):
    """Takes what was counted and how things stand, of the whole instance; cheap, since it is asked for often."""

    async def __call__(self) -> tuple[Counters, Figures]: ...
