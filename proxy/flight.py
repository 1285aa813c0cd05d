"""One fetch for many who want the same: an asyncio tool that knows no HTTP.

A flight *lands* when it is known what its fetch brought (for an HTTP fetch: when the head is judged), and is
*over* when nobody new may share it. Between the two, newcomers join a flight that has landed already.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from proxy.alarm import Row

Landing = TypeVar("Landing")
Waiter = asyncio.Future[None]
Waiters = Row[Waiter]


def wake(waiter: Waiter) -> None:
    """End its wait, with nothing to tell; one that does not wait any more is left alone."""
    if not waiter.done():
        waiter.set_result(None)


class Flight(Generic[Landing]):
    """What several wait for together. It lands once; a second landing is refused."""

    def __init__(self) -> None:
        self.landing: Landing | None = None
        self.traced: object = None  # where its fetch stands in a trace, for those who trace
        self._waiting: set[Waiter] = set()
        self._relieved = False

    @property
    def passengers(self) -> int:
        """How many wait for the landing."""
        return len(self._waiting)

    def land(self, landing: Landing) -> bool:
        """Tell everyone; False when another fetch of this flight was first."""
        if self.landing is not None:
            return False
        self.landing = landing
        for waiter in self._waiting:
            wake(waiter)
        return True

    async def wait(self, row: Waiters) -> Landing | None:
        """The landing, or None after the seconds of `row`. Cancelling one waiter does nothing to the others."""
        if self.landing is not None:
            return self.landing
        waiter = asyncio.get_running_loop().create_future()
        row.join(waiter)
        self._waiting.add(waiter)
        try:
            await waiter
        finally:
            self._waiting.discard(waiter)
            row.leave(waiter)
        return self.landing

    def relieve(self) -> bool:
        """Whether the caller is the one that may start a second fetch for this flight (never a third)."""
        if self._relieved or self.landing is not None:
            return False
        self._relieved = True
        return True


class Flights(Generic[Landing]):
    """The flights under way by key. It holds as many as there are fetches under way, which the upstream bounds."""

    def __init__(self) -> None:
        self._by_key: dict[str, Flight[Landing]] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    def join(self, key: str, fits: Callable[[Landing], bool]) -> tuple[Flight[Landing], bool]:
        """The flight of `key`, and whether the caller must lead it. A landed flight that does not fit the caller
        any more is left to those who have it, and a new one takes its place."""
        if key in self._by_key and (flight := self.find(key, fits)) is not None:
            return flight, False
        flight = self._by_key[key] = Flight()
        return flight, True

    def find(self, key: str, fits: Callable[[Landing], bool]) -> Flight[Landing] | None:
        """The flight of `key` that a newcomer would join; None where he would lead one."""
        flight = self._by_key.get(key)
        if flight is not None and ((landing := flight.landing) is None or fits(landing)):
            return flight
        return None

    def over(self, key: str, flight: Flight[Landing]) -> None:
        """Nobody new may join; another flight of the same key is left alone."""
        if self._by_key.get(key) is flight:
            del self._by_key[key]


Value = TypeVar("Value")


class Lately(Generic[Value]):
    """What was learnt of a key in the last `seconds`; at most `size` keys, the oldest leave first."""

    def __init__(self, seconds: float, clock: Callable[[], float], size: int = 10_000) -> None:
        self._seconds = seconds
        self._clock = clock
        self._size = size
        self._known: OrderedDict[str, tuple[float, Value]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def get(self, key: str) -> Value | None:
        known = self._known.get(key)
        if known is None:
            return None
        if known[0] < self._clock():
            del self._known[key]
            return None
        return known[1]

    def learn(self, key: str, value: Value) -> None:
        self._known[key] = (self._clock() + self._seconds, value)
        self._known.move_to_end(key)
        if len(self._known) > self._size:
            self._known.popitem(last=False)

    def forget(self, key: str) -> None:
        self._known.pop(key, None)
