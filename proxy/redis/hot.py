"""Which answers are asked for most, over all instances: what a new instance would like to have in memory at once.

A key's score is the time of its last count, in seconds, plus ten minutes for each doubling of its hits since the count
before. So what is hot now beats what was hotter an hour ago, nothing has to be aged, and the best score stands whoever
counted.
"""

from collections.abc import Mapping
from math import log2

from proxy.redis.keys import Names
from proxy.redis.server import Script, Server

KEPT = 2000  # keys
COUNTED = 500  # keys that one instance tells at a time
DOUBLING = 600.0  # seconds that twice the hits are worth
_LIFE = 7 * 24 * 3600  # seconds

_TELL = Script(
    """
    local now = tonumber(redis.call('TIME')[1])
    for i = 3, #ARGV, 2 do
      local score = string.format('%.3f', now + tonumber(ARGV[i + 1]))
      local known = redis.call('ZSCORE', KEYS[1], ARGV[i])
      if not known or tonumber(known) < tonumber(score) then redis.call('ZADD', KEYS[1], score, ARGV[i]) end
    end
    redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - tonumber(ARGV[1]))
    redis.call('EXPIRE', KEYS[1], ARGV[2])
    return redis.call('ZCARD', KEYS[1])
    """
)


async def tell(server: Server, names: Names, hits: Mapping[str, int]) -> int:
    """Count the hits of keys since the last time; how many keys are kept now. RedisError."""
    most = sorted(hits.items(), key=lambda item: -item[1])[:COUNTED]
    words = [word for key, count in most if count > 0 for word in (key, f"{DOUBLING * log2(count):.3f}")]
    if not words:
        return 0
    return int(await server.script(_TELL, [names.hot], KEPT, _LIFE, *words))


async def hottest(server: Server, names: Names, limit: int) -> list[str]:
    """Keys as in `Entry.key`, the hottest first. RedisError."""
    found = await server.call("ZREVRANGE", names.hot, 0, limit - 1)
    return [key.decode("latin-1") for key in found]
