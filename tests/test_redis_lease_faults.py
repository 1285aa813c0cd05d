"""Leases when something fails: holders that die or stand still, a Redis that is away, full, read-only, or forbids."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from proxy.redis.dial import Patience
from proxy.redis.lease import Elsewhere, Held
from proxy.redis.server import State
from tests.support.faults import HOST, Delay, FaultProxy, Pass, Refuse
from tests.support.redis_servers import RedisServer, redis_server
from tests.test_redis_lease import FAR, LEASE, NAMES, H, Member, member, over, subscribed, two

pytestmark = pytest.mark.slow

QUICK = Patience(connect=0.2, read=0.2)
SHORT = 0.5  # seconds that a lease lasts

HOLDER = """
import asyncio, sys
from proxy.redis.address import Address
from proxy.redis.dial import Patience
from proxy.redis.keys import Names
from proxy.redis.lease import Leases
from proxy.redis.server import Server

async def hold(url, prefix, hash):
    server = Server(Address.parse(url), Patience(5, 5), lambda state, reason: None)
    leases = Leases(server, Names(prefix), instance="holder", seconds=1.0)
    server.start()
    leases.start()
    await server.looked(20)
    held = await leases.take(hash)
    print(held.fence, flush=True)
    while not held.lost:
        await asyncio.sleep(0.01)
    print("lost", flush=True)

asyncio.run(hold(*sys.argv[1:]))
"""


@asynccontextmanager
async def holder(redis: RedisServer) -> AsyncIterator[tuple[Process, int]]:
    """Another process that holds the lease for as long as it can, and its fence."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, redis.url, NAMES.prefix, H, stdout=PIPE
    )
    try:
        yield process, int(await line_of(process))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def line_of(process: Process) -> bytes:
    assert process.stdout is not None
    async with asyncio.timeout(20):
        return await process.stdout.readline()


async def calls(redis: RedisServer, command: str) -> int:
    """How often it was called so far, by scripts too."""
    stats = await redis.command("INFO", "commandstats")
    return int(stats.get(f"cmdstat_{command}", {}).get("calls", 0))


async def until_calls(redis: RedisServer, command: str, count: int) -> None:
    async with asyncio.timeout(20):
        while await calls(redis, command) < count:
            await asyncio.sleep(0.01)


async def until_state(each: Member, state: State) -> None:
    async with asyncio.timeout(20):
        while each.server.state is not state:
            await asyncio.sleep(0.01)


# -- holders -----------------------------------------------------------------------------------------------------------


async def test_a_lease_is_renewed_for_as_long_as_it_is_held() -> None:
    async with two(seconds=1.0) as (redis, a, b):
        held = await a.held()
        value = await redis.command("GET", LEASE)
        await until_calls(redis, "pexpire", 4)
        assert await redis.command("GET", LEASE) == value
        await b.elsewhere()
        assert not held.lost


async def test_a_holder_that_is_killed_is_followed_by_the_next() -> None:
    async with redis_server() as redis, member(redis.url) as a, holder(redis) as (process, fence):
        waits = asyncio.create_task(over(await a.elsewhere()))
        process.kill()
        await waits
        assert (await a.held()).fence > fence


async def test_a_holder_that_stood_still_learns_that_it_lost() -> None:
    async with redis_server() as redis, member(redis.url) as a, holder(redis) as (process, fence):
        elsewhere = await a.elsewhere()
        os.kill(process.pid, signal.SIGSTOP)
        await over(elsewhere)
        held = await a.held()
        os.kill(process.pid, signal.SIGCONT)
        assert await line_of(process) == b"lost\n"
        assert held.fence > fence
        await a.elsewhere()


async def test_who_comes_too_late_takes_nothing_away() -> None:
    async with redis_server() as redis, member(redis.url, start=False, seconds=SHORT) as a, member(redis.url, "b") as b:
        held = await a.held()
        await over(await b.elsewhere())
        value = (await b.held(), await redis.command("GET", LEASE))[1]
        await held.release("no-store")
        assert await redis.command("GET", LEASE) == value
        await a.elsewhere()


async def test_who_lost_the_lease_is_told_and_keeps_off() -> None:
    async with two(seconds=SHORT) as (redis, a, b):
        held = await a.held()
        await redis.command("SET", LEASE, "hanother", "PX", 60_000)
        async with asyncio.timeout(20):
            while not held.lost:
                await asyncio.sleep(0.01)
        await held.release()
        await b.elsewhere()
        assert len(a.leases) == 0


# -- takes whose answer nobody hears -----------------------------------------------------------------------------------


async def test_a_take_without_an_answer_leaves_no_lease_behind() -> None:
    async with (
        redis_server() as redis,
        FaultProxy(redis.port) as proxy,
        member(f"redis://{HOST}:{proxy.port}", patience=QUICK) as a,
    ):
        await (await a.held("scripts are known")).release()
        await proxy.become(Delay(5.0))
        unheard = asyncio.create_task(a.leases.take(H))
        given_up = asyncio.create_task(a.leases.take(H, "given up"))
        await redis.until(lambda reply: len(reply) == 2, "KEYS", f"{NAMES.prefix}l:*")
        given_up.cancel()
        assert await unheard is None
        await asyncio.gather(given_up, return_exceptions=True)
        await proxy.become(Pass())
        await redis.until(lambda reply: reply == [], "KEYS", f"{NAMES.prefix}l:*")


