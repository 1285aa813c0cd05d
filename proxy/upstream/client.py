"""The client of one origin authority: its connections, kept and new; one attempt per call.

Not aiohttp's ClientSession, because of what was found by running it: it sends idempotent requests twice by itself,
reports a reset close-delimited body as complete, re-encodes header bytes, drops a bare "?", swallows 1xx and parses
leniently. Whether a failed attempt is followed by another one is decided in one place, the pool.
"""

import asyncio
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import inf
from urllib.parse import urlsplit

from proxy.alarm import Alarm
from proxy.errors import ConfigError, Fault, Problem, UpstreamError
from proxy.message import Pair
from proxy.upstream.attempt import USUAL, AttemptFailed, Patience, Stage, Timeouts
from proxy.upstream.connection import Connection
from proxy.upstream.dial import Dialer
from proxy.upstream.exchange import StreamedAnswer, ask
from proxy.upstream.protocol import Call, Informational
from proxy.upstream.wire import misreadable, request_head, resendable

KEEP_ALIVE = 15.0  # seconds that a connection is kept for the next call
# Origins close idle connections after some seconds (gunicorn 2, Node and uvicorn 5). A call that may not be sent twice
# takes none that was idle for longer than this.
YOUNG = 1.0


@dataclass(frozen=True, slots=True)
class Authority:
    """Where an upstream URL points to; `text` is what its own Host header says."""

    tls: bool
    host: str
    port: int
    text: str

    @classmethod
    def of(cls, url: str, place: str = "upstream.url") -> "Authority":
        """From `http(s)://host[:port][/path]`; ConfigError otherwise, and for credentials in it (never quoted)."""
        try:
            parts = urlsplit(url)
            port = parts.port
            host = parts.hostname or ""
            if not host.isascii():
                host = host.encode("idna").decode("ascii")
        except ValueError as e:
            raise ConfigError((Problem(place, "is not a URL; wanted: http(s)://host[:port][/path]"),)) from e
        if "@" in parts.netloc:
            raise ConfigError((Problem(place, "holds credentials; send them with upstream.headers instead"),))
        if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
            raise ConfigError((Problem(place, f"{url!r}; wanted: http(s)://host[:port][/path]"),))
        tls = parts.scheme == "https"
        usual = 443 if tls else 80
        shown = f"[{host}]" if ":" in host else host
        return cls(tls, host, port or usual, shown if port in (None, usual) else f"{shown}:{port}")


class OriginClient:
    """Fetches from one authority. `max_connections` bounds the connections in use; as many may be kept idle."""

    def __init__(
        self,
        url: str,
        *,
        timeouts: Timeouts = USUAL,
        max_connections: int = 100,
        keep_alive: float = KEEP_ALIVE,
        tls: ssl.SSLContext | None = None,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.authority = Authority.of(url)
        context = (tls or ssl.create_default_context()) if self.authority.tls else None
        self.timeouts = timeouts
        self._max = max_connections
        self._keep_alive = keep_alive
        self._wall = wall
        self._monotonic = monotonic
        self._dialer = Dialer(self.authority.host, self.authority.port, context, timeouts.connect, monotonic)
        # Since when, and until when by the loop's clock; the youngest is the last.
        self._idle: dict[Connection, tuple[float, float]] = {}
        self._expiry = Alarm(self._expire)
        self._busy: set[Connection] = set()
        self._dialing = 0
        self._closed = False

    async def fetch(
        self,
        call: Call,
        on_informational: Informational | None = None,
        *,
        fresh: bool = False,
        upgrade: tuple[Pair, ...] = (),
    ) -> StreamedAnswer:
        """One attempt; `fresh`: on a new connection. AttemptFailed says how far it got. `upgrade`: the fields that ask
        for one; with status 101 its connection is the caller's until the answer is closed."""
        message = request_head(call, self.authority.text, upgrade)
        if self._closed or self.in_use >= self._max:
            raise self._refusal()
        connection = None if fresh else self._kept(self._keep_alive if resendable(call) else YOUNG)
        if connection is None:
            connection = await self._dial()
        self._busy.add(connection)
        try:
            answer = await ask(
                connection, call, message, Patience(self.timeouts, connection.loop.time), self._wall, on_informational
            )
        except BaseException:
            self._busy.discard(connection)
            raise
        answer.when_ended(partial(self._release, connection, not misreadable(call)))
        answer.settle()
        if answer.head.status == 101 and not upgrade:
            await answer.close()
            raise AttemptFailed(Fault.FRAMING, "the upstream switched protocols without being asked", Stage.ANSWER)
        return answer

    @property
    def in_use(self) -> int:
        """Connections that are opened or used just now."""
        return len(self._busy) + self._dialing

    def _refusal(self) -> UpstreamError:
        text = "the upstream client is closed" if self._closed else f"all {self._max} connections are in use"
        return UpstreamError(Fault.BUSY, text, retry_after=1)

    async def _dial(self) -> Connection:
        self._dialing += 1
        try:
            return await self._dialer.dial()
        finally:
            self._dialing -= 1

    def _kept(self, max_idle: float) -> Connection | None:
        """The connection that was used last, if it is still there and was not idle for too long."""
        while self._idle:
            connection, (since, until) = self._idle.popitem()
            if not connection.quiet:
                connection.end()
            elif self._monotonic() - since > max_idle:
                self._idle[connection] = since, until
                return None
            else:
                return connection
        return None

    def _release(self, connection: Connection, again: bool, failure: UpstreamError | None) -> None:
        self._busy.discard(connection)
        kept = again and failure is None and connection.reusable
        if self._closed or not kept or len(self._idle) >= self._max:
            connection.end()
            return
        connection.park()
        until = connection.loop.time() + self._keep_alive
        if not self._idle:
            self._expiry.set(until)
        self._idle[connection] = self._monotonic(), until

    def _expire(self) -> None:
        """End those that nobody has used for too long."""
        now = asyncio.get_running_loop().time()
        late = [connection for connection, (_, until) in self._idle.items() if until <= now]
        for connection in late:
            del self._idle[connection]
            connection.end()
        self._expiry.set(min((until for _, until in self._idle.values()), default=inf))

    async def close(self) -> None:
        """End every connection, those in use too; idempotent."""
        self._closed = True
        self._dialer.close()
        self._expiry.stop()
        for connection in self._idle:
            connection.end()
        for connection in tuple(self._busy):
            connection.abort()
        self._idle.clear()
        await asyncio.sleep(0)  # the transports are closed by the loop's next turn
