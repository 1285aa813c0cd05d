"""Several workers as one instance, in real processes (contract "Names" and listen.workers; architecture, "Workers";
reliability: the port is bound once without sharing)."""

import asyncio
import os
import random
import signal
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.crew import PATIENCE, Crew, crew, start

pytestmark = pytest.mark.slow


async def test_all_serve_and_their_figures_are_one(tmp_path: Path) -> None:
    async with crew(tmp_path, workers=3) as it:
        pids = await it.pids()
        assert len(set(pids)) == 3
        async with it.connections(12) as connections:
            assert sorted(connections) == pids
            before = (await it.get("/stats"))["requests"]
            for pid in pids:
                for _ in range(5):
                    assert (await it.get("/memory/a", connections[pid][0]))["pid"] == pid
            stats = [await it.get("/stats", connections[pid][0]) for pid in pids]
        assert [each["requests"] for each in stats] == [before + 1 + 15 + n for n in range(3)]
        assert {(each["workers"], each["memory"], len(each["silent"])) for each in stats} == {(3, 3, 0)}


@pytest.mark.parametrize("rounds", [60, pytest.param(1000, marks=pytest.mark.slow)])
async def test_an_acknowledged_purge_holds_on_all_at_once(tmp_path: Path, rounds: int) -> None:
    """Whatever connection acknowledged it, no other one is answered by what was there before."""
    dice = random.Random(7)
    async with crew(tmp_path, workers=3) as it, it.connections(16) as connections:
        sessions = [session for group in connections.values() for session in group]
        seen: set[str] = set()
        numbers = []
        for _ in range(rounds):
            numbers.append((await it.get("/purge/a", dice.choice(sessions)))["number"])
            got = await asyncio.gather(*(it.get("/memory/a", session) for session in sessions))
            now = {each["by"] for each in got}
            assert now.isdisjoint(seen)
            assert len(now) == 3  # each worker fetched it once anew
            seen |= now
        assert numbers == list(range(numbers[0], numbers[0] + rounds))


async def test_what_was_under_way_on_one_is_ended_by_a_purge_on_another(tmp_path: Path) -> None:
    async with crew(tmp_path) as it, it.connections(2) as connections:
        one, other = (group[0] for group in connections.values())
        late = [asyncio.create_task(it.get(f"/late/{name}", one)) for name in ("purged",)]
        await it.files("purged.*")
        assert await it.get("/purge/purged", other)
        (tmp_path / "purged").touch()
        assert await late[0] == {"stored": 0}
        (tmp_path / "kept").touch()
        assert await it.get("/late/kept", one) == {"stored": 1}


@pytest.mark.slow
async def test_purges_outlive_the_instance(tmp_path: Path) -> None:
    async with crew(tmp_path) as it:
        first = await it.get("/purge/a")
        assert (first["kept"], first["durable"]) == (True, True)
        it.process.kill()
        await it.ended()
    async with crew(tmp_path) as it:
        assert (await it.get("/purge/a"))["number"] > first["number"]


# death


@pytest.mark.slow
async def test_a_worker_that_is_killed_under_load_is_replaced(tmp_path: Path) -> None:
    async with crew(tmp_path, workers=2) as it:
        victim, other = await it.pids()
        answered, lost = 0, 0
        replaced = asyncio.Event()

        async def client() -> None:
            nonlocal answered, lost
            while not replaced.is_set():
                try:
                    await it.get("/memory/a")
                    answered += 1
                except aiohttp.ClientError:
                    lost += 1

        clients = [asyncio.create_task(client()) for _ in range(10)]
        await it.until("/stats", lambda stats: stats["requests"] > 300)
        await asyncio.sleep(0.1)  # what it counted has been told
        before = (await it.get("/stats"))["requests"]
        os.kill(victim, signal.SIGKILL)
        pids = await it.until("/pids", lambda pids: len(pids) == 2 and victim not in pids)
        assert other in pids
        replaced.set()
        await asyncio.gather(*clients)
        assert lost <= 10  # at most what was under way there
        assert answered > 300
        assert (await it.get("/stats"))["requests"] > before - 100  # its counts were not lost with it
        assert (await it.get("/memory/a"))["cache"] in ("HIT", "MISS")
        assert "was killed by signal 9; another takes its place" in it.log


