"""The servers and the faults that the tests of Redis stand on do what they say."""

import asyncio
import os
import socket
from pathlib import Path

import pytest
import redis.asyncio as redis_py
from redis.exceptions import ConnectionError as NotConnected
from redis.exceptions import NoPermissionError, RedisError
from redis.exceptions import TimeoutError as NoAnswer

from tests.support.faults import Cut, Delay, FaultProxy, Pass, Rate, Refuse, ReservedPort, Stall, Way
from tests.support.origin import FIN, RST
from tests.support.rawtcp import Raw, raw
from tests.support.redis_servers import (
    NoRedisServer,
    RedisServer,
    find_redis,
    redis_cluster,
    redis_over_tls,
    redis_sentinel,
    redis_server,
)

ECHO, HELLO = b"ECHO hello\r\n", b"$5\r\nhello\r\n"  # a whole request and its answer, on the wire


async def read(connection: Raw, size: int) -> bytes:
    async with asyncio.timeout(20):
        return await connection.reader.readexactly(size)


# -- which program -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("version", "taken"), [("6.2.7", False), ("7.0.15", True), ("10.1.0", True)])
def test_a_new_enough_server_on_path_is_taken(tmp_path: Path, version: str, taken: bool) -> None:
    program = tmp_path / "redis-server"
    program.write_text(f"#!/bin/sh\necho 'Redis server v={version} sha=00000000:0 malloc=libc bits=64'\n")
    program.chmod(0o755)
    if taken:
        assert find_redis(str(tmp_path)) == str(program)
    else:
        with pytest.raises(NoRedisServer, match="is older, and no_such_package is not installed"):
            find_redis(str(tmp_path), "no_such_package")


def test_none_at_all_is_an_error_that_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(NoRedisServer, match=r"none on PATH.* Install the test extra"):
        find_redis(str(tmp_path), "no_such_package")


# -- one server --------------------------------------------------------------------------------------------------------


async def test_every_way_in_leads_to_the_same_server() -> None:
    async with redis_server(password="p@ss/\"w'rd") as redis, redis_over_tls(redis) as tls:
        ways = (
            redis_py.from_url(redis.url),
            redis_py.from_url(redis.unix_url),
            redis_py.from_url(tls.url, ssl_ca_certs=str(tls.ca_file)),
        )
        for i, way in enumerate(ways):
            async with way:
                assert await way.incr("asked") == i + 1
        assert tls.proxy.connections == 1
        async with redis.client(password=None) as stranger:
            with pytest.raises(RedisError, match="Authentication required"):
                await stranger.execute_command("PING")


async def test_options_and_acl_users() -> None:
    async with redis_server("maxmemory 5mb", "maxmemory-policy noeviction") as redis:
        assert await redis.command("CONFIG", "GET", "maxmemory") == [b"maxmemory", b"5242880"]
        await redis.command("ACL", "SETUSER", "reader", "on", ">secret", "~ours:*", "+get")
        async with redis.client(username="reader", password="secret") as reader:
            assert await reader.execute_command("GET", "ours:a") is None
            with pytest.raises(NoPermissionError):
                await reader.execute_command("SET", "ours:a", "b")


@pytest.mark.parametrize(
    ("persist", "empty", "kept"), [(False, False, None), (True, False, b"kept"), (True, True, None)]
)
async def test_killed_and_started_again(persist: bool, empty: bool, kept: bytes | None) -> None:
    async with redis_server(persist=persist) as redis:
        url, pid = redis.url, redis.pid
        await redis.command("SET", "a", "kept")
        await redis.kill()
        with pytest.raises(NotConnected):
            await redis.command("PING")
        await redis.start(empty=empty)
        assert redis.url == url
        assert redis.pid != pid
        assert await redis.command("GET", "a") == kept


async def test_stopped_it_accepts_and_obeys_later() -> None:
    async with redis_server() as redis:
        redis.stop()
        async with redis.client(socket_timeout=0.1) as client:
            with pytest.raises(NoAnswer):
                await client.execute_command("SET", "a", "late")
        redis.cont()
        await redis.until(lambda value: value == b"late", "GET", "a")


async def test_nothing_is_left_behind() -> None:
    async with redis_server() as redis:
        redis.stop()  # a stopped one is ended too
    with pytest.raises(ProcessLookupError):
        os.kill(redis.pid, 0)
    assert not redis.directory.exists()


async def test_one_that_does_not_start_shows_its_log() -> None:
    with pytest.raises(AssertionError, match="no-such-option"):
        async with redis_server("no-such-option 1"):
            pass


