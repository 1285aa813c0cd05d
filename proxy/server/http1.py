"""One client connection as aiohttp parses it, within bounds of our own, and what a head that cannot be read is told."""

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser, RawRequestMessage
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import RequestHandler, RequestPayloadError

from proxy.errors import BadRequest
from proxy.reasons import Why
from proxy.server.boundary import Boundary
from proxy.server.front import Front
from proxy.server.methods import Methods
from proxy.server.replies import end

_log = logging.getLogger(__name__)
LINGER = 1.0  # seconds for which the rest of a body is read off that nobody wants
_AROUND_TARGET = len("GET  HTTP/1.1")  # of the request line, aiohttp measures the target alone


@dataclass(frozen=True, slots=True)
class Limits:
    """Of connections: bytes of the request line and of one header, how many headers, connections, and requests that
    wait on one of these; seconds that a whole head may take, that a kept connection may be idle, and that a client may
    read nothing."""

    request_line: int = 8190
    header: int = 8190
    header_count: int = 100
    connections: int = 10_000
    pipelined: int = 32
    head: float = 10.0
    keep_alive: float = 30.0
    send_idle: float = 60.0

    @property
    def target(self) -> int:
        """Bytes of a request target."""
        return self.request_line - _AROUND_TARGET

    def for_aiohttp(self) -> dict[str, Any]:
        """Keywords of aiohttp's server. It reports a long line by its limit alone, so that the two limits differ."""
        return {
            "max_line_size": self.target,
            "max_field_size": self.header + (self.header == self.target),
            "max_headers": self.header_count,
            "keepalive_timeout": self.keep_alive,
            "lingering_time": LINGER,
            "auto_decompress": False,
            "access_log": None,
            "logger": _log,
        }


