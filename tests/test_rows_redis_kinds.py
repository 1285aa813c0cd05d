"""Every kind of Redis through the whole program: Sentinels, a cluster, its replicas, TLS, few rights, one that evicts,
one that keeps its data; several environments on one (rows 42-47, 86, 107, 109, 137; invariant 12)."""

import asyncio
import itertools
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from tests.support.faults import FaultProxy
from tests.support.origin import Origin
from tests.support.process import PATIENCE, Process, instances, serving
from tests.support.redis_servers import (
    Monitored,
    RedisServer,
    redis_cluster,
    redis_over_tls,
    redis_sentinel,
    redis_server,
)

pytestmark = pytest.mark.slow

RULES = [{"name": "items", "pattern": "/items/*", "ttl": 600, "tags": ["item:{path[1]}"]}, {"pattern": "*", "ttl": 600}]
ALL: dict[str, Any] = {"rules": RULES}
ALONE: dict[str, Any] = {"rules": RULES, "file": {"enabled": False}}
# Where each answer is counted, a machine that is busy is given the time: what Redis is late for it is not given.
PATIENT: dict[str, Any] = {**ALL, "redis": {"connect_timeout": 5, "read_timeout": 5}}
ITEMS = tuple(f"/items/{number}" for number in range(30))
ERRORS = re.compile("CROSSSLOT|MOVED|ASK|NOPERM|unknown command|Traceback")


def scripted(origin: Origin) -> Origin:
    for path in ITEMS:
        origin.answer(path, body=path.encode() * 100)
    origin.answer("/vary", headers=[("Vary", "X-Kind")], body=lambda request: (request.header("x-kind") or "").encode())
    return origin


async def keys(*servers: RedisServer) -> list[bytes]:
    """All there is, of whoever it is."""
    found = []
    for server in servers:
        async with server.client() as client:
            found += [key async for key in client.scan_iter("*")]
    return found


async def stored(number: int, *servers: RedisServer) -> None:
    """Wait until so many answers are there."""
    async with asyncio.timeout(PATIENCE):
        while sum(b"cache:e:" in key for key in await keys(*servers)) != number:
            await asyncio.sleep(0.01)


async def obeyed(gateway: Process, path: str) -> None:
    """Wait until what another one cleared is gone here."""
    async with asyncio.timeout(PATIENCE):
        while (await gateway.get(path)).verdict != "MISS":
            await asyncio.sleep(0.005)


async def story(a: Process, b: Process, origin: Origin, *servers: RedisServer) -> None:
    """What two instances do for each other: answers, variants, one fetch of a key, purges of each kind, clears."""
    async with asyncio.timeout(PATIENCE):  # until they have seen each other's sign of life
        while len((await a.admin("POST", "/purge", {"tag": "none"})).json["instances"]) < 2:
            await asyncio.sleep(0.05)
    start = origin.count()
    assert await a.verdicts(*ITEMS) == ["MISS"] * len(ITEMS)
    for kind in ("1", "2"):
        await a.get("/vary", {"X-Kind": kind})
    await stored(len(ITEMS) + 2, *servers)
    shared = [await b.get(path) for path in ITEMS]
    assert {(got.verdict, got.tier) for got in shared} == {("HIT", "redis")}
    assert [(await b.get("/vary", {"X-Kind": kind})).body for kind in ("2", "1")] == [b"2", b"1"]
    assert origin.count() - start == len(ITEMS) + 2
    origin.answer("/cold", body=b"cold")
    gate = origin.hold("/cold")
    waiting = [asyncio.create_task(gateway.get("/cold")) for gateway in (a, b) for _ in range(20)]
    await origin.arrived("/cold", 1)
    gate.release()
    assert {(await each).body for each in waiting} == {b"cold"}
    assert origin.count("/cold") == 1
    for what, gone in (({"tag": "item:3"}, 3), ({"url": "/items/5"}, 5), ({"pattern": "/items/7"}, 7)):
        receipt = await a.admin("POST", "/purge", what)
        assert (receipt.status, list(receipt.json["instances"].values())) == (200, ["applied", "applied"])
        assert await b.verdicts(ITEMS[gone], ITEMS[gone]) == ["MISS", "HIT"]
    await stored(len(ITEMS) + 3, *servers)
    assert (await b.admin("DELETE", "/redis?pattern=/items/1?")).json == {"cleared": 10}
    assert (await a.admin("DELETE", "/redis")).json == {"cleared": len(ITEMS) + 3 - 10}
    await stored(0, *servers)
    assert await b.verdicts(ITEMS[0], ITEMS[0]) == ["HIT"] * 2
    assert (await b.admin("DELETE", "")).status == 200
    await obeyed(a, ITEMS[0])
    assert not ERRORS.search(a.log + b.log)


