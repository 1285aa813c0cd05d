"""From settings to a gateway that runs: as an aiohttp application, and as the program `cachegate serve`."""

import asyncio
import logging
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from socket import socket
from typing import Any

from aiohttp import web

from proxy import building
from proxy.errors import ConfigError, StoreError
from proxy.eventloop import run
from proxy.gateway import Gateway
from proxy.invalidation.local import LocalLog
from proxy.invalidation.parent_log import ParentLog
from proxy.invalidation.ring import Ring, shared_memory
from proxy.limits.near import NOTE, duties, swept
from proxy.limits.table import Table
from proxy.noting import tell_purge
from proxy.observe.counters import Counters
from proxy.observe.events import Events
from proxy.observe.figures import Figures, TierFigures
from proxy.observe.logs import LineWriter, setup
from proxy.obstacles import refuse_own_address
from proxy.outcome import Tier
from proxy.place import Common
from proxy.remembering import WINDOW, Remembering
from proxy.server.admin.token import AdminToken
from proxy.server.bus import Ears
from proxy.server.desk import Desk
from proxy.server.gate import Gate, application
from proxy.server.lifecycle import Drain, Port, Signals, reloads, watch
from proxy.server.lifecycle import serve as serve_ports
from proxy.server.listening import bind, check_files, check_parser, raise_nofile, urls
from proxy.server.member import Member
from proxy.server.seat import Seat
from proxy.server.spreading import spread
from proxy.server.workers import Shares
from proxy.settings import settings_from
from proxy.settings.load import Loaded
from proxy.settings.model import Settings
from proxy.sharing import Link, tell_link
from proxy.store.file_keeper import Keeper
from proxy.tasks import end, repeat
from proxy.upstream.fellows import OVER, TURN, Turns
from proxy.warming_jobs import NOTE as JOB
from proxy.warming_jobs import Board

_log = logging.getLogger("cachegate")

Sweep = Callable[[], Awaitable[object]]


def create_app(settings: Settings | Mapping[str, Any] | str | Path) -> web.Application:
    """The gateway as an aiohttp application, from settings, a dict of them, or the path of a YAML file.

    It can be run by `aiohttp.web.run_app` or put into another application by `add_subapp`.
    """
    gateway = Gateway(settings_from(settings))
    app = application(gateway.front, building.door_limits(gateway.settings, gateway.settings.limits.connections))

    async def whole_life(_: web.Application) -> AsyncIterator[None]:
        await gateway.start()
        yield
        await gateway.close()

    app.cleanup_ctx.append(whole_life)
    return app


async def serve(loaded: Loaded, *, reload: Callable[[], Loaded], allow_python_parser: bool = False) -> int:
    """Run one gateway until SIGTERM; the exit code. ConfigError when it cannot start. `reload` reads the settings
    again, and refuses those with `obstacles`."""
    settings = loaded.settings
    check_parser(allow_python_parser=allow_python_parser)
    public = bind(settings.listen.host, settings.listen.port)
    admin = bind(settings.admin.host, settings.admin.port, "admin") if settings.admin.port is not None else ()
    taken = [sock.getsockname()[:2] for sock in (*public, *admin)]
    refuse_own_address(settings, taken)
    check_files(settings.listen.workers, len(taken))

    def again() -> Loaded:
        found = reload()
        refuse_own_address(found.settings, taken)
        return found

    writer = _writer(settings)
    try:
        _warn(loaded)
        signals = Signals()
        with signals.heard():
            if settings.listen.workers > 1:
                return await _parent(loaded, again, public, admin, signals)
            gateway = Gateway(loaded, source=again, access=writer)
            await gateway.start()
            try:
                return await _run(gateway, public, admin, loaded.file, signals)
            finally:
                await gateway.close(signals.at_once)
    finally:
        writer.close()


async def _parent(
    loaded: Loaded, read: Callable[[], Loaded], public: Sequence[socket], admin: Sequence[socket], signals: Signals
) -> int:
    """Several workers: this process takes what they share, and serves nothing itself."""
    settings, size = loaded.settings, loaded.settings.listen.workers
    common, log, keeper = Common.of(settings), building.local_log(settings), building.keeper(settings, time.time)
    log.open()
    if log.distrusted:
        _log.warning("%s", log.distrusted)
    if not log.durable:
        _log.warning("purges do not outlive this instance: %s", log.reason)
    if keeper is not None:
        try:
            await keeper.open()
        except StoreError as error:
            _log.error("the file tier is off: %s", error)
            common, keeper = replace(common, file_off=str(error)), None
    memory = shared_memory()
    shares = Shares(spread(public, size), spread(admin, size), memory, settings.listen.loop)
    try:
        async with _journal(settings, log, memory) as (kept, link):

            async def take(silent: Collection[int]) -> tuple[Counters, Figures]:
                return desk.counted(silent), _kept(keeper, settings)

            history = building.remembering(settings, link, lambda: desk.counted(range(size)), time.time)
            held = _Held(building.table(settings, time.monotonic), keeper, history, settings.admin.receipts)
            desk = Desk(
                size,
                "proxy.wiring:work",
                shares,
                kept,
                loaded,
                read=read,
                common=common,
                says={"take": take},
                does=held.does,
                hears=held.hears,
                on_death=lambda worker: held.died(worker.number),
            )
            news = Events(time.time, desk.workers.tell, worker=None)
            log.on_read = lambda number, purge: tell_purge(news, purge)
            return await _supervise(desk, loaded, signals, held, partial(_announce, settings, public, common.token))
    finally:
        shares.close()


