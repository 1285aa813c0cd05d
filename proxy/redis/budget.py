"""How long one request may wait for Redis: all its steps together, and none after the first that came in vain.

The budget travels in the context, so that a fetch that a request starts goes on with what the request has left.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

WHOLE = 0.25  # seconds


class Budget:
    """What a request has left, in seconds."""

    __slots__ = ("left",)

    def __init__(self, seconds: float = WHOLE) -> None:
        self.left = seconds


_current: ContextVar[Budget | None] = ContextVar("redis_budget", default=None)


@contextmanager
def one_budget(seconds: float = WHOLE) -> Iterator[Budget]:
    """All that waits for Redis in here, and in tasks that are started in here, shares one budget."""
    budget = Budget(seconds)
    token = _current.set(budget)
    try:
        yield budget
    finally:
        _current.reset(token)


@contextmanager
def the_budget() -> Iterator[None]:
    """As `one_budget`, but that a request goes on with the one that it has already."""
    if _current.get() is not None:
        yield
        return
    with one_budget():
        yield


@contextmanager
def spending(limit: float) -> Iterator[float]:
    """The seconds that may be waited now, at most `limit`, 0.0 when nothing is left; what passes in here is spent. A
    wait that comes to its end in vain (TimeoutError) ends the budget."""
    budget = _current.get()
    if budget is None:
        yield limit
        return
    began = time.monotonic()
    try:
        yield min(limit, budget.left)
    except TimeoutError:
        budget.left = 0.0
        raise
    finally:
        budget.left = max(0.0, budget.left - (time.monotonic() - began))
