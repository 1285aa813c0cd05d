"""Jobs that fetch answers before clients ask for them: what is wanted, how far each job is, and the one list of all.

A job runs in one worker; the list is the parent's, so that any worker tells of any job, and of one whose worker died.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

from proxy.division import part
from proxy.entry import Pairs

RUNNING = 8  # jobs at a time; one more is refused
KEPT = 200  # jobs that are remembered; the ones that ended first are forgotten
FAILURES = 20  # failures of a job that are told one by one
LONGEST = 500  # characters of a URL that are told of one

# Verbs of what a worker asks its parent, and tells it.
BEGIN, SHARE, FIND, ALL, NOTE = "warm-begin", "warm-share", "warm-find", "warm-all", "warm-note"


class End(StrEnum):
    """Why a job is over."""

    COMPLETE = "complete"  # all was asked for
    CANCELLED = "cancelled"
    BREAKER_OPEN = "breaker-open"  # the upstream has failed lately, and is left to clients
    OVER_MEMORY = "over-memory"  # clients' requests need what memory there is
    DRAINING = "draining"  # the gateway is about to end
    WORKER_DIED = "worker-died"  # the process that worked at it


class Wanted(NamedTuple):
    """A GET to be answered from store later. `host` as in requests, `target` as clients will send it; `headers` by
    which rules or variants tell answers apart, names in lower case."""

    scheme: str
    host: str
    target: str
    headers: Pairs = ()

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}{self.target}" if self.host else self.target


class Failure(NamedTuple):
    """What could not be stored. `reason` is a word as in Cache-Status, `status` the answer's."""

    url: str
    reason: str
    status: int | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is. `worker` has its number; `began` is wall time, `seconds` what it took so far; of its failures
    the first FAILURES are kept. `ended` is None as long as it runs."""

    id: str
    worker: int
    total: int
    began: float
    ok: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    failures: tuple[Failure, ...] = ()
    ended: End | None = None

    @property
    def done(self) -> int:
        return self.ok + self.failed + self.skipped

    def to_json(self) -> dict[str, object]:
        """As the contract has it, and why it ended."""
        return {
            "id": self.id,
            "state": "running" if self.ended is None else "done",
            "ended": self.ended,
            "total": self.total,
            "done": self.done,
            "ok": self.ok,
            "failed": self.failed,
            "skipped": self.skipped,
            "seconds": round(self.seconds, 3),
            "failures": [{"url": url, "reason": why, "status": status} for url, why, status in self.failures],
        }


class Jobs(Protocol):
    """All jobs of the instance."""

    async def begin(self, job: Progress) -> bool:
        """Put a new one on the list; False where too many run already, or nobody can say."""
        ...

    async def share(self, worker: int, held: int, whole: int) -> int | None:
        """How many of the `whole` instance's places are this worker's now, which holds so many; it asks again before
        long. None where nobody can say."""
        ...

    def note(self, job: Progress) -> None:
        """This is how far it is now."""
        ...

    async def find(self, id: str) -> Progress | None: ...

    async def all(self) -> Sequence[Progress]:
        """Those that are remembered, the newest first."""
        ...


class Board:
    """The list itself. `clock` is monotonic; jobs are forgotten so many seconds after their end."""

    def __init__(self, clock: Callable[[], float], seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._jobs: dict[str, Progress] = {}
        self._over: dict[str, float] = {}  # when each ended, the first one first
        self._held: dict[int, int] = {}  # places, by worker

    async def begin(self, job: Progress) -> bool:
        if len(self._jobs) - len(self._over) >= RUNNING:
            return False
        self.note(job)
        return True

    async def share(self, worker: int, held: int, whole: int) -> int | None:
        """Even among the workers with jobs. What others hold is not given twice: who comes later has to wait."""
        working = sorted({job.worker for job in self._jobs.values() if job.ended is None} | {worker})
        taken = sum(self._held.get(other, 0) for other in working if other != worker)
        share = max(0, min(part(whole, working.index(worker), len(working)), whole - taken))
        self._held[worker] = max(held, share)
        return share

    def note(self, job: Progress) -> None:
        if job.id in self._over:  # it cannot begin again
            return
        self._jobs[job.id] = job
        if job.ended is not None:
            self._over[job.id] = self._clock()
        self._forget()

    async def find(self, id: str) -> Progress | None:
        self._forget()
        return self._jobs.get(id)

    async def all(self) -> Sequence[Progress]:
        self._forget()
        return list(reversed(self._jobs.values()))

    def died(self, worker: int) -> None:
        """Nothing more is heard of what this worker had under way."""
        for job in list(self._jobs.values()):
            if job.worker == worker and job.ended is None:
                self.note(replace(job, ended=End.WORKER_DIED))

    @property
    def duties(self) -> Mapping[str, Callable[..., Awaitable[object]]]:
        """What a parent with this list does for its workers."""
        return {BEGIN: self.begin, SHARE: self.share, FIND: self.find, ALL: self.all}

    def _forget(self) -> None:
        until = self._clock() - self._seconds
        while self._over and (len(self._jobs) > KEPT or next(iter(self._over.values())) < until):
            oldest = next(iter(self._over))
            del self._over[oldest], self._jobs[oldest]


class AtParent:
    """The list is the parent's. `ask` gives None where the parent does not answer in time."""

    def __init__(self, ask: Callable[..., Awaitable[Any]], tell: Callable[..., object]) -> None:
        self._ask = ask
        self._tell = tell

    async def begin(self, job: Progress) -> bool:
        return await self._ask(BEGIN, job) is True

    async def share(self, worker: int, held: int, whole: int) -> int | None:
        share: int | None = await self._ask(SHARE, worker, held, whole)
        return share

    def note(self, job: Progress) -> None:
        self._tell(NOTE, job)

    async def find(self, id: str) -> Progress | None:
        found: Progress | None = await self._ask(FIND, id)
        return found

    async def all(self) -> Sequence[Progress]:
        found: Sequence[Progress] | None = await self._ask(ALL)
        return found or ()
