"""Redis as the tier of several instances: what is there, in which form, for how long, and what it costs (rows 25, 27,
28, 34, 37-40, 49; invariants 5, 12)."""

import asyncio
import gzip
import json
import random
import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.support.faults import RST, Cut, Delay, FaultProxy, Pass
from tests.support.gateway import Got
from tests.support.origin import Headers, Origin
from tests.support.process import PATIENCE, REPOSITORY, instances
from tests.support.redis_servers import RedisServer, redis_server

ALL: dict[str, Any] = {"rules": [{"name": "all", "pattern": "*", "ttl": 60}]}
ALONE: dict[str, Any] = {**ALL, "file": {"enabled": False}}
RECORDS = "proxy:cache:e:*"
OWN = {"age", "via", "x-cache", "x-cache-tier", "cache-status", "x-request-id"}  # each gateway's, about each answer
ONLY = {"Cache-Control": "only-if-cached"}


async def keys(redis: RedisServer, pattern: str = "*") -> list[bytes]:
    async with redis.client() as client:
        return [key async for key in client.scan_iter(match=pattern)]


async def stored(redis: RedisServer, number: int = 1) -> list[bytes]:
    """The names of the records, once there are so many."""
    async with asyncio.timeout(PATIENCE):
        while len(found := await keys(redis, RECORDS)) < number:
            await asyncio.sleep(0.005)
    return found


def said(got: Got) -> tuple[int, list[tuple[str, str]], bytes]:
    return got.status, [(name, value) for name, value in got.pairs if name.lower() not in OWN], got.body


# -- what is there -----------------------------------------------------------------------------------------------------

BYTES = bytes(range(256)) * 20
ANSWERS: dict[str, tuple[int, Headers, bytes]] = {
    "/bytes": (200, [("Content-Type", "image/png"), ("ETag", '"a"')], BYTES),
    "/text": (200, [("Content-Type", "text/plain; charset=utf-8")], "naïve ".encode() * 1000),
    "/empty": (200, [], b""),
    "/moved": (301, [("Location", "/bytes")], b"there"),
    "/many": (200, [("Link", "<b>"), ("X-One", "1"), ("Link", "<a>"), ("x-two", ""), ("Link", "<b>")], b"order"),
    "/gone": (404, [("Cache-Control", "max-age=60")], b"none"),
    "/odd": (203, [("X-Latin", "caf\xe9")], b"\0"),
}


async def test_what_one_instance_fetched_another_serves_byte_for_byte() -> None:
    async with redis_server() as redis, Origin() as origin, instances(2, origin, ALL, redis.url) as (a, b):
        for path, (status, fields, body) in ANSWERS.items():
            origin.answer(path, status, fields, body)
        first = [await a.get(path) for path in ANSWERS]
        assert [got.verdict for got in first] == ["MISS"] * len(ANSWERS)
        await stored(redis, len(ANSWERS))
        second = [await b.get(path) for path in ANSWERS]
        assert [(got.verdict, got.tier) for got in second] == [("HIT", "redis")] * len(ANSWERS)
        assert [said(got) for got in second] == [said(got) for got in first]
        assert [got.tier for got in [await b.get(path) for path in ANSWERS]] == ["memory"] * len(ANSWERS)
        assert origin.count() == len(ANSWERS)


async def test_variants_are_shared_and_never_taken_for_one_another() -> None:
    async with redis_server() as redis, Origin() as origin, instances(2, origin, ALL, redis.url) as (a, b):
        origin.answer("/a", headers=[("Vary", "X-Kind")], body=lambda r: (r.header("x-kind") or "none").encode())
        for kind in ("one", "two"):
            assert (await a.get("/a", {"X-Kind": kind})).verdict == "MISS"
        await stored(redis, 2)
        for kind in ("two", "one"):
            got = await b.get("/a", {"X-Kind": kind})
            assert (got.verdict, got.tier, got.body) == ("HIT", "redis", kind.encode())
        assert (await b.get("/a", {"X-Kind": "three"})).verdict == "MISS"


