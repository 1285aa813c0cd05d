"""A deadline that is nearly always kept, and then costs next to nothing: an asyncio tool.

A timer for each wait would be made, sorted in among all others and cancelled again. Here one timer stays set while
deadlines come and go; when it rings it looks at the deadline that holds now, and goes on until that one. The same for
many who wait equally long: who came first is the first to have waited enough, so that one timer serves all.
"""

import asyncio
from collections.abc import Callable
from math import inf
from typing import Generic, TypeVar

Who = TypeVar("Who")


class Alarm:
    """Calls `act` at the time that was `set` last, unless it was `clear`ed before. Times are the loop's."""

    __slots__ = ("_act", "_due", "_timer")

    def __init__(self, act: Callable[[], object]) -> None:
        self._act = act
        self._due = inf
        self._timer: asyncio.TimerHandle | None = None

    def set(self, due: float) -> None:
        """Another time takes the place of the one before; inf: none."""
        self._due = due
        timer = self._timer
        if due != inf and (timer is None or timer.when() > due):
            self._wind(due)

    def clear(self) -> None:
        """No time; its timer may go on for a while, and does nothing."""
        self._due = inf

    def stop(self) -> None:
        """`clear`, for who does not come back: nothing is left of it."""
        self._due = inf
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wind(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(due, self._ring)

    def _ring(self) -> None:
        due, self._timer = self._due, None
        if due == inf:
            return
        if due > asyncio.get_running_loop().time():
            self._wind(due)
        else:
            self._due = inf
            self._act()


class Row(Generic[Who]):
    """Those who wait equally long: `late` is told of each who has waited for `seconds` and has not left by then, in the
    order in which they came. For one event loop."""

    __slots__ = ("_due", "_late", "_loop", "_seconds", "_timer")

    def __init__(self, seconds: float, late: Callable[[Who], object]) -> None:
        self._seconds = seconds
        self._late = late
        self._loop: asyncio.AbstractEventLoop | None = None  # of the first who came; to ask for it takes a system call
        self._due: dict[Who, float] = {}  # the loop's times, in order
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._due)

    def join(self, who: Who) -> None:
        """Stand behind the others; whoever joins has to leave."""
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        due = self._due[who] = loop.time() + self._seconds
        if self._timer is None:
            self._timer = loop.call_at(due, self._ring, loop)

    def leave(self, who: Who) -> None:
        """Wait no longer. The timer goes on for who comes next; it may ring for nobody."""
        self._due.pop(who, None)

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now = loop.time()
        for who, due in list(self._due.items()):
            if due > now:
                self._timer = loop.call_at(due, self._ring, loop)
                return
            del self._due[who]
            self._late(who)
