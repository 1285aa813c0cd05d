"""What an instance shares with others through Redis, put together: the client, the tier, the leases, the census."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Protocol

from proxy.entry import Entry
from proxy.insight.inventory import emptied
from proxy.invalidation.records import PathPattern
from proxy.observe.figures import RedisFigures
from proxy.passes import Passes
from proxy.redis import census, hot
from proxy.redis.address import Address, Mode
from proxy.redis.dial import Patience
from proxy.redis.errors import Away, RedisError
from proxy.redis.keys import Names
from proxy.redis.lease import Leases
from proxy.redis.server import Server, State
from proxy.settings.model import Settings
from proxy.settings.sections import RedisSettings
from proxy.store.backlog import Backlog
from proxy.store.memory import MemoryStore
from proxy.store.redis import RedisStore, Shared
from proxy.tasks import Tasks, end

_log = logging.getLogger("cachegate")
_SERVICE = "mymaster"  # what Sentinels call a primary where nobody chose a name
TELL_EVERY = 60.0  # seconds between two counts of what is hot
CATCH_UP = 5.0  # seconds between looks for what could not be put
PROBE = 1.0  # seconds between tries to write to one that took no writes
JOIN = 2.0  # seconds that a start may wait for Redis
Find = Callable[[str], Awaitable[Entry | None]]


def address_of(redis: RedisSettings) -> Address:
    """Where Redis is: `redis.url`, else its parts."""
    if redis.url is not None:
        address = Address.parse(redis.url.get_secret_value())
        return replace(address, mode=Mode(redis.mode)) if address.mode is Mode.AUTO else address
    mode = Mode(redis.mode)
    return Address(
        nodes=((redis.host, redis.port),),
        mode=mode,
        db=redis.db,
        username=redis.username or None,
        password=redis.password.get_secret_value() if redis.password else None,
        service=_SERVICE if mode is Mode.SENTINEL else "",
    )


class Link:
    """The one client of a process, and the names of our keys: what everything else here is made with. `heard` is told
    of each change of the client's state; `tells`: it is also written to the log."""

    def __init__(self, settings: Settings, *, tells: bool = True) -> None:
        redis = settings.redis
        self.names = Names(redis.key_prefix)
        self.heard: Callable[[State], None] = lambda state: None
        self._tells = tells
        patience = Patience(redis.connect_timeout, redis.read_timeout, redis.pool)
        self.server = Server(address_of(redis), patience, self._changed)

    def _changed(self, state: State, reason: str) -> None:
        if self._tells:
            where = self.server.address
            match state:
                case State.READY:
                    _log.info("redis: connected to %s", where)
                case State.DEGRADED:
                    _log.error("redis: %s takes no writes, reads go on: %s", where, reason)
                case _:
                    _log.error("redis: %s is away, serving from memory and files: %s", where, reason)
        self.heard(state)


def tell_link(linked: bool, reason: str) -> None:
    """One line for a change of what the journal is one with."""
    if linked:
        _log.info("purges: one with the other instances")
    else:
        _log.error("purges: cut off from the other instances: %s", reason)


class Log(Shared, Protocol):
    """The journal that the instances share (`invalidation.shared`, or a worker's part in it)."""

    on_link: Callable[[bool, str], None]

    @property
    def instance(self) -> str: ...

    @property
    def linked(self) -> bool: ...

    @property
    def reason(self) -> str: ...


