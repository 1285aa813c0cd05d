"""What lies in store, for the admin pages: listed, found by a shortened key, and cleared tier by tier."""

import asyncio
import heapq
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain, islice
from typing import NamedTuple, NotRequired, Protocol, TypedDict

from proxy.entry import Entry, Variant
from proxy.insight.search import Search, shown_url
from proxy.invalidation.records import PathPattern
from proxy.outcome import Tier
from proxy.policy.freshness import current_age, lifetime
from proxy.rules import Rule, RuleTable
from proxy.store import Store
from proxy.store.memory import MemoryStore
from proxy.store.parts_held import InParts
from proxy.store.shelves import hash_of
from proxy.store.tiered import Tiered

LOOKED = 2_000  # entries of a far tier that a listing looks at
SECONDS = 1.0  # that it looks at one
WHOLE = 64  # hex digits of a key
STRIDE = 100  # entries of a walk that is in no hurry between two rests
SOME = 8  # entries that tell that a short key is ambiguous


class Row(TypedDict):
    """One entry as it is shown. Seconds; `ttl` is negative for a stale one; `size` is the content's, in bytes, and of
    an answer that is held in parts what is there `of` so many."""

    key: str
    url: str
    rule: str
    tier: str
    age: float
    ttl: float
    size: int
    of: NotRequired[int]
    hits: int
    tags: Sequence[str]


class Parts(Protocol):
    """The answers that this worker holds in parts."""

    def listed(self) -> Sequence[InParts]: ...

    def clear(self, tier: Tier | None, fits: Callable[[Entry], bool]) -> int: ...


class Near(NamedTuple):
    """What one worker has in memory, and in parts: hits by key, and the rows of those hit most."""

    hits: Mapping[str, int]
    rows: Sequence[Row]


class Listing(NamedTuple):
    """Rows, and how many there are in all, as far as was looked: `complete` says whether that was to the end."""

    rows: Sequence[Row]
    total: int
    complete: bool = True


