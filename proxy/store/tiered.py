"""All tiers as one: the nearest answers first, nothing purged comes out of any, and what lies far is brought near."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass

from proxy.entry import Entry, Found, Select
from proxy.errors import StoreError
from proxy.outcome import Tier
from proxy.redis.budget import one_budget
from proxy.store import Store
from proxy.store.file_warm import Warm
from proxy.store.guarded import Guarded, Sweeps
from proxy.store.memory import MemoryStore, Slot
from proxy.store.near import Near, Standing
from proxy.store.near_file import NearFile
from proxy.store.near_redis import NearRedis
from proxy.store.redis_again import RedisAgain
from proxy.store.shelves import hash_of

MAX_PROMOTIONS = 64  # under way at once; beyond that an entry stays where it is until it is asked for again
PUT = 2.0  # seconds that storing may wait for Redis
SWEEP_BATCH = 500  # entries looked at before the event loop gets its turn

Spawn = Callable[[Coroutine[None, None, None]], object]


@dataclass(slots=True)
class Lookups:
    """How often a tier was asked, by outcome. What it held but the journal refused is a miss."""

    hits: int = 0
    misses: int = 0


class Tiered:
    """The tiers, nearest first: memory (or None when it is off), then `far`, whose stores never raise (`guarded`).

    `clock` is the wall clock; `spawn` runs a coroutine in the background. The caller of `far` closes the body of what
    it gets. `blind`, where there is one: while it says so, purges may have come that are not known here, and nothing
    is found. `warm`, where there is one, is asked before the file tier. `nearest` is memory, `nearest_file` the file
    tier where it comes next, for those who do not wait; `nearest_redis` is Redis where it comes first, for those who
    had an answer before.
    """

    def __init__(
        self,
        memory: MemoryStore | None,
        far: Sequence[tuple[Tier, Store]],
        standing: Standing,
        *,
        clock: Callable[[], float],
        spawn: Spawn,
        blind: Callable[[], bool] | None = None,
        warm: Warm | None = None,
        again: RedisAgain | None = None,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._memory = memory
        self._standing = standing
        self._blind = blind
        self.nearest = None if memory is None else Near(memory, standing, clock, blind)
        next_is_file = warm is not None and blind is None and [tier for tier, _ in far] == [Tier.FILE]
        self.nearest_file = NearFile(warm, standing, self._taken_at_once) if warm is not None and next_is_file else None
        next_is_redis = memory is None and bool(far) and far[0][0] is Tier.REDIS
        self.nearest_redis = None if again is None or not next_is_redis else self._near_redis(again, far[0][1])
        self._warm = warm
        self._far = tuple(far)
        self._clock = clock
        self._spawn = spawn
        self._timer = timer
        self._lookups = {tier: Lookups() for tier, _ in self._far}
        self._promoting: dict[str, Entry] = {}  # by key; taken out by whatever makes the promotion outdated

    @property
    def tiers(self) -> tuple[Tier, ...]:
        """Those there are, nearest first."""
        near = (Tier.MEMORY,) if self._memory is not None else ()
        return near + tuple(tier for tier, _ in self._far)

    @property
    def deep(self) -> bool:
        """Whether more than memory has to be asked, or asked about."""
        return bool(self._far) or self._blind is not None

    @property
    def blind(self) -> bool:
        """Whether purges may have come that are not known here."""
        return self._blind is not None and self._blind()

    def drop(self, tier: Tier) -> None:
        """Go on without a far tier that cannot work."""
        self._far = tuple((name, store) for name, store in self._far if name is not tier)

    def lookups(self, tier: Tier) -> Lookups:
        """Hits and misses of one tier; zeros when it is off."""
        if tier is Tier.MEMORY and self._memory is not None:
            return Lookups(self._memory.hits, self._memory.misses)
        return self._lookups.get(tier, Lookups())

    def near(self, hash: str, select: Select) -> Found | None:
        """What memory holds; no await, no lock."""
        return self.nearest.find(hash, select) if self.nearest is not None else None

    async def far(self, hash: str, select: Select, spent: dict[Tier, float]) -> Found | None:
        """The first good entry of the far tiers, or what has come into memory meanwhile. It is brought into memory at
        once and into the far tiers before its own behind the client's back, with what is left of its life. `spent`
        gets the seconds of each tier asked."""
        if self.blind:
            return None
        for number, (tier, store) in enumerate(self._far):
            began = self._timer()
            entry = self._at_hand(tier, hash, select) or await store.get(hash, select)
            spent[tier] = self._timer() - began
            if entry is None:
                self._lookups[tier].misses += 1
                continue
            ended_at = self._standing.ended(entry)
            if ended_at == -math.inf:
                self._lookups[tier].misses += 1
                entry.body.close()
                self._spawn(_forget(store, entry.key))  # the journal has ended it; a disk that hangs holds up nobody
                continue
            if not await _readable(entry):
                self._lookups[tier].misses += 1
                continue
            self._lookups[tier].hits += 1
            self._promote(entry, self._far[:number])
            return Found(entry, tier, ended_at)
        return self._since(hash, select) if self._far else None

    def _at_hand(self, tier: Tier, hash: str, select: Select) -> Entry | None:
        """What nobody has to wait for."""
        if self._warm is None or tier is not Tier.FILE or (sight := self._warm.look(hash, select)) is None:
            return None
        self._warm.take(sight.mark)
        return sight.entry

    def _near_redis(self, again: RedisAgain, store: Store) -> NearRedis:
        return NearRedis(
            again,
            self._standing,
            trusted=lambda: not isinstance(store, Guarded) or store.reads_well,
            blind=lambda: self.blind,
            taken=self._taken_again,
        )

    def _taken_again(self) -> None:
        """A hit in Redis of somebody who had it before."""
        self._lookups[Tier.REDIS].hits += 1

    def _taken_at_once(self, entry: Entry | None) -> None:
        """A hit in the file tier of somebody who asked memory before; the entry where it was read out anew."""
        self._lookups[Tier.FILE].hits += 1
        if self._memory is not None:
            self._memory.misses += 1
        if entry is not None:
            self._promote(entry, ())

    def _since(self, hash: str, select: Select) -> Found | None:
        """What memory holds by now: a far tier that hangs is waited for longer than another's fetch takes, and who
        asks here next would fetch it again. It is no second miss."""
        memory = self._memory
        if memory is None:
            return None
        misses = memory.misses
        found = self.near(hash, select)
        memory.misses = misses
        return found

    async def put(self, entry: Entry) -> frozenset[Tier]:
        """Store in every tier that wants it; which did. A purge that came since its fetch began is not undone, also
        when it comes while this writes. `entry.body` stays the caller's to close."""
        self._outdate(entry.key)
        if self.gone(entry):
            return frozenset()
        took = set()
        if self._memory is not None and self._memory.keep(entry):
            took.add(Tier.MEMORY)
        if not self._far:
            return frozenset(took)
        with one_budget(PUT):  # whoever asked for it has spent his own
            for tier, store in self._far:
                if await store.put(entry):
                    took.add(tier)
        if self.gone(entry):
            if not self._replaced(entry):
                await self.delete(entry.key)
            return frozenset()
        return frozenset(took)

    def _replaced(self, entry: Entry) -> bool:
        """Whether something newer than it was stored meanwhile, which takes its place in all tiers."""
        held = self._memory.peek(entry.key) if self._memory is not None else None
        return held is not None and held.entry.fence > entry.fence and not self.gone(held.entry)

    async def delete(self, key: str) -> dict[Tier, int]:
        """Forget a key in every tier; how many entries went from each."""
        self._outdate(key)
        went = {}
        if self._memory is not None:
            went[Tier.MEMORY] = self._memory.forget(key)
        for tier, store in self._far:
            went[tier] = await store.delete(key)
        return went

    async def clear(self, tier: Tier | None = None) -> dict[Tier, int]:
        """Empty one tier, or all; how many entries went from each."""
        self._promoting.clear()
        stores = [(name, store) for name, store in self._all() if tier in (None, name)]
        return {name: await store.clear() for name, store in stores}

    async def scan(self) -> AsyncIterator[tuple[Tier, Entry]]:
        """Every entry once, from the nearest tier that has it; none that was purged."""
        seen: set[str] = set()
        stores = self._all()
        for number, (tier, store) in enumerate(stores, 1):
            async for entry in store.scan():
                if entry.key in seen or self.gone(entry):
                    continue
                if number < len(stores):
                    seen.add(entry.key)
                yield tier, entry

    async def sweep(self) -> int:
        """Remove what is past its `keep_until`, and what memory holds of the purged; how many entries went."""
        went = 0
        if self._memory is not None:
            went = self._memory.sweep(self._clock()) + await self._sweep_purged(self._memory)
        for _, store in self._far:
            if isinstance(store, Sweeps):
                went += await store.sweep()
        return went

    async def close(self) -> None:
        self._promoting.clear()
        for _, store in self._all():
            await store.close()

    def _all(self) -> tuple[tuple[Tier, Store], ...]:
        near: tuple[tuple[Tier, Store], ...] = ((Tier.MEMORY, self._memory),) if self._memory is not None else ()
        return near + self._far

    def _dead(self, slot: Slot) -> bool:
        """Whether a purge that came since it was looked at last took it away."""
        checked = slot.checked if slot.ended_at is None else 0
        return self._standing.ended(slot.entry, max(checked, 0)) == -math.inf

    def gone(self, entry: Entry) -> bool:
        """Whether a hard purge ended it."""
        return self._standing.ended(entry) == -math.inf

    def _outdate(self, key: str) -> None:
        """What is being promoted under this key (`<h>`: all its variants) must not win over what happens now."""
        if self._promoting:
            for other in [other for other in self._promoting if key in (other, hash_of(other))]:
                del self._promoting[other]

    def _promote(self, entry: Entry, nearer: Sequence[tuple[Tier, Store]]) -> None:
        """A body that is not in memory stays where it is: no nearer tier wants one so large."""
        if entry.body.data is None:
            return
        if self._memory is not None:
            held = self._memory.peek(entry.key)
            if held is None or held.entry.received_at < entry.received_at:
                self._memory.keep(entry)
        if nearer and entry.key not in self._promoting and len(self._promoting) < MAX_PROMOTIONS:
            self._promoting[entry.key] = entry
            self._spawn(self._bring(entry, nearer))

    async def _bring(self, entry: Entry, nearer: Sequence[tuple[Tier, Store]]) -> None:
        try:
            for _, store in nearer:
                if self._is_outdated(entry):
                    return
                if await store.put(entry) and self._is_outdated(entry):
                    await store.delete(entry.key)  # it may have taken the place of something newer: a miss is no harm
        finally:
            if self._promoting.get(entry.key) is entry:
                del self._promoting[entry.key]

    def _is_outdated(self, entry: Entry) -> bool:
        return self._promoting.get(entry.key) is not entry or self.gone(entry)

    async def _sweep_purged(self, memory: MemoryStore) -> int:
        went = 0
        for number, slot in enumerate(memory.slots(), 1):
            if slot.checked != self._standing.head and self._dead(slot):
                went += memory.remove(slot)
            if number % SWEEP_BATCH == 0:
                await asyncio.sleep(0)
        return went


async def _forget(store: Store, key: str) -> None:
    await store.delete(key)


async def _readable(entry: Entry) -> bool:
    """Whether a body that lies on disk is whole; a client that was sent its head could not be told any more."""
    try:
        await entry.body.verify()
    except StoreError:
        entry.body.close()
        return False
    return True