@pytest.mark.slow
async def test_connections_that_wait_for_a_dead_worker_are_taken_by_the_next(tmp_path: Path) -> None:
    """Stopped, it accepts nothing; killed, it leaves a queue behind."""
    async with crew(tmp_path, workers=2) as it:
        victim, _ = await it.pids()
        os.kill(victim, signal.SIGSTOP)
        asked = [asyncio.create_task(it.get("/pid")) for _ in range(30)]
        async with asyncio.timeout(PATIENCE):
            while sum(task.done() for task in asked) < 3:
                await asyncio.sleep(0.01)
        assert not all(task.done() for task in asked)
        os.kill(victim, signal.SIGKILL)
        pids = {got["pid"] for got in await asyncio.gather(*asked)}
        assert victim not in pids
        assert len(pids) == 2


@pytest.mark.slow
async def test_the_one_that_takes_a_place_knows_what_was_purged_and_which_settings_hold(tmp_path: Path) -> None:
    async with crew(tmp_path, workers=2) as it:
        it.configure({"ttl": 5})
        assert (await it.get("/reload"))["ok"]["changed"] == ["ttl"]
        purged = [(await it.get(f"/purge/{n}"))["number"] for n in range(5)]
        for pid in await it.pids():
            os.kill(pid, signal.SIGKILL)
        pids = await it.until("/pids", lambda pids: len(pids) == 2)
        async with it.connections(2) as connections:
            assert sorted(connections) == sorted(pids)
            for group in connections.values():
                assert (await it.get("/stats", group[0]))["settings"] == {"ttl": 5}
            numbers = [(await it.get("/purge/x", group[0]))["number"] for group in connections.values()]
        assert numbers == [purged[-1] + 1, purged[-1] + 2]


@pytest.mark.slow
async def test_settings_that_change_while_one_starts_hold_there_too(tmp_path: Path) -> None:
    async with crew(tmp_path, workers=2) as it:
        async with it.connections(2) as connections:
            (victim, _), (other, group) = connections.items()
            os.kill(victim, signal.SIGKILL)
            number = 0
            while len(pids := await it.get("/pids", group[0])) < 2 or victim in pids:  # until the next one serves
                it.configure({"number": (number := number + 1)})
                assert "ok" in await it.get("/reload", group[0])
        assert number > 1
        async with it.connections(2) as connections:
            assert other in connections
            for group in connections.values():
                await it.until("/stats", lambda stats: stats["settings"] == {"number": number}, group[0])


@pytest.mark.slow
async def test_one_told_to_end_by_somebody_else_drains_and_is_replaced(tmp_path: Path) -> None:
    async with crew(tmp_path, workers=2) as it, it.connections(2) as connections:
        victim, group = next(iter(connections.items()))
        held = asyncio.create_task(it.get("/held", group[0]))
        await it.files(f"held.{victim}")
        os.kill(victim, signal.SIGTERM)
        (tmp_path / "held").touch()
        assert (await held)["pid"] == victim
        await it.until("/pids", lambda pids: len(pids) == 2 and victim not in pids)


@pytest.mark.slow
async def test_one_that_hangs_delays_nobody_and_obeys_when_it_comes_back(tmp_path: Path) -> None:
    async with crew(tmp_path, workers=3, answer=2.0) as it, it.connections(6) as connections:
        stopped, awake = list(connections)[:2]
        old = {(await it.get("/memory/a", connections[pid][0]))["by"] for pid in connections}
        for _ in range(50):
            await it.get("/pid", connections[stopped][0])
        await asyncio.sleep(0.1)  # it has told what it counted
        counted = (await it.get("/stats", connections[awake][0]))["requests"]
        os.kill(stopped, signal.SIGSTOP)
        try:
            stats = await it.get("/stats", connections[awake][0])
            assert (stats["workers"], len(stats["silent"])) == (2, 1)
            assert stats["requests"] > counted - 25  # what it had counted is still told
            assert (await it.get("/purge/a", connections[awake][0]))["kept"]
        finally:
            os.kill(stopped, signal.SIGCONT)
        assert (await it.get("/memory/a", connections[stopped][0]))["by"] not in old
        assert (await it.get("/stats", connections[awake][0]))["silent"] == []


