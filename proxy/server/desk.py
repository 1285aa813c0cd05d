"""The parent's desk: what workers may ask of it, and through it of each other. It serves no request itself."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from proxy.errors import ConfigError
from proxy.invalidation.parent_log import ParentLog
from proxy.observe.counters import Counters
from proxy.server.bus import BusError, Ears
from proxy.server.member import RELOAD
from proxy.server.workers import ANSWER, Answers, Shares, Worker, Workers

Duty = Callable[..., Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Kit:
    """What a worker begins with: the settings as the instance started with them, those that hold now, and what else
    is the same in every worker."""

    first: Any
    live: Any
    common: Any = None


class Desk:
    """Owns the workers and answers them. `read` reads the settings anew (it blocks; ConfigError), `common` as in `Kit`.

    `says` are the parent's own answers where a worker asks the others, by verb, called with the numbers of those that
    are silent and the arguments; `does` is what it does for one worker by itself, `hears` what workers tell it.
    """

    def __init__(
        self,
        size: int,
        work: str,
        shares: Shares,
        log: ParentLog,
        settings: Any,
        *,
        read: Callable[[], Any] | None = None,
        common: Any = None,
        says: Mapping[str, Duty] | None = None,
        does: Mapping[str, Duty] | None = None,
        hears: Ears | None = None,
        on_death: Callable[[Worker], object] = lambda worker: None,
        answer: float = ANSWER,
    ) -> None:
        self.workers = Workers(
            size, work, shares, self._serve, on_ready=self._is_ready, on_death=self._died, answer=answer
        )
        self._departed = Counters()  # what workers had counted that have died
        self._log = log
        self._kit = Kit(settings, settings, common)
        self._read = read
        self._says = says or {}
        self._does = does or {}
        self._hears = hears or {}
        self._on_death = on_death
        self._given: dict[Worker, Any] = {}  # the settings that each was started with
        self._counted: dict[Worker, Counters] = {}  # as each told it last
        self._reloading = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def reload(self) -> Mapping[str, object]:
        """Read the settings and let every worker take them; what that changes, as one of them tells it. ConfigError,
        and then the old ones go on to hold."""
        async with self._reloading:
            if self._read is None:
                return {"changed": [], "restart": []}
            before = self._kit
            live = await asyncio.to_thread(self._read)
            self._kit = Kit(before.first, live, before.common)
            try:
                told = await self.workers.ask("apply", live, within=RELOAD / 2)
            except ConfigError:
                self._kit = before
                raise
            return told.values[0] if told.values else {"changed": [], "restart": []}

    def counted(self, silent: Collection[int]) -> Counters:
        """What the dead and the silent had counted when they told it last, so that figures never fall back."""
        theirs = [counters for worker, counters in self._counted.items() if worker.number in silent]
        return Counters.merged([self._departed, *theirs])

    def _serve(self, worker: Worker) -> tuple[dict[str, Duty], Ears]:
        async def kit() -> Kit:
            self._given[worker] = self._kit.live
            return self._kit

        async def append(purge: Any) -> int:
            return self._log.append(purge)

        async def ask(verb: str, args: tuple[object, ...]) -> Answers:
            answers = await self.workers.ask(verb, *args, but=worker)
            if (own := self._says.get(verb)) is None:
                return answers
            return Answers((*answers.values, await own(answers.silent, *args)), answers.silent)

        def others(verb: str, args: tuple[object, ...]) -> None:
            self.workers.tell(verb, *args, but=worker)

        def counted(counters: Counters) -> None:
            self._counted[worker] = counters

        duties: dict[str, Duty] = {
            **self._does,
            "kit": kit,
            "snapshot": self._log.snapshot,
            "append": append,
            "kept": self._log.kept,
            "spread": self._log.spread,
            "ask": ask,
            "reload": self.reload,
        }
        return duties, {**self._hears, "others": others, "counted": counted}

    def _is_ready(self, worker: Worker) -> None:
        task = asyncio.ensure_future(self._update(worker))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _update(self, worker: Worker) -> None:
        """It may have started while the settings changed, or be about to be told."""
        async with self._reloading:
            live = self._kit.live
            if self._given.get(worker) is live:
                return
            try:
                await worker.link.call("apply", live, within=RELOAD / 2)
            except (BusError, ConfigError):
                worker.process.terminate()  # it would serve by what holds no more; its successor gets the new ones

    def _died(self, worker: Worker) -> None:
        self._given.pop(worker, None)
        if (counters := self._counted.pop(worker, None)) is not None:
            self._departed = Counters.merged([self._departed, counters])
            self._departed.forget_present()
        self._on_death(worker)