@asynccontextmanager
async def watched(servers: tuple[RedisServer, ...]) -> AsyncIterator[list[Monitored]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(server.monitor()) for server in servers]


# -- Sentinels ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("how", ["killed", "stopped"])
async def test_a_failover_under_load(how: str) -> None:
    """No request fails, and what is stored goes to the new primary; a stopped one that wakes up again is a replica."""
    async with redis_sentinel(password="pw-1234") as sentinel, Origin() as origin:
        for number in range(10_000):
            origin.answer(f"/{number}", body=b"x" * 2000)
        async with instances(2, origin, ALL, sentinel.url) as gateways:
            numbers, answers = itertools.count(), []
            ended = asyncio.Event()

            async def ask() -> None:
                for number in numbers:
                    answers.extend([await gateway.get(f"/{number}") for gateway in gateways])
                    if ended.is_set():
                        return
                    await asyncio.sleep(0.02)

            clients = [asyncio.create_task(ask()) for _ in range(4)]
            first, second = sentinel.servers
            await second.until(lambda size: size > 50, "DBSIZE")
            async with asyncio.timeout(15):
                if how == "killed":
                    await first.kill()
                else:
                    first.stop()
                await sentinel.until_primary(second)
                before = await second.command("DBSIZE")
                await second.until(lambda size: size > before + 20, "DBSIZE")
            if how == "stopped":
                first.cont()
                await first.until(lambda role: role[0] == b"slave", "ROLE")
            await asyncio.gather(*(gateway.connected() for gateway in gateways))
            ended.set()
            await asyncio.gather(*clients)
            assert {answer.status for answer in answers} == {200}
            origin.answer("/late", body=b"late")
            await gateways[0].get("/late")
            assert (await gateways[0].admin("POST", "/purge", {"url": "/late"})).status == 200
            assert (await gateways[1].get("/late")).verdict == "MISS"


# -- a cluster ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("named", ["by its nodes", "by one host"])
async def test_a_cluster_does_all_that_one_server_does(named: str) -> None:
    async with redis_cluster() as cluster, Origin() as origin, watched(cluster.masters) as seen:
        env = {"REDIS_URL": cluster.url}
        if named == "by one host":  # which is found out to be one of a cluster
            env = {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(cluster.masters[1].port)}
        async with serving(scripted(origin), PATIENT, env=env) as a, serving(origin, PATIENT, env=env) as b:
            await asyncio.gather(a.connected(), b.connected())
            await story(a, b, origin, *cluster.masters)
        assert all(any(line.startswith("EVALSHA") for line in lines) for lines in seen)  # each had some of the work
        assert [key for key in await keys(*cluster.masters) if not key.startswith(b"proxy:cache:")] == []


