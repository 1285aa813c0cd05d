"""Which URLs were asked for most, those too that no tier holds any more: they were purged, cleared, or made room.

Hits are counted where they happen, in memory's slots; a slot that leaves hands its count on. An answer's score is as in
`redis.hot`: the time when it was asked for last, and ten minutes more for each doubling of its hits.
"""

import asyncio
import heapq
import re
from collections.abc import Awaitable, Callable, Container, Mapping, Sequence
from math import log2
from typing import NamedTuple

from proxy.entry import Entry, KeyParts, Pairs
from proxy.invalidation.records import PathPattern
from proxy.policy.vary import ABSENT
from proxy.redis.hot import DOUBLING
from proxy.store.memory import MemoryStore, Slot
from proxy.warming_jobs import Wanted

HOT = "warm-hot"  # what workers ask each other
TURN = 2000  # answers of memory that are looked at in one turn of the event loop
KEPT = 4096  # answers that have left, some 100 bytes each beside what names them
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Hot(NamedTuple):
    """A higher score is hotter."""

    score: float
    wanted: Wanted


class _Left(NamedTuple):
    score: float
    parts: KeyParts
    vary: Pairs


class _Most:
    """The hottest of what is offered, at most `limit`, that somebody else than their owner can ask for."""

    def __init__(self, limit: int, pattern: PathPattern | None) -> None:
        self.found: list[Hot] = []  # a heap
        self._limit = limit
        self._pattern = pattern

    def offer(self, one: _Left) -> None:
        full = len(self.found) == self._limit
        if full and one.score <= self.found[0].score:
            return
        if self._pattern is not None and not self._pattern.match(one.parts.host, one.parts.path):
            return
        wanted = asked_for(one.parts, one.vary)
        if wanted is not None:
            (heapq.heapreplace if full else heapq.heappush)(self.found, Hot(one.score, wanted))


class Remembered:
    """What is hot in this worker. `memory` is None where that tier is off; then nothing is counted."""

    def __init__(self, memory: MemoryStore | None) -> None:
        self._memory = memory
        self._left: dict[str, _Left] = {}
        if memory is not None:
            memory.tell(self._note)

    async def hottest(self, limit: int, pattern: PathPattern | None) -> list[Hot]:
        """At most so many that fit, in no order. Among a million answers it lets others have their turns."""
        most = _Most(limit, pattern)
        here: set[str] = set()  # and remembered from before
        for number, slot in enumerate(self._memory.slots() if self._memory is not None else ()):
            if number % TURN == TURN - 1:
                await asyncio.sleep(0)
            known, now = self._left.get(slot.key), _of(slot)
            if known is not None:
                here.add(slot.key)
            most.offer(now if known is None or known.score < now.score else known)
        for key, left in self._left.items():
            if key not in here:
                most.offer(left)
        return most.found

    def _note(self, slot: Slot) -> None:
        known, now = self._left.get(slot.key), _of(slot)
        if known is None or known.score < now.score:
            self._left[slot.key] = now
        if len(self._left) >= 2 * KEPT:
            self._left = dict(heapq.nlargest(KEPT, self._left.items(), key=lambda item: item[1].score))


class Hottest:
    """What is hot in any worker of the instance; where that is less than is wanted, what other instances are asked for
    as well. `ask` is what other workers say, `elsewhere` what is hot anywhere and lies in Redis."""

    def __init__(
        self,
        memory: MemoryStore | None,
        elsewhere: Callable[[int], Awaitable[Sequence[Entry]]],
        ask: Callable[..., Awaitable[Sequence[list[Hot]]]],
    ) -> None:
        self._here = Remembered(memory)
        self._elsewhere = elsewhere
        self._ask = ask

    @property
    def duties(self) -> Mapping[str, Callable[..., Awaitable[object]]]:
        """What other workers may ask of this one."""
        return {HOT: self._own}

    async def __call__(self, limit: int, pattern: str | None) -> Sequence[Wanted]:
        """At most so many whose path fits the glob, the hottest first. ValueError for a glob that is none."""
        scores: dict[Wanted, float] = {}
        for part in (await self._own(limit, pattern), *await self._ask(HOT, limit, pattern)):
            for score, wanted in part:
                scores[wanted] = max(score, scores.get(wanted, score))
        most = heapq.nlargest(limit, scores, key=scores.__getitem__)
        return most if len(most) == limit else [*most, *await self._others(limit, pattern, scores)][:limit]

    async def _own(self, limit: int, pattern: str | None) -> list[Hot]:
        return await self._here.hottest(limit, _parsed(pattern))

    async def _others(self, limit: int, glob: str | None, known: Container[Wanted]) -> list[Wanted]:
        pattern = _parsed(glob)
        found = (
            asked_for(entry.parts, entry.vary)
            for entry in await self._elsewhere(limit)
            if pattern is None or pattern.match(entry.parts.host, entry.parts.path)
        )
        return [wanted for wanted in found if wanted is not None and wanted not in known]


def _parsed(glob: str | None) -> PathPattern | None:
    return None if glob is None else PathPattern.parse(glob)


def asked_for(parts: KeyParts, vary: Pairs) -> Wanted | None:
    """What a client asks for to get the answer of this key and variant; None where only he can: a body, cookies and
    credentials are kept as digests."""
    if parts.method != "GET" or parts.body:
        return None
    said = dict(parts.selected) | {name: value for name, value in vary if value != ABSENT}
    if any(":" in name or name == "cookie" or _DIGEST.fullmatch(value) for name, value in said.items()):
        return None
    return Wanted(parts.scope.scheme, parts.host, parts.target, tuple(sorted(said.items())))


def _of(slot: Slot) -> _Left:
    entry: Entry = slot.entry
    return _Left(slot.last_access + DOUBLING * log2(max(1, slot.hits)), entry.parts, entry.vary)
