"""What there is in Redis, asked rarely and in the background: counting keys and INFO cost more than a page may wait."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import RedisCluster

from proxy.redis.errors import RedisError, translated
from proxy.redis.keys import Names
from proxy.redis.server import Server
from proxy.tasks import end

FRESH = 2.0  # seconds that what was seen is good enough
FEW = 8  # keys that tell that a beginning is not enough
STEP = 5_000  # keys that Redis looks at in one go, of which next to none is sent
SECONDS = 2.0
REST = 10.0  # times as long as a look took nobody looks again
_COUNTS = ("clients", "memory", "stats")  # sections that can be added up
_ONES_OWN = ("_human", "_time")  # endings of what says nothing of several
_SECRET = ("pass", "auth", "user", "secret", "executable", "config_file")


@dataclass(frozen=True, slots=True)
class Seen:
    """`keys` are our entries; the rest is the server's own, in bytes, added up over a cluster's primaries."""

    keys: int = 0
    memory: int = 0
    evictions: int = 0
    keyspace: Mapping[str, str] = field(default_factory=dict)
    max_memory: int = 0  # 0: no bound


class Census:
    """Remembers the last look. `count` counts our entries, and raises StoreError."""

    def __init__(self, server: Server, count: Callable[[], Awaitable[int]]) -> None:
        self.seen = Seen()
        self._server = server
        self._count = count
        self._looking: asyncio.Task[None] | None = None
        self._next = 0.0

    async def look(self, patience: float) -> Seen:
        """What was seen last; what is seen now where that takes no longer than `patience` seconds."""
        if self._server.usable and time.monotonic() >= self._next and self._looking is None:
            self._looking = asyncio.create_task(self._look(), name="census")
        if self._looking is not None:
            await asyncio.wait({self._looking}, timeout=patience)
        return self.seen

    async def close(self) -> None:
        if self._looking is not None:
            await end([self._looking])

    async def _look(self) -> None:
        began = time.monotonic()
        try:
            memory, keyspace = await info(self._server, "memory"), await info(self._server, "keyspace")
            stats = await info(self._server, "stats")
            self.seen = Seen(
                await self._count(),
                _number(memory.get("used_memory")),
                _number(stats.get("evicted_keys")),
                {name: _told(said) for name, said in keyspace.items()},
                _number(memory.get("maxmemory")),
            )
        except Exception as error:
            translated(error)  # the pages show the server's state; what was seen last stands until the next look
        finally:
            took = time.monotonic() - began
            self._next = time.monotonic() + max(FRESH, REST * took)
            self._looking = None


async def info(server: Server, section: str) -> dict[str, Any]:
    """A section of INFO, parsed and without secrets. Of a cluster: what its primaries count is added up and what they
    agree on stands as it is; a section that is about each node stands under its address. RedisError when Redis cannot
    say."""
    client = server.client
    try:
        if not isinstance(client, RedisCluster):
            return _public(await client.info(section))
        said = await client.info(section, target_nodes=RedisCluster.PRIMARIES)
    except Exception as error:
        raise translated(error) from error
    nodes = said if said and all(isinstance(one, dict) for one in said.values()) else {"": said}  # of one: itself
    if section == "keyspace":
        return _added_keyspace(list(nodes.values()))
    if section in _COUNTS:
        return _public(_added(list(nodes.values())))
    return {"nodes": {name: _public(one) for name, one in nodes.items()}}


async def begin_with(server: Server, names: Names, start: str) -> list[str]:
    """Some of our entries' keys that begin with these hex digits, FEW at the most, as far as they are found within
    SECONDS. RedisError when Redis cannot say."""
    found: dict[str, None] = {}
    words = ("MATCH", names.entries_beginning(start), "COUNT", STEP)
    with suppress(TimeoutError):
        async with asyncio.timeout(SECONDS):
            for primary in server.masters():
                cursor = 0
                while len(found) < FEW:
                    try:
                        cursor, keys = await primary.execute_command("SCAN", cursor, *words)
                    except Exception as error:
                        raise translated(error) from error
                    found |= dict.fromkeys(ours.name for key in keys if (ours := names.parse_entry(key)) is not None)
                    if not cursor:
                        break
    return list(found)[:FEW]


async def ping(server: Server) -> float:
    """Seconds until the answer; RedisError without one."""
    began = time.monotonic()
    await server.call("PING")
    return time.monotonic() - began


def _public(said: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in said.items() if not any(word in name.lower() for word in _SECRET)}


def _added(nodes: list[Mapping[str, Any]]) -> dict[str, Any]:
    """The sums of whole numbers, and what else is the same everywhere: of texts and shares there is no sum."""
    added: dict[str, Any] = {}
    for name, value in nodes[0].items():
        if len(nodes) > 1 and name.endswith(_ONES_OWN):
            continue
        values = [node.get(name) for node in nodes]
        if all(isinstance(each, int) for each in values):
            added[name] = sum(values)
        elif all(each == value for each in values):
            added[name] = value
    return added


def _added_keyspace(nodes: list[Mapping[str, Any]]) -> dict[str, Any]:
    added: dict[str, dict[str, int]] = {}
    for node in nodes:
        for db, counts in node.items():
            place = added.setdefault(db, {"keys": 0, "expires": 0})
            for name in place:
                place[name] += _number(counts.get(name))
    return dict(added)


def _told(said: Any) -> str:
    """`keys=8934,expires=5621`"""
    if not isinstance(said, Mapping):
        return str(said)
    return f"keys={_number(said.get('keys'))},expires={_number(said.get('expires'))}"


def _number(value: Any) -> int:
    return value if isinstance(value, int) else 0


__all__ = ["Census", "RedisError", "Seen", "info", "ping"]
