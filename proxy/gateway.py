"""One instance: concrete classes put together. Nothing else names them but `building` and `wiring`."""

import asyncio
import logging
import time
from collections.abc import Callable

from proxy import building
from proxy.building_services import Surroundings
from proxy.configuration import Configuration
from proxy.doors import Doors
from proxy.ending import Ending
from proxy.everywhere import Everywhere
from proxy.insight.inventory import Inventory
from proxy.limits.near import swept
from proxy.measuring import Measuring
from proxy.noting import Noting
from proxy.observe.counters import Counters
from proxy.observe.events import EVENT, LISTENING, Events
from proxy.observe.figures import Figures
from proxy.observe.logs import LineWriter
from proxy.observe.resident import give_back, resident
from proxy.operating import Asked, pages
from proxy.place import Common, Place
from proxy.rules import RuleTable
from proxy.server.admin.explain import Document, Question
from proxy.server.admin.probes import Readiness
from proxy.server.admin.purge import PurgeVerb
from proxy.server.bus import Ears
from proxy.server.member import Member
from proxy.server.requests import wants_websocket
from proxy.settings.load import Loaded
from proxy.settings.model import Settings
from proxy.shedding import Shedding
from proxy.story import Story
from proxy.tasks import Tasks, end, repeat
from proxy.telling import Telling
from proxy.tiers import Tiers
from proxy.upstream.fellows import NEWS
from proxy.warming import Warming
from proxy.warming_guard import ForClients
from proxy.warming_hot import Hottest
from proxy.warming_one import Warmer

_log = logging.getLogger("cachegate")

