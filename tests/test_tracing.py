"""Requests as spans, as a collector of OpenTelemetry gets them (row 101): whose part each is, and what it tells."""

import asyncio
import inspect
import re
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import FrameType
from typing import Any

import aiohttp
import pytest
from aiohttp import web

import proxy.invalidation.traced as invalidation
import proxy.server.traced as server
import proxy.traced as ways
import proxy.upstream.traced as upstream
from proxy.message import Fields
from proxy.observe.tracing import TraceSpan, Tracing
from proxy.tracing import PLAIN
from proxy.version import VERSION
from tests.support.collector import Collector, Span
from tests.support.gateway import HOST, Client, Clock, running
from tests.support.origin import Origin
from tests.support.redis_servers import redis_server

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACED = {"traceparent": f"00-{TRACE}-{CALLER}-01", "tracestate": "vendor=opaque,other=1"}
UNTRACED = {**TRACED, "traceparent": f"00-{TRACE}-{CALLER}-00"}
USERS: dict[str, Any] = {"rules": [{"name": "users", "pattern": "/users/*", "ttl": 60}]}
TRACING = re.compile(r"/proxy/(?:\w+/)?(?:trac\w+|otlp\w*)\.py$")
FRESH = [("Cache-Control", "max-age=60")]


@asynccontextmanager
async def traced(settings: dict[str, Any], **tracing: Any) -> AsyncIterator[tuple[Origin, Client, Collector]]:
    """A gateway that tells all it does to the collector, at the latest at its end."""
    async with Origin() as origin, Collector() as collector:
        origin.answer("/users/7", headers=FRESH, body=b"Ada")
        async with running(origin, {**settings, **collector.settings(metrics=False, **tracing)}) as gateway:
            yield origin, gateway, collector


def caller(origin: Origin) -> tuple[str, str, str]:
    """Trace, span and flags that the origin was told last."""
    version, trace, span, flags = (origin.last.header("traceparent") or "").split("-")
    assert version == "00"
    return trace, span, flags


def below(collector: Collector, span: Span) -> dict[str, Span]:
    return {each.name: each for each in collector.spans if each.parent == span.id}


async def test_a_miss_is_a_request_its_lookups_its_fetch_and_the_call() -> None:
    async with traced(USERS) as (origin, gateway, collector):
        got = await gateway.get("/users/7?token=secret", {**TRACED, "User-Agent": "test"})
        told = caller(origin)
        state = origin.last.header("tracestate")
        await gateway.settled()
    request = await collector.span("GET users")
    assert (request.kind, request.trace, request.parent, request.failed) == ("server", TRACE, CALLER, False)
    assert request.attributes == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "http.response.body.size": 3,
        "url.scheme": "http",
        "url.path": "/users/7",
        "server.address": HOST,
        "client.address": "127.0.0.1",
        "user_agent.original": "test",
        "network.protocol.version": "1.1",
        "cachegate.verdict": "MISS",
        "cachegate.reason": "uri-miss",
        "cachegate.rule": "users",
        "cachegate.stored": True,
        "cachegate.key": request.attributes["cachegate.key"],
        "cachegate.request_id": got.header("x-request-id"),
    }
    assert len(request.attributes["cachegate.key"]) == 16
    parts = below(collector, request)
    assert sorted(parts) == ["fetch", "lookup file", "lookup memory"]
    assert parts["lookup file"].attributes == {"cachegate.tier": "file", "cachegate.found": False}
    assert parts["fetch"].attributes == {"cachegate.rule": "users", "cachegate.reason": "uri-miss"}
    call = below(collector, parts["fetch"])["GET"]
    assert (call.kind, call.trace) == ("client", TRACE)
    assert call.attributes == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "url.path": "/users/7",
        "server.address": "127.0.0.1",
        "server.port": origin.port,
        "peer.service": "main",
        "cachegate.upstream": "main",
    }
    assert (told, state) == ((TRACE, call.id, "01"), TRACED["tracestate"])
    assert {span.state for span in collector.spans} == {TRACED["tracestate"]}
    lookups = [parts["lookup memory"], parts["lookup file"]]
    edges = [request.began, *(edge for span in lookups for edge in (span.began, span.ended)), call.began]
    assert edges == sorted(edges)
    assert "secret" not in str(collector.spans)