async def test_a_take_that_comes_when_nobody_waits_for_it_does_nothing() -> None:
    async with redis_server() as redis, member(redis.url, patience=QUICK) as a:
        await (await a.held("scripts are known")).release()
        before, began = await calls(redis, "evalsha"), a.server.now()
        assert began is not None
        redis.stop()
        assert await a.leases.take(H) is None
        async with asyncio.timeout(20):
            while (a.server.now() or 0) < began + 1_500_000:
                await asyncio.sleep(0.01)
        redis.cont()
        await until_calls(redis, "evalsha", before + 1)
        assert await redis.command("GET", LEASE) is None


async def test_a_clock_that_is_not_what_we_thought_stops_nobody() -> None:
    async with two() as (_, a, b):
        for seconds in (1.0, 4e9):
            a.server.heard(seconds)
            held = await a.held()
            await b.elsewhere()
            await held.release()


# -- Redis -------------------------------------------------------------------------------------------------------------


async def test_full_nobody_takes_but_what_is_held_can_end() -> None:
    async with two(pauses=(FAR, FAR)) as (redis, a, b):
        held, learnt, elsewhere = await a.held(), await a.held("learnt"), await b.elsewhere()
        waits = asyncio.create_task(over(elsewhere))
        await subscribed(redis)
        await redis.command("CONFIG", "SET", "maxmemory", "1")
        assert isinstance(await b.leases.take(H), Elsewhere)
        assert await b.leases.take("cd" * 32) is None
        assert a.server.state is State.READY
        assert await a.leases.take("cd" * 32) is None
        async with asyncio.timeout(20):
            while not a.server.writable:
                await asyncio.sleep(0.01)
        await a.elsewhere()
        assert a.server.state is State.DEGRADED
        assert await a.leases.take("cd" * 32) is None
        await held.release()
        assert await redis.command("GET", LEASE) is None
        await waits
        await learnt.release("no-store")
        assert await redis.command("KEYS", f"{NAMES.prefix}l:*") == []


async def test_read_only_everybody_fetches() -> None:
    async with two() as (redis, a, b):
        held = await a.held()
        await redis.command("REPLICAOF", HOST, 1)
        assert await b.leases.take("cd" * 32) is None
        await held.release()
        await redis.command("REPLICAOF", "NO", "ONE")
        await redis.until(lambda there: there is None, "GET", LEASE)


async def test_stopped_or_killed_nobody_waits_for_it() -> None:
    async with (
        redis_server() as redis,
        member(redis.url, patience=QUICK) as a,
        member(redis.url, patience=QUICK, pauses=(FAR, FAR)) as b,
    ):
        held = await a.held()
        waits = asyncio.create_task(over(await b.elsewhere()))
        await subscribed(redis)
        redis.stop()
        b.leases.stir()
        await waits
        assert [await each.leases.take(H) for each in (a, b)] == [None, None]
        await held.release()
        redis.cont()
        await until_state(b, State.READY)
        await redis.until(lambda there: there is None, "GET", LEASE)
        await a.held()
        waits = asyncio.create_task(over(await b.elsewhere()))
        await subscribed(redis)
        await redis.kill()
        await waits
        assert await b.leases.take(H) is None


async def test_restarted_empty_it_knows_no_lease_and_the_scripts_are_sent_again() -> None:
    async with redis_server() as redis, member(redis.url) as a:
        fence = (await a.held()).fence
        await redis.kill()
        await redis.start()
        async with asyncio.timeout(20):
            while not isinstance(held := await a.leases.take(H), Held):
                await asyncio.sleep(0.01)
        assert held.fence > fence


# -- messages ----------------------------------------------------------------------------------------------------------


async def test_a_subscription_that_is_lost_is_made_again() -> None:
    async with (
        redis_server() as redis,
        FaultProxy(redis.port) as proxy,
        member(redis.url) as a,
        member(f"redis://{HOST}:{proxy.port}", "b", pauses=(FAR, FAR)) as b,
    ):
        held = await a.held()
        waits = asyncio.create_task(over(await b.elsewhere()))
        await subscribed(redis)
        proxy.cut()  # it comes back at once
        await until_calls(redis, "subscribe", 2)
        await held.release()
        await waits
        held = await a.held()
        waits = asyncio.create_task(over(await b.elsewhere()))
        await proxy.become(Refuse())
        proxy.cut()  # it stays away
        await waits
        await subscribed(redis, 0)
        await proxy.become(Pass())
        waits = asyncio.create_task(over(await b.elsewhere()))
        await subscribed(redis)
        await held.release()
        await waits


async def forbid(redis: RedisServer, *rights: str) -> str:
    """The URL of a user without some rights."""
    await redis.command("ACL", "SETUSER", "narrow", "on", ">word", "~*", "&*", "+@all", *rights)
    return redis.url.replace("redis://", "redis://narrow:word@")


async def test_without_the_right_to_subscribe_a_look_is_enough() -> None:
    async with redis_server() as redis, member(redis.url) as a, member(await forbid(redis, "-subscribe"), "b") as b:
        held = await a.held()
        waits = asyncio.create_task(over(await b.elsewhere()))
        await redis.until(lambda log: any(b"subscribe" in each for each in log), "ACL", "LOG")
        await held.release()
        await waits
        await b.held()


async def test_without_the_right_to_publish_a_look_is_enough() -> None:
    async with redis_server() as redis, member(await forbid(redis, "resetchannels"), "a") as a, member(redis.url) as b:
        await (await a.held("scripts are known")).release()
        held, errors = await a.held(), a.server.errors
        waits = asyncio.create_task(over(await b.elsewhere()))
        await subscribed(redis)
        await held.release()
        await waits
        await b.held()
        assert a.server.errors == errors
