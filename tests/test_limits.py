"""Every limit by the name of its setting, set small: what is just within it is taken, and what is past it gets the
right answer, over a raw socket (invariants 7 and 11). The last test knows which limits there are."""

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio

from proxy.settings.sections import (
    Breaker,
    FlightSettings,
    JournalSettings,
    LimitSettings,
    Section,
    TimeoutSettings,
    WarmSettings,
)
from tests.support.gateway import TOKEN, Clock, running
from tests.support.origin import FIN, STALL, Origin, Reader, Recorded, Writer
from tests.support.process import Process, serving
from tests.support.rawtcp import Raw, RawAnswer, raw
from tests.support.redis_servers import redis_server

ALL: dict[str, Any] = {"rules": [{"name": "all", "pattern": "*", "ttl": 60}]}
HOST = b"Host: a\r\n"

# -- at the door -------------------------------------------------------------------------------------------------------

SMALL: dict[str, Any] = {
    "limits": {"request_line": 100, "header": 200, "header_count": 5, "headers": 500, "body": 1000, "pipelined": 3},
    "timeouts": {"head": 0.3, "body_idle": 0.3, "keep_alive": 0.5, "send_idle": 0.3},
}


def line(length: int) -> bytes:
    target = b"/".ljust(length - len(b"GET  HTTP/1.1"), b"x")
    return b"GET %b HTTP/1.1\r\n" % target + HOST + b"\r\n"


def fields(*sizes: int) -> bytes:
    return b"GET / HTTP/1.1\r\n" + HOST + b"".join(b"X: " + b"y" * size + b"\r\n" for size in sizes) + b"\r\n"


def length(size: int, sent: int) -> bytes:
    return b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % size + b"x" * sent


def chunked(body: bytes) -> bytes:
    return b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n" + body


# limit, what is sent, what answers come until we close; 404 is the origin's
DOOR = [
    ("limits.request_line", line(100), [404]),
    ("limits.request_line", line(101), [414]),
    ("limits.request_line", b"GET /" + b"x" * 5000, [414]),
    ("limits.header", fields(198), [404]),
    ("limits.header", fields(210), [431]),
    ("limits.header", b"GET / HTTP/1.1\r\n" + HOST + b"X" * 5000, [431]),
    ("limits.header_count", fields(*[1] * 4), [404]),
    ("limits.header_count", fields(*[1] * 5), [431]),
    ("limits.header_count", b"GET / HTTP/1.1\r\n" + HOST + b"X: y\r\n" * 5000, [431]),
    ("limits.headers", fields(150, 150, 150), [404]),
    ("limits.headers", fields(160, 160, 160), [431]),
    ("limits.headers", chunked(b"1\r\nx\r\n0\r\n" + b"X: y\r\n" * 5000), [431]),
    ("limits.body", length(1000, 1000), [404]),
    ("limits.body", length(1001, 0), [413]),
    ("limits.body", chunked(b"3e9\r\n" + b"x" * 1001 + b"\r\n0\r\n\r\n"), [413]),
    ("limits.pipelined", line(50) * 3, [404, 404, 404]),
    ("limits.pipelined", line(50) * 9, [404, 404, 404]),
    ("timeouts.head", b"GET / HT", [408]),
    ("timeouts.head", b"\r\n" * 100, [408]),
    ("timeouts.head", line(50) + b"GET / HT", [404, 408]),
    ("timeouts.body_idle", length(10, 5), [408]),
    ("timeouts.body_idle", chunked(b"1;" + b"x" * 1000), [408]),
    ("chunk extensions", chunked(b"1;" + b"x" * 100_000), [400]),
    ("chunk extensions", chunked((b"1;" + b"x" * 100 + b"\r\ny\r\n") * 100 + b"0\r\n\r\n"), [404]),
    ("chunk extensions", chunked((b"1;" + b"x" * 1000 + b"\r\ny\r\n") * 900 + b"0\r\n\r\n"), [400]),
    ("chunk extensions", chunked((b"1;" + b"x" * 14 + b"\r\ny\r\n") * 990), [408]),
    ("chunk extensions", line(50) * 2 + chunked(b"1;" + b"x" * 600_000), [404, 404, 400]),
    ("chunk extensions", chunked(b"0" * 600_000 + b"1\r\nx\r\n0\r\n\r\n"), [400]),
    ("timeouts.keep_alive", line(50), [404]),
    ("timeouts.keep_alive", b"", []),
]


