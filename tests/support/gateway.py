"""A whole gateway in this process, on a real port, with a clock that the test turns.

async with running(origin, {"rules": [{"pattern": "*", "ttl": 60}]}) as gateway:
    got = await gateway.get("/a", {"Accept": "text/plain"})
    assert (got.verdict, got.body) == ("MISS", b"hello")
"""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
from yarl import URL

from proxy.building import door_limits
from proxy.observe.logs import LineWriter
from proxy.server.gate import Gate
from proxy.settings import settings_from
from proxy.wiring import Gateway
from tests.support.origin import Origin

TOKEN = "test-token"
HOST = "site.example"


class Clock:
    """Wall time that only moves when told to."""

    def __init__(self, now: float | None = None) -> None:
        self.now = time.time() if now is None else now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@dataclass(frozen=True)
class Got:
    """An answer as a client sees it, content not decoded."""

    status: int
    pairs: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        lines = [value for key, value in self.pairs if key.lower() == name.lower()]
        return ", ".join(lines) if lines else None

    @property
    def verdict(self) -> str | None:
        return self.header("x-cache")

    @property
    def tier(self) -> str | None:
        return self.header("x-cache-tier")

    @property
    def detail(self) -> str:
        return (self.header("cache-status") or "").rpartition("detail=")[2]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Asker:
    """Asks one gateway at its `url`, wherever that runs."""

    url: str
    _session: aiohttp.ClientSession

    async def ask(self, method: str, target: str, headers: Mapping[str, str] | None = None, data: Any = None) -> Got:
        said = {"Host": HOST, **(headers or {})}  # the port is another one at each start, and part of every key
        async with self._session.request(
            method, URL(self.url + target, encoded=True), headers=said, data=data, allow_redirects=False
        ) as answer:
            body = await answer.read()
            pairs = tuple((n.decode("latin-1"), v.decode("latin-1")) for n, v in answer.raw_headers)
            return Got(answer.status, pairs, body)

    async def get(self, target: str, headers: Mapping[str, str] | None = None) -> Got:
        return await self.ask("GET", target, headers)

    async def post(self, target: str, data: Any = None, headers: Mapping[str, str] | None = None) -> Got:
        return await self.ask("POST", target, headers, data)

    async def admin(self, method: str, page: str, body: Any = None) -> Got:
        """A page under /cache, with the token."""
        data = None if body is None else json.dumps(body).encode()
        return await self.ask(method, f"/cache{page}", {"Authorization": f"Bearer {TOKEN}"}, data)

    async def purge(self, **what: Any) -> Got:
        return await self.admin("POST", "/purge", what)

    async def stats(self) -> Any:
        return (await self.admin("GET", "/stats")).json


class Client(Asker):
    """Asks one that runs in this process."""

    def __init__(self, gateway: Gateway, gate: Gate, url: str, session: aiohttp.ClientSession) -> None:
        self.gateway = gateway
        self.gate = gate
        self.url = url
        self._session = session

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    async def settled(self) -> None:
        """Wait until nothing is being fetched, stored or promoted."""
        async with asyncio.timeout(20):
            while len(self.gateway.tasks):
                await asyncio.sleep(0.001)

    async def waiting(self, number: int) -> None:
        """Wait until so many requests wait for flights."""
        async with asyncio.timeout(20):
            while self.gateway.waiting < number:
                await asyncio.sleep(0.001)


def settings(origin: Origin | str, directory: Path, extra: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Settings of a gateway in front of `origin` that keeps its things in `directory`."""
    base: dict[str, Any] = {
        "upstream": {"url": origin if isinstance(origin, str) else origin.url},
        "admin": {"token": TOKEN, "token_file": str(directory / "admin.token")},
        "file": {"dir": str(directory)},
        "log": {"access": False},
        "listen": {"fast_lane": not os.environ.get("WITHOUT_FAST_LANE")},
    }
    for section, value in (extra or {}).items():
        base[section] = {**base[section], **value} if isinstance(base.get(section), dict) else value
    return base


def running_with_lane(
    origin: Origin | str, extra: Mapping[str, Any] | None = None, **more: Any
) -> AbstractAsyncContextManager["Client"]:
    """As `running`, for tests of the fast lane: it is on, however the suite is run."""
    extra = extra or {}
    return running(origin, {**extra, "listen": {"fast_lane": True, **extra.get("listen", {})}}, **more)


@asynccontextmanager
async def running(
    origin: Origin | str,
    extra: Mapping[str, Any] | None = None,
    *,
    directory: Path | None = None,
    clock: Clock | None = None,
    monotonic: Clock | None = None,
    memory: Callable[[], int | None] | None = None,
    access: LineWriter | None = None,
) -> AsyncIterator[Client]:
    """A gateway with these settings (by YAML section), on a free port, ended with the block. `clock` is its wall time,
    `monotonic` what breakers, budgets and rate limits go by, the same where it is not given; `memory` tells how many
    bytes the process takes."""
    with TemporaryDirectory() as temporary:
        made = settings_from(settings(origin, directory or Path(temporary), extra))
        told: dict[str, Any] = {"clock": clock, "timer": monotonic or clock, "memory": memory}
        gateway = Gateway(made, access=access, **{name: given for name, given in told.items() if given is not None})
        await gateway.start()
        limits = door_limits(gateway.settings, gateway.settings.limits.connections)
        gate = Gate(gateway.front, gateway.counters, limits, gateway.lane)
        server = await asyncio.get_running_loop().create_server(gate, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        try:
            async with aiohttp.ClientSession(
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent"),
                connector=aiohttp.TCPConnector(limit=0),
            ) as session:
                yield Client(gateway, gate, f"http://127.0.0.1:{port}", session)
        finally:
            server.close()
            await gate.shutdown(1.0)
            await gateway.close()
