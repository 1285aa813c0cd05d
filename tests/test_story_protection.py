"""What stands between a failing origin and its load, and what clients are told meanwhile (rows 95 and 96; invariant 10;
reliability.md: breaker, retries, bulkhead, failing leaders). Counted at the origin; breakers go by a clock that the
test turns."""

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.support.gateway import Client, Clock, Got, running
from tests.support.origin import FIN, RST, STALL, Gate, Origin, Reader, Recorded, Writer
from tests.support.rawtcp import raw

PASSING: dict[str, Any] = {"cache": {"unmatched": "bypass"}}
CACHED = [("Cache-Control", "max-age=60")]
OK = b"HTTP/1.1 200 OK\r\n"
NEVER = {"consecutive": 10_000, "min_requests": 10_000}  # thresholds that nothing here reaches


def passing(**upstream: Any) -> dict[str, Any]:
    return {**PASSING, "upstream": upstream}


async def status(gateway: Client, target: str = "/a") -> int | str:
    """Of the answer, or "cut" when it broke off."""
    try:
        return (await gateway.get(target)).status
    except aiohttp.ClientError:
        return "cut"


async def trip(gateway: Client, origin: Origin, target: str = "/trip") -> None:
    """Open the breaker of a service with the usual thresholds."""
    origin.answer(target, 503)
    for _ in range(5):
        assert await status(gateway, target) == 503
    assert (await gateway.stats())["upstream"]["breaker"] == "open"


def refused(got: Got) -> bool:
    """Whether this is the answer of an open breaker."""
    return got.status == 503 and got.detail == "breaker-open"


