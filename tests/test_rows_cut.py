"""Answers that break off after their head, and calls that are made again: what the figures say of them (rows 9, 81,
103-105). What reached the origin is counted at the origin."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.collector import Collector
from tests.support.gateway import running
from tests.support.origin import FIN, PATIENCE, RST, STALL, Gate, Origin
from tests.support.process import serving
from tests.support.rawtcp import Raw, raw

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n"
KEPT = HEAD + b"Cache-Control: max-age=60\r\n\r\nhalf"
REFUSED = HEAD + b"Cache-Control: no-store\r\n\r\nhalf"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nCache-Control: max-age=60\r\n\r\n4\r\nhalf\r\n"
NO_CHUNK = CHUNKED + b"xx\r\n"
BYPASSED: dict[str, Any] = {"cache": {"unmatched": "bypass"}}
RULE: dict[str, Any] = {"rules": [{"name": "all", "pattern": "*"}]}


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    async with Origin() as origin:
        yield origin


async def begun(client: Raw) -> None:
    """Ask for it, and wait until half of it is here."""
    await client.send(b"GET /cut HTTP/1.1\r\nHost: test\r\n\r\n")
    await client.head()
    assert await client.reader.readexactly(4) == b"half"


async def cut(gateway: Any, target: str = "/cut") -> None:
    async with raw(gateway.port) as client:
        got = await client.get(target)
    assert (got.status, got.complete) == (200, False)


async def metrics(gateway: Any) -> str:
    return str((await gateway.admin("GET", "/metrics")).body.decode())


@pytest.mark.parametrize("settings", [RULE, BYPASSED], ids=["cached", "passed-on"])
@pytest.mark.parametrize(
    ("said", "end"),
    [(KEPT, FIN), (KEPT, RST), (KEPT, STALL), (CHUNKED, FIN), (NO_CHUNK, STALL), (REFUSED, FIN)],
    ids=["short", "reset", "silent", "no-last-chunk", "no-chunk", "not-stored"],
)
async def test_an_answer_that_breaks_off_has_an_outcome_of_its_own(
    origin: Origin, settings: dict[str, Any], said: bytes, end: Any
) -> None:
    origin.script("/cut", said, end)
    origin.answer("/whole", headers=[("Cache-Control", "max-age=60")], body=b"whole")
    upstream = {"url": origin.url, "read_timeout": 0.1} if end is STALL else {"url": origin.url}
    logged = {"log": {"access": True, "format": "json"}}
    async with serving(origin, {**settings, **logged, "upstream": upstream}) as gateway:
        await cut(gateway)
        await gateway.get("/whole")
        await gateway.logged('"path":"/whole"')
        first, second = gateway.access
        assert (first["reason"], first["stored"], first["status"]) == ("truncated", False, 200)
        assert second["reason"] != "truncated"
        stats = (await gateway.admin("GET", "/stats?window=1h")).json
        assert stats["reasons"]["truncated"] == stats["window"]["reasons"]["truncated"] == 1
        assert (stats["upstream"]["requests"], stats["upstream"]["errors"]) == (2, 1)
        told = await metrics(gateway)
        assert 'cachegate_upstream_requests_total{outcome="truncated"} 1.0' in told
        assert 'cachegate_upstream_requests_total{outcome="ok"} 1.0' in told
        assert 'cachegate_reasons_total{reason="truncated"} 1.0' in told


async def test_all_who_shared_an_answer_that_broke_off_are_told_so_and_the_origin_once(origin: Origin) -> None:
    gate = Gate()
    origin.script("/cut", KEPT, gate, RST)
    async with running(origin, RULE) as gateway, raw(gateway.port) as one, raw(gateway.port) as other:
        for client in (one, other):
            await begun(client)
        assert (await gateway.stats())["upstream"]["requests"] == 1  # before it is known how it ends
        assert 'upstream_requests_total{outcome="' not in await metrics(gateway)
        gate.release()
        for client in (one, other):
            assert await client.closed() == "rst"
        await gateway.settled()
        stats = await gateway.stats()
    assert (stats["reasons"], stats["coalesced"]) == ({"truncated": 2}, 1)
    assert (stats["upstream"]["requests"], stats["upstream"]["errors"]) == (1, 1)


async def test_who_leaves_says_nothing_against_the_origin(origin: Origin) -> None:
    origin.script("/cut", KEPT, STALL)
    async with running(origin, BYPASSED) as gateway:
        async with raw(gateway.port) as client:
            await begun(client)
        async with asyncio.timeout(PATIENCE):
            while not (stats := await gateway.stats())["requests"]:
                await asyncio.sleep(0.01)
        told = await metrics(gateway)
    assert stats["reasons"] == {"no-rule": 1}
    assert (stats["upstream"]["requests"], stats["upstream"]["errors"]) == (1, 0)
    assert 'cachegate_upstream_requests_total{outcome="ok"} 1.0' in told


async def test_what_broke_off_is_an_error_of_the_request_and_of_its_fetch(origin: Origin) -> None:
    origin.script("/cut", KEPT, RST)
    async with Collector() as collector:
        async with running(origin, {**RULE, **collector.settings(metrics=False)}) as gateway:
            await cut(gateway)
            await gateway.settled()
        request, fetch = await collector.span("GET all"), await collector.span("fetch")
    assert (request.failed, request.attributes["error.type"]) == (True, "truncated")
    assert (request.attributes["cachegate.reason"], request.attributes["cachegate.complete"]) == ("truncated", False)
    assert "cachegate.stored" not in request.attributes
    assert (fetch.failed, fetch.attributes["error.type"]) == (True, "truncated")


async def test_what_is_sent_again_is_counted_as_often_as_the_origin_got_it(origin: Origin) -> None:
    origin.script("/", RST, times=1)
    origin.answer("/", body=b"ok")
    settings = {**BYPASSED, "upstream": {"url": origin.url, "retries": 1}}
    async with running(origin, settings) as gateway:
        assert (await gateway.get("/")).status == 200
        stats = (await gateway.stats())["upstream"]
        told = await metrics(gateway)
    assert origin.count() == 2
    assert (stats["requests"], stats["retries"], stats["errors"]) == (2, 1, 0)
    assert 'cachegate_upstream_requests_total{outcome="ok"} 1.0' in told
    assert 'cachegate_upstream_requests_total{outcome="retried"} 1.0' in told


async def test_what_was_never_sent_is_counted_once_a_call(origin: Origin) -> None:
    async with Origin() as gone:
        away = gone.url
    origin.answer("/", body=b"ok")
    settings = {**BYPASSED, "upstream": {"url": [away, origin.url], "retries": 1}}
    async with running(origin, settings) as gateway:
        for _ in range(4):
            assert (await gateway.get("/")).status == 200
        stats = (await gateway.stats())["upstream"]
    assert (stats["requests"], stats["retries"], stats["errors"]) == (origin.count(), 0, 0)
    assert sum(replica["requests"] for replica in stats["replicas"]) > origin.count()  # where each try counts


async def test_health_checks_are_no_requests_and_counted_beside_them(origin: Origin) -> None:
    origin.answer("/health", body=b"well")
    origin.answer("/", body=b"ok")
    settings = {**BYPASSED, "upstream": {"url": origin.url, "health_check": {"path": "/health", "interval": 0.05}}}
    async with running(origin, settings) as gateway:
        await gateway.get("/")
        await origin.arrived("/health", 3)
        stats = (await gateway.stats())["upstream"]
        seen = origin.count("/health")
    (replica,) = stats["replicas"]
    assert (stats["requests"], replica["requests"]) == (origin.count("/"), 1)
    assert 2 <= replica["checks"] <= seen