class Sharing:
    """The tier and the leases over a link, and the figures of both. `find` gives what other tiers hold under a key;
    `changed` hears of the client's state and why; `tells`: changes of the link are written to the log."""

    def __init__(
        self, settings: Settings, link: Link, log: Log, tasks: Tasks, clock: Callable[[], float], *, tells: bool = True
    ) -> None:
        redis = settings.redis
        self.find: Find = _nothing
        self.changed: Callable[[str, str], None] = lambda state, reason: None
        self._link = link
        self._log = log
        self._tasks = tasks
        self._tells = tells
        self._waits = not redis.lazy_connect
        self._joined = asyncio.Event()
        self._memory: MemoryStore | None = None
        self._teller: asyncio.Task[None] | None = None
        self._catching_up: asyncio.Task[None] | None = None
        self.store = RedisStore(
            link.server,
            link.names,
            log,
            max_object=redis.max_object,
            compression=redis.compression,
            scan_count=redis.scan_count,
            variants=settings.limits.variants,
            clock=clock,
        )
        self.tier = Backlog(self.store)
        self.leases = Leases(
            link.server,
            link.names,
            instance=log.instance,
            seconds=settings.flight.lease,
            uncacheable=settings.flight.uncacheable,
        )
        self.passes = Passes(
            self.leases, clock, now=link.server.now, wait=settings.flight.wait, max_object=redis.max_object
        )
        self._census = census.Census(link.server, self.store.count)
        link.heard = self._heard
        log.on_link = self._linked

    async def start(self) -> None:
        """Begin to connect; waits for the first try only where `redis.lazy_connect` is off."""
        self._link.server.start()
        self.leases.start()
        self._catching_up = asyncio.create_task(self._catch_up_for_ever(), name="resync")
        if self._waits:
            await self._link.server.looked(JOIN)

    async def joined(self, seconds: float = JOIN) -> bool:
        """Whether we are one with the other instances, soon."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._joined.wait()
        return self._joined.is_set()

    async def close(self) -> None:
        """Give back what is held; the journal and the connections are closed after this."""
        if self._catching_up is not None:
            await end([self._catching_up])
        if self._teller is not None and self._memory is not None:
            await end([self._teller])
            await self._tell(self._memory)
        await self.leases.close()
        await self._census.close()

    def _heard(self, state: State) -> None:
        self.changed(state.value, self._link.server.reason)
        self.leases.stir()
        if state is State.READY:
            self._catch_up()
        if state is State.DEGRADED:
            self._tasks.spawn(self._try_writing(), "redis probe")

    async def _try_writing(self) -> None:
        """Find out whether it takes writes again, also while nobody wants one."""
        server = self._link.server
        while server.state is State.DEGRADED:
            await asyncio.sleep(PROBE)
            with suppress(RedisError):
                await server.call("SET", self._link.names.probe("w"), "", "PX", 1000, write=True)

    def _linked(self, linked: bool, reason: str) -> None:
        if self._tells:
            tell_link(linked, reason)
        if linked:
            self._joined.set()
            self._catch_up()
        else:
            self._joined.clear()

    async def _catch_up_for_ever(self) -> None:
        """A busy moment may have cost a few of them, though nothing was lost or came back."""
        while True:
            await asyncio.sleep(CATCH_UP)
            self._catch_up()

    def _catch_up(self) -> None:
        """The others get what was stored while we could not put it there."""
        if self._log.linked and len(self.tier):
            self._tasks.spawn(self._resync(), "resync")

    async def _resync(self) -> None:
        went = await self.tier.resync(self.find)
        if went:
            _log.info("redis: %d answers stored meanwhile are there now, %d still missing", went, len(self.tier))

    # -- what is hot -----------------------------------------------------------------------------------------------

    def tell_hot(self, memory: MemoryStore) -> None:
        """Tell now and then how often answers in memory were asked for, for those who start later, and in `close`."""
        self._memory = memory
        self._teller = asyncio.create_task(self._tell_for_ever(memory), name="hot")

    async def _tell_for_ever(self, memory: MemoryStore) -> None:
        while True:
            await asyncio.sleep(TELL_EVERY)
            await self._tell(memory)

    async def _tell(self, memory: MemoryStore) -> None:
        hits = {slot: slot.hits for slot in memory.slots() if slot.hits > slot.told}
        with suppress(RedisError):
            counted = {slot.key: number - slot.told for slot, number in hits.items()}
            await hot.tell(self._link.server, self._link.names, counted)
            for slot, number in hits.items():
                slot.told = number

    async def hottest(self, limit: int) -> list[str]:
        """Keys that are asked for most anywhere; none when Redis cannot say, or we are not one with the others soon."""
        with suppress(RedisError, TimeoutError):
            async with asyncio.timeout(JOIN):
                await self._joined.wait()
                return await hot.hottest(self._link.server, self._link.names, limit)
        return []

    # -- what the pages show (`server.admin.redis.Redis`) ----------------------------------------------------------

    async def figures(self, patience: float) -> RedisFigures:
        await self._census.look(patience)
        return self.now()

    def now(self) -> RedisFigures:
        """How it stands, with what was counted last."""
        seen, server = self._census.seen, self._link.server
        return RedisFigures(
            state=server.state.value,
            connected=self._log.linked and server.usable,
            reason=server.reason or self._log.reason,
            latency=server.latency,
            keys=seen.keys,
            memory=seen.memory,
            keyspace=seen.keyspace,
            errors=server.errors + self.store.poisoned + self.store.too_large,
            evictions=seen.evictions,
            max_memory=seen.max_memory,
        )

    async def ping(self) -> float:
        return await census.ping(self._link.server)

    async def info(self, section: str) -> dict[str, object]:
        return await census.info(self._link.server, section)

    async def begin_with(self, start: str) -> Sequence[str]:
        """Some keys of entries in Redis that begin so; none when it cannot say."""
        with suppress(RedisError):
            return await census.begin_with(self._link.server, self._link.names, start)
        return ()

    async def clear(self, pattern: str | None) -> int:
        if pattern is None:
            return await self.tier.clear()
        fits = PathPattern.parse(pattern)
        if not self._log.linked:  # what is not to be read cannot be told apart
            raise Away(self.now().reason or "the journal is not linked with the others' yet")
        return await emptied(self.tier, fits)


async def _nothing(key: str) -> Entry | None:
    return None
