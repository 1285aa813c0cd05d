"""The tiers of one process, put together: which there are, how they stand, and what a recording may use of them."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress

from proxy import building
from proxy.entry import Variant
from proxy.errors import StoreError
from proxy.observe.counters import Counters
from proxy.observe.figures import Figures, TierFigures
from proxy.outcome import Tier
from proxy.place import Place
from proxy.recording import Recording
from proxy.settings.model import Settings
from proxy.store import Store
from proxy.store.file import FileStore
from proxy.store.guarded import Guarded, Health
from proxy.store.memory import MemoryStore
from proxy.store.tiered import Tiered
from proxy.tasks import Tasks

_log = logging.getLogger("cachegate")

WARMING = 5.0  # seconds that a start may take for it
AT_ONCE = 64  # answers that are read together


class Tiers:
    """`memory` and `file` are None where they are off; `all` holds what there is, nearest first. `clock`: wall time."""

    def __init__(self, settings: Settings, place: Place, tasks: Tasks, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._tasks = tasks
        self._journal = place.journal
        self._off = place.common.file_off
        self.memory = building.memory_store(settings, clock)
        self.file = place.file_store(settings, clock)
        self.all: dict[Tier, Store] = {}
        if self.memory is not None:
            self.all[Tier.MEMORY] = self.memory
        far_store = self.file or building.own_store(settings)
        if far_store is not None:
            self.all[Tier.FILE] = Guarded(far_store, "file", self._file_changed, clock=time.monotonic)
        far = [(tier, store) for tier, store in self.all.items() if tier is not Tier.MEMORY]
        self.tiered = Tiered(self.memory, far, place.journal, clock=clock, spawn=self._promote)

    async def open(self) -> None:
        """Take the cache directory. One that cannot be used is one line in the log and a tier that is off."""
        if self.file is not None:
            try:
                await self.file.open()
            except StoreError as error:
                self._off = str(error)
                self.tiered.drop(Tier.FILE)
                del self.all[Tier.FILE]
                self.file = None
                _log.error("the file tier is off: %s", error)
        if self._settings.cache.warmup and self.memory is not None and self.file is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(WARMING):
                    await self._warm(self.memory, self.file)
            _log.info("warmed up: %d answers are in memory", self.memory.entries)

    async def _warm(self, memory: MemoryStore, file: FileStore) -> None:
        """Bring what was used last into memory, as far as there is time; nobody is asked upstream."""
        keys = await file.newest(self._settings.memory.max_entries)
        for start in range(0, len(keys), AT_ONCE):
            await asyncio.gather(*(self._bring(key, memory) for key in keys[start : start + AT_ONCE]))

    async def _bring(self, key: str, memory: MemoryStore) -> None:
        hash_, _, variant = key.partition(".")
        entry = await self.all[Tier.FILE].get(hash_, lambda variants: _among(variants, variant))
        if entry is not None:
            if self._journal.ended(entry) is None:
                memory.keep(entry)
            entry.body.close()

    def record(self) -> Recording:
        """An empty recording, that may spool beside the file tier."""
        return building.recording(self._settings, building.spool_of(self.file) if self.file is not None else None)

    def measure(self, counters: Counters) -> Figures:
        """How they stand; their lookups are brought into the counters on the way."""
        for tier in self.all:
            seen, counted = self.tiered.lookups(tier), counters.tiers[tier]
            counted.hits, counted.misses = seen.hits, seen.misses
        figures: dict[Tier, TierFigures] = {}
        memory, file = self._settings.memory, self._settings.file
        if (near := self.memory) is not None:
            figures[Tier.MEMORY] = TierFigures(near.entries, near.bytes, memory.max_bytes, near.evictions)
        if (far := self.file) is not None:
            guarded = self.all.get(Tier.FILE)
            counters.tiers[Tier.FILE].errors = guarded.errors if isinstance(guarded, Guarded) else 0
            figures[Tier.FILE] = TierFigures(far.entries, far.bytes, file.max_bytes, far.evictions, self._off)
        elif file.on:
            figures[Tier.FILE] = TierFigures(max_bytes=file.max_bytes, off=self._off)
        return Figures(figures, tuple(far.names()) if far is not None else ())

    def _promote(self, work: Coroutine[None, None, None]) -> object:
        return self._tasks.spawn(work, "promote")

    def _file_changed(self, health: Health, reason: str) -> None:
        self._off = reason
        if health is Health.READY:
            _log.info("the file tier works again")
        else:
            _log.error("the file tier is in trouble: %s", reason)


def _among(variants: Iterable[Variant], wanted: str) -> str | None:
    return next((variant.id for variant in variants if variant.id == wanted), None)
