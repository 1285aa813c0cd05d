"""The stream of purges in Redis, and the signs of life of the instances that read it (`invalidation.stream_lua`)."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from redis.asyncio import RedisCluster

from proxy.invalidation.chain import Record
from proxy.invalidation.records import Seed, decode, encode
from proxy.invalidation.stream_lua import APPEND, BEGIN, FIRST, HEAL, LOOK, MARK
from proxy.redis.dial import Client, Patience, hang_up
from proxy.redis.errors import Refused, translated
from proxy.redis.keys import Names
from proxy.redis.server import Script, Server

LIFE = 30 * 86400  # seconds that the keys outlive the last instance
FORGET = 86_400_000_000  # microseconds after its last sign of life that an instance is forgotten
BLOCK = 1.0  # seconds that a read waits for a record
START = 5.0  # seconds that the first try may take
BATCH = 256  # records of one read
LEAST = 1000  # records of the stream: more than are sent at once


class Beat(NamedTuple):
    """An instance's last sign of life: when (microseconds on the server's clock), and how far it had read."""

    seen: int
    epoch: int
    number: int


class Look(NamedTuple):
    """The state of things at the server's time `at`, in microseconds. An epoch of 0: there is no stream of ours."""

    at: int
    epoch: int
    last: int
    instances: Mapping[str, Beat]


class Stream:
    """Every call raises RedisError and nothing else. `records` bounds the stream, nearly."""

    def __init__(self, server: Server, names: Names, records: int) -> None:
        self._server = server
        self._keys = [names.stream, names.instances]
        self._records = max(records, LEAST)

    async def asked(self) -> None:
        """Wait until the server was tried, so that a start does not begin with a failure and its pause."""
        await self._server.looked(START)

    async def look(self) -> Look:
        at, epoch, last, beats = await self._script(LOOK, self._keys, write=False)
        pairs = zip(beats[::2], beats[1::2], strict=True)
        parsed = {name.decode("latin-1"): beat for name, raw in pairs if (beat := _beat(raw)) is not None}
        return Look(int(at), _number(epoch), _number(last), parsed)

    async def mark(self, instance: str, process: str, epoch: int, number: int) -> str:
        """Show that this instance lives and how far it has read; which process showed the last under this name."""
        before: bytes = await self._script(MARK, self._keys, instance, process, epoch, number, LIFE, FORGET)
        return before.decode("latin-1").rpartition(" ")[2]

    async def leave(self, instance: str) -> None:
        """Nobody has to wait for this instance any more."""
        await self._server.call("HDEL", self._keys[1], instance, write=True)

    async def begin(self, over: int, after: int, seed: Seed) -> None:
        """Begin a new epoch unless another instance has done so since `over`, in which `after` was the last read."""
        await self._script(BEGIN, self._keys[:1], over, after, LIFE, encode(seed))

    async def append(self, epoch: int, contents: Sequence[bytes]) -> Sequence[int]:
        """Their numbers; none when the epoch is over."""
        numbers = await self._script(APPEND, self._keys[:1], epoch, self._records, LIFE, *contents)
        return [int(number) for number in numbers]

    async def first(self) -> int:
        """The number of the oldest record; 0 when there is none."""
        return int(await self._script(FIRST, self._keys[:1], write=False))

    async def _script(self, script: Script, keys: Sequence[str], *args: str | int | bytes, write: bool = True) -> Any:
        try:
            return await self._server.script(script, keys, *args, write=write)
        except Refused as error:
            if error.word == "WRONGTYPE":
                await self._server.script(HEAL, self._keys)
            raise

    def tail(self) -> "Tail":
        """A connection of its own on which to wait for records."""
        patience = Patience(self._server.patience.connect, BLOCK + 1.0 + self._server.patience.read, pool=2)
        return Tail(self._server.apart(patience), self._keys[0])


class Tail:
    """Reads on. Every call raises RedisError and nothing else."""

    def __init__(self, client: Client, key: str) -> None:
        self._client = client
        self._key = key

    async def read(self, after: int, *, wait: bool) -> Sequence[Record]:
        """Some of the records behind number `after`; none when there are none, for BLOCK seconds when it may wait."""
        block: list[str | int] = ["BLOCK", int(BLOCK * 1000)] if wait else []
        words: list[str | int] = ["XREAD", "COUNT", BATCH, *block, "STREAMS", self._key]
        try:
            answer = await self._ask(*words, f"{after}-0")
        except Exception as error:
            raise translated(error) from error
        return [_record(raw) for _, records in answer or () for raw in records]

    async def close(self) -> None:
        await hang_up(self._client)

    async def _ask(self, *words: str | int) -> Any:
        client = self._client
        if isinstance(client, RedisCluster):  # it would ask the server where in this command the key stands
            await client.initialize()
            return await client.execute_command(*words, target_nodes=client.get_node_from_key(self._key))
        return await client.execute_command(*words)  # type: ignore[no-untyped-call]


def _record(raw: tuple[bytes, Any]) -> Record:
    """What is none of ours has an epoch of 0."""
    name, fields = raw
    number, _, rest = name.partition(b"-")
    if not isinstance(fields, Mapping):
        fields = dict(zip(fields[::2], fields[1::2], strict=False)) if fields else {}
    content = fields.get(b"d", b"")
    epoch = _number(fields.get(b"e", b"")) if rest == b"0" else 0
    return Record(int(number), epoch, _number(fields.get(b"p", b"")), decode(content), len(content))


def _beat(raw: bytes) -> Beat | None:
    with suppress(ValueError):
        seen, epoch, number, _ = raw.split(b" ")
        return Beat(int(seen), int(epoch), int(number))
    return None


def _number(raw: bytes) -> int:
    return int(raw) if raw.isdigit() and len(raw) < 19 else 0  # more than 64 bits are none of ours
