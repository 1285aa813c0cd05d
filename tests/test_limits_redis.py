"""Windows in a real Redis (rows 87, 88, 94): the arithmetic of the pure ones, one key a client that ends by itself,
whatever lies there already."""

import asyncio
import random
from typing import Any

import pytest

from proxy.limits.redis_lua import BUCKETS, LOG, NOW, RedisWindows
from proxy.limits.window import EXACT, Buckets, Log, Quota, Standing, Window
from proxy.redis.errors import Away, Refused
from proxy.redis.server import Script, Server, State
from tests.support.redis_servers import PATIENCE, redis_cluster, redis_server
from tests.support.redis_stores import NAMES, redis_link

EXACTLY, ABOUT = Quota(5, 60_000_000), Quota(EXACT + 1, 60_000_000)
KINDS = pytest.mark.parametrize(("kind", "lua"), [(Log, LOG), (Buckets, BUCKETS)])
TURNED = "local limit, window, take, clock = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3] == '1', tonumber(ARGV[4])\n"


async def told(server: Server, script: Script, key: str, quota: Quota, take: int, clock: int) -> Standing:
    allowed, remaining, wait = await server.script(script, [key], *quota, take, clock)
    return Standing(bool(allowed), int(remaining), int(wait))


def test_the_clock_that_a_test_turns_is_all_that_differs() -> None:
    assert (
        NOW.split("local time")[0].strip() == TURNED.replace(", clock", "").replace(", tonumber(ARGV[4])", "").strip()
    )


@KINDS
async def test_it_says_what_the_pure_window_says(kind: type[Window], lua: str) -> None:
    dice, script = random.Random(7), Script(TURNED + lua)
    async with redis_server() as redis, redis_link(redis.url) as server:
        for number in range(60):
            quota = Quota(dice.randint(1, 6), dice.randint(1, 20) * 1_000_000)
            window, now = kind(0), 1_700_000_000_000_000
            for _ in range(40):
                now += dice.choice([0, 0, 1, dice.randint(0, 3_000_000), dice.randint(0, 30_000_000)])
                take = dice.random() < 0.8
                wanted = window.take(quota, now) if take else window.peek(quota, now)
                assert await told(server, script, f"t:{number}", quota, int(take), now) == wanted


@KINDS
async def test_a_clock_that_is_set_back_stops_for_a_window_at_most(kind: type[Window], lua: str) -> None:
    quota, script, now = Quota(2, 60_000_000), Script(TURNED + lua), 1_700_000_000_000_000
    async with redis_server() as redis, redis_link(redis.url) as server:

        async def allowed(key: str, at: int) -> bool:
            return (await told(server, script, key, quota, 1, at)).allowed

        assert [await allowed("t:a", now) for _ in range(3)] == [True, True, False]
        assert not await allowed("t:a", now - 30_000_000)
        wait = (await told(server, script, "t:a", quota, 0, now - 30_000_000)).wait
        assert await allowed("t:a", now - 30_000_000 + wait)
        assert [await allowed("t:b", now) for _ in range(3)] == [True, True, False]
        assert [await allowed("t:b", now - 3_600_000_000) for _ in range(3)] == [True, True, False]
        assert 0 < await redis.command("PTTL", "t:b") <= 120_000


@pytest.mark.parametrize("quota", [EXACTLY, ABOUT])
async def test_each_client_has_one_key_with_an_end(quota: Quota) -> None:
    async with redis_server() as redis, redis_link(redis.url) as server:
        windows = RedisWindows(server, NAMES)
        for client in ("x-api-key:s3cret id rule", "b", "b", "c"):
            await windows.take(client, quota)
        await windows.peek("d", quota)
        keys = await redis.command("KEYS", "*")
        assert len(keys) == 3
        assert all(key.startswith(b"test:rate_limit:{") and b"s3cret" not in key for key in keys)
        for key in keys:
            assert 0 < await redis.command("PTTL", key) <= 2 * quota.window / 1000
        assert (await windows.peek("b", quota)).remaining == quota.limit - 2
        assert (await windows.peek("b", Quota(quota.limit, 1_000_000))).remaining == quota.limit


