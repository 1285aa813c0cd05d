"""Rate limits of whole instances (rows 87, 89, 93, 94): several workers, several instances over a real Redis, and what
becomes of limits when that is in trouble."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.support.faults import Delay, FaultProxy
from tests.support.gateway import Client, Got, running
from tests.support.origin import Origin
from tests.support.process import PATIENCE, Process, children, instances, serving
from tests.support.redis_servers import RedisServer, redis_server

LIMIT = 50
PATIENT = {"redis": {"connect_timeout": 5, "read_timeout": 5}}  # so many at once on a busy machine take their time


def ruled(limit: int = LIMIT, **rate: Any) -> dict[str, Any]:
    rule = {"name": "api", "pattern": "/api/*", "rate_limit": {"limit": limit, "window": 600, **rate}}
    return {"rules": [rule], "log": {"format": "json"}}


def scripted(origin: Origin) -> Origin:
    origin.answer("/api/a", headers=[("Cache-Control", "max-age=1000")], body=b"hello")
    origin.answer("/api/b", headers=[("Cache-Control", "no-store")], body=b"hello")
    return origin


async def many(gateways: Sequence[Process], each: int, path: str = "/api/a") -> Counter[int]:
    """The statuses of so many requests to each, all at once."""
    got = await asyncio.gather(*(gateway.get(path) for gateway in gateways for _ in range(each)))
    return Counter(one.status for one in got)


async def left(gateway: Process | Client) -> Mapping[str, Any]:
    said: Mapping[str, Any] = (await gateway.admin("GET", "/ratelimit/api:127.0.0.1")).json
    return said


# -- workers -----------------------------------------------------------------------------------------------------------


async def test_workers_of_an_instance_count_together() -> None:
    """Also when one dies, and when the settings are read again."""
    settings = {**ruled(), "cache": {"cleanup_interval": 1}}
    async with Origin() as origin, serving(scripted(origin), settings, "--workers", "2") as gateway:
        assert await many([gateway], LIMIT + 30) == {200: LIMIT, 429: 30}
        said = await left(gateway)
        assert (said["remaining"], said["counted"]) == (0, "instance")
        assert (await gateway.stats())["reasons"]["rate-limited"] == 30
        for worker in await workers(gateway):
            os.kill(worker, signal.SIGKILL)
        await gateway.logged("another takes its place", times=2)
        assert await many_when_back(gateway) == 429
        settings["rules"][0]["ttl"] = 5
        gateway.configure(settings)
        await gateway.logged("reloaded")
        assert await many([gateway], 10) == {429: 10}
        gateway.configure(ruled(LIMIT + 1))
        await gateway.logged("reloaded", times=2)
        async with asyncio.timeout(PATIENCE):
            while (await left(gateway))["limit"] == LIMIT:
                await asyncio.sleep(0.01)
        assert "Traceback" not in gateway.log


@pytest.mark.slow
async def test_a_parent_that_hangs_leaves_each_worker_to_count_by_itself() -> None:
    async with Origin() as origin, serving(scripted(origin), ruled(2), "--workers", "2") as gateway:
        assert await many([gateway], 3) == {200: 2, 429: 1}
        gateway.signal(signal.SIGSTOP)
        try:
            seen = [(await gateway.get("/api/a")).status for _ in range(5)]
        finally:
            gateway.signal(signal.SIGCONT)
        assert seen[0] == 200
        assert 1 <= seen.count(429) <= 3
        assert await many([gateway], 3) == {429: 3}


async def workers(gateway: Process) -> list[int]:
    """The processes under the instance's own."""
    return children(gateway.pid)