async def test_only_what_is_ours_is_there_and_all_of_it_ends() -> None:
    """After answers, variants, leases, refusals, purges and what is hot: our prefix alone, and nothing for ever."""
    async with redis_server() as redis, Origin() as origin, instances(2, origin, ALL, redis.url) as (a, b):
        await redis.command("SET", "theirs", "1")
        for number in range(20):
            origin.answer(f"/{number}", body=b"x", headers=[("Vary", "X-Kind")] if number % 2 else ())
        origin.answer("/private", headers=[("Cache-Control", "private")], body=b"x")
        origin.answer("/gone", 404, body=b"x")
        for gateway in (a, b):
            await gateway.verdicts(*(f"/{number}" for number in range(20)), "/private", "/gone", "/private")
        assert (await a.admin("POST", "/purge", {"pattern": "*/1*"})).status == 200
        ours = await keys(redis)
        ours.remove(b"theirs")
        families = {key.removeprefix(b"proxy:cache:").partition(b":")[0] for key in ours}
        assert families >= {b"e", b"v", b"j", b"i"}
        assert all(key.startswith(b"proxy:cache:") for key in ours)
        left = {key: await redis.command("PTTL", key) for key in ours}
        assert [key for key, ms in left.items() if ms == -1] == []
        assert max(ms for key, ms in left.items() if key.startswith(b"proxy:cache:e:")) <= (60 + 300) * 1000


# -- in which form -----------------------------------------------------------------------------------------------------

Spoil = Callable[[RedisServer, bytes, bytes], Awaitable[object]]
SPOILT: dict[str, Spoil] = {
    "a flipped byte": lambda redis, key, other: redis.command("SETRANGE", key, 60, b"\xff\xfe"),
    "cut short": lambda redis, key, other: redis.command(
        "EVAL", "redis.call('SET', KEYS[1], redis.call('GETRANGE', KEYS[1], 0, -9), 'KEEPTTL')", 1, key
    ),
    "longer": lambda redis, key, other: redis.command("APPEND", key, b"x"),
    "another key's": lambda redis, key, other: redis.command("COPY", other, key, "REPLACE"),
    "an older format": lambda redis, key, other: redis.command("SETRANGE", key, 0, b"\0\0\0\0"),
    "something foreign": lambda redis, key, other: redis.command(
        "SET", key, b"cos\nsystem\n(S'true'\ntR.", "PX", 60000
    ),
}


async def test_what_is_no_record_of_ours_is_a_miss_and_goes() -> None:
    paths = [f"/{number}" for number in range(len(SPOILT))]
    async with redis_server() as redis, Origin() as origin, instances(2, origin, ALONE, redis.url) as (a, b):
        origin.answer("/other", body=b"OTHER " * 50)
        await a.get("/other")
        (other,) = await stored(redis)
        for path, spoil in zip(paths, SPOILT.values(), strict=True):
            origin.answer(path, body=b"right " * 50)
            before = set(await keys(redis, RECORDS))
            await a.get(path)
            (key,) = set(await stored(redis, len(before) + 1)) - before
            await spoil(redis, key, other)
            assert (await b.get(path, ONLY)).status == 504  # nothing there that may be served ...
            assert await redis.command("EXISTS", key) == 0  # ... or that anybody could stumble over again
        answers = [await b.get(path) for path in paths]
        assert [(got.verdict, got.body) for got in answers] == [("MISS", b"right " * 50)] * len(paths)
        assert (await b.stats())["redis"]["errors"] >= len(paths)


def test_no_value_is_ever_run() -> None:
    """Data stays data: nothing that loads code is imported. The bus between an instance's own processes has its own
    reasons (`proxy/server/bus.py`)."""
    loads = re.compile(r"^\s*(?:import|from) +(?:pickle|marshal|shelve|dill|cloudpickle|jsonpickle)\b", re.MULTILINE)
    found = {path for path in (REPOSITORY / "proxy").rglob("*.py") if loads.search(path.read_text())}
    assert found <= {REPOSITORY / "proxy" / "server" / "bus.py"}


