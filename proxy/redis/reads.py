"""Reads that many requests wait for: all of one turn of the event loop go out in one piece on one connection, and the
answers come back in order, with no task and no timer for each of them (docs/decisions/0017).

Rules of this file:
- An answer belongs to who asked at its place in the order. Who does not wait any more keeps the place until the answer
  is here, so that no late one is given to another. What belongs to nobody ends the connection, and so does a silence.
- The library makes the connection, by its own ways to a server (TLS, sockets, passwords, databases, Sentinels), and
  hands it over. What is sent on it changes nothing, so that it may be asked again when the connection breaks: once.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import Any, NamedTuple, cast

import hiredis
from redis.asyncio.connection import AbstractConnection, DefaultParser
from redis.asyncio.sentinel import SentinelConnectionPool

from proxy.redis.errors import Away, RedisError, Refused, Slow, translated
from proxy.redis.lag import TICK
from proxy.tasks import end

_log = logging.getLogger(__name__)
_NOT_YET: Any = object()
Told = Callable[[list[Any] | RedisError], None]


class Hearing(NamedTuple):
    """Who hears how it goes: `worked` the seconds that an answer took, `failed` why there are none (not for each that
    waits, but once), `refused` of each error reply."""

    worked: Callable[[float], None]
    failed: Callable[[RedisError], None]
    refused: Callable[[Refused], None]


class Read:
    """Commands that are answered together. `told` hears the answers in order, a Refused for each error reply, or an
    Away when there are none; then, or when nobody waits any more, it is None. `due` by what was listened."""

    __slots__ = ("again", "answers", "asked", "began", "count", "due", "packed", "told")

    def __init__(self, packed: bytes, count: int, told: Told, began: float, asked: float, due: float) -> None:
        self.packed = packed
        self.count = count
        self.told: Told | None = told
        self.began = began
        self.asked = asked
        self.due = due
        self.again = False  # a connection broke under it already
        self.answers: list[Any] = []

    def tell(self, said: list[Any] | RedisError) -> None:
        """Once. What goes wrong with who hears it is no matter of the others."""
        told, self.told = self.told, None
        if told is None:
            return
        try:
            told(said)
        except Exception:
            _log.exception("an answer of Redis could not be taken")


class Reads:
    """One connection, made when it is wanted, by the pool of one of the library's clients. For `patience` seconds in
    which we listened it may be silent, and for so long it may take to connect.

    What waits is bounded by the requests that wait, and those who do not wait any more by that patience.
    """

    def __init__(self, pool: Any, patience: float, hearing: Hearing) -> None:
        self._pool = pool
        self._patience = patience
        self._hearing = hearing
        self._loop = asyncio.get_running_loop()
        self._context = Context()  # nobody's: what one request has left is no other's
        self._waiting: deque[Read] = deque()  # in the order of the asking
        self._unsent: list[bytes] = []  # of the last of them
        self._line: Line | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._looked = 0.0  # by the loop's clock, when what was listened was counted last
        self._listened = 0.0  # seconds

    def ask(self, packed: bytes, count: int, seconds: float, told: Told) -> Read:
        """Send `count` commands, packed; `told` hears of them within so many seconds in which we listened: a Slow when
        they are over. Of a time in which the event loop was busy with others one TICK counts."""
        now = self._loop.time()
        timer = self._timer
        if timer is None:
            self._looked = now
            self._look_at(now + min(TICK, seconds))
        elif timer.when() > now + seconds:
            timer.cancel()
            self._look_at(now + seconds)
        listened = self._listened + min(TICK, now - self._looked)
        read = Read(packed, count, told, now, listened, listened + seconds)
        if not self._unsent:
            self._loop.call_soon(self._flush, context=self._context)
        self._unsent.append(packed)
        self._waiting.append(read)
        return read

    @property
    def waited_for(self) -> bool:
        """Whether an answer is still to come."""
        return bool(self._waiting)

    async def close(self, why: RedisError) -> None:
        """End the connection; who waits is told why. Nobody asks any more."""
        self._drop_line()
        self._give_up(why)
        if self._timer is not None:
            self._timer.cancel()
        if self._connecting is not None:
            await end([self._connecting])

    # -- the connection --------------------------------------------------------------------------------------------

    def _flush(self) -> None:
        line = self._line
        if line is None:
            self._connect()
        elif _moved(self._pool, line.connection):
            self.broke(line, Away("the Sentinels name another primary"))
        else:
            line.transport.write(b"".join(self._unsent))
            self._unsent.clear()

    def _connect(self) -> None:
        if self._connecting is None and self._waiting:
            self._connecting = self._loop.create_task(self._reach(), name="redis reads")

    async def _reach(self) -> None:
        connection: AbstractConnection = self._pool.make_connection()
        try:
            async with asyncio.timeout(self._patience):
                await connection.connect()  # type: ignore[no-untyped-call]
            self._line = Line(self, connection)
        except Exception as error:
            await connection.disconnect(nowait=True)
            self._connecting = None
            self._lose(translated(error))
        except asyncio.CancelledError:
            await connection.disconnect(nowait=True)
            raise
        else:
            self._connecting = None
            self._line.transport.write(b"".join([read.packed for read in self._waiting]))
            self._unsent.clear()

    def _drop_line(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.transport.abort()

    # -- what a line tells -----------------------------------------------------------------------------------------

    def heard(self, line: "Line", reader: hiredis.Reader) -> None:
        """More has come."""
        if line is not self._line:
            return
        try:
            self._take(reader)
        except hiredis.ProtocolError as error:
            self.broke(line, Away(f"an answer that is none: {error}"))
        else:
            if not self._waiting and reader.has_data():
                self.broke(line, Away("an answer that nobody asked for"))

    def _take(self, reader: hiredis.Reader) -> None:
        waiting, gets = self._waiting, reader.gets
        worked = False
        while waiting:
            read = waiting[0]
            answers = read.answers
            while len(answers) < read.count:
                answer = gets()
                if answer is _NOT_YET:
                    return
                answers.append(answer)
            waiting.popleft()
            if not worked:  # for all that came together once
                worked = True
                self._hearing.worked(self._loop.time() - read.began)
            read.tell(self._said(answers))

    def _said(self, answers: list[Any]) -> list[Any] | RedisError:
        """The errors among them in our words; one that stands for no answer stands for all."""
        for place, answer in enumerate(answers):
            if isinstance(answer, Exception):
                failure = translated(answer)
                if not isinstance(failure, Refused):
                    self._hearing.failed(failure)
                    return failure
                self._hearing.refused(failure)
                answers[place] = failure
        return answers

    def broke(self, line: "Line", why: RedisError) -> None:
        """The connection is gone, or has to go: what it was to answer is asked once more on another."""
        if line is not self._line:
            return
        self._drop_line()
        self._unsent.clear()
        twice = [read for read in self._waiting if read.again]
        self._waiting = deque([read for read in self._waiting if not read.again and read.told is not None])
        for read in self._waiting:
            read.again = True
            read.answers.clear()
        if twice:
            self._hearing.failed(why)
            for read in twice:
                read.tell(why)
        self._connect()

    def _lose(self, why: RedisError) -> None:
        self._drop_line()
        self._hearing.failed(why)
        self._give_up(why)

    def _give_up(self, why: RedisError) -> None:
        waiting, self._waiting = self._waiting, deque()
        self._unsent.clear()
        for read in waiting:
            read.tell(why)

    # -- patience --------------------------------------------------------------------------------------------------

    def _look_at(self, when: float) -> None:
        self._timer = self._loop.call_at(when, self._look, context=self._context)

    def _look(self) -> None:
        """One timer for all that wait, and none while nobody does."""
        now = self._loop.time()
        self._listened += min(TICK, now - self._looked)
        self._looked = now
        self._timer = None
        if not self._waiting:
            return
        if self._listened - self._waiting[0].asked >= self._patience:
            self._lose(Slow("no answer in time"))
            return
        soonest = self._listened + TICK
        for read in list(self._waiting):
            if read.told is not None and read.due <= self._listened:
                read.tell(Slow("no answer in time"))
            elif read.told is not None:
                soonest = min(soonest, read.due)
        self._look_at(now + soonest - self._listened)


class Line(asyncio.Protocol):
    """The library's connection, from whose hands it was taken with all its greetings done."""

    def __init__(self, reads: Reads, connection: AbstractConnection) -> None:
        # Its parts are not public. Nothing else of them is used, and it knows of none from now on.
        reader, writer = connection._reader, connection._writer  # noqa: SLF001
        connection._reader = connection._writer = None  # noqa: SLF001
        assert reader is not None
        assert writer is not None
        self.connection = connection
        self.transport = cast(asyncio.Transport, writer.transport)
        self._writer = writer  # without it nobody would hold the transport
        self._reads = reads
        self._reader = hiredis.Reader(replyError=DefaultParser.parse_error, notEnoughData=_NOT_YET)
        self.transport.set_protocol(self)
        if reader.at_eof() or self.transport.is_closing():  # what it would have told us, the library was told
            self.transport.abort()
            raise Away("the connection broke")

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        self._reads.heard(self, self._reader)

    def connection_lost(self, error: Exception | None) -> None:
        self._reads.broke(self, Away("the connection broke" if error is None else str(error)))


def _moved(pool: Any, connection: Any) -> bool:
    """Whether the Sentinels have named another primary since this one was connected to."""
    return isinstance(pool, SentinelConnectionPool) and pool.master_address != (connection.host, connection.port)
