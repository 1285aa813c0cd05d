"""The tiers of one process, put together: which there are, how they stand, and what a recording may use of them."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from weakref import WeakSet

from proxy import building
from proxy.entry import Entry, Variant
from proxy.errors import StoreError
from proxy.observe.counters import Counters
from proxy.observe.figures import Figures, TierFigures
from proxy.outcome import Tier
from proxy.place import Place
from proxy.recording import Recording
from proxy.settings.model import Settings
from proxy.store import Store
from proxy.store.file_warm import Warm
from proxy.store.guarded import Guarded, Health, Unpaced
from proxy.store.memory import MemoryStore
from proxy.store.parts import Beside, Parts, Room
from proxy.store.tiered import Tiered
from proxy.tasks import Tasks

_log = logging.getLogger("cachegate")

WARMING = 5.0  # seconds that a start may take for it
AT_ONCE = 64  # answers that are read together
PARTS_SHARE = 16  # parts of answers may take one in sixteen of memory's bounds beside it, ...
SPOOL_SHARE = 2  # ... and half of what recordings may take on disk


class Tiers:
    """`memory` and `file` are None where they are off; `all` holds what there is, nearest first. `clock`: wall time.
    `changed` hears of each change of the state of a tier, and why."""

    def __init__(self, settings: Settings, place: Place, tasks: Tasks, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._tasks = tasks
        self._journal = place.journal
        self._off = place.common.file_off
        self.changed: Callable[[Tier, str, str], None] = lambda tier, state, reason: None
        self._pressed = False  # memory has little room for answers under way
        self._under_way: WeakSet[Recording] = WeakSet()
        self.memory = building.memory_store(settings, clock)
        self.file = place.file_store(settings, clock)
        self._recording = self._recordings()
        self.all: dict[Tier, Store] = {}
        if self.memory is not None:
            self.all[Tier.MEMORY] = self.memory
        self.sharing = place.sharing(settings, tasks, clock)
        if self.sharing is not None:
            self.sharing.find = self.find
            self.sharing.changed = lambda state, reason: self.changed(Tier.REDIS, state, reason)
            self.all[Tier.REDIS] = Guarded(
                self.sharing.tier,
                "redis",
                _untold,
                clock=time.monotonic,
                read_patience=None,  # a request has its budget for that (`redis.budget`)
                pace=Unpaced,
            )
        warm: Warm | None = None
        far_store = self.file or building.own_store(settings)
        if far_store is not None:
            guarded = Guarded(far_store, "file", self._file_changed, clock=time.monotonic)
            self.all[Tier.FILE] = guarded
            if self.file is not None:
                self.file.on_damage = _tell_damage
                warm = self.file.warm(lambda: guarded.reads_well)
        far = [(tier, store) for tier, store in self.all.items() if tier is not Tier.MEMORY]
        self.tiered = Tiered(
            self.memory,
            far,
            place.journal,
            clock=clock,
            spawn=self._promote,
            blind=place.blind,
            warm=warm,
            again=self.sharing.store.again() if self.sharing is not None and self.memory is None else None,
        )
        self.parts = self._parts(clock)
        self.shelf = Beside(self.tiered, self.parts)

    def _parts(self, clock: Callable[[], float]) -> Parts:
        """Room for answers of which only parts are held, beside the tiers that will have them whole."""
        memory, file = self._settings.memory, self._settings.file
        spool = self.file.directory.spool_max // SPOOL_SHARE if self.file is not None else 0
        return Parts(
            near=Room(memory.max_object, memory.max_bytes // PARTS_SHARE) if memory.on else Room(),
            far=Room(file.max_object, spool) if self.file is not None else Room(),
            entries=max(1, memory.max_entries // PARTS_SHARE),
            variants=self._settings.limits.variants,
            directory=lambda: self.file.directory if self.file is not None else None,
            standing=self._journal,
            put=self.tiered.put,
            clock=clock,
            blind=lambda: self.tiered.blind,
        )

    async def open(self) -> None:
        """Take the cache directory, and begin to reach Redis. A directory that cannot be used is one line in the log
        and a tier that is off."""
        if self.sharing is not None:
            await self.sharing.start()
        if self.file is not None:
            try:
                await self.file.open()
            except StoreError as error:
                self._off = str(error)
                self.tiered.drop(Tier.FILE)
                del self.all[Tier.FILE]
                self.file = None
                self._recording = self._recordings()
                _log.error("the file tier is off: %s", error)
        if self.memory is not None:
            await self._warm(self.memory)
            if self.sharing is not None:
                self.sharing.tell_hot(self.memory)

    async def _warm(self, memory: MemoryStore) -> None:
        """Bring what is asked for most into memory, as far as there is time; nobody is asked upstream."""
        if not self._settings.cache.warmup:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(WARMING):
                tier, keys = await self._wanted(self._settings.memory.max_entries)
                for start in range(0, len(keys), AT_ONCE):
                    await asyncio.gather(*(self._bring(tier, key, memory) for key in keys[start : start + AT_ONCE]))
        _log.info("warmed up: %d answers are in memory", memory.entries)

    async def _wanted(self, limit: int) -> tuple[Tier, Sequence[str]]:
        """What to begin with, and where it lies: what is asked for most anywhere, else what was used last here."""
        if self.sharing is not None and (keys := await self.sharing.hottest(limit)):
            return Tier.REDIS, keys
        return Tier.FILE, await self.file.newest(limit) if self.file is not None else ()

    async def hottest(self, limit: int) -> Sequence[Entry]:
        """What all instances are asked for most, as far as Redis holds it; the bodies are not to be read."""
        keys = await self.sharing.hottest(limit) if self.sharing is not None else ()
        found = []
        for start in range(0, len(keys), AT_ONCE):
            found += await asyncio.gather(*(self._held(Tier.REDIS, key) for key in keys[start : start + AT_ONCE]))
        entries = [entry for entry in found if entry is not None]
        for entry in entries:
            entry.body.close()
        return entries

    async def _bring(self, tier: Tier, key: str, memory: MemoryStore) -> None:
        entry = await self._held(tier, key)
        if entry is not None:
            memory.keep(entry)
            entry.body.close()

    async def find(self, key: str) -> Entry | None:
        """What memory or the file tier holds under `<h>` or `<h>.<variant>`, if no purge ended it."""
        held = self.memory.peek(key) if self.memory is not None else None
        if held is not None and self._journal.ended(held.entry) is None:
            return held.entry
        return await self._held(Tier.FILE, key)

    async def _held(self, tier: Tier, key: str) -> Entry | None:
        if tier not in self.all:
            return None
        hash_, _, variant = key.partition(".")
        entry = await self.all[tier].get(hash_, lambda variants: _among(variants, variant))
        if entry is not None and self._journal.ended(entry) is not None:
            entry.body.close()
            return None
        return entry

    def near_entries(self) -> list[Entry]:
        """All that lie in memory now, those that are over too; nothing is counted."""
        return [slot.entry for slot in self.memory.slots()] if self.memory is not None else []

    async def heads(self) -> AsyncGenerator[Entry]:
        """What lies on disk, without bodies, as far as it can be gone through without leaving a trace."""
        store = self.all.get(Tier.FILE)
        if isinstance(store, Guarded):
            async for entry in store.heads():
                yield entry

    async def close(self) -> None:
        self.parts.clear()
        await self.tiered.close()
        if self.sharing is not None:
            await self.sharing.close()

    def record(self) -> Recording:
        """An empty recording, that may spool beside the file tier."""
        recording = self._recording(self._pressed)
        self._under_way.add(recording)
        return recording

    def _recordings(self) -> Callable[[bool], Recording]:
        return building.recordings(self._settings, building.spool_of(self.file) if self.file is not None else None)

    # -- as memory allows ------------------------------------------------------------------------------------------

    @property
    def near_bytes(self) -> int:
        """What lies in memory, answers in parts included."""
        return (self.memory.bytes if self.memory is not None else 0) + self.parts.near_bytes

    @property
    def near_room(self) -> int:
        """How many bytes may lie there now."""
        room = self.memory.max_bytes if self.memory is not None else 0
        return room + room // PARTS_SHARE

    def resize_near(self, room: int) -> None:
        """Let so many bytes be all that may lie in memory; what is used least leaves."""
        if self.memory is not None:
            share = room - room // (PARTS_SHARE + 1)
            self.memory.resize(share)
            self.parts.resize(share // PARTS_SHARE)

    def keep_less(self, pressed: bool) -> None:
        """Whether answers that begin from now on are to go to disk early."""
        self._pressed = pressed

    def give_up(self) -> None:
        """Answers under way that lie in memory go to their clients and are not stored."""
        for recording in list(self._under_way):
            if not recording.spooled:
                recording.give_up()

    # -- figures ---------------------------------------------------------------------------------------------------

    def measure(self, counters: Counters) -> Figures:
        """How they stand; their lookups are brought into the counters on the way."""
        for tier in self.all:
            seen, counted = self.tiered.lookups(tier), counters.tiers[tier]
            counted.hits, counted.misses = seen.hits, seen.misses
        figures: dict[Tier, TierFigures] = {}
        memory, file = self._settings.memory, self._settings.file
        if (near := self.memory) is not None:
            figures[Tier.MEMORY] = TierFigures(near.entries, near.bytes, memory.max_bytes, near.evictions)
        if (redis := self.sharing.now() if self.sharing is not None else None) is not None:
            counters.tiers[Tier.REDIS].errors = redis.errors
            figures[Tier.REDIS] = TierFigures(redis.keys, redis.memory, 0, redis.evictions, redis.reason)
        if (far := self.file) is not None:
            guarded = self.all.get(Tier.FILE)
            failed = guarded.errors if isinstance(guarded, Guarded) else 0
            counters.tiers[Tier.FILE].errors = failed + far.damaged
            figures[Tier.FILE] = TierFigures(far.entries, far.bytes, file.max_bytes, far.evictions, self._off)
        elif file.on:
            figures[Tier.FILE] = TierFigures(max_bytes=file.max_bytes, off=self._off)
        names = tuple(far.names()) if far is not None else ()
        return Figures(figures, names, redis=redis, parts=len(self.parts), part_bytes=self.parts.bytes)

    def _promote(self, work: Coroutine[None, None, None]) -> object:
        return self._tasks.spawn(work, "promote")

    def _file_changed(self, health: Health, reason: str) -> None:
        self._off = reason
        self.changed(Tier.FILE, health.value, reason)
        if health is Health.READY:
            _log.info("the file tier works again")
        else:
            _log.error("the file tier is in trouble: %s", reason)


def _among(variants: Iterable[Variant], wanted: str) -> str | None:
    return next((variant.id for variant in variants if variant.id == wanted), None)


def _tell_damage(key: str) -> None:
    _log.warning(
        "a file of the file tier is damaged, or none of ours: %s; it is a miss and is removed. Others are only "
        "counted, as errors of file in the stats, until an hour was without any; see that the disk is sound",
        key,
    )


def _untold(health: Health, reason: str) -> None:
    """Redis tells its own changes, once for all that use it."""
