"""All who answer requests, put together, and what new settings change of them."""

from functools import partial

from proxy import building
from proxy.ending import Ending
from proxy.fetching import Fetching
from proxy.flight import Lately
from proxy.flying import Flying
from proxy.gathering import Gathering
from proxy.limiting import Limiting
from proxy.limits.table import Table
from proxy.observe.counters import Bound, Counters
from proxy.passes import Passes
from proxy.passing import Passing
from proxy.pipeline import Pipeline
from proxy.place import Place
from proxy.ranging import Ranging
from proxy.reasons import Why
from proxy.replying import Replying
from proxy.rules import RuleTable
from proxy.settings.compile import compile_rules
from proxy.settings.model import Settings
from proxy.tasks import Tasks
from proxy.tiers import Tiers


class Story:
    """`around` is what the services are not told by their settings; `limits` counts what this process does."""

    def __init__(
        self,
        settings: Settings,
        around: building.Surroundings,
        place: Place,
        tiers: Tiers,
        ending: Ending,
        limits: Table,
        tasks: Tasks,
        counters: Counters,
    ) -> None:
        clock, sharing, patience = around.clock, tiers.sharing, building.patience(settings)
        journal = place.journal
        dropped = partial(counters.add_passed, Bound.TAGS)
        self._around = around
        self._tasks = tasks
        self.routes = building.routes(settings, around)
        uncacheable: Lately[Why] = Lately(settings.flight.uncacheable, clock)
        passes = sharing.passes if sharing is not None else Passes(None, clock)
        self.fetching = Fetching(
            self.routes, tiers.shelf, journal, tiers.record, uncacheable, ending.outdate, clock, passes, dropped
        )
        replying = Replying(around.via_name, settings.observe.server_timing)
        self.flying = Flying(self.fetching, journal, uncacheable, tasks, patience, replying, clock)
        self.ranging = Ranging(
            self.routes,
            tiers.parts,
            Gathering(tiers.parts, tiers.shelf, tiers.record, tasks, dropped),
            journal,
            self.fetching.begin,
            Lately(settings.flight.uncacheable, clock),
            tasks,
            patience,
            replying,
            clock,
            among=sharing is not None,
        )
        self.limiting = Limiting(place.limiter(limits), replying, self._table)
        self.pipeline = Pipeline(
            table=RuleTable(*compile_rules(settings)),
            shelves=tiers.tiered,
            routes=self.routes,
            flying=self.flying,
            ranging=self.ranging,
            passing=Passing(self._table, self.routes, self.flying, self.ranging, ending.invalidate, replying, clock),
            limiting=self.limiting,
            replying=replying,
            key_body=settings.limits.key_body,
            timed=lambda tier, seconds: counters.tiers[tier].seconds.observe(seconds),
            full=around.full,
            clock=clock,
        )

    @property
    def waiting(self) -> int:
        """How many requests wait for another's answer."""
        return self.flying.waiting + self.ranging.waiting

    def change(self, settings: Settings, before: Settings) -> None:
        """Let what can change hold from the next request on. ConfigError leaves everything as it was."""
        table = RuleTable(*compile_rules(settings))
        if (settings.upstream, settings.upstreams) != (before.upstream, before.upstreams):
            routes = building.routes(settings, self._around, (before, self.routes))
            routes.start()
            self._tasks.spawn(self.routes.retire(routes), "retire")
            self.routes = routes
        self.pipeline.change(table, self.routes, settings.limits.key_body)
        self.fetching.change(self.routes)
        self.flying.patience = patience = building.patience(settings)
        self.ranging.change(self.routes, patience)

    def _table(self) -> RuleTable:
        return self.pipeline.table
