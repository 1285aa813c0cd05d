"""What becomes of a gateway when its Redis is not there, comes back, or is in trouble, and that it recovers by itself
(rows 29-33, 35, 98; invariant 9)."""

import asyncio
import itertools
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.faults import RST, Cut, FaultProxy, Pass, Refuse, Stall
from tests.support.gateway import Got
from tests.support.load import Load, scripted
from tests.support.origin import Origin
from tests.support.process import PATIENCE, Process, instances, serving
from tests.support.redis_servers import redis_server
from tests.support.trouble import TROUBLES, Trouble

pytestmark = pytest.mark.slow

ALL: dict[str, Any] = {"rules": [{"name": "all", "pattern": "*", "ttl": 60}], "log": {"access": False}}
SMALL: dict[str, Any] = {**ALL, "memory": {"max_entries": 10}, "file": {"enabled": False}}  # so that Redis is asked


def over(redis: dict[str, Any], settings: dict[str, Any] = SMALL) -> dict[str, Any]:
    return {**settings, "redis": redis}


async def redis_says(gateway: Process) -> Any:
    return (await gateway.stats())["redis"]


# -- at the start ------------------------------------------------------------------------------------------------------


@contextmanager
def black_hole() -> Iterator[int]:
    """A port at which no connection is ever made nor refused: its queue is full. (Linux drops what comes then.)"""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        held = [socket.socket() for _ in range(4)]
        for one in held:
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        try:
            yield port
        finally:
            for one in held:
                one.close()


@pytest.mark.parametrize(
    ("hole", "lazy"),
    [
        ("silent", True),
        ("black", False),
        pytest.param("silent", False, marks=pytest.mark.slow),
        pytest.param("black", True, marks=pytest.mark.slow),
    ],
)
async def test_it_starts_and_serves_before_a_redis_that_swallows_everything(hole: str, lazy: bool) -> None:
    async with redis_server() as redis, FaultProxy(redis.port) as network, Origin() as origin:
        scripted(origin)
        await network.become(Stall())
        with black_hole() as port:
            where = {"host": "127.0.0.1", "port": network.port if hole == "silent" else port, "lazy_connect": lazy}
            async with serving(origin, over(where, ALL)) as gateway:
                assert await gateway.verdicts("/1", "/1") == ["MISS", "HIT"]
                await gateway.logged("is away, serving from memory and files: no answer in time")
                said = await redis_says(gateway)
                assert (said["enabled"], said["connected"], said["mode"]) == (True, False, "fallback")
                if hole == "silent":
                    await network.until(lambda: network.connections >= 2)  # it gave one up, and tried again
                    await network.become(Pass())
                    await gateway.connected()


@pytest.mark.slow
async def test_a_redis_that_comes_later_is_used_from_then_on() -> None:
    """`auto` is on as soon as anything is said about Redis; nothing has to be started again."""
    async with redis_server() as redis, Origin() as origin:
        scripted(origin)
        await redis.kill()
        env = {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(redis.port)}
        async with serving(origin, ALL, env=env) as a, serving(origin, ALL, env=env) as b:
            assert await a.verdicts("/1", "/1") == ["MISS", "HIT"]
            assert (await redis_says(a))["mode"] == "fallback"
            assert (await a.admin("GET", "/redis/health")).status == 503
            await redis.start()
            await asyncio.gather(a.connected(), b.connected())
            assert (await redis_says(a))["mode"] == "shared"
            await redis.until(bool, "KEYS", "proxy:cache:e:*")  # what was stored meanwhile is told
            assert (await b.get("/1")).tier == "redis"
            assert (await a.get("/2")).verdict == "MISS"
            await redis.until(lambda found: len(found) == 2, "KEYS", "proxy:cache:e:*")
            assert (await b.get("/2")).tier == "redis"


# -- changes -----------------------------------------------------------------------------------------------------------


async def state_of(gateway: Process) -> list[str]:
    """The states that are 1 in the metrics."""
    page = (await gateway.admin("GET", "/metrics")).body.decode()
    lines = [line for line in page.splitlines() if line.startswith("cachegate_redis_state{")]
    return [line.split('"')[1] for line in lines if line.endswith(" 1.0")]


async def until_state(gateway: Process, state: str) -> None:
    """Keep it busy with misses until its metric says so."""
    async with asyncio.timeout(PATIENCE):
        for number in itertools.count():
            if await state_of(gateway) == [state]:
                return
            await gateway.get(f"/none/{state}/{number}")
            await asyncio.sleep(0.01)


async def test_each_change_is_told_once_and_it_recovers_by_itself() -> None:
    async with (
        redis_server() as redis,
        FaultProxy(redis.port) as network,
        Origin() as origin,
        instances(1, origin, ALL, redis.url.replace(str(redis.port), str(network.port))) as (gateway,),
    ):
        scripted(origin)

        def told() -> list[int]:
            texts = ("connected to", "is away", "takes no writes")
            return [gateway.log.count(f"redis: {text}") + gateway.log.count(f"/0 {text}") for text in texts]

        assert (await state_of(gateway), told()) == (["ready"], [1, 0, 0])
        await network.become(Cut(after=0, by=RST))
        await until_state(gateway, "closed")
        tries = network.connections
        await network.until(lambda: network.connections >= tries + 3)  # in vain, and more than once
        assert await gateway.verdicts("/1", "/1") == ["MISS", "HIT"]
        await network.become(Pass())
        await gateway.connected()
        assert (await state_of(gateway), told()) == (["ready"], [2, 1, 0])
        await redis.command("CONFIG", "SET", "maxmemory", "1", "maxmemory-policy", "noeviction")
        await until_state(gateway, "degraded")
        assert (await gateway.admin("GET", "/redis/health")).json["status"] == "degraded"
        await redis.command("CONFIG", "SET", "maxmemory", "0")
        origin.answer("/none/ready/0", body=b"x")
        await until_state(gateway, "ready")
        assert told() == [3, 1, 1]


