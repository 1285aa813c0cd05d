"""Replies made of what the story found: a stored answer, a recording that still grows, an origin's stream, our own."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from secrets import token_hex

from proxy.entry import Body, Entry, Found
from proxy.errors import WITHHELD, StoreError, TruncatedError, UpstreamError
from proxy.message import Fields, Framing, Reply, Request
from proxy.outcome import Outcome, Verdict
from proxy.policy.conditional import client_condition, not_modified_fields
from proxy.policy.freshness import lifetime
from proxy.policy.own_answers import own_answer
from proxy.policy.presenting import Plan, dress, end_to_end, in_parts, plan, server_timing
from proxy.policy.ranges import Pieces
from proxy.reasons import Why
from proxy.recording_reader import Reader
from proxy.rules import Rule
from proxy.upstream.protocol import Answer, Link


@dataclass(slots=True)
class Fate:
    """Why an answer that was meant to be stored was not, known only when its body had ended."""

    why: Why | None = None

    def tell(self, outcome: Outcome) -> None:
        """Tell who had its answer, in time for the log; the head had to say what was meant to be."""
        if self.why is not None:
            outcome.stored, outcome.stored_why = False, self.why


@dataclass(frozen=True, slots=True)
class Replying:
    """Makes replies and dresses them. `name` is what our Via says; `timing`: tell clients where the time went."""

    name: str
    timing: bool = False

    def stored(self, request: Request, rule: Rule, found: Found, outcome: Outcome, age: float) -> Reply:
        """From a stored answer: whole, parts of it, or a 304 to the client's own condition. Takes over the body."""
        entry = found.entry
        what = plan(request, entry.status, entry.phrase, entry.fields, entry.body.size)
        if what.why is not None and outcome.verdict is Verdict.HIT:
            outcome.reason = what.why
        outcome.tier, outcome.key = found.tier, entry.key
        if outcome.ttl is None:
            outcome.ttl = _remaining(entry, rule, age)
        if what.outside:
            entry.body.close()
            return self._outside(request, rule, what, outcome)
        if what.parts:
            fields, pieces = in_parts(what, token_hex(12))
            body = _several(entry.body, pieces)
        else:
            fields, body = what.fields, _content(entry.body, what)
        fields = self._dressed(fields, request, rule, outcome, age, what.status)
        return Reply(what.status, what.phrase, fields, body, outcome)

    def _outside(self, request: Request, rule: Rule, what: Plan, outcome: Outcome) -> Reply:
        """No part of what was asked for exists (RFC 9110 15.5.17)."""
        reply = own_answer(416, Why.RANGE, f"The answer has no such part: {what.fields.get('content-range')}.")
        reply.fields = Fields(reply.fields.pairs + what.fields.pairs)
        return self.own(request, rule, reply, outcome)

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
        """From a recording under way, whole or one part of it, at the client's own pace. Takes over the reader."""
        what = plan(request, entry.status, entry.phrase, entry.fields, _announced(entry.fields), growing=True)
        outcome.key = entry.key
        if age is not None:
            outcome.ttl = _remaining(entry, rule, age)
        if what.empty:
            reader.leave()
        if what.outside:
            return self._outside(request, rule, what, outcome)
        fields = self._dressed(what.fields, request, rule, outcome, age, what.status)
        body = b"" if what.empty else _recorded(reader, fate, outcome, what)
        return Reply(what.status, what.phrase, fields, body, outcome)

    def streamed(
        self, request: Request, rule: Rule, answer: Answer, outcome: Outcome, *, unasked: bool = False
    ) -> Reply:
        """The origin's answer as it comes, for this client alone. `unasked`: the client's conditions were taken off
        on the way, and are answered here; after a 304 of ours the answer is the caller's to close."""
        head = answer.head
        outcome.upstream_status = head.status
        if unasked and client_condition(request, head.status, head.fields) == 304:
            told = not_modified_fields(end_to_end(head))
            fields = self._dressed(told, request, rule, outcome, None, 304)
            return Reply(304, "Not Modified", fields, b"", outcome)
        fields = self._dressed(end_to_end(head), request, rule, outcome, None, head.status)
        body: bytes | AsyncIterator[bytes] = b"" if head.framing is Framing.NONE else PassedContent(answer)
        return Reply(head.status, head.phrase, fields, body, outcome, framing=head.framing)

    def opened(self, request: Request, rule: Rule, link: Link, outcome: Outcome) -> Link:
        """An open websocket, whose 101 says what every reply says."""
        link.fields = self._dressed(link.fields, request, rule, outcome, None, 101)
        return link

    def own(self, request: Request, rule: Rule, reply: Reply, outcome: Outcome) -> Reply:
        """Our own words, dressed like everything else, except for what the rule has clients told of answers."""
        reply.outcome = outcome
        rule = replace(rule, client_cache_control=None)
        reply.fields = self._dressed(reply.fields, request, rule, outcome, None, reply.status)
        if request.method == "HEAD":
            reply.body = b""
        return reply

    def failed(self, request: Request, rule: Rule, error: UpstreamError, outcome: Outcome) -> Reply:
        """What a client is told when the upstream gave no answer. What was never sent did not go forward (RFC 9211
        2.2)."""
        fault = error.fault
        outcome.reason, outcome.stored_why = fault.why, None
        if fault in WITHHELD:
            outcome.fwd = None
        more = () if error.retry_after is None else (("Retry-After", str(error.retry_after)),)
        return self.own(request, rule, own_answer(fault.status, fault.why, str(error), fields=more), outcome)

    def _dressed(
        self, fields: Fields, request: Request, rule: Rule, outcome: Outcome, age: float | None, status: int
    ) -> Fields:
        fields = dress(fields, request, rule, outcome, self.name, age, status=status)
        return fields.plus(("Server-Timing", server_timing(outcome))) if self.timing else fields


