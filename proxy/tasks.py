"""Background work that is owned: every task is kept, named, bounded in number and ended with its owner."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

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


class Tasks:
    """Starts coroutines off the caller's path. What they raise goes to `on_error`, never to nobody."""

    def __init__(self, on_error: Callable[[str, BaseException], None], limit: int = 10_000) -> None:
        self._on_error = on_error
        self._limit = limit
        self._running: set[asyncio.Task[None]] = set()
        self._closed = False

    def __len__(self) -> int:
        return len(self._running)

    def spawn(self, work: Coroutine[Any, Any, None], name: str = "") -> bool:
        """Start `work`; False, and it is not started, when too much is under way already or we are closing."""
        if self._closed or len(self._running) >= self._limit:
            work.close()
            return False
        task = asyncio.get_running_loop().create_task(work, name=name or None)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return True

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_error(task.get_name(), error)

    async def close(self, grace: float, at_once: asyncio.Event | None = None) -> None:
        """Let what runs end for `grace` seconds, or until `at_once` is set, then cancel it."""
        self._closed = True
        if self._running:
            await unless(at_once or asyncio.Event(), asyncio.wait(set(self._running), timeout=grace))
        await end(self._running)
