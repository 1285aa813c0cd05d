"""What k6 and locust ask: two instances over Redis before the upstream of this suite, until somebody ends it."""

import asyncio
import os
import signal

from tests.load.arena import arena
from tests.load.scenarios import Scenario
from tests.support.gateway import TOKEN
from tests.support.redis_servers import RedisServer

FIELD = Scenario("serve", "for other clients", 10_000, 0, (), instances=2, redis=True, memory=2_500)


async def offered() -> None:
    """Prints the environment that they want. SIGUSR1 kills Redis, and the next one brings it back."""
    async with arena(FIELD) as field:
        assert field.redis is not None
        asked = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, asked.set)
        print(f"export BASE={','.join(gateway.url for gateway in field.gateways)} TOKEN={TOKEN}")
        print(f"kill -USR1 {os.getpid()}  # Redis is killed; again: it is back", flush=True)
        while True:
            await asked.wait()
            asked.clear()
            await _turned(field.redis)


async def _turned(redis: RedisServer) -> None:
    if redis.running:
        await redis.kill()
    else:
        await redis.start()
    print(f"Redis is {'back' if redis.running else 'killed'}", flush=True)
