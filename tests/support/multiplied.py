"""A Redis with very many answers, in no time: one that a gateway stored is written again under other paths.

async with serving(origin, RULES, "--redis-url", redis.url) as gateway:
    await gateway.get("/m/0")
    await multiply(redis, 200_000)          # /m/1, /m/2, ... as if each had been asked for
"""

from dataclasses import replace
from typing import Any

from proxy.entry import Entry
from proxy.redis.keys import Names
from proxy.store.packing import PackedBody
from proxy.store.redis_record import framed, opened, seal
from tests.support.redis_servers import RedisServer

NAMES = Names("proxy:cache:")
BATCH = 2_000  # SETs of one pipeline
MANY = 10  # entries that share a tag


async def stored(redis: RedisServer, names: Names = NAMES) -> Entry:
    """The one answer that lies there. AssertionError when it is not one."""
    keys = [key async for key in redis.client().scan_iter(names.entries)]
    assert len(keys) == 1, keys
    found = names.parse_entry(keys[0])
    assert found is not None
    return opened(found.name, await redis.command("GET", keys[0]), 1 << 20)


async def multiply(redis: RedisServer, number: int, names: Names = NAMES) -> None:
    """Write the one answer that lies there `number` times more, with the tag `of:<n>` for every MANY of them."""
    first = await stored(redis, names)
    life = await redis.command("PTTL", names.entry(first.hash))
    sealed = seal(await _content(first), packs=False)
    base = first.parts.path.rpartition("/")[0]
    async with redis.client() as client:
        for start in range(1, number + 1, BATCH):
            pipeline: Any = client.pipeline(transaction=False)
            for n in range(start, min(start + BATCH, number + 1)):
                parts = replace(first.parts, path=f"{base}/{n}")
                one = replace(first, parts=parts, hash=parts.digest(), tags=(f"of:{n // MANY}",))
                pipeline.set(names.entry(one.hash), framed(one, sealed), px=life)
            await pipeline.execute()


async def _content(entry: Entry) -> bytes:
    assert not isinstance(entry.body, PackedBody)
    return b"".join([chunk async for chunk in entry.body.read()])
