"""The front door: aiohttp's request in, ours to the pipeline, its reply out byte for byte. Nothing is decided here but
whom a request is for."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from proxy.errors import BadRequest, CachegateError, ClientGone
from proxy.message import Fields, Reply, Request
from proxy.observe.counters import Counters
from proxy.outcome import Outcome, Verdict
from proxy.policy.own_answers import own_answer
from proxy.policy.presenting import dress
from proxy.reasons import Why
from proxy.rules import Rule
from proxy.server.access_log import Finished
from proxy.server.interim import Interim
from proxy.server.replies import HttpDate, Outgoing, Unsendable, give_back
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


@dataclass(frozen=True, slots=True)
class _Exchange:
    """One request under way on its connection; `began` by the front's timer."""

    raw: web.BaseRequest
    request: Request
    intake: Intake
    interim: Interim
    began: float


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
        self.busy.add(protocol)
        try:
            return await self._dispatch(raw)
        finally:
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

    def refusal(self, raw: web.BaseRequest, refused: BadRequest) -> Outgoing:
        """The answer to a head that is no request: counted apart, and the connection is closed."""
        self._counters.malformed += 1
        reply = own_answer(refused.status, refused.why, str(refused), close=True)
        return Outgoing(raw, self._date, send_idle=self._doorway.send_idle, pending=reply)

    async def _dispatch(self, raw: web.BaseRequest) -> web.StreamResponse:
        began = self._timer()
        try:
            request = self._doorway.reading(raw, self._clock())
        except BadRequest as refused:
            return self.refusal(raw, refused)
        intake, interim = Intake(raw, self._doorway.uploads), Interim(raw)
        request = replace(request, body=intake.upload(), inform=interim)
        exchange = _Exchange(raw, request, intake, interim, began)
        if self._admin.owns(request):
            return await self._administer(exchange, self._admin.answer(request, raw.remote or ""))
        if request.method == "PURGE":
            token = raw.headers.get(TOKEN_FIELD)
            return await self._administer(exchange, self._admin.purge(request, raw.remote or "", token))
        exchange = replace(exchange, request=self._doorway.reading.for_site(request))
        self._counters.in_flight += 1
        try:
            if wants_websocket(request):
                return await self._upgrade(exchange)
            return await self._proxy(exchange)
        finally:
            self._counters.in_flight -= 1

    # -- three kinds of requests -----------------------------------------------------------------------------------

    async def _administer(self, exchange: _Exchange, answer: Awaitable[Reply]) -> web.StreamResponse:
        """For ourselves: not counted, except for a PURGE without the right, which is a refused request."""
        reply = await self._asked(exchange, answer)
        if reply.outcome.reason is Why.FORBIDDEN:
            self._dress(exchange, reply)
            return await self._tell(exchange, reply)
        out = self._outgoing(exchange)
        await self._send(exchange, out, reply)
        return out

    async def _proxy(self, exchange: _Exchange) -> web.StreamResponse:
        """For the pipeline."""
        reply = self._refused(exchange)
        if reply is None:
            reply = await self._counted(exchange, self._asked(exchange, self._answerer.answer(exchange.request)))
        return await self._tell(exchange, reply)

    async def _upgrade(self, exchange: _Exchange) -> web.StreamResponse:
        """For the origin's websocket: carried when it opens, else answered like any other request."""
        if not valid_handshake(exchange.raw):
            return await self._tell(exchange, self._own(exchange, 400, Why.UPGRADE, "The handshake is not valid."))
        result = await self._counted(exchange, self._asked(exchange, self._answerer.upgrade(exchange.request)))
        if isinstance(result, Reply):
            return await self._tell(exchange, result)
        tunnel = Tunnel(exchange.raw, result, self._leaving)
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

    async def _counted(self, exchange: _Exchange, asked: Awaitable[_Result]) -> _Result:
        """Wait for an answer; the client that leaves meanwhile, which cancels us, is counted too."""
        try:
            return await asked
        except BaseException:
            self._over(exchange, own_answer(499, Why.CLIENT_GONE, ""), 0, False)
            raise

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
        # A body that is still to come could be anything: it is read off for a while and never taken for a request.
        keep_alive = bool(raw.keep_alive) and not self.draining and raw.content.is_eof()
        keep_alive = keep_alive and not _trailed(raw) and not _left_over(raw, reply)
        try:
            await out.send(reply, keep_alive=keep_alive)
        except Unsendable:
            _log.exception("a reply to %s that cannot be sent", exchange.request.path)
            reply = self._own(exchange, 500, Why.INTERNAL, "This is our fault.")
            await out.send(reply, keep_alive=False)
        except ConnectionError:
            _log.debug("the client left before its answer to %s was sent", exchange.request.path)
        except CachegateError as error:
            _log.info("the answer to %s was cut: %s", exchange.request.path, error)
        except Exception:
            _log.exception("the answer to %s was cut", exchange.request.path)
        if raw.content.exception() is not None or _left_over(raw, None):
            raw.protocol.force_close()
        return reply

    def _over(self, exchange: _Exchange, reply: Reply, sent: int, complete: bool) -> None:
        self._finished(exchange.request, reply, sent, self._timer() - exchange.began, complete)


def _left_over(raw: web.BaseRequest, reply: Reply | None) -> bool:
    """Whether bytes have come, or may come while `reply` is sent, behind a head at which the parser stopped for another
    protocol: they are in nobody's hands then, and must not be taken for requests (RFC 9110 7.8). It reads
    Proxy-Connection as Connection."""
    options = (*raw.headers.getall("Connection", ()), *raw.headers.getall("Proxy-Connection", ()))
    if "Upgrade" not in raw.headers or "upgrade" not in ",".join(options).lower():
        return False
    return getattr(raw.protocol, "behind_upgrade", True) or not (reply is None or isinstance(reply.body, bytes))


def _trailed(raw: web.BaseRequest) -> bool:
    """Whether trailers may have followed the body. aiohttp's parser makes the last of them the first field of the
    next request, whoever's that is (RFC 9110 6.5.1 MUST NOT): then there is no next one."""
    return "Transfer-Encoding" in raw.headers and not getattr(raw.protocol, "ended_bare", False)
