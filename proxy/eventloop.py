"""The event loop that a process runs in (docs/decisions/0015)."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, Literal, TypeVar

import uvloop

EventLoop = Literal["uvloop", "asyncio"]
_T = TypeVar("_T")
_MAKES: Final[dict[EventLoop, Callable[[], asyncio.AbstractEventLoop]]] = {
    "uvloop": uvloop.new_event_loop,
    "asyncio": asyncio.new_event_loop,
}


def run(work: Coroutine[Any, Any, _T], loop: EventLoop) -> _T:
    """As `asyncio.run`, in a loop of this kind."""
    with asyncio.Runner(loop_factory=_MAKES[loop]) as runner:
        return runner.run(work)