async def test_what_a_client_may_send() -> None:
    """... and that it is closed after it: nobody stays."""
    async with Origin() as origin, serving(origin, SMALL) as gateway:
        told = await asyncio.gather(*(said(gateway.port, sent) for _, sent, _ in DOOR))
        wrong = [(name, sent[:40], got) for (name, sent, due), got in zip(DOOR, told, strict=True) if got != due]
        assert wrong == []
        assert (await gateway.stats())["passed"]["timeouts.head"] == sum(
            sent == [408] for name, _, sent in DOOR if name == "timeouts.head"
        ) + 1
        await slow_reader(gateway, origin)
        await slow_sender(gateway)


async def said(port: int, sent: bytes) -> list[int]:
    """The answers' statuses until the gateway ends the connection."""
    async with raw(port) as client:
        with suppress(ConnectionError):
            await client.send(sent)
        async with asyncio.timeout(20):
            text = await client.reader.read(-1)
        return [int(status) for status in re.findall(rb"^HTTP/1\.1 (\d+) ", text, re.MULTILINE)]


async def slow_sender(gateway: Process) -> None:
    """timeouts.body_idle also wants 1 kB/s on the whole."""
    async with raw(gateway.port) as client:
        await client.send(length(1000, 0))
        for _ in range(1000):
            if client.received:
                break
            with suppress(ConnectionError):
                await client.send(b"x")
            await asyncio.sleep(0.05)
        assert (await client.response()).status == 408


async def test_what_chunks_have_beside_their_content_is_weighed_for_each_body() -> None:
    upload = chunked(b"1;" + b"x" * 10_000 + b"\r\ny\r\n")
    async with Origin() as origin, serving(origin, SMALL) as gateway, raw(gateway.port) as client:
        for end, due in ((b"0\r\n\r\n", 404), (b"0\r\n\r\n", 404), (b"", 408)):
            await client.send(upload + end)
            assert (await client.response()).status == due


async def slow_reader(gateway: Process, origin: Origin) -> None:
    """timeouts.send_idle ends who takes nothing."""

    async def endless(request: Recorded, reader: Reader, writer: Writer) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while True:
                writer.write(b"10000\r\n" + bytes(65536) + b"\r\n")
                await writer.drain()
        finally:
            left.set()

    left = asyncio.Event()
    origin.script("/endless", endless)
    async with raw(gateway.port) as client:
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await client.send(b"GET /endless HTTP/1.1\r\n" + HOST + b"\r\n")
        async with asyncio.timeout(20):
            await left.wait()
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert (await client.response()).complete is False


async def test_how_many_clients_there_may_be_and_how_long_a_drain_may_take() -> None:
    """limits.connections, listen.drain"""
    small = {"limits": {"connections": 4}, "listen": {"drain": 0.2}}
    async with Origin() as origin, serving(origin, small) as gateway:
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(raw(gateway.port)) for _ in range(5)]
            refused = await clients[-1].response()
            assert (refused.status, refused.header("retry-after"), refused.header("connection")) == (503, "1", "close")
            assert (await clients[0].get("/")).status == 404
            assert (await stats_by(clients[1]))["passed"]["limits.connections"] > 0
        await free(gateway)
        async with raw(gateway.port) as client:
            origin.script("/a", HALF, STALL)
            await client.send(b"GET /a HTTP/1.1\r\n" + HOST + b"\r\n")
            await client.reader.readuntil(b"half")
            assert (await gateway.stop(), await client.closed()) == (0, "rst")
            assert "requests were still under way after 0.2 s" in gateway.log


