"""Whether we were too busy to hear an answer that was there: a timeout says nothing about the server then."""

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import Any

TICK = 0.05  # seconds between two looks at the event loop, while there is something to wait for
LATE = 0.1  # seconds that the event loop comes late by once it is too busy


class Lag:
    """Watches the event loop for as long as `waiting` says that somebody waits. What was late counts for `kept`
    seconds: so long may a wait have begun before."""

    def __init__(self, waiting: Callable[[], bool], kept: float) -> None:
        self._waiting = waiting
        self._kept = kept
        self._late_until = -math.inf
        self._timer: asyncio.TimerHandle | None = None

    @property
    def lately(self) -> bool:
        return asyncio.get_running_loop().time() < self._late_until

    def watch(self) -> None:
        """Somebody waits now."""
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(TICK, self._look, loop.time() + TICK)

    def _look(self, due: float) -> None:
        now = asyncio.get_running_loop().time()
        if now - due >= LATE:
            self._late_until = now + self._kept
        self._timer = None
        if self._waiting():
            self.watch()


async def heard(answers: Sequence["asyncio.Future[Any]"], seconds: float) -> list[Any]:
    """The answers, once all are here; TimeoutError after `seconds` in which we listened: of a time in which the event
    loop was busy with others, and could have heard nothing, one TICK counts."""
    loop = asyncio.get_running_loop()
    left = seconds
    timer: asyncio.TimerHandle

    def tick(began: float) -> None:
        nonlocal left, timer
        left -= min(TICK, loop.time() - began)
        if left > 0:
            timer = loop.call_later(min(TICK, left), tick, loop.time())
            return
        for answer in answers:
            if not answer.done():
                answer.set_exception(TimeoutError())
                answer.exception()  # seen, should nobody come to it

    timer = loop.call_later(min(TICK, seconds), tick, loop.time())
    try:
        return [await answer for answer in answers]
    finally:
        timer.cancel()
