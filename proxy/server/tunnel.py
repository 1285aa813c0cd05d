"""A websocket between a client and the origin: messages both ways, each at the other's pace, until either closes."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

from aiohttp import WSCloseCode, WSMsgType, web

from proxy.errors import UpstreamError
from proxy.message import Fields
from proxy.upstream.protocol import Frame, Link

MAX_MESSAGE = 16 * 1024 * 1024  # bytes of one message held at a time
_ABNORMAL = 1006  # the connection just ended
_NEVER_SENT = frozenset({1005, _ABNORMAL, 1015})  # RFC 6455 7.4.1
_KINDS = {"text": WSMsgType.TEXT, "binary": WSMsgType.BINARY, "ping": WSMsgType.PING, "pong": WSMsgType.PONG}


def offered(raw: web.BaseRequest) -> list[str]:
    """The subprotocols that the client offers."""
    return [name.strip() for name in raw.headers.get("Sec-WebSocket-Protocol", "").split(",") if name.strip()]


def valid_handshake(raw: web.BaseRequest) -> bool:
    """Whether the client's half of the handshake is in order (RFC 6455 4.2.1)."""
    return web.WebSocketResponse(protocols=offered(raw)).can_prepare(raw).ok


@dataclass(slots=True)
class Tunnel:
    """Carries one websocket. `sent` counts bytes to the client, `complete` says that it was closed in order; once
    `leaving` is set, both sides are told that we go away (1001)."""

    raw: web.BaseRequest
    link: Link
    leaving: asyncio.Event
    sent: int = 0
    complete: bool = False

    async def run(self) -> web.WebSocketResponse[bool]:
        """Answer 101 and carry messages until either side ends; both are closed when this returns."""
        subprotocol = self.link.subprotocol
        client: web.WebSocketResponse[bool] = web.WebSocketResponse(
            protocols=[subprotocol] if subprotocol else [],
            autoping=False,
            autoclose=False,
            compress=False,
            max_msg_size=MAX_MESSAGE,
            decode_text=False,
        )
        for name, value in _text(self.link.fields):
            client.headers.add(name, value)
        client.headers.setdefault("Server", "cachegate")  # else aiohttp names itself
        try:
            await client.prepare(self.raw)
            await self._carry(client)
        finally:
            await self.link.close()
            if client.prepared and not client.closed:
                await client.close(code=WSCloseCode.GOING_AWAY, drain=False)
        return client

    async def _carry(self, client: web.WebSocketResponse[bool]) -> None:
        pumps = {asyncio.create_task(ending) for ending in (self._upward(client), self._downward(client), self._left())}
        try:
            done, _ = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
        farewell = next(iter(done)).result()
        self.complete = farewell.code != _ABNORMAL
        if self.complete:
            code = 1000 if farewell.code in _NEVER_SENT else farewell.code
            await client.close(code=code, message=farewell.data, drain=False)
        elif self.raw.transport is not None:  # what broke off on one side breaks off on the other
            self.raw.transport.abort()

    async def _upward(self, client: web.WebSocketResponse[bool]) -> Frame:
        """Client to origin; the close frame that ended it."""
        while True:
            frame = _frame(await client.receive())
            if frame.code != _ABNORMAL:
                try:
                    await self.link.send(frame)
                except UpstreamError:
                    return Frame("close", code=_ABNORMAL)
            if frame.kind == "close":
                return frame

    async def _left(self) -> Frame:
        """The close frame of our own going."""
        await self.leaving.wait()
        return Frame("close", b"the gateway is going away", WSCloseCode.GOING_AWAY)

    async def _downward(self, client: web.WebSocketResponse[bool]) -> Frame:
        """Origin to client; the close frame that ended it."""
        while (frame := await self.link.receive()).kind != "close":
            try:
                await client.send_frame(frame.data, _KINDS[frame.kind])
            except (ConnectionError, RuntimeError):
                return Frame("close", code=_ABNORMAL)
            self.sent += len(frame.data)
        return frame


def _text(fields: Fields) -> Iterator[tuple[str, str]]:
    """Fields as aiohttp takes them; it can tell only UTF-8 byte for byte, and what is none is left out."""
    for name, value in fields.pairs:
        try:
            yield name.decode(), value.decode()
        except UnicodeDecodeError:
            continue


def _frame(message: object) -> Frame:
    kind, data = getattr(message, "type", None), getattr(message, "data", None)
    match kind:
        case WSMsgType.TEXT:
            return Frame("text", data if isinstance(data, bytes) else str(data).encode())
        case WSMsgType.BINARY:
            return Frame("binary", bytes(data or b""))
        case WSMsgType.PING:
            return Frame("ping", bytes(data or b""))
        case WSMsgType.PONG:
            return Frame("pong", bytes(data or b""))
        case WSMsgType.CLOSE:
            return Frame("close", str(getattr(message, "extra", "") or "").encode(), int(data or 1000))
    return Frame("close", code=_ABNORMAL)
