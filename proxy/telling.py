"""What has to be looked for to be told as an event: figures now and then, what is hit, what had to leave.

Nothing is looked for while nobody listens, and no hit does anything for it: who was hit shows in when it was last used.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from random import Random

from proxy.observe.events import LISTENING, Events, Kind
from proxy.observe.figures import Figures, Take
from proxy.outcome import Tier
from proxy.server.admin.probes import Readiness
from proxy.server.admin.stats import build
from proxy.store.memory import MemoryStore

_log = logging.getLogger("cachegate")

TICK = 2.0  # seconds between two looks
LOOKED_AT = 2000  # slots of the memory tier at a time
HITS = 20  # samples of hits at a time


class Telling:
    """`started` by `timer` and in seconds, as the time of each event; `tell_others` reaches the other workers."""

    def __init__(
        self,
        events: Events,
        take: Take,
        memory: MemoryStore | None,
        readiness: Readiness,
        tell_others: Callable[..., object],
        clock: Callable[[], float],
        uptime: Callable[[], float],
        every: float = TICK,
    ) -> None:
        self._events = events
        self._take = take
        self._memory = memory
        self._readiness = readiness
        self._tell_others = tell_others
        self._clock = clock
        self._uptime = uptime
        self._every = every
        self._evicted: dict[Tier, int] = {}
        self._sampled = 0.0  # when hits were last looked for
        self._random = Random()  # noqa: S311 - a sample

    async def run(self) -> None:
        """Look while somebody listens."""
        events = self._events
        while True:
            await events.stirred.wait()
            events.stirred.clear()
            self._evicted, self._sampled = {}, self._clock()
            while events.here or any(map(events.wants, Kind)):
                try:
                    await self._look()
                except Exception:
                    _log.exception("the figures for who listens could not be taken")
                await asyncio.sleep(self._every)

    async def _look(self) -> None:
        if self._readiness.draining:
            self._events.end("this gateway ends")
            return
        here = self._events.here
        if here:
            self._tell_others(LISTENING, here)
        if self._events.wants(Kind.HIT) and self._memory is not None:
            self._sample(self._memory)
        if here & {Kind.STATS, Kind.EVICT}:
            counters, figures = await self._take()
            self._events.tell_here(Kind.STATS, build(counters, figures, self._uptime(), names=False))
            self._evictions(figures)

    def _sample(self, memory: MemoryStore) -> None:
        slots = memory.slots()
        looked_at = self._random.sample(slots, min(len(slots), LOOKED_AT))
        since, self._sampled = self._sampled, self._clock()
        hit = [slot for slot in looked_at if slot.uses and slot.last_access >= since]
        for slot in hit[:HITS]:
            entry = slot.entry
            self._events.tell(
                Kind.HIT,
                {"url": entry.parts.url, "rule": entry.rule, "key": entry.key, "tier": "memory", "hits": slot.hits},
            )

    def _evictions(self, figures: Figures) -> None:
        now: Mapping[Tier, int] = {tier: figure.evictions for tier, figure in figures.tiers.items()}
        for tier, evicted in now.items():
            if (more := evicted - self._evicted.get(tier, evicted)) > 0:
                self._events.tell_here(Kind.EVICT, {"tier": tier.value, "entries": more})
        self._evicted = dict(now)