async def stats_by(client: Raw) -> Any:
    """The statistics, by a connection that is there already."""
    got = await client.get("/cache/stats", f"Authorization: Bearer {TOKEN}")
    return json.loads(got.body)


async def free(gateway: Process) -> None:
    """Wait until those who left are forgotten, and others are let in."""
    async with asyncio.timeout(20):
        while True:
            async with raw(gateway.port) as client:
                with suppress(ConnectionError):
                    if (await client.get("/")).status == 404:
                        return


# -- upstream ----------------------------------------------------------------------------------------------------------


async def trickle(request: Recorded, reader: Reader, writer: Writer) -> None:
    media = b"text/event-stream" if request.path == "/events" else b"text/plain"
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: " + media + b"\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(20):
        writer.write(b"1\r\nx\r\n")
        await writer.drain()
        await asyncio.sleep(0.03)
    writer.write(b"0\r\n\r\n")


HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"
# settings of upstream, what the origin does, (status, whether the answer came whole)
UPSTREAM = [
    ("upstream.first_byte_timeout", 0.1, "/a", [STALL], (504, True)),
    ("upstream.read_timeout", 0.1, "/a", [HALF, STALL], (200, False)),
    ("upstream.total_timeout", 0.2, "/a", [trickle], (200, False)),
    ("upstream.total_timeout", 0.2, "/events", [trickle], (200, True)),
    ("upstream.retries", 0, "/a", [FIN], (502, True)),
    ("upstream.retries", 1, "/a", [FIN], (404, True)),
]


@pytest.mark.parametrize(("name", "value", "path", "steps", "due"), UPSTREAM)
async def test_how_long_an_origin_may_take(
    name: str, value: float, path: str, steps: Any, due: tuple[int, bool]
) -> None:
    section = {name.partition(".")[2]: value}
    async with Origin() as origin, running(origin, {"upstream": section}) as gateway, raw(gateway.port) as client:
        origin.script(path, *steps, times=1)
        got = await client.get(path)
        assert (got.status, got.complete) == due


async def test_an_origin_that_cannot_be_reached() -> None:
    """upstream.connect_timeout"""
    with socket.socket() as deaf, ExitStack() as stack:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for _ in range(4):  # its backlog is full
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(deaf.getsockname())
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        async with running(url, {"upstream": {"connect_timeout": 0.1}}) as gateway, raw(gateway.port) as client:
            got = await client.get("/")
            assert (got.status, "upstream-connect-timeout" in (got.header("cache-status") or "")) == (504, True)


@pytest.mark.parametrize(
    ("section", "within"),
    [
        pytest.param({"max_in_flight": 1, "max_queue": 0}, 1, id="upstream.max_in_flight"),
        pytest.param({"max_in_flight": 1, "max_queue": 2}, 3, id="upstream.max_queue"),
        pytest.param({"max_connections": 2}, 2, id="upstream.max_connections"),
    ],
)
async def test_how_much_is_asked_at_once(section: dict[str, int], within: int) -> None:
    async with Origin() as origin, running(origin, {"upstream": section}) as gateway, AsyncExitStack() as stack:
        for number in range(within + 2):
            origin.answer(f"/{number}", body=b"x")
        gates = [origin.hold(f"/{number}") for number in range(within + 2)]
        clients = [await stack.enter_async_context(raw(gateway.port)) for _ in range(within + 2)]
        asked = [asyncio.ensure_future(client.get(f"/{number}")) for number, client in enumerate(clients)]
        for _ in range(2):
            refused = await anext_done(asked)
            assert (refused.status, refused.header("retry-after")) == (503, "1")
        for gate in gates:
            gate.release()
        assert [(await each).status for each in asked] == [200] * within


