"""A scripted origin on a raw socket: it says exactly the bytes it is told to, and remembers exactly what it was asked.

async with Origin() as origin:
    origin.answer("/a", headers=[("Cache-Control", "max-age=60")], body=b"hello")
    origin.script("/cut", b"HTTP/1.1 200 OK\\r\\nContent-Length: 10\\r\\n\\r\\nhalf", RST)
    gate = origin.hold("/a")            # requests for /a are recorded, their answers wait ...
    await origin.arrived("/a", 200)
    gate.release()                      # ... until now
    assert origin.count("/a") == 1
"""

import asyncio
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

import trustme

PATIENCE = 20.0  # seconds after which a wait of a test is a failure of the test


class Gate:
    """Closed until released; what waits at it then goes on, unless the other side has left meanwhile."""

    def __init__(self) -> None:
        self._open = asyncio.Event()

    def release(self) -> None:
        self._open.set()

    @property
    def opened(self) -> bool:
        return self._open.is_set()

    async def wait(self) -> None:
        await self._open.wait()


class _Mark:
    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


FIN: Final = _Mark("FIN")  # end the connection in good order
RST: Final = _Mark("RST")  # reset it
STALL: Final = _Mark("STALL")  # say nothing more until the other side ends it, or the origin does
READ_BODY: Final = _Mark("READ_BODY")  # in a script with early=True: read the request's body now


@dataclass(slots=True)
class Recorded:
    """A request as it came. The body is filled in as it arrives."""

    method: str
    target: str
    version: str
    pairs: list[tuple[bytes, bytes]]
    raw: bytes  # request line and fields, with the empty line
    connection: int  # the how-manieth connection to this origin, from 1
    body: bytes = b""
    whole: bool = False  # the body was read to its proven end

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    def lines(self, name: str) -> list[str]:
        wanted = name.lower().encode("latin-1")
        return [value.decode("latin-1") for raw, value in self.pairs if raw.lower() == wanted]

    def header(self, name: str) -> str | None:
        lines = self.lines(name)
        return ", ".join(lines) if lines else None


class _Reader(asyncio.StreamReader):
    """Tells at once when the other side has left, whether anybody reads or not."""

    def __init__(self) -> None:
        super().__init__(limit=1 << 20)
        self.left = asyncio.Event()

    def feed_eof(self) -> None:
        super().feed_eof()
        self.left.set()

    def set_exception(self, exc: Exception) -> None:
        super().set_exception(exc)
        self.left.set()


Body = bytes | Callable[[Recorded], bytes]
Headers = Iterable[tuple[str, str]]
Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter
Act = Callable[[Recorded, Reader, Writer], Awaitable[None]]
Step = bytes | Gate | _Mark | Act
Said = Step | Callable[[Recorded], bytes]


@dataclass(slots=True)
class _Script:
    steps: Sequence[Said]
    early: bool = False
    times: int | None = None


@dataclass(slots=True)
class _Route:
    first: list[_Script] = field(default_factory=list)  # each used `times` times, in order
    always: _Script | None = None
    gate: Gate | None = None

    def next(self) -> _Script | None:
        if not self.first:
            return self.always
        script = self.first[0]
        assert script.times is not None
        script.times -= 1
        if script.times <= 0:
            self.first.pop(0)
        return script


