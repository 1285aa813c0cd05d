"""The operator's side of Redis: is it well, what does it hold, empty it, and what is said while it is away (rows 54-56,
65, 66, 68-71, 82, 84, 85, 138; contract "Endpoints", "Stats")."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.origin import Origin
from tests.support.process import PATIENCE, Process, instances, program
from tests.support.redis_servers import RedisServer, redis_cluster, redis_server

ALL: dict[str, Any] = {"rules": [{"name": "all", "pattern": "*", "ttl": 600}]}
PATHS = tuple(f"/{part}/{number}" for part in ("users", "docs") for number in range(5))


async def stored(redis: RedisServer) -> set[bytes]:
    """The names of the records."""
    async with redis.client() as client:
        return {key async for key in client.scan_iter("proxy:cache:e:*")}


async def filled(gateway: Process, origin: Origin, redis: RedisServer) -> None:
    """Every path is in every tier."""
    for path in PATHS:
        origin.answer(path, body=path.encode())
    await gateway.verdicts(*PATHS)
    async with asyncio.timeout(PATIENCE):
        while len(await stored(redis)) < len(PATHS) or (await gateway.stats())["file"]["size"] < len(PATHS):
            await asyncio.sleep(0.01)


async def counted(gateway: Process, keys: int) -> Any:
    """What the statistics say of Redis, once they have counted so many keys."""
    async with asyncio.timeout(PATIENCE):
        while (said := (await gateway.stats())["redis"])["keys"] != keys:
            await asyncio.sleep(0.05)
    return said


async def obeyed(gateway: Process, path: str) -> None:
    """Wait until what another one cleared is gone here."""
    async with asyncio.timeout(PATIENCE):
        while (await gateway.get(path, {"Cache-Control": "only-if-cached"})).status != 504:
            await asyncio.sleep(0.005)


# -- while it is well --------------------------------------------------------------------------------------------------


async def test_the_pages_of_a_redis_that_is_well() -> None:
    async with (
        redis_server(password="pw-1234") as redis,
        Origin() as origin,
        instances(1, origin, ALL, redis.url) as (gateway,),
    ):
        await filled(gateway, origin, redis)
        await redis.command("SET", "theirs", "1")
        said = await counted(gateway, len(PATHS))
        assert (said["size"], said["connected"], said["isConnected"], said["mode"]) == (10, True, True, "shared")
        assert (said["enabled"], said["localFallbackSize"], said["errors"], said["reason"]) == (True, 0, 0, "")
        assert said["memory"].endswith("MB")
        assert said["memoryUsage"] > 500_000
        assert 0 < said["latency"] < 1000
        assert re.fullmatch(r"keys=1\d,expires=1\d", said["keyspace"]["db0"])  # all of the database, theirs too
        health = (await gateway.admin("GET", "/redis/health")).json
        assert set(health) == {"status", "latency", "connected", "memory", "keys"}
        assert (health["status"], health["connected"], health["keys"]) == ("healthy", True, 10)
        ping = (await gateway.admin("GET", "/redis/ping")).json
        assert (ping["pong"], ping["latency_ms"] > 0) == (True, True)
        wanted = {"memory": "used_memory", "stats": "evicted_keys", "keyspace": "db0", "clients": "maxclients"}
        for section, name in wanted.items():
            assert name in (await gateway.admin("GET", f"/redis/info?section={section}")).json
        assert "used_memory" in (await gateway.admin("GET", "/redis/info")).json
        assert (await gateway.admin("GET", "/redis/info?section=everything")).status == 400
        pages = [await gateway.admin("GET", f"/redis/info?section={each}") for each in ("server", "replication")]
        assert not re.search(rb"pw-1234|masterauth|executable|config_file", b"".join(page.body for page in pages))


async def test_without_a_token_health_and_ping_are_seen_from_here_and_the_rest_is_not() -> None:
    async with redis_server() as redis, Origin() as origin, instances(1, origin, ALL, redis.url) as (gateway,):
        local = {"Host": "localhost"}
        assert (await gateway.get("/cache/redis/health", local)).json["status"] == "healthy"
        assert (await gateway.get("/cache/redis/ping", local)).json["pong"] is True
        assert (await gateway.get("/cache/redis/health", {**local, "X-Forwarded-For": "9.9.9.9"})).status == 404
        assert (await gateway.get("/cache/redis/info", local)).status == 404
        assert (await gateway.ask("DELETE", "/cache/redis", local)).status == 404


@pytest.mark.slow
async def test_pages_and_commands_tell_the_same() -> None:
    async with redis_server() as redis, Origin() as origin, instances(1, origin, ALL, redis.url) as (gateway,):
        await filled(gateway, origin, redis)
        await gateway.admin("DELETE", "/memory")
        assert (await gateway.get(PATHS[0])).tier == "redis"
        page = await counted(gateway, len(PATHS))
        code, out, _ = await gateway.command("stats", "--json")
        told = json.loads(out)["redis"]
        names = ("keys", "size", "hits", "misses", "errors", "mode", "connected", "evictions")
        assert (code, {name: told[name] for name in names}) == (0, {name: page[name] for name in names})
        assert (page["hits"], page["misses"]) == (1, len(PATHS))
        assert re.search(r"^redis +10 .* 1 +10 +0$", (await gateway.command("stats"))[1], re.MULTILINE)
        code, out, _ = await gateway.command("health")
        assert (code, bool(re.search(r"ok +redis +10 keys", out))) == (0, True)
        metrics = (await gateway.admin("GET", "/metrics")).body.decode()
        assert 'cachegate_tier_lookups_total{result="hit",tier="redis"} 1.0' in metrics
        assert 'cachegate_tier_entries{tier="redis"} 10.0' in metrics


# -- emptied -----------------------------------------------------------------------------------------------------------


async def test_redis_is_cleared_by_scan_and_unlink_and_nothing_else_is() -> None:
    async with redis_server() as redis, Origin() as origin, instances(1, origin, ALL, redis.url) as (gateway,):
        await filled(gateway, origin, redis)
        origin.answer("/vary", headers=[("Vary", "X-Kind")], body=b"x")
        await gateway.get("/vary", {"X-Kind": "1"})
        foreign = ("theirs", "proxy:cache", "proxy:cachet:e:1", "proxy:cache:e:theirs", "proxy:cache:v:theirs")
        for name in foreign:
            await redis.command("SET", name, "1")
        before = await gateway.stats()
        async with redis.monitor() as seen:
            assert (await gateway.admin("DELETE", "/redis")).json == {"cleared": len(PATHS) + 1}
        words = {line.split()[0] for line in seen} - {"XREAD", "HGETALL", "HSET", "PEXPIRE", "EVALSHA", "INFO", "XINFO"}
        assert {"SCAN", "UNLINK"} <= words <= {"SCAN", "UNLINK", "XRANGE", "HGET", "HPEXPIRE", "TIME", "PUBLISH"}
        async with redis.client() as client:
            left = {key.decode() async for key in client.scan_iter("*")}
        assert left == {*foreign, "proxy:cache:j:{journal}", "proxy:cache:i:{journal}"}
        after = await gateway.stats()
        assert [after[tier]["size"] for tier in ("memory", "file")] == [len(PATHS) + 1] * 2
        assert [after[tier]["size"] for tier in ("memory", "file")] == [before["memory"]["size"]] * 2
        assert await gateway.verdicts(*PATHS) == ["HIT"] * len(PATHS)


async def test_a_part_of_redis_is_cleared_and_a_misspelt_part_is_not_all() -> None:
    async with redis_server() as redis, Origin() as origin, instances(1, origin, ALL, redis.url) as (gateway,):
        await filled(gateway, origin, redis)
        assert (await gateway.admin("DELETE", "/redis?patern=*/users/*")).json["error"] == "bad-query"
        assert len(await stored(redis)) == len(PATHS)
        assert (await gateway.admin("DELETE", "/redis?pattern=*/users/*")).json == {"cleared": 5}
        assert len(await stored(redis)) == 5
        code, out, _ = await gateway.command("clear", "--tier", "redis", "--pattern", "/docs/1", "--yes")
        assert (code, out) == (0, "cleared the redis tier of /docs/1: 1 entries\n")
        await gateway.admin("DELETE", "/memory")
        await gateway.admin("DELETE", "/file")
        tiers = [(await gateway.get(path)).tier for path in PATHS]
        assert tiers == [None] * 5 + ["redis", None, *["redis"] * 3]
        code, out, _ = await gateway.command("clear", "--tier", "redis", "--yes", "--json")
        assert (code, json.loads(out)) == (0, {"cleared": 10})
        assert await stored(redis) == set()


async def test_all_is_cleared_on_every_instance() -> None:
    async with redis_server() as redis, Origin() as origin, instances(2, origin, ALL, redis.url) as (a, b):
        await filled(a, origin, redis)
        assert {(await b.get(path)).tier for path in PATHS} == {"redis"}
        assert await b.verdicts(PATHS[0]) == ["HIT"]
        assert (await a.admin("DELETE", "?pattern=*/users/*")).json == {"cleared": 5}
        await obeyed(b, PATHS[0])
        assert await b.verdicts(*PATHS) == ["MISS"] * 5 + ["HIT"] * 5
        assert await a.verdicts(*PATHS) == ["HIT"] * 10
        code, out, _ = await a.command("clear", "--yes", "--json")
        assert (code, json.loads(out)) == (0, {"cleared": 10})
        assert await stored(redis) == set()
        await obeyed(b, PATHS[0])
        assert await b.verdicts(*PATHS) == ["MISS"] * 10


# -- while it is away --------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("how", ["killed", "stopped"])
async def test_the_fallback_is_named_and_every_page_answers(how: str) -> None:
    """Nobody asks before it is gone, so that the first page is the one that finds out. What stands still for as long as
    it is asked can have told nothing."""
    async with redis_server() as redis, Origin() as origin, instances(1, origin, ALL, redis.url) as (gateway,):
        await filled(gateway, origin, redis)
        await counted(gateway, len(PATHS))
        if how == "killed":
            await redis.kill()
        else:
            redis.stop()
        health = await gateway.admin("GET", "/redis/health")
        assert (health.status, health.json["status"], health.json["connected"]) == (503, "unhealthy", False)
        assert health.json["reason"]
        for method, page in (("GET", "/redis/ping"), ("GET", "/redis/info"), ("DELETE", "/redis")):
            got = await gateway.admin(method, page)
            assert (got.status, got.json["error"]) == (503, "redis-away")
        assert (await gateway.admin("DELETE", "/redis?pattern=*")).status == 503
        async with asyncio.timeout(PATIENCE):
            while (said := (await gateway.stats())["redis"])["state"] != "closed":
                await gateway.get("/none")
        assert (said["connected"], said["mode"], said["localFallbackSize"] >= 10) == (False, "fallback", True)
        assert said["keys"] == len(PATHS)  # as counted last
        code, out, _ = await gateway.command("health")
        assert (code, bool(re.search(r"bad +redis +fallback mode: not connected", out))) == (1, True)
        assert [(await gateway.admin("GET", page)).status for page in ("/live", "/ready", "/stats")] == [200] * 3
        assert await gateway.verdicts(*PATHS) == ["HIT"] * len(PATHS)
        assert (await gateway.admin("DELETE", "")).status == 202  # here; the others and Redis are told later
        if how == "killed":
            await redis.start()
        else:
            redis.cont()
        await gateway.connected()
        assert (await gateway.command("health"))[0] == 0
        assert await gateway.verdicts(*PATHS) == ["MISS"] * len(PATHS)


# -- doctor and INFO of a cluster --------------------------------------------------------------------------------------


async def doctor(*words: str) -> tuple[int, dict[str, Any]]:
    code, out, _ = await program(Path("/"), "doctor", "redis", "--json", *words)
    return code, {each["name"]: each for each in json.loads(out)["findings"]}


@pytest.mark.slow
async def test_a_cluster_is_examined_and_told_of_as_one() -> None:
    async with redis_cluster() as cluster, Origin() as origin:
        code, found = await doctor("--redis-url", cluster.url)
        assert (code, {each["state"] for each in found.values()}) == (0, {"ok"})
        assert found["connect"]["detail"].endswith(", cluster")
        for master in cluster.masters:
            assert await master.command("DBSIZE") == 0
        async with instances(1, origin, ALL, cluster.url) as (gateway,):
            each = [(await master.command("INFO", "memory"))["used_memory"] for master in cluster.masters]
            memory = (await gateway.admin("GET", "/redis/info?section=memory")).json
            assert memory["used_memory"] > 2 * max(each)
            assert "total_system_memory_human" not in memory  # it would be that of one
            nodes = (await gateway.admin("GET", "/redis/info?section=server")).json["nodes"]
            ports = {master.port for master in cluster.masters}
            assert {node["tcp_port"] for node in nodes.values()} == ports
            assert {int(name.rpartition(":")[2]) for name in nodes} == ports