# settings of upstream.breaker; what the origin answers, "+" well and "-" not, a digit for so many seconds; whether the
# next call is withheld then
BREAKER = [
    ("upstream.breaker.consecutive", {"consecutive": 2}, "-", False),
    ("upstream.breaker.consecutive", {"consecutive": 2}, "--", True),
    ("upstream.breaker.error_rate", {"error_rate": 0.25, "min_requests": 4}, "+++-", True),
    ("upstream.breaker.error_rate", {"error_rate": 0.3, "min_requests": 4}, "+++-", False),
    ("upstream.breaker.min_requests", {"min_requests": 4}, "-+-", False),
    ("upstream.breaker.min_requests", {"min_requests": 3}, "-+-", True),
    ("upstream.breaker.window", {"min_requests": 2, "window": 4}, "-2-", True),
    ("upstream.breaker.window", {"min_requests": 2, "window": 4}, "-5-", False),
    ("upstream.breaker.open_for", {"consecutive": 1, "open_for": 3}, "-2", True),
    ("upstream.breaker.open_for", {"consecutive": 1, "open_for": 3}, "-3", False),
    ("upstream.breaker.max_open", {"consecutive": 1, "open_for": 3, "max_open": 4}, "-3-3", True),
    ("upstream.breaker.max_open", {"consecutive": 1, "open_for": 3, "max_open": 4}, "-3-4", False),
]


@pytest.mark.parametrize(("name", "section", "story", "withheld"), BREAKER)
async def test_when_an_origin_is_left_alone(name: str, section: dict[str, float], story: str, withheld: bool) -> None:
    clock, never = Clock(), {"consecutive": 1000, "min_requests": 1000}
    settings = {"cache": {"unmatched": "bypass"}, "upstream": {"breaker": never | section}}
    async with Origin() as origin, running(origin, settings, monotonic=clock) as gateway, raw(gateway.port) as client:
        origin.answer("/+")
        origin.answer("/-", 500)
        for step in story:
            if step.isdigit():
                clock.advance(int(step))
            else:
                assert (await client.get(f"/{step}")).status == (200 if step == "+" else 500)
        got = await client.get("/+")
        assert (got.status, "breaker-open" in (got.header("cache-status") or "")) == (
            (503, True) if withheld else (200, False)
        )


@pytest.mark.parametrize("name", ["limits.rate_clients", "limits.rate_times"])
async def test_how_many_clients_of_limited_rules_are_known(name: str) -> None:
    limit = {"limit": 1, "window": 60, "by": "x-client"}
    settings = {"rules": [{"pattern": "*", "rate_limit": limit}], "limits": {name.partition(".")[2]: 2}}
    async with Origin() as origin, running(origin, settings) as gateway, raw(gateway.port) as client:
        asked = [(await client.get("/", f"X-Client: {one}")).status for one in "aabca"]
        assert asked == [404, 429, 404, 404, 404]
        assert (await client.get("/", "X-Client: c")).status == 429


async def anext_done(asked: list["asyncio.Future[RawAnswer]"]) -> RawAnswer:
    """The next of them that is over, taken out of the list."""
    done, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
    one = next(iter(done))
    asked.remove(one)
    return one.result()


# -- what is kept ------------------------------------------------------------------------------------------------------

Asking = Callable[..., Awaitable[str | None]]


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    async with Origin() as origin:
        yield origin


async def verdict(client: Raw, path: str, *fields: str) -> str | None:
    return (await client.get(path, *fields, host="site.example")).header("x-cache")


async def test_a_body_past_the_limit_of_keys_is_streamed(origin: Origin) -> None:
    """limits.key_body"""
    rule = {"name": "post", "pattern": "*", "methods": ["POST"], "ttl": 60}
    async with running(origin, {"rules": [rule], "limits": {"key_body": 10}}) as gateway, raw(gateway.port) as client:
        origin.answer("/a", body=lambda request: request.body)
        for size, verdicts in ((10, ["MISS", "HIT"]), (11, ["BYPASS", "BYPASS"])):
            for due in verdicts:
                await client.send(length(size, size).replace(b" / ", b" /a "))
                got = await client.response()
                await gateway.settled()
                assert (got.header("x-cache"), got.body) == (due, b"x" * size)
        assert "body-too-large" in (got.header("cache-status") or "")


