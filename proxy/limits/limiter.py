"""Who counts: Redis for all instances, and while it is away whoever the rule says."""

from dataclasses import dataclass
from typing import Literal

from proxy.limits.near import Near
from proxy.limits.redis_lua import RedisWindows
from proxy.limits.window import Quota, Standing
from proxy.redis.errors import RedisError
from proxy.rules import RateLimit

Counted = Literal["redis", "instance", "nowhere"]


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nobody counts now."""

    allowed: bool


class Limiter:
    """Counts in `redis` where there is one. What that lets through is noted near as well, so that a client whose limit
    is reached does not have it again because Redis went away."""

    def __init__(self, near: Near, redis: RedisWindows | None) -> None:
        self._near = near
        self._redis = redis

    async def take(self, key: str, rate: RateLimit) -> Standing | Unknown:
        """Use one of what `key` has left. Never raises."""
        quota = Quota.of(rate)
        if self._redis is None:
            return await self._near.take(key, quota)
        try:
            standing = await self._redis.take(key, quota)
        except RedisError:
            return await self._near.take(key, quota) if rate.on_redis_loss == "local" else _lost(rate)
        if standing.allowed:
            self._near.note(key, quota)
        return standing

    def take_at_once(self, key: str, rate: RateLimit) -> Standing | None:
        """As `take`, where nobody has to be asked for it; None, and nothing counted, where somebody has."""
        return self._near.take_at_once(key, Quota.of(rate)) if self._redis is None else None

    async def peek(self, key: str, rate: RateLimit) -> tuple[Standing | Unknown, Counted]:
        """What `key` has left, and who says so; nothing is used. Never raises."""
        quota = Quota.of(rate)
        if self._redis is not None:
            try:
                return await self._redis.peek(key, quota), "redis"
            except RedisError:
                if rate.on_redis_loss != "local":
                    return _lost(rate), "nowhere"
        return await self._near.peek(key, quota), "instance"

    def glance(self, key: str, rate: RateLimit) -> Standing | None:
        """What `key` has left, where this process knows it without asking."""
        return self._near.glance(key, Quota.of(rate)) if self._redis is None else None


def _lost(rate: RateLimit) -> Unknown:
    return Unknown(rate.on_redis_loss == "open")