@pytest.mark.slow
async def test_replicas_take_reads_where_that_is_wanted() -> None:
    """A replica may be behind: what it does not have yet is a miss there, and never an error."""
    async with redis_cluster(replicas=True) as cluster, Origin() as origin:
        url = f"{cluster.url}?replicas=true"
        async with instances(1, scripted(origin), ALONE, url) as (a,), instances(1, origin, ALONE, cluster.url) as (b,):
            await b.verdicts(*ITEMS)
            await stored(len(ITEMS), *cluster.masters)
            for master, replica in zip(cluster.masters, cluster.replicas, strict=True):
                size = await master.command("DBSIZE")
                await replica.until(lambda found, size=size: found >= size, "DBSIZE")
            async with watched(cluster.replicas) as seen:
                assert set(await a.verdicts(*ITEMS)) == {"HIT"}
            reads = [line for lines in seen for line in lines if line.startswith("GETRANGE proxy:cache:e:")]
            assert len(reads) == len(ITEMS)
            assert not any(line.startswith(("EVALSHA", "SET ", "UNLINK")) for lines in seen for line in lines)
            assert (await a.admin("POST", "/purge", {"tag": "item:3"})).status == 200
            assert await b.verdicts(ITEMS[3]) == ["MISS"]
            assert not ERRORS.search(a.log + b.log)


# -- what managed ones allow -------------------------------------------------------------------------------------------

DENIED = ("-client", "-config", "-keys", "-flushall", "-flushdb", "-monitor", "-debug", "-shutdown", "-acl", "-multi")


async def test_a_user_with_few_rights_over_tls() -> None:
    async with redis_server() as redis, redis_over_tls(redis) as tls, Origin() as origin:
        words = ("ACL", "SETUSER", "gateway", "on", ">s3cret word", "resetkeys", "~proxy:cache:*", "resetchannels")
        await redis.command(*words, "&proxy:cache:*", "+@all", *DENIED)
        url = f"{tls.url.replace('://', '://gateway:s3cret%20word@')}?ca_file={tls.ca_file}"
        async with instances(2, scripted(origin), PATIENT, url) as (a, b):
            await story(a, b, origin, redis)
            assert "s3cret" not in a.log + b.log
        assert await redis.command("ACL", "LOG") == []  # nothing that is denied was even tried


@pytest.mark.parametrize("more", [("-info",), ("-subscribe", "-publish"), ("-@scripting",)], ids=" ".join)
async def test_less_than_all_rights_cost_what_needs_them_and_no_request(more: tuple[str, ...]) -> None:
    async with redis_server() as redis, Origin() as origin:
        await redis.command("ACL", "SETUSER", "weak", "on", ">pw-1234", "~*", "&*", "+@all", *DENIED, *more)
        env = {"REDIS_URL": f"redis://weak:pw-1234@127.0.0.1:{redis.port}"}
        async with serving(scripted(origin), ALL, env=env) as gateway:
            await gateway.logged("redis: connected to")
            assert await gateway.verdicts(*ITEMS, *ITEMS) == ["MISS"] * len(ITEMS) + ["HIT"] * len(ITEMS)
            assert (await gateway.admin("GET", "/redis/ping")).status == 200
            assert (await gateway.admin("GET", "/stats")).status == 200
            assert (await gateway.admin("POST", "/purge", {"tag": "item:3"})).status in (200, 202)
            assert await gateway.verdicts(ITEMS[3]) == ["MISS"]
            assert "Traceback" not in gateway.log


# -- full, and restarted -----------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_evictions_are_misses_and_are_counted() -> None:
    async with redis_server("maxmemory 3mb", "maxmemory-policy allkeys-lru") as redis, Origin() as origin:
        paths = [f"/{number}" for number in range(150)]
        for path in paths:
            origin.answer(path, body=bytes(20_000), headers=[("Content-Encoding", "gzip")])
        settings = {**ALONE, "memory": {"max_entries": 1}}
        async with instances(1, origin, settings, redis.url) as (gateway,):
            for _ in range(2):
                assert {(await gateway.get(path)).status for path in paths} == {200}
            async with asyncio.timeout(PATIENCE):
                while (said := (await gateway.stats())["redis"])["evictions"] == 0:
                    await asyncio.sleep(0.05)
            assert 0 < said["keys"] < len(paths)
            assert len(paths) < origin.count() <= 2 * len(paths)
            metrics = (await gateway.admin("GET", "/metrics")).body.decode()
            assert re.search(r'cachegate_evictions_total\{tier="redis"\} [1-9]', metrics)