async def test_how_large_an_answer_each_tier_takes(origin: Origin) -> None:
    """memory.max_object, redis.max_object, file.max_object"""
    sizes = {"memory": {"max_object": 1000}, "redis": {"max_object": 2000}, "file": {"max_object": 3000}}
    async with redis_server() as server:
        sizes["redis"]["url"] = server.url  # type: ignore[assignment]
        async with running(origin, ALL | sizes) as gateway, raw(gateway.port) as client:
            async with asyncio.timeout(20):
                while not (await gateway.stats())["redis"]["connected"]:
                    await asyncio.sleep(0.01)
            for size, tier in ((900, "memory"), (1900, "redis"), (2900, "file"), (3100, None)):
                origin.answer(f"/{size}", body=b"x" * size)
                for due in (None, tier):
                    got = await client.get(f"/{size}", host="site.example")
                    await gateway.settled()
                    assert (len(got.body), got.header("x-cache-tier")) == (size, due)


async def test_how_many_variants_and_tags_are_kept(origin: Origin) -> None:
    """limits.variants, limits.tags"""
    few = {"limits": {"variants": 2, "tags": 2}}
    async with running(origin, ALL | few) as gateway, raw(gateway.port) as client:
        origin.answer("/v", headers=[("Vary", "X-V"), ("Cache-Tag", "a,b,c,d")])
        for name in "abc":
            await verdict(client, "/v", f"X-V: {name}")
            await gateway.settled()
        assert [await verdict(client, "/v", f"X-V: {name}") for name in "cba"] == ["HIT", "HIT", "MISS"]
        (first, *_) = (await gateway.admin("GET", "/entries")).json["entries"]
        assert first["tags"] == ["a", "b"]
        assert (await gateway.stats())["passed"]["limits.tags"] == 2 * origin.count("/v")


async def test_how_long_a_stale_answer_may_stand_in(origin: Origin) -> None:
    """cache.stale_if_error"""
    clock = Clock()
    async with running(origin, {"cache": {"stale_if_error": 10}}, clock=clock) as gateway, raw(gateway.port) as client:
        origin.answer("/a", headers=[("Cache-Control", "max-age=60")], times=1)
        origin.answer("/a", 503)
        await verdict(client, "/a")
        await gateway.settled()
        for seconds, due in ((69, "STALE"), (2, "MISS")):
            clock.advance(seconds)
            assert await verdict(client, "/a") == due


async def test_how_long_it_is_remembered_that_nothing_can_be_shared(origin: Origin) -> None:
    """flight.uncacheable: until then nobody waits for another."""
    clock = Clock()
    async with (
        running(origin, {"flight": {"uncacheable": 5}}, clock=clock) as gateway,
        raw(gateway.port) as first,
        raw(gateway.port) as second,
    ):
        origin.answer("/a", headers=[("Cache-Control", "no-store")])
        await verdict(first, "/a")
        for seconds, asked_at_once in ((4, 2), (6, 1)):
            clock.advance(seconds)
            before, gate = origin.count(), origin.hold("/a")
            asked = [asyncio.ensure_future(verdict(client, "/a")) for client in (first, second)]
            await gateway.waiting(2)
            await origin.arrived("/a", before + asked_at_once)
            assert origin.count() == before + asked_at_once
            gate.release()
            await asyncio.gather(*asked)


async def test_how_long_one_waits_for_another(origin: Origin) -> None:
    """flight.wait: one of them asks too. flight.lease: an instance's claim ends by itself."""
    async with redis_server() as server, redis.asyncio.from_url(server.url) as beside:
        quick = {"flight": {"wait": 0.1, "lease": 3}, "redis": {"url": server.url}}
        async with running(origin, ALL | quick) as gateway, raw(gateway.port) as first, raw(gateway.port) as second:
            async with asyncio.timeout(20):
                while not (await gateway.stats())["redis"]["connected"]:
                    await asyncio.sleep(0.01)
            origin.answer("/a", body=b"x")
            gate = origin.hold("/a")
            asked = [asyncio.ensure_future(client.get("/a", host="site.example")) for client in (first, second)]
            await origin.arrived("/a", 2)
            lives = [await beside.pttl(key) for key in await beside.keys("proxy:cache:l:*")]
            assert [0 < life <= 3000 for life in lives] == [True]
            gate.release()
            assert [(await each).body for each in asked] == [b"x", b"x"]


