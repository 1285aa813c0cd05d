"""Websockets to the origin (RFC 6455): with aiohttp's server what is well, with scripted bytes what is not."""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from proxy.errors import Fault, UpstreamError
from proxy.message import Fields
from proxy.upstream.pool import ReplicaPool
from proxy.upstream.protocol import Answer, Call, Frame, Link
from proxy.upstream.service import service
from proxy.upstream.tunnel import MAX_MESSAGE, WebSocketLink
from tests.support.origin import STALL, Origin, Reader, Recorded, Writer

Serve = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(serve: Serve) -> AsyncIterator[ReplicaPool]:
    server = web.ServerRunner(web.Server(serve))
    await server.setup()
    site = web.TCPSite(server, "127.0.0.1", 0)
    await site.start()
    port = server.addresses[0][1]
    pool = service([f"http://127.0.0.1:{port}"])
    yield pool
    await pool.close()
    await server.cleanup()


def call(*pairs: tuple[str, str]) -> Call:
    return Call("GET", "/ws?x", Fields.of(*pairs))


async def opened(pool: ReplicaPool, *pairs: tuple[str, str]) -> Link:
    link = await pool.connect(call(*pairs))
    assert isinstance(link, WebSocketLink)
    return link


async def echo(request: web.BaseRequest) -> web.StreamResponse:
    socket = web.WebSocketResponse(autoping=False, autoclose=False, max_msg_size=0, protocols=("b", "a"))
    await socket.prepare(request)
    while not socket.closed:
        message = await socket.receive()
        match message.type:
            case aiohttp.WSMsgType.TEXT:
                await socket.send_str(message.data)
            case aiohttp.WSMsgType.BINARY:
                await socket.send_bytes(message.data)
            case aiohttp.WSMsgType.PING:
                await socket.pong(message.data)
                await socket.ping(message.data)
            case aiohttp.WSMsgType.CLOSE:
                await socket.close(code=message.data, message=(message.extra or "").encode())
            case _:
                break
    return socket


async def test_messages_pass_both_ways_as_they_are() -> None:
    async with serving(echo) as pool:
        link = await opened(pool)
        assert link.subprotocol is None
        for frame in (
            Frame("text", "grüße".encode()),
            Frame("text", b""),
            Frame("binary", bytes(range(256))),
            Frame("binary", b"x" * 3_000_000),
        ):
            await link.send(frame)
            assert await link.receive() == frame
        await link.send(Frame("ping", b"p"))
        assert [await link.receive() for _ in range(2)] == [Frame("pong", b"p"), Frame("ping", b"p")]
        await link.send(Frame("close", b"bye", 4001))
        assert [await link.receive() for _ in range(2)] == [Frame("close", b"bye", 4001)] * 2
        with pytest.raises(UpstreamError):
            await link.send(Frame("text", b"late"))
        await link.close()
        await link.close()
        assert (pool.counts.in_flight, pool.counts.errors) == (0, 0)


@pytest.mark.parametrize(("offered", "chosen"), [("a", "a"), ("c, a", "a"), ("b,a", "b"), ("c", None)])
async def test_the_subprotocol_is_between_client_and_origin(offered: str, chosen: str | None) -> None:
    async with serving(echo) as pool:
        link = await opened(pool, ("Sec-WebSocket-Protocol", offered))
        assert link.subprotocol == chosen
        await link.close()


async def test_the_handshake_is_ours_and_the_rest_the_clients() -> None:
    async with Origin() as origin:
        origin.script("/ws", accepted, STALL)
        pool = service([origin.url])
        fields = (("Cookie", "a=b"), ("Origin", "https://x"), ("Upgrade", "h2c"), ("Connection", "keep-alive"))
        theirs = (("Sec-WebSocket-Key", "theirs"), ("Sec-WebSocket-Extensions", "permessage-deflate"))
        link = await opened(pool, *fields, *theirs, ("X-\xff", "1"))
        got = origin.last
        assert (got.method, got.target) == ("GET", "/ws?x")
        assert [name for name, _ in got.pairs] == [
            b"Host", b"Cookie", b"Origin", b"X-\xff", b"Upgrade", b"Connection", b"Sec-WebSocket-Key",
            b"Sec-WebSocket-Version",
        ]  # fmt: skip
        assert got.header("upgrade") == "websocket"
        assert got.header("sec-websocket-key") != "theirs"
        await link.close()
        await pool.close()


def accept(request: Recorded) -> bytes:
    key = request.header("sec-websocket-key") or ""
    digest = hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
    return base64.b64encode(digest)


async def accepted(request: Recorded, reader: Reader, writer: Writer) -> None:
    writer.write(switch + b"Upgrade: websocket\r\nSec-WebSocket-Accept: " + accept(request) + b"\r\n\r\n")


switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"


async def test_a_declined_upgrade_is_the_origins_answer() -> None:
    async with Origin() as origin:
        origin.answer("/ws", 403, [("X-Why", "no")], b"not you", times=1)
        origin.answer("/ws", 200, [], b"plain", chunked=True)
        pool = service([origin.url])
        for status, body in ((403, b"not you"), (200, b"plain")):
            answer: Link | Answer = await pool.connect(call())
            assert not isinstance(answer, WebSocketLink)
            assert answer.head.status == status  # type: ignore[union-attr]
            assert b"".join([chunk async for chunk in answer]) == body  # type: ignore[union-attr]
        assert pool.counts.in_flight == 0
        await pool.close()


@pytest.mark.parametrize(
    "fields",
    [
        "Upgrade: h2c\r\nSec-WebSocket-Accept: {accept}",
        "Upgrade: websocket\r\nSec-WebSocket-Accept: wrong",
        "Upgrade: websocket",
        "Upgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Extensions: permessage-deflate",
        "Upgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: unasked",
        "Sec-WebSocket-Accept: {accept}",
    ],
)
async def test_a_wrong_101_is_no_link(fields: str) -> None:
    async def say(request: Recorded, reader: Reader, writer: Writer) -> None:
        writer.write(switch + fields.format(accept=accept(request).decode()).encode() + b"\r\n\r\n")

    async with Origin() as origin:
        origin.script("/ws", say, STALL)
        pool = service([origin.url])
        with pytest.raises(UpstreamError) as caught:
            await pool.connect(call(("Sec-WebSocket-Protocol", "a")))
        assert caught.value.fault is Fault.FRAMING
        await origin.until(lambda: origin.open == 0)
        assert (pool.counts.in_flight, pool.counts.errors) == (0, 1)
        await pool.close()


@pytest.mark.parametrize(
    ("wire", "frames"),
    [
        (b"\x81\x02hi", [Frame("text", b"hi"), Frame("close", code=1006)]),
        (b"\x01\x01h\x80\x01i", [Frame("text", b"hi"), Frame("close", code=1006)]),
        (b"\x02\x01h\x89\x01p\x80\x01i", [Frame("ping", b"p"), Frame("binary", b"hi"), Frame("close", code=1006)]),
        (b"\x88\x02\x03\xe8", [Frame("close", b"", 1000)]),
        (b"\x88\x00", [Frame("close", b"", 1005)]),
        (b"", [Frame("close", code=1006)]),
    ],
)
async def test_frames_from_the_wire(wire: bytes, frames: list[Frame]) -> None:
    async def say(request: Recorded, reader: Reader, writer: Writer) -> None:
        await accepted(request, reader, writer)
        writer.write(wire)
        writer.write_eof()

    async with Origin() as origin:
        origin.script("/ws", say, STALL)
        pool = service([origin.url])
        link = await opened(pool)
        assert [await link.receive() for _ in frames] == frames
        await link.close()
        await pool.close()


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (b"\x81\x82mask..", 1002),  # a server does not mask
        (b"\xc1\x02hi", 1002),  # a reserved bit
        (b"\x83\x00", 1002),  # a reserved opcode
        (b"\x81\x01\xff", 1007),  # no UTF-8
        (b"\x82\x7f" + (MAX_MESSAGE + 1).to_bytes(8, "big") + b"x" * (MAX_MESSAGE + 1), 1009),
    ],
)
async def test_what_is_no_websocket_ends_the_link(wire: bytes, code: int) -> None:
    said = bytearray()

    async def say(request: Recorded, reader: Reader, writer: Writer) -> None:
        await accepted(request, reader, writer)
        writer.write(wire)
        while data := await reader.read(100):
            said.extend(data)

    async with Origin() as origin:
        origin.script("/ws", say, STALL)
        pool = service([origin.url])
        link = await opened(pool)
        frame = await link.receive()
        assert (frame.kind, frame.code) == ("close", code)
        await link.close()
        await origin.until(lambda: origin.open == 0)
        assert said[0] == 0x88  # the origin is told why
        assert int.from_bytes(bytes(a ^ b for a, b in zip(said[6:8], said[2:4], strict=True)), "big") == code
        await pool.close()


async def test_leaving_tells_the_origin() -> None:
    ended: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()

    async def wait(request: web.BaseRequest) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for _ in socket:
            pass
        ended.set_result(socket.close_code)
        return socket

    async with serving(wait) as pool:
        link = await opened(pool)
        assert pool.counts.in_flight == 1
        await link.close()
        assert await asyncio.wait_for(ended, 20) == 1001
        assert pool.counts.in_flight == 0
