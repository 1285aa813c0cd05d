"""config/examples/gateway.yaml as two instances over one Redis, before an origin and a service of accounts (rows 22,
138)."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import yaml

from tests.support.gateway import Got
from tests.support.origin import Origin
from tests.support.process import PATIENCE, REPOSITORY, Process, instances
from tests.support.redis_servers import RedisServer, redis_server

pytestmark = pytest.mark.slow

JSON = {"Content-Type": "application/json"}
USER = {"X-User-Id": "7"}


@dataclass(frozen=True)
class Fleet:
    a: Process
    b: Process
    origin: Origin
    accounts: Origin
    redis: RedisServer

    async def shared(self, number: int) -> None:
        """Wait until so many answers are in Redis."""
        async with asyncio.timeout(PATIENCE), self.redis.client() as client:
            while len([key async for key in client.scan_iter("api-proxy:cache:e:*")]) < number:
                await asyncio.sleep(0.01)

    async def told(self) -> None:
        """Wait until each has applied what the other has ended: records are applied in their order, and the receipt of
        one more says when all have."""
        for gateway in (self.a, self.b):
            receipt = await gateway.admin("POST", "/purge", {"tag": "nobody's"})
            assert (receipt.status, len(receipt.json["instances"])) == (200, 2)

    async def inside(self, gateway: Process, number: int) -> None:
        """Wait until it says that it has so many requests under way."""
        async with asyncio.timeout(PATIENCE):
            while (await gateway.stats())["inFlight"] < number:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def fleet() -> AsyncIterator[Fleet]:
    settings = yaml.safe_load((REPOSITORY / "config" / "examples" / "gateway.yaml").read_text())
    async with Origin() as origin, Origin() as accounts, redis_server() as redis:
        settings["upstream"]["url"], settings["upstreams"]["accounts"]["url"] = origin.url, accounts.url
        async with instances(2, origin, settings, redis.url) as (a, b):
            yield Fleet(a, b, origin, accounts, redis)


async def search(gateway: Process, **asked: object) -> Got:
    return await gateway.ask("POST", "/api/search", JSON, json.dumps(asked).encode())


async def test_what_is_missing_everywhere_is_fetched_once_and_then_it_is_everywhere() -> None:
    async with fleet() as many:
        many.origin.answer("/api/catalogue/books", body=b"books")
        gate = many.origin.hold("/api/catalogue/books")
        both = (many.a, many.b)
        asking = [asyncio.create_task(each.get("/api/catalogue/books")) for each in both for _ in range(20)]
        for each in both:
            await many.inside(each, 20)
        gate.release()
        assert {(got.status, got.body) for got in await asyncio.gather(*asking)} == {(200, b"books")}
        assert (await many.b.get("/api/catalogue/books?utm_source=mail")).verdict == "HIT"
        assert many.origin.count() == 1

        assert (await many.a.get("/api/catalogue/none")).status == 404
        await many.shared(2)
        none = await many.b.get("/api/catalogue/none")
        assert (none.verdict, none.status, none.tier) == ("HIT", 404, "redis")


async def test_a_write_through_one_ends_what_all_have_of_it() -> None:
    async with fleet() as many:
        for number in (7, 8):
            many.accounts.answer(f"/api/users/{number}", body=b"%d" % number)
            assert (await many.a.get(f"/api/users/{number}", USER)).verdict == "MISS"
        await many.shared(2)
        assert [(await many.b.get(f"/api/users/{number}", USER)).tier for number in (7, 8)] == ["redis"] * 2
        many.accounts.answer("/api/users/7/name", body=b"ok")
        assert (await many.b.ask("PUT", "/api/users/7/name", data=b"new")).status == 200
        await many.told()
        for gateway in (many.a, many.b):
            assert (await gateway.get("/api/users/8", USER)).verdict == "HIT"
        assert (await many.a.get("/api/users/7", USER)).verdict == "MISS"
        assert many.origin.count() == 0


async def test_what_is_stale_is_served_while_it_cannot_be_fetched() -> None:
    async with fleet() as many:
        many.origin.answer("/api/catalogue/tea", body=b"old", times=1)
        many.origin.answer("/api/catalogue/tea", 503, body=b"down", times=1)
        many.origin.answer("/api/catalogue/tea", body=b"new")
        assert (await many.a.get("/api/catalogue/tea")).verdict == "MISS"
        await many.shared(1)
        receipt = await many.a.admin("POST", "/purge", {"tag": "item:tea", "soft": True})
        assert (receipt.status, len(receipt.json["instances"])) == (200, 2)
        got = await many.b.get("/api/catalogue/tea")  # behind it is asked anew, by one instance, and refused
        assert (got.verdict, got.body) == ("UPDATING", b"old")
        await many.origin.arrived("/api/catalogue/tea", 2)
        async with asyncio.timeout(PATIENCE):
            while (got := await many.a.get("/api/catalogue/tea")).body == b"old":
                assert got.verdict == "UPDATING"
        assert (got.verdict, got.body) == ("HIT", b"new")


async def test_thirty_searches_a_minute_over_all_instances() -> None:
    async with fleet() as many:
        many.origin.answer("/api/search", body=lambda request: request.body)
        both = (many.a, many.b) * 15
        assert {(await search(gateway, q=n)).status for n, gateway in enumerate(both)} == {200}
        refused = [await search(gateway, q=0) for gateway in (many.a, many.b)]
        assert [(got.status, got.detail) for got in refused] == [(429, "rate-limited")] * 2


async def test_slow_searches_take_no_more_than_their_places() -> None:
    async with fleet() as many:
        many.origin.answer("/api/search", body=b"found")
        many.origin.answer("/api/catalogue/tea", body=b"tea")
        gate = many.origin.hold("/api/search")
        searches = [asyncio.create_task(search(many.a, q=n)) for n in range(20)]
        await many.origin.arrived("/api/search", 16)
        await many.inside(many.a, 20)
        assert (await many.a.get("/api/catalogue/tea")).body == b"tea"
        assert many.origin.count("/api/search") == 16
        gate.release()
        assert {got.status for got in await asyncio.gather(*searches)} == {200}


async def test_a_service_that_fails_is_left_alone_and_nobody_else_notices() -> None:
    async with fleet() as many:
        many.origin.answer("/api/catalogue/tea", body=b"tea")
        many.accounts.otherwise([], lambda request: b"")
        many.accounts.answer("/api/users/7", 500)
        for _ in range(5):
            assert (await many.a.get("/api/users/7", USER)).status == 500
        held = await many.a.get("/api/users/7", USER)
        assert (held.status, many.accounts.count()) == (503, 5)
        assert int(held.header("retry-after") or 0) > 0
        assert (await many.a.get("/api/catalogue/tea")).status == 200


async def test_graphql_by_post_and_persisted_by_get() -> None:
    persisted = "/graphql?operationName=Me&extensions=%7B%22persistedQuery%22%3A%7B%22sha256Hash%22%3A%22{}%22%7D%7D"

    async def ask(gateway: Process, query: str) -> str | None:
        return (await gateway.ask("POST", "/graphql", JSON, json.dumps({"query": query}).encode())).verdict

    async with fleet() as many:
        many.origin.answer("/graphql", body=b'{"data": {}}')
        assert await ask(many.a, "{ me { name, id } }") == "MISS"
        assert await many.a.verdicts(persisted.format("ab")) == ["MISS"]
        await many.shared(2)
        assert await ask(many.b, "{\n  me {\n    name\n    id  # both\n  }\n}") == "HIT"
        assert await many.b.verdicts(persisted.format("ab"), persisted.format("cd")) == ["HIT", "MISS"]
        assert await ask(many.b, "mutation { rename(id: 7) }") == "BYPASS"
        await many.told()
        assert await ask(many.a, "{ me { name, id } }") == "MISS"  # it may have changed anything


async def test_without_redis_they_go_on_and_say_so() -> None:
    async with fleet() as many:
        many.origin.answer("/api/catalogue/tea", body=b"tea")
        await many.a.get("/api/catalogue/tea")
        await many.redis.kill()
        assert (await many.a.get("/api/catalogue/tea")).verdict == "HIT"
        assert (await many.b.get("/api/catalogue/tea")).status == 200
        for gateway in (many.a, many.b):
            async with asyncio.timeout(PATIENCE):
                while (await gateway.stats())["redis"]["mode"] != "fallback":
                    await asyncio.sleep(0.01)
            assert (await gateway.get("/cache/ready")).status == 200  # ready to serve, and degraded: the probes differ
            code, _, _ = await gateway.command("health")
            assert code == 1
