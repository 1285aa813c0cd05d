"""Replies on the wire, written by us byte for byte.

aiohttp's own responses hold header fields as text, encode them as UTF-8 and add fields of their own; ours keep the
bytes, order and case of the origin. Rendering is pure; `Outgoing` does the writing.
"""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from email.utils import formatdate

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import HttpVersion11

from proxy.errors import CachegateError, TruncatedError
from proxy.fixed import fixed
from proxy.message import Fields, Framing, Reply
from proxy.server.plain import Raw

_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "upgrade", "proxy-connection"})
_LENGTH = frozenset({"content-length"})
PIECE = 1 << 16  # bytes that are given to the socket at once, and wait there for a client that reads no more
_LAST_CHUNK = b"0\r\n\r\n"


class Unsendable(CachegateError):
    """A reply whose head would mean something else on the wire; none of it was sent."""


@fixed
class Wire:
    """A head as it goes out, and how the end of its body is told. `length` counts the bytes of content that follow
    where they are known; `keep_alive`: another request may follow on the connection."""

    head: bytes
    framing: Framing
    length: int | None
    keep_alive: bool


def render(reply: Reply, *, method: str, http11: bool, keep_alive: bool, date: bytes) -> Wire:
    """The head of `reply` to a request of `method` (RFC 9112 4, 6.3); Unsendable where there is none."""
    fields = reply.fields
    declared = _declared(fields) if "content-length" in fields else None
    framing, told, length = _framing(reply, method, http11, declared)
    keep_alive = keep_alive and not reply.close and framing is not Framing.CLOSE
    options = _options(reply, http11, keep_alive)
    if told is None or told != declared:
        fields = fields.without(_LENGTH)
    else:
        fields, told = _once(fields), None  # it stands there, and once is enough
    fields = fields.without(_HOP_BY_HOP.difference(options) if options else _HOP_BY_HOP)
    more = []
    if "date" not in fields:
        more.append(b"Date: %b\r\n" % date)
    if told is not None:
        more.append(b"Content-Length: %d\r\n" % told)
    if framing is Framing.CHUNKED:
        more.append(b"Transfer-Encoding: chunked\r\n")
    if options:
        more.append(b"Connection: %b\r\n" % ", ".join(options).encode())
    first = b"HTTP/1.1 %d %b\r\n" % (reply.status, reply.phrase.encode("latin-1"))
    head = b"".join((first, fields.written, *more, b"\r\n"))
    ends = len(fields) + len(more) + 2  # of lines, the empty one included
    if not head.count(b"\n") == head.count(b"\r") == ends or 0 in head:
        raise Unsendable("a control character in a header field")
    return Wire(head, framing, length, keep_alive)


def _options(reply: Reply, http11: bool, keep_alive: bool) -> list[str]:
    """What we say of this connection: whether it stays, and that a 426's Upgrade is about it (RFC 9110 7.8)."""
    options = ["upgrade"] if reply.status == 426 and "upgrade" in reply.fields else []
    if not keep_alive:
        options.append("close")
    elif not http11:
        options.append("keep-alive")
    return options


def _declared(fields: Fields) -> int:
    """The one Content-Length that the reply's fields give; there is one."""
    lines = fields.lines("content-length")
    text = lines[0]
    if lines.count(text) < len(lines) or not (text.isascii() and text.isdigit()):
        raise Unsendable(f"Content-Length {text!r} is not one number")
    return int(text)


def _once(fields: Fields) -> Fields:
    """These with the first alone of the lines that give the length; there is one."""
    lines = fields.order.lines["content-length"]
    if isinstance(lines, int):
        return fields
    order, take = fields.order.only(tuple([place for place in range(len(fields)) if place not in lines[1:]]))
    return Fields.laid(order, take(fields.values))


def _framing(reply: Reply, method: str, http11: bool, declared: int | None) -> tuple[Framing, int | None, int | None]:
    """(framing, the Content-Length to tell, bytes of content to send)."""
    size = len(reply.body) if isinstance(reply.body, bytes) else None
    if reply.status < 200 or reply.status == 204:  # RFC 9110 8.6: no Content-Length here
        return Framing.NONE, None, 0
    if reply.status == 304:
        return Framing.NONE, declared, 0
    if method == "HEAD":
        return Framing.NONE, declared if declared is not None else size or None, 0
    if declared is not None:
        return Framing.LENGTH, declared, declared
    if size is not None:
        return Framing.LENGTH, size, size
    if http11 and reply.framing is not Framing.CLOSE:
        return Framing.CHUNKED, None, None
    return Framing.CLOSE, None, None


async def give_back(reply: Reply) -> None:
    """Close a body that is not, or not further, read."""
    if (aclose := getattr(reply.body, "aclose", None)) is not None:
        await aclose()


