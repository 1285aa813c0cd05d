"""Records and indexes as they stand in Redis: each change is one step there, and leaves a TTL on whatever it wrote."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from proxy.redis.errors import Away, Refused
from proxy.redis.keys import Names
from proxy.redis.server import Script, Server
from proxy.redis.wire import Words, packed
from proxy.store.shelves import hash_of

FENCE = b"fence"  # beside the variants in an index: the highest of theirs
NO_RECORD = b"\0"  # what is read where there is something else than bytes

# Keys: record, index. Two fences are compared byte by byte: Lua's numbers are too short, and its order of texts goes
# by the locale. What does not begin as our records do has no fence. In Redis 6 an error passes whole only if returned.
_PUT = Script("""
local begin, life, variant, described, fence, limit = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local held = redis.pcall('GETRANGE', KEYS[1], 0, 15)
if type(held) == 'string' and #held == 16 and string.sub(held, 1, 8) == string.sub(begin, 1, 8) then
  for i = 9, 16 do
    local new, old = string.byte(begin, i), string.byte(held, i)
    if new < old then return 0 end
    if new > old then break end
  end
end
local record = ARGV[7]
if record == '' then
  redis.call('UNLINK', KEYS[1])
  if variant ~= '' then redis.pcall('HDEL', KEYS[2], variant) end
  return 1
end
local done = redis.pcall('SET', KEYS[1], record, 'PX', life)
if done.err then return done end
if variant == '' then return 1 end

local highest = redis.pcall('HGET', KEYS[2], 'fence')
if type(highest) == 'table' then
  redis.call('UNLINK', KEYS[2])
  highest = false
end
redis.call('HSET', KEYS[2], variant, described)
if (tonumber(highest or '') or -1) < tonumber(fence) then redis.call('HSET', KEYS[2], 'fence', fence) end
if redis.call('PTTL', KEYS[2]) < life then redis.call('PEXPIRE', KEYS[2], life) end
if redis.call('HLEN', KEYS[2]) - 1 <= tonumber(limit) then return 1 end

local base, others = string.sub(KEYS[1], 1, -1 - #variant), {}
local found = redis.call('HGETALL', KEYS[2])
for i = 1, #found, 2 do
  local id = found[i]
  if id ~= 'fence' and id ~= variant then
    if redis.call('EXISTS', base .. id) == 0 then
      redis.call('HDEL', KEYS[2], id)
    else
      table.insert(others, {id, tonumber(string.match(found[i + 1], '^%[([%d%.eE+-]+)') or '') or 0})
    end
  end
end
table.sort(others, function(a, b) return a[2] > b[2] end)
for i = tonumber(limit), #others do
  redis.call('UNLINK', base .. others[i][1])
  redis.call('HDEL', KEYS[2], others[i][1])
end
return 1
""")

# Keys: record, index.
_DELETE = Script("""
local variant, went = ARGV[1], redis.call('UNLINK', KEYS[1])
if variant ~= '' then
  redis.pcall('HDEL', KEYS[2], variant)
  return went
end
for _, id in ipairs(redis.pcall('HKEYS', KEYS[2])) do
  if id ~= 'fence' then went = went + redis.call('UNLINK', KEYS[1] .. '.' .. id) end
end
redis.call('UNLINK', KEYS[2])
return went
""")

# Keys: record, index. A replica may have told of a variant whose record has not come to it yet.
_MISSED = Script("""
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
return redis.pcall('HDEL', KEYS[2], ARGV[1])
""")


class RedisLua:
    """What lies under `<h>` and its variants. All of it raises RedisError. `variants` bounds those of one index."""

    def __init__(self, server: Server, names: Names, variants: int) -> None:
        self._server = server
        self._names = names
        self._variants = variants

    async def both(self, hash: str, limit: int) -> tuple[bytes, Mapping[bytes, bytes] | None]:
        """What lies at `<h>`, as `record` gives it, and the index of its variants: None when that is no hash."""
        record, index = await self._server.read(*self._both(hash, limit))
        return _unless_foreign(record, NO_RECORD), paired(_unless_foreign(index, None))

    def asked(self, hash: str, variant: str, limit: int) -> tuple[bytes, int]:
        """What `both` asks, and behind it `record` of the variant where there is one: as it goes out, and how many
        answers it has."""
        commands = self._both(hash, limit)
        if variant:
            commands += (("GETRANGE", self._names.entry(f"{hash}.{variant}"), 0, limit),)
        return packed(commands), len(commands)

    def _both(self, hash: str, limit: int) -> tuple[Words, ...]:
        return ("GETRANGE", self._names.entry(hash), 0, limit), ("HGETALL", self._names.index(hash))

    async def record(self, key: str, limit: int) -> bytes:
        """Up to `limit` bytes and one more; none when there is nothing."""
        return await self.part(self._names.entry(key), 0, limit)

    async def part(self, name: str | bytes, first: int, last: int) -> bytes:
        """The bytes [first, last] of what lies under the name of a record."""
        (found,) = await self._server.read(("GETRANGE", name, first, last))
        return bytes(_unless_foreign(found, NO_RECORD))

    async def size(self, name: bytes) -> int:
        """Bytes of what lies under the name of a record."""
        (found,) = await self._server.read(("STRLEN", name))
        return int(_unless_foreign(found, 0))

    async def put(self, key: str, begin: bytes, life: int, described: bytes, record: bytes) -> bool:
        """Store `record`, which begins with `begin`, for `life` milliseconds; an empty one takes away what is there.
        False when there is one of a higher fence."""
        fence = int.from_bytes(begin[-8:])
        words = (begin, life, _variant(key), described, fence, self._variants, record)
        return bool(await self._server.script(_PUT, self._keys(key), *words))

    async def delete(self, key: str) -> int:
        """Take away `<h>` with its variants, or one of them; how many records went."""
        went: int = await self._server.script(_DELETE, self._keys(key), _variant(key), write=False)
        return went

    async def drop(self, key: str) -> None:
        """Take away this record alone. The index may go on telling of it, until it is missed."""
        await self._server.call("UNLINK", self._names.entry(key))

    async def missed(self, key: str) -> None:
        """The record of this variant was not there: the index need not tell of it, unless it has come meanwhile."""
        await self._server.script(_MISSED, self._keys(key), _variant(key), write=False)

    async def drop_index(self, hash: str) -> None:
        await self._server.call("UNLINK", self._names.index(hash))

    async def drop_described(self, hash: str, ids: Iterable[bytes]) -> None:
        await self._server.call("HDEL", self._names.index(hash), *ids)

    def _keys(self, key: str) -> Sequence[str]:
        return self._names.entry(key), self._names.index(hash_of(key))


def _variant(key: str) -> str:
    return key.partition(".")[2]


def paired(index: Any) -> Mapping[bytes, bytes] | None:
    """A hash that came in a row. Away for a row that is none."""
    if index is None or isinstance(index, dict):
        return index
    if not isinstance(index, list) or len(index) % 2 or not all(isinstance(each, bytes) for each in index):
        raise Away("it answered with something that is no hash")
    return dict(zip(index[::2], index[1::2], strict=True))


def _unless_foreign(answer: Any, otherwise: Any) -> Any:
    """`otherwise` where something of another type lies; other error replies are raised."""
    if not isinstance(answer, Refused):
        return answer
    if answer.word != "WRONGTYPE":
        raise answer
    return otherwise
