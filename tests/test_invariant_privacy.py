"""Nothing that is bound to a person is shared (invariant 4), and no answer is given to another request (5)."""

import asyncio
from contextlib import suppress

import pytest

from tests.support.origin import Origin
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