def rows(chance: random.Random) -> bytes:
    """A page of an API."""
    words = ["name", "city", "price", "email", "created", "active", "comment", "color"]
    values: list[Callable[[], Any]] = [chance.random, lambda: chance.randrange(10**6), lambda: "some text"]
    page = [{word: chance.choice(values)() for word in words} for _ in range(chance.randrange(20, 200))]
    return json.dumps(page).encode()


@pytest.mark.parametrize("packs", [True, False])
async def test_large_answers_lie_packed_and_clients_do_not_notice(packs: bool) -> None:
    chance = random.Random(39)
    json_type, squeezed = [("Content-Type", "application/json")], gzip.compress(chance.randbytes(5000))
    bodies = {f"/{number}": rows(chance) for number in range(40)} | {"/noise": chance.randbytes(5000)}
    settings = {**ALONE, "redis": {"compression": packs}}
    async with redis_server() as redis, Origin() as origin, instances(2, origin, settings, redis.url) as (a, b):
        for path, body in bodies.items():
            origin.answer(path, headers=json_type, body=body)
        origin.answer("/coded", headers=[*json_type, ("Content-Encoding", "gzip")], body=squeezed)
        await a.verdicts(*bodies)
        names = await stored(redis, len(bodies))
        lies = sum([await redis.command("STRLEN", name) for name in names])
        assert (lies <= 0.6 * sum(map(len, bodies.values()))) is packs
        await a.get("/coded")
        (coded,) = set(await stored(redis, len(bodies) + 1)) - set(names)
        assert squeezed in await redis.command("GET", coded)
        answers = [await b.get(path) for path in (*bodies, "/coded")]
        assert {got.tier for got in answers} == {"redis"}
        assert [got.body for got in answers] == [*bodies.values(), squeezed]


async def test_a_write_that_breaks_off_leaves_nothing_half() -> None:
    """The connection is reset after so many bytes of it, before, within and behind the record."""
    body = random.Random(40).randbytes(100_000)
    async with (
        redis_server() as redis,
        FaultProxy(redis.port) as network,
        Origin() as origin,
        instances(2, origin, ALONE, redis.url.replace(str(redis.port), str(network.port)), redis.url) as (a, b),
    ):
        for cut in (1, 300, 3000, 50_000, 100_000, 101_000):
            origin.answer(f"/{cut}", body=body)
            await network.become(Cut(after=cut, by=RST, way="to_server"))
            assert (await a.get(f"/{cut}")).body == body
            await network.become(Pass())
            await a.connected()
            got = await b.get(f"/{cut}")
            assert (got.status, got.body) == (200, body)
        assert (await b.stats())["redis"]["errors"] == 0


# -- what it costs -----------------------------------------------------------------------------------------------------


async def test_500_at_once_share_the_connections_of_the_pool() -> None:
    settings = {**ALONE, "redis": {"pool": 5}, "upstream": {"max_queue": 500}}
    async with redis_server() as redis, FaultProxy(redis.port) as network, Origin() as origin:
        settings["upstream"]["url"] = origin.url
        paths = [f"/{number}" for number in range(500)]
        for path in paths:
            origin.answer(path, body=path.encode())
        async with instances(1, origin, settings, redis.url.replace(str(redis.port), str(network.port))) as (gateway,):
            most = 0

            def seen() -> bool:
                nonlocal most
                most = max(most, network.open)
                return False

            await network.become(Delay(0.02))  # so that one connection is not enough
            watching = asyncio.ensure_future(network.until(seen))
            answers = await asyncio.gather(*(gateway.get(path) for path in paths))
            assert [(got.verdict, got.body) for got in answers] == [("MISS", path.encode()) for path in paths]
            await stored(redis, 500)
            watching.cancel()
        assert 2 < most <= 5 + 3  # one more waits for purges, one for leases of others, and one reads


