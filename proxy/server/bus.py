"""Messages between the parent and one worker, over a pair of sockets that nobody else holds.

A frame is four bytes of length and a pickle. Both ends are processes of one instance, started from the same code by
the same parent, so that a pickle here says no more than a function call would; what comes from clients, origins, Redis
or the disk only ever travels inside it, as bytes and text.

Nobody waits for the other end to read: what cannot be written is kept up to UNREAD bytes, and then refused.
"""

import asyncio
import logging
import pickle
import socket
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any, assert_never, cast

from proxy.errors import CachegateError, ConfigError, Problem

_log = logging.getLogger(__name__)
UNREAD = 32 << 20  # bytes that may wait for the other end
_LENGTH = 4


class BusError(CachegateError):
    """The other end has gone, does not read, did not answer in time, or could not do what it was asked."""


@dataclass(frozen=True, slots=True)
class Call:
    """Wants an Answer or a Failure of the same id."""

    id: int
    verb: str
    args: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    id: int
    value: object


@dataclass(frozen=True, slots=True)
class Failure:
    """`problems` where the settings are to blame."""

    id: int
    text: str
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Note:
    """Wants nothing."""

    verb: str
    args: tuple[object, ...]


Message = Call | Answer | Failure | Note
Duties = Mapping[str, Callable[..., Awaitable[object]]]  # what is done for a Call, by its verb
Ears = Mapping[str, Callable[..., object]]  # what hears a Note


class Link(asyncio.Protocol):
    """One end. `duties` and `ears` are looked at when a message comes, and may be filled later."""

    def __init__(self, duties: Duties, ears: Ears) -> None:
        self.closed = asyncio.Event()
        self._duties = duties
        self._ears = ears
        self._transport: asyncio.WriteTransport | None = None
        self._arrived = bytearray()
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._numbers = count(1)
        self._working: set[asyncio.Task[None]] = set()

    async def call(self, verb: str, *args: object, within: float | None = None) -> Any:
        """What the other end answers. BusError when it does not, or not `within` seconds; ConfigError when that is
        what it found."""
        number = next(self._numbers)
        future = self._asked[number] = asyncio.get_running_loop().create_future()
        try:
            if not self._send(Call(number, verb, args)):
                raise BusError(f"{verb}: the other end does not read")
            async with asyncio.timeout(within):
                return await future
        except TimeoutError as error:
            raise BusError(f"{verb}: no answer within {within:g} s") from error
        finally:
            del self._asked[number]

    def tell(self, verb: str, *args: object) -> bool:
        """Let the other end know; False, and it will not, when it has gone or does not read."""
        return self._send(Note(verb, args))

    def close(self) -> None:
        """End it for both sides; idempotent."""
        if self._transport is not None:
            self._transport.close()

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        self._arrived += data
        start = 0
        while (frame := self._frame(start)) is not None:
            self._take(pickle.loads(frame))  # noqa: S301 (its writer is this program: see above)
            start += _LENGTH + len(frame)
        del self._arrived[:start]

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        for task in self._working:
            task.cancel()
        for future in self._asked.values():
            if not future.done():
                future.set_exception(BusError("the other end has gone"))
        self.closed.set()

    def _frame(self, start: int) -> bytes | None:
        body = start + _LENGTH
        if len(self._arrived) < body:
            return None
        end = body + int.from_bytes(self._arrived[start:body])
        return bytes(self._arrived[body:end]) if len(self._arrived) >= end else None

    def _send(self, message: Message) -> bool:
        transport = self._transport
        if transport is None or transport.is_closing() or transport.get_write_buffer_size() > UNREAD:
            return False
        raw = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        transport.write(len(raw).to_bytes(_LENGTH) + raw)
        return True

    def _take(self, message: Message) -> None:
        match message:
            case Call():
                self._start(self._work(message))
            case Answer(id, value):
                if (future := self._asked.get(id)) is not None and not future.done():
                    future.set_result(value)
            case Failure(id, text, problems):
                if (future := self._asked.get(id)) is not None and not future.done():
                    future.set_exception(ConfigError(problems) if problems else BusError(text))
            case Note(verb, args):
                self._hear(verb, args)
            case _:
                assert_never(message)

    def _hear(self, verb: str, args: tuple[object, ...]) -> None:
        try:
            self._ears[verb](*args)
        except Exception:
            _log.exception("what another process of ours said was not understood: %s", verb)

    async def _work(self, call: Call) -> None:
        duty = self._duties.get(call.verb)
        if duty is None:
            self._send(Failure(call.id, f"{call.verb}: not here, or not yet"))
            return
        try:
            self._send(Answer(call.id, await duty(*call.args)))
        except ConfigError as error:
            self._send(Failure(call.id, str(error), error.problems))
        except Exception as error:
            _log.debug("%s failed", call.verb, exc_info=True)
            self._send(Failure(call.id, f"{call.verb}: {type(error).__name__}: {error}"))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._working.add(task)
        task.add_done_callback(self._working.discard)


async def connected(sock: socket.socket, duties: Duties, ears: Ears) -> Link:
    """The link over one of `socket.socketpair()`; it owns the socket from here on."""
    _, link = await asyncio.get_running_loop().create_unix_connection(lambda: Link(duties, ears), sock=sock)
    return link
