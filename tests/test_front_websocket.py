"""Websockets through the door: carried both ways with their close codes (RFC 6455 7), refused ones answered like any
request, only `websocket` and only well-formed (RFC 9110 7.8). The origin's side is a Link that the test holds."""

import asyncio
from dataclasses import dataclass, field

import aiohttp
import pytest

from proxy.errors import Fault, UpstreamError
from proxy.message import Fields
from proxy.outcome import Verdict
from proxy.reasons import Why
from proxy.upstream.protocol import Frame
from tests.support.door import Door, door, reply
from tests.support.rawtcp import raw

FIELDS = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==")
VERSION = "Sec-WebSocket-Version: 13"


@dataclass
class Held:
    """An open link whose origin is the test."""

    subprotocol: str | None = None
    fields: Fields = field(default_factory=Fields)
    gone: bool = False
    incoming: asyncio.Queue[Frame] = field(default_factory=asyncio.Queue)
    sent: asyncio.Queue[Frame] = field(default_factory=asyncio.Queue)
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    async def receive(self) -> Frame:
        return await self.incoming.get()

    async def send(self, frame: Frame) -> None:
        if self.gone:
            raise UpstreamError(Fault.RESET, "gone")
        await self.sent.put(frame)

    async def close(self) -> None:
        self.closed.set()

    async def told(self) -> Frame:
        async with asyncio.timeout(20):
            return await self.sent.get()


async def finished(d: Door, link: Held, *, complete: bool) -> None:
    ended = await d.over()
    async with asyncio.timeout(20):
        await link.closed.wait()
    outcome = ended.reply.outcome
    assert (ended.reply.status, outcome.verdict, outcome.reason) == (101, Verdict.BYPASS, Why.UPGRADE)
    assert (ended.complete, d.counters.in_flight, len(d.ended)) == (complete, 0, 1)


async def test_messages_pass_both_ways_and_the_client_closes() -> None:
    link = Held()
    async with door(lambda request: reply(), open=lambda request: link) as d, aiohttp.ClientSession() as session:
        async with session.ws_connect(f"ws://127.0.0.1:{d.port}/x?y", autoping=False) as client:
            assert (d.requests[0].method, d.requests[0].target) == ("GET", "/x?y")
            await client.send_str("grüß")
            assert await link.told() == Frame("text", "grüß".encode())
            await client.send_bytes(b"\0\xff")
            assert await link.told() == Frame("binary", b"\0\xff")
            await client.ping(b"p")
            assert await link.told() == Frame("ping", b"p")
            await link.incoming.put(Frame("pong", b"p"))
            assert (await client.receive()).type is aiohttp.WSMsgType.PONG
            await link.incoming.put(Frame("text", "zurück".encode()))
            assert await client.receive_str() == "zurück"
            await link.incoming.put(Frame("binary", bytes(100_000)))
            assert await client.receive_bytes() == bytes(100_000)
            assert d.counters.in_flight == 1
            await client.close(code=4001, message=b"bye")
            assert client.close_code == 4001
        assert await link.told() == Frame("close", b"bye", 4001)
        await finished(d, link, complete=True)
        assert d.ended[0].sent == len(b"p") + len("zurück".encode()) + 100_000


@pytest.mark.parametrize(("code", "seen"), [(1000, 1000), (4002, 4002), (1005, 1000)])
async def test_the_origin_closes(code: int, seen: int) -> None:
    link = Held()
    async with door(lambda request: reply(), open=lambda request: link) as d, aiohttp.ClientSession() as session:
        async with session.ws_connect(f"ws://127.0.0.1:{d.port}/") as client:
            await link.incoming.put(Frame("close", b"why", code))
            message = await client.receive()
            assert (message.type, message.data, message.extra) == (aiohttp.WSMsgType.CLOSE, seen, "why")
        await finished(d, link, complete=True)


async def test_an_origin_that_breaks_off_breaks_off_the_client() -> None:
    link = Held()
    async with door(lambda request: reply(), open=lambda request: link) as d, aiohttp.ClientSession() as session:
        async with session.ws_connect(f"ws://127.0.0.1:{d.port}/") as client:
            await link.incoming.put(Frame("close", code=1006))
            assert (await client.receive()).type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
            assert client.close_code == 1006
        await finished(d, link, complete=False)


async def test_an_origin_that_is_gone_when_it_is_told_something() -> None:
    link = Held(gone=True)
    async with door(lambda request: reply(), open=lambda request: link) as d, aiohttp.ClientSession() as session:
        async with session.ws_connect(f"ws://127.0.0.1:{d.port}/") as client:
            await client.send_str("hello?")
            assert (await client.receive()).type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
        await finished(d, link, complete=False)


async def test_a_client_that_breaks_off_closes_the_link() -> None:
    link = Held()
    async with door(lambda request: reply(), open=lambda request: link) as d:
        async with raw(d.port) as client:
            assert (await client.get("/", *FIELDS, VERSION)).status == 101
            client.writer.transport.abort()
        await finished(d, link, complete=False)


