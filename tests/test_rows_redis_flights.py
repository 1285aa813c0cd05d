"""One fetch for all instances, whoever dies meanwhile; and what comes too late changes nothing (rows 33, 41)."""

import asyncio
import signal
from typing import Any

import pytest

from tests.support.faults import FIN, Cut, FaultProxy
from tests.support.gateway import Got
from tests.support.origin import Origin
from tests.support.process import PATIENCE, Process, instances
from tests.support.redis_servers import redis_server

ALL: dict[str, Any] = {"rules": [{"name": "all", "pattern": "*", "ttl": 60}]}
ALONE: dict[str, Any] = {**ALL, "file": {"enabled": False}}
QUICK: dict[str, Any] = {**ALL, "flight": {"lease": 1.5}}

Crowd = list["asyncio.Task[Got]"]


async def inside(gateways: list[Process], number: int) -> None:
    """Wait until each says that it has so many requests under way."""
    async with asyncio.timeout(PATIENCE):
        for gateway in gateways:
            while (await gateway.stats())["inFlight"] < number:
                await asyncio.sleep(0.01)


async def crowd(gateways: list[Process], path: str, each: int) -> Crowd:
    """So many clients at each that want the same and wait for it: one at first, then the rest in waves that small
    machines can take."""
    tasks: Crowd = []
    there = 0
    for wave in [1, *range(20, each, 20), each]:
        for gateway in gateways:
            tasks += [asyncio.create_task(gateway.get(path)) for _ in range(wave - there)]
        there = wave
        await inside(gateways, there)
    return tasks


async def asks(gateway: Process, path: str) -> "asyncio.Task[Got]":
    """A client that waits for its answer now."""
    task = asyncio.create_task(gateway.get(path))
    await inside([gateway], 1)
    return task


@pytest.mark.slow
async def test_500_clients_of_5_instances_want_the_same_and_it_is_asked_for_once() -> None:
    async with redis_server() as redis, Origin() as origin, instances(5, origin, ALONE, redis.url) as gateways:
        origin.answer("/cold", body=b"cold " * 100)
        gate = origin.hold("/cold")
        waiting = await crowd(gateways, "/cold", 100)
        assert len(waiting) == 500
        gate.release()
        answers = await asyncio.gather(*waiting)
        assert {(got.status, got.verdict, got.body) for got in answers} == {(200, "MISS", b"cold " * 100)}
        assert origin.count("/cold") == 1

        await redis.kill()
        origin.answer("/colder", body=b"colder")
        gate = origin.hold("/colder")
        waiting = await crowd(gateways, "/colder", 100)
        gate.release()
        answers = await asyncio.gather(*waiting)
        assert {(got.status, got.verdict, got.body) for got in answers} == {(200, "MISS", b"colder")}
        assert origin.count("/colder") == 5


async def test_redis_dies_while_others_wait_for_a_fetch() -> None:
    """They look after it themselves: each instance asks once, and nobody is told of it."""
    async with redis_server() as redis, Origin() as origin, instances(2, origin, ALONE, redis.url) as gateways:
        origin.answer("/a", body=b"a")
        gate = origin.hold("/a")
        waiting = await crowd(gateways, "/a", 20)
        assert origin.count("/a") == 1
        await redis.kill()
        await origin.arrived("/a", 2)
        gate.release()
        assert {(got.status, got.body) for got in await asyncio.gather(*waiting)} == {(200, b"a")}
        assert origin.count("/a") == 2


async def test_while_redis_hangs_those_who_still_wait_for_it_find_what_the_first_has_fetched() -> None:
    async with redis_server() as redis, Origin() as origin, instances(1, origin, ALONE, redis.url) as (gateway,):
        origin.answer("/a", body=b"a")
        redis.stop()
        waiting = []
        for _ in range(40):
            waiting.append(asyncio.create_task(gateway.get("/a")))
            await asyncio.sleep(0.005)  # so that they do not give Redis up in the same turn
        assert {(got.status, got.body) for got in await asyncio.gather(*waiting)} == {(200, b"a")}
        assert origin.count("/a") == 1
        redis.cont()


