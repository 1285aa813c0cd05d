"""Very many answers in Redis, and the operator's questions about them: each answered with bounded work (row 48), warm
starts and clears that are whole or not at all (rows 20, 54-56, 61, 67)."""

import asyncio
from typing import Any

import pytest

from tests.support.faults import ReservedPort
from tests.support.multiplied import MANY, NAMES, multiply
from tests.support.origin import Origin
from tests.support.process import PATIENCE, Process, instances, serving, session
from tests.support.redis_servers import RedisServer, redis_server

ALONE: dict[str, Any] = {"rules": [{"name": "all", "pattern": "*", "ttl": 600}], "file": {"enabled": False}}
ITEMS = tuple(f"/items/{number}" for number in range(30))


async def stored(redis: RedisServer) -> set[bytes]:
    """The names of the records."""
    async with redis.client() as client:
        return {key async for key in client.scan_iter(NAMES.entries)}


async def there(redis: RedisServer, number: int) -> None:
    """Wait until so many records are there."""
    async with asyncio.timeout(PATIENCE):
        while len(await stored(redis)) != number:
            await asyncio.sleep(0.01)


async def crowd(gateway: Process, origin: Origin, redis: RedisServer, number: int) -> None:
    """So many answers under /m, one of which was asked for."""
    for n in range(100):
        origin.answer(f"/m/{n}", body=b"x" * 200)
    await gateway.get("/m/0")
    await there(redis, 1)
    await multiply(redis, number)


# -- many --------------------------------------------------------------------------------------------------------------


async def test_a_listing_looks_at_some_and_says_so_and_a_key_is_found_among_all() -> None:
    async with redis_server() as redis, Origin() as origin, instances(1, origin, ALONE, redis.url) as (gateway,):
        await crowd(gateway, origin, redis, 2_500)
        assert {(await gateway.get(f"/m/{number}")).tier for number in (1, 2, 2_499)} == {"redis"}
        assert (await gateway.get("/m/1")).tier == "memory"  # which makes it the first to be shown
        async with redis.monitor() as seen:
            said = (await gateway.admin("GET", "/entries?limit=3")).json
        assert (len(said["entries"]), said["complete"], 3 <= said["total"] <= 2_004) == (3, False, True)
        assert said["entries"][0]["tier"] == "memory"
        assert sum(line.startswith("GETRANGE") for line in seen) < 6_000
        key = max(await stored(redis)).decode()[len(NAMES.prefix) + 3 : -1]
        for name in (key, key[:20]):
            async with redis.monitor() as seen:
                got = await gateway.admin("GET", f"/entries/{name}")
            assert (got.status, got.json["key"], got.json["rule"]) == (200, key, "all")
            assert sum(line.startswith("GETRANGE") for line in seen) < 20
            assert any(line.startswith("SCAN") for line in seen) is (name != key)
        for name in ("0" * 64, "0" * 20):
            assert (await gateway.admin("GET", f"/entries/{name}")).status == 404
        await gateway.admin("POST", "/purge", {"key": key[:20]})
        assert (await gateway.admin("GET", f"/entries/{key}")).status == 404
        assert (await gateway.admin("DELETE", "/redis?pattern=/m/*")).status in (200, 202)
        await there(redis, 0)
        said = (await gateway.admin("GET", "/entries")).json
        assert (said["complete"], said["total"] <= 4) == (True, True)  # of memory alone


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_200000_are_counted_purged_and_cleared_while_the_gateway_serves() -> None:
    number = 200_000
    async with redis_server() as redis, Origin() as origin, instances(2, origin, ALONE, redis.url) as (a, b):
        await crowd(a, origin, redis, number)
        async with asyncio.timeout(PATIENCE):
            while (await a.stats())["redis"]["keys"] != number + 1:  # the statistics do not wait for the count
                await asyncio.sleep(0.05)
        last = number - 1
        origin.answer(f"/m/{last}", body=b"new")
        async with redis.monitor() as seen:
            assert (await a.admin("POST", "/purge", {"tag": f"of:{last // MANY}"})).status == 200
            assert (await b.get(f"/m/{last}")).body == b"new"
            assert (await b.get("/m/1")).tier == "redis"
        assert len(seen) < 200  # whatever there is
        assert not any(line.startswith(("SCAN", "KEYS")) for line in seen)
        assert (await a.admin("GET", "/entries?limit=10&match=/m/77*")).json["complete"] is False

        async with redis.monitor() as seen:
            got = await a.admin("DELETE", "")
            assert (got.status, got.json["state"]) == (202, "running")
            some = [f"/m/{n}" for n in range(10, 30)]
            assert await b.verdicts(*some) == ["MISS"] * len(some)  # all of it is dead long before the last is gone
            again = await a.admin("DELETE", "")
            assert again.json.get("id", got.json["id"]) == got.json["id"]
            await a.logged(f"cleared every tier ({got.json['id']})")
        assert sum(line.startswith("SCAN") for line in seen) < 2 * number / 500  # one walk, and a count at the most
        assert len(await stored(redis)) <= len(some)  # what was stored behind the walk may stay
        assert await a.verdicts("/m/3", "/m/3") == ["MISS", "HIT"]


