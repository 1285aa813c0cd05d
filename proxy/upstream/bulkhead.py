"""A bounded number of calls at a time and a bounded queue before them, first come first served."""

import asyncio
from collections import deque

from proxy.errors import Fault, UpstreamError


class Bulkhead:
    """At most `limit` inside, at most `queue` waiting, none of them longer than `patience` seconds. `name` is what has
    the bound, for those who are refused."""

    def __init__(self, limit: int, queue: int, patience: float, name: str = "the upstream") -> None:
        self._limit = limit
        self._queue = queue
        self._patience = patience
        self._name = name
        self._inside = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def inside(self) -> int:
        return self._inside

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def spare(self) -> bool:
        """Whether there is room for who is in no hurry: nobody waits, and a quarter of the places is left to others."""
        return not self._waiting and self._inside * 4 < self._limit * 3

    def resize(self, limit: int) -> None:
        """Let another bound hold; who is inside already stays."""
        self._limit = limit
        while self._waiting and self._inside < limit:
            self._inside += 1
            self.leave()

    def take(self) -> bool:
        """Take a place where one is free and nobody waits for it."""
        free = self._inside < self._limit and not self._waiting
        self._inside += free
        return free

    async def enter(self) -> None:
        """Take a place, which `leave` gives back; UpstreamError(BUSY) when the queue is full or too slow."""
        if self.take():
            return
        if len(self._waiting) >= self._queue:
            raise UpstreamError(Fault.BUSY, f"too many requests wait for {self._name}", retry_after=1)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(self._patience):
                await turn
        except BaseException as e:
            if turn.done() and not turn.cancelled():
                self.leave()  # the place had been handed over in the same turn of the loop
            elif turn in self._waiting:  # else somebody who left has passed it over already
                self._waiting.remove(turn)
            if isinstance(e, TimeoutError):
                raise UpstreamError(Fault.BUSY, f"{self._name} had no place in time", retry_after=1) from None
            raise

    def leave(self) -> None:
        """Hand the place to the one who waits longest, or free it."""
        while self._waiting and self._inside <= self._limit:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._inside -= 1
