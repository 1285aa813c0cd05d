"""All that is ours in Redis, found by SCAN, a step at a time, on every primary."""

import re
from collections.abc import AsyncIterator, Sequence

from proxy.redis.errors import translated
from proxy.redis.keys import EntryKey, Names
from proxy.redis.server import Server

_HASH = re.compile(r"[0-9a-f]{64}")


class RedisWalk:
    """`count` is how many keys Redis looks at in one step. All of it raises RedisError.

    As SCAN has it: what stays throughout is found, perhaps twice while the table of keys shrinks; what comes or goes
    meanwhile may be missed.
    """

    def __init__(self, server: Server, names: Names, count: int) -> None:
        self._server = server
        self._names = names
        self._count = count

    async def entries(self) -> AsyncIterator[list[tuple[bytes, EntryKey]]]:
        """The records of each step."""
        async for keys in self._steps(self._names.entries):
            yield [(key, ours) for key in keys if (ours := self._names.parse_entry(key)) is not None]

    async def clear(self) -> int:
        """Unlink all records and indexes, and nothing else; how many records went. All keys are looked at once."""
        went = 0
        async for keys in self._steps(self._names.answers):
            records = [key for key in keys if self._names.parse_entry(key) is not None]
            indexes = [key for key in keys if self._is_index(key)]
            pipeline = self._server.client.pipeline(transaction=False)
            for key in (*records, *indexes):
                pipeline.execute_command("UNLINK", key)  # one each: those of a cluster lie in many slots
            try:
                went += sum((await pipeline.execute())[: len(records)])
            except Exception as error:
                raise translated(error) from error
        return went

    async def _steps(self, pattern: str) -> AsyncIterator[Sequence[bytes]]:
        for primary in self._server.masters():
            cursor = 0
            while True:
                try:
                    words = ("SCAN", cursor, "MATCH", pattern, "COUNT", self._count)
                    cursor, keys = await primary.execute_command(*words)
                except Exception as error:
                    raise translated(error) from error
                if keys:
                    yield keys
                if not cursor:
                    break

    def _is_index(self, key: bytes) -> bool:
        text = key.decode("latin-1")
        found = _HASH.search(text.removeprefix(self._names.prefix))
        return found is not None and text == self._names.index(found[0])
