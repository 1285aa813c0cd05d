"""What a gateway is asked for most comes back, purged and cleared or not: `top` and `pattern` of a job (row 60)."""

import asyncio
from typing import Any

import pytest

from proxy.warming_hot import TURN
from tests.support.gateway import Client, Clock, Got, running
from tests.support.origin import Origin
from tests.support.redis_servers import redis_server
from tests.support.warming import counts, url, warmed

FAST: dict[str, Any] = {"warm": {"rate": 0}}
RULES: dict[str, Any] = {
    "rules": [{"name": "all", "pattern": "*", "ttl": 60, "key": {"headers": ["x-tenant"]}}],
    **FAST,
}
PERSONAL = {"name": "mine", "pattern": "/mine*", "ttl": 60, "key": {"credentials": "key", "cookies": ["id"]}}


async def connected(gateway: Client) -> None:
    async with asyncio.timeout(20):
        while not (await gateway.admin("GET", "/redis/health")).json["connected"]:
            await asyncio.sleep(0.01)


async def asked(gateway: Client, *paths: str) -> list[Got]:
    return [await gateway.get(path) for path in paths]


@pytest.mark.parametrize("gone", ["cleared", "purged"])
async def test_the_hottest_come_back(gone: str) -> None:
    async with Origin() as origin, running(origin, RULES) as gateway:
        origin.otherwise([], lambda request: b"x")
        await asked(gateway, "/cold", "/warm", "/hot", "/warm", *["/hot"] * 8)
        await gateway.settled()
        await (gateway.admin("DELETE", "") if gone == "cleared" else gateway.purge(all=True))
        before = origin.count()
        assert counts(await warmed(gateway, top=2)) == (2, 2, 0, 0)
        assert [got.verdict for got in await asked(gateway, "/hot", "/warm", "/cold")] == ["HIT", "HIT", "MISS"]
        assert origin.count() == before + 3


async def test_a_pattern_is_cleared_and_warmed_again() -> None:
    """What nobody asked for twice comes back too, each variant as it was."""
    async with Origin() as origin, running(origin, RULES) as gateway:
        origin.otherwise(
            [("Vary", "Accept-Language")], lambda request: (request.header("accept-language") or "").encode()
        )
        german = {"Accept-Language": "de", "X-Tenant": "t"}
        for _ in range(2):
            await gateway.get("/api/a", german)
        await asked(gateway, "/api/b?x=1", "/else")
        await gateway.settled()
        await gateway.admin("DELETE", "?pattern=/api/*")
        assert counts(await warmed(gateway, pattern="/api/*")) == (2, 2, 0, 0)
        got = await gateway.get("/api/a", german)
        assert (got.verdict, got.body) == ("HIT", b"de")
        assert [each.verdict for each in await asked(gateway, "/api/b?x=1", "/else")] == ["HIT", "HIT"]


async def test_nothing_is_remembered_that_only_its_owner_can_ask_for() -> None:
    personal = {"name": "mine", "pattern": "/mine", "ttl": 60, "key": {"credentials": "key", "cookies": ["id"]}}
    posts = {"name": "posts", "pattern": "/post", "methods": ["POST"], "ttl": 60}
    async with Origin() as origin, running(origin, {"rules": [personal, posts, *RULES["rules"]], **FAST}) as gateway:
        origin.otherwise([], lambda request: b"x")
        await gateway.get("/mine", {"Authorization": "Bearer x"})
        await gateway.get("/mine", {"Cookie": "id=1"})
        await gateway.post("/post", b"{}")
        await gateway.get("/all")
        assert counts(await warmed(gateway, top=10)) == (1, 0, 1, 0)


async def test_what_is_its_owners_takes_no_place_of_others() -> None:
    async with Origin() as origin, running(origin, {"rules": [PERSONAL, *RULES["rules"]], **FAST}) as gateway:
        origin.otherwise([], lambda request: b"x")
        await gateway.get("/all")
        for n in range(9):
            await gateway.get(f"/mine/{n % 3}", {"Cookie": "id=1"})
        assert counts(await warmed(gateway, top=1)) == (1, 0, 1, 0)


async def test_what_is_warmed_is_not_hot_by_that() -> None:
    clock = Clock()
    async with Origin() as origin, running(origin, RULES, clock=clock) as gateway:
        origin.otherwise([], lambda request: b"x")
        await asked(gateway, "/hot", "/hot", "/hot", "/kept")
        for _ in range(20):
            clock.advance(1)
            assert counts(await warmed(gateway, urls=[url("/kept")])) == (1, 0, 1, 0)
        await gateway.admin("DELETE", "")
        assert counts(await warmed(gateway, top=1)) == (1, 1, 0, 0)
        assert [got.verdict for got in await asked(gateway, "/hot", "/kept")] == ["HIT", "MISS"]


@pytest.mark.slow
async def test_of_more_than_one_turn_all_are_looked_at() -> None:
    many = [url(f"/{n}") for n in range(TURN + 3)]
    async with Origin() as origin, running(origin, {**RULES, "warm": {"rate": 0, "concurrency": 64}}) as gateway:
        origin.otherwise([], lambda request: b"x")
        assert counts(await warmed(gateway, urls=many)) == (len(many), len(many), 0, 0)
        assert counts(await warmed(gateway, pattern="*")) == (len(many), 0, len(many), 0)


async def test_where_nobody_asked_here_it_is_what_others_are_asked_for() -> None:
    """They tell Redis; what was purged has gone from there."""
    async with redis_server() as redis, Origin() as origin:
        origin.otherwise([], lambda request: request.target.encode())
        shared = {**RULES, "redis": {"url": redis.url, "lazy_connect": False}, "file": {"enabled": False}}
        async with running(origin, shared) as first:
            await connected(first)
            await asked(first, "/often", "/once", "/purged", "/often", "/purged", "/often")
            await first.settled()
            await first.purge(url="/purged")
        before = origin.count()
        async with running(origin, shared) as second:
            await connected(second)
            assert counts(await warmed(second, pattern="/other/*")) == (0, 0, 0, 0)
            assert counts(await warmed(second, pattern="/o*n*")) == (1, 0, 1, 0)
            assert counts(await warmed(second, top=5)) == (1, 0, 1, 0)
            (got,) = await asked(second, "/often")
            assert (got.verdict, got.tier, got.body, origin.count()) == ("HIT", "memory", b"/often", before)
