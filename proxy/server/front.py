"""The front door: aiohttp's request in, ours to the pipeline, its reply out byte for byte. Nothing is decided here but
whom a request is for."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from proxy.errors import BadRequest, CachegateError, ClientGone
from proxy.fixed import fixed
from proxy.landing import Visit
from proxy.message import Fields, Reply, Request
from proxy.observe.counters import Counters
from proxy.outcome import Outcome, Verdict
from proxy.policy.own_answers import own_answer
from proxy.policy.presenting import dress
from proxy.reasons import Why
from proxy.rules import Rule
from proxy.server.access_log import Finished
from proxy.server.interim import Interim
from proxy.server.keeping import keeps, spoilt
from proxy.server.plain import Plain, Raw
from proxy.server.replies import HttpDate, Outgoing, Sent, Unsendable, give_back
from proxy.server.requests import TOKEN_FIELD, Reading, wants_websocket
from proxy.server.tunnel import Tunnel, valid_handshake
from proxy.server.uploads import Intake, Uploads
from proxy.upstream.protocol import Link

_log = logging.getLogger(__name__)
_NO_RULE = Rule()
_Result = TypeVar("_Result")


class Answerer(Protocol):
    """The pipeline, as the doors see it. Both raise ClientGone or BadRequest when the request's body cannot be read."""

    async def answer(self, request: Request) -> Reply: ...

    async def receive(self, visit: Visit) -> Reply:
        """As `answer`, to a request of which it is known that it is on a cached route."""
        ...

    async def upgrade(self, request: Request) -> Link | Reply:
        """The open websocket to the origin, or the reply when there is none."""
        ...


class Admin(Protocol):
    """The admin pages, as the doors see them. `peer` is the address at the other end of the socket."""

    def owns(self, request: Request) -> bool:
        """Whether the request is for an admin page on this port."""
        ...

    async def answer(self, request: Request, peer: str) -> Reply: ...

    async def purge(self, request: Request, peer: str, token: str | None) -> Reply:
        """PURGE of any URL; `token` is its Cachegate-Token. When it is refused, the reply's reason is FORBIDDEN."""
        ...


@dataclass(frozen=True, slots=True)
class Doorway:
    """The settings of a door. `name` is what our Via says; for `send_idle` seconds a client may read nothing at all."""

    name: str
    reading: Reading = field(default_factory=Reading)
    uploads: Uploads = field(default_factory=Uploads)
    send_idle: float = 60.0


@fixed
class _Exchange:
    """One request under way on its connection; `began` by the front's timer."""

    raw: Raw
    request: Request
    intake: Intake
    interim: Interim
    began: float


@fixed
class Arrival:
    """A request that was read already, and that somebody has to wait for; `visit` is how far its story has come."""

    plain: Plain
    request: Request
    interim: Interim
    visit: Visit | None