class Inventory:
    """The entries of all tiers, each shown from the nearest one that has it; what was purged is not shown.

    Memory is read to its end; a far tier may hold millions, so a listing looks at the first LOOKED of each, for SECONDS
    at most. `begin_with`, where there is one, tells which keys in Redis begin so.
    """

    def __init__(
        self,
        tiered: Tiered,
        stores: Mapping[Tier, Store],
        memory: MemoryStore | None,
        parts: Parts,
        table: Callable[[], RuleTable],
        clock: Callable[[], float],
        begin_with: Callable[[str], Awaitable[Sequence[str]]] | None = None,
    ) -> None:
        self._tiered = tiered
        self._stores = stores
        self._memory = memory
        self._parts = parts
        self._table = table
        self._clock = clock
        self._begin_with = begin_with

    async def listed(self, limit: int, search: Search, others: Sequence[Near] = ()) -> Listing:
        """The `limit` entries that were hit most, of those that are looked for. `others` is what `near` says of the
        other workers: an entry of theirs is in memory too. ValueError for a glob that is none."""
        fits = search.fits()
        cut: set[Tier] = set()
        elsewhere: Counter[str] = Counter()
        for other in others:
            elsewhere.update(other.hits)
        most = _Most(limit)
        seen: set[str] = set()
        async for tier, entry in self._fitting(fits, cut):
            if elsewhere:
                seen.add(entry.key)
            hits = self._hits(entry) + elsewhere[entry.key]
            most.add(hits, self._row(Tier.MEMORY if entry.key in elsewhere else tier, entry, hits))
        for row in self._in_parts(fits):
            seen.add(row["key"])
            most.add(0, row)
        for row in (row for other in others for row in other.rows):
            if row["key"] not in seen:
                seen.add(row["key"])
                most.add(elsewhere[row["key"]], row | {"hits": elsewhere[row["key"]]})
        beyond = elsewhere.keys() - seen  # in nobody's first rows, so not in ours
        return Listing(most.rows, most.total + len(beyond), not cut)

    async def near(self, limit: int, search: Search) -> Near:
        """What this worker alone has."""
        hits: dict[str, int] = {}
        most = _Most(limit)
        fits = search.fits()
        for row in self._in_parts(fits):
            hits[row["key"]] = 0
            most.add(0, row)
        for entry in await self._near():
            if fits(entry):
                hits[entry.key] = self._hits(entry)
                most.add(hits[entry.key], self._row(Tier.MEMORY, entry, hits[entry.key]))
        return Near(hits, most.rows)

    async def named(self, key: str) -> Sequence[Row]:
        """Entries whose key begins with `key`, a few at the most. A whole one is looked up; a short one is looked for
        among the names in Redis, and among as much of the file tier as a listing shows."""
        rows = {row["key"]: row for row in await self.named_near(key)}
        for tier, store in self._stores.items():
            if tier is not Tier.MEMORY and len(rows) < SOME:
                for entry in await self._beginning(tier, store, key):
                    if not self._tiered.gone(entry):
                        rows.setdefault(entry.key, self._row(tier, entry, self._hits(entry)))
        return list(rows.values())[:SOME]

    async def named_near(self, key: str) -> Sequence[Row]:
        """As `named`, of what this worker alone has."""
        near = (self._row(Tier.MEMORY, entry, self._hits(entry)) for entry in await self._near())
        found = (row for row in chain(near, self._in_parts(Search().fits())) if row["key"].startswith(key))
        return list(islice(found, SOME))

    async def clear(self, tier: Tier | None, pattern: str | None) -> int:
        """Empty one tier, or all; of a pattern, only what fits it. How many entries went: most lie in several tiers, so
        it is the largest number of any."""
        in_parts = self._clear_parts(tier, pattern)
        if pattern is None:
            return in_parts + max((await self._tiered.clear(tier)).values(), default=0)
        fits = PathPattern.parse(pattern)
        went = [0]
        for name, store in self._stores.items():
            if tier in (None, name):
                went.append(await emptied(store, fits))
        return in_parts + max(went)

    async def clear_near(self, tier: Tier | None, pattern: str | None) -> int:
        """As `clear`, of what this worker alone has."""
        if tier in (None, Tier.MEMORY):
            return await self.clear(Tier.MEMORY, pattern) + self._clear_parts(tier, pattern)
        return self._clear_parts(tier, pattern)

    def _clear_parts(self, tier: Tier | None, pattern: str | None) -> int:
        return self._parts.clear(tier, Search(match=pattern).fits())

    def _in_parts(self, fits: Callable[[Entry], bool]) -> Iterator[Row]:
        for tier, entry, there in self._parts.listed():
            if fits(entry):
                whole = self._row(tier, entry, 0)
                yield whole | {"size": there, "of": whole["size"]}

    def _hits(self, entry: Entry) -> int:
        slot = self._memory.peek(entry.key) if self._memory is not None else None
        return slot.hits if slot is not None else 0

    async def _near(self) -> list[Entry]:
        """What memory holds, without the purged."""
        if self._memory is None:
            return []
        return [entry async for entry in self._memory.scan() if not self._tiered.gone(entry)]

    async def _fitting(self, fits: Callable[[Entry], bool], cut: set[Tier]) -> AsyncIterator[tuple[Tier, Entry]]:
        """Every entry that fits once, from the nearest tier that has it; none that was purged. `cut` gets the tiers
        that hold more than was looked at."""
        seen: set[str] = set()
        for tier, store in self._stores.items():
            entries, whole = (await self._near(), True) if tier is Tier.MEMORY else await _some(store)
            if not whole:
                cut.add(tier)
            for entry in entries:
                if entry.key not in seen and not self._tiered.gone(entry):
                    seen.add(entry.key)
                    if fits(entry):
                        yield tier, entry

    async def _beginning(self, tier: Tier, store: Store, key: str) -> Sequence[Entry]:
        """What lies in a far tier under a key, its variants too, or under one that begins so."""
        if len(hash_of(key)) == WHOLE:
            return await _under(store, key)
        if tier is Tier.REDIS and self._begin_with is not None:
            names = await self._begin_with(key)
            return [entry for name in names for entry in await _under(store, name) if entry.key == name]
        entries, _ = await _some(store)
        return [entry for entry in entries if entry.key.startswith(key)][:SOME]

    def _row(self, tier: Tier, entry: Entry, hits: int) -> Row:
        age = current_age(entry, self._clock())
        life = lifetime(entry.fields, entry.status, self._rule(entry), entry.received_at)
        return Row(
            key=entry.key,
            url=shown_url(entry),
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


async def _some(store: Store) -> tuple[list[Entry], bool]:
    """The first entries that a store tells of, and whether those are all."""
    entries: list[Entry] = []
    with suppress(TimeoutError):
        async with asyncio.timeout(SECONDS):
            async for entry in store.scan():
                if len(entries) == LOOKED:
                    return entries, False
                entries.append(entry)
            return entries, True
    return entries, False


async def _under(store: Store, key: str) -> list[Entry]:
    """What a store holds under `<h>`, with its variants, or under one `<h>.<variant>` or what that begins with; a few
    at the most, and their bodies are not to be read."""
    hash_, _, variant = key.partition(".")
    ids: list[str] = []

    def listen(variants: Iterable[Variant]) -> None:
        ids.extend(each.id for each in variants if each.id.startswith(variant))

    await store.get(hash_, listen)
    found = [await store.get(hash_, partial(_chosen, one)) for one in ids[:SOME]]
    for entry in found:
        if entry is not None:
            entry.body.close()
    return [entry for entry in found if entry is not None]


def _chosen(id: str, variants: Iterable[Variant]) -> str:
    return id


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
