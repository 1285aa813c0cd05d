"""Where a sitemap is read from: a file, its site, or, for a bare path, the site as the gateway serves it."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import aiohttp
from yarl import URL

from proxy.cli.sitemap import LARGEST, Read, Unfit

_TIMEOUT = aiohttp.ClientTimeout(total=120, sock_connect=5)


def reader(place: str, gateway_url: str, site: str | None) -> Read:
    """Reads the sitemap at `place` and those that it names. Unfit where one cannot be had."""
    if place.startswith(("http://", "https://")):
        return lambda url: _asked(URL(url), {})
    if not place.startswith("/") or Path(place).is_file():
        return lambda path: _asked(URL(path), {}) if "://" in path else _file(Path(path))
    gate = URL(gateway_url)

    def through(url: str) -> bytes:
        named = URL(url)
        host = named.host_port_subcomponent or site
        target = gate.join(URL(named.raw_path_qs, encoded=True))
        return _asked(target, {"Host": host} if host else {})

    return through


def _file(path: Path) -> bytes:
    try:
        if path.stat().st_size > LARGEST:
            raise Unfit(f"larger than {LARGEST >> 20} MiB")
        return path.read_bytes()
    except OSError as error:
        raise Unfit(error.strerror or str(error)) from None


def _asked(url: URL, headers: Mapping[str, str]) -> bytes:
    try:
        return asyncio.run(_fetched(url, headers))
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise Unfit(str(error) or "no answer in time") from None


async def _fetched(url: URL, headers: Mapping[str, str]) -> bytes:
    async with (
        aiohttp.ClientSession(timeout=_TIMEOUT) as session,
        session.get(url, headers=headers, allow_redirects=False) as answer,
    ):
        if answer.status != 200:
            raise Unfit(f"status {answer.status} {answer.headers.get('Location', '')}".rstrip())
        raw = b""
        async for part in answer.content.iter_chunked(1 << 16):
            raw += part
            if len(raw) > LARGEST:
                raise Unfit(f"larger than {LARGEST >> 20} MiB")
        return raw
