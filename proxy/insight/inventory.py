"""What lies in store, for the admin pages: listed, found by a shortened key, and cleared tier by tier."""

import asyncio
import heapq
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import NamedTuple, TypedDict

from proxy.entry import Entry
from proxy.invalidation.records import PathPattern
from proxy.outcome import Tier
from proxy.policy.freshness import current_age, lifetime
from proxy.rules import Rule, RuleTable
from proxy.store import Store
from proxy.store.memory import MemoryStore
from proxy.store.tiered import Tiered

STRIDE = 100  # entries of a walk that is in no hurry between two rests
SOME = 8  # entries that tell that a short key is ambiguous


class Row(TypedDict):
    """One entry as it is shown. Seconds; `ttl` is negative for a stale one; `size` is the
    content's, in bytes."""

    key: str
    url: str
    rule: str
    tier: str
    age: float
    ttl: float
    size: int
    hits: int
    tags: Sequence[str]


class Near(NamedTuple):
    """What lies in the memory of one worker: hits by key, and the rows of those hit most."""

    hits: Mapping[str, int]
    rows: Sequence[Row]


class Inventory:
    """The entries of all tiers, each shown from the nearest one that has it; what was purged is not shown.

    Every call reads the whole of every tier: they are operators' questions, not clients'.
    """

    def __init__(
        self,
        tiered: Tiered,
        stores: Mapping[Tier, Store],
        memory: MemoryStore | None,
        table: Callable[[], RuleTable],
        clock: Callable[[], float],
    ) -> None:
        self._tiered = tiered
        self._stores = stores
        self._memory = memory
        self._table = table
        self._clock = clock

    async def listed(self, limit: int, match: str | None, others: Sequence[Near] = ()) -> tuple[Sequence[Row], int]:
        """The `limit` entries that were hit most, of those whose path fits the glob, and how many fit in all. `others`
        is what `near` says of the other workers: an entry of theirs is in memory too."""
        elsewhere: Counter[str] = Counter()
        for other in others:
            elsewhere.update(other.hits)
        most = _Most(limit)
        seen: set[str] = set()
        async for tier, entry in self._fitting(match):
            if elsewhere:
                seen.add(entry.key)
            hits = self._hits(entry) + elsewhere[entry.key]
            most.add(hits, self._row(Tier.MEMORY if entry.key in elsewhere else tier, entry, hits))
        for row in (row for other in others for row in other.rows):
            if row["key"] not in seen:
                seen.add(row["key"])
                most.add(elsewhere[row["key"]], row | {"hits": elsewhere[row["key"]]})
        beyond = elsewhere.keys() - seen  # in nobody's first rows, so not in ours
        return most.rows, most.total + len(beyond)

    async def near(self, limit: int, match: str | None) -> Near:
        """What lies in this worker's memory alone."""
        hits: dict[str, int] = {}
        most = _Most(limit)
        async for tier, entry in self._fitting(match):
            if tier is not Tier.MEMORY:
                break  # the nearest comes first
            hits[entry.key] = self._hits(entry)
            most.add(hits[entry.key], self._row(tier, entry, hits[entry.key]))
        return Near(hits, most.rows)

    async def named(self, key: str) -> Sequence[Row]:
        """Entries whose key begins with `key`, a few at the most."""
        rows: list[Row] = []
        async for tier, entry in self._tiered.scan():
            if entry.key.startswith(key):
                rows.append(self._row(tier, entry, self._hits(entry)))
                if len(rows) == SOME:
                    break
        return rows

    async def clear(self, tier: Tier | None, pattern: str | None) -> int:
        """Empty one tier, or all; of a pattern, only what fits it. How many entries went, each counted once."""
        if pattern is None:
            keys = await self._keys(tier, None) if tier is None else set()
            went = await self._tiered.clear(tier)
            return sum(went.values()) if tier is not None else len(keys)
        keys = await self._keys(tier, PathPattern.parse(pattern))
        for name, store in self._stores.items():
            if tier in (None, name):
                for key in keys:
                    await store.delete(key)
        return len(keys)

    async def _keys(self, tier: Tier | None, pattern: PathPattern | None) -> set[str]:
        keys: set[str] = set()
        for name, store in self._stores.items():
            if tier in (None, name):
                async for entry in store.scan():
                    if pattern is None or pattern.match(entry.parts.host, entry.parts.path):
                        keys.add(entry.key)
        return keys

    def _hits(self, entry: Entry) -> int:
        slot = self._memory.peek(entry.key) if self._memory is not None else None
        return slot.hits if slot is not None else 0

    async def _fitting(self, match: str | None) -> AsyncIterator[tuple[Tier, Entry]]:
        pattern = PathPattern.parse(match) if match is not None else None
        async for tier, entry in self._tiered.scan():
            if pattern is None or pattern.match(entry.parts.host, entry.parts.path):
                yield tier, entry

    def _row(self, tier: Tier, entry: Entry, hits: int) -> Row:
        age = current_age(entry, self._clock())
        life = lifetime(entry.fields, entry.status, self._rule(entry), entry.received_at)
        return Row(
            key=entry.key,
            url=entry.parts.url if entry.parts.host else entry.parts.target,
            rule=entry.rule,
            tier=tier.value,
            age=round(age, 3),
            ttl=round(life.seconds - age, 3),
            size=entry.body.size,
            hits=hits,
            tags=list(entry.tags),
        )

    def _rule(self, entry: Entry) -> Rule:
        table = self._table()
        return next((rule for rule in table.rules if rule.name == entry.rule), table.unmatched)


async def emptied(store: Store, pattern: PathPattern) -> int:
    """Delete what fits from a store that may hold millions, as it comes by; how many entries went. StoreError as the
    store's. Half of the time goes to whoever wants an answer meanwhile."""
    went = 0
    fitting: list[str] = []
    began = time.monotonic()
    number = 0
    async for entry in store.scan():
        number += 1
        if pattern.match(entry.parts.host, entry.parts.path):
            fitting.append(entry.key)
        if number % STRIDE == 0:
            went += sum(await asyncio.gather(*(store.delete(key) for key in fitting)))
            fitting.clear()
            await asyncio.sleep(time.monotonic() - began)
            began = time.monotonic()
    return went + sum(await asyncio.gather(*(store.delete(key) for key in fitting)))


class _Most:
    """The `limit` rows with the most hits of all that were added."""

    def __init__(self, limit: int) -> None:
        self.total = 0
        self._limit = limit
        self._heap: list[tuple[int, str, Row]] = []

    @property
    def rows(self) -> list[Row]:
        return [row for _, _, row in sorted(self._heap, key=lambda ranked: (-ranked[0], ranked[1]))]

    def add(self, hits: int, row: Row) -> None:
        self.total += 1
        ranked = hits, row["key"], row
        if len(self._heap) < self._limit:
            heapq.heappush(self._heap, ranked)
        elif ranked[:2] > self._heap[0][:2]:
            heapq.heapreplace(self._heap, ranked)
