"""How an answer lies in a file or in Redis: one record, versioned, that proves itself.

    header   36 bytes, big-endian: magic, version, fence, body length, head length, body checksum, head checksum
    body     the content, byte for byte
    head     every fact of the Entry, its whole key included, as JSON (text is latin-1 where the entry's is)

The head comes last, because a recording learns its body's length and checksum only at its end: the spool leaves room
for the header, and becomes the record by writing head and header around what it already holds, with no copy. The
fence lies at bytes 8-16, so that a script can compare it without reading more.

A body may lie packed (`store.packing`): then the head says how large it is unpacked, length and checksum in the header
are those of the packed bytes, and only who expects such records reads them. Files hold none.

Checksums are CRC-32. They answer for accidents (a torn write, a flipped bit: every burst up to 32 bits is found), not
for malice: who may write here could recompute any unkeyed digest, and CRC-32 costs a quarter of BLAKE2b. The head
checksum covers header and head, so every byte of a record is covered.
"""

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, Self
from zlib import crc32

import orjson

from proxy.entry import Body, BytesBody, Entry, KeyParts, Pairs, Position, Scope
from proxy.errors import StoreError
from proxy.message import Fields

MAGIC = b"CGATE\n"
VERSION = 1
_HEADER = struct.Struct(">6sHQQII")
_BEGIN = struct.Struct(">6sHQ")
_SUM = struct.Struct(">I")
HEADER = _HEADER.size + _SUM.size
FENCE = slice(8, 16)
FIRST = 64 * 1024  # a record up to this is read at one go
MAX_HEAD = 1024 * 1024
Bytes = bytes | memoryview


class BadRecord(StoreError):
    """These bytes are no record of this version, are damaged, or belong to another key: a miss, and they go."""


@dataclass(frozen=True, slots=True)
class Header:
    """What the first `HEADER` bytes say. Lengths in bytes."""

    fence: int
    body_size: int
    head_size: int
    body_sum: int
    head_sum: int

    @classmethod
    def parse(cls, raw: Bytes, record_size: int) -> Self:
        """Read it from the first bytes of a record of `record_size` bytes; BadRecord when the two disagree."""
        if len(raw) < HEADER:
            raise BadRecord("shorter than a header")
        magic, version, fence, body_size, head_size, body_sum = _HEADER.unpack_from(raw)
        if magic != MAGIC or version != VERSION:
            raise BadRecord("not a record of this version")
        if HEADER + body_size + head_size != record_size or head_size > MAX_HEAD:
            raise BadRecord("its length is not what its header says")
        return cls(fence, body_size, head_size, body_sum, _SUM.unpack_from(raw, _HEADER.size)[0])

    def check_body(self, body: Bytes) -> None:
        if crc32(body) != self.body_sum:
            raise BadRecord("the body's checksum differs")


class Source(Protocol):
    """Where a record can be read piece by piece; `size` is the record's."""

    @property
    def size(self) -> int: ...

    def read(self, size: int, offset: int) -> bytes:
        """Exactly that many bytes."""
        ...


def begin(fence: int) -> bytes:
    """How the records with this fence begin: all that comes before the lengths. StoreError for one that has no room."""
    try:
        return _BEGIN.pack(MAGIC, VERSION, fence)
    except struct.error as error:
        raise StoreError(f"an entry that cannot be written: {error}") from error


def framed(entry: Entry, body: bytes) -> tuple[bytes, bytes, bytes]:
    """The whole record, in pieces that are not copied; StoreError for facts that cannot be written."""
    header, head = frame(entry, len(body), crc32(body))
    return header, body, head


def encode(entry: Entry, body: bytes) -> bytes:
    """The whole record; StoreError for facts that cannot be written."""
    return b"".join(framed(entry, body))


def decode(record: Bytes, key: str, packed: Callable[[bytes, int], Body] | None = None) -> Entry:
    """The entry of a whole record, its body in memory; BadRecord unless every byte of it proves to be `key`'s.

    `packed` makes the body of one that lies packed, from its bytes and the size that it says to have unpacked.
    """
    header = Header.parse(record, len(record))
    start, end = HEADER, HEADER + header.body_size
    body = record[start:end]
    header.check_body(body)
    held = bytes(body)  # no copy, unless the record is only lent
    return entry_of(record[:HEADER], record[end:], key, BytesBody(held), packed and partial(packed, held))


