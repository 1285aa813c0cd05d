"""A purge holds on every instance, also on those that could not hear it, and nothing brings back what went (rows 36,
50, 132; invariant 3)."""

import asyncio
import itertools
from pathlib import Path
from typing import Any

import pytest

from tests.support.faults import RST, FaultProxy, Pass, Refuse, Stall
from tests.support.gateway import Got
from tests.support.origin import Origin
from tests.support.process import PATIENCE, Process, instances, serving
from tests.support.redis_servers import RedisServer, redis_server

pytestmark = pytest.mark.slow

ALL: dict[str, Any] = {"rules": [{"name": "all", "pattern": "*", "ttl": 3600, "tags": ["all"]}]}
ONLY = {"Cache-Control": "only-if-cached"}


def version(origin: Origin, path: str, number: int) -> None:
    origin.answer(path, headers=[("ETag", f'"{number}"')], body=b"%d" % number)


async def purge(gateway: Process, **what: Any) -> Got:
    return await gateway.admin("POST", "/purge", what)


async def filled(gateways: list[Process], *paths: str) -> None:
    """Until each has fetched all of it, and has it in memory and in files; it lies in Redis too."""
    for gateway in gateways:
        assert (await gateway.admin("DELETE", "/redis")).status == 200  # what comes from there is kept in memory alone
        await bodies(gateway, *paths)
        async with asyncio.timeout(PATIENCE):
            while (await gateway.stats())["file"]["size"] < len(paths):
                await asyncio.sleep(0.01)


def through(redis: RedisServer, network: FaultProxy) -> str:
    return redis.url.replace(str(redis.port), str(network.port))


async def bodies(gateway: Process, *paths: str) -> list[bytes]:
    return [got.body for got in await asyncio.gather(*(gateway.get(path) for path in paths))]


# -- all are there -----------------------------------------------------------------------------------------------------

WAYS: list[dict[str, Any]] = [{"url": "/a"}, {"pattern": "/a*"}, {"tag": "all"}, {"rule": "all"}, {"all": True}]


async def test_an_acknowledged_purge_holds_everywhere_in_every_tier() -> None:
    """Whoever asks B once A has said 200 gets nothing old, from memory, Redis or files; what A fetches then stays, for
    its own record comes back to it from the stream."""
    near = ("memory", "redis", "file")
    async with redis_server() as redis, Origin() as origin, instances(2, origin, ALL, redis.url) as (a, b):
        versions = itertools.count(1)
        for what, nearest in itertools.product(WAYS, near):
            version(origin, "/a", old := next(versions))
            assert (await purge(a, all=True)).status == 200
            await filled([a, b], "/a")
            for tier in near[: near.index(nearest)]:
                assert (await b.admin("DELETE", f"/{tier}")).status == 200
            if nearest == "file":  # whether it would come from there is seen by the one who has no more of it after
                assert (await b.get("/a", ONLY)).tier == "file"
                assert (await b.admin("DELETE", "/memory")).status == 200
                assert (await b.admin("DELETE", "/redis")).status == 200
            version(origin, "/a", new := old + 1000)
            receipt = await purge(a, **what)
            assert (receipt.status, set(receipt.json["instances"].values())) == (200, {"applied"})
            got = [await b.get("/a"), await a.get("/a"), await a.get("/a")]
            assert [each.body for each in got] == [b"%d" % new] * 3
            assert (got[0].verdict, got[2].tier) == ("MISS", "memory")


async def test_a_fetch_that_began_before_a_purge_elsewhere_is_kept_nowhere() -> None:
    async with redis_server() as redis, Origin() as origin, instances(2, origin, ALL, redis.url) as (a, b):
        version(origin, "/a", 1)
        gate = origin.hold("/a")
        fetching = asyncio.create_task(a.get("/a"))
        await origin.arrived("/a")
        assert (await purge(b, url="/a")).status == 200
        version(origin, "/a", 2)
        gate.release()
        await fetching
        for gateway in (a, b):
            assert (await gateway.get("/a")).body == b"2"
        assert (await bodies(a, "/a"), await bodies(b, "/a")) == ([b"2"], [b"2"])


