"""What Redis does about leases, each step in one go.

The value of a lease is the token of who holds it behind an "h", or behind an "l" what the last who held it learnt.
"""

from collections.abc import Sequence
from typing import Any

from proxy.redis.budget import one_budget
from proxy.redis.errors import Away
from proxy.redis.keys import Names
from proxy.redis.server import Script, Server

SLACK = 1.0  # seconds that our idea of Redis's clock may be wrong by
WAITING = 10.0  # seconds that somebody counts as waiting after he looked

# Keys: lease, waiting, record, index. What is no lease of ours there, or would stay for ever, is overwritten, and so is
# what this very take left when its answer was lost, for the client asks twice where a connection broke; a fence
# from 2^53, which Lua cannot count up, is not by us. In Redis 6 an error passes whole only if returned.
_TAKE = Script("""
local value, life, waiting, latest = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local time = redis.call('TIME')
local fence = time[1] * 1000000 + time[2]
if fence > latest then return {'late', string.format('%.0f', fence)} end
local there = redis.pcall('GET', KEYS[1])
if type(there) == 'string' and there ~= value and redis.call('PTTL', KEYS[1]) ~= -1 then
  if string.sub(there, 1, 1) == 'l' then return {'learnt', string.sub(there, 2)} end
  redis.pcall('SET', KEYS[2], '1', 'PX', waiting)
  return {'held', there}
end
local seen = 0
local function rise(other)
  if other and other > seen and other < 9007199254740991 then seen = other end
  if other and other >= fence and other < 9007199254740991 then fence = other + 1 end
end
local stored = redis.pcall('GETRANGE', KEYS[3], 8, 15)
if type(stored) == 'string' and #stored == 8 then
  local other = 0
  for i = 1, 8 do other = other * 256 + string.byte(stored, i) end
  rise(other)
end
local highest = redis.pcall('HGET', KEYS[4], 'fence')
if type(highest) == 'string' then rise(tonumber(highest)) end
local done = redis.pcall('SET', KEYS[1], value, 'PX', life)
if done.err then return done end
return {'fence', string.format('%.0f', fence), string.format('%.0f', seen)}
""")

# Keys: lease.
_RENEW = Script("""
if redis.pcall('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.pcall('PEXPIRE', KEYS[1], ARGV[2])
""")

# Keys: lease, waiting. Without memory for what was learnt, or the right to publish, it ends all the same.
_END = Script("""
local value, learnt, life, channel, name = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
if redis.pcall('GET', KEYS[1]) ~= value then return 0 end
if learnt == '' or redis.pcall('SET', KEYS[1], 'l' .. learnt, 'PX', life).err then
  local done = redis.pcall('DEL', KEYS[1])
  if type(done) == 'table' then return done end
end
if redis.call('DEL', KEYS[2]) == 1 then redis.pcall('PUBLISH', channel, name) end
return 1
""")

# Keys: lease, waiting.
_LOOK = Script("""
if redis.pcall('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.pcall('SET', KEYS[2], '1', 'PX', ARGV[2])
return 1
""")


class LeaseLua:
    """The leases as they stand in Redis, by name: `<h>`, or `<h>.<company>`. All of it raises RedisError. `seconds` is
    the life of a lease, `uncacheable` that of what was learnt.

    All but taking goes on where Redis takes no writes for want of memory: it makes room.
    """

    def __init__(self, server: Server, names: Names, seconds: float, uncacheable: float) -> None:
        self._server = server
        self._names = names
        self._life = _milliseconds(seconds)
        self._uncacheable = _milliseconds(uncacheable)
        self._waiting = _milliseconds(WAITING)

    @property
    def late(self) -> float:
        """Seconds after which a take that was sent is not obeyed any more."""
        return self._server.patience.connect + self._server.patience.read + 2 * SLACK

    async def take(self, name: str, token: str) -> tuple[str, str, int]:
        """`fence` and the number, `held` and the value of who holds it, or `learnt` and what; with a fence also the
        highest of what is stored, else 0.

        A take that arrives only when nobody waits for its answer any more (Redis was stopped, say) does nothing, for
        its lease would have no holder. The clocks of a cluster's nodes may differ: the second try goes by the node's.
        """
        tag = name.partition(".")[0]
        keys = (*self._keys(name), self._names.entry(tag), self._names.index(tag))
        what, word, seen = "late", str(self._server.now() or 0), 0
        for _ in range(2):
            latest = int(word) + int((self.late - SLACK) * 1e6)
            words = (f"h{token}", self._life, self._waiting, latest)
            said = await self._server.script(_TAKE, keys, *words, write=False)  # done, it may have written nothing
            what, word, seen = taken(said)
            if what != "late":
                break
        return what, word, seen

    async def look(self, name: str) -> str:
        """What stands there now, "" where nothing does; nobody is going to be woken for it."""
        found = await self._server.call("GET", self._names.lease(name))
        return found.decode("utf-8", "replace") if isinstance(found, bytes) else ""

    async def renew(self, name: str, token: str) -> bool:
        """Whether it is this holder's, who has it for another life."""
        return await self._asked(_RENEW, self._keys(name)[:1], f"h{token}", self._life)

    async def end(self, name: str, token: str, learnt: str) -> bool:
        """Whether it was this holder's still; then others may take it, or hear what was learnt, and are woken."""
        words = (f"h{token}", learnt, self._uncacheable, self._names.landed, name)
        return await self._asked(_END, self._keys(name), *words)

    async def stands(self, name: str, value: str) -> bool:
        """Whether it has this value still. Who asks will be woken."""
        return await self._asked(_LOOK, self._keys(name), value, self._waiting)

    def _keys(self, name: str) -> tuple[str, str]:
        return self._names.lease(name), self._names.waiting(name)

    async def _asked(self, script: Script, keys: Sequence[str], *words: str | int) -> bool:
        """Off the requests' time, so with a budget of its own."""
        with one_budget():
            return bool(await self._server.script(script, keys, *words, write=False))


def _milliseconds(seconds: float) -> int:
    return max(1, int(seconds * 1000))


def taken(said: Any) -> tuple[str, str, int]:
    """Away for what the script does not say."""
    try:
        what, word = (each.decode("utf-8", "replace") for each in said[:2])
        seen = int(said[2]) if len(said) > 2 else 0
        if what in ("late", "fence"):
            int(word)
    except (AttributeError, TypeError, ValueError):
        raise Away("it answered a lease with something else") from None
    return what, word, seen