def read(source: Source, key: str, whole: int, larger: Callable[[Header], Body]) -> Entry:
    """The entry of the record in `source`, BadRecord as in `decode`. A body up to `whole` bytes comes checked and in
    memory; for any other `larger` makes one, and nothing of it is read."""
    first = source.read(min(FIRST, source.size), 0)
    header = Header.parse(first, source.size)
    if header.body_size <= whole:
        return decode(first + source.read(source.size - len(first), len(first)), key)
    if len(first) == source.size:
        head = first[HEADER + header.body_size :]
    else:
        head = source.read(header.head_size, HEADER + header.body_size)
    return entry_of(first[:HEADER], head, key, larger(header))


def frame(entry: Entry, body_size: int, body_sum: int, unpacked: int | None = None) -> tuple[bytes, bytes]:
    """(header, head) that make a record of a body of that length and CRC-32. `unpacked`: those are of a packed body,
    which has this length unpacked."""
    try:
        head = orjson.dumps(_facts(entry) if unpacked is None else _facts(entry) | {"unpacked": unpacked})
        header = _HEADER.pack(MAGIC, VERSION, entry.fence, body_size, len(head), body_sum)
    except (TypeError, struct.error) as error:
        raise StoreError(f"an entry that cannot be written: {error}") from error
    if len(head) > MAX_HEAD:
        raise StoreError("an entry that cannot be written: its head is too large")
    return header + _SUM.pack(crc32(head, crc32(header))), head


def entry_of(header: Bytes, head: Bytes, key: str, body: Body, packed: Callable[[int], Body] | None = None) -> Entry:
    """The entry that header and head describe, around `body`, or around what `packed` makes of the size that a packed
    one has unpacked; BadRecord when they are damaged or another key's, or nobody expects a packed one."""
    if crc32(head, crc32(header[: _HEADER.size])) != _SUM.unpack_from(header, _HEADER.size)[0]:
        raise BadRecord("the head's checksum differs")
    fence = int.from_bytes(header[FENCE])
    try:
        facts = orjson.loads(head)
        unpacked = facts.get("unpacked")
        entry = _entry(facts, fence, body if unpacked is None else _packed_body(unpacked, packed))
    except (ValueError, TypeError, AttributeError, LookupError) as error:
        raise BadRecord(f"not the head of a record: {error}") from error
    if entry.key != key:
        raise BadRecord("it is the record of another key")
    return entry


def _packed_body(unpacked: Any, packed: Callable[[int], Body] | None) -> Body:
    if packed is None or not isinstance(unpacked, int):
        raise BadRecord("its body is packed, which none is here")
    return packed(unpacked)


def _facts(entry: Entry) -> dict[str, object]:
    parts = entry.parts
    return {
        "key": [*parts.scope, parts.path, parts.query, parts.body, parts.selected],
        "status": [entry.status, entry.phrase],
        "fields": [(name.decode("latin-1"), value.decode("latin-1")) for name, value in entry.fields.pairs],
        "times": [entry.requested_at, entry.received_at, entry.keep_until],
        "vary": entry.vary,
        "rule": entry.rule,
        "tags": entry.tags,
        "position": list(entry.position),
    }


def _entry(facts: Any, fence: int, body: Body) -> Entry:
    upstream, namespace, scheme, method, host, path, query, content, selected = facts["key"]
    parts = KeyParts(Scope(upstream, namespace, scheme, method, host), path, query, content, text_pairs(selected))
    status, phrase = facts["status"]
    requested_at, received_at, keep_until = facts["times"]
    epoch, stream, local = facts["position"]
    return Entry(
        hash=parts.digest(),
        parts=parts,
        status=_whole(status),
        phrase=_text(phrase),
        fields=Fields([(name.encode("latin-1"), value.encode("latin-1")) for name, value in facts["fields"]]),
        requested_at=float(requested_at),
        received_at=float(received_at),
        keep_until=math.inf if keep_until is None else float(keep_until),  # JSON has no infinity: null
        body=body,
        vary=text_pairs(facts["vary"]),
        rule=_text(facts["rule"]),
        tags=tuple(_text(tag) for tag in facts["tags"]),
        position=Position(_whole(epoch), _whole(stream), _whole(local)),
        fence=fence,
    )


def text_pairs(found: Any) -> Pairs:
    """What was read as pairs of text; TypeError or ValueError for anything else."""
    return tuple((_text(name), _text(value)) for name, value in found)


def _whole(found: Any) -> int:
    number = int(found)
    if abs(number) >= 1 << 63:
        raise ValueError("a number past 64 bits, which could not be written again")
    return number


def _text(found: Any) -> str:
    if not isinstance(found, str):
        raise TypeError(f"text expected, {type(found).__name__} found")
    return found
