"""One TCP or TLS connection to the origin, speaking HTTP/1.1 by turns.

Rules of this file:
- The end of a body is reported only when the framing proved it, or when the framing is CLOSE and the origin ended the
  connection in good order. Everything else is a failure, whatever was received.
- The parser is llhttp in its strict mode. What it refuses is FRAMING; what comes after the end of an answer spoils the
  connection: it is never used again (RFC 9112 9.2 and 11.2).
- What is not consumed stops the reading from the socket: memory per connection is bounded by BUFFER and one read.
- Bytes that are neither content nor a finished head (heads, trailers, chunk extensions) are bounded by HEAD, and those
  of all chunks together by HEAD and BESIDE_EACH for each byte of content.
"""

import asyncio
import re
import select
import ssl
from collections import deque
from math import inf
from typing import cast

import httptools

from proxy.alarm import Alarm
from proxy.errors import Fault, UpstreamError
from proxy.message import Fields, Framing, Head
from proxy.names import order_of
from proxy.upstream.attempt import AttemptFailed, Stage
from proxy.upstream.wire import framing

BUFFER = 64 * 1024  # bytes of body held before the socket is left alone
HEAD = 64 * 1024  # bytes of a head, trailers or chunk extensions
BESIDE_EACH = 16  # bytes that a chunk of one byte may have beside it
FIELDS = 200  # lines of a head
CLOSE_GRACE = 5.0  # seconds to flush before the connection is cut
INTERIM = 1000  # 1xx heads before one answer, within HEAD bytes together
_PHRASE = re.compile(rb"[\t -~\x80-\xff]*")  # RFC 9112 4: HTAB, SP, VCHAR and obs-text; llhttp takes more


