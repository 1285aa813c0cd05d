"""From settings to a gateway that runs: as an aiohttp application, and as the program `cachegate serve`."""

import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from socket import socket
from typing import Any

from aiohttp import web

from proxy import building
from proxy.gateway import Gateway
from proxy.observe.counters import Counters
from proxy.observe.logs import setup
from proxy.obstacles import refuse_own_address
from proxy.server.connections import Gate
from proxy.server.lifecycle import Drain, Port, Signals
from proxy.server.lifecycle import serve as serve_ports
from proxy.server.listening import bind, check_parser, raise_nofile, urls
from proxy.settings import settings_from
from proxy.settings.load import Loaded
from proxy.settings.model import Settings

_log = logging.getLogger("cachegate")


def create_app(settings: Settings | Mapping[str, Any] | str | Path) -> web.Application:
    """The gateway as an aiohttp application, from settings, a dict of them, or the path of a YAML file.

    It can be run by `aiohttp.web.run_app` or put into another application by `add_subapp`.
    """
    return Gateway(settings_from(settings)).app()


async def serve(loaded: Loaded, *, reload: Callable[[], Loaded], allow_python_parser: bool = False) -> int:
    """Run one gateway until SIGTERM; the exit code. ConfigError when it cannot start. `reload` reads the settings
    again, and refuses those with `obstacles`."""
    settings = loaded.settings
    check_parser(allow_python_parser=allow_python_parser)
    public = bind(settings.listen.host, settings.listen.port)
    admin = bind(settings.admin.host, settings.admin.port, "admin") if settings.admin.port is not None else ()
    taken = [sock.getsockname()[:2] for sock in (*public, *admin)]
    refuse_own_address(settings, taken)

    def again() -> Loaded:
        found = reload()
        refuse_own_address(found.settings, taken)
        return found

    writer = setup(settings.log.level, settings.log.format or ("text" if sys.stderr.isatty() else "json"))
    try:
        _warn(loaded)
        gateway = Gateway(loaded, source=again, access=writer)
        await gateway.start()
        try:
            return await _run(gateway, public, admin, loaded.file)
        finally:
            await gateway.close()
    finally:
        writer.close()


async def _run(gateway: Gateway, public: Sequence[socket], admin: Sequence[socket], file: Path | None) -> int:
    settings = gateway.settings
    limits = building.door_limits(settings, raise_nofile())
    tls = building.server_tls(settings)
    if tls is not None:
        gateway.configuration.renew = tls.reload
    front = Port(public, gateway.front, Gate(gateway.front, gateway.counters, limits), tls)
    desk = None
    if gateway.admin_front is not None:
        desk = Port(admin, gateway.admin_front, Gate(gateway.admin_front, Counters(), limits))

    def announce() -> None:
        upstream = ", ".join(settings.upstream.url)
        for url in urls(public, tls=tls is not None):
            _log.info("cachegate listens on %s, in front of %s; admin token %s", url, upstream, gateway.token.place)

    return await serve_ports(
        front,
        desk,
        gateway.readiness,
        Signals(),
        Drain(settings.listen.drain_delay, settings.listen.drain),
        reload=gateway.configuration.reload,
        watched=file,
        announce=announce,
    )


def _warn(loaded: Loaded) -> None:
    """What the operator should know before the first request."""
    settings = loaded.settings
    for warning in loaded.warnings:
        _log.warning("%s", warning)
    if settings.redis.enabled:
        _log.warning("redis.enabled: this version has no Redis tier yet; it serves from memory and files alone")
    if settings.listen.workers > 1:
        _log.warning("listen.workers: this version runs one worker, not %d", settings.listen.workers)
    if os.environ.get("AIOHTTP_NO_EXTENSIONS"):
        _log.warning("AIOHTTP_NO_EXTENSIONS is set: requests are read by aiohttp's slow and lenient parser")