@pytest.mark.slow
async def test_when_none_can_serve_the_instance_gives_up(tmp_path: Path) -> None:
    process = await start(tmp_path, workers=1, fail="import")
    async with asyncio.timeout(PATIENCE):
        assert await process.wait() == 1
    log = (tmp_path / "crew.log").read_text()
    assert log.count("another takes its place") == 4
    assert log.count("the 5th in a row that could not serve; giving up") == 1


@pytest.mark.slow
async def test_a_worker_that_says_what_is_wrong_with_the_settings_ends_the_start(tmp_path: Path) -> None:
    process = await start(tmp_path, workers=3, fail="unfit")
    async with asyncio.timeout(PATIENCE):
        assert await process.wait() == 2
    log = (tmp_path / "crew.log").read_text()
    assert "listen.tls_cert: cannot be used" in log
    assert "takes its place" not in log


# the parent's death


async def gone(pids: list[int]) -> None:
    async with asyncio.timeout(PATIENCE):
        for pid in pids:
            with suppress(ProcessLookupError):
                while True:
                    os.kill(pid, 0)
                    await asyncio.sleep(0.01)


@pytest.mark.slow
async def test_without_a_parent_the_workers_end_and_the_port_is_free(tmp_path: Path) -> None:
    async with crew(tmp_path, workers=3) as it:
        pids = await it.pids()
        it.process.kill()
        await it.ended()
        await gone(pids)
        port = it.port
    async with crew(tmp_path, port=port) as it:
        assert (await it.get("/memory/a"))["cache"] == "MISS"


@pytest.mark.slow
async def test_without_a_parent_one_that_hangs_ends_too(tmp_path: Path) -> None:
    async with crew(tmp_path, workers=2) as it:
        pids = await it.pids()
        hanging = asyncio.create_task(it.get("/hang"))
        await it.files("hangs")
        it.process.kill()
        await it.ended()
        await gone(pids)
        with suppress(aiohttp.ClientError):
            await hanging


# the end


async def test_sigterm_drains_all(tmp_path: Path) -> None:
    async with crew(tmp_path, workers=2) as it, it.connections(2) as connections:
        held = [asyncio.create_task(it.get("/held", group[0])) for group in connections.values()]
        await it.files("held.*", 2)
        it.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):
            with suppress(aiohttp.ClientError):
                while True:  # until nobody new is let in
                    await it.get("/pid")
        assert not any(task.done() for task in held)
        (tmp_path / "held").touch()
        assert {got["pid"] for got in await asyncio.gather(*held)} == set(connections)
        assert await it.ended() == 0
        assert it.log == ""


@pytest.mark.slow
@pytest.mark.parametrize("again", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_ends_all_at_once(tmp_path: Path, again: signal.Signals) -> None:
    async with crew(tmp_path, workers=2) as it, it.connections(2) as connections:
        held = [asyncio.create_task(it.get("/held", group[0])) for group in connections.values()]
        await it.files("held.*", 2)
        it.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):
            with suppress(aiohttp.ClientError):
                while True:
                    await it.get("/pid")
        it.process.send_signal(again)
        assert await it.ended() == 0
        for got in await asyncio.gather(*held, return_exceptions=True):
            assert isinstance(got, aiohttp.ClientError)


