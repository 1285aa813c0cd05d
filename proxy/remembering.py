"""The history of an instance while it runs: taken once a minute, kept where it outlives the process, and asked for."""

import asyncio
import logging
from collections.abc import Callable

from proxy.observe.counters import Counters
from proxy.observe.history import KEPT, MINUTE, History, Window
from proxy.observe.minutes_file import MinutesFile
from proxy.redis.errors import RedisError
from proxy.unsent import Minutes, Unsent

_log = logging.getLogger("cachegate")

WINDOW = "window"  # what a worker asks of its parent
LAST = 1.0  # seconds that the last minute may take at the end
_AGAIN = 2  # minutes of others that are read again: theirs do not end when ours do
_LATE = 3  # times that all is read again of a time when nobody could be heard: the others send it when they are back


class Remembering:
    """`counted` gives a copy of what the whole instance has counted; `clock` is wall time in seconds; `spare` is where
    minutes wait for the next process while `minutes` is away."""

    def __init__(
        self,
        counted: Callable[[], Counters],
        minutes: Minutes,
        clock: Callable[[], float],
        spare: MinutesFile | None = None,
    ) -> None:
        self._counted = counted
        self._minutes = minutes
        self._clock = clock
        self._history = History(clock)
        self._unsent = Unsent(minutes, spare)
        self._files = [each for each in (minutes, spare) if isinstance(each, MinutesFile)]
        self._heard = 0  # the last minute at which others were read; 0: never
        self._deaf = True  # whether they could not be read the last time
        self._missed = 0, 0  # since which minute they could not be, and how often that is still read again

    async def window(self, minutes: int) -> Window:
        """The last minutes, the present one included."""
        if not self._heard:
            await self._begin()
        return self._history.window(minutes, self._counted(), shared=self._minutes.shared and not self._deaf)

    async def run(self) -> None:
        """Take each minute as it ends. What nobody foresaw costs that minute alone."""
        work = self._begin
        while True:
            try:
                await work()
            except Exception:
                _log.exception("the history of a minute could not be taken")
            await asyncio.sleep(MINUTE - self._clock() % MINUTE)
            work = self.tick

    async def _begin(self) -> None:
        """What was left for us is sent first, and heard then with what the others did."""
        await self._send()
        await self._hear()

    async def tick(self) -> None:
        """End the minute that is under way."""
        self._take()
        await self._send()
        await self._hear()

    async def close(self) -> None:
        """Take what is left, and keep it if that can be done at once; what cannot be sent is for the next process."""
        try:
            async with asyncio.timeout(LAST):
                self._take()
                await self._unsent.keep()
                await self._send()
        except TimeoutError:
            _log.warning("the history of the last minute could not be sent in time")
        for file in self._files:
            await file.settled(LAST)

    def _take(self) -> None:
        taken = self._history.take(self._counted())
        if taken is not None:
            self._unsent.add(*taken)

    async def _send(self) -> None:
        await self._unsent.send(self._history.minute - KEPT)

    async def _hear(self) -> None:
        now = self._history.minute
        since, again = self._missed
        first = max(now - KEPT, min(self._heard, now) - _AGAIN) if self._heard else now - KEPT
        if again:
            first = max(now - KEPT, min(first, since))
        try:
            told = await self._minutes.others(first, now)
        except (RedisError, OSError) as error:
            _log.debug("the history of the others cannot be read now: %s", error)
            self._deaf, self._missed = True, (first, _LATE)
            return
        self._heard, self._deaf, self._missed = now, False, (since, max(0, again - 1))
        for minute, parts in told.items():
            self._history.hear(minute, parts)
            await asyncio.sleep(0)  # of a busy day it is much
