"""Requests as spans: of what the pipeline answers, and of what the lane does."""

import re
from typing import Any

from proxy.landing import Visit
from proxy.message import Reply, Request
from proxy.observe.counters import Counters, Tally, told
from proxy.observe.tracing import TraceSpan, Tracing, Value, method, named
from proxy.policy.trace_context import TraceContext, context_of, parse
from proxy.reasons import Why
from proxy.server.access_log import AccessLog, Books, Line
from proxy.server.again import Again, Asking
from proxy.server.fastlane import FastLane
from proxy.server.front import Answerer
from proxy.server.known_peer import Peer
from proxy.traced import looked_up
from proxy.upstream.protocol import Link

KEY = 16  # digits of a key that are told
_CALLER = re.compile(rb"\r\ntraceparent:[ \t]*([!-~]*)", re.IGNORECASE)
_AGENT = re.compile(rb"\r\nuser-agent:[ \t]*([^\r]*)", re.IGNORECASE)
_STATE = re.compile(rb"\r\ntracestate:[ \t]*([^\r]*)", re.IGNORECASE)


class TracedAnswerer:
    """An Answerer that begins the span of each request; `TracedBooks` ends it."""

    def __init__(self, tracing: Tracing, answerer: Answerer) -> None:
        self._tracing = tracing
        self._answerer = answerer

    async def answer(self, request: Request) -> Reply:
        self._tracing.arrived(request.fields, request)
        return await self._answerer.answer(request)

    async def receive(self, visit: Visit) -> Reply:
        self._tracing.arrived(visit.request.fields, visit.request)
        return await self._answerer.receive(visit)

    async def upgrade(self, request: Request) -> Link | Reply:
        self._tracing.arrived(request.fields, request)
        return await self._answerer.upgrade(request)


class TracedBooks(Books):
    """Books that end the span of each request that is over, and make that of one which nobody waited for."""

    def __init__(self, tracing: Tracing, counters: Counters, log: AccessLog | None) -> None:
        super().__init__(counters, log)
        self._tracing = tracing

    def __call__(self, request: Request, reply: Reply, sent: int, seconds: float, complete: bool) -> None:
        super().__call__(request, reply, sent, seconds, complete)
        tracing = self._tracing
        waited = tracing.of(request)
        span = waited or tracing.received(context_of(request.fields))
        if not isinstance(span, TraceSpan):
            return
        span.name, span.attributes = _name(request, reply), _told(request, reply, sent)
        span.attributes |= _asked(request.client, request.fields.get("user-agent"), request.id)
        _judge(span, reply, complete=complete)
        tracing.over(span, seconds)
        if waited is None and reply.outcome.tier_seconds:
            looked_up(tracing, span, span.began, reply.outcome.tier_seconds, reply.outcome.tier)

    def account(self, request: Request, reply: Reply, sent: int) -> tuple[Tally, Line | None]:
        tally, line = super().account(request, reply, sent)
        return tally, TracedLine(line, _name(request, reply), _told(request, reply, sent))


class TracedLine:
    """What is told of all who get this same reply: also as a span."""

    __slots__ = ("attributes", "line", "name")

    def __init__(self, line: Line | None, name: str, attributes: dict[str, Value]) -> None:
        self.line = line
        self.name = name
        self.attributes = attributes

    def write(self, now: float, seconds: float, client: str, request_id: bytes) -> None:
        """As `Line` says."""
        if self.line is not None:
            self.line.write(now, seconds, client, request_id)


class TracedAsking(Asking):
    """Asking that tells of what it answers."""

    def __init__(self, tracing: Tracing, *parts: Any) -> None:
        super().__init__(*parts)
        self._tracing = tracing

    def take(self, again: Again, said: object) -> bytes | None:
        answer = super().take(again, said)
        if answer is not None and (span := self._tracing.recorded(_caller(again.head))) is not None:
            _tell_again(span, again.known.line, again.head, again.client)
            self._tracing.over(span, self._timer() - again.began)
        return answer


class TracedLane(FastLane):
    """A lane that tells of what it answers. Who asks is read of the head, of which nothing else was."""

    def __init__(self, tracing: Tracing, *parts: Any, **named: Any) -> None:
        super().__init__(*parts, **named)
        self._tracing = tracing
        self.asking = TracedAsking(tracing, self._at_once, self._clock, self._timer)

    def again(self, head: bytes, peer: Peer) -> bytes | None:
        answer = super().again(head, peer)
        if answer is not None and (span := self._tracing.recorded(_caller(head))) is not None:
            known = peer.last.ready
            _tell_again(span, None if known is None else known.line, head, peer.client)
            self._tracing.over(span, self._timer() - peer.at)
        return answer


def _tell_again(span: TraceSpan, line: Line | None, head: bytes, client: str) -> None:
    """What is told of an answer that is remembered, and of who got it."""
    if isinstance(line, TracedLine):
        agent = _AGENT.search(head)
        span.name = line.name
        span.attributes = line.attributes | _asked(client, None if agent is None else agent[1].decode("latin-1"))


def _caller(head: bytes) -> TraceContext | None:
    """Whose request it is; no name stands twice in such a head."""
    found = _CALLER.search(head)
    if found is None:
        return None
    caller = parse(found[1].decode("ascii"))
    if caller is None or not caller.sampled:
        return caller
    state = _STATE.search(head)
    return caller if state is None else parse(found[1].decode("ascii"), state[1].strip().decode("latin-1"))


def _asked(client: str, agent: str | None, request_id: str = "") -> dict[str, Value]:
    """Who asked."""
    optional = {"client.address": client, "user_agent.original": agent, "cachegate.request_id": request_id}
    return {name: value for name, value in optional.items() if value}


def _name(request: Request, reply: Reply) -> str:
    """Of few kinds, so that traces can be told apart by it."""
    name, rule = named(request.method), reply.outcome.rule
    return f"{name} {rule}" if rule else name


def _told(request: Request, reply: Reply, sent: int) -> dict[str, Value]:
    """By the semantic conventions for HTTP servers, without the query: it may hold secrets."""
    outcome = reply.outcome
    attributes: dict[str, Value] = {
        "http.request.method": method(request.method),
        "url.scheme": request.scheme,
        "url.path": request.path,
        "network.protocol.version": request.version,
        "http.response.status_code": reply.status,
        "http.response.body.size": sent,
        "cachegate.verdict": outcome.verdict.value,
        "cachegate.reason": told(outcome).word,
    }
    optional = {
        "server.address": request.host,
        "cachegate.rule": outcome.rule,
        "cachegate.key": outcome.key[:KEY],
        "cachegate.tier": outcome.tier and outcome.tier.value,
        "cachegate.collapsed": outcome.collapsed,
        "cachegate.stored": outcome.stored,
    }
    return attributes | {name: value for name, value in optional.items() if value}


def _judge(span: TraceSpan, reply: Reply, *, complete: bool) -> None:
    """What a client did wrong is no failure of ours."""
    if reply.status >= 500:
        span.error = str(reply.status)
    elif not complete and reply.status != 499:
        span.attributes["cachegate.complete"] = False
        if told(reply.outcome) is Why.TRUNCATED:
            span.error = Why.TRUNCATED.word
