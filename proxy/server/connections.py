"""One client connection: what comes on it is read by the lane, by the front, or by aiohttp."""

import asyncio
import logging
from collections.abc import Callable

from aiohttp import web

from proxy.server.again import Again
from proxy.server.fastlane import FastLane
from proxy.server.front import Arrival, Front
from proxy.server.http1 import Http1, Limits
from proxy.server.known_peer import Peer

_log = logging.getLogger(__name__)
HELD = 1 << 16  # bytes that may wait behind a request; then nothing more is read
TURNS = 4  # of the event loop, within which aiohttp's task comes back from a request

_Express = tuple[Callable[[bytes, Peer], bytes | None], Peer, Callable[[bytes], object]]


class Connection(Http1):
    """What the lane answers, and plain requests that somebody has to wait for, aiohttp never sees."""

    __slots__ = (
        "_again",
        "_express",
        "_held",
        "_held_back",
        "_lane",
        "_peer",
        "_turns",
        "_under_way",
        "unsent",
    )

    def __init__(
        self, server: web.Server, front: Front, limits: Limits, lane: FastLane | None, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(server, front, limits, loop)
        self._lane = lane
        self._peer: Peer | None = None
        # How to answer again, while the lane has answered all that came last, so that nothing is under way.
        self._express: _Express | None = None
        self._under_way: asyncio.Future[bool] | None = None  # a request that aiohttp knows nothing of
        self._again: Again | None = None  # it, where Redis alone is waited for
        self._held = b""  # what came behind it
        self._held_back = False  # nothing more of that is read
        self._turns = 0  # of the event loop, for which aiohttp's task is waited for
        self.unsent = 0, 0.0  # bytes that the client has still to take, and since when (the loop's time)

    def data_received(self, data: bytes) -> None:
        express = self._express
        if express is not None and not self._front.draining:
            again, peer, write = express
            answer = again(data, peer)
            if answer is not None:
                write(answer)
                return
        if self._full:
            return
        if self._under_way is not None or self._turns:
            self._hold(data)
            return
        self._take(data, at_rest=express is not None or self._at_rest())

    def _take(self, data: bytes, *, at_rest: bool) -> None:
        """Give what nothing under way holds up to the lane, or to aiohttp."""
        lane = self._lane
        if lane is not None and data and not self._paused:
            if at_rest:
                data = self._through_lane(lane, data)
                if not data:
                    return
            elif self._comes_back():
                self._held, self._turns = data, TURNS
                self._loop.call_soon(self._look_again)
                return
        self._parse_on(data)

    def _parse_on(self, data: bytes) -> None:
        self._express = None
        super().data_received(data)

    def pause_writing(self) -> None:
        """asyncio's word that the client has a lot to read: what comes next waits with the others."""
        super().pause_writing()
        self._express = None

    def close(self) -> None:
        """aiohttp's word that no other request is answered here."""
        super().close()
        self._express = None

    def force_close(self) -> None:
        """aiohttp's word that it ends now. A TLS transport that is closed twice, while its client says no goodbye, is
        none any more (asyncio, 3.11)."""
        if self.transport is not None and self.transport.is_closing():
            self.transport = None
        super().force_close()

    def _at_rest(self) -> bool:
        """Whether the next byte begins a request, and none is under way: aiohttp's task waits for one, or has never had
        any, though it may not have begun to wait. Between taking a message and having a request of it, and behind its
        handler, there is neither, and yet something under way."""
        if not self._fed:
            return True
        return self._waiter is not None and not self._waiter.done() and self._between()

    def _comes_back(self) -> bool:
        """Whether aiohttp's task is on its way: to the handler of a request, or to wait for the next one."""
        return (self._waiter is None or self._waiter.done()) and self._between() and not self._close

    def _look_again(self) -> None:
        """Where it has come to. What its client sends at once would else go to aiohttp, and so would, on a busy loop,
        whatever comes behind it."""
        self._turns -= 1
        if self.transport is None or self._full:
            return
        if self._turns and self._comes_back():
            self._loop.call_soon(self._look_again)
            return
        self._turns = 0
        held, self._held = self._held, b""
        self._read_on()
        if self._comes_back():
            self._parse_on(held)
        else:
            self._take(held, at_rest=self._at_rest())

    def _through_lane(self, lane: FastLane, data: bytes) -> bytes:
        """What is left of it for aiohttp."""
        transport = self.transport
        if transport is None or self._close or self._front.draining or self._methods.held:
            return data
        if self._peer is None:
            remote = str((self.peername or ("",))[0])
            self._peer = lane.peer(self, remote, secure=self.ssl_context is not None)
        rest, waiting = lane.serve(data, self._peer, transport.write)
        if waiting is None and len(rest) == len(data):
            return data
        self.head_since, self.partial = None, False
        if waiting is not None:
            if isinstance(waiting, Again):
                self._wait(waiting, rest)
            else:
                self._begin(waiting, rest)
            return b""
        if not (rest or self._paused):
            self._express = lane.again, self._peer, transport.write
        return rest

    # -- without aiohttp -------------------------------------------------------------------------------------------

    def _begin(self, arrival: Arrival, rest: bytes, again: Again | None = None) -> None:
        """Let the front answer a request of which nothing more will come; what comes behind it waits. `again` is how
        it has waited before."""
        self._express = None
        self._held = rest
        self._front.begins(self)
        if again is None or self._lane is None:
            self._under_way = self._loop.create_task(self._front.serve(arrival))
        else:
            with self._lane.asking.spent(again):  # it alone: not what comes behind
                self._under_way = self._loop.create_task(self._front.serve(arrival))
        self._under_way.add_done_callback(self._answered)

    def _wait(self, again: Again, rest: bytes) -> None:
        """Nothing is needed for its answer but what Redis is asked for."""
        self._express = None
        self._held = rest
        self._front.begins(self)
        self._front.waits(1)
        self._again = again
        self._under_way = self._loop.create_future()
        self._under_way.add_done_callback(self._answered)
        again.come = self._come

    def _come(self, again: Again, said: object) -> None:
        """It was told."""
        lane, peer, transport, under_way = self._lane, self._peer, self.transport, self._under_way
        if self._again is not again or lane is None or peer is None or under_way is None:
            return  # the client has left
        self._again = None
        self._front.waits(-1)
        answer = None
        if transport is not None and not transport.is_closing() and not self._front.draining:
            answer = _taken(lane, again, said)
        if answer is not None and transport is not None:
            transport.write(answer)
            under_way.set_result(True)
            return
        under_way.remove_done_callback(self._answered)
        self._under_way = None
        self._ask_anew(lane, peer, again)

    def _ask_anew(self, lane: FastLane, peer: Peer, again: Again) -> None:
        """Redis told something else, or nothing: whoever answers every request may."""
        try:
            answer, arrival = lane.anew(again, peer)
        except Exception:  # nobody else would ever end it
            self._front.ended(self)
            self.force_close()
            raise
        if arrival is not None:
            self._begin(arrival, self._held, again)
            return
        self._front.ended(self)
        held, self._held = self._held, b""
        self._read_on()
        if answer is not None and self.transport is not None:
            self.transport.write(answer)
            if held:
                self.data_received(held)
        else:
            self._parse_on(again.head + held)

    def _read_on(self) -> None:
        if self._held_back and self.transport is not None:
            self._held_back = False
            self.transport.resume_reading()

    def _hold(self, data: bytes) -> None:
        self._held += data
        transport = self.transport
        if len(self._held) >= HELD and not self._held_back and transport is not None:
            self._held_back = True
            transport.pause_reading()

    def _answered(self, task: asyncio.Future[bool]) -> None:
        """Go on as aiohttp does after a request: with the next one, or not at all."""
        self._under_way = None
        self._front.ended(self)
        transport = self.transport
        failure = None if task.cancelled() else task.exception()
        if failure is not None:
            _log.error("a request was not answered", exc_info=failure)
        if transport is None:
            return
        if task.cancelled() or failure is not None or not task.result() or self._close or self._force_close:
            self.force_close()
            return
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        held, self._held = self._held, b""
        self._read_on()
        if held:
            self.data_received(held)
        elif self._lane is not None and self._peer is not None and not self._paused:
            self._express = self._lane.again, self._peer, transport.write

    def connection_lost(self, exc: BaseException | None) -> None:
        """A client that leaves ends its request."""
        super().connection_lost(exc)
        again, self._again = self._again, None
        if again is not None and self._lane is not None and self._peer is not None:
            self._front.waits(-1)
            _, arrival = self._lane.anew(again, self._peer)
            if arrival is not None:
                self._front.left(arrival)
        self._express = self._peer = None
        if self._under_way is not None:
            self._under_way.cancel()

    async def shutdown(self, timeout: float | None = 15.0) -> None:  # noqa: ASYNC109 the signature is aiohttp's
        """Wait for the request under way, but no longer than that."""
        if self._under_way is not None:
            await asyncio.wait({self._under_way}, timeout=timeout)
        await super().shutdown(timeout)

    # -- idle ------------------------------------------------------------------------------------------------------

    def _process_keepalive(self) -> None:
        # aiohttp's idle timer knows nothing of what goes on and was answered without it.
        if self._under_way is not None:
            self._keepalive_handle = self._loop.call_later(self._keepalive_timeout, self._process_keepalive)
            return
        if self._peer is not None:
            lately = self._peer.at + self._keepalive_timeout
            self._next_keepalive_close_time = max(self._next_keepalive_close_time, lately)
        # A head that has begun is no idleness, and has a deadline of its own.
        if self.partial:
            self._keepalive_handle = None
        else:
            super()._process_keepalive()

    def waits_for_head_since(self) -> float | None:
        """The loop's time since when a head is due, None when none is."""
        if self._waiter is None or self._waiter.done():
            return None
        if self.head_since is None and self._boundary.begun:  # it came together with the request before
            self.head_since, self.partial = self._loop.time(), True
        return self.head_since


def _taken(lane: FastLane, again: Again, said: object) -> bytes | None:
    """The answer, where what Redis said is that; whatever goes wrong with it, the request goes on."""
    try:
        return lane.asking.take(again, said)
    except Exception:
        _log.exception("an answer of Redis could not be taken")
        return None
