"""A faulty network: a TCP proxy in front of a real server, whose fault is another one whenever a test says so.

async with FaultProxy(redis.port) as proxy:         # passes everything on, and counts
    await proxy.become(Cut(after=5, by=RST))        # each connection is reset after 5 bytes of answers
    await proxy.become(Stall())                     # open connections too: nothing goes through, nothing is lost ...
    await proxy.become(Pass())                      # ... and goes on now
    proxy.cut(FIN)                                  # every connection, at once
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from random import randrange
from types import TracebackType
from typing import Final, Literal, Self, assert_never

from tests.support.origin import FIN, RST, reset

HOST: Final = "127.0.0.1"
PATIENCE = 20.0  # seconds after which a wait of a test is a failure of the test
_CHUNK = 16384  # bytes read at once; a stalled connection holds a few of these
_TICKS = 20  # pieces a second in which a rate is kept

Way = Literal["to_server", "to_client"]
_WAYS: Final[tuple[Way, ...]] = ("to_server", "to_client")
Ending = Literal["fin", "rst"]


@dataclass(frozen=True, slots=True)
class Pass:
    """Everything goes through."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """The port is closed. Connections that are open go on (see `FaultProxy.cut`)."""


@dataclass(frozen=True, slots=True)
class Stall:
    """Connections are accepted, and nothing is read or passed on until the fault is another one."""


@dataclass(frozen=True, slots=True)
class Delay:
    """Each piece of an answer is late by so many seconds; requests arrive at once, so they are obeyed."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Rate:
    """So many bytes a second on each connection, each way."""

    per_second: int


@dataclass(frozen=True, slots=True)
class Cut:
    """Each connection ends once so many bytes have gone one way, counted from now on, or from its begin; after 0 bytes:
    when the first would go. Those before the cut do arrive."""

    after: int
    by: object = FIN  # or RST
    way: Way = "to_client"


Fault = Pass | Refuse | Stall | Delay | Rate | Cut


class ReservedPort:
    """A TCP port of 127.0.0.1 that no other test takes while this is held, whether something listens on it or not.

    The UDP port of the same number is what is held: the system frees it when this process ends, however it ends. It is
    one that is never given to outgoing connections or to whoever asks for port 0 (Linux from 32768, macOS from 49152).
    """

    def __init__(self) -> None:
        while True:
            self.number = randrange(10_000, 32_000)
            self._held = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                self._held.bind((HOST, self.number))
                with socket.create_server((HOST, self.number)):  # nobody else's either
                    return
            except OSError:
                self._held.close()

    def release(self) -> None:
        self._held.close()


class _Reader(asyncio.StreamReader):
    """Tells at once when the other side has left, and how."""

    def __init__(self, left: Callable[[], None] = lambda: None) -> None:
        super().__init__(limit=_CHUNK)
        self.ending: Ending | None = None
        self._left = left

    def feed_eof(self) -> None:
        self._end("fin")
        super().feed_eof()

    def set_exception(self, exc: Exception) -> None:
        self._end("rst")
        super().feed_eof()

    def _end(self, ending: Ending) -> None:
        if self.ending is None:
            self.ending = ending
            self._left()


