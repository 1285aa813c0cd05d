"""What happens, told as it happens to those who listen: operators, the dashboard, programs.

Nothing is waited for. A listener has a queue of QUEUED events; who does not take them in time is told so and ended.
Stores, hits and purges are told SAMPLES times a second at most, and say how many were not. Purges and changes of state
are kept for listeners that come back, and told to the other workers even while nobody listens here.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import count
from typing import NamedTuple

QUEUED = 500  # events that one listener may have to take
LISTENERS = 50  # of one worker
SAMPLES = 50  # a second, of each kind of which there may be very many
KEPT = 200  # events that can be told again
LEASE = 15.0  # seconds that another worker listens for, unless it says so again


class Kind(StrEnum):
    """The words of `types`, and of the `event:` lines."""

    STATS = "stats"  # the figures now, every other second
    STORE = "store"  # an answer was stored
    HIT = "hit"  # a sample of what is answered from memory
    PURGE = "purge"
    EVICT = "evict"  # how many entries had to make room
    TIER = "tier"  # Redis or the file tier came or went
    BREAKER = "breaker"


LASTING = frozenset({Kind.PURGE, Kind.TIER, Kind.BREAKER})


class Event(NamedTuple):
    """`at` in wall-clock seconds; `data` can be said in JSON."""

    kind: Kind
    at: float
    data: Mapping[str, object]


class Told(NamedTuple):
    """An event as this worker counts them."""

    number: int
    event: Event


class TooMany(Exception):
    """LISTENERS are there already."""


class Listener:
    """Takes events of some kinds, oldest first; `close` it."""

    def __init__(self, kinds: frozenset[Kind], leave: Callable[["Listener"], None]) -> None:
        self.kinds = kinds
        self.over = ""  # why it gets no more, "" while it does
        self._waiting: deque[Told] = deque()
        self._news = asyncio.Event()
        self._leave = leave

    def give(self, told: Told) -> None:
        """One more; what does not fit ends it."""
        if not self.over and len(self._waiting) >= QUEUED:
            self._waiting.clear()
            self.over = f"more than {QUEUED} events were waiting"
        if not self.over:
            self._waiting.append(told)
        self._news.set()

    def end(self, why: str) -> None:
        """Nothing comes after what waits."""
        self.over = self.over or why
        self._news.set()

    async def take(self, seconds: float) -> list[Told]:
        """All that waits, or will within so many seconds; none when nothing did, or when it is `over`."""
        if not self._waiting and not self.over:
            self._news.clear()
            try:
                async with asyncio.timeout(seconds):
                    await self._news.wait()
            except TimeoutError:
                return []
        told = list(self._waiting)
        self._waiting.clear()
        return told

    def close(self) -> None:
        """Idempotent."""
        self._leave(self)


@dataclass(slots=True)
class _Budget:
    """Of one kind: how many were told in this second, and how many were not since the last that was."""

    second: int = 0
    told: int = 0
    skipped: int = 0


class Events:
    """The events of one worker and, through `tell_others`, of all. `clock` is wall time in seconds; `worker` is None
    where it is none, but the parent of all."""

    def __init__(
        self,
        clock: Callable[[], float],
        tell_others: Callable[[str, Event], object] = lambda verb, event: None,
        worker: int | None = 0,
    ) -> None:
        self.id = secrets.token_hex(4)  # of this life of this worker
        self.stirred = asyncio.Event()  # somebody has begun to listen
        self._clock = clock
        self._tell_others = tell_others
        self._whose = {} if worker is None else {"worker": worker}
        self._numbers = count(1)
        self._listeners: set[Listener] = set()
        self._kept: deque[Told] = deque(maxlen=KEPT)
        self._elsewhere: dict[Kind, float] = {}  # until when others want a kind
        self._budgets = {kind: _Budget() for kind in (Kind.STORE, Kind.HIT, Kind.PURGE)}

    @property
    def here(self) -> frozenset[Kind]:
        """What is listened to in this worker."""
        return frozenset(kind for listener in self._listeners for kind in listener.kinds)

    def wants(self, kind: Kind) -> bool:
        """Whether anybody listens to a kind, here or in another worker."""
        if self._listeners and any(kind in listener.kinds for listener in self._listeners):
            return True
        return bool(self._elsewhere) and self._elsewhere.get(kind, 0.0) > self._clock()

    def tell(self, kind: Kind, data: Mapping[str, object]) -> None:
        """It has happened here, now."""
        budget = self._budgets.get(kind)
        if budget is not None:
            if (kind not in LASTING and not self.wants(kind)) or not self._within(budget):
                return
            data = {**data, "skipped": budget.skipped}
            budget.skipped = 0
        event = Event(kind, self._clock(), {**self._whose, **data})
        self._tell_others(EVENT, event)
        self.hear(event)

    def tell_here(self, kind: Kind, data: Mapping[str, object]) -> None:
        """To those who listen in this worker alone: each worker finds it out by itself."""
        self.hear(Event(kind, self._clock(), data))

    def hear(self, event: Event) -> None:
        """It has happened, here or in another worker."""
        told = Told(next(self._numbers), event)
        if event.kind in LASTING:
            self._kept.append(told)
        for listener in tuple(self._listeners):
            if event.kind in listener.kinds:
                listener.give(told)

    def want(self, kinds: Collection[Kind]) -> None:
        """Another worker has listeners for these, for the next LEASE seconds."""
        self._elsewhere |= dict.fromkeys(kinds, self._clock() + LEASE)
        self.stirred.set()

    def listen(self, kinds: frozenset[Kind], after: str = "") -> Listener:
        """From now on, and first what is kept of what came `after` the event of this id (`named`). TooMany."""
        if len(self._listeners) >= LISTENERS:
            raise TooMany(f"{LISTENERS} listen already")
        listener = Listener(kinds, self._listeners.discard)
        life, _, number = after.rpartition("-")
        if life == self.id and number.isascii() and number.isdigit():
            for told in self._kept:
                if told.number > int(number) and told.event.kind in kinds:
                    listener.give(told)
        self._listeners.add(listener)
        self.stirred.set()
        return listener

    def named(self, told: Told) -> str:
        """The id of an event."""
        return f"{self.id}-{told.number}"

    def end(self, why: str) -> None:
        """No listener gets any more."""
        for listener in tuple(self._listeners):
            listener.end(why)

    def _within(self, budget: _Budget) -> bool:
        second = int(self._clock())
        if second != budget.second:
            budget.second, budget.told = second, 0
        budget.told += 1
        budget.skipped += budget.told > SAMPLES
        return budget.told <= SAMPLES


EVENT = "event"  # what workers tell each other: something happened, ...
LISTENING = "listening"  # ... and what they have listeners for