async def test_a_window_ends_by_the_servers_own_clock() -> None:
    async with redis_server() as redis, redis_link(redis.url) as server:
        windows, quota = RedisWindows(server, NAMES), Quota(1, 1_000_000)
        first = await windows.take("a", quota)
        second = await windows.take("a", quota)
        assert (first.allowed, second.allowed) == (True, False)
        assert 0 < second.wait <= first.wait == 1_000_000
        await redis.until(lambda keys: keys == [], "KEYS", "*")
        assert (await windows.take("a", quota)).allowed


FOREIGN: list[tuple[Any, ...]] = [("SET", "no number"), ("SADD", "x"), ("RPUSH", "x", "y"), ("HSET", "f", "v")]


@pytest.mark.parametrize("quota", [EXACTLY, ABOUT])
@pytest.mark.parametrize("foreign", FOREIGN, ids=lambda words: words[0])
async def test_what_is_none_of_ours_is_replaced(quota: Quota, foreign: tuple[Any, ...]) -> None:
    async with redis_server() as redis, redis_link(redis.url) as server:
        windows = RedisWindows(server, NAMES)
        await windows.take("a", quota)
        (key,) = await redis.command("KEYS", "*")
        await redis.command("UNLINK", key)
        await redis.command(foreign[0], key, *foreign[1:])
        first = await windows.take("a", quota)
        assert (first.allowed, first.remaining) == (True, quota.limit - 1)
        assert (await windows.take("a", quota)).remaining == quota.limit - 2
        assert await redis.command("PTTL", key) > 0


@pytest.mark.parametrize("quota", [Quota(50, 60_000_000), Quota(EXACT + 500, 60_000_000)])
async def test_many_at_once_get_exactly_the_limit(quota: Quota) -> None:
    async with redis_server() as redis, redis_link(redis.url) as one, redis_link(redis.url) as other:
        both = [RedisWindows(server, NAMES) for server in (one, other)]
        said = await asyncio.gather(*(both[n % 2].take("a", quota) for n in range(quota.limit + 200)))
        assert sum(each.allowed for each in said) == quota.limit
        assert sorted(each.remaining for each in said if each.allowed) == list(range(quota.limit))


@pytest.mark.slow
async def test_clients_are_spread_over_a_cluster() -> None:
    async with redis_cluster() as cluster, redis_link(cluster.url) as server:
        windows = RedisWindows(server, NAMES)
        said = [await windows.take(f"{n % 30}", Quota(2, 60_000_000)) for n in range(90)]
        assert [each.allowed for each in said] == [True] * 60 + [False] * 30
        sizes = [await master.command("DBSIZE") for master in cluster.masters]
        assert sum(sizes) == 30
        assert all(sizes)


@pytest.mark.parametrize("quota", [EXACTLY, ABOUT])
async def test_what_cannot_be_written_is_said(quota: Quota) -> None:
    async with redis_server("maxmemory 1", "maxmemory-policy noeviction") as redis, redis_link(redis.url) as server:
        with pytest.raises(Refused):
            await RedisWindows(server, NAMES).take("a", quota)
        await redis.kill()
        with pytest.raises(Away):
            await RedisWindows(server, NAMES).take("a", quota)


async def test_a_refusal_does_not_prove_that_redis_takes_writes() -> None:
    quota = Quota(1, 60_000_000)
    async with redis_server() as redis, redis_link(redis.url) as server:
        windows = RedisWindows(server, NAMES)
        assert (await windows.take("a", quota)).allowed
        await redis.command("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(Refused):
            await windows.take("b", quota)
        async with asyncio.timeout(PATIENCE):
            while not server.writable:
                with pytest.raises(Away):
                    await windows.take("a", quota)
                await asyncio.sleep(0.01)
        assert not (await windows.take("a", quota)).allowed
        assert server.state is State.DEGRADED
