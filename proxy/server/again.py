"""Requests to which the answer is remembered but for its content, for which Redis is asked again (docs/decisions/0017).

What was answered from Redis is remembered as what comes from memory is, by all that was read of the request. Whether
Redis still holds the very record is asked each time; whoever asks is told by a callback, and waits in no task.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from math import inf

from proxy.instant import AtOnce
from proxy.server.ready import Ready
from proxy.server.requests import fresh_id
from proxy.store.redis_again import Mark


class Again:
    """One of them, of a `client`, with the X-Request-Id that came; what Redis says is `told` to `come`. `began` by the
    timer of those who look at heads."""

    __slots__ = ("began", "client", "come", "head", "id", "known", "mark")

    def __init__(self, head: bytes, known: Ready, mark: Mark, id: bytes | None, client: str, began: float) -> None:
        self.head = head
        self.known = known
        self.mark = mark
        self.id = id
        self.client = client
        self.began = began
        self.come: Callable[[Again, object], object] = _nobody

    def told(self, said: object) -> None:
        self.come(self, said)


def _nobody(again: Again, said: object) -> None:
    """Nothing is told before somebody waits."""


class Asking:
    """`clock` is wall time, `timer` measures, both in seconds."""

    def __init__(self, at_once: AtOnce, clock: Callable[[], float], timer: Callable[[], float]) -> None:
        self._at_once = at_once
        self._clock = clock
        self._timer = timer
        self._now = -inf  # by the clock, when something was answered last

    def ask(self, head: bytes, known: Ready, id: bytes | None, client: str) -> Again | None:
        """Have Redis asked for what is not remembered of this answer; then `come` is to be set at once. None where that
        is not its way, or it does not hold any more."""
        mark = known.slot
        if not isinstance(mark, Mark) or not self._holds(known):
            return None
        again = Again(head, known, mark, id, client, self._timer())
        return again if self._at_once.ask(mark, again.told) else None

    def take(self, again: Again, said: object) -> bytes | None:
        """The answer, where what was told is what it was; None where more has to be asked."""
        known = again.known
        if not self._holds(known):
            return None
        content = self._at_once.take(again.mark, said, self._timer() - again.began)
        if content is None:
            return None
        body = content if known.body is None else known.body
        told = again.id or fresh_id().encode()
        seconds = self._timer() - again.began
        known.tally.book(seconds, len(body))
        if known.line is not None:
            known.line.write(self._now, seconds, again.client, told)
        return b"".join((known.told, told, known.rest, body))

    def spent(self, again: Again) -> AbstractContextManager[object]:
        """What is done in here has left for Redis what the request has."""
        return self._at_once.rest(self._timer() - again.began)

    def _holds(self, known: Ready) -> bool:
        now = self._clock()
        if now < self._now or (now >= known.told_until and not known.tell(now)):
            return False
        self._now = now
        return True