LOOK = 0.1  # seconds that a page waits for a new count of what is in Redis
FIGURES = 2.0  # seconds that the last figures have to get to a collector
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
        # As at the start: what only a restart can change is read here.
        self.settings = self._place.part(loaded.settings)
        self._live = self.settings
        self.name, self.token = self._place.common.name, self._place.common.token
        self.started = self._place.common.started  # by the monotonic clock, in seconds
        self.log, self.journal = self._place.log, self._place.journal
        self.tasks = Tasks(_unexpected)
        self.counters = Counters(building.costs(self.settings))
        self.events = Events(clock, self._place.tell_others, self._place.number)
        self._noting = Noting(self.settings, self.counters, self.events)
        self.readiness = Readiness()
        self.telemetry = building.telemetry(self.settings, self.name, self._place.number)
        self._clock = clock
        self.limits = building.table(self.settings, timer)
        self._beside: list[asyncio.Task[None]] = []
        self.tiers = Tiers(self.settings, self._place, self.tasks, clock)
        self.tiers.changed = self._noting.tier
        self.shedding = Shedding(
            self.settings.memory.limit,
            self.tiers,
            self.counters,
            memory,
            give_back,
            lambda pressed: self._doors.pressed(pressed),
        )
        self._build_story(timer, access)
        self.configuration = Configuration(
            loaded, source, self.apply, through=self._place.through, tells=self._place.first
        )
        self._build_doors(access)

    # -- parts -----------------------------------------------------------------------------------------------------

    def _build_story(self, timer: Callable[[], float], access: LineWriter | None) -> None:
        settings, sharing = self.settings, self.tiers.sharing
        self.ending = Ending(
            self._place,
            self.tiers,
            self._table,
            self._clock,
            self._noting.purged,
            settings.admin.receipts,
            self.telemetry.parts,
        )
        around = Surroundings(
            self.name,
            self.counters.upstream,
            self._clock,
            timer,
            self.shedding.full,
            self._noting.breaker,
            self._place.fellows,
            self.telemetry.parts,
        )
        self.story = Story(
            settings,
            around,
            self._place,
            self.tiers,
            self.ending,
            self.limits,
            self.tasks,
            self.counters,
            self._noting.stored,
        )
        self._measuring = Measuring(
            settings,
            self._place,
            self.counters,
            self.tiers,
            self.story,
            self.shedding,
            access,
            self.telemetry,
            self._clock,
        )
        self.telling = Telling(
            self.events,
            self.take,
            self.tiers.memory,
            self.readiness,
            self._place.tell_others,
            self._clock,
            lambda: time.monotonic() - self.started,
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
        self.everywhere = Everywhere(
            self._measuring.own,
            self.inventory,
            self.ending.purger,
            self.story.samples.taken,
            self._explain,
            self._place.ask,
        )
        self.ending.purger.everywhere = self.everywhere.count
        self._build_warming(timer)

    def _build_warming(self, timer: Callable[[], float]) -> None:
        story = self.story
        guard = ForClients(
            lambda request: self._table().match(request),
            lambda: story.routes,
            story.flying,
            story.at_once.fresh,
            lambda: self.shedding.level,
            lambda: self.readiness.draining,
        )
        self.warming = Warming(
            Warmer(story.pipeline.answer, guard, self._clock),
            self._place.jobs(self.settings),
            building.bounds_of_warming(self.settings),
            self.tasks,
            ask=self._place.ask,
            worker=self._place.number,
            clock=self._clock,
            timer=timer,
        )
        self.hottest = Hottest(self.tiers.memory, self.tiers.hottest, self._place.ask)

    def _build_doors(self, access: LineWriter | None) -> None:
        asked = Asked(
            self.settings,
            self.started,
            self.readiness,
            self.take,
            self._measuring.window,
            self.events,
            self.tiers.sharing,
            self.everywhere,
            self.story,
            self.ending,
            self.warming,
            self.hottest,
            self.configuration,
        )
        verb = PurgeVerb(self.ending.purger)
        common, story, parts = self._place.common, self.story, self.telemetry.parts
        doors = Doors(self.settings, common, pages(asked), verb, story, self.counters, access, self._clock, parts)
        self._doors, self.front, self.lane, self.admin_front = doors, doors.front, doors.lane, doors.admin

    # -- life ------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Take the cache directory and begin what runs beside requests. A directory that cannot be used is one line
        in the log and a tier that is off."""
        self._place.hear(self._noting.heard)
        self._place.link()
        await self.tiers.open()
        hears: Ears = {
            NEWS: lambda identity, news: self.story.routes.learn(identity, news),
            EVENT: self.events.hear,
            LISTENING: self.events.want,
        }
        duties = {**self.everywhere.duties, **self.warming.duties, **self.hottest.duties}
        self._place.start(duties, hears, self.configuration.take, lambda: self._measuring.own()[0])
        self.story.routes.start()
        self._beside = [
            asyncio.create_task(repeat("a sweep", self.sweep, self.settings.cache.cleanup_interval), name="sweep"),
            asyncio.create_task(self.shedding.watch(), name="shedding"),
            asyncio.create_task(self.telling.run(), name="telling"),
            asyncio.create_task(self._measuring.run(), name="history"),
            asyncio.create_task(self.telemetry.run(self.take), name="telemetry"),
        ]
        self.readiness.started = True

    async def close(self, at_once: asyncio.Event | None = None) -> None:
        """Let fetches end for a moment, or until it is to be `at_once`, then close everything."""
        self.warming.close()
        await end(self._beside)
        await self.telemetry.last(self.take, FIGURES)
        await self._measuring.close()
        await self._place.close()
        await self.tasks.close(FETCHES, at_once)
        await self.tiers.close()
        await self.story.routes.close()
        await self._place.end()
        await self.telemetry.close()

    async def sweep(self) -> int:
        """Reclaim what nobody can want any more; how many entries went."""
        await swept(self.limits)
        return self.tiers.parts.sweep() + await self.tiers.tiered.sweep()

    # -- what the parts ask of each other --------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """How many requests wait for flights to land."""
        return self.story.waiting

    def _table(self) -> RuleTable:
        """The rules that hold now."""
        return self.story.pipeline.table

    async def take(self) -> tuple[Counters, Figures]:
        """What was counted in the whole instance, and how things stand."""
        if self.tiers.sharing is not None:
            await self.tiers.sharing.figures(LOOK)
        return await self.everywhere.take()

    async def _explain(self, question: Question) -> Document:
        """What would become of a request in this worker."""
        request = self._doors.read(question)
        explained = await self.story.explaining.explain(request, upgrade=wants_websocket(request))
        return {"worker": self._place.number, **explained.to_json()}

    def apply(self, loaded: Loaded) -> None:
        """Let what can change hold from the next request on. ConfigError leaves everything as it was."""
        settings = self._place.part(loaded.settings)
        self.story.change(settings, self._live)
        logging.getLogger().setLevel(settings.log.level.upper())
        self._noting.change(settings)
        self.warming.change(building.bounds_of_warming(settings))
        self._live = settings


def _unexpected(name: str, error: BaseException) -> None:
    _log.error("%s failed unexpectedly", name or "a task", exc_info=error)
