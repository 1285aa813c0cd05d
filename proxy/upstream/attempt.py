"""One try at an answer: how far it got when it failed, and how long it may take."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import TypeVar

from proxy.errors import Fault, UpstreamError

T = TypeVar("T")


class Stage(Enum):
    """How far a failed attempt had got; decides whether another one may follow (RFC 9110 9.2.2)."""

    CONNECT = "connect"  # nothing was sent
    STALE = "stale"  # sent on a kept connection that turned out to be gone: no byte of an answer came
    SENT = "sent"  # sent on a new connection: no byte of an answer came
    ANSWER = "answer"  # part of an answer came


class AttemptFailed(UpstreamError):
    """An attempt that got no proven answer."""

    def __init__(self, fault: Fault, message: str, stage: Stage) -> None:
        self.stage = stage
        super().__init__(fault, message)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. `connect` covers name lookup, TCP and TLS; `first_byte` runs from the request's last byte to the whole
    head; `read` is the longest silence while the origin is awaited; `total` bounds all waiting for the origin in one
    exchange (0: no bound) - time in which a slow client is awaited does not count."""

    connect: float = 3.0
    first_byte: float = 30.0
    read: float = 30.0
    total: float = 300.0


USUAL = Timeouts()


class Patience:
    """What is left, and what was spent, of the time that one exchange may wait for the origin. `time` is the loop's."""

    __slots__ = ("_left", "_time", "spent", "timeouts")

    def __init__(self, timeouts: Timeouts, time: Callable[[], float]) -> None:
        self.timeouts = timeouts
        self._time = time
        self.spent = 0.0  # seconds
        self._left = timeouts.total or inf

    def lift_total(self) -> None:
        """For streams, which end when they like."""
        self._left = inf

    async def wait(self, ask: Callable[[float], Awaitable[T]], limit: float, fault: Fault, stage: Stage) -> T:
        """What is asked for, until a time of the loop's clock that `ask` is told and keeps; AttemptFailed after `limit`
        seconds of silence, or when the total is used up."""
        began = self._time()
        silence = self._left > limit
        try:
            return await ask(began + (limit if silence else max(self._left, 0.0)))
        except TimeoutError:
            text = f"was silent for {limit:g} s" if silence else f"took longer than {self.timeouts.total:g} s"
            raise AttemptFailed(fault, f"the upstream {text}", stage) from None
        finally:
            took = self._time() - began
            self.spent += took
            self._left -= took