@pytest.mark.slow
async def test_a_redis_that_keeps_its_data_has_the_answers_after_its_restart() -> None:
    async with redis_server(persist=True) as redis, Origin() as origin:
        async with instances(1, scripted(origin), ALONE, redis.url) as (gateway,):
            await gateway.verdicts(*ITEMS)
            await stored(len(ITEMS), redis)
            await gateway.admin("POST", "/purge", {"tag": "item:3"})
            await redis.kill()
            await redis.start()
            await gateway.connected()
            await gateway.admin("DELETE", "/memory")
            answers = [await gateway.get(path) for path in ITEMS]
            tiers = ["redis"] * len(ITEMS)
            assert [got.tier for got in answers] == [*tiers[:3], None, *tiers[4:]]
        async with instances(1, origin, ALONE, redis.url) as (gateway,):  # with nothing of its own, a journal included
            assert {(await gateway.get(path)).tier for path in ITEMS} == {"redis"}


# -- who shares one ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_environments_on_one_redis_know_nothing_of_each_other() -> None:
    """By prefix, the beginning of another's too, and by database."""
    async with redis_server() as redis, Origin() as origin:
        places = [("shop:", 0), ("shop:eu:", 0), ("athena:", 0), ("shop:", 1)]
        async with AsyncExitStack() as stack:
            gateways = []
            for prefix, db in places:
                env = {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(redis.port), "REDIS_DB": str(db)}
                env |= {"REDIS_KEY_PREFIX": prefix}
                gateways.append(await stack.enter_async_context(serving(scripted(origin), ALONE, env=env)))
            await asyncio.gather(*(gateway.connected() for gateway in gateways))
            for number, gateway in enumerate(gateways):
                paths = ITEMS[: number + 1]
                assert await gateway.verdicts(*paths) == ["MISS"] * len(paths)
            async with asyncio.timeout(PATIENCE):
                for number, gateway in enumerate(gateways, 1):
                    while (await gateway.stats())["redis"]["keys"] != number:
                        await asyncio.sleep(0.05)
            receipt = (await gateways[0].admin("POST", "/purge", {"all": True})).json
            assert len(receipt["instances"]) == 1
            assert (await gateways[0].admin("DELETE", "/redis")).json == {"cleared": 1}
            for number, gateway in enumerate(gateways[1:], 1):
                await gateway.admin("DELETE", "/memory")
                assert {(await gateway.get(path)).tier for path in ITEMS[: number + 1]} == {"redis"}


# -- settings that are wrong -------------------------------------------------------------------------------------------


@asynccontextmanager
async def wrong(kind: str) -> AsyncIterator[tuple[Mapping[str, str], FaultProxy, str, RedisServer]]:
    """The environment that leads to it, the network it goes over, and what is said."""
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(redis_server(*(["requirepass right"] if kind == "password" else [])))
        port = redis.port
        if kind.startswith("no"):
            port = (await stack.enter_async_context(redis_over_tls(redis))).proxy.port
        network = await stack.enter_async_context(FaultProxy(port))
        at = f"127.0.0.1:{network.port}"
        urls = {
            "password": (f"redis://:wr0ng-s3cret@{at}", "the user or password is refused"),
            "user": (f"redis://bob:wr0ng-s3cret@{at}", "the user or password is refused"),
            "db": (f"redis://:@{at}/99", "DB index is out of range"),
            "tls where none is": (f"rediss://:wr0ng-s3cret@{at}", "does it speak TLS?"),
            "no tls where it is": (f"redis://{at}", "does it want TLS?"),
            "not trusted": (f"rediss://{at}", "certificate verify failed"),
        }
        yield {"REDIS_URL": urls[kind][0]}, network, urls[kind][1], redis


