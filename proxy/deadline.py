"""`asyncio.timeout` for many who wait equally long at most: one timer for all of them.

Nearly every wait ends long before it would be over, and a timer for each, set and taken back, costs more than what is
waited for where that is at hand.
"""

import asyncio
from types import TracebackType

from proxy.alarm import Row


class Deadline:
    """After `seconds` the task that is in one of the `wait`s is cancelled, and TimeoutError comes out of it. For one
    event loop."""

    __slots__ = ("_row",)

    def __init__(self, seconds: float) -> None:
        self._row = Row(seconds, _Wait.expire)

    def wait(self) -> "_Wait":
        """To be entered by `with`, once, within a task."""
        return _Wait(self._row)


class _Wait:
    """What cancels it is told apart from other cancellations as `asyncio.timeout` does it."""

    __slots__ = ("_cancelling", "_expired", "_row", "_task")

    def __init__(self, row: "Row[_Wait]") -> None:
        self._row = row
        self._expired = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        self._row.join(self)

    def expire(self) -> None:
        self._expired = True
        self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._expired:
            self._row.leave(self)
        elif self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error
