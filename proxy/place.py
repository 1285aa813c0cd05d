"""Which part of an instance a process is: all of it, or one of several workers. What differs stands here alone."""

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Self

from proxy import building
from proxy.division import divided
from proxy.invalidation.journal import Journal
from proxy.invalidation.local import LocalLog
from proxy.invalidation.records import Purge
from proxy.invalidation.shared import SharedLog
from proxy.invalidation.worker_log import WorkerLog
from proxy.limits.limiter import Limiter
from proxy.limits.near import NOTE, AtParent, Here, Near
from proxy.limits.redis_lua import RedisWindows
from proxy.limits.table import Table
from proxy.observe.counters import Counters
from proxy.observe.history import Window
from proxy.remembering import WINDOW, Remembering
from proxy.server.admin.token import AdminToken, admin_token
from proxy.server.bus import Ears
from proxy.server.member import Member
from proxy.settings.load import Loaded
from proxy.settings.model import Settings
from proxy.sharing import Link, Sharing
from proxy.store.file import FileStore
from proxy.tasks import Tasks, end
from proxy.upstream.fellows import NOBODY, Crew, Fellows
from proxy.warming_jobs import AtParent as JobsAtParent
from proxy.warming_jobs import Board, Jobs

_log = logging.getLogger("cachegate")

TELL = 1.0  # seconds of counting that may be lost with a worker


