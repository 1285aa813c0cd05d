"""A raw HTTP client: sends the bytes it is given, reads one answer strictly by its framing and tells how it ended.

async with raw(port) as c:
    await c.send(b"GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
    head, body = await c.response()
    assert await c.closed() == "fin"
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

PATIENCE = 20.0  # seconds after which a wait of a test is a failure of the test

Ending = Literal["open", "fin", "rst"]


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """An answer as it stood on the wire. Unpacks as `head, body`."""

    head: bytes  # status line and fields, with the empty line
    body: bytes  # content, chunked coding taken off
    complete: bool  # the framing proved the end; never so for a close-delimited body
    ending: Ending  # "open": the connection was still there when the answer had ended
    chunks: tuple[bytes, ...] = ()

    def __iter__(self) -> Iterator[bytes]:
        yield self.head
        yield self.body

    @property
    def status(self) -> int:
        return int(self.head.split(b" ", 2)[1])

    @property
    def pairs(self) -> list[tuple[bytes, bytes]]:
        lines = self.head[:-4].split(b"\r\n")[1:]
        return [(name, value.strip(b" \t")) for name, _, value in (line.partition(b":") for line in lines)]

    def header(self, name: str) -> str | None:
        wanted = name.lower().encode("latin-1")
        found = [value.decode("latin-1") for raw, value in self.pairs if raw.lower() == wanted]
        return ", ".join(found) if found else None


class Broken(AssertionError):
    """What came is no HTTP answer."""


class _Reader(asyncio.StreamReader):
    """Keeps what came before a reset, and how the connection ended."""

    def __init__(self) -> None:
        super().__init__(limit=1 << 20)
        self.ending: Ending = "open"
        self.received = 0

    def feed_data(self, data: Any) -> None:
        self.received += len(data)
        super().feed_data(data)

    def feed_eof(self) -> None:
        if self.ending == "open":
            self.ending = "fin"
        super().feed_eof()

    def set_exception(self, exc: Exception) -> None:
        self.ending = "rst"
        super().feed_eof()


class Raw:
    """One connection."""

    def __init__(self, reader: _Reader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @property
    def received(self) -> int:
        """Bytes that have come so far, read or not."""
        return self.reader.received

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def get(self, target: str, *fields: str, method: str = "GET", host: str = "test") -> RawAnswer:
        """A simple request and its answer on this connection."""
        lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *fields]
        await self.send("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n")
        return await self.response(method=method)

    async def response(self, *, method: str = "GET") -> RawAnswer:
        """The next final answer (interim ones are passed over)."""
        async with asyncio.timeout(PATIENCE):
            while True:
                head = await self.head()
                if not head.split(b" ", 2)[1].startswith(b"1") or b" 101 " in head[:14]:
                    return await self._body(head, method)

    async def head(self) -> bytes:
        """The next head, an interim one too; Broken when the connection ends instead."""
        async with asyncio.timeout(PATIENCE):
            try:
                return await self.reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError as e:
                raise Broken(f"{self.reader.ending} after {e.partial!r}") from e

    async def closed(self) -> Ending:
        """Wait for the end of the connection; Broken when bytes come instead."""
        async with asyncio.timeout(PATIENCE):
            rest = await self.reader.read(65536)
        if rest:
            raise Broken(f"bytes after the end: {rest[:200]!r}")
        return self.reader.ending

    def close(self) -> None:
        self.writer.close()

    async def _body(self, head: bytes, method: str) -> RawAnswer:
        plain = RawAnswer(head, b"", True, "open")
        if method == "HEAD" or plain.status in (101, 204, 304):
            return plain
        got: list[bytes] = []
        length = plain.header("content-length")
        coding = plain.header("transfer-encoding")
        complete = True
        try:
            if coding is not None:
                if coding.lower() != "chunked" or length is not None:
                    raise Broken(f"framing: {coding!r} with length {length!r}")
                await self._chunks(got)
            elif length is not None:
                await self._counted(got, int(length))
            else:
                complete = False
                while chunk := await self.reader.read(65536):
                    got.append(chunk)
        except EOFError:
            complete = False
        ending = "open" if complete else self.reader.ending
        return RawAnswer(head, b"".join(got), complete, ending, tuple(got))

    async def _counted(self, got: list[bytes], left: int) -> None:
        while left:
            chunk = await self.reader.read(min(left, 65536))
            if not chunk:
                raise EOFError
            got.append(chunk)
            left -= len(chunk)

    async def _chunks(self, got: list[bytes]) -> None:
        while True:
            line = await self.reader.readuntil(b"\r\n")
            size = int(line.partition(b";")[0], 16)
            if size == 0:
                return await self._trailers()
            await self._counted(got, size)
            if await self.reader.readexactly(2) != b"\r\n":
                raise Broken("a chunk without its end")

    async def _trailers(self) -> None:
        while (await self.reader.readuntil(b"\r\n")) != b"\r\n":
            pass


@asynccontextmanager
async def raw(port: int, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> AsyncIterator[Raw]:
    """A connection, closed when the block ends."""
    loop = asyncio.get_running_loop()
    reader = _Reader()
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await loop.create_connection(lambda: protocol, host, port, ssl=tls)
    try:
        yield Raw(reader, asyncio.StreamWriter(transport, protocol, reader, loop))
    finally:
        transport.close()