# -- cleared whole -----------------------------------------------------------------------------------------------------


async def test_a_clear_that_failed_forgets_nothing_of_what_redis_lacks() -> None:
    async with redis_server() as redis, Origin() as origin, instances(1, origin, ALONE, redis.url) as (gateway,):
        origin.answer("/before", body=b"x")
        await gateway.get("/before")
        await there(redis, 1)
        await redis.kill()
        origin.answer("/meanwhile", body=b"x")
        assert await gateway.verdicts("/meanwhile") == ["MISS"]
        assert (await gateway.admin("DELETE", "/redis")).status == 503
        await redis.start()
        await gateway.logged("answers stored meanwhile are there now")
        assert len(await stored(redis)) == 1


async def test_redis_is_a_tier_also_where_there_is_no_other() -> None:
    settings = {**ALONE, "memory": {"max_entries": 0}}
    async with redis_server() as redis, Origin() as origin, instances(1, origin, settings, redis.url) as (gateway,):
        origin.answer("/a", body=b"x" * 5000)
        await gateway.get("/a")
        await there(redis, 1)
        got = await gateway.get("/a")
        assert (got.verdict, got.tier, got.body) == ("HIT", "redis", b"x" * 5000)


# -- told and warmed ---------------------------------------------------------------------------------------------------


async def test_the_report_on_redis_stands_on_the_admin_port_alone() -> None:
    port = ReservedPort()
    settings = {**ALONE, "admin": {"port": port.number}}
    async with redis_server() as redis, Origin() as origin, session() as asking:
        origin.answer("/cache/ready", body=b"the site's")
        origin.answer("/api/health/redis", body=b"the site's")
        async with serving(origin, settings, "--redis-url", redis.url) as gateway:

            async def report() -> tuple[int, Any]:
                async with asking.get(f"http://127.0.0.1:{port.number}/api/health/redis") as got:
                    return got.status, await got.json()

            assert (await gateway.get("/api/health/redis")).body == b"the site's"
            async with asyncio.timeout(PATIENCE):
                while not (await report())[1]["connected"]:
                    await asyncio.sleep(0.01)
            status, said = await report()
            assert (status, said["status"], said["stats"]["redis"]["mode"]) == (200, "healthy", "shared")
            assert said["averageResponseTime"] == said["stats"]["responseTime"]["avg"] > 0
            assert "files" not in said["stats"]["file"]  # nobody showed a token
            await redis.kill()
            status, said = await report()
            assert (status, said["status"], said["stats"]["requests"]) == (503, "unhealthy", 2)
    port.release()


async def test_a_warm_start_brings_what_was_asked_for_most_from_redis() -> None:
    """Another instance did the asking, and has left; this one has a directory of its own with nothing in it."""
    async with redis_server() as redis, Origin() as origin:
        for path in ITEMS:
            origin.answer(path, body=path.encode())
        async with instances(1, origin, ALONE, redis.url) as (gateway,):
            await gateway.verdicts(*ITEMS, *ITEMS[:5], *ITEMS[:5])
            await there(redis, len(ITEMS))
        asked = origin.count()
        env = {"ENABLE_CACHE_WARMUP": "true", "REDIS_URL": redis.url}
        async with serving(origin, ALONE, env=env) as gateway:
            assert (await gateway.stats())["memory"]["size"] == 5  # as soon as it is ready
            assert {(await gateway.get(path)).tier for path in ITEMS[:5]} == {"memory"}
            assert origin.count() == asked
            await gateway.logged("warmed up: 5 answers")
