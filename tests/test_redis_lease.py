"""One fetch in all instances, told with several of them on one real Redis: who holds, who waits, who is woken."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from proxy.redis.address import Address
from proxy.redis.dial import Patience
from proxy.redis.errors import Away
from proxy.redis.keys import Names
from proxy.redis.lease import Elsewhere, Held, Known, Leases
from proxy.redis.lease_lua import taken
from proxy.redis.server import Server
from proxy.redis.waking import Waking
from tests.support.redis_servers import RedisServer, redis_cluster, redis_server

NAMES = Names("p:")
H = "ab" * 32
LEASE, RECORD, INDEX = NAMES.lease(H), NAMES.entry(H), NAMES.index(H)
FAR = 60.0  # seconds, longer than any test waits: for looks that do not come, and leases that do not expire
HOUR = 3_600_000_000  # microseconds


@dataclass(frozen=True, slots=True)
class Member:
    """An instance as Redis sees it."""

    server: Server
    leases: Leases

    async def held(self, company: str = "") -> Held:
        taken = await self.leases.take(H, company)
        assert isinstance(taken, Held)
        return taken

    async def elsewhere(self, company: str = "") -> Elsewhere:
        taken = await self.leases.take(H, company)
        assert isinstance(taken, Elsewhere)
        return taken


@asynccontextmanager
async def member(
    url: str, name: str = "a", *, patience: Patience | None = None, start: bool = True, **how: Any
) -> AsyncIterator[Member]:
    server = Server(Address.parse(url), patience or Patience(connect=5.0, read=5.0), lambda state, reason: None)
    leases = Leases(server, NAMES, instance=name, **{"seconds": FAR, **how})
    server.start()
    if start:
        leases.start()
    try:
        assert await server.looked(20), server.reason
        yield Member(server, leases)
    finally:
        await leases.close()
        await server.close()


@asynccontextmanager
async def two(**how: Any) -> AsyncIterator[tuple[RedisServer, Member, Member]]:
    async with redis_server() as redis, member(redis.url, "a", **how) as a, member(redis.url, "b", **how) as b:
        yield redis, a, b


async def subscribed(redis: RedisServer, count: int = 1) -> None:
    """Wait until so many processes would be woken."""
    await redis.until(lambda reply: reply[1] == count, "PUBSUB", "NUMSUB", NAMES.landed)


async def over(elsewhere: Elsewhere) -> None:
    async with asyncio.timeout(20):
        await elsewhere.over(FAR)


# -- one fetches, the others wait --------------------------------------------------------------------------------------


async def test_who_waits_is_woken_and_takes_the_next_fence() -> None:
    async with two(pauses=(FAR, FAR)) as (redis, a, b):
        held = await a.held()
        waits = asyncio.create_task(over(await b.elsewhere()))
        await subscribed(redis)
        async with redis.monitor() as lines:
            for _ in range(50):
                await redis.command("PING")
            await held.release()
            await waits
            again = await b.held()
        assert again.fence > held.fence
        assert len([line for line in lines if "EVALSHA" in line]) < 6  # released, at most some looks, taken
        assert (len(a.leases), len(b.leases), held.lost) == (0, 1, False)


async def test_500_who_want_the_same_in_5_instances_fetch_once() -> None:
    fetches = 0

    async def want(redis: RedisServer, each: Member) -> bytes:
        nonlocal fetches
        while (found := await each.server.call("GET", RECORD)) is None:
            match await each.leases.take(H):
                case Held() as held:
                    fetches += 1
                    await redis.until(lambda there: there == 1, "EXISTS", NAMES.waiting(H))
                    await each.server.call("SET", RECORD, "answer", "PX", 10_000)
                    await held.release()
                case Elsewhere() as elsewhere:
                    await elsewhere.over(FAR)
                case other:
                    raise AssertionError(other)
        return bytes(found)

    async with redis_server() as redis, AsyncExitStack() as stack:
        members = [await stack.enter_async_context(member(redis.url, str(n))) for n in range(5)]
        async with asyncio.timeout(20):
            answers = await asyncio.gather(*(want(redis, each) for each in members for _ in range(100)))
    assert (set(answers), fetches) == ({b"answer"}, 1)


async def test_of_200_at_once_exactly_one_holds() -> None:
    async with two() as (_, a, b):
        taken = await asyncio.gather(*(each.leases.take(H) for each in (a, b) for _ in range(100)))
        assert sorted(type(each).__name__ for each in taken) == ["Elsewhere"] * 199 + ["Held"]


async def test_a_message_that_nobody_was_there_to_hear_is_made_up_for_by_a_look() -> None:
    async with two(pauses=(FAR, FAR)) as (_, a, b):
        held = await a.held()
        elsewhere = await b.elsewhere()
        await held.release()
        await over(elsewhere)
        held, elsewhere = await a.held(), await b.elsewhere()
        await held.release()
        await a.held()  # the next one: what was waited for is over all the same
        await over(elsewhere)


async def test_waiting_ends_after_its_time() -> None:
    async with two() as (_, a, b):
        held = await a.held()
        await (await b.elsewhere()).over(0.05)
        assert isinstance(await b.leases.take(H), Elsewhere)
        assert not held.lost


async def test_other_answers_and_other_companies_do_not_wait_for_each_other() -> None:
    async with two() as (redis, a, b):
        held = [await a.held(), await b.held("someone"), await b.held("someone else")]
        assert isinstance(await b.leases.take("cd" * 32), Held)
        await a.elsewhere("someone")
        assert len({each.fence for each in held}) == 3
        assert not [key for key in await redis.command("KEYS", "*") if b"someone" in key]
        await held[1].release()
        await a.held("someone")
        await b.elsewhere()


# -- what was learnt ---------------------------------------------------------------------------------------------------


async def test_what_was_learnt_is_told_to_who_waits_and_to_who_comes() -> None:
    async with two(pauses=(FAR, FAR)) as (redis, a, b):
        held = await a.held()
        waits = asyncio.create_task(over(await b.elsewhere()))
        await subscribed(redis)
        await held.release("no-store")
        await waits
        assert [await each.leases.take(H) for each in (b, a)] == [Known("no-store")] * 2
        assert 0 < await redis.command("PTTL", LEASE) <= 10_000
        assert isinstance(await b.leases.take(H, "another"), Held)


async def test_what_was_learnt_is_forgotten_after_a_while() -> None:
    async with two(uncacheable=0.05) as (redis, a, b):
        await (await a.held()).release("no-store")
        await redis.until(lambda there: there is None, "GET", LEASE)
        await b.held()


# -- fences ------------------------------------------------------------------------------------------------------------


async def test_fences_grow_whatever_becomes_of_the_lease() -> None:
    async with two() as (redis, a, b):
        fences = []
        for _ in range(20):
            held = await a.held()
            fences.append(held.fence)
            await held.release()
            fences.append((await b.held()).fence)
            await redis.command("DEL", LEASE)
        assert fences == sorted(set(fences))
        seconds, micros = await redis.command("TIME")
        assert abs(fences[-1] - (seconds * 1_000_000 + micros)) < HOUR


def record(fence: int) -> bytes:
    return b"CGATE\n\0\1" + fence.to_bytes(8) + bytes(20)


async def test_a_fence_is_above_those_of_what_lies_there() -> None:
    async with two() as (redis, a, _):
        seconds, _micros = await redis.command("TIME")
        far = seconds * 1_000_000 + HOUR
        for key, words, expected in (
            (RECORD, ("SET", RECORD, record(far)), far + 1),
            (INDEX, ("HSET", INDEX, "fence", far + 10), far + 11),
            (RECORD, ("SET", RECORD, record(far + 255)), far + 256),
        ):
            await redis.command(*words)
            held = await a.held()
            assert held.fence == expected, key
            await held.release()


@pytest.mark.parametrize(
    "words",
    [
        ("SET", RECORD, record(2**64 - 1)),
        ("SET", RECORD, b"short"),
        ("RPUSH", RECORD, "x"),
        ("SET", INDEX, "x"),
        ("HSET", INDEX, "fence", "nonsense"),
        ("HSET", INDEX, "fence", "1e300"),
        ("RPUSH", LEASE, "x"),
        ("SET", LEASE, "for ever"),
        ("RPUSH", NAMES.waiting(H), "x"),
    ],
)
async def test_poisoned_keys_stop_nobody(words: tuple[Any, ...]) -> None:
    async with two() as (redis, a, b):
        await redis.command(*words)
        held = await a.held()
        seconds, micros = await redis.command("TIME")
        assert held.fence <= seconds * 1_000_000 + micros
        await b.elsewhere()
        await held.release()
        await b.held()


@pytest.mark.parametrize(
    "said",
    [1, None, b"OK", [], [b"held"], [1, b"x"], [b"fence", b"x"], [b"late", b""], [b"held", b"x", b"y"]],
    ids=repr,
)
def test_what_no_script_says_is_no_answer(said: Any) -> None:
    with pytest.raises(Away, match="something else"):
        taken(said)


# -- in Redis ----------------------------------------------------------------------------------------------------------


async def test_every_key_has_a_ttl() -> None:
    async with two() as (redis, a, b):
        await a.held()
        await b.elsewhere()
        await (await a.held("learnt")).release("no-store")
        left = {key: await redis.command("PTTL", key) for key in await redis.command("KEYS", "*")}
        assert len(left) == 3
        assert all(0 < each <= 60_000 for each in left.values()), left


async def test_nobody_who_waits_no_message() -> None:
    async with two() as (redis, a, _):
        async with redis.monitor() as lines:
            await (await a.held()).release()
        assert not [line for line in lines if line.startswith("PUBLISH")]


async def test_who_waits_looks_once_there_are_messages() -> None:
    async with redis_server() as redis, member(redis.url) as a:
        waking = Waking(a.server, NAMES.landed)
        with waking.ear(H) as ear:
            async with asyncio.timeout(20):
                await ear.listen(FAR)
            assert not ear.landed
            await subscribed(redis)
        await waking.close()


async def test_closing_gives_back_what_is_held() -> None:
    async with redis_server() as redis, member(redis.url) as a:
        async with member(redis.url, "b") as b:
            held = [await b.held(), await b.held("more")]
            waits = asyncio.create_task(over(await a.elsewhere()))
        await waits
        assert isinstance(await a.leases.take(H), Held)
        assert isinstance(await a.leases.take(H, "more"), Held)
        assert await b.leases.take(H) is None
        await held[0].release()
        assert len(await redis.command("KEYS", NAMES.lease("*").replace("{*}", "*"))) == 2
    assert {task.get_name() for task in asyncio.all_tasks()} == {asyncio.current_task().get_name()}  # type: ignore[union-attr]


@pytest.mark.slow
async def test_in_a_cluster() -> None:
    hashes = [format(n, "x") * 64 for n in range(16)]
    async with redis_cluster(3) as cluster, AsyncExitStack() as stack:
        a, b = [await stack.enter_async_context(member(cluster.url, name, pauses=(FAR, FAR))) for name in "ab"]
        held = [await a.leases.take(each) for each in hashes]
        elsewhere = [await b.leases.take(each) for each in hashes]
        waits = [asyncio.create_task(over(each)) for each in elsewhere if isinstance(each, Elsewhere)]
        assert len(waits) == 16
        async with asyncio.timeout(20):
            while sum([(await node.command("PUBSUB", "NUMSUB", NAMES.landed))[1] for node in cluster.masters]) < 1:
                await asyncio.sleep(0.01)
        for each in held:
            assert isinstance(each, Held)
            await each.release()
        await asyncio.gather(*waits)
        assert all([isinstance(await b.leases.take(each), Held) for each in hashes])