@pytest.mark.parametrize("lane", [True, False], ids=["lane", "no-lane"])
async def test_each_hit_is_a_span_of_its_callers_trace(lane: bool) -> None:
    async with traced({**USERS, "listen": {"fast_lane": lane}}) as (_, gateway, collector):
        for number in range(5):
            parent = f"00-{number + 1:032x}-{number + 1:016x}-01"
            await gateway.get(
                "/users/7", {"Traceparent": parent, "Tracestate": f"n={number}", "User-Agent": f"{number}"}
            )
            await gateway.settled()
    spans = await collector.those("GET users", 5)
    assert [span.attributes["cachegate.verdict"] for span in spans] == ["MISS", *["HIT"] * 4]
    assert [(int(span.trace, 16), int(span.parent, 16), span.state) for span in spans] == [
        (number + 1, number + 1, f"n={number}") for number in range(5)
    ]
    assert [span.attributes["user_agent.original"] for span in spans] == ["0", "1", "2", "3", "4"]
    assert {span.attributes.get("cachegate.tier") for span in spans[1:]} == {"memory"}
    assert {span.kind for span in spans} == {"server"}


async def test_a_hit_from_redis_that_the_lane_asks_for_again_is_a_span() -> None:
    async with redis_server() as redis:
        alone = {"memory": {"max_entries": 0}, "file": {"enabled": False}, "redis": {"url": redis.url}}
        async with traced({**USERS, **alone}) as (_, gateway, collector):
            assert gateway.gateway.tiers.sharing is not None
            await gateway.gateway.tiers.sharing.joined()
            for _ in range(4):
                await gateway.get("/users/7", TRACED)
                await gateway.settled()
    spans = await collector.those("GET users", 4)
    assert [span.attributes.get("cachegate.tier") for span in spans] == [None, "redis", "redis", "redis"]
    assert {(span.trace, span.parent) for span in spans} == {(TRACE, CALLER)}
    looked = await collector.those("lookup redis", 2)
    assert [span.attributes["cachegate.found"] for span in looked] == [False, True]  # then the lane knew it


async def test_without_a_caller_a_trace_begins_here() -> None:
    async with traced(USERS) as (origin, gateway, collector):
        await gateway.get("/users/7")
        trace, span, flags = caller(origin)
        await gateway.get("/users/7")
    first, second = await collector.those("GET users", 2)
    call = await collector.span("GET", peer__service="main")
    assert (first.parent, second.parent, first.trace) == ("", "", trace)
    assert first.trace != second.trace
    assert (call.id, flags) == (span, "03")  # sampled, and its id is random


@pytest.mark.parametrize("lane", [True, False], ids=["lane", "no-lane"])
async def test_a_caller_who_does_not_record_is_passed_on_and_nothing_is_told(lane: bool) -> None:
    async with traced({**USERS, "listen": {"fast_lane": lane}}) as (origin, gateway, collector):
        for _ in range(5):
            await gateway.get("/users/7", UNTRACED)
            await gateway.settled()
        assert origin.last.header("traceparent") == UNTRACED["traceparent"]
        assert origin.last.header("tracestate") == UNTRACED["tracestate"]
    assert (collector.calls, collector.spans) == (0, [])


async def test_a_share_of_those_that_nobody_decided_about_is_told() -> None:
    async with traced(USERS, ratio="0%") as (origin, gateway, collector):
        for _ in range(3):
            await gateway.get("/users/7")
        assert caller(origin)[2] == "02"  # those behind us are told that nobody records
        await gateway.get("/users/7", TRACED)
    assert [span.name for span in collector.spans] == ["GET users"]


