"""When calls to a failing service are withheld (Nygard, "Release It!", 2007, "Circuit Breaker").

    CLOSED ---- failures in a row, or the share of failures or of slow calls in the window ----> OPEN
    OPEN ------ its time is over ------------------------------------------------------------> HALF_OPEN
    HALF_OPEN - the probe succeeds in time --------------------------------------------------> CLOSED
    HALF_OPEN - the probe fails, or is slow -------------------------------------------------> OPEN, for twice as long

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


class Cause(StrEnum):
    """What opened it, by the setting that says when; a probe that fails leaves it at that."""

    CONSECUTIVE = "consecutive"
    ERROR_RATE = "error_rate"
    SLOW_CALLS = "slow_call_rate"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """`upstream.breaker.*`: the share of failures, or of calls whose head took more than `slow_call_duration` seconds
    (inf: none is slow), of at least `min_requests` calls in `window` seconds, or failures in a row, that open it;
    seconds that it is open, at first and at most. `probe`: seconds after which a probe that is still under way holds up
    no other."""

    error_rate: float = 0.5
    min_requests: int = 20
    window: float = 10.0
    consecutive: int = 5
    open_for: float = 5.0
    max_open: float = 60.0
    probe: float = 33.0
    slow_call_duration: float = inf
    slow_call_rate: float = 0.5


@dataclass(frozen=True, slots=True)
class Change:
    """A new state and why, in words; of an open one the `cause` in one word, `seconds` that it is open, and the
    how-manieth opening in a row it is."""

    state: State
    why: str
    seconds: float = 0.0
    cause: Cause | None = None
    openings: int = 0


class Breaker:
    """Of one service. `on_change` hears of every change once it holds."""

    def __init__(
        self,
        thresholds: Thresholds,
        on_change: Callable[[Change], None] = lambda change: None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.thresholds = thresholds
        self._on_change = on_change
        self._chance = chance
        self._state = State.CLOSED
        self.permit = 0  # of a call that begins now, while it is calm
        self._calls = Window(thresholds.window)
        self._failures = Window(thresholds.window)
        self._slow = Window(thresholds.window)
        self._cause = Cause.CONSECUTIVE  # of the last opening
        self._in_a_row = 0
        self._openings = 0  # in a row
        self._until = 0.0  # OPEN: when the first probe may be made; HALF_OPEN: when one more may, whatever became of it

    @property
    def calm(self) -> bool:
        """Whether every call is let through."""
        return self._state is State.CLOSED

    def state(self, now: float) -> State:
        if self._state is State.OPEN and now >= self._until:
            self._until = -inf
            self._become(Change(State.HALF_OPEN, "the next call is the probe"))
        return self._state

    def glance(self, now: float) -> tuple[State, float | None]:
        """The state, and what `withheld` says; unlike there, nothing changes for being asked about."""
        waits = now < self._until
        match self._state:
            case State.CLOSED:
                return State.CLOSED, None
            case State.OPEN:
                return (State.OPEN, self._until - now) if waits else (State.HALF_OPEN, None)
            case State.HALF_OPEN:
                return State.HALF_OPEN, SOON if waits else None

    def cause(self, now: float) -> Cause | None:
        """What opened it; None while it is closed."""
        return None if self.state(now) is State.CLOSED else self._cause

    def is_slow(self, seconds: float) -> bool:
        """Whether a call whose head came after so long is slow."""
        return seconds > self.thresholds.slow_call_duration

    def withheld(self, now: float) -> float | None:
        """Seconds after which a call may be let through; None when one would be now."""
        if self._state is State.CLOSED:
            return None
        self.state(now)
        return self.glance(now)[1]

    def admit(self, now: float) -> int | None:
        """The permit of a call that begins now, None when it is withheld. What becomes of it is told once, to
        `succeeded`, `failed` or `left`."""
        if self.withheld(now) is not None:
            return None
        if self._state is State.HALF_OPEN:
            self.permit += 1
            self._until = now + self.thresholds.probe
        return self.permit

    def holds(self, permit: int) -> bool:
        """Whether what becomes of this call still counts."""
        return permit == self.permit

    def probes(self, permit: int) -> bool:
        """Whether this call is the probe."""
        return self._state is State.HALF_OPEN and permit == self.permit

    def succeeded(self, permit: int, now: float, *, slow: bool = False) -> None:
        if permit != self.permit:
            return
        if self._state is State.HALF_OPEN:
            if slow:
                self._open(now, "the probe was slow", Cause.SLOW_CALLS)
            else:
                self._close()
            return
        self._calls.add(now)
        self._in_a_row = 0
        if slow:
            self._slow.add(now)
            self._weigh(now, "")

    def failed(self, permit: int, now: float, cause: str, *, slow: bool = False) -> None:
        """`cause` is a word for the log."""
        if permit != self.permit:
            return
        if self._state is State.HALF_OPEN:
            self._open(now, f"the probe failed ({cause})", self._cause)
            return
        self._calls.add(now)
        self._failures.add(now)
        self._in_a_row += 1
        if slow:
            self._slow.add(now)
        self._weigh(now, cause)

    def _weigh(self, now: float, last: str) -> None:
        """Open it if what it was told is enough; `last` is the cause of the last failure."""
        limits = self.thresholds
        calls, failures, slow = self._calls.count(now), self._failures.count(now), self._slow.count(now)
        if self._in_a_row >= limits.consecutive:
            self._open(now, f"{self._in_a_row} failures in a row, the last: {last}", Cause.CONSECUTIVE)
        elif calls < limits.min_requests:
            pass
        elif failures >= limits.error_rate * calls and last:
            why = f"{failures} of {calls} calls failed in {limits.window:g} s, the last: {last}"
            self._open(now, why, Cause.ERROR_RATE)
        elif slow >= limits.slow_call_rate * calls and slow:
            span = f"{limits.slow_call_duration:g} s"
            why = f"{slow} of {calls} calls in {limits.window:g} s took longer than {span}"
            self._open(now, why, Cause.SLOW_CALLS)

    def left(self, permit: int) -> None:
        """The call ended for reasons that are not the service's, a client that left say: another one may probe."""
        if self.probes(permit):
            self.permit += 1
            self._until = -inf

    def elsewhere(self, permit: int, now: float) -> None:
        """Another worker probes: this call does not, and no other here for a moment."""
        if self.probes(permit):
            self.permit += 1
            self._until = now + SOON

    def learn(self, change: Change, now: float) -> None:
        """Follow another worker's breaker of the same service, which has told of it already; one that has opened no
        oftener than this one says nothing new."""
        match change.state:
            case State.OPEN if change.openings > self._openings:
                self._wait(now, change.openings, change.cause or self._cause)
                self._enter(State.OPEN)
            case State.CLOSED if self._state is not State.CLOSED:
                self._forget()
                self._enter(State.CLOSED)

    def _open(self, now: float, why: str, cause: Cause) -> None:
        seconds = self._wait(now, self._openings + 1, cause)
        self._become(Change(State.OPEN, why, seconds, cause, self._openings))

    def _wait(self, now: float, openings: int, cause: Cause) -> float:
        """Seconds until the first probe."""
        longest = min(self.thresholds.max_open, self.thresholds.open_for * 2.0 ** min(openings - 1, 32))
        seconds = longest * (1.0 - JITTER * self._chance())
        self._openings, self._cause, self._until = openings, cause, now + seconds
        return seconds

    def _close(self) -> None:
        self._forget()
        self._become(Change(State.CLOSED, "the probe succeeded"))

    def _forget(self) -> None:
        for window in (self._calls, self._failures, self._slow):
            window.clear()
        self._in_a_row = self._openings = 0

    def _become(self, change: Change) -> None:
        self._enter(change.state)
        self._on_change(change)

    def _enter(self, state: State) -> None:
        self._state = state
        self.permit += 1
