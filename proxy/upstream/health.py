"""Asking replicas how they are, so that a sick one is left out before calls find out."""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from proxy.entry import Pairs
from proxy.errors import Fault, UpstreamError
from proxy.message import Fields
from proxy.tasks import end
from proxy.upstream.fellows import NOBODY, Checked, Fellows
from proxy.upstream.protocol import Call
from proxy.upstream.replicas import Replica

_log = logging.getLogger("cachegate")
JITTER = 0.2  # share of the interval that a check may come earlier, so that those of many instances fall apart
_LEVEL = {True: logging.INFO, False: logging.WARNING}


@dataclass(frozen=True, slots=True)
class Check:
    """`upstream.health_check`: `path` as the origin knows it, seconds between two askings at most, how many answers in
    a row change the verdict, the fields that every request to the origin gets, and seconds after which no answer is a
    bad one, however long calls may wait."""

    path: str
    interval: float = 10.0
    healthy: int = 2
    unhealthy: int = 3
    added: Pairs = ()
    patience: float = 5.0


class HealthCheck:
    """Asks each replica by itself, and after the first time by turns with the other workers; below 400, and in time, is
    healthy. Runs from `start` to `stop`."""

    def __init__(
        self,
        replicas: Sequence[Replica],
        check: Check,
        fellows: Fellows = NOBODY,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._replicas = replicas
        self._check = check
        self._fellows = fellows
        self._chance = chance
        self._against = dict.fromkeys(replicas, 0)  # answers in a row that speak against the present verdict
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
        first = True  # what others found out before it is known to them alone
        while True:
            turn = await self._fellows.turn(f"check {replica.name}", self._check.interval * (1.0 - JITTER))
            if turn or first:
                first = False
                good = await self.ask(replica)
                if good is not None:
                    replica.checks += 1
                    self._fellows.tell(Checked(replica.name, good))
                    if self._judge(replica, good):
                        state = "healthy again" if good else "unhealthy"
                        _log.log(_LEVEL[good], "upstream %s is %s", replica.name, state)
            await asyncio.sleep(self._check.interval * (1.0 - JITTER * self._chance()))

    def learn(self, checked: Checked) -> None:
        """Another worker has asked."""
        for replica in self._replicas:
            if replica.name == checked.replica:
                self._judge(replica, checked.good)

    def _judge(self, replica: Replica, good: bool) -> bool:
        """Whether that changes the verdict."""
        self._against[replica] = against = 0 if good is replica.healthy else self._against[replica] + 1
        if against < (self._check.healthy if good else self._check.unhealthy) or not against:
            return False
        replica.healthy, self._against[replica] = good, 0
        return True

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
