"""What Redis does to the stream: lost, emptied, put back, trimmed, full, read-only, spoiled (invariants 3 and 9).

A purge is never undone by it, and a Redis that restarts empty does not empty the instances.
"""

import asyncio
from pathlib import Path

import pytest

from proxy.invalidation.journal import DEAD
from proxy.invalidation.link import BLIND
from proxy.invalidation.local import LocalLog
from proxy.invalidation.shared import SharedLog
from proxy.redis.address import Address
from proxy.redis.dial import Patience
from proxy.redis.server import Server
from tests.support.faults import RST, FaultProxy, Pass, Refuse
from tests.support.instances import NAMES, Instance, instance, linked, until
from tests.support.redis_servers import HOST, RedisServer, redis_server

pytestmark = pytest.mark.slow


async def again(before: tuple[int, int] | None, *instances: Instance) -> None:
    """Wait until all are linked in another epoch."""
    assert before is not None
    await until(lambda: all((stamp := one.shared.stamp()) and stamp[0] != before[0] for one in instances))
    await linked(*instances)


async def deleted(redis: RedisServer) -> None:
    await redis.command("DEL", NAMES.stream)


async def emptied(redis: RedisServer) -> None:
    await redis.kill()
    await redis.start()


@pytest.mark.parametrize("lose", [deleted, emptied])
async def test_a_stream_that_is_lost_undoes_nothing_and_empties_nobody(tmp_path: Path, lose: object) -> None:
    assert callable(lose)
    async with (
        redis_server() as redis,
        instance(redis.url, tmp_path / "a") as a,
        instance(redis.url, None) as b,
        instance(redis.url, None) as c,
    ):
        await linked(a, b, c)
        await c.purge("before")
        dead = [one.fetch("t") for one in (a, b, c)]
        assert (await a.purge("t")).complete
        await linked(a, b, c)
        good = [one.fetch("t") for one in (a, b, c)]
        stamp = b.shared.stamp()
        assert stamp is not None
        await lose(redis)
        await again(stamp, a, b, c)
        assert [one.alive(each) for one, each in zip((a, b, c), dead, strict=True)] == [False] * 3
        assert [one.alive(each) for one, each in zip((a, b, c), good, strict=True)] == [True] * 3
        assert [one.floor for one in (a, b, c)] == [0] * 3
        assert a.found(good[1], stamp)  # what survived in Redis is worth what it was
        assert (await b.purge("t")).complete
        assert not any(one.alive(each) for one, each in zip((a, b, c), good, strict=True))
        assert not a.found(good[1], stamp)


async def test_what_only_one_had_read_is_told_to_the_others_when_the_stream_is_lost() -> None:
    async with (
        redis_server() as redis,
        FaultProxy(redis.port) as between,
        instance(redis.url, None) as a,
        instance(f"redis://{HOST}:{between.port}", None) as b,
    ):
        await linked(a, b)
        stored, fine, stamp = b.fetch("t"), b.fetch("u"), a.shared.stamp()
        await between.become(Refuse())
        between.cut(RST)
        await until(lambda: not b.shared.linked)
        await a.purge("t", seconds=0)
        await linked(a)
        await redis.command("DEL", NAMES.stream)
        b.check = lambda: b.alive(stored)
        await between.become(Pass())
        await again(stamp, a, b)
        assert b.obeyed[-1] is False or not b.alive(stored)  # who is first begins; the other tells
        await until(lambda: not b.alive(stored))
        assert b.alive(fine)


async def test_a_server_put_back_to_an_older_state(tmp_path: Path) -> None:
    async with redis_server() as redis, instance(redis.url, tmp_path) as a, instance(redis.url, None) as b:
        await linked(a, b)
        await a.purge("before")
        await redis.command("SAVE")
        stored = [one.fetch("t") for one in (a, b)]
        untouched, stamp = b.fetch("u"), a.shared.stamp()
        assert (await a.purge("t")).complete
        await redis.kill()
        await redis.start()
        await again(stamp, a, b)
        assert [a.alive(stored[0]), b.alive(stored[1]), b.alive(untouched)] == [False, False, True]
        async with instance(redis.url, None) as c:
            await linked(a, b, c)
            assert stamp is not None
            assert not c.found(stored[1], stamp)


