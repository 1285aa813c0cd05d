"""Single parts, made from their sections of the settings."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from math import inf
from pathlib import Path
from urllib.parse import urlsplit

from proxy.entry import Pairs
from proxy.flying import Patience
from proxy.invalidation.local import LocalLog
from proxy.invalidation.shared import SharedLog
from proxy.limits.table import Table
from proxy.pipeline import Pipeline
from proxy.recording import WINDOW, OpenSpool, Recording, Spool
from proxy.server.access_log import Books
from proxy.server.connections import Limits
from proxy.server.fastlane import FastLane
from proxy.server.front import Admin, Doorway
from proxy.server.listening import ServerTls
from proxy.server.peers import TrustedProxies
from proxy.server.requests import Reading
from proxy.server.uploads import Uploads
from proxy.settings.model import Settings
from proxy.settings.sections import UpstreamSettings
from proxy.sharing import Link
from proxy.store import Store
from proxy.store.file import FileStore
from proxy.store.file_dir import Role
from proxy.store.file_keeper import Keeper
from proxy.store.file_shared import Tell
from proxy.store.loading import load_store
from proxy.store.memory import MemoryStore
from proxy.store.near import Near
from proxy.store.spool import open_spool
from proxy.upstream.attempt import Timeouts
from proxy.upstream.breaker import Change, Thresholds
from proxy.upstream.fellows import Fellows
from proxy.upstream.health import Check
from proxy.upstream.retry_budget import FREE
from proxy.upstream.routes import Route, Routes, Watch
from proxy.upstream.service import service
from proxy.upstream.tls import tls_context

IN_MEMORY = 1 << 20  # bytes of an answer under way that are held before they go to a spool

Clock = Callable[[], float]


def local_log(settings: Settings) -> LocalLog:
    """The journal's, not opened yet; it lies beside the token."""
    path = settings.admin.token_file.parent / "journal"
    return LocalLog(path, settings.journal.records, shares=settings.redis.enabled)


def shared_log(settings: Settings, log: LocalLog, link: Link) -> SharedLog:
    """The journal that instances share, not started yet; `log` is opened."""
    strict = settings.redis.on_loss == "strict"
    return SharedLog(log, link.server, link.names, records=settings.journal.records, strict=strict)


def memory_store(settings: Settings, clock: Clock) -> MemoryStore | None:
    """The memory tier, None when it is off."""
    memory = settings.memory
    if not memory.on:
        return None
    return MemoryStore(
        max_entries=memory.max_entries,
        max_bytes=memory.max_bytes,
        max_object=memory.max_object,
        eviction=memory.eviction,
        ttl=memory.ttl,
        variants=settings.limits.variants,
        clock=clock,
    )


def file_store(settings: Settings, clock: Clock, workers: int = 1, tell: Tell | None = None) -> FileStore | None:
    """The file tier, not opened yet; None when it is off. The token and the journal lie beside its own directory. One
    of several workers has a `tell`, which leads to their parent's keeper."""
    file = settings.file
    if not file.on or file.store is not None:
        return None
    return FileStore(
        file.dir / "answers",
        max_bytes=file.max_bytes,
        max_object=file.max_object,
        eviction=file.eviction,
        variants=settings.limits.variants,
        clock=clock,
        role=Role.ALONE if tell is None else Role.WORKER,
        workers=workers,
        tell=tell,
    )


def keeper(settings: Settings, clock: Clock) -> Keeper | None:
    """The file tier as the parent of several workers sees it, not opened yet; None when it is off."""
    file = settings.file
    if not file.on or file.store is not None:
        return None
    return Keeper(
        file.dir / "answers",
        max_bytes=file.max_bytes,
        eviction=file.eviction,
        variants=settings.limits.variants,
        clock=clock,
    )


def own_store(settings: Settings) -> Store | None:
    """The operator's own store that takes the file tier's place; ConfigError when it cannot be made."""
    file = settings.file
    if not file.on or file.store is None:
        return None
    return load_store(file.store, file.options, place="file.store")


def recording(settings: Settings, spool: OpenSpool | None, *, pressed: bool = False) -> Recording:
    """An empty one. Without a spool an answer is given up when neither memory nor Redis would take it; with one, it
    goes there early where memory is `pressed`."""
    if spool is None:
        limit = settings.memory.max_object if settings.memory.on else 0
        limit = max(limit, settings.redis.max_object if settings.redis.enabled else 0)
        return Recording(memory=limit, limit=limit)
    near = settings.memory.max_object if settings.memory.on else 0
    held = WINDOW if pressed else max(IN_MEMORY, near)
    return Recording(memory=held, limit=max(settings.file.max_object, near), open_spool=spool)


