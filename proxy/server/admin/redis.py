"""The Redis pages: is it well, how fast does it answer, what does it say of itself, and empty it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from proxy.errors import StoreError
from proxy.message import Reply
from proxy.observe.figures import RedisFigures, Take
from proxy.observe.sizes import spoken
from proxy.server.admin.clearing import Cleared, Clearing
from proxy.server.admin.pages import AdminError, Ask, Page, json_reply
from proxy.server.admin.rights import Grant, Level
from proxy.server.admin.stats import build

SLOW = 0.1  # seconds of an answer that make it degraded
PATIENCE = 0.8  # seconds: the health page answers in under one, whatever Redis does
_SECTIONS = ("server", "clients", "memory", "persistence", "stats", "replication", "cpu", "cluster", "keyspace")
_OFF = "redis-off"
_TEXT = "Redis is not in use here; answers are kept in memory and files."


class Redis(Protocol):
    """Redis, as the pages see it. What it cannot do is a StoreError."""

    async def figures(self, patience: float) -> RedisFigures:
        """How it stands; counts may be older when they take longer than `patience` seconds."""
        ...

    async def ping(self) -> float:
        """Seconds until it answered."""
        ...

    async def info(self, section: str) -> dict[str, object]:
        """A section of INFO without secrets."""
        ...

    async def clear(self, pattern: str | None) -> int:
        """Remove our entries, or those whose path fits a glob; how many went. ValueError for a glob that is none."""
        ...


Health = Callable[[], Awaitable[tuple[dict[str, object], int]]]


def health_of(redis: Redis | None) -> Health:
    """What gives the health document, and its status; None where Redis is not in use."""

    async def health() -> tuple[dict[str, object], int]:
        if redis is None:
            return {"status": "disabled", "latency": 0, "connected": False, "memory": "0B", "keys": 0}, 200
        try:
            async with asyncio.timeout(PATIENCE):
                latency: float | None = await redis.ping()
        except (StoreError, TimeoutError):
            latency = None
        now = await redis.figures(0.1)
        status = _status(now, latency)
        document = {
            "status": status,
            "latency": round((latency or 0.0) * 1000, 3),
            "connected": now.connected and latency is not None,
            "memory": spoken(now.memory),
            "keys": now.keys,
        }
        reason = now.reason or ("no answer" if latency is None else "")
        return document | ({"reason": reason} if reason else {}), 503 if status == "unhealthy" else 200

    return health


def redis_report_page(
    health: Health, take: Take, *, started: float, timer: Callable[[], float] = time.monotonic
) -> Page:
    """Health, statistics and how fast requests are answered, at one go; `started` by `timer`, in seconds."""

    async def report(ask: Ask) -> Reply:
        said, status = await health()
        counters, figures = await take()
        stats = build(counters, figures, timer() - started, names=ask.grant is Grant.FULL)
        average = counters.response_time.summary()["avg"]
        return json_reply({**said, "stats": stats, "averageResponseTime": average}, status)

    return Page("GET", "/redis/report", Level.GLANCE, report, None)


def redis_pages(redis: Redis) -> tuple[Page, ...]:
    """What stands under /redis."""

    async def cleared(pattern: str | None) -> Cleared:
        return Cleared(await redis.clear(pattern))

    clearing, health_now = Clearing("Redis", cleared), health_of(redis)

    async def health(ask: Ask) -> Reply:
        return json_reply(*await health_now())

    async def ping(ask: Ask) -> Reply:
        try:
            async with asyncio.timeout(PATIENCE):
                latency = await redis.ping()
        except (StoreError, TimeoutError) as error:
            raise _away(error) from None
        return json_reply({"pong": True, "latency_ms": round(latency * 1000, 3)})

    async def info(ask: Ask) -> Reply:
        section = ask.query.get("section", "memory").lower()
        if section not in _SECTIONS:
            raise AdminError(400, "bad-section", f"section: wanted one of {', '.join(_SECTIONS)}.")
        try:
            async with asyncio.timeout(PATIENCE):
                return json_reply(await redis.info(section))
        except (StoreError, TimeoutError) as error:
            raise _away(error) from None

    async def clear(ask: Ask) -> Reply:
        try:
            return await clearing(ask)
        except ValueError as error:
            raise AdminError(400, "bad-pattern", str(error)) from None
        except StoreError as error:
            raise _away(error) from None

    return (
        Page("GET", "/redis/health", Level.GLANCE, health, None),
        Page("GET", "/redis/ping", Level.GLANCE, ping, None),
        Page("GET", "/redis/info", Level.TOKEN, info, ("section",)),
        Page("DELETE", "/redis", Level.TOKEN, clear, ("pattern",)),
    )


def no_redis_pages() -> tuple[Page, ...]:
    """The Redis pages where redis.enabled is false."""

    disabled = health_of(None)

    async def health(ask: Ask) -> Reply:
        return json_reply(*await disabled())

    async def refuse(ask: Ask) -> Reply:
        raise AdminError(503, _OFF, _TEXT)

    return (
        Page("GET", "/redis/health", Level.GLANCE, health, None),
        Page("GET", "/redis/ping", Level.GLANCE, refuse, None),
        Page("GET", "/redis/info", Level.TOKEN, refuse, ("section",)),
        Page("DELETE", "/redis", Level.TOKEN, refuse, ("pattern",)),
    )


def _status(now: RedisFigures, latency: float | None) -> str:
    """Usable, but slow or not writable, is degraded; so is what answers while we are still catching up."""
    if latency is None:
        return "unhealthy"
    return "healthy" if now.state == "ready" and now.connected and latency < SLOW else "degraded"


def _away(error: Exception) -> AdminError:
    return AdminError(503, "redis-away", f"Redis cannot be asked: {error or 'no answer in time'}.")
