"""The life of a process that serves: listen, run until told to stop, drain, end."""

import asyncio
import logging
import signal
import socket
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from proxy.errors import ConfigError
from proxy.server.accepting import told_once
from proxy.server.admin.probes import Readiness
from proxy.server.front import Front
from proxy.server.gate import Gate
from proxy.server.listening import BACKLOG, ServerTls
from proxy.server.watching import changes
from proxy.tasks import end, unless

_log = logging.getLogger(__name__)
_CUT = 0.1  # seconds that a cancelled request gets to end


@dataclass(frozen=True, slots=True)
class Port:
    """Bound sockets and what serves them."""

    sockets: Sequence[socket.socket]
    front: Front
    gate: Gate
    tls: ServerTls | None = None


@dataclass(frozen=True, slots=True)
class Drain:
    """Seconds: `delay` that connections are still taken after the first signal, `limit` that requests may take then."""

    delay: float = 1.0
    limit: float = 30.0


class Signals:
    """What the process is told from outside. `stop`: to end; `at_once`: told again; `reload`: to read its settings."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.at_once = asyncio.Event()
        self.reload = asyncio.Event()

    def end(self) -> None:
        """To end; told twice, at once."""
        (self.at_once if self.stop.is_set() else self.stop).set()

    @property
    def meanings(self) -> Mapping[signal.Signals, Callable[[], None]]:
        """What each of them does."""
        return {signal.SIGTERM: self.end, signal.SIGINT: self.end, signal.SIGHUP: self.reload.set}

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Listen while the process has anything to close. What comes after that finds one that ends by itself, and is
        ignored, lest its exit code be the signal's."""
        loop, meanings = asyncio.get_running_loop(), self.meanings
        for number, act in meanings.items():
            loop.add_signal_handler(number, act)
        try:
            yield
        finally:
            for number in meanings:
                loop.remove_signal_handler(number)
                signal.signal(number, signal.SIG_IGN)


async def serve(
    public: Port,
    admin: Port | None,
    readiness: Readiness,
    signals: Signals,
    drain: Drain,
    *,
    reload: Callable[[], Awaitable[object]],
    watched: Path | None = None,
    announce: Callable[[], None] = lambda: None,
) -> int:
    """Serve until told to stop, and that has been obeyed; the exit code. The caller hears the `signals`.

    `reload` is called on SIGHUP and when the `watched` file changes; it raises ConfigError when the old settings go on
    to hold. `announce` is called once requests are taken. The admin port answers until the end.
    """
    ports = [port for port in (admin, public) if port is not None]
    listeners = {id(port): await _listen(port) for port in ports}
    background = [reloads(signals, reload)]
    if watched is not None:
        background.append(watch(watched, signals))
    tasks = [asyncio.create_task(work) for work in background]
    try:
        with told_once():
            readiness.started = True
            announce()
            await signals.stop.wait()
            _log.info("draining: requests may take %g s to end", drain.limit)
            readiness.draining = public.front.draining = True
            await unless(signals.at_once, asyncio.sleep(drain.delay))
            await _end(public, listeners[id(public)], signals, drain.limit)
    finally:
        await end(tasks)
        for port in ports:
            await _end(port, listeners[id(port)], signals, 0.0)
    return 0


async def _listen(port: Port) -> list[asyncio.Server]:
    loop = asyncio.get_running_loop()
    context = port.tls.context if port.tls else None
    handshake = port.gate.limits.head if port.tls else None  # a head is due from the accept on
    return [
        await loop.create_server(port.gate, sock=sock, backlog=BACKLOG, ssl=context, ssl_handshake_timeout=handshake)
        for sock in port.sockets
    ]


async def _end(port: Port, listeners: Sequence[asyncio.Server], signals: Signals, limit: float) -> None:
    """Take no more connections, give the requests under way `limit` seconds, and close; idempotent."""
    for listener in listeners:
        listener.close()
    port.front.draining = True
    port.gate.close_idle()
    if limit:
        await unless(signals.at_once, _within(limit, port.gate.drained()))
    await port.gate.shutdown(_CUT)


async def _within(seconds: float, work: Coroutine[object, object, None]) -> None:
    try:
        async with asyncio.timeout(seconds):
            await work
    except TimeoutError:
        _log.warning("requests were still under way after %g s; they are cut", seconds)


async def watch(file: Path, signals: Signals) -> None:
    """Wish for a reload whenever the file changes."""
    try:
        async for _ in changes(file):
            signals.reload.set()
    except OSError as error:
        _log.warning("%s cannot be watched (%s); SIGHUP still reads it again", file, error)


async def reloads(signals: Signals, reload: Callable[[], Awaitable[object]]) -> None:
    """Obey each wish to reload, one after the other; many at once are one."""
    while True:
        await signals.reload.wait()
        signals.reload.clear()
        try:
            await reload()
        except ConfigError as error:
            _log.error("the settings are wrong; the old ones go on to hold: %s", "; ".join(map(str, error.problems)))
        except Exception:
            _log.exception("the settings could not be read again; the old ones go on to hold")
