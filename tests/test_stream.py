"""Instances over one stream in a real Redis: what one purges holds on all, whoever was cut off (invariant 3)."""

import asyncio
from pathlib import Path

import pytest

from proxy.invalidation.journal import DEAD
from proxy.redis.dial import Patience
from tests.support.faults import RST, Cut, FaultProxy, Pass, Refuse, Stall
from tests.support.instances import NAMES, instance, linked, until
from tests.support.redis_servers import HOST, redis_cluster, redis_server


async def test_a_purge_holds_on_every_instance(tmp_path: Path) -> None:
    async with redis_server() as redis, instance(redis.url, tmp_path / "a") as a, instance(redis.url, None) as b:
        await linked(a, b)
        here, there, other = a.fetch("t"), b.fetch("t"), b.fetch("u")
        spread = await a.purge("t")
        assert spread.complete
        assert spread.instances == {a.shared.instance: "applied", b.shared.instance: "applied"}
        assert [a.alive(here), b.alive(there), b.alive(other)] == [False, False, True]
        assert b.alive(b.fetch("t"))
        assert [purge.origin for purge in b.read] == [a.shared.instance]
        assert a.read == []  # its own is not applied again
        assert a.links == b.links == [(True, "")]


async def test_a_soft_purge_ends_lifetimes_when_it_is_applied_whatever_others_clocks_say(tmp_path: Path) -> None:
    async with redis_server() as redis, instance(redis.url, None) as a, instance(redis.url, None) as b:
        await linked(a, b)
        there = b.fetch("t")
        await a.purge("t", soft=True)  # made at 0.0 of its clock
        ended = b.shared.ended(there)
        assert ended is not None
        assert ended > 1_700_000_000


async def test_an_answer_in_redis_is_worth_what_its_stamp_says(tmp_path: Path) -> None:
    async with redis_server() as redis, instance(redis.url, None) as a, instance(redis.url, None) as b:
        await linked(a, b)
        await a.purge("before")
        stored, stamp = a.fetch("t"), a.shared.stamp()
        assert stamp is not None
        await linked(a, b)
        assert b.found(stored, stamp)
        await b.purge("u")
        assert b.found(stored, stamp)
        await a.purge("t")
        await linked(a, b)
        assert not b.found(stored, stamp)
        assert not a.found(stored, stamp)
        again = b.shared.stamp()
        assert again is not None
        assert a.found(b.fetch("t"), again)
        assert b.shared.local(stamp[0], again[1] + 1) is None  # from one who has read more than we
        assert b.shared.local(stamp[0] + 1, again[1]) is None


async def test_one_who_comes_later_reads_what_was_before(tmp_path: Path) -> None:
    async with redis_server() as redis, instance(redis.url, None) as a:
        await linked(a)
        old, stamp = a.fetch("t"), a.shared.stamp()
        assert stamp is not None
        for number in range(300):
            await a.purge(f"t{number}")
        await a.purge("t")
        fresh, later = a.fetch("t"), a.shared.stamp()
        assert later is not None
        async with instance(redis.url, None) as b:
            await linked(a, b)
            assert not b.found(old, stamp)
            assert b.found(fresh, later)


async def test_cut_off_with_100_purges_inside(tmp_path: Path) -> None:
    async with (
        redis_server() as redis,
        FaultProxy(redis.port) as between,
        instance(redis.url, None) as a,
        instance(f"redis://{HOST}:{between.port}", tmp_path / "b") as b,
    ):
        await linked(a, b)
        stored = [b.fetch(f"t{number}") for number in range(100)]
        untouched = b.fetch("u")
        await between.become(Refuse())
        between.cut(RST)
        await until(lambda: not b.shared.linked)
        assert b.shared.stamp() is None
        for number in range(100):
            await a.purge(f"t{number}", seconds=0)
        own = a.fetch("o")
        assert not (await b.purge("o")).complete
        assert all(b.alive(each) for each in stored)
        b.check = lambda: [b.alive(each) for each in stored]
        await between.become(Pass())
        await linked(a, b)
        assert b.obeyed[-1] == [False] * 100  # when it said that it was linked, and not after
        assert b.alive(untouched)
        assert not a.alive(own)


@pytest.mark.parametrize("stalls", [True, False])
async def test_one_who_does_not_answer_is_pending_and_then_obeys(stalls: bool) -> None:
    async with (
        redis_server() as redis,
        FaultProxy(redis.port) as between,
        instance(redis.url, None) as a,
        instance(f"redis://{HOST}:{between.port}", None) as b,
    ):
        await linked(a, b)
        if stalls:
            await between.become(Stall())
        else:
            await between.become(Refuse())
            between.cut(RST)
        stored = b.fetch("t")
        purge = a.made("t")
        a.shared.append(purge).close()
        spread = await a.shared.spread(purge.id, 0.2)
        assert not spread.complete
        assert spread.instances == {a.shared.instance: "applied", b.shared.instance: "pending"}
        await until(lambda: not b.shared.linked)
        await between.become(Pass())
        await until(lambda: a.shared.told(purge.id).complete and b.shared.linked)
        assert not b.alive(stored)


async def test_one_who_has_just_come_is_waited_for() -> None:
    async with redis_server() as redis, instance(redis.url, None) as a:
        await linked(a)
        async with instance(redis.url, None) as b:
            await until(lambda: b.shared.linked)
            spread = await a.purge("t")
            assert spread.complete
            assert spread.instances == {a.shared.instance: "applied", b.shared.instance: "applied"}


