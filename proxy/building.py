"""Single parts, made from their sections of the settings."""

import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from secrets import token_hex
from typing import Any

from proxy.alarm import Row
from proxy.errors import ConfigError, Problem
from proxy.flight import wake
from proxy.flying import Patience
from proxy.insight.bodiless import Ledger
from proxy.instant import AtOnce
from proxy.invalidation.local import LocalLog
from proxy.invalidation.shared import SharedLog
from proxy.limits.table import Table
from proxy.observe.counters import Counters
from proxy.observe.minutes_file import MinutesFile
from proxy.policy.pricing import Price
from proxy.recording import WINDOW, OpenSpool, Recording, Spool
from proxy.redis.minutes import RedisMinutes
from proxy.remembering import Remembering
from proxy.server.access_log import Books
from proxy.server.fastlane import FastLane
from proxy.server.front import Admin, Doorway
from proxy.server.http1 import Limits
from proxy.server.listening import ServerTls, allowed_files
from proxy.server.peers import TrustedProxies
from proxy.server.requests import Reading
from proxy.server.uploads import Uploads
from proxy.settings.compile import rule_names
from proxy.settings.model import Settings
from proxy.settings.sections import MemorySettings
from proxy.sharing import Link
from proxy.store import Store
from proxy.store.file import FileStore
from proxy.store.file_dir import Role
from proxy.store.file_keeper import Keeper
from proxy.store.file_shared import Tell
from proxy.store.loading import load_store
from proxy.store.memory import MemoryStore
from proxy.store.spool import open_spool
from proxy.tracing import Parts, Telemetry
from proxy.warming import Bounds

OPEN_SHARE = 4  # of the files that may be open, one in four may be an answer's
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


def remembering(settings: Settings, link: Link | None, counted: Callable[[], Counters], clock: Clock) -> Remembering:
    """The history of the instance. It outlives this process in Redis, else in a file beside the journal; what Redis has
    not got when the process ends waits in another file there."""
    own, place = token_hex(8), settings.admin.token_file.parent
    if link is None:
        return Remembering(counted, MinutesFile(place / "history", own), clock)
    minutes = RedisMinutes(link.server, link.names, own)
    return Remembering(counted, minutes, clock, MinutesFile(place / "history.unsent", own))


def open_files(settings: Settings) -> int:
    """How many files of answers are kept open, where files answer next after memory and for one process alone."""
    if not settings.file.on or settings.redis.enabled or settings.listen.workers > 1:
        return 0
    return min(settings.limits.open_files, allowed_files() // OPEN_SHARE)


def shadow_ledger(settings: Settings) -> Ledger:
    """What memory would hold, had it the answers of rules in shadow."""
    memory = settings.memory if settings.memory.on else MemorySettings()
    return Ledger(
        memory.eviction,
        max_entries=memory.max_entries,
        max_bytes=memory.max_bytes,
        max_object=memory.max_object,
        variants=settings.limits.variants,
        ttl=memory.ttl,
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
        open_files=open_files(settings),
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


def recordings(settings: Settings, spool: OpenSpool | None) -> Callable[[bool], Recording]:
    """Makes empty ones. Without a spool an answer is given up when neither memory nor Redis would take it; with one, it
    goes there early where memory is pressed, which is what the maker is told."""
    near = settings.memory.max_object if settings.memory.on else 0
    if spool is None:
        limit = max(near, settings.redis.max_object if settings.redis.enabled else 0)
        return lambda pressed: Recording(memory=limit, limit=limit)
    held, limit = max(IN_MEMORY, near), max(settings.file.max_object, near)
    return lambda pressed: Recording(memory=WINDOW if pressed else held, limit=limit, open_spool=spool)


def spool_of(file: FileStore) -> OpenSpool:
    async def opened() -> Spool | None:
        return await open_spool(file.directory)

    return opened


def patience(settings: Settings) -> Patience:
    return Patience(Row(settings.flight.wait, wake), Row(settings.upstream.total_timeout or 300.0, wake))


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
    settings: Settings, at_once: AtOnce, doorway: Doorway, admin: Admin, books: Books, clock: Clock, parts: Parts
) -> FastLane | None:
    """None when it is off."""
    limits = settings.limits
    if not settings.listen.fast_lane:
        return None
    return parts.lane(
        at_once,
        doorway.reading,
        admin,
        books,
        largest=min(limits.request_line, limits.header, limits.headers),
        most=limits.header_count,
        pipelined=limits.pipelined,
        clock=clock,
        timer=time.monotonic,
    )


def costs(settings: Settings) -> dict[str, float]:
    """The money that each upstream call of a rule costs, by the rule's name, where it is a fixed price."""
    named = zip(rule_names(settings), settings.rules, strict=True)
    return {name: rule.cost.each for name, rule in named if rule.cost is not None and rule.cost.json_ is None}


def prices(settings: Settings) -> dict[str, Price]:
    """Where answers tell what each of them cost, by the rule's name."""
    named = zip(rule_names(settings), settings.rules, strict=True)
    costs = {name: rule.cost for name, rule in named if rule.cost is not None}
    return {name: Price(tuple(cost.json_.split(".")), cost.each) for name, cost in costs.items() if cost.json_}


def table(settings: Settings, clock: Clock) -> Table:
    """What counts the requests of limited rules in one process. `clock` is monotonic."""
    return Table(clock, clients=settings.limits.rate_clients, times=settings.limits.rate_times)


def reading(settings: Settings, trusts: Callable[[str], bool]) -> Reading:
    return Reading(TrustedProxies(settings.listen.trusted_proxies), trusts, settings.limits.headers)


def bounds_of_warming(settings: Settings) -> Bounds:
    warm = settings.warm
    return Bounds(warm.max_urls, warm.concurrency, warm.rate)


def uploads(settings: Settings) -> Uploads:
    return Uploads(max_body=settings.limits.body, idle=settings.timeouts.body_idle)


def telemetry(settings: Settings, name: str, worker: int) -> Telemetry:
    """What is told to a collector; one of several workers tells the figures of all. ConfigError where OpenTelemetry is
    wanted and not installed."""
    tracing = settings.observe.tracing
    if tracing.endpoint is None:
        return Telemetry()
    headers = {header: value.get_secret_value() for header, value in tracing.headers.items()}
    said = {"cachegate.name": name, "cachegate.worker": worker}
    collector = otlp().Collector(tracing.endpoint, headers, tracing.service_name, said)
    return Telemetry(collector, tracing.ratio, figures=tracing.metrics and worker == 0)


def otlp() -> Any:
    """The module that knows OpenTelemetry; to import it takes a third of a second. ConfigError where it cannot be."""
    try:
        return import_module("proxy.observe.otlp")
    except ImportError as error:
        text = f"wants OpenTelemetry beside the gateway: pip install 'cachegate[otel]' ({error})"
        raise ConfigError((Problem("observe.tracing.endpoint", text),)) from error


def server_tls(settings: Settings) -> ServerTls | None:
    """Our certificate, None for plain HTTP."""
    listen = settings.listen
    if listen.tls_cert is None:
        return None
    return ServerTls(Path(listen.tls_cert), listen.tls_key)
