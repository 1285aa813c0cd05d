"""What a worker tells of itself in figures: since its start, now, and of the last hour and day."""

from collections.abc import Callable
from dataclasses import replace

from proxy.observe.counters import Bound, Counters
from proxy.observe.figures import Figures
from proxy.observe.history import Window
from proxy.observe.logs import LineWriter
from proxy.place import Place
from proxy.rules import MAIN
from proxy.settings.model import Settings
from proxy.shedding import Shedding
from proxy.story import Story
from proxy.tiers import Tiers
from proxy.tracing import Telemetry


class Measuring:
    """`run` it and `close` it for the history; where a parent has that of all workers, neither does anything. `clock`
    is wall time in seconds."""

    def __init__(
        self,
        settings: Settings,
        place: Place,
        counters: Counters,
        tiers: Tiers,
        story: Story,
        shedding: Shedding,
        access: LineWriter | None,
        telemetry: Telemetry,
        clock: Callable[[], float],
    ) -> None:
        self._place = place
        self._counters = counters
        self._tiers = tiers
        self._story = story
        self._shedding = shedding
        self._access = access
        self._telemetry = telemetry
        self._remembering = place.remembering(settings, self._copy, clock)

    def own(self) -> tuple[Counters, Figures]:
        """What was counted here, and how things stand."""
        counters = self._counters
        counters.settle()
        figures = self._tiers.measure(counters)  # first: it brings the tiers' lookups into the counters
        services = {name or MAIN: service for name, service in self._story.routes.figures.items()}
        if self._access is not None:
            counters.passed[Bound.LINES] = self._access.dropped
        counters.passed[Bound.SPANS] = self._telemetry.lost
        durable = self._place.log.durable
        return counters, replace(figures, services=services, pressure=self._shedding.now(), durable=durable)

    async def window(self, minutes: int) -> Window | None:
        """The last minutes of the whole instance, or of all; None when nobody can say now."""
        if self._remembering is not None:
            return await self._remembering.window(minutes)
        return await self._place.window(minutes)

    async def run(self) -> None:
        """Take each minute as it ends."""
        if self._remembering is not None:
            await self._remembering.run()

    async def close(self) -> None:
        """Keep what is left of the last one."""
        if self._remembering is not None:
            await self._remembering.close()

    def _copy(self) -> Counters:
        return Counters.merged([self.own()[0]])
