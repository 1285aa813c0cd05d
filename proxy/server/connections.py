"""Client connections: how many there are, how long a head may take, and what a head that cannot be read is told."""

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from aiohttp.http import RawRequestMessage
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import RequestHandler, RequestPayloadError

from proxy.errors import BadRequest
from proxy.observe.counters import Counters
from proxy.reasons import Why
from proxy.server.front import Front

_log = logging.getLogger(__name__)
_SWEEP = 1.0  # seconds between two looks at slow heads
_AROUND_TARGET = len("GET  HTTP/1.1")  # of the request line, aiohttp measures the target alone
_TOO_MANY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 1\r\nConnection: close\r\n\r\n"
_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Limits:
    """Of connections: bytes of the request line and of one header, how many headers and connections; seconds that a
    whole head may take, and that a kept connection may be idle."""

    request_line: int = 8190
    header: int = 8190
    header_count: int = 100
    connections: int = 10_000
    head: float = 10.0
    keep_alive: float = 30.0

    def for_aiohttp(self) -> dict[str, Any]:
        """Keywords of aiohttp's server. It reports a long line by its limit alone, so that the two limits differ."""
        line = self.request_line - _AROUND_TARGET
        return {
            "max_line_size": line,
            "max_field_size": self.header + (self.header == line),
            "max_headers": self.header_count,
            "keepalive_timeout": self.keep_alive,
            "auto_decompress": False,
            "access_log": None,
            "logger": _log,
        }


class Connection(RequestHandler):
    """aiohttp's connection, with a deadline on heads and our own words for what cannot be parsed."""

    __slots__ = ("_body", "_gate", "head_since", "partial")

    def __init__(self, gate: "Gate", **kwargs: Any) -> None:
        super().__init__(gate, **kwargs)
        self._gate = gate
        self.head_since: float | None = None  # when a head that is not complete yet began to be waited for
        self.partial = False  # some of it has come
        self._body: StreamReader = EMPTY_PAYLOAD  # of the last request

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.head_since = self._loop.time()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._messages:
            self._look_at_last()
        if self._messages or self._current_request is not None:
            self.head_since, self.partial = None, False
        elif data:
            self.partial = True
            if self.head_since is None:
                self.head_since = self._loop.time()

    def _look_at_last(self) -> None:
        """aiohttp takes what breaks in a body for a broken next request, and lets who reads the body wait for ever."""
        message, body = self._messages[-1]
        if isinstance(message, RawRequestMessage):
            self._body = body
        elif not self._body.is_eof():
            self._messages.pop()
            self._body.set_exception(RequestPayloadError("the body breaks its own framing"))

    def waits_for_head_since(self) -> float | None:
        """The loop's time since when a head is due, None when none is."""
        idle = self._waiter is not None and not self._waiter.done()
        return self.head_since if idle else None

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """aiohttp's hook for a head that its parser refuses."""
        if isinstance(exc, HttpProcessingError):
            return self._gate.front.refusal(request, refusal(exc, self.max_line_size))
        return super().handle_error(request, status, exc, message)


def refusal(error: HttpProcessingError, line_limit: int) -> BadRequest:
    """A parser's complaint in our words; what the client sent is not repeated to it."""
    if isinstance(error, LineTooLong):
        if error.args[1] == line_limit:
            return BadRequest(414, Why.MALFORMED, "The request target is too long.")
        return BadRequest(431, Why.MALFORMED, "A header field is too long.")
    if error.message == "Too many headers received":
        return BadRequest(431, Why.MALFORMED, "There are too many header fields.")
    return BadRequest(400, Why.MALFORMED, "This is not valid HTTP/1.1.")


class Gate(web.Server):
    """Makes a Connection for each client and knows them all. Wants a running loop."""

    def __init__(self, front: Front, counters: Counters, limits: Limits) -> None:
        # A client that leaves ends its request: whatever others wait for runs in tasks of its own.
        super().__init__(front.handle, handler_cancellation=True, **limits.for_aiohttp())
        self.front = front
        self._counters = counters
        self._limits = limits
        self._sweeper: asyncio.TimerHandle | None = None

    def __call__(self) -> RequestHandler:
        return Connection(self, loop=self._loop, **self._kwargs)

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        self._counters.connections += 1
        if len(self._connections) > self._limits.connections:
            transport.write(_TOO_MANY)
            transport.close()
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(min(_SWEEP, self._limits.head), self._sweep)

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        self._counters.connections -= 1

    def _sweep(self) -> None:
        """Close who keeps us waiting for a head; runs while there are connections."""
        self._sweeper = None
        oldest = self._loop.time() - self._limits.head
        for handler, transport in tuple(self._connections.items()):
            assert isinstance(handler, Connection)
            since = handler.waits_for_head_since()
            if since is not None and since <= oldest:
                if handler.partial:
                    self._counters.malformed += 1
                    transport.write(_TOO_SLOW)
                handler.force_close()
        if self._connections:
            self._sweeper = self._loop.call_later(min(_SWEEP, self._limits.head), self._sweep)

    def close_idle(self) -> None:
        """Close the connections that have no request under way; what was written to them still goes out."""
        for handler in self.connections:
            if handler not in self.front.busy:
                handler.force_close()


def application(front: Front, limits: Limits) -> web.Application:
    """The front as an aiohttp application of one route, to be run or put into another. Heads that cannot be parsed
    are then answered by the server that runs it; inside another application that server must be given
    `auto_decompress=False`, else encoded uploads are refused with 415."""
    app = web.Application(handler_args={"handler_cancellation": True, **limits.for_aiohttp()})

    async def expected(request: web.Request) -> None:
        """Nothing: an upload is asked for when somebody wants it."""

    app.router.add_route("*", "/{target:.*}", front.handle, expect_handler=expected)
    return app
