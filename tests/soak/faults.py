"""What fails, one or two things at a time, as a seed chooses."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Literal

from tests.soak.api import Api, Mood
from tests.soak.fleet import Instance
from tests.soak.weather import Weather
from tests.support.faults import HOST, Cut, Delay, FaultProxy, Pass, Rate, Refuse, Stall
from tests.support.faults import Fault as Network
from tests.support.origin import RST
from tests.support.redis_servers import RedisServer

Part = Literal["redis", "upstream", "disk", "instance"]
GRACE: dict[Part, float] = {"redis": 0, "disk": 0, "upstream": 6, "instance": 3}  # until the breaker has closed again
REDIS_MEMORY = "6mb"
FLIPPED = 1 << 20  # bodies up to this are checked at every read, larger ones once in each process


@dataclass(frozen=True, slots=True)
class Site:
    """Everything that can fail."""

    redis: RedisServer
    redis_network: FaultProxy
    upstream_network: FaultProxy
    api: Api
    instances: list[Instance]
    weather: Weather


Act = Callable[[Site, Instance, Random], AbstractAsyncContextManager[None]]


@dataclass(frozen=True, slots=True)
class Fault:
    """It lasts for as long as the block of `act`. Those of an instance or its disk have a target."""

    name: str
    part: Part
    act: Act


# -- Redis -------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def _stopped(site: Site, target: Instance, dice: Random) -> AsyncIterator[None]:
    site.redis.stop()
    try:
        yield
    finally:
        site.redis.cont()


@asynccontextmanager
async def _killed(site: Site, target: Instance, dice: Random) -> AsyncIterator[None]:
    await site.redis.kill()
    try:
        yield
    finally:
        await site.redis.start()  # it kept nothing


@asynccontextmanager
async def _full(site: Site, target: Instance, dice: Random) -> AsyncIterator[None]:
    await site.redis.command("CONFIG", "SET", "maxmemory-policy", "noeviction", "maxmemory", "1")
    try:
        yield
    finally:
        await site.redis.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru", "maxmemory", REDIS_MEMORY)


@asynccontextmanager
async def _read_only(site: Site, target: Instance, dice: Random) -> AsyncIterator[None]:
    await site.redis.command("REPLICAOF", HOST, 1)
    try:
        yield
    finally:
        await site.redis.command("REPLICAOF", "NO", "ONE")


def _network(of: Callable[[Site], FaultProxy], *faults: Network, cut: bool = False) -> Act:
    @asynccontextmanager
    async def act(site: Site, target: Instance, dice: Random) -> AsyncIterator[None]:
        proxy = of(site)
        await proxy.become(dice.choice(faults))
        if cut:
            proxy.cut(RST)
        try:
            yield
        finally:
            await proxy.become(Pass())

    return act


def _redis_network(site: Site) -> FaultProxy:
    return site.redis_network


def _upstream_network(site: Site) -> FaultProxy:
    return site.upstream_network


def _mood(mood: Mood) -> Act:
    @asynccontextmanager
    async def act(site: Site, target: Instance, dice: Random) -> AsyncIterator[None]:
        site.api.mood = mood
        try:
            yield
        finally:
            site.api.mood = Mood.WELL

    return act


# -- disk --------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def _deleted(site: Site, target: Instance, dice: Random) -> AsyncIterator[None]:
    await asyncio.to_thread(shutil.rmtree, target.answers, ignore_errors=True)
    yield


@asynccontextmanager
async def _flipped(site: Site, target: Instance, dice: Random) -> AsyncIterator[None]:
    """One bit of every second record."""
    records = sorted(path for path in target.answers.glob("?/??/*") if path.is_file())
    for path in records[::2]:
        try:
            with path.open("r+b") as file:
                size = os.fstat(file.fileno()).st_size
                if not 0 < size <= FLIPPED:
                    continue
                file.seek(place := dice.randrange(size))
                byte = file.read(1)[0]
                file.seek(place)
                file.write(bytes([byte ^ 1 << dice.randrange(8)]))
        except (OSError, IndexError):
            continue  # it left meanwhile
    yield


@asynccontextmanager
async def _no_room(site: Site, target: Instance, dice: Random) -> AsyncIterator[None]:
    target.no_room(True)
    try:
        yield
    finally:
        target.no_room(False)


# -- instances ---------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def _killed_instance(site: Site, target: Instance, dice: Random) -> AsyncIterator[None]:
    await target.kill()
    try:
        yield
    finally:
        await target.start()


@asynccontextmanager
async def _killed_worker(site: Site, target: Instance, dice: Random) -> AsyncIterator[None]:
    """Of the instance that has several."""
    os.kill(dice.choice(target.pids[1:]), signal.SIGKILL)
    yield


@asynccontextmanager
async def _ended(site: Site, target: Instance, dice: Random) -> AsyncIterator[None]:
    code = await target.stop()
    if code != 0:
        site.weather.found("exit", f"instance {target.index} ended with {code} on SIGTERM")
    try:
        yield
    finally:
        await target.start()


@asynccontextmanager
async def _reloaded(site: Site, target: Instance, dice: Random) -> AsyncIterator[None]:
    """Good files and bad ones in turn; the page says which."""
    rules = target.settings["rules"]
    for good in (True, False, True, False, True):
        extra = {"name": "extra", "pattern": "/extra/*", "ttl": dice.randrange(1, 60)}
        target.gateway.configure({**target.settings, "rules": [*rules, extra]} if good else "rules: [")
        got = await target.gateway.admin("POST", "/reload")
        if (got.status == 200) is not good:
            site.weather.found(
                "reload", f"instance {target.index}: {got.status} for a {'good' if good else 'bad'} file"
            )
        await asyncio.sleep(0.2)
    target.gateway.configure(target.settings)
    yield


FAULTS: tuple[Fault, ...] = (
    Fault("Redis stopped", "redis", _stopped),
    Fault("Redis killed and empty again", "redis", _killed),
    Fault("Redis full", "redis", _full),
    Fault("Redis read-only", "redis", _read_only),
    Fault("Redis slow", "redis", _network(_redis_network, Delay(0.1), Delay(0.4), Rate(20_000))),
    Fault("Redis cut off", "redis", _network(_redis_network, Refuse(), Cut(1000, by=RST), cut=True)),
    Fault("Redis unreachable", "redis", _network(_redis_network, Stall())),
    Fault("upstream refuses", "upstream", _network(_upstream_network, Refuse(), cut=True)),
    Fault("upstream stalls", "upstream", _network(_upstream_network, Stall())),
    Fault("upstream resets", "upstream", _network(_upstream_network, Cut(700, by=RST), Cut(20_000, by=RST))),
    Fault("upstream ends early", "upstream", _network(_upstream_network, Cut(900), Cut(30_000))),
    Fault("upstream storm", "upstream", _mood(Mood.STORM)),
    Fault("upstream lies", "upstream", _mood(Mood.LIES)),
    Fault("files deleted", "disk", _deleted),
    Fault("bits flipped", "disk", _flipped),
    Fault("disk full", "disk", _no_room),
    Fault("instance killed", "instance", _killed_instance),
    Fault("worker killed", "instance", _killed_worker),
    Fault("SIGTERM and start", "instance", _ended),
    Fault("reloads", "instance", _reloaded),
)
AWAY = ("instance killed", "worker killed", "SIGTERM and start")  # excuse their target's connections


@dataclass(frozen=True, slots=True)
class Planned:
    """One fault, or two of different parts, for `seconds`; then `pause` seconds of fair weather. `seed` is for what
    the faults themselves choose."""

    faults: tuple[Fault, ...]
    target: int
    seconds: float
    pause: float
    seed: int


def plan(seed: int, workers: list[int], only: str = "") -> Iterator[Planned]:
    """The same for the same seed: every fault once in a random order, then all of them again in another one; or `only`
    those with this in their name, which are never none."""
    dice = Random(seed)
    chosen = tuple(each for each in FAULTS if only in each.name)
    crews = [index for index, number in enumerate(workers) if number > 1]
    while True:
        for first in dice.sample(chosen, len(chosen)):
            others = [each for each in chosen if each.part != first.part]
            second = (dice.choice(others),) if others and dice.random() < 0.4 else ()
            faults = (first, *second)
            target = dice.randrange(len(workers))
            if any(each.name == "worker killed" for each in faults):
                if not crews:
                    continue
                target = dice.choice(crews)
            yield Planned(faults, target, dice.uniform(1, 7), dice.uniform(1, 3), dice.randrange(1 << 32))


@asynccontextmanager
async def failing(site: Site, planned: Planned) -> AsyncIterator[None]:
    """While these are at work, the weather excuses what they do."""
    async with AsyncExitStack() as stack:
        target = site.instances[planned.target]
        for fault in planned.faults:
            aimed = fault.part in ("instance", "disk")
            stack.enter_context(
                site.weather.trouble(
                    f"{fault.name} ({target.index})" if aimed else fault.name,
                    upstream=fault.part == "upstream",
                    port=target.port if fault.name in AWAY else None,
                    grace=GRACE[fault.part],
                )
            )
            await stack.enter_async_context(fault.act(site, target, Random(planned.seed)))
        yield