class _Held:
    """What the parent holds for all workers beside the journal: the counts of limited rules, whose turn it is, which
    jobs there are (told of for so many `seconds` after their end), what the file tier has, and the history. `keeper` is
    None where that is off."""

    def __init__(self, limits: Table, keeper: Keeper | None, history: Remembering, seconds: float) -> None:
        self.limits = limits
        self.history = history
        self.turns = Turns(time.monotonic)
        self.jobs = Board(time.monotonic, seconds)
        self.keeper = keeper

    def died(self, worker: int) -> None:
        """Nothing is this worker's any more."""
        self.turns.died(worker)
        self.jobs.died(worker)

    @property
    def does(self) -> Mapping[str, Callable[..., Awaitable[object]]]:
        return {**duties(self.limits), **self.jobs.duties, TURN: self.turns.take, WINDOW: self.history.window}

    @property
    def hears(self) -> Ears:
        files = self.keeper.take if self.keeper is not None else lambda changes: None
        return {"files": files, NOTE: self.limits.note, OVER: self.turns.over, JOB: self.jobs.note}

    @property
    def sweeps(self) -> Sequence[Sweep]:
        return [lambda: swept(self.limits), *([self.keeper.sweep] if self.keeper is not None else [])]


@asynccontextmanager
async def _journal(settings: Settings, log: LocalLog, memory: int) -> AsyncIterator[tuple[ParentLog, Link | None]]:
    """The journal of all workers, shared with other instances where there is a Redis; closed with the block."""
    link = Link(settings, tells=False) if settings.redis.enabled else None
    shared = building.shared_log(settings, log, link) if link is not None else None
    kept = ParentLog(log, Ring(memory), shared)
    if link is not None and shared is not None:
        shared.on_link = tell_link
        link.server.start()
        kept.start()
    try:
        yield kept, link
    finally:
        await kept.close()
        if link is not None:
            await link.server.close()


async def _supervise(desk: Desk, loaded: Loaded, signals: Signals, held: _Held, announce: Callable[[], None]) -> int:
    """Run the workers, and what the parent does beside, until SIGTERM; the exit code."""
    settings = loaded.settings
    background = [reloads(signals, desk.reload), held.history.run()]
    if loaded.file is not None:
        background.append(watch(loaded.file, signals))
    background += [repeat("a sweep", sweep, settings.cache.cleanup_interval) for sweep in held.sweeps]
    tasks = [asyncio.create_task(each) for each in background]
    try:
        drain = Drain(settings.listen.drain_delay, settings.listen.drain)
        return await desk.workers.run(signals, drain, announce)
    finally:
        await end(tasks)
        await held.history.close()
        if held.keeper is not None:
            await held.keeper.close()


def _kept(keeper: Keeper | None, settings: Settings) -> Figures:
    """The file tier, of which the parent alone knows the size."""
    if keeper is None:
        return Figures(workers=0)
    now = TierFigures(keeper.entries, keeper.bytes, settings.file.max_bytes, keeper.evictions)
    return Figures({Tier.FILE: now}, tuple(keeper.names()), workers=0)


def work(seat: Seat) -> int:
    """One of several workers, in its own process."""
    return run(_work(seat), seat.loop)


async def _work(seat: Seat) -> int:
    member = await Member.join(seat)
    with member.orders.heard():
        return await _member(seat, member)


async def _member(seat: Seat, member: Member) -> int:
    first, live = member.kit.first, member.kit.live
    writer = _writer(first.settings)
    try:
        gateway = Gateway(first, access=writer, common=member.kit.common, member=member)
        if live is not first:
            gateway.configuration.take(live)
        await gateway.start()
        try:
            return await _run(gateway, seat.public, seat.admin, None, member.orders, member)
        finally:
            await gateway.close(member.orders.at_once)
    except ConfigError as error:
        member.unfit(error)
        return 2
    finally:
        await member.leave()
        writer.close()


def _writer(settings: Settings) -> LineWriter:
    return setup(settings.log.level, settings.log.format or ("text" if sys.stderr.isatty() else "json"))


def _announce(settings: Settings, public: Sequence[socket], token: AdminToken) -> None:
    upstream = ", ".join(settings.upstream.url)
    for url in urls(public, tls=settings.listen.tls_cert is not None):
        _log.info("cachegate listens on %s, in front of %s; admin token %s", url, upstream, token.place)


async def _run(
    gateway: Gateway,
    public: Sequence[socket],
    admin: Sequence[socket],
    file: Path | None,
    signals: Signals,
    member: Member | None = None,
) -> int:
    settings = gateway.settings
    limits = building.door_limits(settings, raise_nofile(building.open_files(settings)))
    tls = building.server_tls(settings)
    if tls is not None:
        gateway.configuration.renew = tls.reload
    front = Port(public, gateway.front, Gate(gateway.front, gateway.counters, limits, gateway.lane), tls)
    desk = None
    if gateway.admin_front is not None:
        desk = Port(admin, gateway.admin_front, Gate(gateway.admin_front, Counters(), limits))

    def announce() -> None:
        _announce(settings, public, gateway.token)

    return await serve_ports(
        front,
        desk,
        gateway.readiness,
        signals,
        Drain(settings.listen.drain_delay, settings.listen.drain),
        reload=gateway.configuration.reload,
        watched=file,
        announce=announce if member is None else member.ready,
    )


def _warn(loaded: Loaded) -> None:
    """What the operator should know before the first request."""
    for warning in loaded.warnings:
        _log.warning("%s", warning)
    if os.environ.get("AIOHTTP_NO_EXTENSIONS"):
        _log.warning("AIOHTTP_NO_EXTENSIONS is set: requests are read by aiohttp's slow and lenient parser")