# -- what opens it -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "seen"),
    [
        ((RST,), 502),
        ((FIN,), 502),
        ((STALL,), 504),
        ((OK[:9], STALL), 504),
        ((b"nonsense\r\n\r\n",), 502),
        ((OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",), 502),
        ((OK + b"Content-Length: 10\r\n\r\nhalf", FIN), "cut"),
        ((OK + b"Content-Length: 10\r\n\r\nhalf", STALL), "cut"),
        ((OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\nxx\r\n", STALL), "cut"),
        *(((b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % code,), code) for code in (500, 502, 503, 504)),
    ],
)
async def test_each_way_of_failing_opens_it(steps: Any, seen: int | str) -> None:
    stalls = {504: {"first_byte_timeout": 0.05}, "cut": {"read_timeout": 0.05}} if STALL in steps else {}
    async with (
        Origin() as origin,
        running(origin, passing(retries=0, **stalls.get(seen, {})), monotonic=Clock()) as gateway,
    ):
        origin.script("/a", *steps)
        assert [await status(gateway) for _ in range(5)] == [seen] * 5
        assert refused(await gateway.get("/a"))
        assert refused(await gateway.get("/another"))
        assert origin.count() == 5


async def test_an_origin_that_is_not_there_opens_it_and_one_that_is_back_closes_it() -> None:
    clock = Clock()
    async with Origin() as origin, running(origin, PASSING, monotonic=clock) as gateway:
        origin.answer("/a", body=b"x")
        await origin.stop()
        assert [await status(gateway) for _ in range(5)] == [502] * 5
        await origin.start()
        assert refused(await gateway.get("/a"))
        clock.advance(5)
        assert [await status(gateway) for _ in range(3)] == [200] * 3


async def test_a_share_of_failures_opens_it() -> None:
    async with Origin() as origin, running(origin, PASSING, monotonic=Clock()) as gateway:
        origin.answer("/good")
        origin.answer("/bad", 500)
        for _ in range(9):
            assert [await status(gateway, target) for target in ("/good", "/bad")] == [200, 500]
        assert await status(gateway, "/good") == 200
        assert await status(gateway, "/bad") == 500  # ten of twenty
        assert refused(await gateway.get("/good"))


async def late(request: Recorded, reader: Reader, writer: Writer) -> None:
    await asyncio.sleep(0.3)
    writer.write(OK + b"Content-Length: 0\r\n\r\n")


async def test_a_share_of_slow_calls_opens_it_and_every_page_says_so() -> None:
    clock, thresholds = Clock(), {"slow_call_duration": 0.25, "min_requests": 4, "consecutive": 100}
    async with Origin() as origin, running(origin, passing(breaker=thresholds), monotonic=clock) as gateway:
        origin.answer("/quick")
        origin.script("/late", late)
        assert [await status(gateway, "/quick") for _ in range(2)] == [200] * 2
        assert await asyncio.gather(status(gateway, "/late"), status(gateway, "/late")) == [200] * 2
        assert refused(await gateway.get("/quick"))
        stats = (await gateway.stats())["upstream"]
        assert (stats["breaker"], stats["cause"]) == ("open", "slow_call_rate")
        metrics = (await gateway.admin("GET", "/metrics")).body.decode()
        assert 'cachegate_breaker_opened_total{cause="slow_call_rate",upstream="main"} 1.0' in metrics
        clock.advance(5)
        assert await status(gateway, "/late") == 200  # a probe that is slow closes nothing
        assert refused(await gateway.get("/quick"))
        clock.advance(10)
        assert [await status(gateway, "/quick") for _ in range(2)] == [200] * 2
        assert "cause" not in (await gateway.stats())["upstream"]


async def test_a_slow_upload_makes_no_slow_call() -> None:
    """The origin is asked when it has all of the request."""

    async def content() -> AsyncIterator[bytes]:
        yield b"a"
        await asyncio.sleep(0.3)
        yield b"b"

    thresholds = {"slow_call_duration": 0.25, "min_requests": 1, "consecutive": 100}
    async with Origin() as origin, running(origin, passing(breaker=thresholds), monotonic=Clock()) as gateway:
        origin.answer("/a")
        assert [(await gateway.post("/a", content())).status for _ in range(2)] == [200] * 2


async def test_what_is_not_the_origins_fault_leaves_it_closed() -> None:
    async with Origin() as origin, running(origin, PASSING, monotonic=Clock()) as gateway:
        for code in (400, 404, 429, 501, 505):
            origin.answer(f"/{code}", code)
            assert [await status(gateway, f"/{code}") for _ in range(6)] == [code] * 6
        origin.hold("/held")
        origin.script("/half", OK + b"Content-Length: 10\r\n\r\nhalf", STALL)
        for n, target in enumerate(["/held"] * 6 + ["/half"] * 6, 1):  # clients that leave, before and in an answer
            async with raw(gateway.port) as client:
                await client.send(f"GET {target} HTTP/1.1\r\nHost: site.example\r\n\r\n".encode())
                if target == "/half":
                    await client.reader.readuntil(b"half")
                await origin.until(lambda n=n: origin.count("/held") + origin.count("/half") == n)
            await origin.until(lambda: origin.open <= 1)
        assert (await gateway.stats())["upstream"]["breaker"] == "closed"
        assert await status(gateway, "/404") == 404


async def test_an_answer_that_is_given_up_speaks_neither_for_nor_against() -> None:
    async with Origin() as origin, running(origin, PASSING, monotonic=Clock()) as gateway:
        origin.answer("/bad", 500)
        origin.script("/half", OK + b"Content-Length: 10\r\n\r\nhalf", STALL)
        assert [await status(gateway, "/bad") for _ in range(4)] == [500] * 4
        async with raw(gateway.port) as client:
            await client.send(b"GET /half HTTP/1.1\r\nHost: site.example\r\n\r\n")
            await client.reader.readuntil(b"half")
        while gateway.gateway.counters.in_flight:
            await asyncio.sleep(0.001)
        assert await status(gateway, "/bad") == 500
        assert refused(await gateway.get("/bad"))


async def test_failures_that_nobody_sees_count() -> None:
    """A stale answer hides them from clients, a refresh behind their back from everybody."""
    clock, rules = Clock(), [{"pattern": "*", "ttl": 10, "stale_while_revalidate": 60}]
    async with Origin() as origin, running(origin, {"rules": rules}, clock=clock, monotonic=Clock()) as gateway:
        origin.answer("/a", body=b"old")
        await gateway.get("/a")
        origin.script("/a", RST)
        for ahead in (20, 0, 0, 100, 0):
            clock.advance(ahead)
            assert (await gateway.get("/a")).body == b"old"
            await gateway.settled()
        calls = origin.count("/a")
        assert refused(await gateway.get("/other"))
        assert (await gateway.get("/a")).verdict == "STALE"
        assert (origin.count("/other"), origin.count("/a")) == (0, calls)


@pytest.mark.parametrize("code", [500, 501, 502, 503, 504])
async def test_what_counts_as_a_failure_is_told_as_an_error(code: int) -> None:
    """The figure beside the breaker counts what it counts: 501 is about the request."""
    async with Origin() as origin, running(origin, passing(breaker=NEVER), monotonic=Clock()) as gateway:
        origin.answer("/a", code)
        origin.answer("/b")
        assert [await status(gateway, target) for target in ("/a", "/b", "/a")] == [code, 200, code]
        stats = (await gateway.stats())["upstream"]
        assert (stats["requests"], stats["errors"]) == (origin.count(), 0 if code == 501 else 2)


async def test_a_client_that_left_is_no_error_of_the_origin() -> None:
    async with Origin() as origin, running(origin, PASSING, monotonic=Clock()) as gateway:
        gate = origin.hold("/a")
        async with raw(gateway.port) as client:
            await client.send(b"GET /a HTTP/1.1\r\nHost: site.example\r\n\r\n")
            await origin.arrived("/a")
        async with asyncio.timeout(20):
            while (stats := (await gateway.stats())["upstream"])["inFlight"]:
                pass
        gate.release()
        assert (stats["requests"], stats["errors"]) == (1, 0)


# -- while it is open --------------------------------------------------------------------------------------------------


async def test_open_is_told_at_once_truly_and_without_the_origin() -> None:
    clock = Clock()
    async with Origin() as origin, running(origin, monotonic=clock) as gateway:
        await trip(gateway, origin)
        got = await gateway.get("/b")
        assert (got.status, got.verdict, got.header("retry-after")) == (503, "MISS", "5")
        assert (got.header("cache-status") or "").partition("; ")[2] == "detail=breaker-open"  # nothing went forward
        assert got.header("cache-control") == "no-store"
        assert b"breaker-open" in got.body
        clock.advance(2)
        posted = await gateway.post("/b", b"x")
        assert (posted.status, posted.verdict, posted.header("retry-after")) == (503, "BYPASS", "3")
        ranged = await gateway.get("/b", {"Range": "bytes=0-1"})
        assert (ranged.status, ranged.header("retry-after")) == (503, "3")
        assert (await gateway.ask("HEAD", "/b")).status == 503
        assert (origin.count("/b"), origin.connections) == (0, 1)
        stats = await gateway.stats()
        assert (stats["reasons"]["breaker-open"], stats["upstream"]["requests"]) == (4, 5)
        metrics = (await gateway.admin("GET", "/metrics")).body.decode()
        assert 'cachegate_breaker_state{state="open",upstream="main"} 1.0' in metrics
        assert 'cachegate_breaker_state{state="closed",upstream="main"} 0.0' in metrics
        assert 'cachegate_upstream_requests_total{outcome="upstream-error"} 5.0' in metrics
        assert 'cachegate_upstream_requests_total{outcome="breaker-open"}' not in metrics
        assert 'cachegate_upstream_withheld_total{reason="breaker-open"} 4.0' in metrics
        assert "cachegate_upstream_seconds_count 5.0" in metrics


@pytest.mark.parametrize("word", ["", ", must-revalidate", ", no-cache", ", s-maxage=10", ", stale-if-error=5"])
async def test_stale_while_it_is_open_where_that_is_allowed(word: str) -> None:
    clock = Clock()
    async with Origin() as origin, running(origin, clock=clock, monotonic=Clock()) as gateway:
        origin.answer("/a", headers=[("Cache-Control", f"max-age=10{word}"), ("ETag", '"1"')], body=b"old")
        await gateway.get("/a")
        await trip(gateway, origin)
        if word != ", no-cache":
            assert (await gateway.get("/a")).verdict == "HIT"
        clock.advance(30)
        for headers in ({}, {"Range": "bytes=0-1"}):
            got = await gateway.get("/a", headers)
            if word:
                assert (refused(got), got.verdict) == (True, "EXPIRED")
            else:
                assert (got.verdict, got.detail, got.body) == ("STALE", "stale-if-error", b"ol" if headers else b"old")
                assert "; hit; ttl=-20; " in (got.header("cache-status") or "")
        head = await gateway.ask("HEAD", "/a")
        assert (head.status, head.verdict) == ((503, "EXPIRED") if word else (200, "STALE"))
        assert origin.count("/a") == 1


async def test_only_the_service_that_fails_is_left_alone() -> None:
    async with Origin() as well, Origin() as sick:
        rules = [{"pattern": "/sick/*", "upstream": "sick", "ttl": 60}]
        settings = {"rules": rules, "upstreams": {"sick": {"url": sick.url}}}
        async with running(well, settings, monotonic=Clock()) as gateway:
            await trip(gateway, sick, "/sick/a")
            assert refused(await gateway.get("/sick/b"))
            assert await status(gateway, "/b") == 404
            metrics = (await gateway.admin("GET", "/metrics")).body.decode()
            assert 'cachegate_breaker_state{state="open",upstream="sick"} 1.0' in metrics
            assert 'cachegate_breaker_state{state="closed",upstream="main"} 1.0' in metrics


async def test_websockets_are_withheld_and_count_too() -> None:
    async def dial(gateway: Client) -> Any:
        async with raw(gateway.port) as client:
            more = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13")
            return await client.get("/ws", *more, "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==")

    async with Origin() as origin, running(origin, PASSING, monotonic=Clock()) as gateway:
        origin.answer("/ws", 502)
        assert [(await dial(gateway)).status for _ in range(5)] == [502] * 5
        got = await dial(gateway)
        assert (got.status, got.header("retry-after"), origin.count()) == (503, "5", 5)
        stats = (await gateway.stats())["upstream"]
        assert (stats["requests"], stats["errors"], stats["inFlight"]) == (5, 5, 0)


async def test_open_is_told_before_any_queue() -> None:
    settings = passing(breaker={"consecutive": 1}, max_in_flight=1, max_queue=0)
    async with Origin() as origin, running(origin, settings, monotonic=Clock()) as gateway:
        origin.script("/a", b"HTTP/1.1 500 No\r\nContent-Length: 8\r\n\r\nhalf", STALL)
        async with raw(gateway.port) as client:
            await client.send(b"GET /a HTTP/1.1\r\nHost: site.example\r\n\r\n")
            await client.reader.readuntil(b"half")  # it has the only place
            assert refused(await gateway.get("/b"))


async def test_what_our_own_bounds_refuse_is_no_failure() -> None:
    settings = passing(max_connections=1, breaker={"consecutive": 1})
    async with Origin() as origin, running(origin, settings, monotonic=Clock()) as gateway:
        gate = origin.hold("/a")
        origin.answer("/a")
        first = asyncio.ensure_future(gateway.get("/a"))
        await origin.arrived("/a")
        assert (await gateway.get("/a")).detail == "upstream-busy"
        gate.release()
        assert (await first).status == 200
        assert await status(gateway) == 200


@pytest.mark.parametrize(
    ("method", "headers"), [("GET", {}), ("HEAD", {}), ("POST", {}), ("GET", {"Range": "bytes=0-1"})]
)
async def test_refusals_leave_no_garbage(method: str, headers: dict[str, str]) -> None:
    """Else the collector stops everything for long, just when there are many of them."""
    async with Origin() as origin, running(origin, monotonic=Clock()) as gateway:
        await trip(gateway, origin)
        assert refused(await gateway.ask(method, "/first", headers))
        gc.collect()
        gc.disable()
        try:
            for n in range(50):
                await gateway.ask(method, f"/{n}", headers)
            assert gc.collect() < 50  # a circle of an error and its frames is some forty objects each
        finally:
            gc.enable()


async def test_who_waits_in_the_queue_when_it_opens_is_told_at_once() -> None:
    thresholds = {"breaker": {"consecutive": 1}, "max_in_flight": 1, "retries": 0}
    async with Origin() as origin, running(origin, passing(**thresholds), monotonic=Clock()) as gateway:
        gate = origin.hold("/a")
        origin.answer("/a", 503)
        together = asyncio.gather(*(gateway.get("/a") for _ in range(20)))
        await origin.arrived("/a")
        while gateway.gateway.counters.in_flight < 20:
            await asyncio.sleep(0.001)
        gate.release()
        assert sorted(got.detail for got in await together) == ["breaker-open"] * 19 + ["no-rule"]
        assert origin.count() == 1


# -- half-open ---------------------------------------------------------------------------------------------------------


async def test_one_probe_at_a_time_closes_it() -> None:
    clock = Clock()
    async with Origin() as origin, running(origin, PASSING, monotonic=clock) as gateway:
        await trip(gateway, origin)
        clock.advance(5)
        assert (await gateway.stats())["upstream"]["breaker"] == "half-open"
        origin.answer("/a", body=b"well again")
        gate = origin.hold("/a")
        probe = asyncio.ensure_future(gateway.get("/a"))
        await origin.arrived("/a")
        others = await asyncio.gather(*(gateway.get("/a") for _ in range(10)))
        assert [(refused(got), got.header("retry-after")) for got in others] == [(True, "1")] * 10
        gate.release()
        assert (await probe).body == b"well again"
        assert [got.status for got in await asyncio.gather(*(gateway.get("/a") for _ in range(10)))] == [200] * 10
        assert origin.count("/a") == 11


async def test_the_head_of_a_probes_answer_is_enough() -> None:
    clock = Clock()
    async with Origin() as origin, running(origin, PASSING, monotonic=clock) as gateway:
        await trip(gateway, origin)
        clock.advance(5)
        rest = Gate()
        origin.script("/long", OK + b"Content-Length: 8\r\n\r\nhalf", rest, b"-end")
        async with raw(gateway.port) as client:
            await client.send(b"GET /long HTTP/1.1\r\nHost: site.example\r\n\r\n")
            await client.reader.readuntil(b"half")
            assert await status(gateway, "/other") == 404
            rest.release()
            await client.reader.readuntil(b"-end")


async def test_a_probe_that_fails_opens_it_for_longer() -> None:
    clock = Clock()
    async with Origin() as origin, running(origin, PASSING, monotonic=clock) as gateway:
        await trip(gateway, origin)
        for wait, longer in ((5, "10"), (10, "20"), (20, "40"), (40, "60"), (60, "60")):
            clock.advance(wait)
            assert await status(gateway, "/trip") == 503
            told = int((await gateway.get("/trip")).header("retry-after") or "")
            assert int(longer) * 0.8 <= told <= int(longer)
        assert origin.count() == 10


async def test_a_probe_whose_client_leaves_makes_room_for_another() -> None:
    clock = Clock()
    async with Origin() as origin, running(origin, PASSING, monotonic=clock) as gateway:
        await trip(gateway, origin)
        clock.advance(5)
        origin.answer("/a")
        gate = origin.hold("/a")
        async with raw(gateway.port) as client:
            await client.send(b"GET /a HTTP/1.1\r\nHost: site.example\r\n\r\n")
            await origin.arrived("/a")
        while gateway.gateway.counters.in_flight:
            await asyncio.sleep(0.001)
        gate.release()
        assert await status(gateway) == 200
        assert (await gateway.stats())["upstream"]["breaker"] == "closed"


async def test_a_probe_on_a_connection_that_had_gone_is_made_good() -> None:
    clock = Clock()
    async with Origin() as origin, running(origin, PASSING, monotonic=clock) as gateway:
        await trip(gateway, origin)  # which leaves a kept connection
        clock.advance(5)
        origin.script("/a", RST, times=1)
        origin.answer("/a")
        assert await status(gateway) == 200
        assert origin.count("/a") == 2


async def test_a_refresh_behind_a_client_may_be_the_probe() -> None:
    clock, monotonic = Clock(), Clock()
    rules = [{"pattern": "*", "ttl": 10, "stale_while_revalidate": 600}]
    async with Origin() as origin, running(origin, {"rules": rules}, clock=clock, monotonic=monotonic) as gateway:
        origin.answer("/a", body=b"old")
        await gateway.get("/a")
        await trip(gateway, origin)
        clock.advance(20)
        origin.answer("/a", body=b"new")
        assert [(await gateway.get("/a")).verdict for _ in range(2)] == ["UPDATING"] * 2
        await gateway.settled()
        assert origin.count("/a") == 1
        monotonic.advance(5)
        assert (await gateway.get("/a")).body == b"old"
        await gateway.settled()
        assert (await gateway.get("/a")).body == b"new"
        assert await status(gateway, "/other") == 404


# -- failing leaders ---------------------------------------------------------------------------------------------------


PART = {"Range": "bytes=0-1"}
NO = b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize(
    ("clients", "headers", "steps", "seen"),
    [(500, {}, (RST,), 502), (50, {}, (NO,), 503), (50, PART, (RST,), 502), (50, PART, (NO,), 503)],
)
async def test_clients_of_a_failing_origin_are_no_storm(
    clients: int, headers: dict[str, str], steps: Any, seen: int
) -> None:
    async with Origin() as origin, running(origin, monotonic=Clock()) as gateway:
        gate = origin.hold("/a")
        origin.script("/a", *steps)
        together = asyncio.gather(*(gateway.get("/a", headers) for _ in range(clients)))
        await origin.arrived("/a")
        await gateway.waiting(clients - 1)
        gate.release()
        assert {got.status for got in await together} == {seen}
        attempts = 2 if seen == 502 else 1  # a reset is tried once more
        assert origin.count() == attempts
        for turn in range(2, 6):
            assert await status(gateway) == seen
            assert origin.count() <= attempts * turn
        calls = origin.count()
        assert all(map(refused, await asyncio.gather(*(gateway.get("/a", headers) for _ in range(clients)))))
        assert origin.count() == calls


@pytest.mark.parametrize("headers", [{}, PART])
async def test_who_shares_a_failure_is_told_when_to_come_again_as_its_leader_is(headers: dict[str, str]) -> None:
    async with Origin() as origin, running(origin, monotonic=Clock()) as gateway:
        gate = origin.hold("/a")
        origin.answer("/a", 503, [("Retry-After", "120")])
        together = asyncio.gather(*(gateway.get("/a", headers) for _ in range(10)))
        await origin.arrived("/a")
        await gateway.waiting(9)
        gate.release()
        assert [(got.status, got.header("retry-after")) for got in await together] == [(503, "120")] * 10
        assert origin.count() == 1


async def test_many_different_wishes_of_a_failing_origin_are_soon_refused() -> None:
    async with Origin() as origin, running(origin, {"upstream": {"max_in_flight": 10, "max_queue": 200}}) as gateway:
        gate = origin.hold("/")
        for n in range(200):
            origin.script(f"/{n}", gate, RST)
        together = asyncio.gather(*(gateway.get(f"/{n}") for n in range(200)))
        await origin.arrived(None, 10)
        while gateway.gateway.counters.in_flight < 200:
            await asyncio.sleep(0.001)
        gate.release()
        answers = await together
        assert {got.status for got in answers} == {502, 503}
        assert origin.count() <= 10 + 4 + 3  # those inside, who came when one of four had failed, three retries
        assert sum(map(refused, answers)) >= 200 - 14


async def test_stale_for_all_who_waited_for_a_range_that_failed() -> None:
    clock = Clock()
    async with Origin() as origin, running(origin, clock=clock, monotonic=Clock()) as gateway:
        part = OK.replace(b"200 OK", b"206 Partial Content") + b"Content-Range: bytes 0-1/9\r\nContent-Length: 2\r\n"
        origin.script("/a", part + b'Cache-Control: max-age=10\r\nETag: "1"\r\n\r\nab')
        await gateway.get("/a", {"Range": "bytes=0-1"})
        await gateway.settled()
        clock.advance(60)
        gate = origin.hold("/a")
        origin.script("/a", RST)
        together = asyncio.gather(*(gateway.get("/a", {"Range": "bytes=0-1"}) for _ in range(50)))
        await origin.arrived("/a", 2)
        await gateway.waiting(49)
        gate.release()
        assert {(got.status, got.verdict, got.body) for got in await together} == {(206, "STALE", b"ab")}
        assert origin.count("/a") == 3


async def test_when_a_range_is_waited_for_too_long_one_more_is_sent() -> None:
    impatient = {"flight": {"wait": 0.05}, "upstream": {"total_timeout": 60}}
    async with Origin() as origin, running(origin, impatient) as gateway:
        part = OK.replace(b"200 OK", b"206 Partial Content") + b"Content-Range: bytes 0-1/9\r\nContent-Length: 2\r\n"
        gate = origin.hold("/a")
        origin.script("/a", part + b'Cache-Control: max-age=10\r\nETag: "1"\r\n\r\nab')
        together = asyncio.gather(*(gateway.get("/a", {"Range": "bytes=0-1"}) for _ in range(20)))
        await origin.arrived("/a", 2)
        gate.release()
        assert {got.body for got in await together} == {b"ab"}
        assert origin.count("/a") == 2


# -- retries -----------------------------------------------------------------------------------------------------------


async def test_retries_are_a_fifth_of_the_calls_and_no_more() -> None:
    clock = Clock()
    async with Origin() as origin, running(origin, passing(breaker=NEVER), monotonic=clock) as gateway:
        origin.script("/a", RST)
        expected = 0
        for call in range(1, 41):
            assert await status(gateway) == 502
            expected += expected < max(3, call // 5)
            assert origin.count() == call + expected
        assert origin.count() == 48
        clock.advance(10)
        for _ in range(4):
            assert await status(gateway) == 502
        assert origin.count() == 48 + 4 + 3  # another window


async def test_kept_connections_that_had_gone_are_within_the_budget() -> None:
    settings = passing(retry_budget=0, breaker=NEVER)
    async with Origin() as origin, running(origin, settings, monotonic=Clock()) as gateway:
        seen = []
        for n in range(5):
            origin.answer(f"/{n}")
            assert await status(gateway, f"/{n}") == 200  # whose connection is kept
            origin.script(f"/{n}", RST, times=1)
            seen.append(await status(gateway, f"/{n}"))
        assert seen == [200, 200, 200, 502, 502]


async def test_no_attempt_follows_once_it_has_opened() -> None:
    settings = passing(breaker={"consecutive": 1}, retry_budget=1)
    async with Origin() as origin, running(origin, settings, monotonic=Clock()) as gateway:
        origin.answer("/bad", 503)
        gate = origin.hold("/a")
        origin.script("/a", RST)
        waiting = asyncio.ensure_future(gateway.get("/a"))
        await origin.arrived("/a")
        assert await status(gateway, "/bad") == 503
        gate.release()
        assert (await waiting).status == 502
        assert origin.count("/a") == 1


# -- bulkheads ---------------------------------------------------------------------------------------------------------


def slow_and_fast(limit: int = 4, **upstream: Any) -> dict[str, Any]:
    rules = [{"name": "slow", "pattern": "/slow/*", "concurrency": limit}, {"name": "fast", "pattern": "/fast/*"}]
    return {"rules": rules, "upstream": {"max_in_flight": 8, "max_queue": 30, **upstream}}


async def test_a_saturated_slow_rule_leaves_the_fast_one_alone() -> None:
    """Thirty calls of the slow rule wait, and none of them has a place or a turn that others want."""
    async with Origin() as origin, running(origin, slow_and_fast()) as gateway:
        gates = []
        for n in range(40):
            origin.answer(f"/slow/{n}", body=b"slow")
            gates.append(origin.hold(f"/slow/{n}"))
            origin.answer(f"/fast/{n}", body=b"fast")
        slow = [asyncio.ensure_future(gateway.get(f"/slow/{n}")) for n in range(40)]
        await origin.arrived(None, 4)
        while sum(each.done() for each in slow) < 6:
            await asyncio.sleep(0.001)
        refusals = [each.result() for each in slow if each.done()]
        assert [(got.status, got.detail, got.header("retry-after")) for got in refusals] == [
            (503, "upstream-busy", "1")
        ] * 6
        assert b"rule slow" in refusals[0].body
        fast = await asyncio.gather(*(gateway.get(f"/fast/{n}") for n in range(30)))
        assert {(got.status, got.body) for got in fast} == {(200, b"fast")}
        assert sum(each.done() for each in slow) == 6
        assert (origin.count(), sum(r.path.startswith("/slow/") for r in origin.requests)) == (34, 4)
        for gate in gates:
            gate.release()
        assert [(await each).status for each in slow].count(200) == 34


async def test_without_a_limit_of_its_own_the_slow_rule_takes_all() -> None:
    """What the test above guards against."""
    rules = [{"name": "slow", "pattern": "/slow/*"}, {"name": "fast", "pattern": "/fast/*"}]
    settings = {"rules": rules, "upstream": {"max_in_flight": 2, "max_queue": 0}}
    async with Origin() as origin, running(origin, settings) as gateway:
        origin.answer("/slow/a")
        gate = origin.hold("/slow/a")
        slow = [asyncio.ensure_future(gateway.post("/slow/a")) for _ in range(2)]
        await origin.arrived("/slow/a", 2)
        got = await gateway.get("/fast/a")
        assert (got.status, got.detail, got.header("retry-after")) == (503, "upstream-busy", "1")
        assert "fwd=" not in (got.header("cache-status") or "")
        gate.release()
        assert [(await each).status for each in slow] == [200, 200]


async def test_a_stream_holds_the_place_of_its_rule_until_it_ends() -> None:
    async with Origin() as origin, running(origin, slow_and_fast(1, max_queue=0, max_in_flight=1)) as gateway:
        head = OK + b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"
        end = Gate()
        origin.script("/slow/events", head, end, b"0\r\n\r\n")
        origin.answer("/slow/b")
        async with raw(gateway.port) as client:
            await client.send(b"GET /slow/events HTTP/1.1\r\nHost: site.example\r\n\r\n")
            await client.reader.readuntil(b"1\r\nx\r\n")
            assert await status(gateway, "/fast/a") == 404
            assert await status(gateway, "/slow/b") == 503
            end.release()
            await client.reader.readuntil(b"0\r\n\r\n")
        assert await status(gateway, "/slow/b") == 200
