"""When to stop asking Redis. Pure but for the clock that it is given."""

import random
from collections.abc import Callable

ERRORS = 5  # in a row
QUIET = 0.25  # seconds without any success after which one timeout is enough
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0


class Breaker:
    """Counts errors between successes. `clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._errors = 0
        self._worked_at = -QUIET

    def worked(self) -> None:
        self._errors = 0
        self._worked_at = self._clock()

    def failed(self, *, timeout: bool) -> bool:
        """Whether this failure is the one that opens it."""
        self._errors += 1
        return self._errors >= ERRORS or (timeout and self._clock() - self._worked_at >= QUIET)


def pause(tries: int, chance: Callable[[], float] = random.random) -> float:
    """Seconds before the next try after `tries` in vain: full jitter, so that many instances do not come at once
    (Brooker, "Exponential Backoff and Jitter", 2015)."""
    return chance() * min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(max(tries - 1, 0), 16))