# -- trouble under load ------------------------------------------------------------------------------------------------


QUICK = ("killed", "stopped")


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in TROUBLES]
)
async def test_no_request_notices_a_redis_in_trouble(name: str) -> None:
    async with redis_server() as redis, FaultProxy(redis.port) as network, Origin() as origin:
        scripted(origin)
        url = redis.url.replace(str(redis.port), str(network.port))
        trouble = Trouble(redis, network)
        async with instances(1, origin, SMALL, url) as (gateway,), Load(gateway).running() as load:
            await load.some(100)
            await trouble.begin(name)
            await load.some(60 if name == "slow" else 300)
            await trouble.end(name)
            await gateway.connected()
            await load.some(100)
            assert "Traceback" not in gateway.log


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_killed_then_stopped_then_restarted_empty_under_load() -> None:
    """Two instances serve on throughout, and share again each time that it comes back."""
    async with redis_server() as redis, Origin() as origin:
        scripted(origin)
        async with instances(2, origin, SMALL, redis.url) as gateways, Load(*gateways).running() as load:

            async def shared_again() -> None:
                await asyncio.gather(*(gateway.connected() for gateway in gateways))
                hits = [(await redis_says(gateway))["hits"] for gateway in gateways]
                async with asyncio.timeout(PATIENCE):
                    while any([(await redis_says(g))["hits"] <= n for g, n in zip(gateways, hits, strict=True)]):
                        await asyncio.sleep(0.01)

            await load.some(500)
            await redis.kill()
            await load.some(1500)
            await redis.start()
            await shared_again()
            redis.stop()
            await load.some(3000)
            redis.cont()
            await shared_again()
            await redis.kill()
            await redis.start()
            await load.some(500)
            await shared_again()
            assert not any("Traceback" in gateway.log for gateway in gateways)


async def test_a_wrong_password_is_told_never_shown_and_no_reason_to_fail() -> None:
    async with redis_server(password="right") as redis, Origin() as origin:
        scripted(origin)
        settings = over({"host": "127.0.0.1", "port": redis.port, "password": "wrong-word"})
        async with serving(origin, settings) as gateway:
            async with Load(gateway).running() as load:
                await load.some(200)
            await gateway.logged("is away, serving from memory and files")
            async with asyncio.timeout(PATIENCE):
                while "the user or password is refused; see redis" not in (await redis_says(gateway))["reason"]:
                    await asyncio.sleep(0.01)
            health = await gateway.admin("GET", "/redis/health")
            assert (health.status, health.json["connected"]) == (503, False)
            assert "wrong-word" not in gateway.log + health.body.decode()


# -- coming back -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_what_was_stored_meanwhile_is_told_with_what_is_left_of_its_life() -> None:
    """Newer answers of others win; what is over or was purged is not told."""
    rules = [{"pattern": "/short*", "ttl": 1}, {"pattern": "*", "ttl": 60}]
    settings = {"rules": rules, "cache": {"stale_if_error": 0}}
    async with redis_server() as redis, FaultProxy(redis.port) as network, Origin() as origin:
        for path in ("/kept", "/newer", "/purged", "/short"):
            origin.answer(path, body=b"one")
        there = redis.url.replace(str(redis.port), str(network.port))
        async with instances(2, origin, settings, there, redis.url) as (a, b):
            await network.become(Refuse())
            network.cut(RST)
            await a.logged("cut off from the other instances")
            assert await a.verdicts("/kept", "/newer", "/purged", "/short") == ["MISS"] * 4
            assert (await a.admin("POST", "/purge", {"url": "/purged"})).status == 202
            origin.answer("/newer", body=b"two")
            assert (await b.get("/newer")).body == b"two"
            await redis.until(lambda found: len(found) == 1, "KEYS", "proxy:cache:e:*")
            names = await redis.command("KEYS", "proxy:cache:e:*")
            async with asyncio.timeout(PATIENCE):
                while (await a.get("/short", {"Cache-Control": "only-if-cached"})).status != 504:
                    await asyncio.sleep(0.05)  # until it is over
            await network.become(Pass())
            await a.logged("answers stored meanwhile are there now, 0 still missing")
            kept = set(await redis.command("KEYS", "proxy:cache:e:*")) - set(names)
            assert len(kept) == 1
            assert 0 < await redis.command("PTTL", *kept) < 59_500
            answers = {path: await b.get(path) for path in ("/kept", "/newer")}
            assert (answers["/kept"].tier, answers["/kept"].body) == ("redis", b"one")
            assert answers["/newer"].body == b"two"
            await a.admin("DELETE", "/memory")
            await a.admin("DELETE", "/file")
            assert said(await a.get("/newer")) == ("HIT", "redis", b"two")


def said(got: Got) -> tuple[str | None, str | None, bytes]:
    return got.verdict, got.tier, got.body