async def test_a_clear_of_10000_is_a_few_pipelines_and_touches_nothing_else() -> None:
    patient = {**ALONE, "redis": {"connect_timeout": 5, "read_timeout": 5}}  # on a machine that is busy as well
    async with redis_server() as redis, Origin() as origin, instances(1, origin, patient, redis.url) as (gateway,):
        async with redis.client() as client:
            pipeline = client.pipeline(transaction=False)
            for number in range(10_000):
                pipeline.set(f"proxy:cache:e:{{{number:064x}}}", b"x", px=60_000)
            pipeline.set("proxy:cache:theirs", b"x")
            await pipeline.execute()
        async with redis.monitor() as lines:
            before = await redis.command("INFO", "stats")
            assert (await gateway.admin("DELETE", "/redis")).status in (200, 202)  # it goes on behind the answer
            await redis.until(lambda left: left == 3, "DBSIZE")
            after = await redis.command("INFO", "stats")
        words = [line.split()[0] for line in lines]
        assert words.count("UNLINK") == 10_000
        assert words.count("SCAN") <= 100
        assert after["total_reads_processed"] - before["total_reads_processed"] < 1000
        assert not {"KEYS", "FLUSHDB", "FLUSHALL"} & set(words)
        assert set(await keys(redis)) == {b"proxy:cache:theirs", b"proxy:cache:j:{journal}", b"proxy:cache:i:{journal}"}


async def test_a_small_memory_before_redis_spares_it_most_of_the_asking() -> None:
    """The two tiers by the names that users know: a memory of seconds and few entries, a default life, a namespace."""
    settings = {
        "cache": {"default_ttl": 900},
        "memory": {"ttl": 1, "max_entries": 50},
        "redis": {"key_prefix": "user-service:cache:"},
        "file": {"enabled": False},
    }
    async with redis_server() as redis, Origin() as origin, instances(2, origin, settings, redis.url) as (a, b):
        origin.answer("/hot", body=b"hot")
        assert (await a.get("/hot")).verdict == "MISS"
        await redis.until(bool, "KEYS", "user-service:cache:e:*")
        assert await redis.command("PTTL", *await keys(redis, "user-service:cache:e:*")) > 800_000
        async with redis.monitor() as lines:
            tiers = [(await b.get("/hot")).tier for _ in range(50)]
        assert tiers[0] == "redis"
        assert tiers.count("memory") >= 40
        assert sum("GETRANGE" in line and ":e:" in line for line in lines) == tiers.count("redis")
        async with asyncio.timeout(PATIENCE):
            while (await b.get("/hot")).tier == "memory":  # until memory does not trust its copy any more
                await asyncio.sleep(0.02)
        for number in range(60):
            origin.answer(f"/{number}", body=b"x")
        await b.verdicts(*(f"/{number}" for number in range(60)))
        assert (await b.stats())["memory"]["size"] == 50
        assert origin.count("/hot") == 1


# -- the start ---------------------------------------------------------------------------------------------------------


async def test_a_new_instance_begins_with_what_the_others_are_asked_for_most() -> None:
    async with redis_server() as redis, Origin() as origin:
        for path in ("/often", "/once", "/purged"):
            origin.answer(path, body=path.encode())
        async with instances(1, origin, ALONE, redis.url) as (first,):
            for path in ("/often", "/once", "/purged", "/often", "/purged", "/often"):
                await first.get(path)
            await first.admin("POST", "/purge", {"url": "/purged"})
            await stored(redis, 2)
        asked = origin.count()  # the first has told what was hot as it left
        warm = {**ALONE, "cache": {"warmup": True}}
        async with instances(1, origin, warm, redis.url) as (second,):
            await second.logged("warmed up: 1 answers")
            assert (await second.stats())["memory"]["size"] == 1
            got = await second.get("/often")
            assert (got.verdict, got.tier) == ("HIT", "memory")
            got = await second.get("/once")
            assert (got.verdict, got.tier) == ("HIT", "redis")
            assert origin.count() == asked
            assert (await second.get("/purged")).verdict == "MISS"
