"""Nothing that is bound to a person is shared (invariant 4), and no answer is given to another request (5)."""

import asyncio
from contextlib import suppress

import pytest

from tests.support.origin import Origin, Recorded
from tests.support.persons import KINDS, RULES, Crowd, World
from tests.support.process import instances, serving
from tests.support.redis_servers import redis_server

SETTINGS = {"rules": RULES, "log": {"access": False}}


async def test_fifty_persons_get_what_is_theirs() -> None:
    async with Origin() as origin, serving(origin, SETTINGS) as gateway:
        world, crowd = World(origin), Crowd([gateway.port], seed=1)
        await crowd.walk(persons=50, steps=30)
        assert not crowd.leaks, crowd.leaks[:10]
        assert not crowd.failed
        assert crowd.answers["HIT"] > 100
        assert set(world.asked) == set(KINDS)
        assert "Traceback" not in gateway.log


@pytest.mark.slow
async def test_over_three_instances_while_redis_comes_and_goes() -> None:
    async with redis_server() as redis, Origin() as origin, instances(3, origin, SETTINGS, redis.url) as gateways:
        world, crowd = World(origin), Crowd([gateway.port for gateway in gateways], seed=2)

        async def trouble() -> None:
            while True:
                for seconds, act in ((1.0, redis.stop), (2.0, redis.cont)):
                    await asyncio.sleep(seconds)
                    act()
                await asyncio.sleep(1.0)
                await redis.kill()
                await asyncio.sleep(1.0)
                await redis.start()

        troubled = asyncio.create_task(trouble())
        try:
            await crowd.walk(persons=50, steps=300)
        finally:
            troubled.cancel()
            await asyncio.gather(troubled, return_exceptions=True)
            with suppress(ProcessLookupError):  # dead it need not go on
                redis.cont()
        assert not crowd.leaks, crowd.leaks[:10]
        assert not crowd.failed
        assert crowd.answers["HIT"] > 1000
        assert set(world.asked) == set(KINDS)
        assert not any("Traceback" in gateway.log for gateway in gateways)


PAIR = ("session=a", "session=b")
COOKIE_RULES = [
    {"name": "apart", "pattern": "/me/*", "key": {"cookies": ["session"]}},
    {"name": "refused", "pattern": "/account/*", "mode": "off"},
    {"name": "ours", "pattern": "/ttl/*", "ttl": 60},
]


def whose(request: Recorded) -> bytes:
    return (request.header("cookie") or request.header("authorization") or "-").encode()


async def test_cookies_are_what_the_security_page_says() -> None:
    """An origin that says max-age alone allows every shared cache to share, whoever asked; a rule alone does not."""
    async with Origin() as origin, serving(origin, {"rules": COOKIE_RULES}) as gateway:
        for path in ("/page", "/signed", "/me/page", "/account/page"):
            origin.answer(path, headers=[("Cache-Control", "max-age=60")], body=whose)
        origin.answer("/ttl/page", body=whose)
        origin.answer("/own", headers=[("Cache-Control", "private, max-age=60")], body=whose)

        async def asked(
            path: str, name: str = "Cookie", values: tuple[str, ...] = PAIR
        ) -> list[tuple[str | None, str]]:
            got = [await gateway.ask("GET", path, {name: value}) for value in values]
            return [(each.verdict, each.body.decode()) for each in got]

        assert await asked("/page") == [("MISS", "session=a"), ("HIT", "session=a")]
        assert (await gateway.ask("GET", "/page")).body == b"session=a"
        assert await asked("/signed", "Authorization") == [("MISS", "session=a"), ("MISS", "session=b")]
        assert await asked("/own") == [("MISS", "session=a"), ("MISS", "session=b")]
        assert await asked("/me/page") == [("MISS", "session=a"), ("MISS", "session=b")]
        assert await asked("/me/page") == [("HIT", "session=a"), ("HIT", "session=b")]
        assert await asked("/account/page") == [("BYPASS", "session=a"), ("BYPASS", "session=b")]
        assert (await gateway.ask("GET", "/ttl/page", {"Cookie": "session=a"})).detail == "cookie"
        assert await asked("/ttl/page") == [("MISS", "session=a"), ("MISS", "session=b")]
