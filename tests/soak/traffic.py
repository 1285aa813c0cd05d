"""Everybody who asks: persons, readers of what changes, those who change it, a flood of keys, slow and leaving clients,
uploads, websockets. Each judges what it gets."""

import asyncio
import hashlib
import io
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from random import Random
from time import monotonic

import aiohttp

from tests.soak.api import big, cold
from tests.soak.fleet import Instance
from tests.soak.versions import PATHS, Versions
from tests.soak.weather import Weather
from tests.support.gateway import HOST
from tests.support.persons import Crowd

PATIENCE = 30.0  # seconds for a whole answer; no fault that is here takes as long
PERSONS = 12
READERS = 6
WITHOUT_END = 1 << 40


class Traffic:
    """`running()` while there shall be some. `asked` counts answers by kind, `verdicts` what X-Cache said of them."""

    def __init__(self, instances: list[Instance], versions: Versions, weather: Weather, seed: int) -> None:
        self.asked: Counter[str] = Counter()
        self.verdicts: Counter[str] = Counter()
        self._instances = instances
        self._versions = versions
        self._weather = weather
        self._random = Random(seed)
        self._number = 0  # of the last key that was asked for once
        self._crowd = Crowd([each.port for each in instances], seed, weather.failed)
        self._leaks = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        clients = [(self._read, 0.03)] * READERS + [(self._flood, 0.02), (self._slow, 0.5), (self._leave, 0.1)]
        clients += [(self._upload, 0.5), (self._talk, 0.5)]
        async with session() as asking:
            tasks = [asyncio.create_task(self._repeat(act, asking, pause)) for act, pause in clients]
            tasks.append(asyncio.create_task(self._crowd.walk(PERSONS, WITHOUT_END, pause=0.1)))
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                for ended in await asyncio.gather(*tasks, return_exceptions=True):
                    if isinstance(ended, Exception):
                        self._weather.found("a client broke", repr(ended))
        self.leaks()

    def leaks(self) -> None:
        """Tell what has come to another person since the last time."""
        for leak in self._crowd.leaks[self._leaks :]:
            self._weather.found("leak", leak)
        self._leaks = len(self._crowd.leaks)

    @property
    def persons(self) -> Counter[str]:
        return self._crowd.answers

    async def _repeat(
        self,
        act: Callable[[aiohttp.ClientSession, Instance], Awaitable[str | None]],
        asking: aiohttp.ClientSession,
        pause: float,
    ) -> None:
        """Again and again, at one instance after the other as chance will have it; what `act` gives failed."""
        while True:
            instance, began = self._random.choice(self._instances), monotonic()
            try:
                failed = await act(asking, instance)
            except TimeoutError:
                failed = "timeout"
            except (aiohttp.ClientError, OSError) as e:
                failed = f"broken: {type(e).__name__}"
            if failed:
                self._weather.failed(failed, instance.port, began)
            await asyncio.sleep(pause)

    def _count(self, kind: str, answer: aiohttp.ClientResponse) -> str | None:
        """The status when it is an error."""
        self.asked[kind] += 1
        self.verdicts[f"{answer.headers.get('X-Cache')} {answer.headers.get('X-Cache-Tier', '')}".strip()] += 1
        return f"{answer.status} for {kind}" if answer.status >= 500 else None

    # who asks

    async def _read(self, asking: aiohttp.ClientSession, instance: Instance) -> str | None:
        path, random = self._random.choice(PATHS), self._random
        floor = self._versions.floor(instance.index, path)
        fields = {}
        if random.random() < 0.15:
            start = random.randrange(200)
            fields["Range"] = f"bytes={start}-{start + random.randrange(1, 500)}"
        elif random.random() < 0.15:
            fields["If-None-Match"] = f'"v{self._versions.current[path]}"'
        async with asking.get(_url(instance, path), headers=fields) as answer:
            body = await answer.read()
            if failed := self._count("versions", answer):
                return failed
            if wrong := self._versions.wrong(path, floor, answer.status, answer.headers, body):
                self._weather.found("wrong version", f"instance {instance.index}: {wrong}")
        return None

    async def _flood(self, asking: aiohttp.ClientSession, instance: Instance) -> str | None:
        """Keys that nobody asks for again, but for one in ten."""
        again = self._number > 0 and self._random.random() < 0.1
        self._number += not again
        path = f"/cold/{self._random.randrange(self._number) if again else self._number}"
        return await self._whole(asking, instance, path, cold(path), "again" if again else "cold")

    async def _whole(
        self, asking: aiohttp.ClientSession, instance: Instance, path: str, wanted: bytes, kind: str
    ) -> str | None:
        async with asking.get(_url(instance, path)) as answer:
            body = await answer.read()
            if failed := self._count(kind, answer):
                return failed
            self._judge(instance, path, answer, body, wanted)
        return None

    async def _slow(self, asking: aiohttp.ClientSession, instance: Instance) -> str | None:
        """Takes a large answer bit by bit."""
        path = f"/big/{self._random.randrange(8)}"
        async with asking.get(_url(instance, path)) as answer:
            body = b""
            async for piece in answer.content.iter_chunked(100_000):
                body += piece
                await asyncio.sleep(0.03)
            if failed := self._count("slow", answer):
                return failed
            self._judge(instance, path, answer, body, big(path))
        return None

    async def _leave(self, asking: aiohttp.ClientSession, instance: Instance) -> str | None:
        """Goes away in the middle of a large answer."""
        async with asking.get(_url(instance, f"/big/{self._random.randrange(8)}")) as answer:
            await answer.content.readany()
            failed = self._count("left", answer)
            answer.close()
        return failed

    def _judge(self, instance: Instance, path: str, answer: aiohttp.ClientResponse, body: bytes, wanted: bytes) -> None:
        if answer.status != 200 or body != wanted:
            said = f"{answer.status}, {len(body)} bytes for {len(wanted)}: {body[:80]!r}"
            self._weather.found("wrong body", f"instance {instance.index}: {path}: {said}")

    async def _upload(self, asking: aiohttp.ClientSession, instance: Instance) -> str | None:
        data = self._random.randbytes(self._random.randrange(3_000_000))
        sent = self._random.choice((io.BytesIO, _pieces))(data)  # with its length, or chunked
        async with asking.put(_url(instance, "/upload/a"), data=sent) as answer:
            body = await answer.read()
            if failed := self._count("upload", answer):
                return failed
            self._judge(instance, "/upload/a", answer, body, hashlib.sha256(data).hexdigest().encode())
        return None

    async def _talk(self, asking: aiohttp.ClientSession, instance: Instance) -> str | None:
        async with asking.ws_connect(_url(instance, "/ws")) as socket:
            for number in range(5):
                said = f"{number} " + "x" * self._random.randrange(100_000)
                await socket.send_str(said)
                heard = await socket.receive(PATIENCE)
                if heard.type is not aiohttp.WSMsgType.TEXT:
                    return f"websocket: {heard.type.name}"
                if heard.data != said:
                    self._weather.found("wrong body", f"instance {instance.index}: websocket: {heard.data[:80]!r}")
                await asyncio.sleep(0.1)
        self.asked["websocket"] += 1
        return None


def session(fields: Mapping[str, str] | None = None) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=PATIENCE),
        headers={"Host": HOST, **(fields or {})},
    )


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 50_000):
        yield data[start : start + 50_000]


def _url(instance: Instance, path: str) -> str:
    return f"http://127.0.0.1:{instance.port}{path}"
