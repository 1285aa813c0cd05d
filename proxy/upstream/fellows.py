"""What the workers of one instance tell each other of a service, and what one of them does at a time.

Each has a breaker and replicas of its own, and believes what another has found out about the same service. Probes and
health checks are taken by turns, which their parent gives; where it does not answer, everybody does them.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from proxy.upstream.breaker import Change

# Verbs of what a worker asks its parent, tells it, and lets the others know.
TURN, OVER, NEWS = "service-turn", "service-over", "service-news"


@dataclass(frozen=True, slots=True)
class Checked:
    """A replica was asked how it is."""

    replica: str
    good: bool


News = Change | Checked


class Fellows(Protocol):
    """The other workers, as far as one service is concerned."""

    async def turn(self, what: str, seconds: float) -> bool:
        """Whether this worker may do `what` now; for so long no other may, unless it is `over` before."""
        ...

    def over(self, what: str) -> None:
        """This worker's turn, if it was its own, has ended."""
        ...

    def tell(self, news: News) -> None:
        """Let the others know."""
        ...


class Nobody:
    """There are no others."""

    async def turn(self, what: str, seconds: float) -> bool:
        return True

    def over(self, what: str) -> None: ...

    def tell(self, news: News) -> None: ...


NOBODY: Final = Nobody()


class Crew:
    """The others of several workers, of which this is the one of `number`. `service` stands for all that they have to
    agree in to mean the same one; `ask` gives None where the parent does not answer in time."""

    def __init__(
        self,
        ask: Callable[..., Awaitable[Any]],
        tell: Callable[..., object],
        tell_others: Callable[..., object],
        number: int,
        service: str,
    ) -> None:
        self._ask = ask
        self._tell = tell
        self._tell_others = tell_others
        self._number = number
        self._service = service

    async def turn(self, what: str, seconds: float) -> bool:
        mine: bool | None = await self._ask(TURN, self._number, f"{self._service} {what}", seconds)
        return mine is not False

    def over(self, what: str) -> None:
        self._tell(OVER, self._number, f"{self._service} {what}")

    def tell(self, news: News) -> None:
        self._tell_others(NEWS, self._service, news)


@dataclass(frozen=True, slots=True)
class _Turn:
    who: int
    until: float


class Turns:
    """Whose turn it is, at the parent: `who` is the number of a worker. `clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._turns: dict[str, _Turn] = {}

    async def take(self, who: int, what: str, seconds: float) -> bool:
        """Whether it was nobody's; it is for `seconds` then."""
        now = self._clock()
        self._turns = {other: turn for other, turn in self._turns.items() if now < turn.until}
        if what in self._turns:
            return False
        self._turns[what] = _Turn(who, now + seconds)
        return True

    def over(self, who: int, what: str) -> None:
        """It is nobody's from now on, unless it was another's."""
        turn = self._turns.get(what)
        if turn is not None and turn.who == who:
            del self._turns[what]

    def died(self, who: int) -> None:
        """Nothing is this worker's any more."""
        self._turns = {what: turn for what, turn in self._turns.items() if turn.who != who}
