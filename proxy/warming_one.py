"""One URL fetched before clients ask for it, through the same story as their own requests.

What is fresh is left alone: it is looked at first, then asked for with `only-if-cached` (RFC 9111 5.2.1.7). The rest is
fetched at a bounded pace, where the upstream has room to spare, unless its job ends early: clients go first.
"""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple, Protocol

from proxy.errors import CachegateError, TruncatedError
from proxy.message import Fields, Reply, Request
from proxy.outcome import Outcome, Verdict
from proxy.reasons import Why
from proxy.warming_jobs import End, Wanted

_log = logging.getLogger("cachegate")

LOOK = 0.02  # seconds between two looks whether there is room

# RFC 9111 5.2.1.2: what is stale does not count as there. The first asks the origin for nothing (5.2.1.7).
_JUDGED, _FETCHED = "only-if-cached, max-stale=0", "max-stale=0"

Answer = Callable[[Request], Awaitable[Reply]]


class Guard(Protocol):
    """Keeps clients' requests from noticing."""

    def refuses(self, request: Request) -> Why | None:
        """Why no answer to this can be stored, whatever it is."""
        ...

    def fresh(self, request: Request) -> bool:
        """Whether its answer is at hand and fresh. Nothing is counted: what is warmed is not hot by that."""
        ...

    def heeds(self, request: Request) -> bool:
        """Whether to ask with `only-if-cached` comes for free: it is obeyed, and no limit counts it."""
        ...

    def under_way(self, request: Request) -> bool:
        """Whether its answer is being fetched, or written."""
        ...

    def forbids(self, request: Request) -> End | None:
        """Why nothing more is to be asked for now."""
        ...

    def room(self, request: Request) -> bool:
        """Whether this may be asked for now with nobody waiting for it."""
        ...


class Pace:
    """Turns, one after the other, at most `rate` in a second. `timer` never goes back, in seconds."""

    def __init__(self, rate: float, timer: Callable[[], float]) -> None:
        self._timer = timer
        self._next = timer()
        self.change(rate)

    def change(self, rate: float) -> None:
        """Let this rate hold for the turns after the next one."""
        self._gap = 1 / rate if rate else 0.0

    def turn(self) -> float:
        """Take one; it comes after so many seconds."""
        now = self._timer()
        at = max(now, self._next)
        self._next = at + self._gap
        return at - now


class Stop:
    """Whether nothing more is to be asked for, and `why`."""

    def __init__(self) -> None:
        self.why: End | None = None
        self._called = asyncio.Event()
        self._cancelled: set[asyncio.Task[object]] = set()

    def call(self, why: End) -> None:
        """The first reason stands."""
        self.why = self.why or why
        self._called.set()
        for task in self._cancelled:
            task.cancel()

    @contextmanager
    def cancels(self) -> Iterator[None]:
        """Have the task that is within the block cancelled by the call."""
        task = asyncio.current_task()
        assert task is not None
        self._cancelled.add(task)
        try:
            yield
        finally:
            self._cancelled.discard(task)

    async def within(self, seconds: float) -> bool:
        """Wait so long, or until it is called."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._called.wait()
        return self.why is not None


class Result(NamedTuple):
    """What became of one URL: one of the counts of `Progress`, and for a failure the reason's word and the status."""

    kind: str
    reason: str = ""
    status: int | None = None


class Warmer:
    """`answer` is the story of a request; `clock` is wall time in seconds."""

    def __init__(self, answer: Answer, guard: Guard, clock: Callable[[], float]) -> None:
        self._answer = answer
        self._guard = guard
        self._clock = clock

    async def warm(self, wanted: Wanted, pace: Pace, stop: Stop) -> Result | None:
        """None where the job ends before it was asked for."""
        try:
            request = self._request(wanted, _JUDGED)
            if (why := self._guard.refuses(request)) is not None:
                return Result("failed", why.word)
            if (there := await self._judged(request)) is not None:
                return there
            if not await self._may(request, pace, stop):
                return None
            return await self._fetched(self._request(wanted, _FETCHED), stop)
        except TruncatedError:
            return Result("failed", Why.TRUNCATED.word)
        except Exception:
            _log.exception("warming %s", wanted.url)
            return Result("failed", Why.INTERNAL.word)

    async def _judged(self, request: Request) -> Result | None:
        """None where store does not answer it, or cannot be asked alone."""
        if self._guard.fresh(request):
            return Result("skipped")
        if not self._guard.heeds(request):
            return None
        reply = await self._answer(request)
        if reply.outcome.reason is Why.ONLY_IF_CACHED:
            return None
        await _leave(reply)
        return judge_warmed(reply.outcome)

    async def _may(self, request: Request, pace: Pace, stop: Stop) -> bool:
        """Wait for a turn, and until nobody's place is taken; False where the job ends instead."""
        ended = await stop.within(pace.turn())
        while not ended:
            if (why := self._guard.forbids(request)) is not None:
                stop.call(why)
            elif self._guard.room(request):
                return True
            ended = await stop.within(LOOK)
        return False

    async def _fetched(self, request: Request, stop: Stop) -> Result:
        reply = await self._answer(request)
        await _read(reply)
        result = judge_warmed(reply.outcome)
        # Who comes before it is written would wait with the others.
        while result.kind == "ok" and self._guard.under_way(request) and not await stop.within(LOOK):
            pass
        return result

    def _request(self, wanted: Wanted, wish: str) -> Request:
        fields = Fields.of(("Host", wanted.host), *wanted.headers, ("Cache-Control", wish))
        return Request(
            "GET",
            wanted.scheme,
            wanted.host,
            wanted.target,
            fields,
            received_at=self._clock(),
            id=secrets.token_hex(16),
        )


def judge_warmed(outcome: Outcome) -> Result:
    """What a request has done for the next one like it."""
    if outcome.verdict is Verdict.HIT:
        return Result("skipped")
    if outcome.stored or outcome.verdict is Verdict.UPDATING:
        return Result("ok")
    return Result("failed", (outcome.stored_why or outcome.reason).word, outcome.upstream_status)


async def _read(reply: Reply) -> None:
    """The whole content, since what nobody reads need not be fetched to its end."""
    try:
        if not isinstance(reply.body, bytes):
            async for _ in reply.body:
                pass
    finally:
        await _leave(reply)


async def _leave(reply: Reply) -> None:
    if (aclose := getattr(reply.body, "aclose", None)) is not None:
        with suppress(CachegateError):
            await aclose()
