"""Over the wire: what a client may ask of the cache, and whose reloads count (http-caching: Request directives, HEAD).
Defaults only, unless a test is of a setting."""

import asyncio
from typing import Any

import pytest

from tests.support.gateway import TOKEN, Clock, running
from tests.support.judged import cc
from tests.support.origin import Origin

MINUTE = cc("max-age=60")
TAG = ("ETag", '"a"')

RELOADS = [{"Cache-Control": "no-cache"}, {"Cache-Control": "max-age=0"}, {"Pragma": "no-cache"}]
TRUSTED: dict[str, Any] = {"listen": {"trusted_proxies": ["127.0.0.0/8"]}}
ELSEWHERE: dict[str, Any] = {"listen": {"trusted_proxies": ["192.0.2.0/24"]}}


@pytest.mark.parametrize("asked", RELOADS, ids=str)
@pytest.mark.parametrize(
    ("settings", "token", "verdict"),
    [
        pytest.param({}, None, "HIT", id="a stranger"),
        pytest.param({}, TOKEN, "REVALIDATED", id="with the token"),
        pytest.param({}, "guess", "HIT", id="with another token"),
        pytest.param(TRUSTED, None, "REVALIDATED", id="a trusted proxy"),
        pytest.param(ELSEWHERE, None, "HIT", id="a proxy that is not trusted"),
        pytest.param({"cache": {"client_directives": "all"}}, None, "REVALIDATED", id="the setting, for all"),
        pytest.param({"cache": {"client_directives": "ignore"}}, TOKEN, "HIT", id="the setting, for nobody"),
    ],
)
async def test_whose_reloads_count(
    asked: dict[str, str], settings: dict[str, Any], token: str | None, verdict: str
) -> None:
    async with Origin() as origin, running(origin, settings) as gateway:
        origin.answer("/a", headers=[MINUTE, TAG], body=b"x", times=1)
        origin.answer("/a", 304, [TAG])
        await gateway.get("/a")
        await gateway.settled()
        got = await gateway.get("/a", {**asked, **({} if token is None else {"Cachegate-Token": token})})
        assert (got.status, got.body, got.verdict) == (200, b"x", verdict)
        assert origin.count("/a") == (1 if verdict == "HIT" else 2)


async def test_a_crowd_of_reloads_of_strangers_costs_nothing() -> None:
    async with Origin() as origin, running(origin) as gateway:
        origin.answer("/a", headers=[MINUTE], body=b"x")
        await gateway.get("/a")
        await gateway.settled()
        await asyncio.gather(*(gateway.get("/a", RELOADS[number % 3]) for number in range(60)))
        assert origin.count("/a") == 1


@pytest.mark.parametrize(
    ("asked", "later", "honoured", "ignored"),
    [
        pytest.param("only-if-cached", 61, (504, "MISS"), (200, "EXPIRED"), id="only-if-cached"),
        pytest.param("only-if-cached", 30, (200, "HIT"), (200, "HIT"), id="only-if-cached, and it is"),
        pytest.param("max-stale=30", 80, (200, "HIT"), (200, "EXPIRED"), id="max-stale"),
        pytest.param("min-fresh=31", 30, (200, "EXPIRED"), (200, "HIT"), id="min-fresh"),
        pytest.param("min-fresh=29", 30, (200, "HIT"), (200, "HIT"), id="min-fresh, and it is"),
        pytest.param("MAX-STALE", 80, (200, "HIT"), (200, "EXPIRED"), id="in any case"),
    ],
)
@pytest.mark.parametrize("setting", ["honour", "ignore"])
async def test_wishes(asked: str, later: float, honoured: Any, ignored: Any, setting: str) -> None:
    clock = Clock()
    settings = {"cache": {"client_directives": setting}} if setting != "honour" else {}
    async with Origin() as origin, running(origin, settings, clock=clock) as gateway:
        origin.answer("/a", headers=[MINUTE], body=b"x")
        await gateway.get("/a")
        await gateway.settled()
        clock.advance(later)
        got = await gateway.get("/a", {"Cache-Control": asked})
        assert (got.status, got.verdict) == (honoured if setting == "honour" else ignored)
        assert origin.count("/a") == (2 if got.verdict == "EXPIRED" else 1)


@pytest.mark.parametrize(("setting", "kept"), [("honour", False), ("ignore", True), ("all", False)])
async def test_a_clients_no_store(setting: str, kept: bool) -> None:
    settings = {"cache": {"client_directives": setting}} if setting != "honour" else {}
    async with Origin() as origin, running(origin, settings) as gateway:
        origin.answer("/a", headers=[MINUTE], body=b"x")
        await gateway.get("/a", {"Cache-Control": "no-store"})
        await gateway.settled()
        assert ((await gateway.get("/a")).verdict == "HIT") is kept


async def test_max_age_of_the_trusted_is_a_limit() -> None:
    """RFC 9111 5.2.1.1, 5.4."""
    clock = Clock()
    async with Origin() as origin, running(origin, TRUSTED, clock=clock) as gateway:
        origin.answer("/a", headers=[MINUTE, TAG], body=b"x")
        await gateway.get("/a")
        await gateway.settled()
        clock.advance(30)
        for more in ({}, {"Pragma": "no-cache"}):  # 5.4: that counts alone
            assert (await gateway.get("/a", {"Cache-Control": "max-age=31", **more})).verdict == "HIT"
        assert (await gateway.get("/a", {"Cache-Control": "max-age=29"})).verdict == "EXPIRED"


# -- HEAD --------------------------------------------------------------------------------------------------------------


async def test_a_head_never_leads_a_gets_flight_nor_follows_one() -> None:
    async with Origin() as origin, running(origin) as gateway:
        origin.answer("/a", headers=[MINUTE], body=b"hello")
        gate = origin.hold("/a")
        head = asyncio.ensure_future(gateway.ask("HEAD", "/a"))
        await origin.arrived("/a")
        get = asyncio.ensure_future(gateway.get("/a"))
        await origin.arrived("/a", 2)
        other = asyncio.ensure_future(gateway.ask("HEAD", "/a"))
        await origin.arrived("/a", 3)
        gate.release()
        assert [(await each).body for each in (head, get, other)] == [b"", b"hello", b""]
        assert [request.method for request in origin.requests] == ["HEAD", "GET", "HEAD"]


async def test_a_head_that_is_not_stored_is_asked_as_a_head_and_stores_nothing() -> None:
    async with Origin() as origin, running(origin) as gateway:
        origin.answer("/a", headers=[MINUTE, TAG], body=b"hello")
        for _ in range(2):
            got = await gateway.ask("HEAD", "/a")
            await gateway.settled()
            assert (got.verdict, got.header("content-length"), got.detail) == ("MISS", "5", "head")
        assert [request.method for request in origin.requests] == ["HEAD", "HEAD"]
        assert [(await gateway.get("/a")).verdict for _ in range(2)] == ["MISS", "HIT"]
        stored = await gateway.ask("HEAD", "/a")
        assert (stored.verdict, stored.header("content-length"), stored.header("etag")) == ("HIT", "5", TAG[1])
        assert origin.count("/a") == 3