@pytest.mark.parametrize(
    "kind",
    [
        "password",
        "tls where none is",
        "not trusted",
        *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("user", "db", "no tls where it is")),
    ],
)
async def test_a_wrong_setting_is_one_clear_line_and_tried_again(kind: str) -> None:
    async with AsyncExitStack() as stack:
        env, network, said, redis = await stack.enter_async_context(wrong(kind))
        origin = scripted(await stack.enter_async_context(Origin()))
        slow = {"redis": {"connect_timeout": 5}} if kind == "not trusted" else {}  # a handshake takes its time
        async with serving(origin, {**ALL, **slow}, env=env) as gateway:
            assert await gateway.verdicts(*ITEMS[:3], *ITEMS[:3]) == ["MISS"] * 3 + ["HIT"] * 3
            await gateway.logged("is away")
            tried = network.connections
            await network.until(lambda: network.connections >= tried + 2)
            told = [line for line in gateway.lines if line.get("level") == "error"]
            assert len(told) == 1
            assert said in told[0]["message"]
            health = await gateway.admin("GET", "/redis/health")
            assert (health.status, said in health.json["reason"]) == (503, True)
            pages = [await gateway.admin("GET", page) for page in ("/config", "/stats")]
            assert "wr0ng" not in gateway.log + health.body.decode() + "".join(page.body.decode() for page in pages)
            if kind == "password":
                async with redis.client(password="right") as client:
                    await client.execute_command("CONFIG", "SET", "requirepass", "wr0ng-s3cret")
                await gateway.connected()


async def test_an_address_of_no_known_kind_is_refused_without_being_shown() -> None:
    async with Origin() as origin:
        with pytest.raises(AssertionError, match="wants a URL that begins with one of redis://") as told:
            async with serving(origin, ALL, env={"REDIS_URL": "memcached://:wr0ng-s3cret@127.0.0.1"}):
                pass
        assert "wr0ng" not in str(told.value)


# -- what is sent ------------------------------------------------------------------------------------------------------

NEEDED = {"INFO", "TIME", "SCAN", "UNLINK", "GETRANGE", "HGETALL", "EVALSHA", "PING", "SUBSCRIBE", "XREAD"}
FORBIDDEN = {"KEYS", "FLUSHALL", "FLUSHDB", "CLIENT", "CONFIG", "MULTI", "SCRIPT", "SORT", "COMMAND", "ACL", "DEBUG"}


async def test_in_a_whole_life_nothing_is_sent_that_must_not_be() -> None:
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(redis_server())
        origin = scripted(await stack.enter_async_context(Origin()))
        async with redis.monitor() as seen, instances(2, origin, PATIENT, redis.url) as (a, b):
            await story(a, b, origin, redis)
            for page in ("/stats", "/metrics", "/entries", "/redis/health", "/redis/ping", "/redis/info"):
                assert (await a.admin("GET", page)).status == 200
            assert (await a.command("clear", "--tier", "redis", "--yes"))[0] == 0
            assert (await b.admin("DELETE", "?pattern=/items/*")).status == 200
            await a.verdicts(*ITEMS[:5])
        left = {key: await redis.command("PTTL", key) for key in await keys(redis)}
    assert [key for key, life in left.items() if not key.startswith(b"proxy:cache:") or life == -1] == []
    words = {line.split()[0].upper() for line in seen}
    assert words >= NEEDED
    assert words & FORBIDDEN == set()
    named = [
        found[1] for line in seen if (found := re.match(r"(?:GETRANGE|HGETALL|UNLINK|HSET|XREVRANGE) (\S+)", line))
    ]
    assert {name[:12] for name in named} == {"proxy:cache:"}
