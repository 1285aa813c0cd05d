"""Jobs that fetch answers before clients ask for them, side by side and bounded together; `warming_one` has one URL."""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from proxy.tasks import Tasks
from proxy.warming_jobs import FAILURES, LONGEST, End, Failure, Jobs, Progress, Wanted
from proxy.warming_one import Pace, Result, Stop, Warmer
from proxy.warming_places import Places

_log = logging.getLogger("cachegate")

CANCEL = "warm-cancel"  # what workers ask each other
TELL = 0.2  # seconds between two notes of how far a job is, and two questions for the places of all


@dataclass(frozen=True, slots=True)
class Bounds:
    """`most` URLs of one job; of all jobs of the instance together, `concurrency` under way and `rate` fetches begun in
    a second, 0 for no bound."""

    most: int
    concurrency: int
    rate: float


class _Job:
    """One under way."""

    def __init__(self, told: Progress, wanted: Sequence[Wanted], jobs: Jobs, timer: Callable[[], float]) -> None:
        self.wanted = wanted
        self.stop = Stop()
        self.is_over = asyncio.Event()
        self._told = told
        self._jobs = jobs
        self._timer = timer
        self._began = timer()
        self._noted = timer()

    @property
    def id(self) -> str:
        return self._told.id

    @property
    def told(self) -> Progress:
        return self._told

    def count(self, wanted: Wanted, result: Result) -> None:
        told = self._told
        counted: dict[str, Any] = {result.kind: getattr(told, result.kind) + 1}
        if result.kind == "failed" and len(told.failures) < FAILURES:
            counted["failures"] = (*told.failures, Failure(wanted.url[:LONGEST], result.reason, result.status))
        self._told = replace(told, **counted)
        if self._timer() - self._noted >= TELL:
            self._note()

    def over(self) -> Progress:
        self._told = replace(self._told, ended=self.stop.why or End.COMPLETE)
        self._note()
        self.is_over.set()
        return self._told

    def _note(self) -> None:
        self._noted = self._timer()
        self._told = replace(self._told, seconds=self._noted - self._began)
        self._jobs.note(self._told)


class Warming:
    """Runs jobs in this worker, whose number is `worker`. `ask` is what other workers say; `clock` is wall time,
    `timer` measures, both in seconds."""

    def __init__(
        self,
        warmer: Warmer,
        jobs: Jobs,
        bounds: Bounds,
        tasks: Tasks,
        *,
        ask: Callable[..., Awaitable[Sequence[Any]]],
        worker: int,
        clock: Callable[[], float],
        timer: Callable[[], float],
    ) -> None:
        self.jobs = jobs
        self._warmer = warmer
        self._tasks = tasks
        self._ask = ask
        self._worker = worker
        self._clock = clock
        self._timer = timer
        self._running: dict[str, _Job] = {}
        self._ended: End | None = None
        self.change(bounds)
        self._idle = Stop()
        self._places = self._none()

    def change(self, bounds: Bounds) -> None:
        """Let other bounds hold for jobs that begin when none runs here."""
        self.bounds = bounds

    @property
    def duties(self) -> Mapping[str, Callable[..., Awaitable[object]]]:
        """What other workers may ask of this one."""
        return {CANCEL: self._cancel}

    async def begin(self, wanted: Sequence[Wanted]) -> Progress | None:
        """Start a job; what is wanted twice is asked for once. None where too many are under way already."""
        unique = list(dict.fromkeys(wanted))
        told = Progress(secrets.token_hex(8), self._worker, len(unique), self._clock())
        if not await self.jobs.begin(told):
            return None
        if not self._running:  # what was held before is somebody else's now
            self._idle, self._places = Stop(), self._none()
            self._tasks.spawn(self._hold(self._places, self._idle), "warm places")
        job = self._running[told.id] = _Job(told, unique, self.jobs, self._timer)
        if self._ended is not None or not self._tasks.spawn(self._run(job), "warm"):
            job.stop.call(End.DRAINING)
            return self._over(job)
        return told

    async def run(self, wanted: Sequence[Wanted]) -> Progress | None:
        """As `begin`, and wait for its end; whoever does not wait for it any longer ends it."""
        told = await self.begin(wanted)
        job = None if told is None else self._running.get(told.id)
        if job is None:
            return told
        try:
            await job.is_over.wait()
        except asyncio.CancelledError:
            job.stop.call(End.CANCELLED)
            raise
        return job.told

    async def cancel(self, id: str) -> bool:
        """End a job, whichever worker runs it; False where none does."""
        return await self._cancel(id) or any(await self._ask(CANCEL, id))

    def close(self) -> None:
        """Ask for nothing more."""
        self._ended = End.DRAINING
        for job in self._running.values():
            job.stop.call(End.DRAINING)

    def _none(self) -> Places:
        return Places(self.bounds.concurrency, self.bounds.rate, Pace(self.bounds.rate, self._timer))

    async def _hold(self, places: Places, idle: Stop) -> None:
        """Have our share of the places until the jobs that use them are over."""
        while idle.why is None:
            share = await self.jobs.share(self._worker, places.held, places.whole)
            if share is not None:
                await places.change(share)
            await idle.within(TELL)

    async def _cancel(self, id: str) -> bool:
        job = self._running.get(id)
        if job is not None:
            job.stop.call(End.CANCELLED)
        return job is not None

    async def _run(self, job: _Job) -> None:
        todo = iter(job.wanted)
        try:
            async with asyncio.TaskGroup() as workers:
                for _ in range(min(self.bounds.concurrency, len(job.wanted))):
                    workers.create_task(self._work(job, todo))
        except asyncio.CancelledError:
            job.stop.call(End.DRAINING)
            raise
        finally:
            self._over(job)

    def _over(self, job: _Job) -> Progress:
        del self._running[job.id]
        told = job.over()
        if not self._running:
            self._idle.call(End.COMPLETE)
        counts = f"{told.ok} stored, {told.skipped} fresh already, {told.failed} failed"
        _log.info("warm %s: %s, %d of %d: %s", told.id, told.ended, told.done, told.total, counts)
        return told

    async def _work(self, job: _Job, todo: Iterator[Wanted]) -> None:
        for wanted in todo:
            if job.stop.why is not None:
                return
            places = self._places
            await places.take(job.stop)
            try:
                result = await self._warmer.warm(wanted, places.pace, job.stop)
            finally:
                places.leave()
            if result is not None:
                job.count(wanted, result)