class Http1(RequestHandler):
    """aiohttp's connection, with a bound of our own on pipelined requests, and our own words for what cannot be
    parsed."""

    __slots__ = (
        "_body",
        "_boundary",
        "_fed",
        "_front",
        "_full",
        "_methods",
        "_pipelined",
        "head_since",
        "partial",
    )

    def __init__(self, server: web.Server, front: Front, limits: Limits, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(server, loop=loop, **limits.for_aiohttp())
        self._front = front
        self._pipelined = pipelined = limits.pipelined
        self._full = False  # one request too many came: nothing more is read
        self._fed = False  # aiohttp has been given something
        # aiohttp stops parsing at a number that cannot be set, and then waits: one past ours has to be seen.
        self._max_msg_queue_size = pipelined + 1
        self._parser = HttpRequestParser(
            self,
            self._loop,
            self._read_bufsize,
            max_line_size=self.max_line_size,
            max_field_size=self.max_field_size,
            max_headers=self.max_headers,
            payload_exception=RequestPayloadError,
            auto_decompress=False,
            max_msg_queue_size=self._max_msg_queue_size,
        )
        self.head_since: float | None = None  # when a head that is not complete yet began to be waited for
        self.partial = False  # some of it has come
        self._body: StreamReader = EMPTY_PAYLOAD  # of the last request
        self._boundary = Boundary()
        self._methods = Methods()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.head_since = self._loop.time()

    def data_received(self, data: bytes) -> None:
        if self._full:
            return
        self._fed = True
        self._parse(data)
        if self._messages:
            self._bound()
        if self._messages or self._current_request is not None:
            self.head_since, self.partial = None, False
        elif data:
            self.partial = True
            if self.head_since is None:
                self.head_since = self._loop.time()

    def _between(self) -> bool:
        """Whether the next byte begins a request, and no other waits for the parser's answer."""
        here = self._boundary.here and not self._messages
        return here and self._current_request is None and self._body.is_eof()

    def _parse(self, data: bytes) -> None:
        known = len(self._messages)
        fed = self._methods.hide(data, self._between())
        super().data_received(fed)
        length: int | None = 0
        if len(self._messages) > known:
            self._name_first(known)
            length = self._look_at_last()
        self._boundary.fed(fed, len(self._messages) - known, self._body, length)
        if self._boundary.bloated:
            self._full = True
            self._body.set_exception(RequestPayloadError("the body has too much beside its content"))

    def _name_first(self, place: int) -> None:
        message, body = self._messages[place]
        if isinstance(message, RawRequestMessage):
            self._messages[place] = self._methods.restore(message), body

    def _look_at_last(self) -> int | None:
        """aiohttp takes what breaks in a body for a broken next request, and lets who reads the body wait for ever.
        How many bytes the body has; None where only its own end tells."""
        message, body = self._messages[-1]
        if isinstance(message, RawRequestMessage):
            self._body = body
            if body is not EMPTY_PAYLOAD:
                told = message.headers.get("Content-Length")
                return None if message.chunked or told is None else int(told)
        elif not self._body.is_eof():
            self._messages.pop()
            self._body.set_exception(RequestPayloadError("the body breaks its own framing"))
        return 0

    def _bound(self) -> None:
        """Past the limit the last request within it is answered as the last one of its connection."""
        under_way = self._current_request is not None
        if len(self._messages) + under_way <= self._pipelined:
            return
        self._full = True
        while len(self._messages) + under_way > self._pipelined:
            self._messages.pop()
        if not self._messages:
            self.close()
            return
        message, body = self._messages.pop()
        if isinstance(message, RawRequestMessage):
            message = message._replace(should_close=True)
        self._messages.append((message, body))

    @property
    def ended_bare(self) -> bool:
        """Whether all that came ends with a last chunk that no trailers follow, of the request under way."""
        return self._boundary.bare and not self._messages

    @property
    def behind_upgrade(self) -> bool:
        """Whether bytes lie behind a head at which the parser has stopped."""
        return bool(self._message_tail) or self._boundary.begun

    def turn_away(self, told: bytes) -> None:
        """Say this and nothing else. What the client has sent is read off for a while: closed with bytes unread, the
        connection would be reset, and what it was told lost (RFC 9112 9.6)."""
        transport = self.transport
        assert transport is not None
        self._full = True
        transport.write(told)
        end(transport)
        self._loop.call_later(LINGER, self.force_close)

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """aiohttp's hook for what went wrong outside any answer. A body that breaks while it is read off, after its
        answer, ends the connection and is no fault of ours."""
        if not isinstance(kw.get("exc_info"), RequestPayloadError):
            super().log_exception(*args, **kw)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """aiohttp's hook for a head that its parser refuses."""
        if isinstance(exc, HttpProcessingError):
            return self._front.refusal(request, refusal(exc, self.max_line_size))
        return super().handle_error(request, status, exc, message)


def check_head(head: bytes, limits: Limits) -> None:
    """BadRequest where a connection's parser refuses this head, which ends with its empty line. It is asked itself:
    what it counts for a field is its own matter. Needs a running loop."""
    loop = asyncio.get_running_loop()
    told = limits.for_aiohttp()
    sizes = {name: told[name] for name in ("max_line_size", "max_field_size", "max_headers")}
    parser = HttpRequestParser(BaseProtocol(loop), loop, 1 << 16, **sizes, auto_decompress=False)
    try:
        parser.feed_data(head)
    except HttpProcessingError as error:
        raise refusal(error, limits.target) from None


def refusal(error: HttpProcessingError, line_limit: int) -> BadRequest:
    """A parser's complaint in our words; what the client sent is not repeated to it."""
    if isinstance(error, LineTooLong):
        if error.args[1] == line_limit:
            return BadRequest(414, Why.MALFORMED, "The request target is too long.")
        return BadRequest(431, Why.MALFORMED, "A header field is too long.")
    if error.message == "Too many headers received":
        return BadRequest(431, Why.MALFORMED, "There are too many header fields.")
    return BadRequest(400, Why.MALFORMED, "This is not valid HTTP/1.1.")
