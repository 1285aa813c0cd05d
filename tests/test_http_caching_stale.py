"""Over the wire, defaults only: stale answers, and when none may be sent (http-caching: Stale; RFC 5861, RFC 9111
4.2.4)."""

import asyncio
from typing import Any

import pytest

from tests.support.gateway import Clock, running
from tests.support.judged import cc
from tests.support.origin import FIN, RST, Origin, Step

TAG = ("ETag", '"a"')


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        pytest.param("max-age=10, stale-while-revalidate=30", "UPDATING", id="in the window"),
        pytest.param("max-age=10", "REVALIDATED", id="no window"),
        pytest.param("max-age=10, stale-while-revalidate=30, must-revalidate", "REVALIDATED", id="must-revalidate"),
        pytest.param("max-age=10, stale-while-revalidate=30, proxy-revalidate", "REVALIDATED", id="proxy-revalidate"),
        pytest.param("s-maxage=10, stale-while-revalidate=30", "REVALIDATED", id="s-maxage"),
        pytest.param("max-age=10, stale-while-revalidate=30, no-cache", "REVALIDATED", id="no-cache"),
        pytest.param("stale-while-revalidate=30", "REVALIDATED", id="what never had a lifetime"),
    ],
)
async def test_no_window_is_open_against_a_prohibition(said: str, verdict: str) -> None:
    clock = Clock()
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        origin.answer("/a", headers=[cc(said), TAG], body=b"x", times=1)
        origin.answer("/a", 304, [TAG])
        await gateway.get("/a")
        await gateway.settled()
        clock.advance(11)
        assert (await gateway.get("/a")).verdict == verdict
        await gateway.settled()
        assert origin.count("/a") == 2


@pytest.mark.parametrize(
    "rule", [{"stale_while_revalidate": 60, "stale_if_error": 60}, {"stale_while_revalidate": 60}, {}], ids=str
)
@pytest.mark.parametrize("said", ["must-revalidate", "proxy-revalidate", "s-maxage=10", "no-cache"])
async def test_no_rule_lifts_a_prohibition(rule: dict[str, Any], said: str) -> None:
    clock = Clock()
    rules = [{"name": "r", "pattern": "*", "ttl": 10, **rule}]
    async with Origin() as origin, running(origin, {"rules": rules}, clock=clock) as gateway:
        origin.answer("/a", headers=[cc(said), TAG], body=b"good", times=1)
        origin.script("/a", FIN)
        await gateway.get("/a")
        await gateway.settled()
        clock.advance(11)
        got = await gateway.get("/a")
        assert (got.status, got.body == b"good") == (502, False)


HEAD = b"HTTP/1.1 200 OK\r\nX-Origin: head\r\n"


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param([FIN], id="dropped"),
        pytest.param([RST], id="reset"),
        pytest.param([HEAD, FIN], id="dropped in the middle of its head"),
        pytest.param([HEAD + b"Content-Length: x\r\n\r\n", FIN], id="junk"),
    ],
)
@pytest.mark.parametrize("allowed", [True, False])
async def test_stale_or_our_own_error_but_never_the_origins_old_head(steps: list[Step], allowed: bool) -> None:
    clock = Clock()
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        said = "max-age=10" if allowed else "max-age=10, must-revalidate"
        origin.answer("/a", headers=[cc(said), TAG, ("X-Origin", "old")], body=b"good", times=1)
        origin.script("/a", *steps)
        await gateway.get("/a")
        await gateway.settled()
        clock.advance(11)
        got = await gateway.get("/a")
        if allowed:
            assert (got.verdict, got.body, got.header("x-origin"), got.header("age")) == ("STALE", b"good", "old", "11")
        else:
            assert (got.status, got.header("x-origin"), got.header("etag")) == (502, None, None)
            assert (got.header("cache-control"), got.header("age")) == ("no-store", None)
            assert b"good" not in got.body


async def test_a_whole_crowd_in_the_window_costs_one_refresh() -> None:
    clock = Clock()
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        origin.answer("/a", headers=[cc("max-age=10, stale-while-revalidate=30")], body=b"old", times=1)
        origin.answer("/a", headers=[cc("max-age=10")], body=b"new")
        await gateway.get("/a")
        await gateway.settled()
        clock.advance(11)
        gate = origin.hold("/a")
        got = await asyncio.gather(*(gateway.get("/a") for _ in range(50)))  # while the origin says nothing
        assert {(each.verdict, each.body) for each in got} == {("UPDATING", b"old")}
        gate.release()
        await gateway.settled()
        assert ((await gateway.get("/a")).body, origin.count("/a")) == (b"new", 2)


async def test_an_error_in_the_window_is_not_told_and_does_not_take_the_place() -> None:
    clock = Clock()
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        origin.answer("/a", headers=[cc("max-age=10, stale-while-revalidate=30")], body=b"old", times=1)
        origin.answer("/a", 503, [cc("max-age=60")], b"trouble")
        await gateway.get("/a")
        await gateway.settled()
        for _ in range(2):
            clock.advance(11)
            assert (await gateway.get("/a")).body == b"old"
            await gateway.settled()


@pytest.mark.parametrize(
    ("method", "asked", "status", "body"),
    [("HEAD", {}, 200, b""), ("GET", {"Range": "bytes=1-2"}, 206, b"oo")],
    ids=["HEAD", "a range, and nothing to validate with"],
)
@pytest.mark.parametrize("trouble", ["503", "dropped"])
async def test_it_stands_in_also_for_what_is_asked_for_one_client_alone(
    method: str, asked: dict[str, str], status: int, body: bytes, trouble: str
) -> None:
    clock = Clock()
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        origin.answer("/a", headers=[cc("max-age=10")], body=b"good", times=1)
        if trouble == "503":
            origin.answer("/a", 503, body=b"trouble")
        else:
            origin.script("/a", FIN)
        await gateway.get("/a")
        await gateway.settled()
        clock.advance(11)
        got = await gateway.ask(method, "/a", asked)
        assert (got.status, got.verdict, got.body, got.header("age")) == (status, "STALE", body, "11")
        assert origin.last.method == method
