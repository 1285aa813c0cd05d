"""Asking replicas how they are, so that a sick one is left out before calls find out."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from proxy.entry import Pairs
from proxy.errors import Fault, UpstreamError
from proxy.message import Fields
from proxy.tasks import end
from proxy.upstream.protocol import Call
from proxy.upstream.replicas import Replica

_log = logging.getLogger("cachegate")
_LEVEL = {True: logging.INFO, False: logging.WARNING}


@dataclass(frozen=True, slots=True)
class Check:
    """`upstream.health_check`: `path` as the origin knows it, seconds between two askings, how many answers in a row
    change the verdict, the fields that every request to the origin gets, and seconds after which no answer is a bad
    one, however long calls may wait."""

    path: str
    interval: float = 10.0
    healthy: int = 2
    unhealthy: int = 3
    added: Pairs = ()
    patience: float = 5.0


class HealthCheck:
    """Asks each replica by itself; below 400, and in time, is healthy. Runs from `start` to `stop`."""

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
            good = await self.ask(replica)
            if good is not None:
                against = 0 if good is replica.healthy else against + 1
            if good is not None and against >= (self._check.healthy if good else self._check.unhealthy):
                replica.healthy, against = good, 0
                _log.log(_LEVEL[good], "upstream %s is %s", replica.name, "healthy again" if good else "unhealthy")
            await asyncio.sleep(self._check.interval)

    async def ask(self, replica: Replica) -> bool | None:
        """Whether it is well; None when it has no connection left to be asked on, which says nothing."""
        own = ("User-Agent", "cachegate-health"), ("Accept", "*/*")
        try:
            async with asyncio.timeout(self._check.patience):
                answer = await replica.client.fetch(Call("GET", self._check.path, Fields.of(*own, *self._check.added)))
        except UpstreamError as error:
            return None if error.fault is Fault.BUSY else False
        except TimeoutError:
            return False
        await answer.close()
        return answer.head.status < 400
