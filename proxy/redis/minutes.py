"""Minutes of the history in Redis, so that an hour and a day are those of all instances and outlive each of them.

An hour is a hash: a field is the minute and who counted it, its value a packed span (`observe.span`). Every instance
writes its own fields, once a minute, and reads those of the others that it has not read yet.
"""

from collections.abc import Mapping, Sequence

from proxy.redis.keys import Names
from proxy.redis.server import Script, Server

HOUR = 60  # minutes
LIFE = 26 * 3600  # seconds of an hour's key
SOME = 50  # minutes that are read at a time
MAX_FIELDS = 20_000  # of an hour: who else may write there may write without end
_DIGITS = 12  # of a minute

_PUT = Script(
    """
    redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
    return redis.call('EXPIRE', KEYS[1], ARGV[3])
    """
)


class RedisMinutes:
    """`own` tells what this process counts from what all others do, those that it was before included."""

    shared = True

    def __init__(self, server: Server, names: Names, own: str) -> None:
        self._server = server
        self._names = names
        self._own = own

    async def put(self, minute: int, raw: bytes, who: str = "") -> None:
        """Keep all that we have counted in a minute so far; `who`: in the name of a process before us. RedisError."""
        field = f"{minute}.{who or self._own}"
        await self._server.script(_PUT, [self._names.hour(minute // HOUR)], field, raw, LIFE)

    async def others(self, first: int, last: int) -> Mapping[int, Sequence[bytes]]:
        """What the others have counted from minute `first` to `last`. RedisError."""
        told: dict[int, list[bytes]] = {}
        for hour in range(first // HOUR, last // HOUR + 1):
            key = self._names.hour(hour)
            fields = (await self._server.call("HKEYS", key))[:MAX_FIELDS]
            wanted = [field for field in fields if first <= self._minute(field) <= last]
            for start in range(0, len(wanted), SOME):
                some = wanted[start : start + SOME]
                for field, raw in zip(some, await self._server.call("HMGET", key, *some), strict=True):
                    if raw is not None:
                        told.setdefault(self._minute(field), []).append(raw)
        return told

    def _minute(self, field: bytes) -> int:
        """Of which minute it tells; -1 for our own, and for what is none."""
        minute, _, who = field.partition(b".")
        sound = who != self._own.encode() and minute.isdigit() and len(minute) <= _DIGITS
        return int(minute) if sound else -1
