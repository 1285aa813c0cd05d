"""The Redis tier on a real server (rows 26, 27, 39; invariants 3, 5, 9, 11, 12). What every store does is held in
test_store_contract."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise

import pytest

from proxy.entry import Entry, Position, any_variant
from proxy.errors import StoreError
from proxy.message import Fields
from proxy.redis.budget import one_budget
from proxy.redis.dial import Patience
from proxy.redis.errors import Away, Refused
from proxy.store.codec import FENCE
from proxy.store.redis import RedisStore
from tests.support.entries import NOW, FakeClock, content, entry, language, pick
from tests.support.redis_servers import RedisServer, redis_cluster, redis_server
from tests.support.redis_stores import NAMES, Journal, redis_store

KIB = 1024


@dataclass
class World:
    """One instance's tier, its journal and clock, and the server."""

    redis: RedisServer
    store: RedisStore
    journal: Journal
    clock: FakeClock

    async def get(self, path: str = "/a") -> Entry | None:
        return await self.store.get(entry(path).hash, any_variant)

    async def raw(self, key: str) -> bytes:
        found: bytes = await self.redis.command("GET", NAMES.entry(key)) or b""
        return found

    async def plant(self, key: str, value: bytes) -> None:
        await self.redis.command("SET", NAMES.entry(key), value, "PX", 60_000)

    async def sent(self) -> int:
        """Bytes that the server has sent so far."""
        return int((await self.redis.command("INFO", "stats"))["total_net_output_bytes"])


@asynccontextmanager
async def world(**changes: object) -> AsyncIterator[World]:
    journal, clock = Journal(), FakeClock()
    async with redis_server() as redis, redis_store(redis.url, journal=journal, clock=clock, **changes) as store:
        yield World(redis, store, journal, clock)


def noise(size: int) -> bytes:
    """Content that cannot be packed."""
    return random.Random(size).randbytes(size)


async def test_what_is_asked_in_one_turn_goes_together_and_a_bad_record_spoils_no_other() -> None:
    async with world() as a:
        paths = [f"/{number}" for number in range(30)]
        for path in paths:
            assert await a.store.put(entry(path, path.encode()))
        await a.plant(entry("/3").key, b"damaged")
        await a.redis.command("DEL", NAMES.entry(entry("/7").key))
        await a.redis.command("LPUSH", NAMES.entry(entry("/7").key), "x")
        await a.redis.command("CONFIG", "RESETSTAT")
        found = await asyncio.gather(*map(a.get, paths))
        said, told = [await a.redis.command("INFO", part) for part in ("stats", "commandstats")]
        bodies = [None if one is None else one.body.data for one in found]
        assert bodies == [None if path in ("/3", "/7") else path.encode() for path in paths]
        assert (told["cmdstat_getrange"]["calls"], told["cmdstat_hgetall"]["calls"]) == (30, 30)
        assert int(said["total_reads_processed"]) < 10  # two pipelines of gets, one of what tidies up, and what we ask


# -- what instances share ----------------------------------------------------------------------------------------------


async def test_what_one_instance_puts_another_gets() -> None:
    async with world() as a, redis_store(a.redis.url) as other:
        one = entry(body=b"text " * 10_000, vary=language("de"))
        assert await a.store.put(one)
        found = await other.get(one.hash, pick(language("de")))
        assert found is not None
        assert await content(found) == one.body.data
        assert await other.delete(one.hash) == 1
        assert await a.store.get(one.hash, any_variant) is None


async def test_a_record_bears_the_stamp_of_who_puts_it_and_is_placed_by_who_gets_it() -> None:
    stamps = []

    def place(epoch: int, number: int) -> Position | None:
        stamps.append((epoch, number))
        return Position(9, 0, 41) if number < 200 else None

    async with world() as a:
        a.journal.place = place
        for path, number in (("/a", 150), ("/b", 250)):
            a.journal.at = (7, number)
            await a.store.put(entry(path, position=Position(1, 2, 3), fence=5))
        found = await a.get("/a")
        assert found is not None
        assert (found.position, found.fence) == (Position(9, 0, 41), 5)
        assert await a.get("/b") is None  # we may be the one who is behind
        assert stamps == [(7, 150), (7, 250)]
        assert [one.parts.path async for one in a.store.scan()] == ["/a"]
        assert await a.raw(entry("/b").hash)  # so it stays for the others
        assert a.store.poisoned == 0


