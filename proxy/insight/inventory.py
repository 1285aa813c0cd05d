"""What lies in store, for the admin pages: listed, found by a shortened key, and cleared tier by tier."""

import heapq
from collections.abc import Callable, Mapping, Sequence
from typing import TypedDict

from proxy.entry import Entry
from proxy.invalidation.records import PathPattern
from proxy.outcome import Tier
from proxy.policy.freshness import current_age, lifetime
from proxy.rules import Rule, RuleTable
from proxy.store import Store
from proxy.store.memory import MemoryStore
from proxy.store.tiered import Tiered

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

    async def listed(self, limit: int, match: str | None) -> tuple[Sequence[Row], int]:
        """The `limit` entries that were hit most, of those whose path fits the glob, and how many fit in all."""
        pattern = PathPattern.parse(match) if match is not None else None
        total = 0
        most: list[tuple[int, str, Row]] = []
        async for tier, entry in self._tiered.scan():
            if pattern is not None and not pattern.match(entry.parts.host, entry.parts.path):
                continue
            total += 1
            ranked = (self._hits(entry), entry.key, self._row(tier, entry))
            if len(most) < limit:
                heapq.heappush(most, ranked)
            elif ranked[:2] > most[0][:2]:
                heapq.heapreplace(most, ranked)
        return [row for _, _, row in sorted(most, key=lambda ranked: (-ranked[0], ranked[1]))], total

    async def named(self, key: str) -> Sequence[Row]:
        """Entries whose key begins with `key`, a few at the most."""
        rows: list[Row] = []
        async for tier, entry in self._tiered.scan():
            if entry.key.startswith(key):
                rows.append(self._row(tier, entry))
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

    def _row(self, tier: Tier, entry: Entry) -> Row:
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
            hits=self._hits(entry),
            tags=list(entry.tags),
        )

    def _rule(self, entry: Entry) -> Rule:
        table = self._table()
        return next((rule for rule in table.rules if rule.name == entry.rule), table.unmatched)
