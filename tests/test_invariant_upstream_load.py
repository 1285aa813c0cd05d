"""The load of an origin is bounded (invariant 10): one fetch for all who want the same, however it ends; few retries;
nothing while the breaker is open; no more at a time than the bulkheads let in. What counts is what the origin was
asked, over several workers and instances."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.support.gateway import Got
from tests.support.origin import FIN, RST, STALL, Gate, Origin
from tests.support.process import PATIENCE, Process, instances, serving
from tests.support.redis_servers import RedisServer, redis_server

NEVER = {"consecutive": 10**6, "min_requests": 10**6, "window": 3600}  # the breaker is not what bounds it
SOON = {"consecutive": 5, "window": 3600, "open_for": 3600, "max_open": 3600}
RULES: dict[str, Any] = {"rules": [{"name": "all", "pattern": "*", "ttl": 3600, "stale_while_revalidate": 3600}]}


def behind(origin: Origin, *, rules: Any = RULES, workers: int = 1, **upstream: Any) -> dict[str, Any]:
    told = {"breaker": NEVER, **upstream, "url": origin.url}
    return {**rules, "upstream": told, "listen": {"workers": workers}, "log": {"access": False}}


async def inside(gateways: list[Process], number: int) -> None:
    """Wait until each says that it has so many requests under way."""
    async with asyncio.timeout(PATIENCE):
        for gateway in gateways:
            while (await gateway.stats())["inFlight"] < number:
                await asyncio.sleep(0.01)


def ask(gateways: list[Process], paths: list[str]) -> "asyncio.Future[list[Got]]":
    return asyncio.gather(*(gateway.get(path) for path in paths for gateway in gateways))


def refused(got: Got) -> bool:
    return got.status == 503 and got.header("retry-after") is not None


# -- one fetch ---------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def cluster(origin: Origin, **how: Any) -> AsyncIterator[tuple[list[Process], RedisServer]]:
    """Two instances of two workers each."""
    settings = behind(origin, workers=2, **how)
    async with redis_server() as redis, instances(2, origin, settings, redis.url) as gateways:
        yield gateways, redis


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_cold_answer_and_a_stale_one_are_fetched_once_by_each_worker(workers: int) -> None:
    async with Origin() as origin, serving(origin, behind(origin, workers=workers)) as gateway:
        origin.answer("/a", body=b"one")
        gate = origin.hold("/a")
        waiting = ask([gateway], ["/a"] * 60)
        await inside([gateway], 60)
        gate.release()
        assert {got.body for got in await waiting} == {b"one"}
        assert 1 <= origin.count("/a") <= workers
        origin.answer("/a", body=b"two")
        gate = origin.hold("/a")
        fetched = origin.count("/a")
        assert (await gateway.admin("POST", "/purge", {"url": "/a", "soft": True})).status == 200
        assert {got.body for got in await ask([gateway], ["/a"] * 60)} == {b"one"}  # stale, while it is refreshed
        await origin.arrived("/a", fetched + 1)
        assert origin.count("/a") <= fetched + workers
        gate.release()


@pytest.mark.slow
async def test_a_cold_answer_is_fetched_once_by_all_instances_and_without_redis_once_by_each_worker() -> None:
    async with Origin() as origin, cluster(origin) as (gateways, redis):
        for path, most in (("/with", 1), ("/without", 4)):
            origin.answer(path, body=b"one")
            gate = origin.hold(path)
            waiting = ask(gateways, [path] * 30)
            await inside(gateways, 30)
            gate.release()
            assert {got.body for got in await waiting} == {b"one"}
            assert 1 <= origin.count(path) <= most
            await redis.kill()


FAILURES: dict[
    str, tuple[tuple[Any, ...], int]
] = {  # and how often each is asked for at most: only what brought no byte, again
    "reset": ((RST,), 3),
    "ended": ((FIN,), 3),
    "garbage": ((b"\x00\x01\r\n\r\n", FIN), 1),
    "500": ((b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno",), 1),
    "503": ((b"HTTP/1.1 503 No\r\nRetry-After: 1\r\nContent-Length: 2\r\n\r\nno",), 1),
    "cut": ((b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nno", RST), 1),
    "silent": ((STALL,), 1),
}


@pytest.mark.slow
@pytest.mark.parametrize("shared", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["alone", "cluster"])
async def test_no_failure_of_a_fetch_lets_those_loose_who_waited_for_it(shared: bool) -> None:
    async with Origin() as origin:
        how = {"first_byte_timeout": 6}
        if shared:
            async with cluster(origin, **how) as (gateways, _):
                await all_fail(origin, gateways)
        else:
            async with serving(origin, behind(origin, **how)) as gateway:
                await all_fail(origin, [gateway])


async def all_fail(origin: Origin, gateways: list[Process]) -> None:
    """Each worker may learn for itself that it failed: nobody is told of that by another."""
    workers = 1 if len(gateways) == 1 else 4
    for name, (steps, most) in FAILURES.items():
        gate = Gate()
        origin.script(f"/{name}", gate, *steps)
        waiting = asyncio.gather(
            *(gateway.get(f"/{name}") for gateway in gateways for _ in range(30)), return_exceptions=True
        )
        await inside(gateways, 30)
        # Who came before these has heard from Redis, and waits with the others; who comes later may fetch for himself.
        await ask(gateways, [f"/after/{name}/{number}" for number in range(30)])
        gate.release()
        answers = await waiting
        assert all(isinstance(got, Exception) or got.status >= 500 for got in answers), name
        assert 1 <= origin.count(f"/{name}") <= most * workers, name


async def test_what_may_not_be_kept_is_fetched_by_each_who_waited_and_by_no_more_at_a_time_than_may() -> None:
    async with Origin() as origin, serving(origin, behind(origin, max_in_flight=4)) as gateway:
        origin.answer("/a", headers=[("Cache-Control", "no-store")], body=b"mine")
        gate = origin.hold("/a")
        waiting = ask([gateway], ["/a"] * 30)
        await origin.arrived("/a")
        await inside([gateway], 30)
        assert origin.count() == 1
        gate.release()
        assert {got.body for got in await waiting} == {b"mine"}
        assert origin.count() == 30
        assert origin.connections <= 4


async def test_a_fetch_that_takes_too_long_is_followed_by_one_more_and_no_third() -> None:
    settings = {**RULES, "flight": {"wait": 0.2}}
    async with Origin() as origin, serving(origin, behind(origin, rules=settings)) as gateway:
        origin.answer("/a", body=b"late")
        gate = origin.hold("/a")
        first = ask([gateway], ["/a"] * 30)
        await origin.arrived("/a", 2)
        second = ask([gateway], ["/a"] * 30)
        await inside([gateway], 60)
        await asyncio.gather(*(gateway.get(f"/wait/{number}") for number in range(30)))
        gate.release()
        assert {got.body for got in [*await first, *await second]} == {b"late"}
        assert origin.count("/a") == 2


# -- retries, breaker, bulkhead ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [RST, FIN], ids=["reset", "ended"])
async def test_retries_are_a_fifth_of_the_calls(how: Any) -> None:
    calls = 100
    async with Origin() as origin, serving(origin, behind(origin, retries=5)) as gateway:
        for number in range(calls):
            origin.script(f"/{number}", how)
            assert (await gateway.get(f"/{number}")).status == 502
        assert calls < origin.count() <= calls * 1.2


async def test_of_an_origin_that_fails_nothing_is_wanted_for_a_while() -> None:
    """Whatever is asked for, and by whom: what was under way when it opened is all that comes."""
    async with Origin() as origin, serving(origin, behind(origin, breaker=SOON, retries=0)) as gateway:
        origin.otherwise([], lambda request: b"")
        for number in range(5):
            origin.answer(f"/{number}", 503)
            assert (await gateway.get(f"/{number}")).status == 503
        answers = await ask([gateway], [f"/other/{number}" for number in range(100)])
        answers += [await gateway.ask("POST", "/other", data=b"x"), await gateway.ask("HEAD", "/head")]
        assert all(map(refused, answers))
        assert origin.count() == 5


async def test_no_more_are_at_the_origin_at_a_time_than_may_be_and_no_more_wait() -> None:
    rules = {"rules": [{"name": "slow", "pattern": "/slow/*", "concurrency": 3}, *RULES["rules"]]}
    limits = {"max_in_flight": 8, "max_queue": 10}
    async with Origin() as origin, serving(origin, behind(origin, rules=rules, **limits)) as gateway:
        gate = Gate()
        paths = [f"/{rule}/{number}" for rule in ("slow", "fast") for number in range(40)]
        for path in paths:
            origin.script(path, gate, b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")
        asked = [asyncio.create_task(gateway.get(path)) for path in paths]
        await origin.arrived(None, 8)
        while sum(task.done() for task in asked) < len(paths) - (3 + 10) - (5 + 10):
            await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED, timeout=0.05)
        assert origin.count() == origin.open == 8
        assert sum(request.path.startswith("/slow/") for request in origin.requests) <= 3
        gate.release()
        answers = await asyncio.gather(*asked)
        let_in = [got for got in answers if got.status == 200]
        assert len(let_in) == origin.count() <= 8 + 10 + 10
        assert all(got.status == 200 or refused(got) for got in answers)
