"""How long one request may wait for Redis: all its steps together, and none after the first that came in vain.

The budget travels in the context, so that a fetch that a request starts goes on with what the request has left.
"""

import math
import time
from contextlib import AbstractContextManager
from contextvars import ContextVar, Token

WHOLE = 0.25  # seconds


class Budget:
    """What a request has left, in seconds."""

    __slots__ = ("left",)

    def __init__(self, seconds: float = WHOLE) -> None:
        self.left = seconds


_current: ContextVar[Budget | None] = ContextVar("redis_budget", default=None)


class _Within:
    """The budget that holds inside; a class, since every request that Redis may answer goes through here."""

    __slots__ = ("_budget", "_token")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._token: Token[Budget | None]

    def __enter__(self) -> Budget:
        self._token = _current.set(self._budget)
        return self._budget

    def __exit__(self, *error: object) -> None:
        _current.reset(self._token)


def one_budget(seconds: float = WHOLE) -> AbstractContextManager[Budget]:
    """All that waits for Redis in here, and in tasks that are started in here, shares one budget."""
    return _Within(Budget(seconds))


def the_budget() -> AbstractContextManager[Budget]:
    """As `one_budget`, but that a request goes on with the one that it has already."""
    return _Within(_current.get() or Budget())


class spending:  # noqa: N801 it is used as a function
    """The seconds that may be waited now, at most `limit`, 0.0 when nothing is left; what passes in here is spent. A
    wait that comes to its end in vain (TimeoutError) ends the budget."""

    __slots__ = ("_began", "_budget", "_limit")

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._budget = _current.get()
        self._began = 0.0

    def __enter__(self) -> float:
        if self._budget is None:
            return self._limit
        self._began = time.monotonic()
        return min(self._limit, self._budget.left)

    def __exit__(self, kind: type[BaseException] | None, *more: object) -> None:
        budget = self._budget
        if budget is None:
            return
        spent = math.inf if kind is not None and issubclass(kind, TimeoutError) else time.monotonic() - self._began
        budget.left = max(0.0, budget.left - spent)
