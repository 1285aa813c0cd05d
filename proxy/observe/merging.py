"""How several processes stand, as one instance."""

from collections.abc import Iterable, Sequence

from proxy.observe.figures import (
    BREAKER_STATES,
    FILES,
    Figures,
    Pressure,
    RedisFigures,
    ReplicaFigures,
    ServiceFigures,
    TierFigures,
)
from proxy.outcome import Tier
from proxy.policy.pressure import Level

_STATES = ("ready", "connecting", "degraded", "closed")
_LEVELS = tuple(Level)


def merged(parts: Sequence[Figures]) -> Figures:
    """Memory and workers add up, and all are under pressure when one is. Of the file tier one process alone knows the
    size, and the others tell zeros; Redis is the same for all who see it. Of a service the worst is told that any of
    them sees."""
    names = dict.fromkeys(name for part in parts for name in part.services)
    services = {name: _service([part.services[name] for part in parts if name in part.services]) for name in names}
    files = tuple(name for part in parts for name in part.files)[:FILES]
    tiers = {tier: _tier(tier, [part.tiers[tier] for part in parts if tier in part.tiers]) for tier in _tiers(parts)}
    redis = [part.redis for part in parts if part.redis is not None]
    return Figures(
        tiers,
        files,
        services,
        _redis(redis) if redis else None,
        sum(part.workers for part in parts),
        sum(part.parts for part in parts),
        sum(part.part_bytes for part in parts),
        _pressure([part.pressure for part in parts]),
        all(part.durable for part in parts),
    )


def _tiers(parts: Iterable[Figures]) -> list[Tier]:
    return [tier for tier in Tier if any(tier in part.tiers for part in parts)]


def _tier(tier: Tier, parts: Sequence[TierFigures]) -> TierFigures:
    shared = tier is not Tier.MEMORY
    return TierFigures(
        (max if tier is Tier.REDIS else sum)(part.entries for part in parts),
        (max if tier is Tier.REDIS else sum)(part.bytes for part in parts),
        (max if shared else sum)(part.max_bytes for part in parts),
        (max if tier is Tier.REDIS else sum)(part.evictions for part in parts),
        next((part.off for part in parts if part.off), ""),
    )


def _service(parts: Sequence[ServiceFigures]) -> ServiceFigures:
    worst = max(parts, key=lambda part: BREAKER_STATES.index(part.breaker))
    names = dict.fromkeys(replica.name for part in parts for replica in part.replicas)
    known = [replica for part in parts for replica in part.replicas]
    replicas = (_replica([replica for replica in known if replica.name == name]) for name in names)
    return ServiceFigures(worst.breaker, worst.cause, tuple(replicas))


def _replica(parts: Sequence[ReplicaFigures]) -> ReplicaFigures:
    return ReplicaFigures(
        parts[0].name,
        all(part.up for part in parts),
        sum(part.in_flight for part in parts),
        sum(part.requests for part in parts),
        sum(part.errors for part in parts),
        sum(part.checks for part in parts),
    )


def _pressure(parts: Sequence[Pressure]) -> Pressure:
    return Pressure(
        sum(part.used for part in parts),
        sum(part.limit for part in parts),
        sum(part.room for part in parts),
        max((part.level for part in parts), key=_LEVELS.index, default=Level.CALM),
    )


def _redis(parts: Sequence[RedisFigures]) -> RedisFigures:
    worst = max(parts, key=lambda part: _STATES.index(part.state))
    return RedisFigures(
        worst.state,
        all(part.connected for part in parts),
        worst.reason,
        max(part.latency for part in parts),
        max(part.keys for part in parts),
        max(part.memory for part in parts),
        max((part.keyspace for part in parts), key=len),
        sum(part.errors for part in parts),
        max(part.evictions for part in parts),
        max(part.max_memory for part in parts),
    )
