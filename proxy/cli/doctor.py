"""`cachegate doctor`: try the real things that the settings name, from here, without a running gateway."""

import asyncio
import json
import os
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import aiohttp
import click

from proxy.cli.directory import working_directory
from proxy.cli.options import given, settings_options
from proxy.cli.output import size, table
from proxy.redis.census import info
from proxy.redis.dial import Patience
from proxy.redis.errors import RedisError
from proxy.redis.keys import Names
from proxy.redis.server import Server
from proxy.redis.trial import try_all
from proxy.settings.load import load
from proxy.settings.model import Settings
from proxy.sharing import address_of

State = Literal["ok", "off", "bad"]
COLOURS: dict[State, str] = {"ok": "green", "off": "yellow", "bad": "red"}
PATIENT = Patience(connect=3.0, read=3.0, pool=4)
PARTS = ("redis", "upstream", "file")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was tried. `off` is a choice of the settings and no illness."""

    part: str
    name: str
    state: State
    detail: str = ""


@click.command("doctor")
@click.argument("parts", metavar="[redis|upstream|file]...", nargs=-1, type=click.Choice(PARTS))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@settings_options
def command(parts: tuple[str, ...], as_json: bool, **options: Any) -> int:
    """Try Redis, the upstreams and the cache directory as the settings name them. Exit 0 when all is well, else 1."""
    said = given(options)
    loaded = load(
        config=said.config,
        flags=said.flags,
        sets=said.sets,
        environ=os.environ,
        cwd=working_directory(),
        require_upstream=False,
    )
    findings = asyncio.run(_examine(loaded.settings, parts or PARTS))
    well = all(finding.state != "bad" for finding in findings)
    if as_json:
        click.echo(json.dumps({"ok": well, "findings": [asdict(finding) for finding in findings]}, indent=2))
    else:
        rows = [
            [click.style(each.state, fg=COLOURS[each.state]), each.part, each.name, each.detail] for each in findings
        ]
        click.echo(table(rows, numeric=False))
    return 0 if well else 1


async def _examine(settings: Settings, parts: tuple[str, ...]) -> list[Finding]:
    examinations: dict[str, Callable[[Settings], AsyncIterator[Finding]]] = {
        "redis": _redis,
        "upstream": _upstreams,
        "file": _file,
    }
    return [finding for part in dict.fromkeys(parts) async for finding in examinations[part](settings)]


async def _redis(settings: Settings) -> AsyncIterator[Finding]:
    if not settings.redis.enabled:
        yield Finding("redis", "enabled", "off", "no redis setting is given")
        return
    address = address_of(settings.redis)
    server = Server(address, PATIENT, lambda state, reason: None)
    server.start()
    try:
        if not await server.looked(30.0):
            yield Finding("redis", "connect", "bad", f"{address}: {server.reason}")
            return
        yield Finding("redis", "connect", "ok", f"{address}, {server.mode}")
        async for tried in try_all(server.client, Names(settings.redis.key_prefix)):
            yield Finding("redis", tried.name, "ok" if tried.done else "bad", _told(tried.said, tried.without))
        yield await _memory(server)
    finally:
        await server.close()


async def _memory(server: Server) -> Finding:
    try:
        memory = await info(server, "memory")
    except RedisError as error:
        return Finding("redis", "memory", "off", error.reason)
    used, limit = int(memory.get("used_memory", 0)), int(memory.get("maxmemory", 0))
    policy = str(memory.get("maxmemory_policy", ""))
    of = f" of {size(limit)}" if limit else ", without a limit: set maxmemory, and maxmemory-policy allkeys-lru"
    state: State = "bad" if limit and policy == "noeviction" and used > 0.95 * limit else "ok"
    return Finding("redis", "memory", state, f"{size(used)}{of}{f'; the policy is {policy}' if policy else ''}")


def _told(said: str, without: str) -> str:
    return f"{said}; without it: {without}" if without else said


async def _upstreams(settings: Settings) -> AsyncIterator[Finding]:
    services = {"": settings.upstream, **settings.upstreams}
    if not any(service.url for service in services.values()):
        yield Finding("upstream", "url", "off", "no upstream is set")
    for name, service in services.items():
        path = service.health_check.path if service.health_check else "/"
        for url in service.url:
            yield await _ask(name or "upstream", url, path, verify=service.verify_tls)


async def _ask(name: str, url: str, path: str, *, verify: bool) -> Finding:
    where = url.rstrip("/") + path
    began = time.monotonic()
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10, sock_connect=3)) as session,
            session.get(where, allow_redirects=False, ssl=verify) as answer,
        ):
            took = 1000 * (time.monotonic() - began)
            state: State = "bad" if answer.status >= 500 else "ok"
            return Finding("upstream", name, state, f"GET {where}: {answer.status} in {took:.0f} ms")
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        return Finding("upstream", name, "bad", f"GET {where}: {error or 'no answer in time'}")


async def _file(settings: Settings) -> AsyncIterator[Finding]:
    file = settings.file
    if not file.on:
        yield Finding("file", "enabled", "off", "the file tier is off")
        return
    place = file.dir if file.dir.exists() else next(parent for parent in file.dir.absolute().parents if parent.exists())
    try:
        with tempfile.NamedTemporaryFile(dir=place, prefix=".cachegate-doctor-") as trial:
            trial.write(b"\0" * 4096)
            trial.flush()
        disk = os.statvfs(place)
    except OSError as error:
        yield Finding("file", str(file.dir), "bad", f"cannot be written: {error.strerror or error}")
        return
    free = disk.f_bavail * disk.f_frsize
    enough: State = "ok" if free > min(file.max_bytes, 64 * 1024 * 1024) else "bad"
    yield Finding("file", str(file.dir), enough, f"writable, {size(free)} free, file.max_bytes {size(file.max_bytes)}")