@pytest.mark.slow
async def test_what_takes_too_long_is_cut_and_one_that_hangs_is_killed(tmp_path: Path) -> None:
    async with crew(tmp_path, workers=2, limit=0.2) as it, it.connections(2) as connections:
        stopped, other = connections
        held = asyncio.create_task(it.get("/held", connections[other][0]))
        await it.files("held.*")
        os.kill(stopped, signal.SIGSTOP)
        it.process.send_signal(signal.SIGTERM)
        assert await it.ended() == 1
        with pytest.raises(aiohttp.ClientError):
            await held
        await gone([stopped, other])
        assert "does not end; it is killed" in it.log


@pytest.mark.slow
async def test_the_terminal_s_signals_reach_the_workers_only_through_the_parent(tmp_path: Path) -> None:
    async with crew(tmp_path, workers=2) as it:
        pids = await it.pids()
        for pid in pids:
            for number in (signal.SIGINT, signal.SIGHUP):
                os.kill(pid, number)
        assert await it.pids() == pids


# the port


@pytest.mark.slow
async def test_a_port_in_use_is_exit_2(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = await start(tmp_path, port=taken.getsockname()[1])
        assert await process.wait() == 2
    assert "is in use" in (tmp_path / "crew.log").read_text()
    async with crew(tmp_path) as it:
        process = await start(tmp_path / "other", port=it.port)
        assert await process.wait() == 2
    assert "is in use" in (tmp_path / "other" / "crew.log").read_text()


# settings


async def test_a_reload_reaches_all_or_none(tmp_path: Path) -> None:
    async def held(it: Crew) -> list[dict[str, Any]]:
        async with it.connections(3) as connections:
            return [(await it.get("/stats", group[0]))["settings"] for group in connections.values()]

    async with crew(tmp_path, workers=3) as it:
        assert await held(it) == [{}] * 3
        it.configure({"ttl": 1})
        assert await it.get("/reload") == {"ok": {"changed": ["ttl"], "restart": []}}
        assert await held(it) == [{"ttl": 1}] * 3
        for wrong, problem in (("wrong", "settings.json: is wrong"), ("refused", "refused: is not to be")):
            it.configure({"ttl": 2, wrong: True})
            assert await it.get("/reload") == {"problems": [problem]}
            assert await held(it) == [{"ttl": 1}] * 3
        victim, *_ = await it.pids()
        os.kill(victim, signal.SIGKILL)
        await it.until("/pids", lambda pids: len(pids) == 3 and victim not in pids)
        assert await held(it) == [{"ttl": 1}] * 3
        it.configure({"ttl": 3})
        it.process.send_signal(signal.SIGHUP)
        await it.until("/stats", lambda stats: stats["settings"] == {"ttl": 3})
        assert await held(it) == [{"ttl": 3}] * 3


# the file tier


@pytest.mark.slow
async def test_one_directory_is_shared_and_accounted_for_by_the_parent(tmp_path: Path) -> None:
    async with crew(tmp_path, workers=2, file_max=100 * 4096) as it, it.connections(2) as connections:
        one, other = (group[0] for group in connections.values())
        for number in range(30):
            assert (await it.get(f"/file/{number}/3000", one))["cache"] == "MISS"
        for number in range(30):
            assert (await it.get(f"/file/{number}/3000", other))["cache"] == "HIT"
        await it.until("/stats", lambda stats: (stats["file"], stats["file_bytes"]) == (30, 30 * 4096))
        for number in range(200):
            await it.get(f"/file/{number}/3000", one if number % 2 else other)
        stats = await it.until("/stats", lambda stats: stats["file"] == 100)
        assert stats["file_bytes"] == 100 * 4096
        answers = tmp_path / "answers"
        async with asyncio.timeout(PATIENCE):  # who had to go is unlinked behind it
            while sum(len(path.name) == 64 for path in answers.rglob("*")) != 100:
                await asyncio.sleep(0.01)
        for pid in connections:
            os.kill(pid, signal.SIGKILL)
        await it.until("/pids", lambda pids: len(pids) == 2)
        assert (await it.get("/file/199/3000"))["cache"] == "HIT"
        assert (await it.get("/stats"))["file"] == 100