@pytest.mark.parametrize("wrong", ["00-0-0-01", f"00-{'0' * 32}-{CALLER}-01", f"ff-{TRACE}-{CALLER}-01", "x"])
async def test_what_is_no_traceparent_is_ignored(wrong: str) -> None:
    async with traced(USERS) as (origin, gateway, collector):
        for _ in range(3):
            assert (await gateway.get("/users/7", {"traceparent": wrong, "tracestate": "a=1"})).status == 200
        assert caller(origin)[0] != TRACE
        assert origin.last.header("tracestate") is None
    spans = await collector.those("GET users", 3)
    assert len({span.trace for span in spans}) == 3
    assert {span.parent for span in spans} == {""}


@pytest.mark.parametrize("state", ["a=1,~ =,;", "a" * 600, ",".join(f"k{n}=v" for n in range(900))])
async def test_whatever_vendors_say_goes_on_and_harms_nobody(state: str) -> None:
    """What is too long to be told is passed on all the same."""
    async with traced(USERS) as (origin, gateway, collector):
        for _ in range(3):
            assert (await gateway.get("/users/7", {**TRACED, "tracestate": state})).status == 200
        assert origin.last.header("tracestate") == state.strip()
    assert {span.state for span in await collector.those("GET users", 3)} <= {"", "a=1"}


@pytest.mark.parametrize("came", [TRACED, {"traceparent": "what ever", "Tracestate": "a=1,,"}, {}])
async def test_where_nothing_is_traced_all_of_it_passes_as_it_came(came: dict[str, str]) -> None:
    async with Origin() as origin, running(origin, USERS) as gateway:
        await gateway.get("/users/7", came)
        names = {name: value for name, value in origin.last.pairs if name.lower().startswith(b"trace")}
        assert names == {name.encode(): value.encode() for name, value in came.items()}


async def test_those_who_wait_have_a_link_to_the_fetch() -> None:
    async with traced(USERS) as (origin, gateway, collector):
        gate = origin.hold("/users/7")
        asked = [asyncio.create_task(gateway.get("/users/7", TRACED)) for _ in range(4)]
        await gateway.waiting(4)
        gate.release()
        await asyncio.gather(*asked)
    spans = await collector.those("GET users", 4)
    fetch = await collector.span("fetch")
    leader = next(span for span in spans if span.id == fetch.parent)
    others = [span for span in spans if span is not leader]
    assert leader.links == ()
    assert {span.links for span in others} == {(fetch.id,)}
    assert [span.attributes["cachegate.collapsed"] for span in others] == [True] * 3
    assert len(await collector.those("GET", 1, peer__service="main")) == 1


async def test_a_refresh_behind_a_client_is_a_trace_of_its_own() -> None:
    rules = [{"name": "users", "pattern": "*", "ttl": 1, "stale_while_revalidate": 60}]
    async with Origin() as origin, Collector() as collector:
        origin.answer("/users/7", body=b"Ada")
        clock = Clock()
        async with running(origin, {"rules": rules, **collector.settings()}, clock=clock) as gateway:
            await gateway.get("/users/7")
            await gateway.settled()
            clock.advance(5)
            assert (await gateway.get("/users/7", TRACED)).verdict == "UPDATING"
            await gateway.settled()
            told = caller(origin)
    asked = await collector.span("GET users", cachegate__verdict="UPDATING")
    refresh = await collector.span("refresh")
    assert (refresh.parent, refresh.links) == ("", (asked.id,))
    assert refresh.trace not in (TRACE, "")
    call = below(collector, refresh)["GET"]
    assert told[:2] == (refresh.trace, call.id)


async def test_ranges_have_calls_and_links_too() -> None:
    async with traced({}) as (origin, gateway, collector):
        part = [("Cache-Control", "max-age=60"), ("ETag", '"e"'), ("Content-Range", "bytes 0-1/3")]
        origin.answer("/users/7", 206, headers=part, body=b"Ad")
        gate = origin.hold("/users/7")
        asked = [asyncio.create_task(gateway.get("/users/7", {**TRACED, "Range": "bytes=0-1"})) for _ in range(3)]
        await gateway.waiting(2)
        gate.release()
        assert {(await each).status for each in asked} == {206}
    spans = await collector.those("GET", 3, cachegate__verdict="MISS")
    call = await collector.span("GET", peer__service="main")
    assert sorted(span.links for span in spans) == [(), (call.parent,), (call.parent,)]


