"""`make pictures`: the dashboard as it looks before real traffic, for docs/pictures/.

A gateway over Redis, an origin of many kinds of answers, three minutes of clients with habits; then the page in a
browser. What is random comes from a seed, so that two runs differ in the clock more than in anything else.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import aiohttp
from aiohttp import web

from tests.support.browser import Page, browser
from tests.support.gateway import HOST, TOKEN
from tests.support.process import Process, serving
from tests.support.redis_servers import redis_server

PLACE = Path(__file__).parent.parent / "docs" / "pictures"
SECONDS = 150.0  # of traffic
RATE = 25.0  # requests a second
SETTINGS = {
    "rules": [
        {"name": "users", "pattern": "/api/users/*", "ttl": 120, "tags": ["user-{path[2]}"], "cost": 0.002},
        {"name": "products", "pattern": "/api/products/**", "ttl": 300},
        {"name": "search", "pattern": "/search", "ttl": 60, "cost": 0.01},
        {"name": "reports", "pattern": "/reports/*", "ttl": 600, "mode": "shadow"},
        {"name": "static", "pattern": "/static/**", "ttl": 3600},
    ]
}
FIELDS = {
    "cart": {"Cache-Control": "no-store"},
    "account": {"Cache-Control": "private"},
    "news": {"Cache-Control": "max-age=3, stale-while-revalidate=20"},
    "session": {"Set-Cookie": "sid=1"},
}
SLOW = {"search": 0.12, "reports": 0.5}


def target(random: Random) -> str:
    """What a client asks for next."""
    kind = random.choices(
        ["users", "products", "static", "search", "news", "cart", "account", "reports", "session"],
        [40, 22, 18, 7, 5, 3, 2, 2, 1],
    )[0]
    popular = int(random.paretovariate(1.1))
    return {
        "users": f"/api/users/{popular % 500}",
        "products": f"/api/products/{popular % 900}/detail",
        "static": f"/static/app/{random.randrange(40)}.js",
        "search": f"/search?q={random.choice(['shoes', 'hats', 'coats'])}&ts={random.randrange(9999)}",
        "cart": f"/cart/{random.randrange(9)}",
        "account": f"/account/{random.randrange(9)}",
        "reports": f"/reports/{random.randrange(5)}",
    }.get(kind, f"/{kind}")


@asynccontextmanager
async def origin() -> AsyncIterator[str]:
    """Its URL."""
    random = Random(1)

    async def answer(request: web.Request) -> web.Response:
        kind = request.path.split("/")[1]
        await asyncio.sleep(SLOW.get(kind, 0.03) * random.uniform(0.6, 1.4))
        return web.Response(body=b"x" * random.randrange(500, 40_000), headers=FIELDS.get(kind, {}))

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def traffic(gateway: Process) -> None:
    """Clients, for ever."""
    random = Random(2)

    async def one(session: aiohttp.ClientSession) -> None:
        async with session.get(gateway.url + target(random), headers={"Host": HOST}) as got:
            await got.read()

    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session, asyncio.TaskGroup() as clients:
        while True:
            clients.create_task(one(session))
            await asyncio.sleep(random.expovariate(RATE))


async def take(page: Page, name: str, view: str, width: int, height: int, *, dark: bool = False) -> None:
    await page.view(width, height, dark=dark)
    await page.evaluate(f"location.hash = '{view}'")
    await page.shows("main h1", "")
    await asyncio.sleep(3)  # two looks of the page at its figures
    (PLACE / f"{name}.png").write_bytes(await page.picture())


async def main() -> None:
    PLACE.mkdir(exist_ok=True)
    async with origin() as upstream, redis_server() as redis, browser() as chromium, chromium.page() as page:
        settings = {**SETTINGS, "redis": {"enabled": True, "url": redis.url}}
        async with serving(upstream, settings) as gateway:
            await gateway.connected()
            clients = asyncio.create_task(traffic(gateway))
            await page.view(1280, 860)
            await page.open(f"{gateway.url}/cache/dashboard")
            await page.click("#unlock")
            await page.until("document.activeElement.id === 'token-value'")
            await page.write(TOKEN)
            await page.press("Enter")
            await asyncio.sleep(SECONDS)
            await take(page, "overview", "overview", 1280, 860)
            await take(page, "overview-dark", "overview", 1280, 860, dark=True)
            await take(page, "phone", "overview", 390, 844)
            asked = f"explain=http%3A%2F%2F{HOST}%2Fsearch%3Fq%3Dshoes%26ts%3D7"
            await take(page, "explain", asked, 1280, 860)
            clients.cancel()
            await asyncio.wait([clients])


if __name__ == "__main__":
    asyncio.run(main())