async def test_how_much_of_the_purges_is_remembered(origin: Origin) -> None:
    """journal.records: what is older than those is not trusted. admin.receipts: how long they can be asked for."""
    few = {"journal": {"records": 16}, "admin": {"receipts": 0.2, "token": TOKEN}}
    async with running(origin, ALL | few) as gateway, raw(gateway.port) as client:
        for path, purges, due in (("/a", 17, "HIT"), ("/b", 18, "MISS")):  # a sixteenth more for a while
            origin.answer(path)
            await gateway.purge(all=True)
            await verdict(client, path)
            await gateway.settled()
            for number in range(purges):
                receipt = (await gateway.purge(tag=f"{path}{number}")).json["id"]
            assert await verdict(client, path) == due
        async with asyncio.timeout(20):
            while (await gateway.admin("GET", f"/purges/{receipt}")).status != 404:
                await asyncio.sleep(0.01)


# -- all of them -------------------------------------------------------------------------------------------------------

SLOW_CALLS = "test_story_protection.test_a_share_of_slow_calls_opens_it_and_every_page_says_so"
ELSEWHERE = {
    "upstream.retry_budget": "test_story_protection.test_kept_connections_that_had_gone_are_within_the_budget",
    "upstream.breaker.slow_call_duration": SLOW_CALLS,
    "upstream.breaker.slow_call_rate": SLOW_CALLS,
    "memory.limit": "test_rows_memory.test_what_would_pass_it_all_the_same_is_refused_until_it_is_over",
    "redis.connect_timeout": "test_rows_redis_faults.test_no_request_notices_a_redis_in_trouble",
    "redis.read_timeout": "test_rows_redis_faults.test_no_request_notices_a_redis_in_trouble",
    "redis.pool": "test_rows_redis.test_500_at_once_share_the_connections_of_the_pool",
    "redis.scan_count": "test_rows_redis_pages.test_redis_is_cleared_by_scan_and_unlink_and_nothing_else_is",
    "memory.max_entries": "test_rows_capacity.test_a_flood_leaves_exactly_what_fits_and_flat_memory",
    "memory.max_bytes": "test_store_memory.test_bytes_bound_it_too",
    "warm.max_urls": "test_warm.test_what_is_wrong_with_a_job_is_said",
    "warm.concurrency": "test_warm.test_so_many_are_under_way_and_no_more",
    "warm.rate": "test_warm.test_fetches_begin_at_their_rate",
    "limits.open_files": "test_store_file_warm.test_so_many_files_are_kept_open",
    "file.max_bytes": "test_store_file.test_bytes_on_disk_are_bounded_and_eviction_unlinks",
}


SECTIONS: dict[str, type[Section]] = {
    "limits": LimitSettings,
    "timeouts": TimeoutSettings,
    "flight": FlightSettings,
    "journal": JournalSettings,
    "warm": WarmSettings,
    "upstream.breaker": Breaker,
}
OTHERS = """
upstream.connect_timeout upstream.first_byte_timeout upstream.read_timeout upstream.total_timeout
upstream.max_connections upstream.max_in_flight upstream.max_queue upstream.retries upstream.retry_budget
memory.max_entries memory.max_bytes memory.limit memory.max_object redis.max_object file.max_object file.max_bytes
cache.stale_if_error redis.connect_timeout redis.read_timeout redis.pool redis.scan_count admin.receipts listen.drain
"""


def test_no_limit_is_left_out() -> None:
    """A test here names what it shows, before or within."""
    names = {f"{section}.{field}" for section, model in SECTIONS.items() for field in model.model_fields}
    shown = Path(__file__).read_text().replace(OTHERS, "")
    assert [name for name in sorted(names | set(OTHERS.split())) if name not in shown] == []
    for place in ELSEWHERE.values():
        module, _, test = place.partition(".")
        assert f"def {test}(" in (Path(__file__).parent / f"{module}.py").read_text(), place
