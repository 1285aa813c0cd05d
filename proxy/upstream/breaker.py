"""When calls to a failing service are withheld (Nygard, "Release It!", 2007, "Circuit Breaker").

    CLOSED ---- failures in a row, or their share in the window ----> OPEN
    OPEN ------ its time is over ---------------------------------> HALF_OPEN
    HALF_OPEN - the probe succeeds -------------------------------> CLOSED
    HALF_OPEN - the probe fails ----------------------------------> OPEN, for twice as long

Pure: time is an argument (monotonic seconds), chance a constructor's. Each call that is let through has a permit, which
is a number that changes with the state: what is heard of a call that began before the last change counts for nothing.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from math import inf
from typing import Final

from proxy.upstream.window import Window

JITTER: Final = 0.2  # share of its time that it may open earlier, so that many processes do not probe at once
SOON: Final = 1.0  # seconds after which it makes sense to come back while a probe is under way


class State(StrEnum):
    CLOSED = "closed"
    HALF_OPEN = "half-open"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """`upstream.breaker.*`: the share of at least `min_requests` calls in `window` seconds, or failures in a row, that
    open it; seconds that it is open, at first and at most. `probe`: seconds after which a probe that is still under way
    holds up no other."""

    error_rate: float = 0.5
    min_requests: int = 20
    window: float = 10.0
    consecutive: int = 5
    open_for: float = 5.0
    max_open: float = 60.0
    probe: float = 33.0


@dataclass(frozen=True, slots=True)
class Change:
    """A new state and why; `seconds` that it is open."""

    state: State
    why: str
    seconds: float = 0.0


class Breaker:
    """Of one service. `on_change` hears of every change once it holds."""

    def __init__(
        self,
        thresholds: Thresholds,
        on_change: Callable[[Change], None] = lambda change: None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._thresholds = thresholds
        self._on_change = on_change
        self._chance = chance
        self._state = State.CLOSED
        self._permit = 0
        self._calls = Window(thresholds.window)
        self._failures = Window(thresholds.window)
        self._in_a_row = 0
        self._openings = 0  # in a row
        self._until = 0.0  # OPEN: when the first probe may be made; HALF_OPEN: when one more may, whatever became of it

    def state(self, now: float) -> State:
        if self._state is State.OPEN and now >= self._until:
            self._until = -inf
            self._become(Change(State.HALF_OPEN, "the next call is the probe"))
        return self._state

    def withheld(self, now: float) -> float | None:
        """Seconds after which a call may be let through; None when one would be now."""
        if self._state is State.CLOSED:
            return None
        state = self.state(now)
        if now >= self._until:
            return None
        return self._until - now if state is State.OPEN else SOON

    def admit(self, now: float) -> int | None:
        """The permit of a call that begins now, None when it is withheld. What becomes of it is told once, to
        `succeeded`, `failed` or `left`."""
        if self.withheld(now) is not None:
            return None
        if self._state is State.HALF_OPEN:
            self._permit += 1
            self._until = now + self._thresholds.probe
        return self._permit

    def holds(self, permit: int) -> bool:
        """Whether what becomes of this call still counts."""
        return permit == self._permit

    def probes(self, permit: int) -> bool:
        """Whether this call is the probe."""
        return self._state is State.HALF_OPEN and permit == self._permit

    def succeeded(self, permit: int, now: float) -> None:
        if permit != self._permit:
            return
        if self._state is State.HALF_OPEN:
            self._close()
        else:
            self._calls.add(now)
            self._in_a_row = 0

    def failed(self, permit: int, now: float, cause: str) -> None:
        """`cause` is a word for the log."""
        if permit != self._permit:
            return
        if self._state is State.HALF_OPEN:
            self._open(now, f"the probe failed ({cause})")
            return
        self._calls.add(now)
        self._failures.add(now)
        self._in_a_row += 1
        calls, failures = self._calls.count(now), self._failures.count(now)
        if self._in_a_row >= self._thresholds.consecutive:
            self._open(now, f"{self._in_a_row} failures in a row, the last: {cause}")
        elif calls >= self._thresholds.min_requests and failures >= self._thresholds.error_rate * calls:
            self._open(now, f"{failures} of {calls} calls failed in {self._thresholds.window:g} s, the last: {cause}")

    def left(self, permit: int) -> None:
        """The call ended for reasons that are not the service's, a client that left say: another one may probe."""
        if self.probes(permit):
            self._permit += 1
            self._until = -inf

    def _open(self, now: float, why: str) -> None:
        longest = min(self._thresholds.max_open, self._thresholds.open_for * 2.0 ** min(self._openings, 32))
        seconds = longest * (1.0 - JITTER * self._chance())
        self._openings += 1
        self._until = now + seconds
        self._become(Change(State.OPEN, why, seconds))

    def _close(self) -> None:
        self._calls.clear()
        self._failures.clear()
        self._in_a_row = self._openings = 0
        self._become(Change(State.CLOSED, "the probe succeeded"))

    def _become(self, change: Change) -> None:
        self._state = change.state
        self._permit += 1
        self._on_change(change)