async def test_a_port_that_another_program_takes_is_given_up() -> None:
    redis = RedisServer(("save ''",))
    wanted = redis.port
    try:
        with socket.create_server(("127.0.0.1", wanted)):
            await redis.start()
        assert redis.port != wanted
        assert await redis.command("PING")
    finally:
        await redis.end()


def test_a_reserved_port_is_free_and_nobody_elses() -> None:
    ports = [ReservedPort() for _ in range(200)]
    assert len({port.number for port in ports}) == 200
    socket.create_server(("127.0.0.1", ports[0].number)).close()
    for port in ports:
        port.release()


async def test_monitor_holds_every_command_once_the_block_is_left() -> None:
    async with redis_server() as redis, redis.client() as client:
        async with redis.monitor() as lines:
            await client.set("a", "b c")
            await lines.caught_up()
            assert lines == ["SET a b c"]
            pipeline = client.pipeline(transaction=False)
            for _ in range(5000):
                pipeline.incr("n")
            await pipeline.execute()
            await client.eval("return redis.call('GET', KEYS[1])", 1, "a")
        await client.get("unseen")
        assert lines[1:] == ["INCRBY n 1"] * 5000 + ["EVAL return redis.call('GET', KEYS[1]) 1 a", "GET a"]


async def test_monitor_ends_with_its_server() -> None:
    async with redis_server() as redis, redis.monitor() as lines:
        await redis.command("SET", "a", "b")
        await lines.caught_up()
        await redis.kill()
    assert lines == ["SET a b"]


# -- many --------------------------------------------------------------------------------------------------------------


async def test_a_cluster_serves_every_slot() -> None:
    async with redis_cluster() as cluster:
        async with redis_py.RedisCluster(host="127.0.0.1", port=cluster.masters[1].port) as client:
            for i in range(100):
                assert await client.set(f"key{i}", str(i))
        held = [await master.command("DBSIZE") for master in cluster.masters]
        assert sum(held) == 100
        assert all(held)
        with pytest.raises(RedisError, match="hash to the same slot"):
            await cluster.masters[0].command("MGET", "key1", "key2")


@pytest.mark.slow
async def test_a_masters_replica_takes_its_slots() -> None:
    async with redis_cluster(replicas=True, password="secret") as cluster:
        await cluster.masters[0].kill()
        await cluster.replicas[0].until(lambda role: role[0] == b"master", "ROLE")
        await cluster.ready()
        await cluster.masters[0].start()
        await cluster.masters[0].until(lambda role: role[0] == b"slave", "ROLE")


async def test_sentinels_promote_the_replica_of_a_killed_primary() -> None:
    async with redis_sentinel(password="secret") as group:
        first, second = group.servers
        assert await group.primary() is first
        await first.command("SET", "a", "b")
        await first.command("WAIT", 1, 20_000)
        await first.kill()
        await group.until_primary(second)
        assert await group.primary() is second
        assert await second.command("GET", "a") == b"b"
        await first.start()
        await first.until(lambda role: role[0] == b"slave", "ROLE")


# -- faults ------------------------------------------------------------------------------------------------------------


async def test_the_proxy_passes_on_and_counts() -> None:
    async with redis_server() as redis, FaultProxy(redis.port) as proxy:
        async with raw(proxy.port) as a, raw(proxy.port) as b:
            for connection in (a, b, a):
                await connection.send(ECHO)
                assert await read(connection, len(HELLO)) == HELLO
            assert (proxy.connections, proxy.open) == (2, 2)
        await proxy.until(lambda: proxy.open == 0)
        assert (proxy.to_server, proxy.to_client) == (3 * len(ECHO), 3 * len(HELLO))
        big = "x" * 5_000_000
        async with redis.client(port=proxy.port) as client:
            await client.set("big", big)
            assert await client.get("big") == big.encode()


async def test_refuse_closes_the_port_and_leaves_open_connections() -> None:
    async with redis_server() as redis, FaultProxy(redis.port) as proxy, raw(proxy.port) as early:
        await early.send(ECHO)
        await read(early, len(HELLO))
        await proxy.become(Refuse())
        with pytest.raises(ConnectionRefusedError):
            async with raw(proxy.port):
                pass
        await early.send(ECHO)
        assert await read(early, len(HELLO)) == HELLO
        await proxy.become(Pass())
        async with raw(proxy.port) as late:
            await late.send(ECHO)
            assert await read(late, len(HELLO)) == HELLO


