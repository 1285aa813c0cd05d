"""Changes what the API has, and purges it; what was acknowledged then holds, at once where it was acknowledged."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from random import Random
from time import monotonic
from typing import Any

import aiohttp

from tests.soak.fleet import Instance
from tests.soak.traffic import session
from tests.soak.versions import GROUPS, PATHS, Versions, number
from tests.soak.weather import Weather
from tests.support.gateway import TOKEN

PAUSE = 0.25  # seconds between two changes
WAYS = {"url": 6.0, "tag": 2.0, "pattern": 2.0, "POST": 4.0, "all": 0.1}
TOGETHER = 75.0  # seconds in which all are one again; Redis is tried again after 30 at the latest


class Purging:
    """`running()` while there shall be changes, `settle()` in fair weather."""

    def __init__(self, instances: list[Instance], versions: Versions, weather: Weather, seed: int) -> None:
        self.acknowledged = 0
        self._instances = instances
        self._versions = versions
        self._weather = weather
        self._random = Random(seed)
        self._everywhere: dict[str, int] = {}  # what will hold everywhere once all are one
        self._one_at_a_time = asyncio.Lock()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with session({"Authorization": f"Bearer {TOKEN}"}) as asking:
            task = asyncio.create_task(self._go_on(asking))
            try:
                yield
            finally:
                task.cancel()
                for ended in await asyncio.gather(task, return_exceptions=True):
                    if isinstance(ended, Exception):
                        self._weather.found("a client broke", repr(ended))

    async def _go_on(self, asking: aiohttp.ClientSession) -> None:
        while True:
            instance, began = self._random.choice(self._instances), monotonic()
            way = self._random.choices(list(WAYS), list(WAYS.values()))[0]
            async with self._one_at_a_time:
                try:
                    await (self._post(asking, instance) if way == "POST" else self._purge(asking, instance, way))
                except (aiohttp.ClientError, TimeoutError, OSError) as e:
                    self._weather.failed(f"{way} broken: {type(e).__name__}", instance.port, began)
            await asyncio.sleep(PAUSE)

    async def _post(self, asking: aiohttp.ClientSession, instance: Instance) -> None:
        """The API changes by itself; a success invalidates (RFC 9111 4.4)."""
        path, began = self._random.choice(PATHS), monotonic()
        async with asking.post(f"{instance.gateway.url}{path}", data=b"change") as answer:
            await answer.read()
            if answer.status == 200:
                self._hold({path: self._versions.current[path]}, [instance.index])
            else:
                self._weather.failed(f"{answer.status} for POST", instance.port, began)

    async def _purge(self, asking: aiohttp.ClientSession, instance: Instance, way: str) -> None:
        what, paths = self._choose(way)
        versions, began = self._versions.change(paths), monotonic()
        async with asking.post(f"{instance.gateway.url}/cache/purge", json=what) as answer:
            if answer.status not in (200, 202):
                return self._weather.failed(f"{answer.status} for a purge", instance.port, began)
            receipt = await answer.json()
        applied = [index for index, said in self._said(receipt).items() if said == "applied"]
        self._hold(versions, {instance.index, *applied}, lasting=receipt["durable"] or len(applied) > 1)
        return None

    def _choose(self, way: str) -> tuple[dict[str, Any], list[str]]:
        path = self._random.choice(PATHS)
        group = number(path) % GROUPS
        match way:
            case "url":
                return {"url": path}, [path]
            case "tag":
                return {"tag": f"group-{group}"}, [each for each in PATHS if number(each) % GROUPS == group]
            case "pattern":
                return {"pattern": "/v/1*"}, [each for each in PATHS if each.startswith("/v/1")]
            case _:
                return {"all": True}, list(PATHS)

    def _hold(self, versions: Mapping[str, int], indexes: Any, *, lasting: bool = True) -> None:
        self.acknowledged += 1
        for index in indexes:
            self._versions.purged(index, versions)
        if lasting:  # else it is in the memory of one that may be killed
            self._everywhere.update(versions)

    def _said(self, receipt: Mapping[str, Any]) -> dict[int, str]:
        """What became of it at each instance, by its index."""
        names: dict[str, int] = {}
        for each in self._instances:
            with suppress(OSError):
                names[each.name] = each.index
        return {names[name]: said for name, said in receipt["instances"].items() if name in names}

    async def settle(self) -> None:
        """Wait until each instance has heard all others; from then on every purge holds everywhere."""
        async with self._one_at_a_time:
            try:
                async with asyncio.timeout(TOGETHER):
                    for instance in self._instances:
                        await instance.gateway.connected()
                        await self._heard_by_all(instance)
            except TimeoutError:
                self._weather.found("apart", f"not one again {TOGETHER:.0f} s after the fault; {await self._links()}")
                return
            for each in self._instances:
                self._versions.purged(each.index, self._everywhere)

    async def _heard_by_all(self, instance: Instance) -> None:
        """What it tells after everything else has been obeyed by all, hence so has everything else."""
        while True:
            receipt = (await instance.gateway.admin("POST", "/purge", {"tag": "nobody's"})).json
            said = self._said(receipt)
            if len(said) == len(self._instances) and set(said.values()) == {"applied"}:
                return
            await asyncio.sleep(0.1)

    async def _links(self) -> list[Any]:
        found: list[Any] = []
        for each in self._instances:
            try:
                stats = await each.gateway.stats()
                found.append({name: stats["redis"].get(name) for name in ("connected", "state", "reason")})
            except (aiohttp.ClientError, TimeoutError, OSError) as e:
                found.append(repr(e))
        return found