async def test_put_back_while_those_who_know_are_away(tmp_path: Path) -> None:
    """The one who was cut off goes on in what was put back; the other one comes, and both know all."""
    async with (
        redis_server() as redis,
        FaultProxy(redis.port) as between,
        instance(f"redis://{HOST}:{between.port}", None) as b,
    ):
        async with instance(redis.url, tmp_path) as a:
            await linked(a, b)
            await a.purge("before")
            await linked(a, b)
            await redis.command("SAVE")
            here, there, stamp = a.fetch("u"), b.fetch("t"), b.shared.stamp()
            await between.become(Refuse())
            between.cut(RST)
            await until(lambda: not b.shared.linked)
            await a.purge("t", seconds=0)
            await linked(a)
        await redis.kill()
        await redis.start()
        await between.become(Pass())
        await linked(b)
        assert b.shared.stamp() == stamp
        await b.purge("u", seconds=0)
        async with instance(redis.url, tmp_path) as a:
            await again(stamp, a, b)
            assert not a.alive(here)
            assert not b.alive(there)


async def test_trimmed_past_one_who_was_cut_off(tmp_path: Path) -> None:
    async with (
        redis_server() as redis,
        FaultProxy(redis.port) as between,
        instance(redis.url, None, records=1) as a,
        instance(f"redis://{HOST}:{between.port}", tmp_path, records=1) as b,
    ):
        await linked(a, b)
        here, there, fine, stamp = a.fetch("u"), b.fetch("t"), b.fetch("u"), a.shared.stamp()
        await between.become(Refuse())
        between.cut(RST)
        await until(lambda: not b.shared.linked)
        await a.purge("t", seconds=0)
        purges = [a.made(f"x{number}") for number in range(1500)]
        await asyncio.gather(*map(a.shared.append, purges))
        await linked(a)
        assert (await redis.command("XLEN", NAMES.stream)) < 1100
        b.check = lambda: (b.alive(there), b.alive(fine))
        await between.become(Pass())
        await linked(a, b)
        assert b.obeyed[-1] == (False, False)  # it cannot know what it missed
        assert a.alive(here)
        assert a.shared.stamp() == b.shared.stamp()
        assert stamp is not None
        assert not b.found(here, stamp)
        now = a.shared.stamp()
        assert now is not None
        assert b.found(a.fetch("u"), now)
        assert (await b.purge("u")).complete
        assert not a.alive(here)


async def test_our_end_and_an_empty_redis_at_once(tmp_path: Path) -> None:
    async with redis_server() as redis, instance(redis.url, None) as b:
        async with instance(redis.url, tmp_path) as a:
            await linked(a, b)
            kept, stamp = a.fetch("u"), b.shared.stamp()
            there = b.fetch("t")
            await redis.kill()
            await until(lambda: not a.shared.linked and not b.shared.linked)
            assert await a.shared.append(a.made("t"))
        async with instance(redis.url, tmp_path) as a:
            await redis.start()
            await again(stamp, a, b)
            assert not b.alive(there)
            assert a.alive(kept)


async def test_a_full_redis_is_read_and_told_later() -> None:
    async with (
        redis_server("maxmemory-policy noeviction") as redis,
        instance(redis.url, None) as a,
        instance(redis.url, None) as b,
    ):
        await linked(a, b)
        await redis.command("CONFIG", "SET", "maxmemory", 1)
        there = b.fetch("t")
        spread = await a.purge("t", seconds=1)
        assert not spread.complete
        assert (a.shared.unsent, a.shared.linked, b.shared.linked) == (1, True, True)
        await redis.command("CONFIG", "SET", "maxmemory", 0)
        await until(lambda: not b.alive(there))
        await linked(a, b)
        assert [linked for linked, _ in a.links] == [True]