@pytest.mark.parametrize("chosen", ["b", None])
async def test_the_subprotocol_is_the_origin_s(chosen: str | None) -> None:
    link = Held(subprotocol=chosen)
    async with (
        door(lambda request: reply(), open=lambda request: link) as d,
        aiohttp.ClientSession() as session,
        session.ws_connect(f"ws://127.0.0.1:{d.port}/", protocols=("a", "b")) as client,
    ):
        assert client.protocol == chosen


async def test_the_101_says_what_the_link_s_says() -> None:
    told = [("Set-Cookie", "a=b"), ("set-cookie", "c=grüß"), ("X-Cache", "BYPASS"), ("Server", "theirs")]
    pairs = [(name.encode(), value.encode()) for name, value in told]
    link = Held(fields=Fields([*pairs, (b"X-Odd", b"\xff")]))  # which cannot be told as it is
    async with door(lambda request: reply(), open=lambda request: link) as d, raw(d.port) as client:
        got = await client.get("/", "Upgrade: WebSocket", *FIELDS[1:], VERSION)  # RFC 9110 7.8: in any case
        assert got.status == 101
        assert [pair for pair in got.pairs if pair in pairs] == pairs
        assert (got.header("x-odd"), got.header("server")) == (None, "theirs")
        assert (got.header("upgrade"), got.header("sec-websocket-accept") is not None) == ("websocket", True)


async def test_what_the_client_sends_before_the_101_is_not_lost() -> None:
    link = Held()
    async with door(lambda request: reply(), open=lambda request: link) as d, raw(d.port) as client:
        masked = b"\x81\x82\0\0\0\0hi"
        lines = "\r\n".join(["GET / HTTP/1.1", "Host: a", *FIELDS, VERSION]).encode()
        await client.send(lines + b"\r\n\r\n" + masked)
        assert (await client.response()).status == 101
        assert await link.told() == Frame("text", b"hi")


async def test_an_origin_that_declines_is_answered_like_any_request() -> None:
    declined = reply(b"not here", status=404, phrase="Not Found")
    async with door(lambda request: reply(b"next"), open=lambda request: declined) as d, raw(d.port) as client:
        got = await client.get("/", *FIELDS, VERSION)
        assert (got.status, got.body) == (404, b"not here")
        assert (await client.get("/")).body == b"next"
        assert d.counters.requests == 2


@pytest.mark.parametrize(
    "fields",
    [
        FIELDS,  # no version
        (*FIELDS, "Sec-WebSocket-Version: 12"),
        (*FIELDS[:2], VERSION),  # no key
        (*FIELDS[:2], "Sec-WebSocket-Key: short", VERSION),
    ],
)
async def test_a_handshake_that_is_not_valid_never_reaches_the_origin(fields: tuple[str, ...]) -> None:
    async with door(lambda request: reply(), open=lambda request: Held()) as d, raw(d.port) as client:
        got = await client.get("/", *fields)
        assert (got.status, got.header("x-cache"), d.requests, d.counters.requests) == (400, "BYPASS", [], 1)


@pytest.mark.parametrize(
    "fields",
    [
        ("Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: x"),
        ("Upgrade: websocket, h2c", "Connection: Upgrade", *FIELDS[2:], VERSION),
        ("Upgrade: websocket", *FIELDS[2:], VERSION),  # not named in Connection
        ("Upgrade: websocket", "Connection: keep-alive", *FIELDS[2:], VERSION),
    ],
)
async def test_any_other_upgrade_is_a_plain_request(fields: tuple[str, ...]) -> None:
    async with door(lambda request: reply(b"plain"), open=lambda request: Held()) as d, raw(d.port) as client:
        assert (await client.get("/", *fields)).body == b"plain"
        assert (await client.get("/")).body == b"plain"


async def test_websocket_is_for_get() -> None:
    async with door(lambda request: reply(b"plain"), open=lambda request: Held()) as d, raw(d.port) as client:
        assert (await client.get("/", *FIELDS, VERSION, "Content-Length: 0", method="POST")).body == b"plain"


async def test_a_drain_tells_both_sides_that_we_go_away() -> None:
    link = Held()
    async with door(lambda request: reply(), open=lambda request: link) as d, aiohttp.ClientSession() as session:
        async with session.ws_connect(f"ws://127.0.0.1:{d.port}/") as client:
            async with asyncio.timeout(20):
                leaving = asyncio.create_task(d.front.drained())
                message = await client.receive()
                await leaving
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1001)
        await finished(d, link, complete=True)


@pytest.mark.parametrize(
    "start",
    [
        pytest.param("GET / HTTP/1.0", id="7.8 MUST: HTTP/1.0 knows no upgrade"),
        pytest.param(
            "GET / HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue", id="7.8 a content is to be read first"
        ),
    ],
)
async def test_what_cannot_be_upgraded_is_a_plain_request(start: str) -> None:
    async with door(lambda request: reply(b"plain"), open=lambda request: Held()) as d, raw(d.port) as client:
        await client.send("\r\n".join([start, "Host: a", *FIELDS, VERSION, "", ""]).encode())
        got = await client.response()
        assert (got.status, got.body, len(d.requests)) == (200, b"plain", 1)
