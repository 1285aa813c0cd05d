"""One fetch for many who want the same: an asyncio tool that knows no HTTP.

A flight *lands* when it is known what its fetch brought (for an HTTP fetch: when the head is judged), and is
*over* when nobody new may share it. Between the two, newcomers join a flight that has landed already.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

Landing = TypeVar("Landing")


class Flight(Generic[Landing]):
    """What several wait for together. It lands once; a second landing is refused."""

    def __init__(self) -> None:
        self._landed: asyncio.Future[Landing] = asyncio.get_running_loop().create_future()
        self.passengers = 0
        self._relieved = False

    @property
    def landing(self) -> Landing | None:
        return self._landed.result() if self._landed.done() else None

    def land(self, landing: Landing) -> bool:
        """Tell everyone; False when another fetch of this flight was first."""
        if self._landed.done():
            return False
        self._landed.set_result(landing)
        return True

    async def wait(self, seconds: float) -> Landing | None:
        """The landing, or None after `seconds`. Cancelling one waiter does nothing to the others."""
        if self._landed.done():
            return self._landed.result()
        self.passengers += 1
        try:
            done, _ = await asyncio.wait((self._landed,), timeout=seconds)
        finally:
            self.passengers -= 1
        return self._landed.result() if done else None

    def relieve(self) -> bool:
        """Whether the caller is the one that may start a second fetch for this flight (never a third)."""
        if self._relieved or self._landed.done():
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
        flight = self._by_key.get(key)
        if flight is not None and ((landing := flight.landing) is None or fits(landing)):
            return flight, False
        flight = self._by_key[key] = Flight()
        return flight, True

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
