"""A worker among the others: its link to the parent, and what both of them say over it."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Self

from proxy.errors import ConfigError
from proxy.invalidation.records import Purge, Spread
from proxy.invalidation.worker_log import Snapshot, WorkerLog
from proxy.server.bus import BusError, Link, connected
from proxy.server.lifecycle import Signals
from proxy.server.seat import Seat
from proxy.server.workers import Answers

PARENT = 5.0  # seconds for the parent, which bounds what it asks of others by itself
SOON = 2.0  # seconds for the parent while a request waits
RELOAD = 20.0  # seconds for reading the settings and letting them hold everywhere


class Orders(Signals):
    """What a worker is told, by its parent. SIGTERM means it alone, and once."""

    @property
    def meanings(self) -> Mapping[signal.Signals, Callable[[], None]]:
        return {signal.SIGTERM: self.stop.set}

    def end_now(self) -> None:
        self.stop.set()
        self.at_once.set()


class Member:
    """One worker's place. `kit` is what the parent gives every worker (`server.desk`), `log` its journal, `duties` what
    it does when another asks, `ears` what hears what another tells: both to be filled before `ready`."""

    def __init__(
        self,
        seat: Seat,
        link: Link,
        orders: Orders,
        duties: dict[str, Callable[..., Awaitable[object]]],
        ears: dict[str, Callable[..., object]],
    ) -> None:
        self.seat = seat
        self.orders = orders
        self.duties = duties
        self.ears = ears
        self.kit: Any = None
        self.log: WorkerLog
        self._link = link
        self._watching = asyncio.create_task(self._watch(), name="parent")

    @classmethod
    async def join(cls, seat: Seat, records: int = 100_000) -> Self:
        """Take the seat; `records` as in `Journal`. BusError when the parent has gone meanwhile."""
        orders = Orders()
        duties: dict[str, Callable[..., Awaitable[object]]] = {}
        ears: dict[str, Callable[..., object]] = {"drain": orders.stop.set, "end": orders.end_now}
        link = await connected(seat.bus, duties, ears)
        member = cls(seat, link, orders, duties, ears)
        member.kit = await link.call("kit")
        parent = _Parent(link)
        member.log = WorkerLog.begin(await parent.snapshot(), seat.ring, parent, records)
        member.log.start()
        return member

    async def ask(self, verb: str, *args: object) -> Answers:
        """What all the others, and the parent where it has a say, answer; who hangs is left out."""
        try:
            answers: Answers = await self._link.call("ask", verb, args, within=PARENT)
        except BusError:
            return Answers()
        return answers

    async def reload(self) -> Mapping[str, object]:
        """Let the parent read the settings and every worker take them; ConfigError as `Configuration.reload`."""
        told: Mapping[str, object] = await self._link.call("reload", within=RELOAD)
        return told

    async def ask_parent(self, verb: str, *args: object) -> Any:
        """What the parent itself answers, None when it does not soon: a request waits for it."""
        try:
            return await self._link.call(verb, *args, within=SOON)
        except BusError:
            return None

    def tell(self, verb: str, *args: object) -> bool:
        """Let the parent know; False when it cannot take it now."""
        return self._link.tell(verb, *args)

    def tell_others(self, verb: str, *args: object) -> bool:
        """Let all the others know, through the parent; False when it cannot take it now."""
        return self._link.tell("others", verb, args)

    def ready(self) -> None:
        """From now on this worker serves, and does its duties."""
        self._link.tell("ready")

    def unfit(self, error: ConfigError) -> None:
        """This worker cannot start."""
        self._link.tell("unfit", error.problems)

    async def leave(self) -> None:
        """Give back the link; the last thing to do."""
        self._watching.cancel()
        await asyncio.gather(self._watching, return_exceptions=True)
        await self.log.close()
        self._link.close()

    async def _watch(self) -> None:
        """Without a parent nothing can be purged and nobody is replaced: end, and let the next instance in."""
        await self._link.closed.wait()
        self.orders.end_now()


class _Parent:
    def __init__(self, link: Link) -> None:
        self._link = link

    async def append(self, purge: Purge) -> int:
        number: int = await self._link.call("append", purge)
        return number

    async def kept(self, number: int) -> bool:
        kept: bool = await self._link.call("kept", number)
        return kept

    async def spread(self, id: str, seconds: float) -> Spread:
        told: Spread = await self._link.call("spread", id, seconds, within=seconds + PARENT)
        return told

    async def snapshot(self) -> Snapshot:
        snapshot: Snapshot = await self._link.call("snapshot")
        return snapshot