def render(request: Recorded, status: int, headers: Headers, body: bytes, *, chunked: bool, close: bool) -> bytes:
    """A well-formed answer to this request: HEAD, 204 and 304 without a body."""
    head = [f"HTTP/1.1 {status} {_PHRASES.get(status, 'Status')}".encode()]
    head += [f"{name}: {value}".encode("latin-1") for name, value in headers]
    if chunked:
        head.append(b"Transfer-Encoding: chunked")
        body = (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n"
    elif close:
        head.append(b"Connection: close")
    elif status >= 200 and status != 204 and (status != 304 or body):
        head.append(b"Content-Length: %d" % len(body))
    if request.method == "HEAD" or status in (204, 304):
        body = b""
    return b"\r\n".join(head) + b"\r\n\r\n" + body


_PHRASES = {200: "OK", 204: "No Content", 206: "Partial Content", 301: "Moved Permanently", 302: "Found"}
_PHRASES |= {304: "Not Modified", 404: "Not Found", 500: "Internal Server Error", 503: "Service Unavailable"}


class Origin:
    """Answers by path (or by whole target, which wins); what is not scripted is a 404. Keeps connections alive."""

    def __init__(self, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", port: int = 0) -> None:
        self.host = host
        self.port = port
        self.requests: list[Recorded] = []
        self.connections = 0  # accepted so far
        self.open = 0  # open now
        self.instead: Callable[[Recorded], Said | None] = lambda request: None  # said in place of a script, if any
        self._tls = tls
        self._routes: dict[str, _Route] = {}
        self._otherwise = _Script([_unscripted])
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    # what it shall say

    def answer(
        self,
        path: str,
        status: int = 200,
        headers: Headers = (),
        body: Body = b"",
        *,
        chunked: bool = False,
        close: bool = False,
        times: int | None = None,
    ) -> None:
        """Answer `path` so; `times`: only for so many requests, before what is there without `times`."""
        pairs = tuple(headers)

        def said(request: Recorded) -> bytes:
            content = body(request) if callable(body) else body
            return render(request, status, pairs, content, chunked=chunked, close=close)

        self._add(path, _Script([said, FIN] if close else [said], times=times))

    def otherwise(self, headers: Headers, body: Callable[[Recorded], bytes]) -> None:
        """Answer so whatever is not scripted, instead of 404."""
        pairs = tuple(headers)
        self._otherwise = _Script(
            [lambda request: render(request, 200, pairs, body(request), chunked=False, close=False)]
        )

    def script(self, path: str, *steps: Step, early: bool = False, times: int | None = None) -> None:
        """Do these steps for `path`: bytes are sent as they are, a Gate is waited for, FIN, RST, STALL, READ_BODY,
        or `async def act(request, reader, writer)`. `early`: begin before the request's body was read."""
        self._add(path, _Script(steps, early=early, times=times))

    def _add(self, path: str, script: _Script) -> None:
        route = self._routes.setdefault(path, _Route())
        if script.times is None:
            route.always = script
        else:
            route.first.append(script)

    def hold(self, path: str) -> Gate:
        """Let answers for `path` wait at this gate from now on; requests are recorded all the same."""
        gate = Gate()
        self._routes.setdefault(path, _Route()).gate = gate
        return gate

    # what it was asked

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}"

    @property
    def authority(self) -> str:
        return f"{self.host}:{self.port}"

    def count(self, path: str | None = None) -> int:
        """How many requests came for this path or whole target; None: how many at all."""
        return len(self.of(path))

    def of(self, path: str | None = None) -> list[Recorded]:
        return [r for r in self.requests if path in (None, r.path, r.target)]

    @property
    def last(self) -> Recorded:
        return self.requests[-1]

    async def arrived(self, path: str | None = None, n: int = 1) -> Recorded:
        """Wait until n requests for `path` have come (their heads, that is); gives the n-th."""
        await self.until(lambda: self.count(path) >= n)
        return self.of(path)[n - 1]

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something about the requests or connections holds; asked again at every change."""
        async with asyncio.timeout(PATIENCE):
            while not holds():
                self._changed.clear()
                await self._changed.wait()

    # life

    async def start(self) -> "Origin":
        # The backlog holds a whole burst of a test's connections.
        self._server = await asyncio.get_running_loop().create_server(
            lambda: asyncio.StreamReaderProtocol(_Reader(), self._accept),
            self.host,
            self.port,
            ssl=self._tls,
            backlog=1024,
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        """Stop listening and end every connection; the port stays known, so that `start` can come back on it."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, e: BaseException | None, t: TracebackType | None
    ) -> None:
        await self.stop()

    # one connection

    def _accept(self, reader: Reader, writer: Writer) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: Reader, writer: Writer) -> None:
        self.connections += 1
        self.open += 1
        number = self.connections
        self._changed.set()
        try:
            while await self._exchange(reader, writer, number):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            self.open -= 1
            writer.close()
            self._changed.set()

    async def _exchange(self, reader: Reader, writer: Writer, number: int) -> bool:
        """One request and its answer; whether the connection goes on."""
        request = _parse(await reader.readuntil(b"\r\n\r\n"), number)
        self.requests.append(request)
        self._changed.set()
        route = self._routes.get(request.target) or self._routes.get(request.path) or _Route()
        instead = self.instead(request)
        script = _Script([instead]) if instead is not None else route.next() or self._otherwise
        if not script.early:
            await self._read_body(request, reader)
        if route.gate is not None:
            await _pass(route.gate, reader)
        for step in script.steps:
            if not await self._step(step, request, reader, writer):
                return False
        if script.early and not request.whole:
            return False
        return (request.header("connection") or "").lower() != "close" and request.version == "HTTP/1.1"

    async def _step(self, step: Said, request: Recorded, reader: Reader, writer: Writer) -> bool:
        if isinstance(step, bytes):
            await _send(writer, step)
        elif isinstance(step, Gate):
            await _pass(step, reader)
        elif step is READ_BODY:
            await self._read_body(request, reader)
        elif step is STALL:
            while await reader.read(65536):
                pass
        elif step is RST:
            reset(writer)
            return False
        elif step is FIN:
            return False
        elif asyncio.iscoroutinefunction(step):
            await step(request, reader, writer)
        else:
            assert callable(step)
            said = step(request)  # type: ignore[call-arg]
            assert isinstance(said, bytes)
            await _send(writer, said)
        return True

    async def _read_body(self, request: Recorded, reader: Reader) -> None:
        if "chunked" in (request.header("transfer-encoding") or ""):
            while size := int(await reader.readuntil(b"\r\n"), 16):
                self._received(request, await reader.readexactly(size))
                assert await reader.readline() == b"\r\n"
            while (await reader.readline()).strip():
                pass
        else:
            left = int(request.header("content-length") or 0)
            while left:
                chunk = await reader.read(min(left, 65536))
                if not chunk:
                    raise asyncio.IncompleteReadError(b"", left)
                left -= len(chunk)
                self._received(request, chunk)
        request.whole = True
        self._changed.set()

    def _received(self, request: Recorded, chunk: bytes) -> None:
        request.body += chunk
        self._changed.set()