async def test_a_purge_by_hand_is_always_told() -> None:
    async with traced(USERS, ratio=0) as (_, gateway, collector):
        await gateway.get("/users/7", UNTRACED)
        await gateway.settled()
        assert (await gateway.purge(url=f"http://{HOST}/users/7")).status == 200
    purge = await collector.span("purge url")
    assert {name: value for name, value in purge.attributes.items() if not name.endswith(".id")} == {
        "cachegate.purge.kind": "url",
        "cachegate.purge.names": 1,
        "cachegate.purge.soft": False,
        "cachegate.purge.matched": 1,
        "cachegate.purge.instances": 1,
        "cachegate.purge.complete": True,
    }
    assert [span.name for span in collector.spans] == ["purge url"]


async def test_what_an_unsafe_request_ends_is_part_of_it() -> None:
    async with traced(USERS) as (_, gateway, collector):
        await gateway.ask("PUT", "/users/7", TRACED, b"Grace")
    request = await collector.span("PUT", cachegate__verdict="BYPASS")
    assert below(collector, request)["invalidate"].attributes == {"cachegate.purge.names": 1}


async def test_an_origin_that_is_away_is_an_error_of_call_and_request() -> None:
    async with traced({"upstream": {"retries": 0}}) as (origin, gateway, collector):
        port = origin.port
        await origin.stop()
        got = await gateway.get("/users/7", TRACED)
        assert got.status == 502
    request = await collector.span("GET", cachegate__verdict="MISS")
    call = await collector.span("GET", peer__service="main")
    assert (request.failed, request.attributes["error.type"]) == (True, "502")
    assert (call.failed, call.attributes["error.type"]) == (True, "upstream-refused")
    assert (call.attributes["server.address"], call.attributes["server.port"]) == ("127.0.0.1", port)


async def test_a_call_names_the_replica_that_was_asked_last_and_how_often_one_was_asked_again() -> None:
    async with Origin() as gone:
        away = gone.url
    async with traced({"upstream": {"url": [away, away.replace("127.0.0.1", "localhost")], "retries": 1}}) as (
        _,
        gateway,
        collector,
    ):
        assert (await gateway.get("/users/7", TRACED)).status == 502
    call = (await collector.span("GET", peer__service="main")).attributes
    assert (call["server.port"], call["http.request.resend_count"]) == (int(away.rpartition(":")[2]), 1)


async def test_a_call_that_was_withheld_names_no_origin() -> None:
    async with traced({"upstream": {"retries": 0, "breaker": {"consecutive": 1}}}) as (origin, gateway, collector):
        await origin.stop()
        for _ in range(2):
            await gateway.get("/a", {**TRACED, "Cache-Control": "no-store"})
    away, withheld = await collector.those("GET", 2, peer__service="main")
    assert "server.address" in away.attributes
    assert withheld.attributes["error.type"] == "breaker-open"
    assert not {"server.address", "server.port"} & set(withheld.attributes)


async def test_what_is_refused_at_the_door_is_a_span_too() -> None:
    async with traced({}) as (_, gateway, collector):
        assert (await gateway.ask("TRACE", "/", TRACED)).status == 501
        assert (await gateway.ask("BREW", "/", TRACED)).status == 404
    refused = await collector.span("TRACE")
    assert (refused.parent, refused.attributes["http.response.status_code"]) == (CALLER, 501)
    unknown, call = await collector.those("HTTP", 2, http__request__method="_OTHER")
    assert (unknown.kind, call.kind, call.parent) == ("server", "client", unknown.id)


