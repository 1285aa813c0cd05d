"""Asking replicas how they are, so that a sick one is left out before calls find out."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from proxy.errors import UpstreamError
from proxy.message import Fields
from proxy.tasks import end
from proxy.upstream.protocol import Call
from proxy.upstream.replicas import Replica


@dataclass(frozen=True, slots=True)
class Check:
    """`upstream.health_check`: `path` as the origin knows it, seconds between two askings, and how many answers in a
    row change the verdict."""

    path: str
    interval: float = 10.0
    healthy: int = 2
    unhealthy: int = 3


class HealthCheck:
    """Asks each replica by itself; below 400 is healthy. Runs from `start` to `stop`."""

    def __init__(self, replicas: Sequence[Replica], check: Check) -> None:
        self._replicas = replicas
        self._check = check
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        if self._tasks:
            return
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._watch(replica), name=f"health {replica.name}") for replica in self._replicas
        ]

    async def stop(self) -> None:
        tasks, self._tasks = self._tasks, []
        await end(tasks)

    async def _watch(self, replica: Replica) -> None:
        against = 0  # answers in a row that speak against the present verdict
        while True:
            good = await self._ask(replica)
            against = 0 if good is replica.healthy else against + 1
            if against >= (self._check.healthy if good else self._check.unhealthy):
                replica.healthy, against = good, 0
            await asyncio.sleep(self._check.interval)

    async def _ask(self, replica: Replica) -> bool:
        call = Call("GET", self._check.path, Fields.of(("User-Agent", "cachegate-health"), ("Accept", "*/*")))
        try:
            answer = await replica.client.fetch(call)
        except UpstreamError:
            return False
        await answer.close()
        return answer.head.status < 400