@dataclass(frozen=True, slots=True)
class Common:
    """What is the same in every worker. `started` is monotonic, `file_off` says why there is no file tier."""

    name: str
    token: AdminToken
    started: float = field(default_factory=time.monotonic)
    redaction: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    file_off: str = ""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Taken anew; the token is made where there is none yet. ConfigError for one unfit."""
        secret = settings.admin.token
        token = admin_token(secret.get_secret_value() if secret else None, settings.admin.token_file)
        return cls(settings.listen.name or f"cachegate-{secrets.token_hex(2)}", token)


class Place:
    """A process's place in its instance. `member` is None where it is all of it."""

    def __init__(self, settings: Settings, common: Common | None, member: Member | None) -> None:
        self.common = common or Common.of(settings)
        self._member = member
        self._local: LocalLog | None = None
        self._teller: asyncio.Task[None] | None = None
        self._strict = settings.redis.on_loss == "strict"
        self._link = Link(settings, tells=self.first) if settings.redis.enabled else None
        self.log: LocalLog | SharedLog | WorkerLog
        self.journal: Journal | SharedLog | WorkerLog
        if member is not None:
            self.log = self.journal = member.log
            return
        self.log = self._local = building.local_log(settings)
        self.journal = self._local.open()
        if self._link is not None:
            self.log = self.journal = building.shared_log(settings, self._local, self._link)

    @property
    def first(self) -> bool:
        """Whether this process tells what all of them would."""
        return self._member is None or self._member.seat.number == 0

    @property
    def number(self) -> int:
        """Which of the workers this process is, 0 where it is the only one."""
        return 0 if self._member is None else self._member.seat.number

    def sharing(self, settings: Settings, tasks: Tasks, clock: Callable[[], float]) -> Sharing | None:
        """What is shared through Redis; None where nothing is."""
        if self._link is None or isinstance(self.log, LocalLog):
            return None
        return Sharing(settings, self._link, self.log, tasks, clock, tells=self._member is None)

    def limiter(self, table: Table) -> Limiter:
        """Who counts the requests of limited rules. `table` is this process's own: that of the instance, where no
        parent has one."""
        near: Near = Here(table)
        if self._member is not None:
            near = AtParent(self._member.ask_parent, partial(self._member.tell, NOTE), table)
        link = self._link
        return Limiter(near, None if link is None else RedisWindows(link.server, link.names))

    def fellows(self, identity: str) -> Fellows:
        """The other workers, as far as the service of this identity is concerned."""
        member = self._member
        if member is None:
            return NOBODY
        return Crew(member.ask_parent, member.tell, member.tell_others, member.seat.number, identity)

    def jobs(self, settings: Settings) -> Jobs:
        """The list of jobs of all workers."""
        member = self._member
        if member is None:
            return Board(time.monotonic, settings.admin.receipts)
        return JobsAtParent(member.ask_parent, member.tell)

    @property
    def others(self) -> SharedLog | WorkerLog | None:
        """The other instances, as purges of this one spread to them; None where there are none."""
        return None if self._link is None or isinstance(self.log, LocalLog) else self.log

    @property
    def blind(self) -> Callable[[], bool] | None:
        """Whether what lies in our own tiers is not to be trusted now; None where it always is."""
        log = self.others
        return None if log is None or not self._strict else lambda: log.blind

    @property
    def through(self) -> Callable[[], Awaitable[Mapping[str, object]]] | None:
        """What a reload goes through when it has to reach others; None where there are none."""
        return None if self._member is None else self._member.reload

    def part(self, settings: Settings) -> Settings:
        """What of the instance's settings is this process's."""
        member = self._member
        return settings if member is None else divided(settings, member.seat.number, member.seat.of)

    def file_store(self, settings: Settings, clock: Callable[[], float]) -> FileStore | None:
        """The file tier, None when it is off."""
        if self.common.file_off:
            return None
        if self._member is None:
            return building.file_store(settings, clock)
        return building.file_store(settings, clock, self._member.seat.of, partial(self._member.tell, "files"))

    async def ask(self, verb: str, *args: object) -> Sequence[Any]:
        """What the other workers say."""
        return () if self._member is None else (await self._member.ask(verb, *args)).values

    def remembering(
        self, settings: Settings, counted: Callable[[], Counters], clock: Callable[[], float]
    ) -> Remembering | None:
        """The history, where this process is all of the instance."""
        if self._member is not None:
            return None
        return building.remembering(settings, self._link, counted, clock)

    async def window(self, minutes: int) -> Window | None:
        """Of the history that the parent keeps; None when it does not say soon."""
        told: Window | None = None if self._member is None else await self._member.ask_parent(WINDOW, minutes)
        return told

    def tell_others(self, verb: str, *args: object) -> None:
        """Let the other workers know, as far as they take it now."""
        if self._member is not None:
            self._member.tell_others(verb, *args)

    def hear(self, heard: Callable[[Purge], None]) -> None:
        """Let it know of each purge that holds here and was made by another instance."""
        if self._local is not None:
            self._local.on_read = lambda number, purge: heard(purge)

    def link(self) -> None:
        """Begin to be one with the other instances; a warm start wants that."""
        if isinstance(self.log, SharedLog):
            self.log.start()

    def start(
        self,
        duties: Mapping[str, Callable[..., Awaitable[object]]],
        hears: Ears,
        take: Callable[[Loaded], Mapping[str, object]],
        counted: Callable[[], Counters],
    ) -> None:
        """Do what the others ask for: `duties`, and `take` for settings that were read elsewhere; hear what they tell:
        `hears`."""
        if self._local is not None and self._local.distrusted:
            _log.warning("%s", self._local.distrusted)
        if self._local is not None and not self._local.durable:
            _log.warning("purges do not outlive this process: %s", self._local.reason)
        if self._member is not None:

            async def taken(loaded: Loaded) -> Mapping[str, object]:
                return take(loaded)

            self._member.duties |= {**duties, "apply": taken}
            self._member.ears |= hears
            self._teller = asyncio.create_task(_tell_for_ever(self._member, counted), name="tell")

    async def close(self) -> None:
        if self._teller is not None:
            await end([self._teller])

    async def end(self) -> None:
        """Give back the journal and the connections; the last thing."""
        if isinstance(self.log, LocalLog | SharedLog):
            await self.log.close()
        if self._link is not None:
            await self._link.server.close()


async def _tell_for_ever(member: Member, counted: Callable[[], Counters]) -> None:
    """So that the parent knows what was counted here when this worker dies."""
    while True:
        member.tell("counted", counted())
        await asyncio.sleep(TELL)
