"""Clients on plain sockets: each asks, waits for the whole answer, notes what came, and asks again."""

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import time

from tests.load.scenarios import HOST

PATIENCE = 30.0  # seconds that an answer may take before it is an error
FROM_STORE = frozenset({b"HIT", b"STALE", b"UPDATING", b"REVALIDATED"})
_OPENING = 100  # connections that are opened at a time: more would wait in the kernel, and some of them in vain


@dataclass(frozen=True, slots=True)
class Answered:
    """`at` is when it was asked for, `made` when the upstream made what came (both Unix seconds), `took` in seconds.
    `error` says what was wrong with it."""

    target: str
    at: float
    took: float
    verdict: bytes = b""
    tier: bytes = b""
    made: float = 0.0
    error: str = ""

    @property
    def hit(self) -> bool:
        return self.verdict in FROM_STORE


class Connection(asyncio.Protocol):
    """One kept connection; opened again by `ask` when it was lost."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._transport: asyncio.Transport | None = None
        self._got = b""
        self._waits: asyncio.Future[bytes] | None = None

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_connection(lambda: self, "127.0.0.1", self._port)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    async def ask(self, target: str) -> Answered:
        """Never raises: what fails is told in the answer."""
        at = time()
        try:
            if self._transport is None or self._transport.is_closing():
                await self.open()
            assert self._transport is not None
            self._got, self._waits = b"", asyncio.get_running_loop().create_future()
            self._transport.write(f"GET {target} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
            async with asyncio.timeout(PATIENCE):
                answer = await self._waits
        except (OSError, TimeoutError) as error:
            self.close()
            return Answered(target, at, time() - at, error=type(error).__name__)
        return _read(target, at, time() - at, answer)

    # what the loop tells

    def data_received(self, data: bytes) -> None:
        self._got += data
        if self._waits is not None and not self._waits.done() and _whole(self._got):
            self._waits.set_result(self._got)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waits is not None and not self._waits.done():
            self._waits.set_exception(exc or ConnectionResetError("ended before the answer did"))


def _whole(got: bytes) -> bool:
    """Every answer to these requests says how long it is."""
    head, end, body = got.partition(b"\r\n\r\n")
    return bool(end) and len(body) >= int(_field(head, b"content-length") or 0)


def _field(head: bytes, name: bytes) -> bytes:
    at = head.lower().find(b"\r\n" + name + b":")
    return head[at:].split(b"\r\n", 2)[1].partition(b":")[2].strip() if at >= 0 else b""


def _read(target: str, at: float, took: float, answer: bytes) -> Answered:
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head[9:12]
    error = "" if status == b"200" else f"status {status.decode('latin-1')}"
    if not error and not body.startswith(f'{{"target":"{target}"'.encode()):
        error = "another answer"
    made = float(_field(head, b"x-made") or 0)
    return Answered(target, at, took, _field(head, b"x-cache"), _field(head, b"x-cache-tier"), made, error)


@asynccontextmanager
async def connected(ports: Sequence[int], number: int) -> AsyncIterator[list[Connection]]:
    """So many open connections, to these in turn. What cannot be opened is tried again by `ask`."""
    clients = [Connection(ports[n % len(ports)]) for n in range(number)]
    try:
        for first in range(0, number, _OPENING):
            opened = (client.open() for client in clients[first : first + _OPENING])
            await asyncio.gather(*opened, return_exceptions=True)
        yield clients
    finally:
        for client in clients:
            client.close()


async def asked(clients: Sequence[Connection], targets: Iterator[str], seconds: float) -> list[Answered]:
    """All ask until the time is over, or there is nothing more to ask for; in the order of the answers."""
    answers: list[Answered] = []
    end = time() + seconds

    async def client(connection: Connection) -> None:
        for target in targets:
            answers.append(await connection.ask(target))
            if time() >= end:
                return

    gc.disable()  # a pause of ours is none of theirs
    try:
        await asyncio.gather(*map(client, clients))
    finally:
        gc.enable()
    return answers