class HttpDate:
    """The Date of now, made once a second. `clock` is wall time in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._second = -1
        self._text = b""

    def __call__(self) -> bytes:
        second = int(self._clock())
        if second != self._second:
            self._second, self._text = second, formatdate(second, usegmt=True).encode()
        return self._text


class Outgoing:
    """One reply on its way to the client. `sent` counts bytes of content, `complete` says that all of it went out,
    `keep_alive` that another request may follow."""

    def __init__(self, raw: Raw, date: HttpDate, *, send_idle: float = 60.0) -> None:
        self.sent = 0
        self.complete = False
        self.keep_alive = False
        self._raw = raw
        self._date = date
        self._send_idle = send_idle

    async def send(self, reply: Reply, *, keep_alive: bool) -> None:
        """Write the whole reply. Unsendable before any of it was written; ConnectionError when the client left, and
        whatever the body raises when its end cannot be proven: after these the connection is cut, so that nobody
        takes the part for the whole."""
        body = reply.body
        try:
            wire = render(
                reply,
                method=self._raw.method,
                http11=self._raw.version == HttpVersion11,
                keep_alive=keep_alive,
                date=self._date(),
            )
            try:
                if isinstance(body, bytes):
                    await self._send_bytes(wire, body)
                else:
                    await self._send_stream(wire, body)
            except BaseException:
                self.cut()
                raise
            self.keep_alive = wire.keep_alive
            self.complete = True
            if not wire.keep_alive:
                end(self._raw.transport)
        finally:
            if not isinstance(body, bytes):
                await give_back(reply)

    async def _send_bytes(self, wire: Wire, body: bytes) -> None:
        """Piece by piece: what a slow client has not taken is a copy of its own, whoever else reads the same bytes."""
        content = body[: wire.length]
        piece = content[:PIECE]
        self._write(wire.head + piece)
        self.sent = len(piece)
        if self._raw.protocol.writing_paused:
            await self._flow()
        while self.sent < len(content):
            piece = content[self.sent : self.sent + PIECE]
            self._write(piece)
            self.sent += len(piece)
            await self._flow()
        if wire.length is not None and self.sent < wire.length:
            raise TruncatedError(f"{self.sent} bytes of a body of {wire.length}")

    async def _send_stream(self, wire: Wire, body: AsyncIterator[bytes]) -> None:
        self._write(wire.head)
        await self._flow()
        if wire.framing is Framing.NONE:
            return
        async for chunk in body:
            if not chunk:  # a chunk of no bytes would be the last one
                continue
            if wire.length is not None and self.sent + len(chunk) > wire.length:
                raise TruncatedError(f"more than the {wire.length} bytes that were announced")
            self._write(b"%x\r\n%b\r\n" % (len(chunk), chunk) if wire.framing is Framing.CHUNKED else chunk)
            self.sent += len(chunk)
            await self._flow()
        if wire.length is not None and self.sent < wire.length:
            raise TruncatedError(f"{self.sent} bytes of a body of {wire.length}")
        if wire.framing is Framing.CHUNKED:
            self._write(_LAST_CHUNK)

    def _write(self, data: bytes) -> None:
        transport = self._raw.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client left")
        transport.write(data)

    async def _flow(self) -> None:
        """Wait while the client is behind, for at most `send_idle` seconds."""
        if self._raw.protocol.writing_paused:
            try:
                async with asyncio.timeout(self._send_idle):
                    await self._raw.protocol._drain_helper()  # noqa: SLF001 what aiohttp's own writer waits for
            except TimeoutError as error:
                raise ConnectionResetError("the client stopped reading") from error

    def cut(self) -> None:
        """End the connection so that no client can take what it got for a whole message."""
        self.keep_alive = False
        if self._raw.transport is not None:
            reset(self._raw.transport)


class Sent(web.StreamResponse):
    """What aiohttp is given back. It has nothing left to do but to tell whether the connection is kept, or to have it
    sent that a head could not be read."""

    def __init__(self, out: Outgoing, pending: Reply | None = None) -> None:
        super().__init__()
        self._out = out
        self._pending = pending

    @property
    def keep_alive(self) -> bool:
        return self._out.keep_alive

    @property
    def body_length(self) -> int:
        return self._out.sent

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        pending, self._pending = self._pending, None
        if pending is not None:
            await self._out.send(pending, keep_alive=False)
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing: what was to be sent was sent."""


def end(transport: asyncio.Transport | None) -> None:
    """Tell the client that nothing follows what was written; what it still sends can be read off (RFC 9112 9.6)."""
    if transport is None or transport.is_closing() or not transport.can_write_eof():
        return
    try:
        transport.write_eof()
    except OSError:
        pass  # the client left meanwhile


def reset(transport: asyncio.Transport) -> None:
    """End a connection by a reset: the end of a body without length or chunks is the connection's (RFC 9112 6.3, 8),
    so that a mere close would prove what is not true."""
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except OSError:
            pass  # closed already
    transport.abort()