async def test_stall_holds_connections_old_and_new_and_loses_nothing() -> None:
    async with redis_server() as redis, FaultProxy(redis.port) as proxy, raw(proxy.port) as old:
        await old.send(ECHO)
        await read(old, len(HELLO))
        await proxy.become(Stall())
        async with raw(proxy.port) as new:
            for connection in (old, new):
                await connection.send(ECHO)
            await proxy.until(lambda: proxy.connections == 2)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(old.reader.read(1), 0.1)
            assert (proxy.to_server, new.received) == (len(ECHO), 0)
            assert len((await redis.command("CLIENT", "LIST")).splitlines()) == 2  # the old one, and this
            await proxy.become(Pass())
            for connection in (old, new):
                assert await read(connection, len(HELLO)) == HELLO


async def test_a_client_that_leaves_a_stalled_connection_is_noticed() -> None:
    async with redis_server() as redis, FaultProxy(redis.port) as proxy:
        await proxy.become(Stall())
        async with raw(proxy.port) as connection:
            await connection.send(ECHO)
            await proxy.until(lambda: proxy.open == 1)
        await proxy.until(lambda: proxy.open == 0)


async def test_delay_is_that_of_the_answer() -> None:
    async with redis_server() as redis, FaultProxy(redis.port) as proxy, raw(proxy.port) as connection:
        await proxy.become(Delay(3600))
        await connection.send(b"SET a b\r\n")
        await redis.until(lambda value: value == b"b", "GET", "a")
        assert connection.received == 0
        await proxy.become(Delay(0.01))
        assert await read(connection, 5) == b"+OK\r\n"


async def test_rate_lets_little_through_at_a_time() -> None:
    async with redis_server() as redis, FaultProxy(redis.port) as proxy, raw(proxy.port) as connection:
        await redis.command("SET", "big", b"x" * 100_000)
        await proxy.become(Rate(200))
        await connection.send(b"GET big\r\n")
        assert await read(connection, 9) == b"$100000\r\n"
        assert connection.received <= 100
        await proxy.become(Rate(10_000_000))
        assert await read(connection, 100_002) == b"x" * 100_000 + b"\r\n"


@pytest.mark.parametrize("by", [FIN, RST], ids=repr)
@pytest.mark.parametrize(
    ("way", "after", "asked", "told"),
    [
        ("to_client", 0, len(ECHO), b""),
        ("to_client", 3, len(ECHO), HELLO[:3]),
        ("to_client", len(HELLO), len(ECHO), HELLO),
        ("to_server", 0, 0, b""),
        ("to_server", 4, 4, b""),
    ],
)
async def test_cut_after_so_many_bytes(by: object, way: Way, after: int, asked: int, told: bytes) -> None:
    async with redis_server() as redis, FaultProxy(redis.port) as proxy, raw(proxy.port) as connection:
        await proxy.become(Cut(after, by, way))
        await connection.send(ECHO)
        assert await read(connection, len(told)) == told
        assert await connection.closed() == ("rst" if by is RST else "fin")
        assert (proxy.to_server, proxy.to_client) == (asked, len(told))


async def test_a_cut_counts_from_when_it_is_asked_for() -> None:
    async with redis_server() as redis, FaultProxy(redis.port) as proxy, raw(proxy.port) as connection:
        await connection.send(ECHO)
        await read(connection, len(HELLO))
        await proxy.become(Cut(len(HELLO) + 1))
        await connection.send(ECHO)
        assert await read(connection, len(HELLO)) == HELLO
        await connection.send(ECHO)
        assert await read(connection, 1) == HELLO[:1]
        assert await connection.closed() == "fin"


@pytest.mark.parametrize(("by", "ending"), [(FIN, "fin"), (RST, "rst")], ids=["FIN", "RST"])
async def test_cut_now_ends_what_is_open_and_serves_what_comes(by: object, ending: str) -> None:
    async with redis_server() as redis, FaultProxy(redis.port) as proxy:
        async with raw(proxy.port) as a, raw(proxy.port) as b:
            await proxy.until(lambda: proxy.connections == 2)
            proxy.cut(by)
            assert {await a.closed(), await b.closed()} == {ending}
        async with raw(proxy.port) as c:
            await c.send(ECHO)
            assert await read(c, len(HELLO)) == HELLO


async def test_the_end_of_the_server_is_passed_on() -> None:
    async with redis_server() as redis, FaultProxy(redis.port) as proxy:
        async with raw(proxy.port) as connection:
            await connection.send(ECHO)
            await read(connection, len(HELLO))
            await redis.kill()
            assert await connection.closed() in ("fin", "rst")
        async with raw(proxy.port) as connection:  # nobody listens behind
            assert await connection.closed() == "rst"
