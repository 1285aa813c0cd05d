"""Several instances of several workers over one stream in a real Redis, all of them real processes: what one worker is
asked to purge holds on every worker everywhere, and each knows by itself what an answer in Redis is worth (invariant 3;
architecture, "Workers" and "Redis")."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.crew import NAMES, PATIENCE, Crew, crew
from tests.support.faults import RST, FaultProxy, Pass, Refuse
from tests.support.redis_servers import redis_server


@dataclass
class Workers:
    """An instance, with a connection to each of its workers."""

    crew: Crew
    sessions: dict[int, aiohttp.ClientSession]

    async def each(self, path: str) -> list[Any]:
        """What each of them answers."""
        return await asyncio.gather(*(self.crew.get(path, session) for session in self.sessions.values()))

    async def one(self, path: str, number: int = 0) -> Any:
        return await self.crew.get(path, list(self.sessions.values())[number])

    async def until(self, path: str, holds: Any) -> list[Any]:
        """Ask each until all say what is wanted."""
        sessions = self.sessions.values()
        return [await self.crew.until(path, holds, session) for session in sessions]


@asynccontextmanager
async def instance(directory: Path, url: str, **said: Any) -> AsyncIterator[Workers]:
    directory.mkdir(exist_ok=True)
    async with crew(directory, redis=url, **said) as it, it.connections(2) as connections:
        yield Workers(it, {pid: sessions[0] for pid, sessions in connections.items()})


async def one_with_each_other(*instances: Workers) -> tuple[int, int]:
    """Wait until every worker of all of them has read the same, nobody owes anything, and they know of each other; what
    they stamp."""
    async with asyncio.timeout(PATIENCE):
        for each in instances:
            await each.until("/spread/any/0", lambda spread: len(spread["instances"]) >= len(instances))
        while True:
            told = [link for each in instances for link in await each.each("/link")]
            stamps = {tuple(link["stamp"] or ()) for link in told}
            if all(link["linked"] and not link["unsent"] for link in told) and len(stamps) == 1:
                epoch, number = stamps.pop()
                return epoch, number
            await asyncio.sleep(0.02)


@asynccontextmanager
async def two(
    directory: Path, url: str, other: str | None = None, **said: Any
) -> AsyncIterator[tuple[Workers, Workers]]:
    async with AsyncExitStack() as stack:
        a, b = await asyncio.gather(
            stack.enter_async_context(instance(directory / "a", url, **said)),
            stack.enter_async_context(instance(directory / "b", other or url, **said)),
        )
        await one_with_each_other(a, b)
        yield a, b


@pytest.mark.slow
async def test_a_purge_on_one_worker_is_obeyed_by_every_worker_everywhere(tmp_path: Path) -> None:
    async with redis_server() as redis, two(tmp_path, redis.url) as (a, b):
        everyone = (a, b)
        for turn in range(5):
            before = {page["by"] for it in everyone for page in await it.each("/memory/x")}
            purged = await everyone[turn % 2].one("/purge/x", turn % 2)
            spread = await everyone[turn % 2].one(f"/spread/{purged['id']}/{PATIENCE}")
            assert spread["complete"]
            assert set(spread["instances"].values()) == {"applied"}
            assert len(spread["instances"]) == 2
            after = {page["by"] for it in everyone for page in await it.each("/memory/x")}
            assert len(before) == len(after) == 4  # each of the four has fetched it
            assert before.isdisjoint(after)


@pytest.mark.slow
async def test_an_answer_that_one_worker_stamped_is_found_by_all_until_it_is_purged(tmp_path: Path) -> None:
    async with redis_server() as redis, two(tmp_path, redis.url) as (a, b):
        epoch, number = await one_with_each_other(a, b)
        page = f"/found/{epoch}/{number}/x"
        assert [*await a.each(page), *await b.each(page)] == [True] * 4
        await a.one("/purge/other")
        _, middle = await one_with_each_other(a, b)
        assert [*await a.each(page), *await b.each(page)] == [True] * 4
        await b.one("/purge/x", 1)
        assert await b.each(page) == [False] * 2  # there at once, before anybody was told
        epoch, later = await one_with_each_other(a, b)
        assert [*await a.each(page), *await b.each(page)] == [False] * 4
        assert await a.each(f"/found/{epoch}/{middle}/x") == [False] * 2
        assert number < middle < later
        assert await a.each(f"/found/{epoch}/{later}/x") == [True] * 2
        assert await b.each(f"/found/{epoch}/{later + 1}/x") == [None] * 2


@pytest.mark.slow
async def test_cut_off_with_purges_inside(tmp_path: Path) -> None:
    names = [f"n{number}" for number in range(50)]
    async with (
        redis_server() as redis,
        FaultProxy(redis.port) as between,
        two(tmp_path, redis.url, f"redis://127.0.0.1:{between.port}") as (a, b),
    ):
        assert await b.each(f"/keep/untouched/{'/'.join(names)}") == [51, 51]
        epoch, number = await one_with_each_other(a, b)
        await between.become(Refuse())
        between.cut(RST)
        for link in await b.until("/link", lambda link: not link["linked"]):
            assert link["stamp"] is None
            assert link["reason"]
        assert await b.each(f"/found/{epoch}/{number}/x") == [None] * 2
        for name in names:
            await a.one(f"/purge/{name}")
        await b.one("/purge/own")
        assert [link["unsent"] for link in await b.each("/link")] == [1, 1]
        assert [len(link["alive"]) for link in await b.each("/link")] == [51, 51]
        await between.become(Pass())
        await one_with_each_other(a, b)
        for link in await b.until("/link", lambda link: len(link["links"]) > 2):
            assert [each["linked"] for each in link["links"]] == [True, False, True]
            assert link["links"][-1]["alive"] == ["/untouched"]  # when it was told so, and not after
        assert await a.each(f"/found/{epoch}/{number}/own") == [False] * 2


@pytest.mark.slow
async def test_without_redis_nobody_is_told_and_a_receipt_says_so(tmp_path: Path) -> None:
    async with redis_server() as redis:
        url = redis.url
        await redis.kill()
        async with instance(tmp_path, url) as it:
            purged = await it.one("/purge/x")
            assert purged["kept"]
            assert await it.each(f"/spread/{purged['id']}/1") == [
                {"instances": {link["instance"]: "applied"}, "complete": False} for link in await it.each("/link")
            ]
            assert not any(link["linked"] or link["links"] for link in await it.each("/link"))
            await redis.start()
            await one_with_each_other(it)
            await it.crew.until(f"/spread/{purged['id']}/1", lambda spread: spread["complete"])


@pytest.mark.slow
async def test_a_parent_that_hangs_cuts_its_workers_off_by_their_own_clocks(tmp_path: Path) -> None:
    async with redis_server() as redis, two(tmp_path, redis.url) as (a, b):
        epoch, number = await one_with_each_other(a, b)
        b.crew.process.send_signal(signal.SIGSTOP)
        try:
            await a.one("/purge/x")
            for link in await b.until("/link", lambda link: not link["linked"]):
                assert link["stamp"] is None
                assert link["reason"] == "no sign of life from the parent process"
            assert await b.each(f"/found/{epoch}/{number}/x") == [None] * 2
        finally:
            b.crew.process.send_signal(signal.SIGCONT)
        await one_with_each_other(a, b)
        assert await b.each(f"/found/{epoch}/{number}/x") == [False] * 2


@pytest.mark.slow
async def test_a_worker_that_the_ring_has_overtaken_begins_again(tmp_path: Path) -> None:
    async with redis_server() as redis, two(tmp_path, redis.url, ring=16384) as (a, b):
        await b.each("/keep/old")
        epoch, number = await one_with_each_other(a, b)
        asleep = list(b.sessions)[1]
        os.kill(asleep, signal.SIGSTOP)
        try:
            for turn in range(100):
                await a.one(f"/purge/n{turn}")
        finally:
            os.kill(asleep, signal.SIGCONT)
        await one_with_each_other(a, b)
        links = await b.each("/link")
        assert "overtaken by purges" in [each["reason"] for each in links[1]["links"]]
        assert [link["alive"] for link in links] == [["/old"], ["/old"]]
        assert await b.each(f"/found/{epoch}/{number}/x") == [True] * 2
        assert await b.each(f"/found/{epoch}/{number}/n7") == [False] * 2


@pytest.mark.slow
async def test_one_that_takes_a_dead_one_s_place_knows_what_answers_are_worth(tmp_path: Path) -> None:
    async with redis_server() as redis, two(tmp_path, redis.url) as (a, b):
        epoch, number = await one_with_each_other(a, b)
        await a.one("/purge/x")
        await b.one("/purge/y")
        epoch, later = await one_with_each_other(a, b)
        old = list(b.sessions)
        for pid in old:
            os.kill(pid, signal.SIGKILL)
        await b.crew.until("/pids", lambda pids: len(pids) == 2 and not set(pids) & set(old))
        async with b.crew.connections(2) as connections:
            fresh = Workers(b.crew, {pid: sessions[0] for pid, sessions in connections.items()})
            assert await one_with_each_other(a, fresh) == (epoch, later)
            for stamp in (number, later):
                assert await fresh.each(f"/found/{epoch}/{stamp}/z") == [True] * 2
            for name in "xy":
                assert await fresh.each(f"/found/{epoch}/{number}/{name}") == [False] * 2
                assert await fresh.each(f"/found/{epoch}/{later}/{name}") == [True] * 2
            before = await fresh.each("/memory/x")
            purged = await a.one("/purge/x")
            assert (await a.one(f"/spread/{purged['id']}/{PATIENCE}"))["complete"]
            assert {page["by"] for page in before}.isdisjoint(page["by"] for page in await fresh.each("/memory/x"))


@pytest.mark.slow
async def test_a_stream_that_is_deleted_begins_anew_and_costs_no_memory(tmp_path: Path) -> None:
    async with redis_server() as redis, two(tmp_path, redis.url) as (a, b):
        await a.one("/purge/gone")
        await b.each("/keep/stays/goes")
        epoch, number = await one_with_each_other(a, b)
        await redis.command("DEL", NAMES.stream)
        purged = await a.one("/purge/goes")
        await a.until(f"/spread/{purged['id']}/1", lambda spread: spread["complete"])
        assert [link["alive"] for link in await b.each("/link")] == [["/stays"], ["/stays"]]
        anew, _ = await one_with_each_other(a, b)
        assert anew > epoch
        for it in (a, b):  # answers of the old epoch are worth what they were
            assert await it.each(f"/found/{epoch}/{number}/stays") == [True] * 2
            assert await it.each(f"/found/{epoch}/{number}/goes") == [False] * 2
