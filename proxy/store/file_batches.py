"""Short jobs on the disk that are gathered in the event loop and done by one thread, many of them in one go.

While some are being done the next are gathered: what comes alone goes to the thread at once, and a burst costs a few
hops there and back in the place of one for each.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from proxy.errors import StoreError
from proxy.store.file_dir import Directory

MOST = 64  # jobs that are done together
MOST_BYTES = 4 * 1024 * 1024  # likewise, and whatever the last of them has: who comes behind is not to wait for long
WAITING = 1024  # writes that may wait for a disk that is slow
WAITING_BYTES = 64 * 1024 * 1024  # and what they hold

R = TypeVar("R")
Start = Callable[[Coroutine[Any, Any, None]], object]


class Waiting:
    """The writes that have not come to their end, bounded in number and in bytes: what is fetched faster than the disk
    takes it is better not written than kept in memory."""

    __slots__ = ("_bytes", "_number")

    def __init__(self) -> None:
        self._number = 0
        self._bytes = 0

    def add(self, size: int) -> None:
        """One more, of so many bytes, until `over`; StoreError when as much waits as may."""
        if self._number >= WAITING or self._bytes + size > max(WAITING_BYTES, size):
            raise StoreError("more waits to be written than the disk takes")
        self._number += 1
        self._bytes += size

    def over(self, size: int) -> None:
        self._number -= 1
        self._bytes -= size


@dataclass(frozen=True, slots=True)
class Job:
    """`do` blocks; `told`, which is called in the event loop, hears that it was done, or what it raised. `size` is how
    many bytes it writes."""

    do: Callable[[], object]
    told: Callable[[Exception | None], None]
    size: int = 0


class Batches:
    """`start` begins a task that has its time before the directory is released. What is added first is done first."""

    __slots__ = ("_directory", "_jobs", "_start", "_working")

    def __init__(self, directory: Directory, start: Start) -> None:
        self._directory = directory
        self._start = start
        self._jobs: deque[Job] = deque()
        self._working = False

    def add(self, job: Job) -> None:
        """Have it done soon."""
        self._jobs.append(job)
        if not self._working:
            self._working = True
            self._start(self._work())

    async def run(self, do: Callable[[], object]) -> None:
        """Have it done, and wait for that; what it raises. Once begun it is done, also when the caller is cancelled."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.add(Job(do, partial(settle, done, None)))
        await done

    async def _work(self) -> None:
        try:
            while self._jobs:
                batch = self._next()
                for job, error in zip(batch, await self._done(batch), strict=True):
                    job.told(error)
        finally:
            self._working = False

    async def _done(self, batch: list[Job]) -> Sequence[Exception | None]:
        try:
            return await self._directory.run(_do, batch)
        except StoreError as error:
            return [error] * len(batch)

    def _next(self) -> list[Job]:
        batch: list[Job] = []
        size = 0
        while self._jobs and len(batch) < MOST and size < MOST_BYTES:
            batch.append(self._jobs.popleft())
            size += batch[-1].size
        return batch


def settle(done: "asyncio.Future[R]", result: R, error: Exception | None) -> None:
    """Tell who waits, where anybody still does."""
    if done.done():
        return
    if error is None:
        done.set_result(result)
    else:
        done.set_exception(error)


def _do(batch: list[Job]) -> list[Exception | None]:
    return [_outcome(job) for job in batch]


def _outcome(job: Job) -> Exception | None:
    try:
        job.do()
    except Exception as error:  # the others of the batch have no part in it
        return error
    return None
