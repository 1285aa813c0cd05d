"""One server, a cluster, Sentinels, TLS, a socket: the same calls do the same everywhere (rows 41-43, 47)."""

import asyncio

import pytest

from proxy.redis.address import Address, Mode
from proxy.redis.census import info, ping
from proxy.redis.dial import Patience
from proxy.redis.errors import RedisError
from proxy.redis.keys import Names
from proxy.redis.reach import reach
from proxy.redis.server import Script, Server, State
from tests.support.redis_servers import redis_cluster, redis_over_tls, redis_sentinel, redis_server
from tests.test_redis_server import linked

NAMES = Names("t:")
COUNT = Script("redis.call('SET', KEYS[1], ARGV[1], 'PX', 60000) return redis.call('GET', KEYS[2])")


async def works(server: Server) -> None:
    """Reads, writes and scripts over many slots, and what the pages ask."""
    hashes = [f"{number:064x}" for number in range(40)]
    wrote = [server.call("SET", NAMES.entry(name), name, "PX", 60_000, write=True) for name in hashes]
    assert await asyncio.gather(*wrote) == [True] * len(hashes)
    assert await asyncio.gather(*(server.call("GET", NAMES.entry(name)) for name in hashes)) == [
        name.encode() for name in hashes
    ]
    scripts = [server.script(COUNT, [NAMES.lease(name), NAMES.entry(name)], 1) for name in hashes]
    assert await asyncio.gather(*scripts) == [name.encode() for name in hashes]
    assert await ping(server) >= 0.0
    assert (await info(server, "memory"))["used_memory"] > 0
    assert "executable" not in await info(server, "server")
    assert (await info(server, "keyspace"))["db0"]["keys"] >= 80


async def test_a_socket() -> None:
    async with redis_server() as redis, linked(redis.unix_url) as heard:
        await works(heard.server)


async def test_tls() -> None:
    async with redis_server() as redis, redis_over_tls(redis) as tls:
        async with linked(f"{tls.url}?ca_file={tls.ca_file}") as heard:
            await works(heard.server)
        async with linked(tls.url, reach=False) as heard:
            assert not await heard.server.looked(20)
            assert "certificate" in heard.server.reason.lower()


@pytest.mark.slow
async def test_a_cluster_by_its_name() -> None:
    async with redis_cluster(password="pw-1234") as cluster, linked(cluster.url) as heard:
        assert heard.server.mode is Mode.CLUSTER
        await works(heard.server)
        assert len(heard.server.masters()) == 3


@pytest.mark.slow
async def test_a_plain_address_of_a_cluster_is_found_out() -> None:
    async with redis_cluster() as cluster:
        port = cluster.masters[0].port
        async with linked(f"redis://127.0.0.1:{port}") as heard:
            assert heard.server.mode is Mode.CLUSTER
            await works(heard.server)
        async with linked(f"redis://127.0.0.1:{port}/1", reach=False) as heard:
            assert not await heard.server.looked(20)
            assert "only db 0" in heard.server.reason


@pytest.mark.slow
async def test_sentinels_and_a_failover() -> None:
    async with redis_sentinel() as sentinel:
        async with linked(sentinel.url) as heard:
            assert heard.server.mode is Mode.SENTINEL
            await works(heard.server)
            await sentinel.servers[0].kill()
            await sentinel.until_primary(sentinel.servers[1])
            async with asyncio.timeout(20):
                while not await _wrote(heard.server):
                    await asyncio.sleep(0.05)
            assert heard.server.state is State.READY
        async with linked(f"redis://127.0.0.1:{sentinel.sentinels[0].port}", reach=False) as heard:
            assert not await heard.server.looked(20)
            assert "redis+sentinel://" in heard.server.reason


async def _wrote(server: Server) -> bool:
    try:
        return bool(await server.call("SET", NAMES.probe("x"), "y", "PX", 60_000, write=True))
    except RedisError:
        return False


async def test_sentinels_that_cannot_be_asked_are_told_of_in_a_few_words() -> None:
    address = Address.parse("redis+sentinel://127.0.0.1:1,127.0.0.1:2/mymaster")
    with pytest.raises(RedisError) as told:
        await reach(address, Patience())
    assert told.value.reason == "no Sentinel that answers knows a primary of that name"
