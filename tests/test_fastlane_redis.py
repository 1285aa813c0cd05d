"""Hits from Redis on the fast lane: what is remembered but for its content, for which Redis is asked again, and what
becomes of a request that waits for that."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from proxy.message import Request
from proxy.outcome import Tier, Verdict
from proxy.redis.keys import Names
from proxy.rules import Rule, RuleTable
from proxy.settings import settings_from
from proxy.settings.load import Loaded
from tests.support.faults import FaultProxy, Pass, Stall
from tests.support.gateway import HOST, TOKEN, Client, running, settings
from tests.support.origin import Origin
from tests.support.rawtcp import Raw, raw
from tests.support.redis_servers import RedisServer, redis_server

ALONE: dict[str, Any] = {"memory": {"max_entries": 0}, "file": {"enabled": False}}
RULES: list[dict[str, Any]] = [{"name": "all", "pattern": "*", "ttl": 60}]
NAMES = Names("proxy:cache:")


def asked(target: str = "/a", *lines: str) -> bytes:
    return "\r\n".join([f"GET {target} HTTP/1.1", f"Host: {HOST}", *lines, "", ""]).encode()


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.005)


@dataclass
class House:
    """A gateway that has nothing but Redis, and a connection to it. `tasks` are those that were made."""

    gateway: Client
    origin: Origin
    redis: RedisServer
    between: FaultProxy
    client: Raw
    tasks: list[str]

    async def get(self, target: str = "/a", *lines: str) -> tuple[str | None, str | None, bytes]:
        await self.client.send(asked(target, *lines))
        return await self.said()

    async def said(self) -> tuple[str | None, str | None, bytes]:
        got = await self.client.response()
        await self.gateway.settled()
        return got.header("x-cache"), got.header("x-cache-tier"), got.body

    async def known(self, target: str = "/a", *lines: str) -> bytes:
        """Have it stored and remembered: by then what its Vary names is read too."""
        body = (await self.get(target, *lines))[2]
        for _ in range(2):
            assert await self.get(target, *lines) == ("HIT", "redis", body)
        assert await self.again(target, *lines) == ("HIT", "redis", body)
        return body

    async def again(self, target: str = "/a", *lines: str) -> tuple[str | None, str | None, bytes]:
        """Ask for what is remembered: nobody but Redis is waited for."""
        before = self.served
        said = await self.get(target, *lines)
        assert self.served == before
        return said

    @property
    def served(self) -> int:
        """How many requests the front had."""
        return self.tasks.count("Front.serve")

    async def waiting(self, *sent: bytes) -> None:
        """Have a request wait for a Redis that says nothing."""
        await self.between.become(Stall())
        await self.client.send(b"".join(sent))
        await until(lambda: self.in_flight == 1)

    @property
    def in_flight(self) -> int:
        return self.gateway.gateway.counters.in_flight

    async def keys(self, pattern: str) -> list[bytes]:
        return list(await self.redis.command("KEYS", pattern))

    async def record(self) -> bytes:
        (name,) = await self.keys(NAMES.entries)
        return name


@asynccontextmanager
async def house(**more: Any) -> AsyncIterator[House]:
    tasks: list[str] = []

    def task(loop: asyncio.AbstractEventLoop, coro: Any, **named: Any) -> asyncio.Task[Any]:
        tasks.append(coro.__qualname__)
        return asyncio.Task(coro, loop=loop, **named)

    loop = asyncio.get_running_loop()
    async with redis_server() as redis, FaultProxy(redis.port) as between, Origin() as origin:
        patient = {"url": f"redis://127.0.0.1:{between.port}/0", "connect_timeout": 5.0, "read_timeout": 5.0}
        how = {"listen": {"fast_lane": True}, "rules": RULES, **ALONE, "redis": patient, **more}
        async with running(origin, how) as gateway, raw(gateway.port) as client:
            sharing = gateway.gateway.tiers.sharing
            assert sharing is not None
            await until(lambda: sharing.now().connected)
            origin.answer("/a", headers=[("ETag", '"e"')], body=b"hello")
            loop.set_task_factory(task)
            try:
                yield House(gateway, origin, redis, between, client, tasks)
            finally:
                loop.set_task_factory(None)


VARY: list[tuple[str, str]] = [("Vary", "X-Kind")]


@pytest.mark.parametrize(
    ("lines", "fields", "size", "commands"),
    [
        ((), [], 5, ["GETRANGE", "HGETALL"]),
        (("X-Kind: one",), VARY, 5, ["GETRANGE", "HGETALL", "GETRANGE"]),
        ((), [], 5000, ["GETRANGE", "HGETALL"]),
        (("X-Kind: one",), VARY, 0, ["GETRANGE", "HGETALL", "GETRANGE"]),
    ],
    ids=["plain", "variant", "packed", "empty variant"],
)
async def test_what_is_remembered_takes_one_question_and_no_task(
    lines: tuple[str, ...], fields: list[tuple[str, str]], size: int, commands: list[str]
) -> None:
    async with house() as here:
        here.origin.answer("/a", headers=fields, body=b"x" * size)
        assert len(await here.known("/a", *lines)) == size
        tiered = here.gateway.gateway.tiers.tiered
        before, made = tiered.lookups(Tier.REDIS).hits, len(here.tasks)
        async with here.redis.monitor() as monitored:
            await here.client.send(asked("/a", *lines))
            assert len((await here.client.response()).body) == size
        assert [word for word in (line.partition(" ")[0] for line in monitored) if word in commands] == commands
        assert {"Front.serve", "Pipelines._send", "Reads._reach"}.isdisjoint(here.tasks[made:])
        assert tiered.lookups(Tier.REDIS).hits == before + 1


async def test_not_modified_is_remembered_too() -> None:
    async with house() as here:
        await here.known()
        condition = 'If-None-Match: "e"'
        assert (await here.get("/a", condition))[2] == b""
        assert await here.again("/a", condition) == ("HIT", "redis", b"")


Change = Callable[[House], Awaitable[object]]


async def goes(here: House) -> None:
    await here.redis.command("DEL", await here.record())


async def is_none(here: House) -> None:
    await here.redis.command("SET", await here.record(), "none", "PX", 60_000)


async def is_damaged(here: House) -> None:
    await here.redis.command("SETRANGE", await here.record(), 40, "X")


async def is_no_text(here: House) -> None:
    name = await here.record()
    await here.redis.command("DEL", name)
    await here.redis.command("LPUSH", name, "x")


async def is_renewed(here: House) -> None:
    async with raw(here.gateway.port) as other:
        await other.send(asked("/a", "Cache-Control: no-cache", f"Cachegate-Token: {TOKEN}"))
        await other.response()
    await here.gateway.settled()


async def has_a_variant(here: House) -> None:
    here.origin.answer("/a", headers=VARY, body=b"newer")
    await is_renewed(here)


async def is_purged(here: House) -> None:
    assert (await here.gateway.purge(url=f"http://{HOST}/a")).status == 200


async def is_purged_softly(here: House) -> None:
    assert (await here.gateway.purge(pattern="/*", soft=True)).status == 200


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        (goes, "MISS"),
        (is_none, "MISS"),
        (is_damaged, "MISS"),
        (is_no_text, "MISS"),
        (is_renewed, "HIT"),
        (has_a_variant, "HIT"),
        (is_purged, "MISS"),
        (is_purged_softly, "EXPIRED"),
    ],
)
async def test_what_is_no_more_what_it_was_is_judged_anew(change: Change, verdict: str) -> None:
    async with house() as here:
        await here.known()
        here.origin.answer("/a", body=b"newer")
        await change(here)
        assert await here.get() == (verdict, "redis" if verdict == "HIT" else None, b"newer")
        assert (await here.get())[::2] == ("HIT", b"newer")


async def test_the_index_of_variants_is_asked_for_each_time() -> None:
    async with house() as here:
        here.origin.answer("/a", headers=VARY, body=b"hello")
        await here.known("/a", "X-Kind: one")
        (index,) = await here.keys(f"{NAMES.prefix}v:*")
        await here.redis.command("DEL", index)
        here.origin.answer("/a", headers=VARY, body=b"newer")
        assert (await here.get("/a", "X-Kind: one"))[::2] == ("MISS", b"newer")


async def test_other_answers_are_not_remembered() -> None:
    limited = [{**RULES[0], "rate_limit": {"limit": 1000, "window": 60}}]
    for more in ({"rules": limited}, {"observe": {"server_timing": True}}, {"memory": {"max_entries": 10}}):
        async with house(**more) as here:
            for _ in range(3):
                before = here.served
                assert (await here.get())[2] == b"hello"
            assert here.served == before + ("memory" not in more)


async def test_a_redis_that_falls_silent_costs_its_budget_and_no_answer() -> None:
    async with house() as here:
        await here.known()
        here.origin.answer("/a", body=b"newer")
        await here.waiting(asked())
        assert (await here.said())[::2] == ("MISS", b"newer")
        assert here.in_flight == 0
        await here.between.become(Pass())


async def test_what_comes_behind_waits_for_its_turn() -> None:
    async with house() as here:
        for path in ("/a", "/b"):
            here.origin.answer(path, body=path.encode())
            await here.known(path)
        await here.waiting(asked("/a"), asked("/b"))
        await here.client.send(b"POST /c HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx" + asked("/a"))
        await here.between.become(Pass())
        assert [(await here.client.response()).body for _ in range(4)][::3] == [b"/a", b"/a"]


async def test_what_comes_behind_a_silence_has_a_budget_of_its_own() -> None:
    async with house() as here:
        here.origin.answer("/b", body=b"b")
        await here.get("/b")
        await here.known()
        gate = here.origin.hold("/a")
        await here.waiting(asked("/a"), asked("/b"))
        await until(lambda: here.origin.count("/a") == 2)
        await here.between.become(Pass())
        gate.release()
        assert (await here.said())[0] == "MISS"
        assert await here.said() == ("HIT", "redis", b"b")


async def test_a_client_that_leaves_is_counted_once() -> None:
    async with house() as here:
        await here.known()
        counters = here.gateway.gateway.counters
        counters.settle()
        before = dict(counters.verdicts)
        await here.waiting(asked())
        here.client.writer.transport.abort()
        await until(lambda: here.in_flight == 0)
        await here.between.become(Pass())
        async with raw(here.gateway.port) as other:
            await other.send(asked())
            assert (await other.response()).body == b"hello"
        await here.gateway.settled()
        counters.settle()
        assert counters.verdicts[Verdict.BYPASS] == before[Verdict.BYPASS] + 1
        assert sum(counters.verdicts.values()) == sum(before.values()) + 2


async def test_a_purge_holds_for_who_waits() -> None:
    async with house() as here:
        await here.known()
        here.origin.answer("/a", body=b"newer")
        await here.waiting(asked())
        purge = asyncio.create_task(here.gateway.purge(url=f"http://{HOST}/a"))
        head = here.gateway.gateway.journal.head
        await until(lambda: here.gateway.gateway.journal.head > head)
        await here.between.become(Pass())
        assert (await here.said())[2] == b"newer"
        assert (await purge).status == 200


async def test_other_rules_hold_for_who_waits(tmp_path: Path) -> None:
    async with house() as here:
        await here.known()
        here.origin.answer("/a", body=b"newer")
        await here.waiting(asked())
        other = settings_from(settings(here.origin, tmp_path, {"rules": [{**RULES[0], "mode": "off"}]}))
        changed = here.gateway.gateway.settings.model_copy(update={"rules": other.rules})
        here.gateway.gateway.apply(Loaded(changed, {}))
        await here.between.become(Pass())
        assert (await here.said())[::2] == ("BYPASS", b"newer")


class Unreadable(RuleTable):
    """Rules of which none can be matched."""

    def match(self, request: Request) -> Rule:
        raise LookupError(request.path)


async def test_who_cannot_be_judged_anew_loses_his_connection_and_holds_up_nobody() -> None:
    async with house() as here:
        await here.known()
        await here.waiting(asked(), asked())
        story = here.gateway.gateway.story
        table = story.at_once.table
        story.at_once.change(Unreadable(table.rules, table.unmatched), story.routes)
        await here.between.become(Pass())
        async with asyncio.timeout(20):
            assert await here.client.reader.read() == b""
        await until(lambda: here.in_flight == 0)
        assert not here.gateway.gateway.front.busy  # else the gateway would wait for it when it ends
        story.at_once.change(table, story.routes)
        async with raw(here.gateway.port) as other:
            await other.send(asked())
            assert (await other.response()).body == b"hello"
        await here.gateway.settled()


async def test_who_waits_while_the_gateway_drains_is_told_that_its_connection_ends() -> None:
    async with house() as here:
        await here.known()
        await here.waiting(asked())
        drained = asyncio.create_task(here.gateway.gateway.front.drained())
        await until(lambda: here.gateway.gateway.front.draining)
        await here.between.become(Pass())
        got = await here.client.response()
        assert got.header("connection") == "close"
        await drained
