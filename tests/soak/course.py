"""One soak from its begin to its verdict: warm up, be quiet, let things fail under load, be quiet again, compare."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any

import aiohttp
from aiohttp import web

from tests.soak.api import Api
from tests.soak.faults import REDIS_MEMORY, Site, failing, plan
from tests.soak.fleet import fleet
from tests.soak.gauges import QUIET, Sample, as_data, leaked, plots, sample, table
from tests.soak.purging import Purging
from tests.soak.traffic import Traffic
from tests.soak.versions import Versions
from tests.soak.weather import Weather
from tests.support.faults import FaultProxy
from tests.support.origin import Origin
from tests.support.redis_servers import redis_server

EVERY = 5.0  # seconds between two looks at what an instance holds
REST = 8.0  # seconds without a request: longer than timeouts.keep_alive and one sweep
WARM_UP = 0.15  # of the time, at most a minute


@dataclass(frozen=True, slots=True)
class Result:
    """What came of it. `data` is for a JSON file, `text` for people; no finding means that everything held."""

    findings: list[str]
    text: str
    data: dict[str, Any]


class Soak:
    """Traffic, changes and gauges over one site."""

    def __init__(self, site: Site, versions: Versions, seed: int, only: str = "") -> None:
        self.samples: list[Sample] = []
        self.faults: list[str] = []
        self.traffic = Traffic(site.instances, versions, site.weather, seed)
        self.purging = Purging(site.instances, versions, site.weather, seed)
        self._site = site
        self._seed = seed
        self._only = only

    async def run(self, seconds: float) -> None:
        """For about so long. What is wrong is told to the weather."""
        async with self._measured():
            async with self.traffic.running(), self.purging.running():
                await asyncio.sleep(min(60.0, seconds * WARM_UP))
            before = await self._quiet()
            async with self.traffic.running(), self.purging.running():
                await self._fail_until(self._site.weather.begun + seconds - REST)
            await self.purging.settle()
            after = await self._quiet()
        for one, other in zip(before, after, strict=True):
            for leak in leaked(one, other):
                self._site.weather.found("kept", leak)

    async def _fail_until(self, end: float) -> None:
        weather, workers = self._site.weather, [each.workers for each in self._site.instances]
        for planned in plan(self._seed, workers, self._only):
            if monotonic() + planned.seconds > end:
                return
            self.faults.append(" + ".join(each.name for each in planned.faults))
            async with failing(self._site, planned):
                await asyncio.sleep(planned.seconds)
            began = monotonic()
            await self.purging.settle()
            weather.tell(f"all are one after {monotonic() - began:.1f} s")
            self.traffic.leaks()
            await asyncio.sleep(planned.pause)

    async def _quiet(self) -> list[Sample]:
        """What each instance holds when nobody has asked for a while."""
        await asyncio.sleep(REST)
        return [await self._look(index, QUIET) for index in range(len(self._site.instances))]

    @asynccontextmanager
    async def _measured(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self._look_on(index)) for index in range(len(self._site.instances))]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _look_on(self, index: int) -> None:
        site = self._site
        port = site.instances[index].port
        while True:
            began = monotonic()
            try:
                async with asyncio.timeout(10):
                    await self._look(index, site.weather.now)
            except (aiohttp.ClientError, TimeoutError, OSError, RuntimeError, AssertionError) as e:
                if not site.weather.away(port, began):
                    site.weather.found("no statistics", f"instance {index}: {e!r}")
            await asyncio.sleep(EVERY)

    async def _look(self, index: int, weather: str) -> Sample:
        taken, beyond = await sample(self._site.instances[index], self._site.weather.elapsed, weather)
        self.samples.append(taken)
        for each in beyond:
            self._site.weather.found("bound", each)
        return taken


async def soak(seconds: float, seed: int, workers: list[int], only: str = "") -> Result:
    """Instances with so many workers each, for so many seconds; `only` faults with this in their name."""
    weather = Weather()
    async with _site(workers, seed, weather) as (site, versions):
        it = Soak(site, versions, seed, only)
        weather.tell(f"seed {seed}; instances on ports {[each.port for each in site.instances]}")
        try:
            await it.run(seconds)
        except (
            Exception
        ) as e:  # a gateway that does not start again, say; what was found until then is told all the same
            weather.found("broken off", repr(e))
        return _result(it, site, seed)


@asynccontextmanager
async def _site(workers: list[int], seed: int, weather: Weather) -> AsyncIterator[tuple[Site, Versions]]:
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(
            redis_server(f"maxmemory {REDIS_MEMORY}", "maxmemory-policy allkeys-lru")
        )
        redis_network = await stack.enter_async_context(FaultProxy(redis.port))
        origin = await stack.enter_async_context(Origin())
        upstream_network = await stack.enter_async_context(FaultProxy(origin.port))
        echo = await stack.enter_async_context(_echo())
        versions = Versions(len(workers))
        api = Api(origin, versions, seed)
        urls = (f"http://127.0.0.1:{upstream_network.port}", echo, f"redis://127.0.0.1:{redis_network.port}/0")
        instances = await stack.enter_async_context(fleet(workers, *urls, weather))
        yield Site(redis, redis_network, upstream_network, api, instances, weather), versions


@asynccontextmanager
async def _echo() -> AsyncIterator[str]:
    """A websocket that says what it hears."""

    async def answer(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        with suppress(ConnectionError):  # whoever asked has left
            await socket.prepare(request)
            async for message in socket:
                await socket.send_str(message.data)
        return socket

    app = web.Application()
    app.router.add_get("/ws", answer)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def _result(it: Soak, site: Site, seed: int) -> Result:
    weather, traffic = site.weather, it.traffic
    figures = {
        "asked": dict(traffic.asked.most_common()),
        "verdicts": dict(traffic.verdicts.most_common()),
        "persons": dict(traffic.persons.most_common()),
        "purges": it.purging.acknowledged,
        "faults": len(it.faults),
        "excused": dict(weather.excused.most_common()),
        "warnings": {each.index: dict(each.warnings.most_common()) for each in site.instances},
        "findings": dict(weather.counts),
    }
    lines = [table(it.samples), "", plots(it.samples), ""]
    lines += [f"{name}: {value}" for name, value in figures.items()]
    lines += ["", *weather.findings]
    data = {"seed": seed, **figures, "first": weather.findings, "course": it.faults, "samples": as_data(it.samples)}
    return Result(weather.findings, "\n".join(lines), data)