def _parse(raw: bytes, number: int) -> Recorded:
    line, *fields = raw[:-4].split(b"\r\n")
    method, target, version = line.decode("latin-1").split(" ")
    pairs = [(name, value.strip(b" \t")) for name, _, value in (each.partition(b":") for each in fields)]
    return Recorded(method, target, version, pairs, raw, number)


def _unscripted(request: Recorded) -> bytes:
    text = f"nothing is scripted for {request.target}\n".encode()
    return render(request, 404, (), text, chunked=False, close=False)


async def _pass(gate: Gate, reader: Reader) -> None:
    """Wait at the gate; ConnectionError when the other side leaves before it opens."""
    assert isinstance(reader, _Reader)
    waits = [asyncio.ensure_future(gate.wait()), asyncio.ensure_future(reader.left.wait())]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
    if not gate.opened:
        raise ConnectionError


async def _send(writer: Writer, data: bytes) -> None:
    writer.write(data)
    await writer.drain()


def reset(writer: Writer) -> None:
    """End the connection with RST instead of FIN."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def server_tls(ca: trustme.CA, *names: str, clients: trustme.CA | None = None) -> ssl.SSLContext:
    """A server's TLS context with a certificate for `names` (127.0.0.1 and localhost when none are given) from this
    authority; with `clients`, only for clients that show a certificate of that one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(*(names or ("127.0.0.1", "localhost"))).configure_cert(context)
    if clients is not None:
        clients.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    return context
