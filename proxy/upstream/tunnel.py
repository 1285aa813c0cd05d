"""Websockets to the origin (RFC 6455): our own handshake, the client's end-to-end fields, frames by wsproto.

No extension is offered, so messages pass as they are and compression stays a matter of each side.
"""

import asyncio
import secrets
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha1
from typing import assert_never

from wsproto.connection import Connection as Session
from wsproto.connection import ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong, TextMessage
from wsproto.utilities import LocalProtocolError

from proxy.errors import Fault, UpstreamError
from proxy.message import Fields, Head
from proxy.policy.forwarding import response_fields
from proxy.upstream.attempt import AttemptFailed, Stage
from proxy.upstream.client import OriginClient
from proxy.upstream.exchange import StreamedAnswer
from proxy.upstream.protocol import Call, Frame, OnEnd

MAX_MESSAGE = 16 * 1024 * 1024  # bytes of one message; a larger one ends the link with 1009
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 1.3
_HANDSHAKE = frozenset(
    {"connection", "upgrade", "sec-websocket-key", "sec-websocket-version", "sec-websocket-extensions"}
)

# What the origin answers to our handshake; the client is answered to its own.
_ANSWERED = frozenset({"content-length", "sec-websocket-accept", "sec-websocket-extensions", "sec-websocket-protocol"})


async def open_link(client: OriginClient, call: Call) -> "WebSocketLink | StreamedAnswer":
    """Ask for the upgrade: the open link, or the whole answer of an origin that declined."""
    key = b64encode(secrets.token_bytes(16))
    handshake = (
        (b"Upgrade", b"websocket"),
        (b"Connection", b"Upgrade"),
        (b"Sec-WebSocket-Key", key),
        (b"Sec-WebSocket-Version", b"13"),
    )
    plain = replace(call, method="GET", fields=call.fields.without(_HANDSHAKE), body=None)
    answer = await client.fetch(plain, fresh=True, upgrade=handshake)
    if answer.head.status != 101:
        return answer
    offered = _tokens(call.fields, "sec-websocket-protocol")
    if (wrong := _objection(answer.head, key, offered)) is not None:
        await answer.close()
        raise AttemptFailed(Fault.FRAMING, f"the upstream's websocket handshake {wrong}", Stage.ANSWER)
    return WebSocketLink(answer)


def _objection(head: Head, key: bytes, offered: list[str]) -> str | None:
    """What is wrong with a 101 (RFC 6455 4.1)."""
    fields = head.fields
    if [t.lower() for t in _tokens(fields, "upgrade")] != ["websocket"]:
        return "switches to another protocol"
    if "upgrade" not in [t.lower() for t in _tokens(fields, "connection")]:
        return "has no Connection: upgrade"
    if fields.get("sec-websocket-accept") != b64encode(sha1(key + _GUID).digest()).decode():  # noqa: S324 RFC 6455
        return "does not answer our key"
    if "sec-websocket-extensions" in fields:
        return "has an extension that was not offered"
    chosen = fields.get("sec-websocket-protocol")
    return None if chosen is None or chosen in offered else "has a subprotocol that was not offered"


def _tokens(fields: Fields, name: str) -> list[str]:
    return [token.strip() for token in (fields.get(name) or "").split(",") if token.strip()]


class WebSocketLink:
    """A `Link` over a connection that has switched. One reader and one writer at a time."""

    def __init__(self, answer: StreamedAnswer) -> None:
        self.fields = response_fields(answer.head.fields).without(_ANSWERED)
        self._answer = answer
        self._connection = answer.connection
        self._session = Session(ConnectionType.CLIENT)
        self._events: Iterator[Event] = iter(())
        self._parts: list[bytes] = []  # of a message whose end has not come
        self._size = 0
        self._last: Frame | None = None

    @property
    def waited(self) -> float:
        """Seconds until the origin had agreed."""
        return self._answer.waited

    @property
    def subprotocol(self) -> str | None:
        return self._answer.head.fields.get("sec-websocket-protocol")

    async def receive(self) -> Frame:
        """The next message; the close frame is told again to who asks again."""
        while self._last is None:
            for event in self._events:
                if (frame := self._frame(event)) is not None:
                    return frame
            await self._more()
        return self._last

    async def _more(self) -> None:
        try:
            data = await self._connection.body()
        except UpstreamError:
            data = b""
        if data:
            self._session.receive_data(data)
            self._events = self._session.events()
        else:
            self._last = Frame("close", code=1006)

    def _frame(self, event: Event) -> Frame | None:
        match event:
            case TextMessage() | BytesMessage():
                return self._message(event)
            case Ping():
                return Frame("ping", bytes(event.payload))
            case Pong():
                return Frame("pong", bytes(event.payload))
            case CloseConnection():
                self._last = Frame("close", (event.reason or "").encode(), int(event.code))
                return self._last
            case _:
                return None

    def _message(self, event: TextMessage | BytesMessage) -> Frame | None:
        part = event.data.encode() if isinstance(event, TextMessage) else bytes(event.data)
        self._parts.append(part)
        self._size += len(part)
        if self._size > MAX_MESSAGE:
            self._last = Frame("close", b"message too big", 1009)
            return self._last
        if not event.message_finished:
            return None
        data, self._parts, self._size = b"".join(self._parts), [], 0
        return Frame("text" if isinstance(event, TextMessage) else "binary", data)

    async def send(self, frame: Frame) -> None:
        """Pass a message on; waits while the origin takes no more, for upstream.read_timeout at most."""
        try:
            self._say(_event(frame))
        except LocalProtocolError as e:
            raise UpstreamError(Fault.RESET, "the websocket is closed") from e
        limit = self._answer.read_timeout
        try:
            async with asyncio.timeout(limit):
                await self._connection.drain()
        except TimeoutError:
            raise UpstreamError(Fault.READ_TIMEOUT, f"the upstream took nothing for {limit:g} s") from None
        if not self._connection.alive:
            raise UpstreamError(Fault.RESET, "the upstream has closed the websocket")

    def _say(self, event: Event) -> None:
        self._connection.write(self._session.send(event))

    async def close(self) -> None:
        """End the link; idempotent. The origin is told why, or 1001 (going away), if it was told nothing before."""
        if self._session.state in (ConnectionState.OPEN, ConnectionState.REMOTE_CLOSING):
            self._say(CloseConnection(code=1001 if self._last is None else self._last.code))
        await self._answer.close()

    def when_ended(self, act: OnEnd) -> None:
        self._answer.when_ended(act)


def _event(frame: Frame) -> Event:
    match frame.kind:
        case "text":
            return TextMessage(data=frame.data.decode())
        case "binary":
            return BytesMessage(data=frame.data)
        case "ping":
            return Ping(payload=frame.data)
        case "pong":
            return Pong(payload=frame.data)
        case "close":
            return CloseConnection(code=frame.code, reason=frame.data.decode("utf-8", "replace") or None)
        case _:
            assert_never(frame.kind)