async def test_who_fetches_is_killed_and_another_takes_over() -> None:
    async with redis_server() as redis, Origin() as origin, instances(3, origin, QUICK, redis.url) as (a, b, c):
        origin.answer("/a", body=b"a")
        gate = origin.hold("/a")
        lost = await asks(a, "/a")
        await origin.arrived("/a")
        waiting = [await asks(gateway, "/a") for gateway in (b, c)]
        await a.kill()
        await asyncio.gather(lost, return_exceptions=True)
        await origin.arrived("/a", 2)  # when the lease is over, and not before
        gate.release()
        assert {(got.status, got.body) for got in await asyncio.gather(*waiting)} == {(200, b"a")}
        assert origin.count("/a") == 2


@pytest.mark.slow
async def test_what_is_stored_late_by_one_who_stood_still_is_refused() -> None:
    """A takes the lease and is stopped; when it is over B fetches a newer answer; then A goes on and wants to store
    its old one. Redis keeps the newer, and so does whoever asks there."""
    async with redis_server() as redis, Origin() as origin, instances(2, origin, QUICK, redis.url) as (a, b):
        origin.answer("/a", body=b"old", times=1)
        origin.answer("/a", body=b"new")
        gate = origin.hold("/a")
        first = await asks(a, "/a")
        await origin.arrived("/a")
        a.signal(signal.SIGSTOP)
        try:
            second = await asks(b, "/a")
            await origin.arrived("/a", 2)
            gate.release()
            assert (await second).body == b"new"
            await redis.until(lambda found: len(found) == 1, "KEYS", "proxy:cache:e:*")
            record = await redis.command("KEYS", "proxy:cache:e:*")
            newer = await redis.command("GET", *record)
        finally:
            a.signal(signal.SIGCONT)
        assert (await first).body == b"old"
        async with asyncio.timeout(PATIENCE):
            while not (await a.stats())["file"]["size"]:  # it is stored there after it was told to Redis
                await asyncio.sleep(0.01)
        assert await redis.command("GET", *record) == newer
        for gateway in (a, b):
            await gateway.admin("DELETE", "/memory")
            await gateway.admin("DELETE", "/file")
            got = await gateway.get("/a")
            assert (got.verdict, got.tier, got.body) == ("HIT", "redis", b"new")
        assert origin.count("/a") == 2


async def test_an_answer_that_may_not_be_kept_is_waited_for_once_and_by_nobody_after() -> None:
    """The others learn that waiting leads nowhere; none of them is given what was another's."""
    async with redis_server() as redis, Origin() as origin, instances(2, origin, ALL, redis.url) as gateways:
        serial = iter(range(1000))
        origin.answer("/me", headers=[("Cache-Control", "private")], body=lambda _: b"for one: %d" % next(serial))
        gate = origin.hold("/me")
        waiting = await crowd(gateways, "/me", 10)
        assert origin.count("/me") == 1
        gate.release()
        answers = await asyncio.gather(*waiting)
        assert len({got.body for got in answers}) == len(answers) == origin.count("/me") == 20


async def test_the_answer_to_a_lease_that_is_lost_holds_up_nobody() -> None:
    """Redis does what it is asked and its answers are lost, so it may hold leases under which nobody fetches. The
    origin is asked at once all the same."""
    settings = {**ALONE, "memory": {"max_entries": 0}, "flight": {"lease": 120, "wait": 120}}
    async with redis_server() as redis, FaultProxy(redis.port) as network, Origin() as origin:
        url = redis.url.replace(str(redis.port), str(network.port))
        async with instances(1, origin, settings, url) as (gateway,), asyncio.timeout(PATIENCE):
            for after in range(121, 0, -10):
                await network.become(Cut(after=after, by=FIN))
                for number in range(5):
                    origin.answer(f"/{after}/{number}", body=b"a")
                    got = [await gateway.get(f"/{after}/{number}") for _ in range(2)]
                    assert [each.body for each in got] == [b"a"] * 2
