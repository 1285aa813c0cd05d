"""Windows in Redis, one key a client and rule: each decision is one step there, by the clock of the server that holds
the key, and exact over all instances. The arithmetic is that of `limits.window`."""

from hashlib import sha256

from proxy.limits.window import EXACT, Quota, Standing
from proxy.redis.errors import Away
from proxy.redis.keys import Names
from proxy.redis.server import Script, Server

# Keys: the window. Arguments: limit, window in microseconds, whether to take one. In Redis 6 an error passes whole only
# if returned.
NOW = """
local limit, window, take = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3] == '1'
local time = redis.call('TIME')
local clock = time[1] * 1000000 + time[2]
"""

# A list of times, the oldest first. A clock that was set back, or another node's after a failover, stands still until
# it has caught up; where that would last longer than a window, all begins anew. What is no list of ours goes.
LOG = """
local now, last = clock, redis.pcall('LINDEX', KEYS[1], -1)
if type(last) == 'table' then
  redis.call('UNLINK', KEYS[1])
elseif last and now < (tonumber(last) or 0) then
  now = tonumber(last)
  if now - clock >= window then
    redis.call('UNLINK', KEYS[1])
    now = clock
  end
end
local oldest = redis.call('LINDEX', KEYS[1], 0)
while oldest and (tonumber(oldest) or 0) <= now - window do
  redis.call('LPOP', KEYS[1])
  oldest = redis.call('LINDEX', KEYS[1], 0)
end
local used = redis.call('LLEN', KEYS[1])
local allowed = used < limit
if allowed and take then
  local done = redis.pcall('RPUSH', KEYS[1], string.format('%.0f', now))
  if type(done) == 'table' then return done end
  redis.call('PEXPIRE', KEYS[1], math.ceil((window + now - clock) / 1000))
  used, oldest = used + 1, oldest or now
end
return {allowed and 1 or 0, limit - used, oldest and oldest + window - clock or 0}
"""

# "start before current", as in `window.Buckets`. Sums are exact below 2^53, and a microsecond wrong above.
BUCKETS = """
local now, held = clock, redis.pcall('GET', KEYS[1])
local start, before, current
if type(held) == 'string' then start, before, current = string.match(held, '^(%d+) (%d+) (%d+)$') end
start, before, current = tonumber(start or now), tonumber(before or 0), tonumber(current or 0)
if now < start then now = start end
if now - clock >= window or now - start >= 2 * window then
  now, start, before, current = clock, clock, 0, 0
elseif now - start >= window then
  start, before, current = start + window, current, 0
end
local finish = start + window
local function weighed()
  local used = before * (finish - now) + current * window
  if used == 0 then return limit, 0 end
  local remaining = math.max(0, math.floor((limit * window - used) / window))
  local wanted, when = limit - remaining - 1
  if wanted >= current then
    when = finish - math.floor((wanted - current) * window / before)
  else
    when = finish + window - math.floor(wanted * window / current)
  end
  return remaining, when - clock
end
local remaining, wait = weighed()
local allowed = remaining > 0
if allowed and take then
  current = current + 1
  local life = math.ceil((finish + window - clock) / 1000)
  local done = redis.pcall('SET', KEYS[1], string.format('%.0f %.0f %.0f', start, before, current), 'PX', life)
  if done.err then return done end
  remaining, wait = weighed()
end
return {allowed and 1 or 0, remaining, wait}
"""


class RedisWindows:
    """All of it raises RedisError. A take whose answer is lost with its connection is sent once more, and one that
    nobody waits for any more is obeyed when it arrives: both may count a request twice, and never let one too many
    through."""

    def __init__(self, server: Server, names: Names) -> None:
        self._server = server
        self._names = names
        self._log, self._buckets = Script(NOW + LOG), Script(NOW + BUCKETS)

    async def take(self, key: str, quota: Quota) -> Standing:
        """Use one of what `key` has left, if there is one."""
        return await self._run(key, quota, 1)

    async def peek(self, key: str, quota: Quota) -> Standing:
        """What `key` has left; nothing is used."""
        return await self._run(key, quota, 0)

    async def _run(self, key: str, quota: Quota, take: int) -> Standing:
        if not self._server.writable:
            raise Away(self._server.reason)
        limit, window = quota
        name = self._names.rate_limit(sha256(f"{limit} {window} {key}".encode()).hexdigest()[:32])
        script = self._log if limit <= EXACT else self._buckets
        # To the client that is no write: over the limit, nothing is written, and nothing is proven of writes.
        said = await self._server.script(script, [name], limit, window, take, write=False)
        try:
            return Standing(said[0] == 1, int(said[1]), int(said[2]))
        except (IndexError, TypeError, ValueError):
            raise Away("it answered a rate limit with something else") from None
