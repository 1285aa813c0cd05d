"""Whether we were too busy to hear an answer that was there: a timeout says nothing about the server then."""

import asyncio
import math
from collections.abc import Callable

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
