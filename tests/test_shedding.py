"""What a gateway does when its memory runs out (invariant 11): the memory tier gives way, then what needs memory is
refused, and what memory holds is answered all the time."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest

from proxy.entry import any_variant
from proxy.observe.counters import Counters
from proxy.policy.pressure import Level
from proxy.shedding import EVERY, SLICE, Shedding
from proxy.store.memory import MemoryStore
from tests.support.entries import FakeClock, entry
from tests.support.gateway import Client, Clock, Got, running
from tests.support.origin import Gate, Origin
from tests.support.process import HAS_PROC
from tests.support.rawtcp import raw

MIB = 1 << 20
LIMIT = 64 * MIB
ALL: dict[str, Any] = {
    "rules": [
        {"name": "post", "pattern": "/post", "methods": ["POST"], "ttl": 60},
        {"name": "all", "pattern": "*", "ttl": 60},
    ],
    "memory": {"limit": LIMIT},
    "file": {"enabled": False},
}


class Memory:
    """What a process would take."""

    def __init__(self, used: int = 0) -> None:
        self.used = used

    def __call__(self) -> int:
        return self.used


@asynccontextmanager
async def full(origin: Origin, extra: dict[str, Any] | None = None) -> AsyncIterator[tuple[Client, Memory, Clock]]:
    """A gateway that had enough memory while /held and /stale were stored, and has none left now."""
    memory, clock = Memory(), Clock()
    async with running(origin, ALL | (extra or {}), clock=clock, memory=memory) as gateway:
        origin.answer("/stale", headers=[("Cache-Control", "max-age=1")])
        for path in ("/held", "/new"):
            origin.answer(path)
        for path in ("/stale", "/held"):
            await gateway.get(path)
        await gateway.settled()
        clock.advance(2)
        memory.used = LIMIT + 1
        await reached(gateway, Level.REFUSING)
        yield gateway, memory, clock


async def reached(gateway: Client, level: Level) -> None:
    async with asyncio.timeout(20):
        while gateway.gateway.shedding.level is not level:
            await asyncio.sleep(EVERY / 10)


def refused(got: Got) -> bool:
    return (got.status, got.detail, got.header("retry-after")) == (503, "over-memory", "1")


# -- what is answered --------------------------------------------------------------------------------------------------

WEBSOCKET = {
    "Connection": "upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
WANTS_MEMORY = [
    ("GET", "/new", {}, None),
    ("HEAD", "/new", {}, None),
    ("GET", "/new", {"Range": "bytes=0-1"}, None),
    ("GET", "/new", {"If-Match": '"a"'}, None),
    ("PUT", "/new", {}, b"x" * 1000),
    ("POST", "/post", {}, b"x" * 1000),
    ("DELETE", "/held", {}, None),
]


async def test_what_memory_holds_is_answered_and_nothing_else_is_begun() -> None:
    async with Origin() as origin, full(origin) as (gateway, memory, _):
        asked = origin.count()
        for method, path, headers, body in WANTS_MEMORY:
            assert refused(await gateway.ask(method, path, headers, body)), (method, path, headers)
        assert [(await gateway.get(path)).verdict for path in ("/held", "/stale")] == ["HIT", "STALE"]
        assert origin.count() == asked
        pages = ("/ready", "/live", "/stats", "/metrics", "/entries")
        assert [(await gateway.admin("GET", page)).status for page in pages] == [200] * len(pages)
        memory.used = 0
        await reached(gateway, Level.CALM)
        assert [(await gateway.get(path)).verdict for path in ("/held", "/new")] == ["HIT", "MISS"]


async def test_no_tunnel_is_opened() -> None:
    rules = {"rules": [{"name": "ws", "pattern": "*", "mode": "off"}]}
    async with Origin() as origin, full(origin, rules) as (gateway, _, _):
        assert refused(await gateway.ask("GET", "/ws", WEBSOCKET))


async def test_answers_in_files_and_redis_want_memory_too() -> None:
    async with (
        Origin() as origin,
        full(origin, {"file": {"enabled": True}, "memory": {"limit": LIMIT}}) as (gateway, memory, _),
    ):
        await gateway.admin("DELETE", "/memory")
        assert refused(await gateway.get("/held"))
        memory.used = 0
        await reached(gateway, Level.CALM)
        assert (await gateway.get("/held")).tier == "file"


async def test_an_upload_that_would_be_held_ends_where_memory_does() -> None:
    """What was let in goes on only as far as it holds nothing."""
    memory = Memory()
    async with Origin() as origin, running(origin, ALL, memory=memory) as gateway, raw(gateway.port) as client:
        await client.send(b"POST /post HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + b"x" * 10)
        memory.used = LIMIT + 1
        await reached(gateway, Level.REFUSING)
        await client.send(b"x" * 10)
        answer = await client.response()
        assert (answer.status, answer.header("connection")) == (503, "close")
        assert origin.count() == 0


# -- what leaves -------------------------------------------------------------------------------------------------------


async def test_an_answer_under_way_reaches_its_clients_and_is_not_kept() -> None:
    memory = Memory()
    async with Origin() as origin, running(origin, ALL, memory=memory) as gateway, raw(gateway.port) as client:
        gate = Gate()
        origin.script("/a", b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf", gate, b"more", times=1)
        await client.send(b"GET /a HTTP/1.1\r\nHost: site.example\r\n\r\n")
        await client.reader.readuntil(b"half")
        memory.used = LIMIT + 1
        await reached(gateway, Level.REFUSING)
        gate.release()
        assert await client.reader.readexactly(4) == b"more"
        await gateway.settled()
        assert refused(await gateway.get("/a"))
        assert (await gateway.stats())["memory"]["size"] == 0


async def test_what_begins_under_pressure_goes_to_disk_early() -> None:
    memory = Memory()
    async with Origin() as origin, running(origin, {"memory": {"limit": LIMIT}}, memory=memory) as gateway:
        for used, level, spooled in ((0, Level.CALM, False), (LIMIT * 96 // 100, Level.SHRINKING, True)):
            memory.used = used
            await reached(gateway, level)
            recording = gateway.gateway.tiers.record()
            await recording.write(b"x" * (MIB // 2))
            assert recording.spooled is spooled
            recording.discard()


class Tier:
    """A memory tier of ten entries, one of which is asked for, in a process that takes nothing else."""

    def __init__(self) -> None:
        self.size = entry("/0", b"x" * SLICE).size
        self.store = MemoryStore(max_entries=100, max_bytes=self.size * 10, max_object=SLICE, clock=FakeClock())
        for number in range(10):
            self.store.keep(entry(f"/{number}", b"x" * SLICE))
            for _ in range(3):
                self.store.find(entry("/0").hash, any_variant)
        self.given_back = 0

    @property
    def near_bytes(self) -> int:
        return self.store.bytes

    @property
    def near_room(self) -> int:
        return self.store.max_bytes

    def resize_near(self, room: int) -> None:
        self.store.resize(room)

    def keep_less(self, pressed: bool) -> None:
        pass

    def give_up(self) -> None:
        pass

    def give_back(self) -> None:
        self.given_back += 1

    @property
    def paths(self) -> set[str]:
        return {slot.entry.parts.path for slot in self.store.slots()}


async def test_the_tier_shrinks_to_what_is_used_most_and_grows_again() -> None:
    tier, beside, counters = Tier(), 0, Counters()
    shedding = Shedding(tier.size * 10, tier, counters, lambda: beside + tier.near_bytes, tier.give_back)
    await shedding.look()  # all ten take all there is, which is more than 95%
    assert (shedding.level, counters.shrinks, tier.given_back) == (Level.SHRINKING, 1, 1)
    assert (len(tier.paths), "/0" in tier.paths) == (9, True)
    beside = tier.size * 8
    await shedding.look()
    await shedding.look()
    assert (shedding.level, tier.paths) == (Level.CALM, {"/0"})
    beside = 0
    for _ in range(80):
        await shedding.look()
    assert tier.size < tier.near_room < tier.size * 5  # slowly
    for _ in range(400):
        await shedding.look()
    assert tier.near_room == tier.size * 10
    assert (shedding.level, counters.shrinks) == (Level.CALM, 1)


async def test_others_have_their_turn_while_it_shrinks() -> None:
    tier, turns = Tier(), [10]

    async def others() -> None:
        while True:
            turns.append(len(tier.paths))
            await asyncio.sleep(0)

    shedding = Shedding(tier.size, tier, Counters(), lambda: tier.near_bytes, tier.give_back)
    beside = asyncio.create_task(others())
    await asyncio.sleep(0)
    await shedding.look()
    beside.cancel()
    assert max(before - after for before, after in pairwise(turns)) <= 2
    assert tier.paths == {"/0"} or not tier.paths


# -- where it cannot be told -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "used", "told"),
    [
        (0, 100, ""),
        (1000, 951, "memory.limit is too low: before the first request 951B of 1000B are used"),
        (1000, None, "memory.limit has no effect: this system does not tell how much memory a process uses"),
    ],
)
async def test_what_cannot_be_kept_is_said_once(
    limit: int, used: int | None, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    tier = Tier()
    watching = asyncio.create_task(Shedding(limit, tier, Counters(), lambda: used, tier.give_back).watch())
    await asyncio.sleep(0)
    assert caplog.messages == [told] * bool(told)
    assert watching.done() is (used is None or not limit)
    watching.cancel()


GROWS_AND_SHRINKS = r"""
import re
from pathlib import Path
from proxy.observe.resident import give_back, resident
told = re.search(r"^VmRSS:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
print(int(told[1]) * 1024, resident())
held = [bytes(10_000) for _ in range(10_000)]
print(resident())
held = held[::100]
give_back()
print(resident(), len(held))
"""


@pytest.mark.skipif(not HAS_PROC, reason="the memory of a process is read from /proc")
def test_memory_is_told_in_bytes_and_what_lies_between_others_is_given_back() -> None:
    """In a process of its own: one that has run for long finds room in what it has freed."""
    done = subprocess.run([sys.executable, "-c", GROWS_AND_SHRINKS], capture_output=True, text=True, check=True)
    told, before, grown, after, _ = map(int, done.stdout.split())
    assert abs(told - before) < MIB
    assert grown - before > 80 * MIB
    assert after - before < 40 * MIB