async def test_a_websocket_tells_its_origin_and_is_one_span() -> None:
    heard: list[str] = []

    async def echo(request: web.Request) -> web.WebSocketResponse:
        heard.append(request.headers["traceparent"])
        opened = web.WebSocketResponse()
        await opened.prepare(request)
        async for message in opened:
            await opened.send_str(message.data)
        return opened

    app = web.Application()
    app.router.add_get("/ws", echo)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with Origin() as origin, Collector() as collector:
            settings = {"upstream": {"url": url}, **collector.settings()}
            async with (
                running(origin, settings) as gateway,
                aiohttp.ClientSession() as session,
                session.ws_connect(f"{gateway.url}/ws", headers=TRACED) as client,
            ):
                await client.send_str("hello")
                assert (await client.receive()).data == "hello"
        request = await collector.span("GET", http__response__status_code=101, cachegate__verdict="BYPASS")
        call = await collector.span("GET", peer__service="main")
        assert (request.trace, request.parent, call.parent) == (TRACE, CALLER, request.id)
        assert heard == [f"00-{TRACE}-{call.id}-01"]
        assert (call.attributes["server.address"], call.attributes["server.port"]) == (
            "127.0.0.1",
            runner.addresses[0][1],
        )
    finally:
        await runner.cleanup()


async def test_every_span_says_whose_it_is() -> None:
    async with traced(USERS, service_name="edge", headers={"API-Key": "k"}) as (_, gateway, collector):
        await gateway.get("/users/7", TRACED)
    said = (await collector.span("GET users")).resource
    assert (said["service.name"], said["service.version"], said["cachegate.worker"]) == ("edge", VERSION, 0)
    assert said["service.instance.id"]
    assert {headers["api-key"] for headers in collector.headers} == {"k"}


async def test_where_nothing_is_traced_nothing_that_traces_runs() -> None:
    """Off, it costs nothing: not one function is called that was not before there were traces."""
    ran: list[str] = []

    def called(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and TRACING.search(frame.f_code.co_filename):
            ran.append(frame.f_code.co_qualname)

    async with Origin() as origin, running(origin, USERS) as gateway:
        origin.answer("/users/7", headers=FRESH, body=b"Ada")
        assert gateway.gateway.telemetry.parts is PLAIN
        sys.setprofile(called)
        try:
            for _ in range(3):
                await gateway.get("/users/7", TRACED)
                await gateway.settled()
            await gateway.ask("PUT", "/users/7", TRACED, b"Grace")
            await gateway.purge(tag="users")
        finally:
            sys.setprofile(None)
    assert ran == []


def own(cls: type, name: str) -> Callable[..., object] | None:
    """A method of ours that stands in the class itself."""
    method = vars(cls).get(name)
    return method if inspect.isfunction(method) and method.__module__.startswith("proxy.") else None


def test_what_is_overridden_is_public_or_a_hook_and_takes_what_it_took() -> None:
    """And what is marked as a hook is one: who traces is the only one who overrides."""
    tracers = [cls for module in (invalidation, ways, server, upstream) for cls in vars(module).values() if traces(cls)]
    assert len(tracers) == 7
    overridden = set()
    for cls in tracers:
        for name in [name for name in vars(cls) if name != "__init__" and own(cls, name)]:
            for parent in cls.__mro__[1:]:
                if (method := own(parent, name)) is not None:
                    assert not private(name) or hasattr(method, "__hook__"), (cls, name)
                    assert parameters(vars(cls)[name]) == parameters(method), (cls, name)
                    overridden.add(method)
    parents = [parent for cls in tracers for parent in cls.__mro__[1:]]
    marked = {method for parent in parents for method in vars(parent).values() if hasattr(method, "__hook__")}
    assert marked == {method for method in overridden if private(method.__name__)}
    assert len(marked) == 8


def private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def traces(cls: object) -> bool:
    return isinstance(cls, type) and cls.__name__.startswith("Traced") and len(cls.__mro__) > 2


def parameters(method: Callable[..., object]) -> list[tuple[object, ...]]:
    taken = inspect.signature(method).parameters.values()
    return [(each.name, each.kind, each.annotation, each.default is each.empty) for each in taken]


def test_a_request_ends_no_span_but_its_own() -> None:
    """What is told by a connection of ours comes in the context of whoever opened it, long ago."""
    recorded: list[TraceSpan] = []
    tracing = Tracing(recorded.append, 1.0)
    one, other = object(), object()
    tracing.arrived(Fields(), one)
    assert tracing.of(other) is None
    span = tracing.of(one)
    assert isinstance(span, TraceSpan)
    assert tracing.of(one) is None
    tracing.end(span)
    tracing.end(span)
    assert recorded == [span]