async def test_a_read_only_redis_is_read_and_told_later() -> None:
    async with redis_server() as redis, instance(redis.url, None) as a, instance(redis.url, None) as b:
        await linked(a, b)
        there = b.fetch("t")
        await redis.command("REPLICAOF", HOST, 1)  # nobody listens there
        purge = a.made("t")
        a.shared.append(purge).close()
        assert not (await a.shared.spread(purge.id)).complete
        assert b.alive(there)
        await redis.command("REPLICAOF", "NO", "ONE")
        await until(lambda: not b.alive(there))
        await linked(a, b)
        await until(lambda: a.shared.told(purge.id).complete)


@pytest.mark.parametrize("key", [NAMES.stream, NAMES.instances])
@pytest.mark.parametrize("put", [("SET", "theirs"), ("RPUSH", "theirs")], ids=lambda put: put[0])
async def test_something_else_under_our_names_goes_and_undoes_nothing(key: str, put: tuple[str, str]) -> None:
    async with redis_server() as redis, instance(redis.url, None) as a, instance(redis.url, None) as b:
        await linked(a, b)
        assert (await a.purge("before")).complete
        there, fine = b.fetch("t"), b.fetch("u")
        await redis.command("DEL", key)
        await redis.command(put[0], key, put[1])
        await a.purge("t", seconds=0)
        await until(lambda: not b.alive(there))
        await linked(a, b)
        assert b.alive(fine)
        assert (await b.purge("u")).complete


async def test_a_sign_of_life_from_a_time_to_come_is_waited_for_no_longer() -> None:
    """The server's clock was set back, and the one who gave it has died."""
    async with redis_server() as redis, instance(redis.url, None) as a:
        await linked(a)
        stamp = a.shared.stamp()
        assert stamp is not None
        await redis.command("HSET", NAMES.instances, "dead", f"{stamp[1] + 3_600_000_000} 1 1 p")
        spread = await a.purge("t")
        assert spread.complete
        assert spread.instances == {a.shared.instance: "applied"}
        gone = False
        async with asyncio.timeout(20):
            while not gone:
                gone = not await redis.command("HEXISTS", NAMES.instances, "dead")


@pytest.mark.parametrize(
    "words",
    [
        ("*", "a", "b"),
        ("*", "e", "{e}", "p", "{n}"),  # no content
        ("*", "e", "{e}", "p", "{n}", "d", "\xff"),
        ("*", "e", "{e}", "p", "{n}", "d", '{"purge":{"id":1}}'),
        ("*", "e", "{e}", "p", "{n}", "d", '{"purge":{"id":"a","kind":"tag","names":[7],"soft":0,"at":0,"origin":""}}'),
        (
            "*",
            "e",
            "{e}",
            "p",
            "{n}",
            "d",
            '{"purge":{"id":"a","kind":"cookie","names":[],"soft":0,"at":0,"origin":""}}',
        ),
        ("*", "e", "{e}", "p", "0", "d", "{}"),
        ("*", "e", "7", "p", "{n}", "d", "{}"),
    ],
)
async def test_what_is_none_of_our_records_is_trusted_with_nothing(words: tuple[str, ...]) -> None:
    async with redis_server() as redis, instance(redis.url, None) as a, instance(redis.url, None) as b:
        await linked(a, b)
        stored, stamp = b.fetch("t"), a.shared.stamp()
        assert stamp is not None
        epoch, number = stamp
        filled = [word.replace("{e}", str(epoch)).replace("{n}", str(number)) for word in words]
        filled[0] = f"{number + 1_000_000}-0"
        await redis.command("XADD", NAMES.stream, *filled)
        await until(lambda: (now := b.shared.stamp()) is not None and now[1] > number)
        await linked(a, b)
        if len(words) > 5 and words[4] == "{n}" and words[2] == "{e}":
            assert b.shared.ended(stored) == DEAD  # it may have been a purge
        assert (await a.purge("t")).complete
        assert not b.alive(stored)


def test_a_strict_instance_is_blind_after_a_while() -> None:
    now = [100.0]

    def made(strict: bool) -> SharedLog:
        server = Server(Address(), Patience(), lambda state, reason: None)
        return SharedLog(LocalLog(None, shares=True), server, NAMES, strict=strict, clock=lambda: now[0])

    strict, serves = made(True), made(False)
    assert not strict.blind
    now[0] += BLIND - 1
    assert not strict.blind
    now[0] += 1
    assert strict.blind
    assert not serves.blind
