"""The services behind the gateway, made from their sections of the settings."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from math import inf
from urllib.parse import urlsplit

from proxy.entry import Pairs
from proxy.settings.model import Settings
from proxy.settings.sections import UpstreamSettings
from proxy.tracing import PLAIN, Parts
from proxy.upstream.attempt import Timeouts
from proxy.upstream.breaker import Change, Thresholds
from proxy.upstream.fellows import Fellows
from proxy.upstream.health import Check
from proxy.upstream.retry_budget import FREE
from proxy.upstream.routes import Route, Routes, Watch
from proxy.upstream.service import service
from proxy.upstream.tls import tls_context

Clock = Callable[[], float]


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
    parts: Parts = PLAIN


def services(settings: Settings, around: Surroundings, before: tuple[Settings, Routes] | None = None) -> Routes:
    """Every service by name, "" the main one. Those whose settings are the same as `before` go on as they are."""
    old, kept = (_sections(before[0]), before[1].by_name) if before is not None else ({}, {})
    free = max(1, FREE // settings.listen.workers)
    made = {
        name: kept[name] if old.get(name) == section else _route(name, section, free, around)
        for name, section in _sections(settings).items()
    }
    return around.parts.routes(made, around.via_name, around.watch, full=around.full)


def _sections(settings: Settings) -> dict[str, UpstreamSettings]:
    """There may be no main one within a program (`embed`)."""
    return ({"": settings.upstream} if settings.upstream.url else {}) | settings.upstreams


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
        retried=around.watch.retried,
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
