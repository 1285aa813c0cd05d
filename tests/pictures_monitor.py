"""`python -m tests.pictures_monitor`: what `cachegate monitor` draws of a real gateway under varied traffic, as
docs/pictures/monitor.svg."""

import asyncio
import io
import random
import re
import sys
import time
from pathlib import Path

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer
from aiohttp.typedefs import Handler
from rich.console import Console

from proxy.cli.client import Gateway
from proxy.cli.monitor import look
from proxy.cli.trend import Trend
from proxy.cli.view import picture
from tests.support.gateway import TOKEN
from tests.support.process import Process, serving
from tests.support.redis_servers import redis_server

PLACE = Path(__file__).parent.parent / "docs" / "pictures" / "monitor.svg"
SECONDS, EVERY = 40.0, 1.0
CLIENTS = 6
COLUMNS, LINES = 104, 34
RULES = {
    "rules": [
        {"name": "users", "pattern": "*/users/*", "ttl": 20},
        {"name": "search", "pattern": "*/search", "ttl": 3, "cost": 0.002},
        {"name": "assets", "pattern": "/assets/*", "ttl": 3600},
        {"name": "orders", "pattern": "*/orders/*", "ttl": 0},
    ],
    "memory": {"max_entries": 120},
}
SEEN_AS = "http://127.0.0.1:4000"  # the port of whoever reads the page


def site() -> web.Application:
    """A shop whose pages take as long as such pages do."""

    def page(seconds: float, size: int, **headers: str) -> Handler:
        async def answer(request: web.Request) -> web.Response:
            await asyncio.sleep(seconds)
            if "ETag" in headers and request.headers.get("If-None-Match") == headers["ETag"]:
                return web.Response(status=304, headers={"ETag": headers["ETag"]})
            return web.Response(
                body=b"x" * size, headers={name.replace("_", "-"): text for name, text in headers.items()}
            )

        return answer

    app = web.Application()
    app.router.add_get("/api/users/{number}", page(0.06, 700))
    app.router.add_get("/assets/{name}", page(0.01, 20_000))
    app.router.add_get("/api/search", page(0.35, 4_000))
    app.router.add_get("/api/orders/{number}", page(0.09, 900, ETag='"1"'))
    app.router.add_get("/checkout", page(0.15, 300, Cache_Control="no-store"))
    return app


async def browse(gateway: Process, until: float, luck: random.Random) -> None:
    """One client: few pages are asked for often, many now and then, in waves."""
    async with aiohttp.ClientSession() as session:
        while time.monotonic() < until:
            popular = min(int(luck.paretovariate(0.9)), 299)
            path = luck.choices(
                (
                    f"/api/users/{popular}",
                    f"/assets/{popular}.js",
                    f"/api/search?q={min(popular, 40)}",
                    f"/api/orders/{popular}",
                    "/checkout",
                ),
                (40, 35, 12, 8, 5),
            )[0]
            headers = {"Host": "shop.example"}
            async with session.get(f"{gateway.url}{path}", headers=headers) as answer:
                await answer.read()
            wave = 1 + (int(time.monotonic()) // 8) % 3
            await asyncio.sleep(luck.expovariate(25 * wave))


async def watch(gateway: Process, until: float) -> Trend:
    trend, gate = Trend(240), Gateway(gateway.url, "/cache", TOKEN)
    while time.monotonic() < until:
        stats, _ = await asyncio.to_thread(look, gate)
        trend.add(time.monotonic(), stats)
        await asyncio.sleep(EVERY)
    return trend


async def drawn() -> str:
    """The picture, as SVG that asks for nothing elsewhere."""
    async with TestServer(site()) as origin, redis_server() as redis:
        url, settings = str(origin.make_url("")).rstrip("/"), RULES | {"redis": {"url": redis.url}}
        async with serving(url, settings) as gateway:
            await gateway.connected()
            until = time.monotonic() + SECONDS
            clients = [browse(gateway, until, random.Random(number)) for number in range(CLIENTS)]
            trend, *_ = await asyncio.gather(watch(gateway, until), *clients)
    console = Console(record=True, width=COLUMNS, height=LINES, file=io.StringIO(), force_terminal=True)
    console.print(picture(SEEN_AS, trend, "", 2.0, COLUMNS, LINES))
    svg = console.export_svg(title="cachegate monitor")
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)


if __name__ == "__main__":
    PLACE.parent.mkdir(exist_ok=True)
    PLACE.write_text(asyncio.run(drawn()))
    sys.stdout.write(f"{PLACE}: {PLACE.stat().st_size:,} bytes\n")
