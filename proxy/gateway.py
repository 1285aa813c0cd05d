"""One instance: concrete classes put together. Nothing else names them but `building` and `wiring`."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import partial

from aiohttp import web

from proxy import building
from proxy.configuration import Configuration
from proxy.ending import Ending
from proxy.everywhere import Everywhere
from proxy.insight.inventory import Inventory
from proxy.limits.near import swept
from proxy.observe.counters import Bound, Counters
from proxy.observe.figures import Figures
from proxy.observe.logs import LineWriter
from proxy.observe.resident import give_back, resident
from proxy.place import Common, Place
from proxy.rules import MAIN, RuleTable
from proxy.server.access_log import AccessLog, Books, Redaction
from proxy.server.admin.config import config_pages
from proxy.server.admin.entries import entry_pages
from proxy.server.admin.metrics import metrics_page
from proxy.server.admin.pages import Page, Pages
from proxy.server.admin.port import admin_front, aliases
from proxy.server.admin.probes import Readiness, probe_pages
from proxy.server.admin.purge import PurgeVerb, purge_pages
from proxy.server.admin.ratelimit import rate_limit_page
from proxy.server.admin.redis import health_of, no_redis_pages, redis_pages, redis_report_page
from proxy.server.admin.rights import Rights
from proxy.server.admin.stats import stats_page
from proxy.server.front import Doorway, Front
from proxy.server.gate import application
from proxy.server.member import Member
from proxy.settings.load import Loaded
from proxy.settings.model import Settings
from proxy.shedding import Shedding
from proxy.story import Story
from proxy.tasks import Tasks, end
from proxy.tiers import Tiers
from proxy.upstream.breaker import Change
from proxy.upstream.fellows import NEWS

_log = logging.getLogger("cachegate")

LOOK = 0.1  # seconds that a page waits for a new count of what is in Redis
FETCHES = 5.0  # seconds that fetches whose clients have their answers, or are gone, get to end with us


class Gateway:
    """One instance: every part of it, started and closed together. `clock` is wall time, `timer` never goes back; both
    in seconds. `memory` reads the bytes that the process takes, None where nobody tells.

    Making one takes the journal and the admin token; `start` takes the cache directory. `source` reads the settings
    again for a reload; `access` is where access log lines go.
    """

    def __init__(
        self,
        settings: Settings | Loaded,
        *,
        source: Callable[[], Loaded] | None = None,
        access: LineWriter | None = None,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
        memory: Callable[[], int | None] = resident,
        common: Common | None = None,
        member: Member | None = None,
    ) -> None:
        loaded = settings if isinstance(settings, Loaded) else Loaded(settings, {})
        self._place = Place(loaded.settings, common, member)
        self.settings = self._place.part(
            loaded.settings
        )  # as at the start: what only a restart can change is read here
        self._live = self.settings
        self.name, self.token = self._place.common.name, self._place.common.token
        self.log, self.journal = self._place.log, self._place.journal
        self.tasks = Tasks(_unexpected)
        self.counters = Counters()
        self.readiness = Readiness()
        self._clock = clock
        self._access = access
        self.limits = building.table(self.settings, timer)
        self._beside: list[asyncio.Task[None]] = []
        self.tiers = Tiers(self.settings, self._place, self.tasks, clock)
        self.shedding = Shedding(
            self.settings.memory.limit, self.tiers, self.counters, memory, give_back, self._pressed
        )
        self._build_story(timer)
        self.configuration = Configuration(
            loaded, source, self.apply, through=self._place.through, tells=self._place.first
        )
        self._build_doors(access)

    # -- parts -----------------------------------------------------------------------------------------------------

    def _build_story(self, timer: Callable[[], float]) -> None:
        settings, sharing = self.settings, self.tiers.sharing
        self.ending = Ending(
            self._place,
            self.tiers,
            self._table,
            self._clock,
            lambda purge: self.counters.purged(purge.kind.value),
            settings.admin.receipts,
        )
        around = building.Surroundings(
            self.name,
            self.counters.upstream,
            self._clock,
            timer,
            self.shedding.full,
            self._breaker_changed,
            self._place.fellows,
        )
        self.story = Story(
            settings, around, self._place, self.tiers, self.ending, self.limits, self.tasks, self.counters
        )
        self.inventory = Inventory(
            self.tiers.tiered,
            self.tiers.all,
            self.tiers.memory,
            self.tiers.parts,
            self._table,
            self._clock,
            sharing.begin_with if sharing is not None else None,
        )
        self.everywhere = Everywhere(self._own, self.inventory, self.ending.purger, self._place.ask)
        self.ending.purger.everywhere = self.everywhere.count

    def _build_doors(self, access: LineWriter | None) -> None:
        settings, admin = self.settings, self.settings.admin
        rights = Rights(self.token.value)
        pages, verb = self._pages(), PurgeVerb(self.ending.purger)
        doorway = Doorway(
            self.name,
            building.reading(settings, rights.trusts),
            building.uploads(settings),
            settings.timeouts.send_idle,
        )
        form = settings.log.format or "json"
        redact = Redaction(settings.log.redact_query, self._place.common.redaction)
        log = AccessLog(access, form, redact) if access and settings.log.access else None
        here = Pages(pages if admin.port is None else [], rights, prefix=self._public_prefix, purge=verb)
        books = Books(self.counters, log)
        self.front = Front(self.story.pipeline, here, doorway, self.counters, books, clock=self._clock)
        self.lane = building.fast_lane(
            settings, self.story.pipeline, self.tiers.tiered.nearest, doorway, here, books, self._clock
        )
        self.admin_front: Front | None = None
        if admin.port is not None:
            alone = Pages(pages, rights, prefix=admin.prefix, purge=verb, aliases=aliases(admin.prefix), alone=True)
            self.admin_front = admin_front(alone, doorway)

    @property
    def _public_prefix(self) -> str | None:
        return self.settings.admin.prefix if self.settings.admin.port is None else None

    def _pages(self) -> tuple[Page, ...]:
        admin, sharing = self.settings.admin, self.tiers.sharing
        started = self._place.common.started
        clear = partial(self.ending.clear, self.everywhere.clear)
        open_metrics = admin.metrics == "open" and admin.port is not None
        return (
            *probe_pages(self.readiness),
            stats_page(self._take, started=started),
            redis_report_page(health_of(sharing), self._take, started=started),
            metrics_page(self._take, open_to_all=open_metrics),
            *(redis_pages(sharing) if sharing is not None else no_redis_pages()),
            *entry_pages(self.everywhere),
            rate_limit_page(self.story.limiting.status),
            *purge_pages(self.ending.purger, self.everywhere.receipt, self.everywhere, clear),
            *config_pages(self.configuration),
        )

    # -- life ------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Take the cache directory and begin what runs beside requests. A directory that cannot be used is one line
        in the log and a tier that is off."""
        self._place.link()
        await self.tiers.open()
        hears = {NEWS: lambda identity, news: self.story.routes.learn(identity, news)}
        self._place.start(self.everywhere.duties, hears, self.configuration.take, lambda: self._own()[0])
        self.story.routes.start()
        self._beside = [
            asyncio.create_task(self._sweep_for_ever(), name="sweep"),
            asyncio.create_task(self.shedding.watch(), name="shedding"),
        ]
        self.readiness.started = True

    async def close(self, at_once: asyncio.Event | None = None) -> None:
        """Let fetches end for a moment, or until it is to be `at_once`, then close everything."""
        await end(self._beside)
        await self._place.close()
        await self.tasks.close(FETCHES, at_once)
        await self.tiers.close()
        await self.story.routes.close()
        await self._place.end()

    def app(self) -> web.Application:
        """The gateway as an aiohttp application that starts and closes it."""
        limits = building.door_limits(self.settings, self.settings.limits.connections)
        app = application(self.front, limits)

        async def whole_life(_: web.Application) -> AsyncIterator[None]:
            await self.start()
            yield
            await self.close()

        app.cleanup_ctx.append(whole_life)
        return app

    async def sweep(self) -> int:
        """Reclaim what nobody can want any more; how many entries went."""
        await swept(self.limits)
        return self.tiers.parts.sweep() + await self.tiers.tiered.sweep()

    async def _sweep_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self.settings.cache.cleanup_interval)
            try:
                await self.sweep()
            except Exception:
                _log.exception("a sweep failed")

    # -- what the parts ask of each other --------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """How many requests wait for flights to land."""
        return self.story.waiting

    def _table(self) -> RuleTable:
        """The rules that hold now."""
        return self.story.pipeline.table

    async def _take(self) -> tuple[Counters, Figures]:
        """What was counted in the whole instance, and how things stand."""
        if self.tiers.sharing is not None:
            await self.tiers.sharing.figures(LOOK)
        return await self.everywhere.take()

    def _pressed(self, pressed: bool) -> None:
        if self.lane is not None:
            self.lane.rest(pressed)

    def _own(self) -> tuple[Counters, Figures]:
        """What was counted here, and how things stand."""
        self.counters.settle()
        figures = self.tiers.measure(self.counters)  # first: it brings the tiers' lookups into the counters
        services = {name or MAIN: service for name, service in self.story.routes.figures.items()}
        if self._access is not None:
            self.counters.passed[Bound.LINES] = self._access.dropped
        return self.counters, replace(figures, services=services, pressure=self.shedding.now())

    def _breaker_changed(self, name: str, change: Change) -> None:
        level, open_for = logging.INFO, ""
        if change.cause is not None:
            self.counters.opened(name or MAIN, change.cause)
            level, open_for = logging.WARNING, f" for {change.seconds:.1f} s"
        _log.log(level, "upstream %s: the breaker is %s%s: %s", name or MAIN, change.state.value, open_for, change.why)

    def apply(self, loaded: Loaded) -> None:
        """Let what can change hold from the next request on. ConfigError leaves everything as it was."""
        settings = self._place.part(loaded.settings)
        self.story.change(settings, self._live)
        logging.getLogger().setLevel(settings.log.level.upper())
        self._live = settings


def _unexpected(name: str, error: BaseException) -> None:
    _log.error("%s failed unexpectedly", name or "a task", exc_info=error)
