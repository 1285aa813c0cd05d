"""All client connections: how many there may be, how long each may keep us waiting, and how they end."""

import asyncio
from contextlib import suppress

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from proxy.observe.counters import Bound, Counters
from proxy.server.connections import Connection
from proxy.server.fastlane import FastLane
from proxy.server.front import Front
from proxy.server.http1 import Limits
from proxy.server.replies import reset

_SWEEP = 1.0  # seconds between two looks at slow heads
_TURNED_AWAY = 128  # connections beyond the limit that are told so at a time; the rest find theirs closed
_FLUSH = 0.01  # seconds between two looks at what a slow client has still to take
_TOO_MANY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 1\r\nConnection: close\r\n\r\n"
_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Gate(web.Server):
    """Makes a Connection for each client and knows them all. `lane`, where there is one, is asked before anybody else.
    Wants a running loop."""

    def __init__(self, front: Front, counters: Counters, limits: Limits, lane: FastLane | None = None) -> None:
        # A client that leaves ends its request: whatever others wait for runs in tasks of its own.
        super().__init__(front.handle, handler_cancellation=True, **limits.for_aiohttp())
        self.front = front
        self.lane = lane
        self._counters = counters
        self.limits = limits
        self._sweeper: asyncio.TimerHandle | None = None
        self._turned_away: set[RequestHandler] = set()

    def __call__(self) -> RequestHandler:
        return Connection(self, self.front, self.limits, self.lane, self._loop)

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        if len(self._connections) - len(self._turned_away) > self.limits.connections:
            self._turn_away(handler)
        else:
            self._counters.connections += 1
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(min(_SWEEP, self.limits.head), self._sweep)

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        if handler in self._turned_away:
            self._turned_away.discard(handler)
        else:
            self._counters.connections -= 1

    def _turn_away(self, handler: RequestHandler) -> None:
        assert isinstance(handler, Connection)
        self._counters.passed[Bound.CONNECTIONS] += 1
        if len(self._turned_away) < _TURNED_AWAY:
            handler.turn_away(_TOO_MANY)
        else:
            handler.force_close()
        self._turned_away.add(handler)

    def _sweep(self) -> None:
        """Close who keeps us waiting for a head; runs while there are connections."""
        self._sweeper = None
        try:
            self._look_at_all(self._loop.time())
        finally:  # whatever one of them is like, the others have deadlines
            if self._connections:
                self._sweeper = self._loop.call_later(min(_SWEEP, self.limits.head), self._sweep)

    def _look_at_all(self, now: float) -> None:
        oldest = now - self.limits.head
        for handler, transport in tuple(self._connections.items()):
            assert isinstance(handler, Connection)
            if self._stalled(handler, transport.get_write_buffer_size(), now):
                reset(transport)
                continue
            since = handler.waits_for_head_since()
            if since is not None and since <= oldest:
                if handler.partial:
                    self._counters.malformed += 1
                    self._counters.passed[Bound.HEAD] += 1
                    transport.write(_TOO_SLOW)
                handler.force_close()

    def _stalled(self, handler: Connection, unsent: int, now: float) -> bool:
        """Whether a client has taken nothing of its answers for too long. While a request is under way, whoever answers
        it knows."""
        size, since = handler.unsent
        if unsent and unsent == size and handler not in self.front.busy:
            return now - since >= self.limits.send_idle
        handler.unsent = unsent, now
        return False

    def close_idle(self) -> None:
        """Close the connections that have no request under way; what was written to them still goes out."""
        for handler in self.connections:
            if handler not in self.front.busy:
                handler.force_close()

    async def drained(self) -> None:
        """Wait until no request is under way and the clients have taken what was written to them; from now on no
        connection is kept."""
        await self.front.drained()
        while any(transport.get_write_buffer_size() for transport in self._connections.values()):  # noqa: ASYNC110
            await asyncio.sleep(_FLUSH)

    async def shutdown(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 the signature is aiohttp's
        """End all connections. What is not out after `timeout` seconds is cut, and looks cut."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self.drained()
        for handler, transport in tuple(self._connections.items()):
            if handler in self.front.busy or transport.get_write_buffer_size():
                reset(transport)
        await super().shutdown(timeout)


def application(front: Front, limits: Limits) -> web.Application:
    """The front as an aiohttp application of one route, to be run or put into another. Heads that cannot be parsed
    are then answered by the server that runs it; inside another application that server must be given
    `auto_decompress=False`, else encoded uploads are refused with 415."""
    app = web.Application(handler_args={"handler_cancellation": True, **limits.for_aiohttp()})

    async def expected(request: web.Request) -> None:
        """Nothing: an upload is asked for when somebody wants it."""

    app.router.add_route("*", "/{target:.*}", front.handle, expect_handler=expected)
    return app