async def test_one_who_died_is_waited_for_no_longer(tmp_path: Path) -> None:
    async with redis_server() as redis, instance(redis.url, None) as a:
        async with instance(redis.url, None) as b:
            await linked(a, b)
        spread = await a.purge("t")  # it has said farewell
        assert spread.complete
        assert spread.instances == {a.shared.instance: "applied"}


async def test_what_was_not_told_is_told_in_its_order_when_the_link_is_there(tmp_path: Path) -> None:
    async with redis_server() as redis, instance(redis.url, None) as b:
        await linked(b)
        await redis.kill()
        await until(lambda: not b.shared.linked)
        async with instance(redis.url, tmp_path, start=False) as a:
            purges = [a.made(f"t{number % 7}") for number in range(200)]
            assert all(await asyncio.gather(*map(a.shared.append, purges)))
            assert not (await a.shared.spread(purges[0].id)).complete
            assert a.shared.unsent == 200
        await redis.start()
        async with instance(redis.url, tmp_path) as a:  # they outlived its end
            assert a.shared.unsent == 200
            await linked(a, b)
            assert [purge.id for purge in b.read] == [purge.id for purge in purges]


async def test_the_end_between_writing_it_down_and_sending_it(tmp_path: Path) -> None:
    """What kill -9 leaves: the line is on disk, and nobody was told."""
    async with redis_server() as redis, instance(redis.url, None) as b:
        await linked(b)
        stored = b.fetch("t")
        async with instance(redis.url, tmp_path / "a", start=False) as a:
            assert await a.shared.append(a.made("t"))
            left = (tmp_path / "a" / "journal").read_bytes()
        (tmp_path / "again").mkdir()
        (tmp_path / "again" / "journal").write_bytes(left)
        assert b.alive(stored)
        async with instance(redis.url, tmp_path / "again") as a:
            await linked(a, b)
            assert not b.alive(stored)


async def test_a_restart_knows_what_answers_in_redis_are_worth(tmp_path: Path) -> None:
    async with redis_server() as redis, instance(redis.url, None) as b:
        async with instance(redis.url, tmp_path) as a:
            await linked(a, b)
            dead, old = b.fetch("t"), b.shared.stamp()
            await b.purge("t")
            good, stamp = b.fetch("t"), b.shared.stamp()
            await a.purge("u")
            await b.purge("v")
            kept = a.fetch("t")
        await b.purge("w")
        async with instance(redis.url, tmp_path) as a:
            await linked(a, b)
            assert old is not None
            assert stamp is not None
            assert a.found(good, stamp)
            assert not a.found(dead, old)
            assert a.alive(kept)
            assert [purge.names for purge in a.read] == [("w",)]  # nothing twice


async def test_a_reply_that_was_lost_purges_once(tmp_path: Path) -> None:
    async with (
        redis_server() as redis,
        FaultProxy(redis.port) as between,
        instance(f"redis://{HOST}:{between.port}", None) as a,
        instance(redis.url, None) as b,
    ):
        await linked(a, b)
        assert (await a.purge("u")).complete  # Redis knows the script
        await between.become(Cut(after=0, by=RST))  # what it asks arrives, and no answer
        purge = a.made("t")
        a.shared.append(purge).close()
        await until(lambda: len(b.read) > 1)
        await between.become(Pass())
        await linked(a, b)
        assert [read.id for read in b.read[1:]] == [purge.id]
        fresh = b.fetch("t")
        assert (await a.purge("u")).complete
        assert b.alive(fresh)


async def test_redis_that_hangs_ends_the_link_and_nobody_waits_for_it(tmp_path: Path) -> None:
    async with redis_server() as redis, instance(redis.url, None) as a, instance(redis.url, None) as b:
        await linked(a, b)
        redis.stop()
        await until(lambda: not a.shared.linked and not b.shared.linked)
        assert a.links[-1][1]
        stored = b.fetch("t")
        assert not (await a.purge("t")).complete
        redis.cont()
        await linked(a, b)
        assert not b.alive(stored)


async def test_two_of_the_same_name_are_told_apart(tmp_path: Path) -> None:
    """A directory was copied with all that is in it."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "instance").write_text("abcd\n")
    async with (
        redis_server() as redis,
        instance(redis.url, tmp_path / "a") as a,
        instance(redis.url, tmp_path / "b") as b,
    ):
        await until(lambda: a.shared.instance != b.shared.instance)
        await linked(a, b)
        there = b.fetch("t")
        spread = await a.purge("t", seconds=0.5)
        assert {a.shared.instance, b.shared.instance} <= spread.instances.keys()
        assert not b.alive(there)


async def test_only_our_keys_and_none_without_an_end(tmp_path: Path) -> None:
    async with redis_server() as redis:
        async with redis.monitor() as monitored, instance(redis.url, None) as a, instance(redis.url, None) as b:
            await linked(a, b)
            await a.purge("t")
            keys = sorted(await redis.command("KEYS", "*"))
            assert keys == [NAMES.instances.encode(), NAMES.stream.encode()]
            assert all([await redis.command("TTL", key) > 86400 for key in keys])
        asked = {line.split()[0].upper() for line in monitored} - {"KEYS", "TTL"}
        assert not asked & {"CLIENT", "CONFIG", "FLUSHALL", "FLUSHDB", "SCAN", "DEBUG"}


@pytest.mark.slow
async def test_in_a_cluster(tmp_path: Path) -> None:
    patient = Patience(5.0, 5.0)
    async with (
        redis_cluster() as cluster,
        instance(cluster.url, tmp_path, patience=patient) as a,
        instance(cluster.url, None, patience=patient) as b,
    ):
        await linked(a, b)
        stored, fine = b.fetch("t"), b.fetch("u")
        assert (await a.purge("t")).complete
        assert b.shared.ended(stored) == DEAD
        assert b.alive(fine)
