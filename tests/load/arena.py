"""What a scenario runs against: an upstream that counts, instances of the program, and Redis between them."""

import asyncio
import resource
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from time import time
from typing import Any

from tests.load.scenarios import Scenario
from tests.support.origin import Origin, Reader, Recorded, Said, Writer, render
from tests.support.process import Process, instances, serving
from tests.support.redis_servers import RedisServer, redis_server

SLOW = 0.2  # seconds that the upstream takes for what is under /slow/: everybody has asked before it answers
SPARE = 600  # descriptors beside those of connections: files, Redis, the upstream
MEMORY_LIMIT = 512 * 2**20  # bytes that a gateway may take, with all its workers: `memory.limit`
_FIELDS = (("Content-Type", "application/json"), ("Cache-Control", "max-age=3600"))
_TEXT = "x" * 900


class Upstream:
    """Counts what it is asked for, and says when it made each answer: nothing older may come after a purge."""

    def __init__(self, origin: Origin) -> None:
        self.calls: Counter[str] = Counter()
        origin.instead = self._chosen
        self._origin = origin

    def _chosen(self, request: Recorded) -> Said:
        self.calls[request.target] += 1
        self._origin.requests.clear()  # what is kept of a request is its count
        return self._slowly if request.path.startswith("/slow/") else _answer

    async def _slowly(self, request: Recorded, reader: Reader, writer: Writer) -> None:
        await asyncio.sleep(SLOW)
        writer.write(_answer(request))
        await writer.drain()


def _answer(request: Recorded) -> bytes:
    fields = [*_FIELDS, ("X-Made", f"{time():.6f}")]
    return render(request, 200, fields, body(request.target), chunked=False, close=False)


def body(target: str) -> bytes:
    """What the upstream answers there: a little less than 1 KB of JSON."""
    return f'{{"target":"{target}","text":"{_TEXT}"}}'.encode()


@dataclass(frozen=True, slots=True)
class Arena:
    scenario: Scenario
    upstream: Upstream
    gateways: list[Process]
    redis: RedisServer | None

    @property
    def ports(self) -> list[int]:
        return [gateway.port for gateway in self.gateways]


@asynccontextmanager
async def arena(scenario: Scenario, workers: int = 1) -> AsyncIterator[Arena]:
    """All of it ends with the block. `workers`: of each gateway."""
    async with AsyncExitStack() as stack:
        origin = await stack.enter_async_context(Origin())
        upstream = Upstream(origin)
        if not scenario.redis:
            gateways = [await stack.enter_async_context(serving(origin, _settings(scenario, workers)))]
            yield Arena(scenario, upstream, gateways, None)
            return
        redis = await stack.enter_async_context(redis_server())
        gateways = await stack.enter_async_context(
            instances(scenario.instances, origin, _settings(scenario, workers), redis.url)
        )
        yield Arena(scenario, upstream, gateways, redis)


def _settings(scenario: Scenario, workers: int) -> dict[str, Any]:
    """Defaults, but for what would keep so many clients out or answer where another tier is asked for."""
    return {
        "listen": {"workers": workers},
        "memory": {"limit": MEMORY_LIMIT} | ({"max_entries": scenario.memory} if scenario.memory else {}),
        "file": {"enabled": not scenario.redis},
        "limits": {"connections": scenario.clients + SPARE},
        "timeouts": {"keep_alive": 600},  # on a busy machine the first waits for the last one to be opened
        "log": {"access": False},
    }


def descriptors(wanted: int) -> str:
    """Raise the bound of open files of this process, and with it of what it starts; else what to do about it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= wanted:
        return ""
    for most in (max(hard, wanted), hard):  # whoever may raise the hard bound, does
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, most), most))
        except (ValueError, OSError):
            continue
        if min(wanted, most) >= wanted:
            return ""
    return f"{wanted} open files are wanted, and {hard} allowed: `ulimit -Hn {wanted}` as root, or CASE=… without these"