async def test_while_the_journal_is_not_linked_nothing_is_put_and_nothing_trusted() -> None:
    async with world() as a:
        await a.store.put(entry())
        a.journal.at = None
        async with a.redis.monitor() as monitored:
            assert await a.get() is None
            assert [one async for one in a.store.scan()] == []
        assert monitored == []
        with pytest.raises(Away):
            await a.store.put(entry("/b"))
        a.journal.at = (7, 100)
        assert await a.get() is not None
        assert await a.get("/b") is None


async def test_what_arrives_when_the_link_has_gone_is_not_trusted() -> None:
    async with world() as a:
        await a.store.put(entry())
        getting = asyncio.create_task(a.get())
        await asyncio.sleep(0)
        a.journal.at = None
        assert await getting is None


async def test_what_was_purged_is_not_put() -> None:
    async with world() as a:
        a.journal.purged = {"/soft": NOW, "/hard": float("-inf")}
        assert await a.store.put(entry("/soft")) is False
        assert await a.store.put(entry("/hard")) is False
        assert await a.store.count() == 0


async def test_a_purge_while_a_body_is_packed_is_not_missed() -> None:
    """Packing a large body takes a thread, and time for purges to come."""
    async with world() as a:
        putting = asyncio.create_task(a.store.put(entry(body=b"x" * 900_000)))
        await asyncio.sleep(0)
        a.journal.purged = {"/a": float("-inf")}
        assert await putting is False


# -- fences ------------------------------------------------------------------------------------------------------------

FENCES = [1, 255, 256, 2**31, 1_700_000_000_000_000, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 2, 2**64 - 1]


@pytest.mark.parametrize("vary", [(), language("de")])
async def test_a_lower_fence_never_replaces_a_higher(vary: tuple[tuple[str, str], ...]) -> None:
    async with world() as a:
        for number, (low, high) in enumerate(pairwise(FENCES)):
            path = f"/{number}"
            assert await a.store.put(entry(path, b"high", vary=vary, fence=high))
            assert await a.store.put(entry(path, b"low", vary=vary, fence=low)) is False
            found = await a.get(path)
            assert found is not None
            assert (found.fence, await content(found)) == (high, b"high")
            assert await a.store.put(entry(path, b"equal", vary=vary, fence=high))
        assert a.store.refused_older == len(FENCES) - 1


async def test_what_has_no_fence_is_ordered_by_when_its_fetch_began() -> None:
    """The server's clock gives the fence; ours, years behind, counts for durations only."""
    async with world() as a:
        early, late = entry(body=b"early", received_at=NOW - 50), entry(body=b"late", received_at=NOW - 5)
        assert await a.store.put(late)
        assert await a.store.put(early) is False
        seconds, micros = await a.redis.command("TIME")
        fence = int.from_bytes((await a.raw(late.hash))[FENCE])
        age = seconds * 10**6 + micros - fence
        assert 5_000_000 <= age < 50_000_000
        a.clock.now += 20  # a restart later, say: the same entry, seen to be older
        assert await a.store.put(entry(body=b"leased", fence=fence + 1))
        assert await a.store.put(late) is False


async def test_an_index_knows_the_highest_fence_of_its_variants() -> None:
    async with world() as a:
        for code, fence in (("de", 50), ("fr", 70), ("it", 60)):
            await a.store.put(entry(vary=language(code), fence=fence))
        assert await a.redis.command("HGET", NAMES.index(entry().hash), "fence") == b"70"


async def test_what_it_does_not_want_ends_the_life_of_what_it_would_have_replaced() -> None:
    async with world(max_object=1000) as a:
        unwanted = [
            {"body": noise(1001)},
            {"body": b"x" * 1001},  # it is the content that counts, not what it is packed to
            {"keep_until": NOW},
            {"tags": tuple(f"{number:0128}" for number in range(2100))},  # a head past HEAD_ROOM
        ]
        for how in unwanted:
            for vary in ((), language("de")):
                assert await a.store.put(entry(vary=vary, fence=5))
                older = {"fence": 4, "vary": vary, **how}
                assert await a.store.put(entry(**older)) is False  # type: ignore[arg-type]
                assert await a.store.get(entry().hash, pick(vary)) is not None
                newer = {"fence": 6, "vary": vary, **how}
                assert await a.store.put(entry(**newer)) is False  # type: ignore[arg-type]
                assert await a.store.get(entry().hash, any_variant) is None
        assert await a.store.count() == 0


# -- how it lies there -------------------------------------------------------------------------------------------------