async def many_when_back(gateway: Process) -> int:
    """The status of an answer, once there is one again."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return (await gateway.get("/api/a")).status
            except OSError:
                await asyncio.sleep(0.01)


# -- instances over Redis ----------------------------------------------------------------------------------------------


async def test_four_instances_let_exactly_the_limit_through() -> None:
    async with (
        redis_server() as redis,
        Origin() as origin,
        instances(4, scripted(origin), {**ruled(), **PATIENT}, redis.url) as gateways,
    ):
        assert await many(gateways, 200) == {200: LIMIT, 429: 4 * 200 - LIMIT}
        for gateway in gateways:
            said = await left(gateway)
            assert (said["remaining"], said["counted"]) == (0, "redis")
        (key,) = [key for key in await redis.command("KEYS", "*") if b"rate_limit" in key]
        assert key.startswith(b"proxy:cache:rate_limit:{")
        assert 0 < await redis.command("PTTL", key) <= 600_000
        await gateways[0].admin("DELETE", "/redis")  # empties what is cached, and gives nobody his limit again
        assert await many(gateways[1:2], 3) == {429: 3}


@pytest.mark.slow
async def test_instances_with_workers_count_with_all_others() -> None:
    async with redis_server() as redis, Origin() as origin:
        settings = {**ruled(), **PATIENT, "listen": {"workers": 2}}
        async with instances(2, scripted(origin), settings, redis.url) as gateways:
            assert await many(gateways, 60) == {200: LIMIT, 429: 120 - LIMIT}
            await redis.kill()
            async with asyncio.timeout(PATIENCE):
                while (await left(gateways[0]))["counted"] != "instance":
                    await asyncio.sleep(0.05)
            noted = [LIMIT - (await left(gateway))["remaining"] for gateway in gateways]
            assert sum(noted) == LIMIT  # each knows what it has let through itself


# -- Redis in trouble --------------------------------------------------------------------------------------------------


@asynccontextmanager
async def limited(
    redis: RedisServer | FaultProxy, extra: Mapping[str, Any] | None = None, **rate: Any
) -> AsyncIterator[Client]:
    """A gateway that counts in this Redis."""
    settings = {**ruled(3, **rate), "redis": {"url": f"redis://127.0.0.1:{redis.port}"}, **(extra or {})}
    async with Origin() as origin, running(scripted(origin), settings) as gateway:
        await counts(gateway, "redis")
        yield gateway


async def counts(gateway: Client, who: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while (await left(gateway))["counted"] != who:
            await asyncio.sleep(0.01)


async def some(gateway: Client, number: int) -> list[Got]:
    return [await gateway.get("/api/a") for _ in range(number)]


@pytest.mark.parametrize("trouble", ["killed", "stopped"])
@pytest.mark.parametrize(
    ("policy", "statuses"), [("local", [200, 429, 429]), ("open", [200] * 3), ("closed", [503] * 3)]
)
async def test_what_is_done_while_redis_is_away(trouble: str, policy: str, statuses: list[int]) -> None:
    async with redis_server() as redis, limited(redis, on_redis_loss=policy) as gateway:
        assert [got.status for got in await some(gateway, 2)] == [200, 200]
        if trouble == "killed":
            await redis.kill()
        else:
            redis.stop()
        seen = await some(gateway, 3)
        assert [got.status for got in seen] == statuses
        assert {got.header("ratelimit-policy") for got in seen} == {'"api";q=3;w=600'}
        said = [got.header("ratelimit") for got in seen]
        assert [word.partition(";t=")[0] for word in said if word] == (['"api";r=0'] * 3 if policy == "local" else [])
        counted = {"local": ("instance", 0)}.get(policy, ("nowhere", None))
        assert [(await left(gateway))[name] for name in ("counted", "remaining")] == [*counted]
        if policy == "closed":
            assert {(got.verdict, got.detail, got.header("retry-after")) for got in seen} == {
                ("BYPASS", "limiter-away", "1")
            }
        if trouble == "stopped":
            redis.cont()
        else:
            await redis.start()
        await counts(gateway, "redis")


async def test_a_redis_that_refuses_writes_is_away_for_limits() -> None:
    async with redis_server() as redis, limited(redis) as gateway:
        await redis.command("CONFIG", "SET", "maxmemory", "1")
        assert [got.status for got in await some(gateway, 4)] == [200, 200, 200, 429]
        await redis.command("CONFIG", "SET", "maxmemory", "0")
        await counts(gateway, "redis")


async def test_a_user_whose_rights_end_at_our_prefix_is_enough() -> None:
    async with redis_server() as redis:
        words = ("on", ">pw-1234", "resetkeys", "~proxy:cache:*", "resetchannels", "&proxy:cache:*", "+@all", "-@admin")
        await redis.command("ACL", "SETUSER", "gateway", *words, "-@dangerous", "+info")
        settings = {**ruled(3), "redis": {"url": f"redis://gateway:pw-1234@127.0.0.1:{redis.port}"}}
        async with Origin() as origin, running(scripted(origin), settings) as gateway:
            await counts(gateway, "redis")
            assert [got.status for got in await some(gateway, 4)] == [200, 200, 200, 429]
            assert (await left(gateway))["counted"] == "redis"
            assert await redis.command("ACL", "LOG") == []


async def test_gateways_of_other_services_have_limits_of_their_own() -> None:
    """Also where their rules have the same names: what they put into one Redis is apart."""
    async with redis_server() as redis, limited(redis) as one, limited(redis) as other:
        for gateway in (one, other):
            assert [got.status for got in await some(gateway, 4)] == [200, 200, 200, 429]


async def test_a_user_without_scripts_limits_each_instance_by_itself() -> None:
    async with redis_server() as redis:
        await redis.command("ACL", "SETUSER", "default", "-@scripting")
        settings = {**ruled(3), "redis": {"url": redis.url}}
        async with Origin() as origin, running(scripted(origin), settings) as gateway:
            assert [got.status for got in await some(gateway, 4)] == [200, 200, 200, 429]


async def test_the_limit_shares_the_requests_one_budget_with_the_lookup() -> None:
    """An answer from Redis is late by 150 ms: there is time for one of 250, and none for two."""
    async with redis_server() as redis, FaultProxy(redis.port) as network:
        settings = {"memory": {"max_entries": 0}, "file": {"enabled": False}}
        async with limited(network, settings) as gateway:
            async with asyncio.timeout(PATIENCE):
                while not (await gateway.admin("GET", "/redis/health")).json["connected"]:
                    await asyncio.sleep(0.01)
            assert (await gateway.get("/api/a")).verdict == "MISS"
            await gateway.settled()
            assert (await gateway.get("/api/a")).tier == "redis"
            await network.become(Delay(0.15))
            got = await gateway.get("/api/a")
            assert (got.verdict, got.status, got.header("ratelimit")) == ("MISS", 200, '"api";r=0;t=600')