@dataclass(slots=True, eq=False)
class _Link:
    """One connection of a client, and the one behind it."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter | None = None
    gone: dict[Way, int] = field(default_factory=lambda: dict.fromkeys(_WAYS, 0))  # bytes since the fault began
    by: object = None  # how it has to end: FIN or RST
    task: asyncio.Task[None] | None = None


class FaultProxy:
    """Listens on a port of its own, in front of `port`. With `tls` its clients speak TLS, and it plain TCP behind."""

    def __init__(self, port: int, *, host: str = HOST, tls: ssl.SSLContext | None = None) -> None:
        self.target = (host, port)
        self.fault: Fault = Pass()
        self.connections = 0  # accepted so far
        self.open = 0  # clients that are connected now
        self.to_server = 0  # bytes passed on so far
        self.to_client = 0
        self._tls = tls
        self._reserved = ReservedPort()
        self._links: set[_Link] = set()
        self._changed = asyncio.Event()  # a count did
        self._turned = asyncio.Event()  # the fault did
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        return self._reserved.number

    # what a test does to it

    async def become(self, fault: Fault) -> None:
        """Do this from now on, on open connections too."""
        self.fault = fault
        for link in self._links:
            link.gone = dict.fromkeys(_WAYS, 0)
        self._turned.set()
        self._turned = asyncio.Event()
        if isinstance(fault, Refuse):
            self._close()
        elif self._server is None:
            await self._listen()

    def cut(self, by: object = RST) -> None:
        """End every connection that is open now, by FIN or RST; new ones are served."""
        for link in self._links:
            link.by = by
            assert link.task is not None
            link.task.cancel()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something about the counts holds; asked again at every change."""
        async with asyncio.timeout(PATIENCE):
            while not holds():
                self._changed.clear()
                await self._changed.wait()

    # life

    async def __aenter__(self) -> Self:
        await self._listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, e: BaseException | None, t: TracebackType | None
    ) -> None:
        self._close()
        tasks = [link.task for link in self._links if link.task is not None]
        self.cut()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._reserved.release()

    async def _listen(self) -> None:
        self._server = await asyncio.get_running_loop().create_server(
            self._protocol, HOST, self.port, ssl=self._tls, backlog=1024
        )

    def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    # one connection

    def _protocol(self) -> asyncio.StreamReaderProtocol:
        return asyncio.StreamReaderProtocol(_Reader(self._left), self._accept)

    def _left(self) -> None:
        self.open -= 1
        self._changed.set()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert isinstance(reader, _Reader)
        self.connections += 1
        self.open += 1
        self._changed.set()
        _unbuffered(writer.transport)
        link = _Link(writer)
        self._links.add(link)
        link.task = asyncio.get_running_loop().create_task(self._serve(link, reader))
        link.task.add_done_callback(lambda _: self._end(link))

    def _end(self, link: _Link) -> None:
        self._links.discard(link)
        for writer in (link.client, link.server):
            if writer is not None and not writer.is_closing():
                reset(writer) if link.by is RST else writer.close()

    async def _serve(self, link: _Link, client: _Reader) -> None:
        try:
            await self._both_ways(link, client)
        except asyncio.CancelledError:
            if link.by is not FIN:
                raise
        if link.by is FIN:
            await _end_in_good_order(link, client)

    async def _both_ways(self, link: _Link, client: _Reader) -> None:
        """Until both sides have ended, or one broke off: then link.by tells how."""
        try:
            while isinstance(self.fault, Stall):
                await self._pause(None)
            server, link.server = await _connect(*self.target)
            async with asyncio.TaskGroup() as ways:
                ways.create_task(self._carry(link, "to_server", client, link.server))
                ways.create_task(self._carry(link, "to_client", server, link.client))
        except* OSError:
            link.by = link.by or RST

    async def _carry(self, link: _Link, way: Way, source: _Reader, sink: asyncio.StreamWriter) -> None:
        """One way, to its end, which is passed on too. OSError: it broke off."""
        while chunk := await source.read(_CHUNK):
            await self._forward(link, way, chunk, sink)
        if source.ending == "rst":
            raise ConnectionResetError
        _say_the_end(sink)

    async def _forward(self, link: _Link, way: Way, chunk: bytes, sink: asyncio.StreamWriter) -> None:
        late = False
        while chunk:
            fault, size, wait = self.fault, len(chunk), 0.0
            match fault:
                case Pass() | Refuse():
                    pass
                case Stall():
                    await self._pause(None)
                    continue
                case Delay(seconds):
                    if way == "to_client" and not late:
                        late = True
                        await self._pause(seconds)
                        continue
                case Rate(per_second):
                    size = min(size, max(1, per_second // _TICKS))
                    wait = size / per_second
                case Cut(after, way=of):
                    if of == way:
                        size = min(size, after - link.gone[way])
                case _ as never:
                    assert_never(never)
            await self._send(link, way, chunk[:size], sink)
            if isinstance(fault, Cut) and fault.way == way and link.gone[way] >= fault.after:
                link.by = fault.by
                raise ConnectionAbortedError
            chunk = chunk[size:]
            await self._pause(wait)

    async def _send(self, link: _Link, way: Way, piece: bytes, sink: asyncio.StreamWriter) -> None:
        sink.write(piece)
        link.gone[way] += len(piece)
        if way == "to_server":
            self.to_server += len(piece)
        else:
            self.to_client += len(piece)
        self._changed.set()
        await sink.drain()

    async def _pause(self, seconds: float | None) -> None:
        """So long, or until the fault is another one; without end when None."""
        if seconds == 0:
            return
        try:
            async with asyncio.timeout(seconds):
                await self._turned.wait()
        except TimeoutError:
            pass


async def _connect(host: str, port: int) -> tuple[_Reader, asyncio.StreamWriter]:
    loop = asyncio.get_running_loop()
    reader = _Reader()
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await loop.create_connection(lambda: protocol, host, port)
    _unbuffered(transport)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


def _unbuffered(transport: asyncio.WriteTransport) -> None:
    """drain() waits until the system has what was written, so that a reset loses nothing of it."""
    transport.set_write_buffer_limits(high=1, low=0)  # with high=0 asyncio's TLS takes an empty buffer for a full one


def _say_the_end(writer: asyncio.StreamWriter) -> None:
    if writer.can_write_eof():
        writer.write_eof()
    else:  # TLS knows no half of a connection
        writer.close()


async def _end_in_good_order(link: _Link, client: _Reader) -> None:
    """FIN to the client, then read on until it has left: closed over unread bytes, it would be a reset."""
    if link.server is not None:
        link.server.close()
    try:
        _say_the_end(link.client)
        while await client.read(_CHUNK):
            pass
    except OSError:
        pass  # it was reset meanwhile