async def test_everything_has_a_ttl_and_it_is_the_remaining_life() -> None:
    async with world() as a:
        await a.store.put(entry("/a", keep_until=NOW + 100))
        await a.store.put(entry("/a", keep_until=NOW + 90, vary=language("de")))
        await a.store.put(entry("/a", keep_until=NOW + 200, vary=language("fr")))
        await a.store.put(entry("/a", keep_until=NOW + 50, vary=language("it")))
        await a.store.put(entry("/for-ever", keep_until=float("inf")))
        a.clock.now += 60
        await a.store.put(entry("/late", keep_until=NOW + 100))
        async with a.redis.client() as client:
            left = {key: await client.pttl(key) async for key in client.scan_iter()}
        index = NAMES.index(entry("/a").hash).encode()
        assert len(left) == 7
        assert all(0 < ttl <= 365 * 86400 * 1000 for ttl in left.values())
        assert 190_000 < left[index] <= 200_000
        assert 30_000 < left[NAMES.entry(entry("/late").hash).encode()] <= 40_000


async def test_a_life_that_is_over_here_is_a_miss_although_redis_keeps_it_longer() -> None:
    async with world() as a:
        await a.store.put(entry(keep_until=NOW + 10))
        a.clock.now += 10
        assert await a.get() is None
        assert [one async for one in a.store.scan()] == []


