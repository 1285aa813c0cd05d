"""Connections that Python's own event loop cannot take: told once, and once when it is over. The descriptors are really
out: the limit of this process is lowered to what it has open."""

import asyncio
import logging
import os
import resource
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from proxy.server.accepting import told_once

CALM = 1.5  # the loop tries again after a second


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    spare = os.dup(0)
    os.close(spare)
    resource.setrlimit(resource.RLIMIT_NOFILE, (spare, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Told(logging.Handler):
    """What the log was told, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.over = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        if self.lines[-1] == "connections are taken again":
            self.over.set()


@asynccontextmanager
async def told() -> AsyncIterator[Told]:
    """All that is told, by whomever, while connections are taken."""
    root, told = logging.getLogger(), Told()
    level = root.level
    root.addHandler(told)
    root.setLevel("INFO")
    try:
        with told_once(CALM):
            yield told
    finally:
        root.setLevel(level)
        root.removeHandler(told)


async def test_what_cannot_be_taken_is_told_once_and_taken_when_it_can_be() -> None:
    loop, taken = asyncio.get_running_loop(), asyncio.Semaphore(0)

    class Peer(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            transport.close()
            taken.release()

    async with told() as log, asyncio.timeout(30):
        server = await loop.create_server(Peer, "127.0.0.1", 0, backlog=1024)
        port = server.sockets[0].getsockname()[1]
        for _ in range(2):
            log.lines.clear()
            log.over.clear()
            clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]  # they wait in the kernel
            with no_descriptor_left():
                while not log.lines:
                    await asyncio.sleep(0)
            for _ in clients:
                await taken.acquire()
            await log.over.wait()
            assert len(log.lines) == 2
            assert log.lines[0].startswith("connections cannot be taken, they wait (Too many open files)")
            for client in clients:
                client.close()
        server.close()
        await server.wait_closed()


async def test_what_is_about_anything_else_is_told_as_ever() -> None:
    loop, heard = asyncio.get_running_loop(), list[str]()
    async with told() as log:
        loop.call_exception_handler({"message": "a task is lost"})
        loop.call_exception_handler({"message": "no", "exception": OSError(9, "bad"), "socket": None})
        assert log.lines == ["a task is lost", "no\nsocket: None"]
    loop.set_exception_handler(lambda _, context: heard.append(context["message"]))
    with told_once():
        loop.call_exception_handler({"message": "a task is lost"})
    assert heard == ["a task is lost"]
    loop.call_exception_handler({"message": "behind it"})
    assert heard == ["a task is lost", "behind it"]
    loop.set_exception_handler(None)
