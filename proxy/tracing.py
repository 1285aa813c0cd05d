"""What an instance is put together of where it tells traces, and what beside it sends its figures.

Which classes take part is decided once: where nothing is traced the plain ones do, and nobody asks whether he should.
"""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from prometheus_client.metrics_core import Metric

from proxy.flying import Flying
from proxy.invalidation.purges import Purger
from proxy.invalidation.traced import TracedPurger
from proxy.observe.collector import GatewayCollector
from proxy.observe.figures import Take
from proxy.observe.tracing import TraceSpan, Tracing
from proxy.pipeline import Shelves
from proxy.ranging import Ranging
from proxy.server.access_log import Books
from proxy.server.fastlane import FastLane
from proxy.server.front import Answerer
from proxy.server.traced import TracedAnswerer, TracedBooks, TracedLane
from proxy.tasks import repeat
from proxy.traced import TracedFlying, TracedRanging, TracedShelves
from proxy.upstream.routes import Routes
from proxy.upstream.traced import TracedRoutes

EVERY = 15.0  # seconds between two times that figures are sent, as often as Prometheus asks


def _as_it_is(part: Any) -> Any:
    return part


@dataclass(frozen=True, slots=True)
class Parts:
    """What makes each of them."""

    routes: Callable[..., Routes] = Routes
    flying: Callable[..., Flying] = Flying
    ranging: Callable[..., Ranging] = Ranging
    purger: Callable[..., Purger] = Purger
    books: Callable[..., Books] = Books
    lane: Callable[..., FastLane] = FastLane
    shelves: Callable[[Shelves], Shelves] = _as_it_is
    answerer: Callable[[Answerer], Answerer] = _as_it_is


PLAIN = Parts()


def traced(tracing: Tracing) -> Parts:
    """Those that tell what they do."""
    return Parts(
        routes=partial(TracedRoutes, tracing),
        flying=partial(TracedFlying, tracing),
        ranging=partial(TracedRanging, tracing),
        purger=partial(TracedPurger, tracing),
        books=partial(TracedBooks, tracing),
        lane=partial(TracedLane, tracing),
        shelves=partial(TracedShelves, tracing),
        answerer=partial(TracedAnswerer, tracing),
    )


class Collector(Protocol):
    """Where all of it goes (`observe.otlp`)."""

    def record(self, span: TraceSpan) -> None: ...

    async def send(self, families: Iterable[Metric]) -> None:
        """Returns when they are there, or given up."""
        ...

    @property
    def taken(self) -> bool:
        """Whether the last figures were."""
        ...

    @property
    def lost(self) -> int:
        """Spans that were dropped, or not taken."""
        ...

    async def close(self) -> None:
        """Send what waits, within a bound."""
        ...


class Telemetry:
    """What one process tells a collector, where there is one: its spans, of which a share of `ratio` is recorded where
    no caller has decided, and every so many seconds the `figures` of the whole instance."""

    def __init__(
        self, collector: Collector | None = None, ratio: float = 0.0, *, figures: bool = False, every: float = EVERY
    ) -> None:
        self.parts = PLAIN if collector is None else traced(Tracing(collector.record, ratio))
        self._collector = collector
        self._figures = collector if figures else None
        self._every = every

    @property
    def lost(self) -> int:
        """Spans that no collector has got, or will."""
        return 0 if self._collector is None else self._collector.lost

    async def run(self, take: Take) -> None:
        """Send figures for ever."""
        if (collector := self._figures) is not None:
            await repeat("sending figures", lambda: _send(collector, take), self._every)

    async def last(self, take: Take, seconds: float) -> None:
        """Send them once more, if they are taken at all; within so many seconds."""
        if self._figures is not None and self._figures.taken:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await _send(self._figures, take)

    async def close(self) -> None:
        """Send what waits, within a bound."""
        if self._collector is not None:
            await self._collector.close()


async def _send(collector: Collector, take: Take) -> None:
    counters, figures = await take()
    await collector.send(GatewayCollector(counters, figures).collect())