def _remaining(entry: Entry, rule: Rule, age: float) -> float:
    """Seconds of its lifetime that an answer of this `age` has left (RFC 9211 2.4)."""
    return lifetime(entry.fields, entry.status, rule, entry.received_at).seconds - age


def _announced(fields: Fields) -> int | None:
    """The length in bytes of an answer that has not come whole yet, where it was told."""
    text = fields.get("content-length")
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 20 else None


def _content(body: Body, what: Plan) -> bytes | AsyncIterator[bytes]:
    """The planned content of a stored body; what is small was read already."""
    if what.empty:
        body.close()
        return b""
    data = body.data
    if data is None:
        return StoredContent(body, body.read(what.start, what.end))
    return data[what.start : what.end] if what.start or what.end != len(data) else data


def _several(body: Body, pieces: Pieces) -> bytes | AsyncIterator[bytes]:
    """Several parts of a stored body with what stands between them."""
    data = body.data
    if data is None:
        return StoredContent(body, _read(body, pieces))
    return b"".join(piece if isinstance(piece, bytes) else data[piece.start : piece.end] for piece in pieces)


async def _read(body: Body, pieces: Pieces) -> AsyncIterator[bytes]:
    """One after the other, never all of them at once."""
    for piece in pieces:
        if isinstance(piece, bytes):
            yield piece
        else:
            async for chunk in body.read(piece.start, piece.end):
                yield chunk


def _recorded(reader: Reader, fate: Fate, outcome: Outcome, what: Plan) -> bytes | AsyncIterator[bytes]:
    """The planned content of a recording. What has come whole is at hand, where its length is told: else a client would
    learn from the framing how the origin's answer was cut into packets."""
    whole = reader.whole() if what.end is not None else None
    if whole is not None:
        fate.tell(outcome)
        return whole[what.start : what.end]
    content = RecordedContent(reader, fate, outcome)
    return CutContent(content, what.start, what.end or 0) if what.status == 206 else content


class RecordedContent:
    """A recording, read. What it turned out to be at the end, the outcome learns."""

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
            self._fate.tell(self._outcome)
            raise

    async def aclose(self) -> None:
        self._fate.tell(self._outcome)
        self._reader.leave()


class CutContent:
    """Bytes [start, end) of a recording that is read from byte 0; left once they are here."""

    def __init__(self, content: RecordedContent, start: int, end: int) -> None:
        self._content = content
        self._start = start
        self._end = end
        self._at = 0

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while self._at < self._end:
            chunk = await anext(self._content)
            begin, self._at = self._at, self._at + len(chunk)
            if part := chunk[max(0, self._start - begin) : self._end - begin]:
                return part
        await self._content.aclose()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        await self._content.aclose()


class StoredContent:
    """Chunks of a stored body; gives the body back however the reading ends, or never begins."""

    def __init__(self, body: Body, chunks: AsyncIterator[bytes]) -> None:
        self._body = body
        self._chunks = chunks

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