# -- one is away -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["cut", pytest.param("stalled", marks=pytest.mark.slow)])
async def test_one_that_was_cut_off_obeys_100_purges_before_it_says_that_it_is_back(how: str) -> None:
    """It has all of it in memory and in files, and serves that meanwhile."""
    paths = [f"/{number}" for number in range(100)]
    async with redis_server() as redis, FaultProxy(redis.port) as network, Origin() as origin:
        for path in paths:
            version(origin, path, 1)
        async with instances(2, origin, ALL, redis.url, through(redis, network)) as (a, b):
            await filled([a, b], *paths)
            await network.become(Refuse() if how == "cut" else Stall())
            if how == "cut":
                network.cut(RST)
            await b.logged("cut off from the other instances")
            for path in paths:
                version(origin, path, 2)
            await asyncio.gather(*(purge(a, url=path) for path in paths))
            assert await bodies(b, *paths) == [b"1"] * 100
            assert not (await b.admin("GET", "/redis/health")).json["connected"]
            await network.become(Pass())
            await b.connected()
            assert await bodies(b, *paths) == [b"2"] * 100
            assert await bodies(a, *paths) == [b"2"] * 100


@pytest.mark.slow
async def test_what_was_purged_during_an_outage_is_not_told_when_it_ends() -> None:
    """B, cut off, stores an answer that A purges meanwhile: when B is back it neither serves it nor puts it there. And
    what B purges while it is cut off goes everywhere, from Redis too."""
    async with redis_server() as redis, FaultProxy(redis.port) as network, Origin() as origin:
        for path in ("/theirs", "/ours", "/kept"):
            version(origin, path, 1)
        async with instances(2, origin, ALL, redis.url, through(redis, network)) as (a, b):
            await filled([a], "/ours")
            await network.become(Refuse())
            network.cut(RST)
            await b.logged("cut off from the other instances")
            assert await bodies(b, "/theirs", "/ours", "/kept") == [b"1"] * 3
            for path in ("/theirs", "/ours"):
                version(origin, path, 2)
            assert (await purge(a, url="/theirs")).json["instances"] != {}
            assert (await purge(b, url="/ours")).status == 202
            assert (await a.get("/ours")).body == b"1"  # it cannot know yet
            await network.become(Pass())
            await b.connected()
            await b.logged("answers stored meanwhile are there now, 0 still missing")
            await told(b, a)
            for gateway in (b, a):
                assert await bodies(gateway, "/theirs", "/ours", "/kept") == [b"2", b"2", b"1"]
            for gateway in (a, b):
                await gateway.admin("DELETE", "/memory")
                await gateway.admin("DELETE", "/file")
                got = [await gateway.get(path) for path in ("/theirs", "/ours", "/kept")]
                assert [(each.tier, each.body) for each in got] == [("redis", b"2"), ("redis", b"2"), ("redis", b"1")]


async def told(*gateways: Process) -> None:
    """Wait until each has been told all that the others had to tell: a purge of its own has gone everywhere."""
    async with asyncio.timeout(PATIENCE):
        for gateway in gateways:
            while (await purge(gateway, tag="nobody's")).status != 200:
                await asyncio.sleep(0.02)


async def test_a_purge_that_could_not_be_told_outlives_our_own_death(tmp_path: Path) -> None:
    """Redis is away, A says 202 and is killed. Redis comes back with all that it had, B with all that it had: when A
    is back too, nothing old comes out anywhere."""
    (tmp_path / "a").mkdir()
    async with redis_server(persist=True) as redis, Origin() as origin:
        version(origin, "/a", 1)
        settings = {**ALL, "redis": {"url": redis.url}}
        async with serving(origin, settings) as b:
            async with serving(origin, settings, directory=tmp_path / "a") as a:
                await asyncio.gather(a.connected(), b.connected())
                await filled([a, b], "/a")
                await redis.until(bool, "KEYS", "proxy:cache:e:*")
                await redis.kill()
                for gateway in (a, b):
                    await gateway.logged("cut off from the other instances")
                version(origin, "/a", 2)
                assert (await purge(a, url="/a")).status == 202
                assert (await a.get("/a")).body == b"2"  # here it holds at once
                await a.kill()
            await redis.start()
            await b.connected()
            assert (await b.get("/a")).body == b"1"  # nobody could have told it
            async with serving(origin, None, directory=tmp_path / "a") as a:
                await a.connected()
                await told(a, b)
                assert await bodies(b, "/a") == await bodies(a, "/a") == [b"2"]
                await b.admin("DELETE", "/memory")
                await b.admin("DELETE", "/file")
                got = await b.get("/a")
                assert (got.tier, got.body) == ("redis", b"2")
