"""Looks at a gateway, each in a thread of its own: one that hangs holds up nobody who draws, or waits for a key."""

import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Generic, TypeVar

T = TypeVar("T")


class Looking(Generic[T]):
    """One `look` at a time; the thread of the last one ends with the program."""

    def __init__(self, look: Callable[[], T]) -> None:
        self._look = look
        self._seen: SimpleQueue[T | Exception] = SimpleQueue()
        self._began: float | None = None

    @property
    def seconds(self) -> float | None:
        """Since when a look is under way; None while none is."""
        return None if self._began is None else time.monotonic() - self._began

    def begin(self) -> None:
        """Look, while no other look is under way."""
        if self._began is None:
            self._began = time.monotonic()
            Thread(target=self._run, daemon=True).start()

    def taken(self) -> T | None:
        """What was seen, once; None while nothing was. What the look raised."""
        try:
            seen = self._seen.get_nowait()
        except Empty:
            return None
        self._began = None
        if isinstance(seen, Exception):
            raise seen
        return seen

    def _run(self) -> None:
        try:
            self._seen.put(self._look())
        except Exception as error:
            self._seen.put(error)