@pytest.mark.parametrize("size", [2 * KIB, 60 * KIB, 900 * KIB])
async def test_bodies_lie_packed_unless_told_otherwise(size: int) -> None:
    one = entry(body=b'{"name": "value"}' * (size // 17), fence=1)
    async with world() as a, redis_store(a.redis.url, compression=False) as plain:
        await a.store.put(one)
        assert len(await a.raw(one.hash)) < one.body.size / 4
        for reader in (a.store, plain):  # the setting is for writing
            found = await reader.get(one.hash, any_variant)
            assert found is not None
            assert await content(found) == one.body.data
        assert [each.body.size async for each in a.store.scan()] == [one.body.size]
        await plain.put(one)
        assert len(await a.raw(one.hash)) > one.body.size
        coded = entry(body=one.body, fence=1, fields=Fields.of(("Content-Encoding", "br")))
        await a.store.put(coded)
        assert len(await a.raw(one.hash)) > one.body.size


class Parts:
    """A body that is not in memory, and may be shorter than it says."""

    data = None

    def __init__(self, parts: Iterable[bytes], size: int) -> None:
        self.parts = parts
        self.size = size

    async def read(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        for part in self.parts:
            yield part

    async def verify(self) -> None: ...

    def share(self) -> "Parts":
        return self

    def close(self) -> None: ...


async def test_a_body_that_lies_elsewhere_is_read_where_it_may_be_so_large() -> None:
    async with world(max_object=1000) as a:
        assert await a.store.put(entry("/a", Parts([b"a" * 400, b"b" * 600], 1000)))
        found = await a.get()
        assert found is not None
        assert await content(found) == b"a" * 400 + b"b" * 600
        assert await a.store.put(entry("/b", Parts([], 1001))) is False
        with pytest.raises(StoreError, match="as long as it says"):
            await a.store.put(entry("/c", Parts([b"short"], 1000)))


# -- all that is ours --------------------------------------------------------------------------------------------------

STRANGE = ["other", "test:", "test:e:x", "test:e:{abc}", "test:v:{abc}", "test:limit:1", "test2:e:{" + "0" * 64 + "}"]
STRANGE += [NAMES.lease("0" * 64), NAMES.waiting("0" * 64), NAMES.entry("0" * 64) + "x", NAMES.index("0" * 64) + "x"]


async def test_clear_and_count_mean_ours_and_nothing_else() -> None:
    async with world(scan_count=10) as a:
        for key in (*STRANGE, NAMES.stream):
            await a.redis.command("SET", key, "x")
        await a.redis.command("HSET", NAMES.instances, "name", "x")
        for number in range(150):
            await a.store.put(entry(f"/{number}", vary=language("de") if number % 3 == 0 else ()))
        async with a.redis.monitor() as monitored:
            assert await a.store.count() == 150
            assert len([one async for one in a.store.scan()]) == 150
            assert await a.store.clear() == 150
        assert {line.partition(" ")[0] for line in monitored} <= {"SCAN", "UNLINK", "GETRANGE", "STRLEN"}
        assert await a.store.count() == 0
        left = {key.decode() for key in await a.redis.command("KEYS", "*")}
        assert left == {*STRANGE, NAMES.stream, NAMES.instances}


async def test_a_scan_reads_no_bodies() -> None:
    async with world() as a:
        for number in range(20):
            await a.store.put(entry(f"/{number}", noise(200_000)))
        before = await a.sent()
        sizes = [one.body.size async for one in a.store.scan()]
        assert sizes == [200_000] * 20
        assert await a.sent() - before < 200_000


async def test_a_scan_leaves_out_what_is_no_record() -> None:
    async with world() as a:
        await a.store.put(entry("/good"))
        for number, bad in enumerate([b"", b"x", b"x" * 1000, (await a.raw(entry("/good").hash))[:-1]]):
            await a.plant(entry(f"/{number}").hash, bad)
        await a.plant(entry("/foreign").hash, await a.raw(entry("/good").hash))
        await a.redis.command("LPUSH", NAMES.entry(entry("/list").hash), "x")
        assert [one.parts.path async for one in a.store.scan()] == ["/good"]


# -- a server in trouble -----------------------------------------------------------------------------------------------


async def test_a_full_server_gives_and_forgets_but_takes_nothing() -> None:
    async with world() as a:
        for path in ("/a", "/b"):
            await a.store.put(entry(path, vary=language("de")))
        await a.redis.command("CONFIG", "SET", "maxmemory-policy", "noeviction", "maxmemory", "1")
        with pytest.raises(Refused) as refused:
            await a.store.put(entry("/c", vary=language("de")))
        assert refused.value.for_writes
        assert await a.get("/a") is not None
        assert await a.store.delete(entry("/a").hash) == 1
        assert await a.store.clear() == 1
        with pytest.raises(StoreError):
            await a.store.put(entry("/c"))
        async with a.redis.client() as client:
            assert [key async for key in client.scan_iter()] == []


async def test_a_server_that_stopped_is_an_error_within_the_budget_and_a_late_write_does_no_harm() -> None:
    async with world(patience=Patience(connect=1.0, read=1.0)) as a:
        await a.store.put(entry(body=b"old", fence=5))
        a.redis.stop()
        verbs = [a.get(), a.store.put(entry(body=b"late", fence=6)), a.store.delete(entry("/b").hash), a.store.count()]
        async with asyncio.timeout(20):
            with one_budget() as budget:
                results = await asyncio.gather(*verbs, return_exceptions=True)
        assert all(isinstance(result, StoreError) for result in results), results
        assert budget.left == 0
        a.redis.cont()
        async with redis_store(a.redis.url) as other:
            await other.put(entry(body=b"new", fence=7))
            with one_budget(20):
                found = await other.get(entry().hash, any_variant)
        assert found is not None
        assert await content(found) == b"new"


async def test_a_killed_server_is_an_error_and_the_next_one_begins_empty() -> None:
    async with world() as a:
        await a.store.put(entry())
        await a.redis.kill()
        for verb in (a.get(), a.store.put(entry()), a.store.delete(entry().hash), a.store.clear(), a.store.count()):
            with pytest.raises(StoreError):
                await verb
        with pytest.raises(StoreError):
            _ = [one async for one in a.store.scan()]
        await a.redis.start(empty=True)
        async with redis_store(a.redis.url) as again:  # its scripts are gone there, too
            assert await again.get(entry().hash, any_variant) is None
            assert await again.put(entry())


@pytest.mark.slow
async def test_all_of_it_in_a_cluster() -> None:
    async with redis_cluster(3) as cluster, redis_store(cluster.url, scan_count=10, variants=2) as store:
        plain = [entry(f"/{number}", b"x" * 3000) for number in range(60)]
        varied = [entry(f"/{number}", vary=language(code)) for number in range(20) for code in ("de", "fr", "it")]
        for one in (*plain, *varied):
            assert await store.put(one)
        assert await store.count() == 100
        scanned = {one.key async for one in store.scan()}
        assert len(scanned) == 100
        assert scanned >= {one.key for one in plain}
        found = await asyncio.gather(*(store.get(one.hash, pick(())) for one in plain))
        assert [one and one.parts.path for one in found] == [one.parts.path for one in plain]
        assert await store.put(entry("/0", fence=1)) is False
        assert await store.delete(entry("/0").hash) == 3
        assert await store.delete("") == 0
        assert await store.get("\ud800", any_variant) is None
        assert await store.clear() == 97
        assert await store.count() == 0
        for node in cluster.masters:
            assert await node.command("DBSIZE") == 0