class Connection(asyncio.Protocol):
    """States: idle (no parser) -> `begin` -> head(s) -> body -> done -> idle again; or `upgraded` for good."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._lost = False
        self._writable: asyncio.Future[None] | None = None  # waited for while the socket takes no more
        self._wake: asyncio.Future[None] | None = None  # waited for while nothing has come
        self._alarm = Alarm(self._late)
        self._poll: select.poll | None = None  # looks into the socket
        self._reading = True
        self._uses = 0
        self.upgraded = False
        self._clear("")

    def _clear(self, method: str) -> None:
        self._method = method
        self._names: list[bytes] = []
        self._values: list[bytes] = []
        self._phrase = b""
        self._heads: deque[Head] = deque()
        self._framing: Framing | None = None  # None until the final head is known
        self._keep_alive = False
        self._interim = 0
        self._chunks: list[bytes] = []
        self._buffered = 0
        self._heard = 0  # bytes of this answer
        self._overhead = 0  # of them, since content last came
        self._content_size = 0  # of them, content
        self.failure: AttemptFailed | None = None
        self.done = False  # the answer has ended as its framing says
        self._spoiled = False  # something came that belongs to no answer

    # what the exchange asks

    def begin(self, method: str, message: bytes) -> None:
        """Start an exchange on an idle connection."""
        self._clear(method)
        self._uses += 1
        self._parser = httptools.HttpResponseParser(self)
        if self._lost:
            self._end_of_input(None)
        self.write(message)

    @property
    def alive(self) -> bool:
        transport = self._transport
        return not self._lost and transport is not None and not transport.is_closing()

    @property
    def quiet(self) -> bool:
        """Whether it is there and nothing lies in its socket: what came while it was idle, and was not read yet, would
        be taken for the answer to what is asked next (RFC 9112 9.2)."""
        if not self.alive or self._transport is None:
            return False
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(self._transport.get_extra_info("socket"), select.POLLIN)
        return not self._poll.poll(0)

    @property
    def reusable(self) -> bool:
        """Whether another exchange may follow on this connection (RFC 9112 9.3); a spoiled one was aborted."""
        return self.done and self._keep_alive and self.alive

    def write(self, data: bytes) -> None:
        """Send; without effect once the connection is gone, which `head` and `body` then tell."""
        transport = self._transport
        if transport is not None and not self._lost and not transport.is_closing():
            transport.write(data)

    async def drain(self) -> None:
        """Wait until the socket takes more, or is gone."""
        if self._writable is not None and self.alive:
            await asyncio.shield(self._writable)

    @property
    def heard(self) -> bool:
        """Whether `head` would return or raise at once."""
        return bool(self._heads) or self.failure is not None

    async def head(self, due: float = inf) -> Head:
        """The next head, an interim one (1xx) or the final one; AttemptFailed when none can come, TimeoutError when
        none has come at the time `due` of the loop's clock."""
        while not self._heads:
            if self.failure is not None:
                raise self.failure
            await self.event(due)
        return self._heads.popleft()

    def take(self) -> bytes:
        """What has come of the body and was not taken yet."""
        chunks = self._chunks
        if not chunks:
            return b""
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        self._buffered = 0
        if not self._reading:
            self._resume()
        return data

    async def body(self, due: float = inf) -> bytes:
        """More of the body; b"" at its end; AttemptFailed when the end is not proven, TimeoutError as for `head`."""
        while True:
            if data := self.take():
                return data
            if self.failure is not None:
                raise self.failure
            if self.done:
                return b""
            await self.event(due)

    def end(self) -> None:
        """End the connection in good order: what was written is still sent, within a grace."""
        if self._transport is not None and self.alive:
            self._transport.close()
            self.loop.call_later(CLOSE_GRACE, self._transport.abort)

    def abort(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def park(self) -> None:
        """Become idle: whatever comes from now on, even the beginning of something well-formed, ends the connection."""
        self._parser = None
        if not self._reading:
            self._resume()

    def event(self, due: float = inf) -> asyncio.Future[None]:
        """Done once anything has come or the connection is gone; for one waiter at a time. TimeoutError once it is
        `due`."""
        self._wake = wake = self.loop.create_future()
        self._alarm.set(due)
        return wake

    # what asyncio tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._heard += len(data)
        if self.upgraded:
            self._content(data)
        elif self._parser is None or self._spoiled or self.failure is not None:
            self._spoiled = True
            self.abort()
        else:
            self._parse(self._parser, data)
        self._notify()

    def _parse(self, parser: httptools.HttpResponseParser, data: bytes) -> None:
        self._overhead += len(data)
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade as e:
            if not self.upgraded:
                self._refuse("the upstream's answer is followed by one that switches protocols")
            elif rest := data[e.args[0] :]:
                self._content(rest)
        except httptools.HttpParserError as e:
            self._refuse(f"the upstream's answer is malformed: {str(e)[:120]}")
        beside = self._heard - self._content_size
        too_much = self._overhead > HEAD or beside > HEAD + BESIDE_EACH * self._content_size
        if (too_much or len(self._names) > FIELDS) and not (self.done or self.upgraded):
            self._too_large()
        if self._spoiled or self.failure is not None:
            self.abort()

    def _refuse(self, message: str, fault: Fault = Fault.FRAMING) -> None:
        if self.done:
            self._spoiled = True  # the answer itself was proven before
        elif self.failure is None:
            self.failure = AttemptFailed(fault, message, self._stage())

    def _too_large(self) -> None:
        self._refuse(f"the upstream's answer has more than {FIELDS} fields or {HEAD} bytes beside its content")

    def _stage(self) -> Stage:
        if self._heard:
            return Stage.ANSWER
        return Stage.STALE if self._uses > 1 else Stage.SENT

    def connection_lost(self, error: Exception | None) -> None:
        self._lost = True
        self._alarm.stop()
        self._end_of_input(error)
        self.resume_writing()
        self._notify()

    def _end_of_input(self, error: Exception | None) -> None:
        if self.done or self.failure is not None:
            return
        if self._framing is Framing.CLOSE and error is None:
            self.done = True
        elif isinstance(error, ssl.SSLError):
            self._refuse(f"TLS with the upstream failed: {error.reason or 'unknown'}", Fault.TLS)
        else:
            how = "closed" if error is None else "reset"
            where = "before it answered" if self._framing is None else "in the middle of its answer"
            self._refuse(f"the upstream {how} the connection {where}", Fault.RESET)

    def pause_writing(self) -> None:
        if self._writable is None:
            self._writable = self.loop.create_future()

    def resume_writing(self) -> None:
        if self._writable is not None:
            if not self._writable.done():
                self._writable.set_result(None)
            self._writable = None

    # what the parser tells

    def on_message_begin(self) -> None:
        if self._framing is not None:
            self._spoiled = True
        self._names, self._values, self._phrase = [], [], b""

    def on_status(self, phrase: bytes) -> None:
        self._phrase += phrase

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._framing is None:  # else a trailer: not kept, not passed on (RFC 9110 6.5.1)
            self._names.append(name)
            self._values.append(value)

    def on_headers_complete(self) -> None:
        parser = self._parser
        if parser is None or self._framing is not None or self.failure is not None:
            return
        values = [value.rstrip(b" \t") for value in self._values]  # RFC 9110 5.5: what trails is not the value's
        status, fields = parser.get_status_code(), Fields.laid(order_of(tuple(self._names)), tuple(values))
        phrase = self._phrase.decode("latin-1")
        if len(values) > FIELDS or (self._heard > HEAD and fields.size > HEAD):
            self._too_large()
        elif status < 100:
            self._refuse(f"the upstream's answer has the status {status}")
        elif not _PHRASE.fullmatch(self._phrase):
            self._refuse("the upstream's answer has a control character in its reason phrase")
        elif parser.get_http_version() not in ("1.0", "1.1"):
            self._refuse(f"the upstream speaks HTTP/{parser.get_http_version()} where HTTP/1.1 was asked for")
        elif status < 200 and status != 101:
            self._interim += 1
            if self._interim > INTERIM:
                self._refuse(f"the upstream sent more than {INTERIM} interim answers")
            else:
                self._heads.append(Head(status, phrase, fields, Framing.NONE))
        else:
            self._final(parser, status, phrase, fields)

    def _final(self, parser: httptools.HttpResponseParser, status: int, phrase: str, fields: Fields) -> None:
        try:
            kind = framing(self._method, status, parser.get_http_version(), fields)
        except UpstreamError as e:
            self._refuse(str(e))
            return
        self._framing = kind
        self._keep_alive = parser.should_keep_alive()
        self._heads.append(Head(status, phrase, fields, kind))
        self.upgraded = status == 101
        self.done = kind is Framing.NONE and not self.upgraded

    def on_body(self, data: bytes) -> None:
        self._overhead = 0
        self._content_size += len(data)
        if self.done or self._framing is None:
            self._spoiled = True
        elif self.failure is None:
            self._content(data)

    def on_message_complete(self) -> None:
        if self._framing not in (None, Framing.CLOSE) and self.failure is None and not self.upgraded:
            self.done = True

    def _content(self, data: bytes) -> None:
        self._chunks.append(data)
        self._buffered += len(data)
        if self._buffered > BUFFER and self._reading and self._transport is not None:
            self._reading = False
            self._transport.pause_reading()

    # waiting

    def _resume(self) -> None:
        if self._transport is not None:
            self._reading = True
            if not self._lost:
                self._transport.resume_reading()

    def _late(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_exception(TimeoutError())

    def _notify(self) -> None:
        self._alarm.clear()
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)
