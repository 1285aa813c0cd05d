"""The history of an instance while it runs: taken once a minute, kept where it outlives the process, and asked for."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from proxy.observe.counters import Counters
from proxy.observe.history import KEPT, MINUTE, History, Window
from proxy.redis.errors import RedisError

_log = logging.getLogger("cachegate")

WINDOW = "window"  # what a worker asks of its parent
LAST = 1.0  # seconds that the last minute may take at the end
_AGAIN = 2  # minutes of others that are read again: theirs do not end when ours do


class Minutes(Protocol):
    """Where minutes outlive us. RedisError or OSError when they cannot, now. `shared`: other instances keep theirs
    there too."""

    @property
    def shared(self) -> bool: ...

    async def put(self, minute: int, raw: bytes) -> None:
        """Keep all that we have counted in a minute so far."""
        ...

    async def others(self, first: int, last: int) -> Mapping[int, Sequence[bytes]]:
        """What others have counted from minute `first` to `last`, those that we were before a restart included."""
        ...


class Remembering:
    """`counted` gives a copy of what the whole instance has counted; `clock` is wall time in seconds."""

    def __init__(self, counted: Callable[[], Counters], minutes: Minutes, clock: Callable[[], float]) -> None:
        self._counted = counted
        self._minutes = minutes
        self._clock = clock
        self._history = History(clock)
        self._unsent: dict[int, bytes] = {}  # bounded by KEPT: one for each minute
        self._heard = 0  # the last minute at which others were read; 0: never
        self._deaf = True  # whether they could not be read the last time

    async def window(self, minutes: int) -> Window:
        """The last minutes, the present one included."""
        if not self._heard:
            await self._hear()
        return self._history.window(minutes, self._counted(), shared=self._minutes.shared and not self._deaf)

    async def run(self) -> None:
        """Take each minute as it ends. What nobody foresaw costs that minute alone."""
        work = self._hear
        while True:
            try:
                await work()
            except Exception:
                _log.exception("the history of a minute could not be taken")
            await asyncio.sleep(MINUTE - self._clock() % MINUTE)
            work = self.tick

    async def tick(self) -> None:
        """End the minute that is under way."""
        taken = self._history.take(self._counted())
        if taken is not None:
            self._unsent |= {taken[0]: taken[1]}
        await self._send()
        await self._hear()

    async def close(self) -> None:
        """Take what is left, and keep it if that can be done at once."""
        try:
            async with asyncio.timeout(LAST):
                await self.tick()
        except TimeoutError:
            _log.warning("the history of the last minute is not kept")

    async def _send(self) -> None:
        oldest = self._history.minute - KEPT
        for minute, raw in sorted(self._unsent.items()):
            try:
                if minute > oldest:
                    await self._minutes.put(minute, raw)
            except (RedisError, OSError) as error:
                _log.debug("the history of a minute waits: %s", error)
                return
            if self._unsent.get(minute) is raw:
                del self._unsent[minute]

    async def _hear(self) -> None:
        now = self._history.minute
        first = max(now - KEPT, min(self._heard, now) - _AGAIN) if self._heard else now - KEPT
        try:
            told = await self._minutes.others(first, now)
        except (RedisError, OSError) as error:
            _log.debug("the history of the others cannot be read now: %s", error)
            self._deaf = True
            return
        self._heard, self._deaf = now, False
        for minute, parts in told.items():
            self._history.hear(minute, parts)
            await asyncio.sleep(0)  # of a busy day it is much
