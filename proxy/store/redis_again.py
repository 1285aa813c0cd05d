"""A record of Redis that was read before, known again when it comes again: nothing is read out of it anew.

A look that comes to nothing changes nothing: what has changed in Redis, and whatever is wrong there, is for
`RedisStore.get`.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol
from zlib import crc32

from proxy.entry import BytesBody, Entry, Position, Variant
from proxy.errors import StoreError
from proxy.fixed import fixed
from proxy.redis.errors import Away
from proxy.redis.reads import Told
from proxy.redis.server import Server
from proxy.store.codec import HEADER, Header
from proxy.store.memory import Hold
from proxy.store.packing import PackedBody, unpack
from proxy.store.redis_lua import RedisLua, paired


class Placing(Protocol):
    """What a place in the shared journal means here (`store.redis.Shared`)."""

    def stamp(self) -> tuple[int, int] | None: ...

    def local(self, epoch: int, number: int) -> Position | None: ...


class Beside(NamedTuple):
    """The index that lay beside a record, and the variants that it tells of."""

    lines: Mapping[bytes, bytes]
    variants: tuple[Variant, ...]


@fixed
class LaidBody(BytesBody):
    """Content that has just come from Redis, with every byte of its record and the place in the shared journal that it
    was stored with."""

    record: bytes
    beside: Beside
    stamp: Position

    def share(self) -> BytesBody:
        return BytesBody(self.data)


def laid(entry: Entry, record: bytes, beside: Beside, stamp: Position) -> Entry:
    """The entry as it lay there: with what it takes to know it again. It is nobody's yet."""
    data = entry.body.data
    return entry if data is None else entry.settle(entry.position, LaidBody(data, record, beside, stamp))


class Mark:
    """By what a record that was read is known again: what is asked for it, the index that lay beside it, its header,
    in which no other fetch has the same fence, and length and CRC-32 of all of it when it had been proven. Nothing of
    its body is kept.

    `checked` is the journal's head at which nothing had ended it for good. It `holds` nobody, since each asks Redis.
    """

    __slots__ = ("asked", "checked", "end", "header", "holds", "index", "position", "size", "stamp", "sum", "unpacked")

    def __init__(self, asked: tuple[bytes, int], entry: Entry, body: LaidBody, checked: int) -> None:
        record = body.record
        self.asked = asked
        self.index = body.beside.lines
        self.header = record[:HEADER]
        self.size = len(record)
        self.sum = crc32(record)
        self.end = HEADER + Header.parse(self.header, self.size).body_size
        self.unpacked = body.size
        self.stamp = body.stamp
        self.position = entry.position
        self.checked = checked
        self.holds: tuple[Hold, ...] = ()


class RedisAgain:
    """`most` bounds a body, in bytes."""

    def __init__(self, server: Server, lua: RedisLua, shared: Placing, limit: int, most: int) -> None:
        self._server = server
        self._lua = lua
        self._shared = shared
        self._limit = limit
        self._most = most

    def mark(self, entry: Entry, checked: int) -> Mark | None:
        """Of an entry as `RedisStore.get` gave it; None where it has to be read out each time."""
        body = entry.body
        if not isinstance(body, LaidBody):
            return None
        asked = self._lua.asked(entry.hash, entry.variant, self._limit)
        return Mark(asked, entry, body, checked)

    def ask(self, mark: Mark, seconds: float, told: Told) -> bool:
        """Ask for what the mark is of; False, and nothing is told, where nobody can be asked now."""
        return self._shared.stamp() is not None and self._server.ask(*mark.asked, seconds, told)

    def content(self, mark: Mark, said: object) -> bytes | None:
        """That of the very record that was read before, if it is what `RedisStore.get` with the same choice would find,
        as long as it is kept. Each byte of it is checked."""
        if not isinstance(said, list):
            return None
        try:
            record = self._found(mark, *said)
        except Away:
            return None
        if record is None or len(record) != mark.size or record[:HEADER] != mark.header or crc32(record) != mark.sum:
            return None
        epoch, number, _ = mark.stamp
        if self._shared.stamp() is None or self._shared.local(epoch, number) != mark.position:
            return None
        content = record[HEADER : mark.end]
        if len(content) == mark.unpacked:
            return content
        try:
            return unpack(PackedBody(content, mark.unpacked), self._most)
        except StoreError:
            return None

    def _found(self, mark: Mark, plain: Any, index: Any, variant: Any = None) -> bytes | None:
        """The record among the answers, where the others are what they were."""
        if not isinstance(index, list) or ((index or mark.index) and paired(index) != mark.index):
            return None
        if variant is None:
            return plain if isinstance(plain, bytes) else None
        return variant if plain == b"" and isinstance(variant, bytes) else None
