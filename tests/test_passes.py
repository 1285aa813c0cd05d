"""One fetch at a time over all instances, as a fetch sees it: leave to fetch, or what another has fetched meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable
from time import time

from proxy.entry import Found
from proxy.outcome import Tier
from proxy.passes import Pass, Passes
from proxy.reasons import Why
from tests.support.entries import entry
from tests.support.redis_servers import redis_server
from tests.test_redis_lease import LEASE, RECORD, H, Member, member, two

STORED = Found(entry("/a"), Tier.REDIS)
Look = Callable[[], Awaitable[Found | None]]


def passes(one: Member, *, wait: float = 60.0) -> Passes:
    return Passes(one.leases, time, now=one.server.now, wait=wait, max_object=1000)


async def nothing() -> Found | None:
    return None


async def stored() -> Found | None:
    return STORED


async def asks(one: Passes, look: Look = nothing, known: int = 0) -> Pass | Found:
    """What comes of asking for leave; it is ended at once."""
    async with one.for_trip(H, H, known, look) as leave:
        return leave


def waiting(one: Passes, look: Look = nothing) -> "asyncio.Task[Pass | Found]":
    return asyncio.create_task(asks(one, look))


async def test_alone_everybody_has_leave_and_fences_rise() -> None:
    alone = Passes(None, time)
    fences = []
    for _ in range(100):
        leave = await asks(alone)
        assert isinstance(leave, Pass)
        fences.append(leave.fence)
    assert fences == sorted(fences)
    assert abs(fences[0] - time() * 1e6) < 60e6


async def test_who_waits_gets_what_the_other_has_fetched() -> None:
    async with two() as (redis, a, b):
        async with passes(a).for_trip(H, H, 0, nothing) as leave:
            assert isinstance(leave, Pass)
            later = waiting(passes(b), stored)
            await redis.until(lambda reply: reply == 1, "EXISTS", LEASE.replace("l:", "w:"))
            assert not later.done()
        assert await asyncio.wait_for(later, 20) is STORED
        assert await redis.command("EXISTS", LEASE) == 0


async def test_where_nothing_was_stored_who_waits_is_next_with_a_higher_fence() -> None:
    async with two() as (redis, a, b):
        async with passes(a).for_trip(H, H, 0, nothing) as first:
            assert isinstance(first, Pass)
            later = waiting(passes(b))
            await redis.until(lambda reply: reply == 1, "EXISTS", LEASE.replace("l:", "w:"))
        second = await asyncio.wait_for(later, 20)
        assert isinstance(second, Pass)
        assert second.fence > first.fence


async def test_what_could_not_be_kept_is_waited_for_by_nobody() -> None:
    async with two() as (_redis, a, b):
        async with passes(a).for_trip(H, H, 0, nothing) as leave:
            assert isinstance(leave, Pass)
            leave.tell(Why.PRIVATE)
        told = await asks(passes(b))
        assert isinstance(told, Pass)
        assert told.learnt is Why.PRIVATE


async def test_what_is_too_large_for_redis_is_let_go_as_soon_as_that_is_known() -> None:
    async with two() as (redis, a, b), passes(a).for_trip(H, H, 0, nothing) as leave:
        assert isinstance(leave, Pass)
        await leave.told_size(1000)
        later = waiting(passes(b))
        await redis.until(lambda reply: reply == 1, "EXISTS", LEASE.replace("l:", "w:"))
        await leave.told_size(1001)
        other = await asyncio.wait_for(later, 20)  # although the first goes on
        assert isinstance(other, Pass)
        assert other.learnt is None


async def test_what_was_stored_between_the_lookup_and_the_lease_is_found() -> None:
    async with redis_server() as redis, member(redis.url) as a:
        fence = a.server.now()
        assert fence is not None
        await redis.command("SET", RECORD, bytes(8) + fence.to_bytes(8) + b"...", "PX", 60_000)
        assert await asks(passes(a), stored) is STORED
        assert await redis.command("EXISTS", LEASE) == 0
        known = await asks(passes(a), stored, known=fence)  # that very one is to be renewed
        assert isinstance(known, Pass)
        assert known.fence > fence


async def test_waiting_is_bounded() -> None:
    async with two() as (_redis, a, b), passes(a).for_trip(H, H, 0, nothing):
        assert isinstance(await asyncio.wait_for(asks(passes(b, wait=0.05)), 20), Pass)


async def test_whoever_is_cancelled_gives_the_lease_back() -> None:
    async with two() as (redis, a, b):

        async def for_ever() -> None:
            async with passes(a).for_trip(H, H, 0, nothing):
                await asyncio.Event().wait()

        held = asyncio.create_task(for_ever())
        await redis.until(lambda reply: reply == 1, "EXISTS", LEASE)
        held.cancel()
        await asyncio.gather(held, return_exceptions=True)
        assert isinstance(await asyncio.wait_for(asks(passes(b)), 20), Pass)


async def test_without_redis_everybody_has_leave() -> None:
    async with redis_server() as redis, member(redis.url) as a:
        await redis.kill()
        assert isinstance(await asks(passes(a)), Pass)
