"""`memory.limit` over a real process: a flood that would pass it stays below, what would pass it all the same is
refused, and everything is as before when it is over (invariant 11)."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from typing import Any

import pytest

from tests.support.origin import Origin, Recorded
from tests.support.process import HAS_PROC, Process, serving
from tests.support.rawtcp import Raw, raw

pytestmark = [
    pytest.mark.skipif(not HAS_PROC, reason="the memory of a process is read from /proc"),
    pytest.mark.timeout(120),
]

MIB = 1 << 20
BODY = b"x" * 100_000
IDLE = 96 * MIB  # more than a process takes before the first request
LIMIT = IDLE + 64 * MIB
SLOW = 50
SETTINGS: dict[str, Any] = {
    "rules": [
        {"name": "post", "pattern": "/post", "methods": ["POST"], "ttl": 60},
        {"name": "all", "pattern": "*", "ttl": 3600},
    ],
    "memory": {"limit": LIMIT},
    "file": {"enabled": False},
    "limits": {"connections": 1000},
    "log": {"access": False},
}


def body(request: Recorded) -> bytes:
    return BODY


@asynccontextmanager
async def under(**more: Any) -> AsyncIterator[Process]:
    async with Origin() as origin, serving(origin, SETTINGS | more) as gateway:
        origin.otherwise([("Cache-Control", "max-age=600")], body)
        assert gateway.rss < IDLE
        yield gateway


async def process(gateway: Process) -> dict[str, Any]:
    stats: dict[str, Any] = (await gateway.stats())["process"]
    return stats


async def until(gateway: Process, *states: str) -> None:
    async with asyncio.timeout(30):
        while (await process(gateway))["pressure"] not in states:
            await asyncio.sleep(0.02)


async def test_a_flood_of_unique_keys_stays_below() -> None:
    """Twice the limit's worth of answers, one of which is asked for again and again."""
    async with under() as gateway:
        for start in range(0, 3200, 32):
            asked = [gateway.get(f"/{number}") for number in range(start, start + 32)]
            got = await asyncio.gather(gateway.get("/hot"), *asked)
            assert {each.status for each in got} == {200}
        told = await process(gateway)
        print(f"peak {gateway.peak / MIB:.1f} of {LIMIT / MIB:.1f} MiB, {told}")
        assert gateway.peak < LIMIT
        assert (told["memoryLimit"], told["shrinks"] > 0, told["refused"]) == (LIMIT, True, 0)
        assert told["memoryRoom"] < 256 * MIB
        assert (await gateway.get("/hot")).verdict == "HIT"


async def test_what_would_pass_it_all_the_same_is_refused_until_it_is_over() -> None:
    """Uploads that are held for their keys, and never end."""
    async with under() as gateway:
        assert await gateway.verdicts("/hot", "/hot", "/hot") == ["MISS", "HIT", "HIT"]
        clients: list[Raw] = []
        async with AsyncExitStack() as stack:
            while len(clients) < 300 and (await process(gateway))["pressure"] != "refusing":
                clients.append(await stack.enter_async_context(raw(gateway.port)))
                head = b"POST /post HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n"
                await clients[-1].send(head + b"x" * 800_000)
            refused = await gateway.get("/new")
            assert (refused.status, refused.detail, refused.header("retry-after")) == (503, "over-memory", "1")
            assert (await gateway.get("/hot")).verdict == "HIT"
            assert (await gateway.admin("GET", "/ready")).status == 200
            assert (await process(gateway))["refused"] > 0
            print(f"peak {gateway.peak / MIB:.1f} of {LIMIT / MIB:.1f} MiB")
            assert gateway.peak < LIMIT + 32 * MIB  # what comes between two looks
        await until(gateway, "calm")
        assert (await gateway.get("/new")).status == 200
        assert "only what memory holds is answered" in gateway.log


async def test_slow_readers_of_what_memory_holds_have_no_copies_of_their_own() -> None:
    """Nor do they delay others, who ask for the same."""
    large = b"x" * 1_000_000
    async with Origin() as origin, serving(origin, SETTINGS | {"memory": {}}) as gateway:
        origin.answer("/large", headers=[("Cache-Control", "max-age=600")], body=large)
        assert await gateway.verdicts("/large", "/large") == ["MISS", "HIT"]
        gateway.forget_peak()
        before = gateway.rss
        with ExitStack() as stack:
            for _ in range(SLOW):
                client = stack.enter_context(socket.socket())
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # else the system takes most of it
                client.connect(("127.0.0.1", gateway.port))
                client.sendall(b"GET /large HTTP/1.1\r\nHost: site.example\r\n\r\n" * 5)
            async with asyncio.timeout(20):
                while (await gateway.stats())["inFlight"] < SLOW:
                    await asyncio.sleep(0.02)
            assert (await gateway.get("/large")).body == large
            print(f"peak growth {(gateway.peak - before) / MIB:.1f} MiB")
            assert gateway.peak - before < SLOW * MIB // 2
        assert (await gateway.get("/large")).verdict == "HIT"


async def test_workers_have_each_a_part_of_it() -> None:
    async with under(listen={"workers": 2}, memory={"limit": LIMIT * 2}) as gateway:
        told = await process(gateway)
        assert (told["memoryLimit"], told["pressure"]) == (LIMIT * 2, "calm")
        code, out, _ = await gateway.command("health")
        assert (code, "process" in out) == (0, True)
