"""All who answer requests, put together, and what new settings change of them."""

from collections.abc import Callable
from functools import partial

from proxy import building
from proxy.building_services import Surroundings, services
from proxy.ending import Ending
from proxy.entry import Entry
from proxy.fetching import Fetching
from proxy.flight import Lately
from proxy.flying import Patience
from proxy.gathering import Gathering
from proxy.insight.explain import Explaining
from proxy.insight.explain_tiers import Survey
from proxy.insight.samples import Samples
from proxy.insight.shadow import Shadow
from proxy.instant import AtOnce
from proxy.limiting import Limiting
from proxy.limits.table import Table
from proxy.observe.counters import Bound, Counters
from proxy.outcome import Tier
from proxy.passes import Passes
from proxy.passing import Passing
from proxy.pipeline import Pipeline
from proxy.place import Place
from proxy.ranging import Ranging
from proxy.reasons import Why
from proxy.replying import Replying
from proxy.rules import Rule, RuleTable
from proxy.settings.compile import compile_rules
from proxy.settings.model import Settings
from proxy.tasks import Tasks
from proxy.tiers import Tiers


class Story:
    """`around` is what the services are not told by their settings; `limits` counts what this process does;
    `stored` hears of what is stored."""

    def __init__(
        self,
        settings: Settings,
        around: Surroundings,
        place: Place,
        tiers: Tiers,
        ending: Ending,
        limits: Table,
        tasks: Tasks,
        counters: Counters,
        stored: Callable[[Entry], None],
    ) -> None:
        clock, patience = around.clock, building.patience(settings)
        self._around = around
        self._tasks = tasks
        self._clock = clock
        self._reply = replying = Replying(around.via_name, settings.observe.server_timing)
        self.routes = services(settings, around)
        self.samples = Samples(settings.observe.samples, place.common.redaction)
        dropped = partial(counters.add_passed, Bound.TAGS)
        uncacheable: Lately[Why] = Lately(settings.flight.uncacheable, clock)
        self.fetching = self._fetching(place, tiers, ending, uncacheable, dropped, stored)
        self.flying = around.parts.flying(self.fetching, place.journal, uncacheable, tasks, patience, replying, clock)
        self.ranging = self._ranging(settings, place, tiers, patience, dropped)
        self.limiting = Limiting(place.limiter(limits), replying, self._table)
        table, tiered = RuleTable(*compile_rules(settings)), tiers.tiered
        near = tiered.nearest, tiered.nearest_file, tiered.nearest_redis

        def timed(tier: Tier, seconds: float) -> None:
            counters.tiers[tier].seconds.observe(seconds)

        self.at_once = AtOnce(table, *near, self.routes, self.limiting, replying, timed, around.full)
        self.explaining = self._explaining(settings, place, tiers, table)
        shadow = Shadow(building.shadow_ledger(settings), place.journal, counters.shadow, clock)
        self.pipeline = self._pipeline(settings, tiers, ending, table, shadow, timed)

    def _fetching(
        self,
        place: Place,
        tiers: Tiers,
        ending: Ending,
        uncacheable: Lately[Why],
        dropped: Callable[[int], None],
        stored: Callable[[Entry], None],
    ) -> Fetching:
        def sampled(rule: Rule, entry: Entry, content: bytes | None, new: bool) -> None:
            self.samples.add(rule, entry, content)
            if new:
                stored(entry)

        return Fetching(
            self.routes,
            tiers.shelf,
            place.journal,
            tiers.record,
            uncacheable,
            ending.outdate,
            self._clock,
            Passes(None, self._clock) if tiers.sharing is None else tiers.sharing.passes,
            dropped,
            sampled,
        )

    def _ranging(
        self, settings: Settings, place: Place, tiers: Tiers, patience: Patience, dropped: Callable[[int], None]
    ) -> Ranging:
        return self._around.parts.ranging(
            self.routes,
            tiers.parts,
            Gathering(tiers.parts, tiers.shelf, tiers.record, self._tasks, dropped),
            place.journal,
            self.fetching.begin,
            Lately(settings.flight.uncacheable, self._clock),
            self._tasks,
            patience,
            self._reply,
            self._clock,
            among=tiers.sharing is not None,
        )

    def _explaining(self, settings: Settings, place: Place, tiers: Tiers, table: RuleTable) -> Explaining:
        full = self._around.full
        return Explaining(
            table=table,
            routes=self.routes,
            key_body=settings.limits.key_body,
            survey=Survey(tiers.all, tiers.memory, lambda: place.log.journal, lambda: tiers.tiered.blind, full),
            near=tiers.near_entries,
            heads=tiers.heads,
            gone=tiers.tiered.gone,
            flying=self.flying,
            ranging=self.ranging,
            limiting=self.limiting,
            full=full,
            name=self._around.via_name,
            clock=self._clock,
        )

    def _pipeline(
        self,
        settings: Settings,
        tiers: Tiers,
        ending: Ending,
        table: RuleTable,
        shadow: Shadow,
        timed: Callable[[Tier, float], None],
    ) -> Pipeline:
        ways = self._table, self.routes, self.flying, self.ranging
        return Pipeline(
            table=table,
            shelves=self._around.parts.shelves(tiers.tiered),
            routes=self.routes,
            flying=self.flying,
            ranging=self.ranging,
            shadow=shadow,
            passing=Passing(*ways, ending.invalidate, self._reply, self._clock),
            limiting=self.limiting,
            replying=self._reply,
            key_body=settings.limits.key_body,
            timed=timed,
            full=self._around.full,
            clock=self._clock,
        )

    @property
    def waiting(self) -> int:
        """How many requests wait for another's answer."""
        return self.flying.waiting + self.ranging.waiting

    def change(self, settings: Settings, before: Settings) -> None:
        """Let what can change hold from the next request on. ConfigError leaves everything as it was."""
        table = RuleTable(*compile_rules(settings))
        if (settings.upstream, settings.upstreams) != (before.upstream, before.upstreams):
            routes = services(settings, self._around, (before, self.routes))
            routes.start()
            self._tasks.spawn(self.routes.retire(routes), "retire")
            self.routes = routes
        self.pipeline.change(table, self.routes, settings.limits.key_body)
        self.at_once.change(table, self.routes)
        self.explaining.change(table, self.routes, settings.limits.key_body)
        self.fetching.change(self.routes)
        self.flying.patience = patience = building.patience(settings)
        self.ranging.change(self.routes, patience)

    def _table(self) -> RuleTable:
        return self.pipeline.table
