"""What can be wrong with a Redis behind a network, by name.

trouble = Trouble(redis, network)
await trouble.begin("full")
await trouble.end("full")
"""

from tests.support.faults import FIN, RST, Cut, Delay, FaultProxy, Pass, Refuse
from tests.support.redis_servers import RedisServer

TROUBLES = ["killed", "stopped", "slow", "too slow", "refusing", "cutting replies", "full", "read-only", "locked"]


class Trouble:
    """What can be wrong with a Redis, and how it is put right."""

    def __init__(self, redis: RedisServer, network: FaultProxy) -> None:
        self.redis = redis
        self.network = network

    async def begin(self, name: str) -> None:
        match name:
            case "killed":
                await self.redis.kill()
            case "stopped":
                self.redis.stop()
            case "slow":
                await self.network.become(Delay(0.1))
            case "too slow":
                await self.network.become(Delay(1.0))
            case "refusing":
                await self.network.become(Refuse())
                self.network.cut(RST)
            case "cutting replies":
                await self.network.become(Cut(after=100, by=FIN))
            case "full":
                await self.redis.command("CONFIG", "SET", "maxmemory", "1", "maxmemory-policy", "noeviction")
            case "read-only":
                await self.redis.command("REPLICAOF", "127.0.0.1", 1)
            case "locked":
                await self.redis.command("CONFIG", "SET", "requirepass", "changed")
                self.network.cut(FIN)
            case _:
                raise AssertionError(name)

    async def end(self, name: str) -> None:
        await self.network.become(Pass())
        match name:
            case "killed":
                await self.redis.start()
            case "stopped":
                self.redis.cont()
            case "full":
                await self.redis.command("CONFIG", "SET", "maxmemory", "0")
            case "read-only":
                await self.redis.command("REPLICAOF", "NO", "ONE")
            case "locked":
                async with self.redis.client(password="changed") as client:
                    await client.execute_command("CONFIG", "SET", "requirepass", "")