def spool_of(file: FileStore) -> OpenSpool:
    async def opened() -> Spool | None:
        return await open_spool(file.directory)

    return opened


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What services are not told by their own settings. `clock` is wall time; `full` tells that memory has no room for
    another call; `on_change` hears what becomes of the breaker of which service; `fellows` are the other workers, for
    the service of an identity."""

    via_name: str
    watch: Watch
    clock: Clock
    monotonic: Clock
    full: Callable[[], bool]
    on_change: Callable[[str, Change], None]
    fellows: Callable[[str], Fellows]


def routes(settings: Settings, around: Surroundings, before: tuple[Settings, Routes] | None = None) -> Routes:
    """Every service by name, "" the main one. Those whose settings are the same as `before` go on as they are."""
    old, kept = (_sections(before[0]), before[1].by_name) if before is not None else ({}, {})
    free = max(1, FREE // settings.listen.workers)
    made = {
        name: kept[name] if old.get(name) == section else _route(name, section, free, around)
        for name, section in _sections(settings).items()
    }
    return Routes(made, around.via_name, around.watch, full=around.full)


def _sections(settings: Settings) -> dict[str, UpstreamSettings]:
    return {"": settings.upstream, **settings.upstreams}


def _route(name: str, section: UpstreamSettings, free: int, around: Surroundings) -> Route:
    place = f"upstreams.{name}" if name else "upstream"
    secure = any(url.startswith("https:") for url in section.url)
    identity = _identity(name, section)
    added = tuple((header, secret.get_secret_value()) for header, secret in section.headers.items())
    pool = service(
        section.url,
        timeouts=Timeouts(
            section.connect_timeout, section.first_byte_timeout, section.read_timeout, section.total_timeout
        ),
        tls=tls_context(section.ca_file, section.verify_tls, section.client_cert, section.client_key, place=place)
        if secure
        else None,
        max_connections=section.max_connections,
        max_in_flight=section.max_in_flight,
        max_queue=section.max_queue,
        retries=section.retries,
        retry_budget=section.retry_budget,
        free_retries=free,
        breaker=_thresholds(section),
        on_change=partial(around.on_change, name),
        health_check=_check(section, added),
        fellows=around.fellows(identity),
        wall=around.clock,
        monotonic=around.monotonic,
    )
    return Route(
        pool,
        base_path=urlsplit(section.url[0]).path,
        strip_prefix=section.strip_prefix or "",
        added=added,
        preserve_host=section.preserve_host,
        forward_client_ip=section.forward_client_ip,
        identity=identity,
    )


def _identity(name: str, section: UpstreamSettings) -> str:
    """What workers mean by this service: what is not divided among them, and says whom they ask and when it has
    failed."""
    shared = section.model_dump_json(include={"url", "breaker", "health_check"})
    return f"{name} {sha256(shared.encode()).hexdigest()[:16]}"


def _check(section: UpstreamSettings, added: Pairs) -> Check | None:
    check = section.health_check
    return Check(check.path, check.interval, check.healthy, check.unhealthy, added) if check else None


def _thresholds(section: UpstreamSettings) -> Thresholds:
    """A probe has as long as a call may take to its first byte."""
    breaker = section.breaker
    return Thresholds(
        breaker.error_rate,
        breaker.min_requests,
        breaker.window,
        breaker.consecutive,
        breaker.open_for,
        breaker.max_open,
        section.connect_timeout + section.first_byte_timeout,
        inf if breaker.slow_call_duration is None else breaker.slow_call_duration,
        breaker.slow_call_rate,
    )


def patience(settings: Settings) -> Patience:
    return Patience(settings.flight.wait, settings.upstream.total_timeout or 300.0)


def door_limits(settings: Settings, connections: int) -> Limits:
    """`connections` is what the operating system allows."""
    limits, timeouts = settings.limits, settings.timeouts
    return Limits(
        request_line=limits.request_line,
        header=limits.header,
        header_count=limits.header_count,
        connections=min(limits.connections, connections),
        head=timeouts.head,
        keep_alive=timeouts.keep_alive,
        pipelined=limits.pipelined,
        send_idle=timeouts.send_idle,
    )


def fast_lane(
    settings: Settings,
    pipeline: Pipeline,
    nearest: Near | None,
    doorway: Doorway,
    admin: Admin,
    books: Books,
    clock: Clock,
) -> FastLane | None:
    """None when it is off, or when memory is, from which it answers."""
    limits = settings.limits
    if not settings.listen.fast_lane or nearest is None:
        return None
    return FastLane(
        pipeline,
        nearest,
        doorway.reading,
        admin,
        books,
        largest=min(limits.request_line, limits.header, limits.headers),
        most=limits.header_count,
        pipelined=limits.pipelined,
        clock=clock,
        timer=time.perf_counter,
    )


def table(settings: Settings, clock: Clock) -> Table:
    """What counts the requests of limited rules in one process. `clock` is monotonic."""
    return Table(clock, clients=settings.limits.rate_clients, times=settings.limits.rate_times)


def reading(settings: Settings, trusts: Callable[[str], bool]) -> Reading:
    return Reading(TrustedProxies(settings.listen.trusted_proxies), trusts, settings.limits.headers)


def uploads(settings: Settings) -> Uploads:
    return Uploads(max_body=settings.limits.body, idle=settings.timeouts.body_idle)


def server_tls(settings: Settings) -> ServerTls | None:
    """Our certificate, None for plain HTTP."""
    listen = settings.listen
    if listen.tls_cert is None:
        return None
    return ServerTls(Path(listen.tls_cert), listen.tls_key)
