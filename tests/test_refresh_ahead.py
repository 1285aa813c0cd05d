"""A rule's `refresh_ahead`: what is asked for all the time is fetched anew before it ends, what nobody asks for is left
alone (row 63)."""

import asyncio
from typing import Any

import pytest

from tests.support.gateway import Clock, running
from tests.support.origin import FIN, Origin
from tests.support.redis_servers import redis_server

TTL = 60


def ahead(share: float = 0.25, **more: Any) -> dict[str, Any]:
    return {"rules": [{"name": "hot", "pattern": "*", "ttl": TTL, "refresh_ahead": share}], **more}


@pytest.mark.parametrize("lane", [True, False])
@pytest.mark.parametrize("confirms", [True, False])
async def test_what_is_asked_for_all_the_time_is_never_a_miss(lane: bool, confirms: bool) -> None:
    """Over five lifetimes, and it is fetched about once in each of them."""
    clock = Clock()
    async with Origin() as origin, running(origin, ahead(listen={"fast_lane": lane}), clock=clock) as gateway:
        tag = [("ETag", '"a"')] if confirms else []
        origin.answer("/a", headers=tag, body=b"a", times=1)
        origin.answer("/a", 304 if confirms else 200, tag, b"" if confirms else b"a")
        assert (await gateway.get("/a")).verdict == "MISS"
        await gateway.settled()
        for _ in range(5 * TTL):
            clock.advance(1)
            got = await gateway.get("/a")
            assert (got.verdict, got.body) == ("HIT", b"a")
            assert int(got.header("age") or "") < TTL
            await gateway.settled()
        assert 6 <= origin.count("/a") <= 7


async def test_what_nobody_asks_for_is_left_alone() -> None:
    clock = Clock()
    async with Origin() as origin, running(origin, ahead(), clock=clock) as gateway:
        for path in ("/idle", "/hot"):
            origin.answer(path, body=b"x")
            await gateway.get(path)
        await gateway.settled()
        for _ in range(TTL - 1):
            clock.advance(1)
            await gateway.get("/hot")
            await gateway.settled()
        assert (origin.count("/idle"), origin.count("/hot")) == (1, 2)
        clock.advance(2)
        assert [(await gateway.get(path)).verdict for path in ("/idle", "/hot")] == ["EXPIRED", "HIT"]


@pytest.mark.parametrize("lane", [True, False])
async def test_who_asks_meanwhile_waits_for_nothing_and_it_is_fetched_once(lane: bool) -> None:
    clock = Clock()
    async with Origin() as origin, running(origin, ahead(listen={"fast_lane": lane}), clock=clock) as gateway:
        origin.answer("/a", body=b"old", times=1)
        origin.answer("/a", body=b"new")
        await gateway.get("/a")
        await gateway.settled()
        clock.advance(TTL - 5)
        gate = origin.hold("/a")
        answers = await asyncio.gather(*(gateway.get("/a") for _ in range(30)))
        assert {(got.verdict, got.body) for got in answers} == {("HIT", b"old")}
        await origin.arrived("/a", 2)
        gate.release()
        await gateway.settled()
        assert origin.count("/a") == 2
        assert [(got.verdict, got.body) for got in [await gateway.get("/a")]] == [("HIT", b"new")]
        await gateway.settled()
        assert origin.count("/a") == 2


async def test_one_that_fails_costs_nobody_his_hit() -> None:
    clock = Clock()
    async with Origin() as origin, running(origin, ahead(), clock=clock) as gateway:
        origin.answer("/a", body=b"a", times=1)
        origin.script("/a", FIN, times=2)  # the second is its retry
        origin.answer("/a", body=b"b")
        await gateway.get("/a")
        await gateway.settled()
        clock.advance(TTL - 5)
        for wanted in (b"a", b"a", b"b"):
            got = await gateway.get("/a")
            assert (got.verdict, got.body) == ("HIT", wanted)
            await gateway.settled()


async def test_of_many_instances_one_fetches() -> None:
    """They hold copies of their own, and come to the moment together; the others take what it has brought to Redis."""
    clock = Clock()
    async with redis_server() as redis, Origin() as origin:
        shared = ahead(redis={"url": redis.url, "lazy_connect": False}, file={"enabled": False})
        async with running(origin, shared, clock=clock) as a, running(origin, shared, clock=clock) as b:
            for gateway in (a, b):
                async with asyncio.timeout(20):
                    while not (await gateway.admin("GET", "/redis/health")).json["connected"]:
                        await asyncio.sleep(0.01)
            origin.answer("/a", body=b"a")
            for gateway in (a, b):
                await gateway.get("/a")
                await gateway.settled()
            assert origin.count("/a") == 1
            for lifetime in range(1, 4):
                clock.advance(TTL - 5)
                both = await asyncio.gather(a.get("/a"), b.get("/a"))
                assert {got.verdict for got in both} == {"HIT"}
                await a.settled()
                await b.settled()
                assert origin.count("/a") == 1 + lifetime
