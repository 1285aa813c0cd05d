"""An answer's body while it comes in: written once, read by many, each at its own pace from byte 0.

While it is *kept*, its bytes stay in memory up to a bound and then go to a spool; the writer waits for no reader.
Once *given up* (too large, no spool, a full disk) it is passed on only: those who read it go on, the slowest holds
the writer back, and memory stays within a window; nobody new may join, and with the last reader gone the writer is
told to stop. When it *fails*, every reader is cut: what came of it proves nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Protocol

from proxy.entry import Body, BytesBody
from proxy.errors import CachegateError, StoreError
from proxy.recording_reader import Reader

CHUNK = 64 * 1024  # the most that a reader gets at once
WINDOW = 256 * 1024  # what stays in memory of a body that is spooled or given up, but for one chunk of the writer's


class State(StrEnum):
    """How far a recording has come."""

    GROWING = "growing"
    COMPLETE = "complete"
    FAILED = "failed"


class Abandoned(CachegateError):
    """Nobody reads a recording that nobody keeps: the fetch may stop."""


class GivenUp(CachegateError):
    """It cannot be read from byte 0 any more, or not be kept."""


class Spool(Protocol):
    """Where the bytes go that memory shall not hold. `write` and `read` may raise StoreError."""

    async def write(self, data: bytes) -> None: ...

    async def read(self, start: int, end: int) -> bytes:
        """Bytes [start, end) of what has been written."""
        ...

    async def finish(self) -> Body:
        """All of it as a body, with nothing left to do; whoever stores that may keep the bytes past `discard`."""
        ...

    def discard(self) -> None:
        """Give it back; idempotent, also after `finish`."""
        ...


OpenSpool = Callable[[], Awaitable[Spool | None]]


class Recording:
    """One writer (`write`, then `finish` or `fail`), any number of readers.

    `memory`: bytes that are held before spooling; `limit`: bytes beyond which it is given up by itself; `window`:
    bytes held once it is spooled or given up, but for the writer's last chunk and as much again under way to the
    spool; `open_spool`: asked once, None from it or in its place means that there is no spool.
    """

    def __init__(self, *, memory: int, limit: int, open_spool: OpenSpool | None = None, window: int = WINDOW) -> None:
        self.state = State.GROWING
        self.given_up = False
        self.size = 0
        self.limit = limit
        self._memory = memory
        self._window = window
        self._open_spool = open_spool
        self._spool: Spool | None = None
        self._spooled = 0  # the spool holds bytes [0, _spooled)
        self._tail = bytearray()  # memory holds bytes [_base, size)
        self._base = 0
        self._body: Body | None = None
        self._failure: Exception | None = None
        self._readers: set[Reader] = set()
        self._discarded = False
        self._news: asyncio.Event | None = None  # for readers that wait: more bytes, or the end
        self._room: asyncio.Event | None = None  # for a writer that waits: a reader moved or left

    @property
    def spooled(self) -> bool:
        """Whether its bytes go to a spool by now."""
        return self._spool is not None

    @property
    def readers(self) -> int:
        """How many are reading."""
        return len(self._readers)

    @property
    def joinable(self) -> bool:
        """Whether it can be read from byte 0, also by who comes after `discard`: how it failed is known then, and so is
        a whole body that is in memory."""
        if self._discarded:
            return self._failure is not None or self._in_memory() is not None
        return not self.given_up

    def reader(self) -> Reader:
        """Join, from byte 0; GivenUp when it is too late for that."""
        if not self.joinable:
            raise GivenUp("this body can no longer be read from its start")
        reader = Reader(self._pull, self._leave, self._in_memory)
        self._readers.add(reader)
        return reader

    def fill(self, content: bytes) -> bool:
        """Take a whole body at once, in the place of `write` and `finish`; False, and nothing has happened, where it
        is more than memory holds."""
        if len(content) > min(self._memory, self.limit):
            return False
        self.size = len(content)
        self.state = State.COMPLETE
        self._body = BytesBody(content)
        return True

    async def write(self, chunk: bytes) -> None:
        """Append. Waits for the spool, or for the slowest reader once given up; Abandoned when none is left then."""
        if self.size + len(chunk) > self.limit:
            self.give_up()
        if self.given_up:
            await self._wait_for_room()
        self._tail += chunk
        self.size += len(chunk)
        _ring(self._news)
        if self._spool is None and len(self._tail) > self._memory and not self.given_up:
            await self._start_spool()
        if self._spool is not None and self.size - self._spooled >= self._window and not self.given_up:
            await self._flush(self._spool)

    async def finish(self) -> None:
        """The body is whole. Afterwards `given_up` says whether it was kept, and `body` gives it."""
        self.state = State.COMPLETE
        _ring(self._news)
        if self.given_up:
            return
        if self._spool is None:
            self._body = BytesBody(bytes(self._tail))
            self._tail = bytearray()  # from here on readers are served from the body
        elif await self._flush(self._spool):
            self._body = await self._spool.finish()
            self._forget(self.size)

    def fail(self, error: Exception) -> None:
        """The body cannot be completed: every reader gets this error instead of more bytes."""
        if self.state is State.GROWING:
            self.state = State.FAILED
            self._failure = error
            self._release()
            _ring(self._news)

    def give_up(self) -> None:
        """Stop keeping it; those who read it now go on. Nothing once it is complete; idempotent."""
        if self.state is State.GROWING:
            self._stop_keeping()

    def body(self) -> Body:
        """The whole body of a finished recording, until `discard`; GivenUp when it was not kept."""
        if self._body is None:
            raise GivenUp("this body was not kept")
        return self._body

    def discard(self) -> None:
        """Its owner is done with it: its room is given back with the last reader, but for what lies in memory whole."""
        self._discarded = True
        self.give_up()
        if not self._readers:
            self._release()

    # the readers' side

    async def _pull(self, reader: Reader) -> bytes:
        """The next bytes for a reader, b"" at the end."""
        while True:
            if self._failure is not None:
                raise self._failure.with_traceback(None)
            if reader.position < self.size:
                chunk = await self._read(reader.position)
                reader.position += len(chunk)
                self._make_room()
                return chunk
            if self.state is State.COMPLETE:
                return b""
            self._news = self._news or asyncio.Event()
            await self._news.wait()

    def _in_memory(self) -> bytes | None:
        """The whole body, where it lies there."""
        return self._body.data if self._body is not None else None

    async def _read(self, position: int) -> bytes:
        if (data := self._in_memory()) is not None:
            return data[position : position + CHUNK]
        if position >= self._base:
            start = position - self._base
            return bytes(memoryview(self._tail)[start : start + CHUNK])
        assert self._spool is not None
        try:
            return await self._spool.read(position, min(position + CHUNK, self._base))
        except StoreError:
            if self._failure is not None:  # it failed meanwhile, and took the spool along
                raise self._failure.with_traceback(None) from None
            raise

    def _leave(self, reader: Reader) -> None:
        self._readers.discard(reader)
        if self.given_up:
            self._make_room()
        if self._discarded and not self._readers:
            self._release()

    # the writer's side

    async def _wait_for_room(self) -> None:
        while self._readers:
            if len(self._tail) < self._window:
                return
            self._room = self._room or asyncio.Event()
            await self._room.wait()
        raise Abandoned("nobody reads this body, and nobody keeps it")

    async def _start_spool(self) -> None:
        try:
            spool = await self._open_spool() if self._open_spool is not None else None
        except StoreError:
            spool = None
        if spool is None:
            self.give_up()
        elif self.given_up or self.state is State.FAILED:
            spool.discard()
        else:
            self._spool = spool

    async def _flush(self, spool: Spool) -> bool:
        """Bring to the spool what it does not hold yet; a spool that cannot take it is not kept."""
        start = self._spooled
        block = bytes(memoryview(self._tail)[start - self._base :])
        try:
            await spool.write(block)
        except StoreError:
            self._stop_keeping()
            return False
        except BaseException:  # cancelled: what of the block the spool holds, nobody knows
            self._stop_keeping()
            raise
        if self.given_up or self._failure is not None:
            return False
        self._spooled = start + len(block)
        self._forget(min(self._spooled, self.size - self._window))
        return True

    def _stop_keeping(self) -> None:
        self.given_up = True
        self._make_room()

    def _make_room(self) -> None:
        """Once given up, hold only what a reader has yet to read."""
        if self.given_up:
            slowest = min((reader.position for reader in self._readers), default=self.size)
            self._forget(slowest)
            if slowest >= self._base:
                self._drop_spool()
            _ring(self._room)

    def _forget(self, end: int) -> None:
        """Drop bytes before `end` from memory."""
        if end > self._base:
            del self._tail[: end - self._base]
            self._base = end

    def _drop_spool(self) -> None:
        if self._spool is not None:
            self._spool.discard()
            self._spool = None

    def _release(self) -> None:
        if self._spool is None and self._in_memory() is not None:
            return  # all that is left lies there, and stays
        if self._body is not None and self._body.data is None:
            self._body = None
        self._forget(self.size)
        self._drop_spool()


def _ring(event: asyncio.Event | None) -> None:
    """Wake all who wait now."""
    if event is not None:
        event.set()
        event.clear()
