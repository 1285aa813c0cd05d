"""Background work that is owned: every task is kept, named, bounded in number and ended with its owner."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any

_log = logging.getLogger("cachegate")

AGAIN = 0.1  # seconds after which a task that goes on is cancelled once more


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel them and wait until they have ended, whatever they raise. A cancellation that meets the end of a timeout
    can be lost in a library (redis-py, now and then), so it is repeated."""
    running = set(tasks)
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=AGAIN)


async def unless(event: asyncio.Event, work: Coroutine[Any, Any, object]) -> None:
    """Do the work, or as much of it as there is time for before the event."""
    working, told = asyncio.create_task(work), asyncio.create_task(event.wait())
    try:
        await asyncio.wait({working, told}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (working, told):
            task.cancel()
        await asyncio.gather(working, told, return_exceptions=True)


async def repeat(name: str, work: Callable[[], Awaitable[object]], seconds: float) -> None:
    """Do the work of this name every so many seconds, for ever: what it raises is logged and ends nothing."""
    while True:
        await asyncio.sleep(seconds)
        try:
            await work()
        except Exception:
            _log.exception("%s failed", name)


class Tasks:
    """Starts coroutines off the caller's path. What they raise goes to `on_error`, never to nobody."""

    def __init__(self, on_error: Callable[[str, BaseException], None], limit: int = 10_000) -> None:
        self._on_error = on_error
        self._limit = limit
        self._running: set[asyncio.Task[None]] = set()
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None  # to ask for it takes a system call

    def __len__(self) -> int:
        return len(self._running)

    def spawn(self, work: Coroutine[Any, Any, None], name: str = "") -> bool:
        """Start `work`; False, and it is not started, when too much is under way already or we are closing."""
        if self._closed or len(self._running) >= self._limit:
            work.close()
            return False
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        self._running.add(loop.create_task(self._owned(work, name, loop), name=name or None))
        return True

    async def _owned(self, work: Coroutine[Any, Any, None], name: str, loop: asyncio.AbstractEventLoop) -> None:
        """To its end. A callback for that would be one more turn of the loop for each task."""
        task = asyncio.current_task(loop)
        assert task is not None
        try:
            await work
        except Exception as error:
            self._on_error(name, error)
        finally:
            self._running.discard(task)

    async def close(self, grace: float, at_once: asyncio.Event | None = None) -> None:
        """Let what runs end for `grace` seconds, or until `at_once` is set, then cancel it."""
        self._closed = True
        if self._running:
            await unless(at_once or asyncio.Event(), asyncio.wait(set(self._running), timeout=grace))
        await end(self._running)
