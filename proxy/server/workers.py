"""The workers of one instance: started, watched, replaced when they die, and ended together.

Processes are started by their command, not by `multiprocessing`: that would run the main module of whoever embeds us
again, keep a process of its own beside ours, and write to the new one with our loop waiting.

The parent keeps every worker's listening sockets open, so that connections which wait for a worker that died are
taken by its successor.
"""

import asyncio
import logging
import os
import socket
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from proxy.errors import ConfigError, Problem
from proxy.eventloop import EventLoop
from proxy.server.bus import BusError, Ears, Link, connected
from proxy.server.lifecycle import Drain, Signals
from proxy.server.seat import Seat
from proxy.server.spreading import Sockets

_log = logging.getLogger(__name__)
ANSWER = 0.5  # seconds that a worker gets to answer the others
YOUNG = 1.0  # seconds: who dies sooner after it was ready could not serve at all
TOO_MANY = 5  # of them in a row
FIRST_PAUSE = 0.1  # seconds before one that died young is replaced; doubled by each in a row
LONGEST_PAUSE = 5.0
GRACE = 2.0  # seconds to obey; then SIGKILL


@dataclass(frozen=True, slots=True)
class Answers:
    """What the others said, and the numbers of those that said nothing in time."""

    values: tuple[Any, ...] = ()
    silent: tuple[int, ...] = ()


@dataclass(slots=True, eq=False)
class Worker:
    """One process. `ready_at` by the monotonic clock, None before; `code` is its exit code, negative for a signal."""

    number: int
    process: "subprocess.Popen[bytes]"
    link: Link
    ended: "asyncio.Future[int]"
    ready_at: float | None = None


@dataclass(slots=True)
class Shares:
    """What each worker is given of what the parent holds; `close` gives back the parent's own part."""

    public: Sequence[Sockets]
    admin: Sequence[Sockets]
    ring: int
    loop: EventLoop
    life: tuple[int, int] = field(default_factory=os.pipe)

    def seat(self, number: int, of: int, bus: socket.socket) -> Seat:
        return Seat(number, of, self.public[number], self.admin[number], bus, self.ring, self.life[0], self.loop)

    def stop_listening(self) -> None:
        """From here on the port is as open as the workers keep it."""
        for sock in (sock for share in (*self.public, *self.admin) for sock in share):
            sock.close()

    def close(self) -> None:
        self.stop_listening()
        for descriptor in self.life:
            os.close(descriptor)


