"""The front door alone, on a real port, with an answerer that does what the test says.

async with door(lambda request: text(b"hello")) as d, raw(d.port) as client:
    head, body = await client.get("/")
    assert d.ended[0].complete
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from proxy.message import Fields, Framing, Reply, Request
from proxy.observe.counters import Counters
from proxy.outcome import Outcome, Verdict
from proxy.policy.own_answers import own_answer
from proxy.reasons import Why
from proxy.server.front import Admin, Doorway, Front
from proxy.server.gate import Gate
from proxy.server.http1 import Limits
from proxy.upstream.protocol import Link

Answer = Callable[[Request], Reply | Awaitable[Reply]]
Open = Callable[[Request], Link | Reply]


class Ended(NamedTuple):
    """What was told of one request when it was over."""

    request: Request
    reply: Reply
    sent: int
    seconds: float
    complete: bool


def reply(
    body: bytes | AsyncIterator[bytes] = b"",
    *fields: tuple[str, str],
    status: int = 200,
    phrase: str = "OK",
    framing: Framing = Framing.LENGTH,
    close: bool = False,
) -> Reply:
    """A reply as a pipeline gives it, with these fields and no others."""
    return Reply(status, phrase, Fields.of(*fields), body, Outcome(Verdict.MISS, Why.URI_MISS), framing, close)


@dataclass
class Scripted:
    """The pipeline's place: remembers what it was asked."""

    script: Answer
    open: Open = lambda request: own_answer(404, Why.UPGRADE, "no websocket here")
    requests: list[Request] = field(default_factory=list)

    async def answer(self, request: Request) -> Reply:
        self.requests.append(request)
        result = self.script(request)
        return result if isinstance(result, Reply) else await result

    async def upgrade(self, request: Request) -> Link | Reply:
        self.requests.append(request)
        return self.open(request)


class NoPages:
    """No admin pages, and nobody may purge."""

    def owns(self, request: Request) -> bool:
        return False

    async def answer(self, request: Request, peer: str) -> Reply:
        raise AssertionError(request.path)

    async def purge(self, request: Request, peer: str, token: str | None) -> Reply:
        return own_answer(403, Why.FORBIDDEN, "PURGE wants the admin token.")


@dataclass
class Door:
    """A front that listens; `requests` is what its answerer was asked, `ended` what was told when each was over."""

    port: int
    front: Front
    gate: Gate
    counters: Counters
    requests: list[Request]
    ended: list[Ended]
    _over: asyncio.Event

    async def over(self, count: int = 1) -> Ended:
        """Wait until `count` requests are over; the last of them."""
        async with asyncio.timeout(20):
            while len(self.ended) < count:
                self._over.clear()
                await self._over.wait()
        return self.ended[count - 1]


@asynccontextmanager
async def door(
    script: Answer,
    *,
    open: Open | None = None,
    admin: Admin | None = None,
    doorway: Doorway | None = None,
    limits: Limits | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Door]:
    answerer = Scripted(script)
    if open is not None:
        answerer.open = open
    counters, ended, over = Counters(), [], asyncio.Event()

    def finished(request: Request, sent_reply: Reply, sent: int, seconds: float, complete: bool) -> None:
        counters.finish(sent_reply.outcome, seconds, sent)
        ended.append(Ended(request, sent_reply, sent, seconds, complete))
        over.set()

    front = Front(answerer, admin or NoPages(), doorway or Doorway("gate"), counters, finished)
    gate = Gate(front, counters, limits or Limits())
    server = await asyncio.get_running_loop().create_server(gate, "127.0.0.1", 0, ssl=tls)
    try:
        yield Door(server.sockets[0].getsockname()[1], front, gate, counters, answerer.requests, ended, over)
    finally:
        server.close()
        gate.close_idle()
        await gate.shutdown(0.05)
