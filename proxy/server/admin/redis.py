"""What is told of Redis by a gateway that runs without it."""

from proxy.message import Reply
from proxy.server.admin.pages import AdminError, Ask, Page, json_reply
from proxy.server.admin.rights import Level

_OFF = "redis-off"
_TEXT = "Redis is not in use here; answers are kept in memory and files."


def no_redis_pages() -> tuple[Page, ...]:
    """The Redis pages where redis.enabled is false."""

    async def health(ask: Ask) -> Reply:
        return json_reply({"status": "disabled", "latency": 0, "connected": False, "memory": "0B", "keys": 0})

    async def refuse(ask: Ask) -> Reply:
        raise AdminError(503, _OFF, _TEXT)

    return (
        Page("GET", "/redis/health", Level.GLANCE, health),
        Page("GET", "/redis/ping", Level.GLANCE, refuse),
        Page("GET", "/redis/info", Level.TOKEN, refuse),
        Page("DELETE", "/redis", Level.TOKEN, refuse),
    )
