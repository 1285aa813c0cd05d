"""The places of one worker's jobs: its share of what all jobs of the instance have, which changes while they run."""

import asyncio

from proxy.warming_one import Pace, Stop


class Places:
    """At first none. `concurrency` and `rate` are the whole instance's, of which the pace has the same share."""

    def __init__(self, concurrency: int, rate: float, pace: Pace) -> None:
        self.pace = pace
        self.whole = concurrency
        self.held = 0  # those that somebody else cannot have, taken or not
        self._owed = 0  # to be given back as soon as they are left
        self._rate = rate
        self._free = asyncio.Semaphore(0)

    async def change(self, most: int) -> None:
        """Hold so many from now on; of those that are taken, not before they are left."""
        more = most - (self.held - self._owed)
        self._owed -= min(more, self._owed)
        while self.held - self._owed < most:
            self.held += 1
            self._free.release()
        while self._owed and not self._free.locked():
            await self._free.acquire()
            self._give_back()
        if most:
            self.pace.change(self._rate * most / self.whole)

    async def take(self, stop: Stop) -> None:
        """Wait for one; when `stop` is called, the task that waits is cancelled."""
        with stop.cancels():
            await self._free.acquire()

    def leave(self) -> None:
        if self._owed:
            self._give_back()
        else:
            self._free.release()

    def _give_back(self) -> None:
        self._owed -= 1
        self.held -= 1
