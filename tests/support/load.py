"""Clients that go on asking while something happens, and know what the right answers are.

scripted(origin)
async with Load(gateway).running() as load:
    await load.some()
    await redis.kill()
    await load.some()
# every answer was the right one, or an AssertionError shows those that were not
"""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.origin import Origin
from tests.support.process import PATIENCE, Process

PATHS = [f"/{number}" for number in range(60)]


def scripted(origin: Origin) -> None:
    """What the clients ask for."""
    for path in PATHS:
        origin.answer(path, body=body(path))


def body(path: str) -> bytes:
    return f"{path}|".encode() * 200


class Load:
    """Four clients that ask for one path after the other; every answer has to be the right one."""

    def __init__(self, *gateways: Process) -> None:
        self.asked = 0
        self.wrong: list[tuple[str, object]] = []
        self._gateways = gateways
        self._over = False

    async def _client(self, number: int) -> None:
        for path in itertools.cycle(PATHS[number:] + PATHS[:number]):
            if self._over:
                return
            try:
                got = await self._gateways[self.asked % len(self._gateways)].get(path)
                right = got.status == 200 and got.body == body(path)
                self.wrong += [] if right else [(path, got)]
            except Exception as error:
                self.wrong.append((path, error))
            self.asked += 1

    async def some(self, number: int = 200) -> None:
        """Wait until so many more were answered."""
        wanted = self.asked + number
        async with asyncio.timeout(PATIENCE):
            while self.asked < wanted:
                await asyncio.sleep(0.01)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Load"]:
        async with asyncio.TaskGroup() as clients:
            for number in range(4):
                clients.create_task(self._client(number * 15))
            try:
                yield self
            finally:
                self._over = True
        assert self.wrong == []
