"""What Python's own event loop tells of connections that it cannot take for want of descriptors or memory.

It tells of each try, with a trace, and tries a thousand times a second on each socket. Here it is told once when that
begins, and once when it is over. uvloop closes such connections, and tells nobody.
"""

import asyncio
import errno
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from proxy.alarm import Alarm

Handler = Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object]
_log = logging.getLogger("cachegate")
_WANT = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)  # for which the loop tries again, after a second
CALM = 2.5  # seconds without a failure, after which it is over: by then the loop has tried twice


class Accepting:
    """An exception handler of a loop: what is about anything else is left to the one `before`."""

    def __init__(self, before: Handler | None, calm: float = CALM) -> None:
        self._before = before
        self._calm = calm
        self._out = False
        self._alarm = Alarm(self._over)

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if "socket" in context and isinstance(error, OSError) and error.errno in _WANT:
            self._failed(loop, error)
        elif self._before is not None:
            self._before(loop, context)
        else:
            loop.default_exception_handler(context)

    def stop(self) -> None:
        """Nobody listens any more."""
        self._alarm.stop()

    def _failed(self, loop: asyncio.AbstractEventLoop, error: OSError) -> None:
        self._alarm.set(loop.time() + self._calm)
        if not self._out:
            self._out = True
            way_out = "raise the limit of open files, or lower limits.connections"
            _log.error("connections cannot be taken, they wait (%s): %s", error.strerror, way_out)

    def _over(self) -> None:
        self._out = False
        _log.info("connections are taken again")


@contextmanager
def told_once(calm: float = CALM) -> Iterator[None]:
    """For as long as the running loop listens."""
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    accepting = Accepting(before, calm)
    loop.set_exception_handler(accepting)
    try:
        yield
    finally:
        accepting.stop()
        loop.set_exception_handler(before)
