"""What Redis does in one go with the stream of purges and the signs of life beside it.

A record's id is `<number>-0`. Numbers are microseconds on the server's clock, raised above every earlier one, so they
rise even over the lives of a stream. Fields: `e` the epoch (the number of its first record), `p` the number of the
record before (0 for the first), `d` the content. Every write renews the TTL.
"""

from proxy.redis.server import Script

_LAST = """
local function field(record, name)
  for i = 1, #record[2], 2 do
    if record[2][i] == name then return record[2][i + 1] end
  end
end
local function exact(number) return string.format('%.0f', number) end
local function number_of(record) return tonumber(string.match(record[1], '^(%d+)')) end
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
"""

# epoch, MAXLEN, TTL, contents ...: the numbers they got; none when the stream is another one, or gone.
APPEND = Script(
    _LAST
    + """
if not last or field(last, 'e') ~= ARGV[1] then return {} end
local number = number_of(last)
local numbers = {}
for i = 4, #ARGV do
  local prior = exact(number)
  number = math.max(now, number + 1)
  local id = exact(number)
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], id .. '-0', 'e', ARGV[1], 'p', prior, 'd', ARGV[i])
  numbers[#numbers + 1] = id
end
redis.call('EXPIRE', KEYS[1], ARGV[3])
return numbers
"""
)

# the epoch that is over, a number that was read, TTL, content: the epoch that there is then. It is a new one when the
# stream is gone or still in the old epoch; or was begun by another instance.
BEGIN = Script(
    _LAST
    + """
local number = math.max(now, tonumber(ARGV[2]) + 1)
if last then
  local epoch = field(last, 'e')
  if epoch and epoch ~= ARGV[1] then return epoch end
  number = math.max(number, number_of(last) + 1)
end
local id = exact(number)
redis.call('DEL', KEYS[1])
redis.call('XADD', KEYS[1], id .. '-0', 'e', id, 'p', '0', 'd', ARGV[4])
redis.call('EXPIRE', KEYS[1], ARGV[3])
return id
"""
)

# The time, epoch and number of the last record ("0": there is none, or it is none of ours), and every sign of life.
LOOK = Script(
    _LAST
    + """
local epoch = last and field(last, 'e')
return {exact(now), epoch or '0', epoch and exact(number_of(last)) or '0', redis.call('HGETALL', KEYS[2])}
"""
)

# The number of the first record, "0" when there is none. A script, since a replica may lag behind.
FIRST = Script(
    """
local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
return first and string.match(first[1], '^(%d+)') or '0'
"""
)

# What stands under our names and is of another type is none of ours, and nobody could go on with it: it goes.
HEAL = Script(
    """
local wanted = {'stream', 'hash'}
for i, key in ipairs(KEYS) do
  local found = redis.call('TYPE', key).ok
  if found ~= 'none' and found ~= wanted[i] then redis.call('DEL', key) end
end
return 1
"""
)

# instance, process, epoch, number, TTL, age: note a sign of life, forget those older than `age` microseconds, and those
# of a time still to come: the clock was set back. The process that gave the last one under this name.
MARK = Script(
    """
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local before = redis.call('HGET', KEYS[2], ARGV[1])
local beat = string.format('%.0f', now) .. ' ' .. ARGV[3] .. ' ' .. ARGV[4] .. ' ' .. ARGV[2]
redis.call('HSET', KEYS[2], ARGV[1], beat)
local all = redis.call('HGETALL', KEYS[2])
for i = 1, #all, 2 do
  local seen = tonumber(string.match(all[i + 1], '^(%d+) '))
  if not seen or seen < now - tonumber(ARGV[6]) or seen > now then redis.call('HDEL', KEYS[2], all[i]) end
end
redis.call('EXPIRE', KEYS[2], ARGV[5])
redis.call('EXPIRE', KEYS[1], ARGV[5])
return before or ''
"""
)
