"""Keeps a process below `memory.limit`: what can be fetched again leaves memory first, then requests are refused.

The process is looked at by a timer, not by requests: these only ask `full`, which is a word in memory. What the tier
gives up leaves in slices, so that no request waits for all of it.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from proxy.observe.counters import Counters
from proxy.observe.figures import Pressure
from proxy.observe.sizes import spoken
from proxy.policy.pressure import CALMS, Level, judge_pressure, judge_room

_log = logging.getLogger("cachegate")

EVERY = 0.05  # seconds between two looks, some 20 us each
CLOSER = EVERY / 5  # and above what is calm: a flood that is answered fast takes the last twentieth within one of them
SLICE = 1 << 18  # bytes that leave the tier before others have their turn
REST = 20  # looks under pressure between two tries to give back what requests have left


class Near(Protocol):
    """What of the tiers lies in memory."""

    @property
    def near_bytes(self) -> int: ...

    @property
    def near_room(self) -> int:
        """Bytes that may lie there."""
        ...

    def resize_near(self, room: int) -> None:
        """Let another bound hold; who has no room leaves."""
        ...

    def keep_less(self, pressed: bool) -> None:
        """From now on answers under way are to be held on disk rather than in memory, or no longer so."""
        ...

    def give_up(self) -> None:
        """Keep none of the answers under way that lie in memory; who reads them reads on."""
        ...


class Shedding:
    """Obeys what `policy.pressure` judges. `limit` is in bytes, 0 for none; `resident` reads the bytes in use, None
    where nobody tells; `give_back` returns freed memory to the system, and may block; `beside` hears when memory comes
    under pressure, and when it is out of it."""

    def __init__(
        self,
        limit: int,
        near: Near,
        counters: Counters,
        resident: Callable[[], int | None],
        give_back: Callable[[], None],
        beside: Callable[[bool], None] = lambda pressed: None,
    ) -> None:
        self.level = Level.CALM
        self._limit = limit
        self._near = near
        self._whole = near.near_room
        self._counters = counters
        self._resident = resident
        self._give_back = give_back
        self._beside = beside
        self._looks = 0  # under pressure, since something left the tier

    def full(self) -> bool:
        """Whether nothing may begin that wants memory of its own."""
        return self.level is Level.REFUSING

    def now(self) -> Pressure:
        """How it stands."""
        used = self._resident() or 0
        return Pressure(used, self._limit, self._near.near_room, self.level)

    async def watch(self) -> None:
        """Look again and again, for ever; at once over where there is nothing to look at."""
        if not self._limit:
            return
        used = self._resident()
        if used is None:
            _log.warning("memory.limit has no effect: this system does not tell how much memory a process uses")
            return
        if judge_pressure(Level.CALM, used, self._limit) is not Level.CALM:
            bound = spoken(self._limit)
            _log.error("memory.limit is too low: before the first request %s of %s are used", spoken(used), bound)
        while True:
            await asyncio.sleep(EVERY if used <= self._limit * CALMS else CLOSER)
            used = await self.look()

    async def look(self) -> int:
        """Judge once and obey; the bytes in use before."""
        used = self._resident()
        if used is None:
            return 0
        before, self.level = self.level, judge_pressure(self.level, used, self._limit)
        if self.level is not before:
            self._changed(before, used)
        near = self._near
        room = judge_room(self.level, used, self._limit, near.near_bytes, near.near_room, self._whole)
        held = near.near_bytes
        await self._resize(room)
        self._looks = 0 if self.level is Level.CALM or near.near_bytes < held else self._looks + 1
        if self.level is not Level.CALM and self._looks % REST == 0:
            await asyncio.to_thread(self._give_back)
        return used

    async def _resize(self, room: int) -> None:
        """Slice by slice down to `room`, or up to it at once."""
        near = self._near
        while near.near_bytes - room > SLICE:
            near.resize_near(near.near_bytes - SLICE)
            await asyncio.sleep(0)
        if room != near.near_room:
            near.resize_near(room)

    def _changed(self, before: Level, used: int) -> None:
        told = f"{spoken(used)} of {spoken(self._limit)} are used"
        self._near.keep_less(self.level is not Level.CALM)
        self._beside(self.level is not Level.CALM)
        if before is Level.CALM:
            self._counters.shrinks += 1
        match self.level:
            case Level.CALM:
                _log.info("memory: %s, the memory tier may grow again", told)
            case Level.SHRINKING:
                _log.warning("memory: %s, the memory tier shrinks", told)
            case Level.REFUSING:
                self._near.give_up()
                _log.error("memory: %s, only what memory holds is answered", told)
