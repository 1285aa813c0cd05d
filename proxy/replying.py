"""Replies made of what the story found: a stored answer, a recording that still grows, an origin's stream, our own."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from proxy.entry import Body, Entry, Found
from proxy.errors import StoreError, TruncatedError, UpstreamError
from proxy.message import Fields, Framing, Reply, Request
from proxy.outcome import Outcome, Verdict
from proxy.policy.conditional import client_condition, not_modified_fields
from proxy.policy.forwarding import response_fields
from proxy.policy.own_answers import own_answer
from proxy.policy.presenting import dated, dress, plan, server_timing
from proxy.reasons import Why
from proxy.recording import Reader
from proxy.rules import Rule
from proxy.upstream.protocol import Answer, Link


@dataclass(slots=True)
class Fate:
    """Why an answer that was meant to be stored was not, known only when its body had ended."""

    why: Why | None = None


@dataclass(frozen=True, slots=True)
class Replying:
    """Makes replies and dresses them. `name` is what our Via says; `timing`: tell clients where the time went."""

    name: str
    timing: bool = False

    def stored(self, request: Request, rule: Rule, found: Found, outcome: Outcome, age: float) -> Reply:
        """From a stored answer: whole, a range of it, or a 304 to the client's own condition. Takes over the body."""
        entry = found.entry
        what = plan(request, entry.status, entry.phrase, entry.fields, entry.body.size)
        if what.why is not None and outcome.verdict is Verdict.HIT:
            outcome.reason = what.why
        body: bytes | AsyncIterator[bytes] = b""
        if what.empty:
            entry.body.close()
        elif (data := entry.body.data) is not None:
            body = data[what.start : what.end] if what.start or what.end != len(data) else data
        else:
            body = StoredContent(entry.body, what.start, what.end)
        outcome.tier, outcome.key = found.tier, entry.key
        fields = self._dressed(what.fields, request, rule, outcome, age)
        return Reply(what.status, what.phrase, fields, body, outcome)

    def stale(self, request: Request, rule: Rule, found: Found, outcome: Outcome, ttl: float, age: float) -> Reply:
        """A stored answer in the place of one that the upstream failed to give (RFC 5861 4). `ttl` and `age` in
        seconds. Takes over the body."""
        outcome.verdict, outcome.reason, outcome.ttl = Verdict.STALE, Why.STALE_IF_ERROR, ttl
        outcome.stored_why = None
        return self.stored(request, rule, found, outcome, age)

    def recorded(
        self,
        request: Request,
        rule: Rule,
        entry: Entry,
        reader: Reader,
        fate: Fate,
        outcome: Outcome,
        age: float | None,
    ) -> Reply:
        """From a recording under way, from byte 0, at the client's own pace. Takes over the reader."""
        what = plan(request, entry.status, entry.phrase, entry.fields, None)
        outcome.key = entry.key
        fields = self._dressed(what.fields, request, rule, outcome, age)
        if what.empty:
            reader.leave()
            return Reply(what.status, what.phrase, fields, b"", outcome)
        return Reply(what.status, what.phrase, fields, RecordedContent(reader, fate, outcome), outcome)

    def streamed(
        self, request: Request, rule: Rule, answer: Answer, outcome: Outcome, *, unasked: bool = False
    ) -> Reply:
        """The origin's answer as it comes, for this client alone. `unasked`: the client's conditions were taken off
        on the way, and are answered here; after a 304 of ours the answer is the caller's to close."""
        head = answer.head
        outcome.upstream_status = head.status
        if unasked and client_condition(request, head.status, head.fields) == 304:
            told = not_modified_fields(dated(head, response_fields(head.fields)))
            fields = self._dressed(told, request, rule, outcome, None)
            return Reply(304, "Not Modified", fields, b"", outcome)
        fields = self._dressed(dated(head, response_fields(head.fields)), request, rule, outcome, None)
        body: bytes | AsyncIterator[bytes] = b"" if head.framing is Framing.NONE else PassedContent(answer)
        return Reply(head.status, head.phrase, fields, body, outcome, framing=head.framing)

    def opened(self, request: Request, rule: Rule, link: Link, outcome: Outcome) -> Link:
        """An open websocket, whose 101 says what every reply says."""
        link.fields = self._dressed(link.fields, request, rule, outcome, None)
        return link

    def own(self, request: Request, rule: Rule, reply: Reply, outcome: Outcome) -> Reply:
        """Our own words, dressed like everything else."""
        reply.outcome = outcome
        reply.fields = self._dressed(reply.fields, request, rule, outcome, None)
        if request.method == "HEAD":
            reply.body = b""
        return reply

    def failed(self, request: Request, rule: Rule, error: UpstreamError, outcome: Outcome) -> Reply:
        """What a client is told when the upstream gave no answer."""
        fault = error.fault
        outcome.reason = fault.why
        more = () if error.retry_after is None else (("Retry-After", str(error.retry_after)),)
        return self.own(request, rule, own_answer(fault.status, fault.why, str(error), fields=more), outcome)

    def _dressed(self, fields: Fields, request: Request, rule: Rule, outcome: Outcome, age: float | None) -> Fields:
        fields = dress(fields, request, rule, outcome, self.name, age)
        return fields.plus(("Server-Timing", server_timing(outcome))) if self.timing else fields


class RecordedContent:
    """A recording, read. When it turns out at the end that the answer was not stored, the outcome learns it in time for
    the log; the head had to say what was meant to be."""

    def __init__(self, reader: Reader, fate: Fate, outcome: Outcome) -> None:
        self._reader = reader
        self._fate = fate
        self._outcome = outcome

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await anext(self._reader)
        except StopAsyncIteration:
            self._learn()
            raise

    async def aclose(self) -> None:
        self._learn()
        self._reader.leave()

    def _learn(self) -> None:
        if self._fate.why is not None:
            self._outcome.stored, self._outcome.stored_why = False, self._fate.why


class StoredContent:
    """Content [start, end) of a stored body; gives the body back however the reading ends, or never begins."""

    def __init__(self, body: Body, start: int, end: int | None) -> None:
        self._body = body
        self._chunks = body.read(start, end)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await anext(self._chunks)
        except StoreError as error:
            self._body.close()
            raise TruncatedError(str(error)) from error
        except BaseException:
            self._body.close()
            raise

    async def aclose(self) -> None:
        self._body.close()


class PassedContent:
    """The rest of an origin's answer; closes the exchange however the reading ends, or never begins."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._chunks = aiter(answer)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await anext(self._chunks)
        except BaseException:
            await self._answer.close()
            raise

    async def aclose(self) -> None:
        await self._answer.close()