class Front:
    """Serves requests, each counted exactly once. `clock` is wall time, `timer` measures; both in seconds."""

    def __init__(
        self,
        answerer: Answerer,
        admin: Admin,
        doorway: Doorway,
        counters: Counters,
        finished: Finished,
        *,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.draining = False  # then no connection is kept after its answer
        self.busy: set[RequestHandler] = set()  # connections with a request under way
        self._idle = asyncio.Event()
        self._leaving = asyncio.Event()  # websockets end in order
        self._answerer = answerer
        self._admin = admin
        self._doorway = doorway
        self._counters = counters
        self._finished = finished
        self._clock = clock
        self._timer = timer
        self._date = HttpDate(clock)

    async def handle(self, raw: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; what goes back to aiohttp has been sent already."""
        protocol = raw.protocol
        self.begins(protocol)
        try:
            return await self._dispatch(raw)
        finally:
            self.ended(protocol)

    async def serve(self, arrival: Arrival) -> bool:
        """Answer one that was read already, and is not for an admin page; whether its connection is kept."""
        self._counters.in_flight += 1
        try:
            return (await self._proxy(self._arrived(arrival), arrival.visit)).keep_alive
        finally:
            self._counters.in_flight -= 1

    def waits(self, more: int) -> None:
        """So many more wait for an answer that they do not get here."""
        self._counters.in_flight += more

    def left(self, arrival: Arrival) -> None:
        """The client of one that waited left before its answer."""
        self._gone(self._arrived(arrival))

    def _arrived(self, arrival: Arrival) -> _Exchange:
        plain = arrival.plain
        return _Exchange(plain, arrival.request, Intake(plain, self._doorway.uploads), arrival.interim, plain.began)

    def begins(self, protocol: RequestHandler) -> None:
        """A request is under way on this connection."""
        self.busy.add(protocol)

    def ended(self, protocol: RequestHandler) -> None:
        """It is no longer."""
        self.busy.discard(protocol)
        if self.draining and not self.busy:
            self._idle.set()

    async def drained(self) -> None:
        """From now on connections close after their answers, and websockets at once: they have no end of their own to
        wait for. Wait until no request is under way."""
        self.draining = True
        self._leaving.set()
        while self.busy:
            self._idle.clear()
            await self._idle.wait()

    def refusal(self, raw: web.BaseRequest, refused: BadRequest) -> Sent:
        """The answer to a head that is no request: counted apart, and the connection is closed."""
        self._counters.malformed += 1
        reply = own_answer(refused.status, refused.why, str(refused), close=True)
        return Sent(Outgoing(raw, self._date, send_idle=self._doorway.send_idle), reply)

    async def _dispatch(self, raw: web.BaseRequest) -> web.StreamResponse:
        began = self._timer()
        intake, interim = Intake(raw, self._doorway.uploads), Interim(raw)
        try:
            request = self._doorway.reading(raw, self._clock(), intake.upload, interim)
        except BadRequest as refused:
            return self.refusal(raw, refused)
        if self._admin.owns(request):
            exchange = _Exchange(raw, request, intake, interim, began)
            return await self._administer(exchange, self._admin.answer(request, raw.remote or ""))
        if request.method == "PURGE":
            exchange, token = _Exchange(raw, request, intake, interim, began), raw.headers.get(TOKEN_FIELD)
            return await self._administer(exchange, self._admin.purge(request, raw.remote or "", token))
        exchange = _Exchange(raw, self._doorway.reading.for_site(request), intake, interim, began)
        self._counters.in_flight += 1
        try:
            if wants_websocket(request):
                return await self._upgrade(exchange, raw)
            return Sent(await self._proxy(exchange))
        finally:
            self._counters.in_flight -= 1

    # -- three kinds of requests -----------------------------------------------------------------------------------

    async def _administer(self, exchange: _Exchange, answer: Awaitable[Reply]) -> web.StreamResponse:
        """For ourselves: not counted, except for a PURGE without the right, which is a refused request."""
        reply = await self._asked(exchange, answer)
        if reply.outcome.reason is Why.FORBIDDEN:
            self._dress(exchange, reply)
            return Sent(await self._tell(exchange, reply))
        out = self._outgoing(exchange)
        await self._send(exchange, out, reply)
        return Sent(out)

    async def _proxy(self, exchange: _Exchange, visit: Visit | None = None) -> Outgoing:
        """For the pipeline."""
        reply = self._refused(exchange)
        if reply is None:
            answerer = self._answerer
            answer = answerer.answer(exchange.request) if visit is None else answerer.receive(visit)
            try:
                reply = await self._asked(exchange, answer)
            except BaseException:
                self._gone(exchange)
                raise
        return await self._tell(exchange, reply)

    async def _upgrade(self, exchange: _Exchange, raw: web.BaseRequest) -> web.StreamResponse:
        """For the origin's websocket: carried when it opens, else answered like any other request."""
        if not valid_handshake(raw):
            refused = self._own(exchange, 400, Why.UPGRADE, "The handshake is not valid.")
            return Sent(await self._tell(exchange, refused))
        try:
            result = await self._asked(exchange, self._answerer.upgrade(exchange.request))
        except BaseException:
            self._gone(exchange)
            raise
        if isinstance(result, Reply):
            return Sent(await self._tell(exchange, result))
        tunnel = Tunnel(raw, result, self._leaving)
        reply = Reply(101, "Switching Protocols", Fields(), b"", Outcome(Verdict.BYPASS, Why.UPGRADE, fwd="bypass"))
        try:
            return await tunnel.run()
        finally:
            self._over(exchange, reply, tunnel.sent, tunnel.complete)

    # -- asking ----------------------------------------------------------------------------------------------------

    def _refused(self, exchange: _Exchange) -> Reply | None:
        """What no pipeline has to see."""
        if exchange.request.method == "TRACE":  # it would show what is added on the way upstream (RFC 9110 9.3.8)
            return self._own(exchange, 501, Why.METHOD, "TRACE is not answered here.")
        too_large = exchange.intake.too_large
        return None if too_large is None else self._unread(exchange, too_large)

    async def _asked(self, exchange: _Exchange, answer: Awaitable[_Result]) -> _Result | Reply:
        """What was asked for; our own answer where there is none, or where the request's body broke off."""
        try:
            result = await answer
        except (BadRequest, ClientGone) as error:
            return self._unread(exchange, error)
        except Exception:
            _log.exception("no answer to %s %s", exchange.request.method, exchange.request.path)
            return self._own(exchange, 500, Why.INTERNAL, "This is our fault.")
        failure = exchange.intake.failure
        if failure is not None and isinstance(result, Reply):
            await give_back(result)
            return self._unread(exchange, failure)
        return result

    def _gone(self, exchange: _Exchange) -> None:
        """A client that leaves before its answer, which cancels us, is counted too."""
        self._over(exchange, own_answer(499, Why.CLIENT_GONE, ""), 0, False)

    def _unread(self, exchange: _Exchange, error: BadRequest | ClientGone) -> Reply:
        """The request's body could not be read to its end, so that nothing more can be read on this connection."""
        if isinstance(error, BadRequest):
            return self._own(exchange, error.status, error.why, str(error), close=True)
        return self._own(exchange, 499, Why.CLIENT_GONE, str(error), close=True)

    def _own(self, exchange: _Exchange, status: int, why: Why, text: str, *, close: bool = False) -> Reply:
        reply = own_answer(status, why, text, close=close)
        self._dress(exchange, reply)
        return reply

    def _dress(self, exchange: _Exchange, reply: Reply) -> None:
        reply.fields = dress(reply.fields, exchange.request, _NO_RULE, reply.outcome, self._doorway.name, None)

    # -- telling ---------------------------------------------------------------------------------------------------

    async def _tell(self, exchange: _Exchange, reply: Reply) -> Outgoing:
        """Send the reply and have it counted, however the sending ends."""
        out = self._outgoing(exchange)
        try:
            reply = await self._send(exchange, out, reply)
        finally:
            self._over(exchange, reply, out.sent, out.complete)
        return out

    def _outgoing(self, exchange: _Exchange) -> Outgoing:
        return Outgoing(exchange.raw, self._date, send_idle=self._doorway.send_idle)

    async def _send(self, exchange: _Exchange, out: Outgoing, reply: Reply) -> Reply:
        """Send it as far as the client and the body's end allow; the reply that the client was told."""
        raw = exchange.raw
        exchange.intake.withdraw()
        exchange.interim.end()
        # Behind a plain head nothing can come that is not the next one.
        keep_alive = not self.draining and (isinstance(raw, Plain) or keeps(raw, reply))
        try:
            await out.send(reply, keep_alive=keep_alive)
        except Unsendable:
            _log.exception("a reply to %s that cannot be sent", exchange.request.path)
            reply = self._own(exchange, 500, Why.INTERNAL, "This is our fault.")
            await out.send(reply, keep_alive=False)
        except ConnectionError:
            _log.debug("the client left before its answer to %s was sent", exchange.request.path)
        except CachegateError as error:
            reply.outcome.cut()
            _log.info("the answer to %s was cut: %s", exchange.request.path, error)
        except Exception:
            reply.outcome.cut()
            _log.exception("the answer to %s was cut", exchange.request.path)
        if not isinstance(raw, Plain) and spoilt(raw):
            raw.protocol.force_close()
        return reply

    def _over(self, exchange: _Exchange, reply: Reply, sent: int, complete: bool) -> None:
        self._finished(exchange.request, reply, sent, self._timer() - exchange.began, complete)