class Workers:
    """`size` processes that run `work` ("module:function", called with its Seat; what it returns is the exit code).

    `duties` and `ears` are what a worker may ask of the parent and tell it; "ready" and "unfit" are told to this class.
    `on_ready` hears of each that can serve, `on_death` of each that died unasked. `answer`: seconds that one may take
    to answer the others.
    """

    def __init__(
        self,
        size: int,
        work: str,
        shares: Shares,
        serve: Callable[[Worker], tuple[Mapping[str, Callable[..., Awaitable[object]]], Ears]],
        *,
        on_ready: Callable[[Worker], object] = lambda worker: None,
        on_death: Callable[[Worker], object] = lambda worker: None,
        answer: float = ANSWER,
    ) -> None:
        self.deaths = 0  # that nobody asked for
        self._size = size
        self._work = work
        self._shares = shares
        self._serve = serve
        self._on_ready = on_ready
        self._on_death = on_death
        self._answer = answer
        self._sitting: dict[int, Worker] = {}
        self._ending = False
        self._young = 0  # how many died young in a row
        self._full = asyncio.Event()
        self._failed = asyncio.Event()
        self._problems: tuple[Problem, ...] = ()

    @property
    def ready(self) -> list[Worker]:
        """Those that can serve now."""
        return [worker for worker in self._sitting.values() if worker.ready_at is not None]

    async def ask(self, verb: str, *args: object, but: Worker | None = None, within: float | None = None) -> Answers:
        """What every ready worker says, `but` one; who hangs is left out and delays nobody longer than `within`
        (None: as always)."""
        asked = [worker for worker in self.ready if worker is not but]
        calls = [worker.link.call(verb, *args, within=within or self._answer) for worker in asked]
        said = await asyncio.gather(*calls, return_exceptions=True)
        for answer in said:
            if isinstance(answer, BaseException) and not isinstance(answer, BusError):
                raise answer
        silent = [worker.number for worker, value in zip(asked, said, strict=True) if isinstance(value, BusError)]
        return Answers(tuple(value for value in said if not isinstance(value, BaseException)), tuple(silent))

    def tell(self, verb: str, *args: object, but: Worker | None = None) -> None:
        """Let every ready worker know, `but` one."""
        for worker in self.ready:
            if worker is not but:
                worker.link.tell(verb, *args)

    async def run(self, signals: Signals, drain: Drain, announce: Callable[[], None] = lambda: None) -> int:
        """Until told to stop; 0 when every worker then ended well. ConfigError when one says so before all of them
        served."""
        seats = [asyncio.create_task(self._keep(number)) for number in range(self._size)]
        try:
            await _any(signals.stop, self._full, self._failed)
            if self._full.is_set():
                announce()
            await _any(signals.stop, self._failed)
            self._ending = True
            await self._drain(signals, drain)
        finally:
            self._ending = True
            for seat in seats:
                seat.cancel()
            await asyncio.gather(*seats, return_exceptions=True)
            await self._end()
        if self._problems:
            raise ConfigError(self._problems)
        well = not self._failed.is_set() and all(worker.ended.result() == 0 for worker in self._sitting.values())
        return 0 if well else 1

    # one seat

    async def _keep(self, number: int) -> None:
        """Start a worker there, and another whenever one dies."""
        while not self._ending:
            try:
                worker = await self._start(number)
            except OSError as error:  # no process, or no descriptor, to be had now
                self._missed(number, f"cannot be started ({error.strerror or error})", 0.0)
            else:
                code = await asyncio.shield(worker.ended)
                if self._ending:
                    return
                worker.link.close()
                del self._sitting[number]
                self._died(worker, code)
            if self._young:
                await asyncio.sleep(min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** (self._young - 1)))

    async def _start(self, number: int) -> Worker:
        ours, theirs = socket.socketpair()
        duties: dict[str, Callable[..., Awaitable[object]]] = {}
        ears: dict[str, Callable[..., object]] = {}
        with theirs:
            link = await connected(ours, duties, ears)
            seat = self._shares.seat(number, self._size, theirs)
            # From here to the end there is no await: a process that was started is in its seat.
            process = subprocess.Popen(seat.command(self._work), pass_fds=seat.descriptors)  # noqa: ASYNC220, S603
        worker = self._sitting[number] = Worker(number, process, link, _end_of(process))
        wanted, heard = self._serve(worker)
        duties |= wanted
        ears |= {**heard, "ready": lambda: self._is_ready(worker), "unfit": self._is_unfit}
        return worker

    def _is_ready(self, worker: Worker) -> None:
        worker.ready_at = time.monotonic()
        self._on_ready(worker)
        if len(self.ready) == self._size:
            self._full.set()

    def _is_unfit(self, problems: tuple[Problem, ...]) -> None:
        if self._full.is_set():
            _log.error("a new worker cannot start: %s", "; ".join(map(str, problems)))
        else:
            self._problems, self._ending = problems, True
            self._failed.set()

    def _died(self, worker: Worker, code: int) -> None:
        self.deaths += 1
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        self._missed(worker.number, how, 0.0 if worker.ready_at is None else time.monotonic() - worker.ready_at)
        self._on_death(worker)

    def _missed(self, number: int, how: str, served: float) -> None:
        """Nobody sits there any more, after so many seconds of service."""
        self._young = self._young + 1 if served < YOUNG else 0
        if self._young < TOO_MANY:
            _log.error("worker %d %s; another takes its place", number, how)
        else:
            _log.error("worker %d %s, the %dth in a row that could not serve; giving up", number, how, TOO_MANY)
            self._ending = True
            self._failed.set()

    # the end

    async def _drain(self, signals: Signals, drain: Drain) -> None:
        """Let requests end, for as long as they may."""
        self._shares.stop_listening()
        for worker in self._sitting.values():
            worker.link.tell("drain")
        ended = asyncio.create_task(_all(self._sitting.values()))
        told = asyncio.create_task(signals.at_once.wait())
        limit = drain.delay + drain.limit + GRACE
        await asyncio.wait({ended, told}, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        for task in (ended, told):
            task.cancel()
        await asyncio.gather(ended, told, return_exceptions=True)

    async def _end(self) -> None:
        """Whoever still runs has GRACE seconds."""
        last = tuple(self._sitting.values())
        for worker in last:
            worker.link.tell("end")
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE):
                await _all(last)
        for worker in last:
            if not worker.ended.done():
                _log.error("worker %d does not end; it is killed", worker.number)
                worker.process.kill()
        await _all(last)
        for worker in last:
            worker.link.close()


def _end_of(process: "subprocess.Popen[bytes]") -> "asyncio.Future[int]":
    """The exit code, once there is one. A thread waits for it: a system may have no other way that disturbs nobody
    else's children."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[int] = loop.create_future()

    def told(code: int) -> None:
        if not future.done():
            future.set_result(code)

    def wait() -> None:
        code = process.wait()
        with suppress(RuntimeError):  # the loop has gone
            loop.call_soon_threadsafe(told, code)

    threading.Thread(target=wait, name="worker", daemon=True).start()
    return future


async def _all(workers: Iterable[Worker]) -> None:
    """Wait for their ends."""
    await asyncio.gather(*(asyncio.shield(worker.ended) for worker in workers))


async def _any(*events: asyncio.Event) -> None:
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
