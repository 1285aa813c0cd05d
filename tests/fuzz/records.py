"""Records: what lies in files and in Redis. A byte that chooses, then: a damaged record, or a head of any JSON around
a body, with checksums that fit; or a line of the index of variants."""

import struct
from dataclasses import replace
from math import isnan
from zlib import crc32

import orjson

from proxy.entry import BytesBody, Entry, KeyParts, Scope
from proxy.errors import StoreError
from proxy.message import Fields
from proxy.redis.keys import Names
from proxy.store import codec
from proxy.store.codec import BadRecord, Header
from proxy.store.redis_record import described, framed, opened, seal, variant_of
from tests.fuzz.target import Feed, Target

MOST = 1 << 20
_PARTS = KeyParts(Scope("up", "", "http", "GET", "site.example"), "/a", "b=1", selected=(("accept", "x"),))
ENTRY = Entry(
    hash=_PARTS.digest(),
    parts=_PARTS,
    status=200,
    phrase="OK",
    fields=Fields.of(("Content-Type", "text/plain"), ("ETag", '"\xe4"')),
    requested_at=1.5,
    received_at=2.5,
    keep_until=1000.0,
    body=BytesBody(b"content" * 300),
    vary=(("accept-language", "en"),),
    rule="r",
    tags=("a", "b"),
)
_WHOLE = codec.encode(ENTRY, b"content")
_PACKED = framed(ENTRY, seal(b"content" * 300, packs=True))
HEAD = codec.frame(ENTRY, 7, crc32(b"content"))[1]
SEEDS = (
    b"\x00\x00\x00" + _WHOLE,
    b"\x01\x00\x00" + _PACKED,
    b"\x02content\n" + HEAD,
    b"\x02\n" + orjson.dumps(orjson.loads(HEAD) | {"unpacked": 7}),
    b"\x02\n" + HEAD.replace(b'"OK"', b"1"),
    b"\x00\x00\x00" + b"." * 60,
    b"\x03" + described(ENTRY),
    b'\x03[1.5,[["accept","a"]]]',
    b"\x04p:e:{" + b"0a" * 32 + b"}." + b"0a" * 8,
)
TOKENS = (
    b"CGATE\n",
    b"[",
    b"]",
    b'"',
    b"null",
    b"1e308",
    b"-1",
    b"true",
    b'"unpacked":',
    b'"key":',
    b'"times":',
    b'"nan"',
    b"{",
)


def check(data: bytes) -> None:
    feed = Feed(data)
    match feed.number() % 5:
        case 0 | 1 as packed:
            _damaged(feed, _PACKED if packed else _WHOLE)
        case 2:
            _of_any_head(feed.line(), feed.rest())
        case 3:
            _index(feed.rest())
        case _:
            _name(feed.rest())


def _damaged(feed: Feed, whole: bytes) -> None:
    """Other bytes than those that were written are no record."""
    feed.number()
    feed.number()
    record = feed.rest()
    found = _opened(record)
    if found is not None:
        assert record in (_WHOLE, _PACKED)
    at = len(record) % len(whole)
    assert _opened(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]) is None
    spliced = whole[:at] + record[at:]
    assert _opened(spliced) is None or spliced in (_WHOLE, _PACKED)


def _opened(record: bytes) -> Entry | None:
    try:
        found = opened(ENTRY.key, record, MOST)
    except BadRecord:
        return None
    assert found.key == ENTRY.key
    return found


def _of_any_head(body: bytes, head: bytes) -> None:
    start = struct.pack(">6sHQQII", codec.MAGIC, codec.VERSION, 7, len(body), len(head), crc32(body))
    record = start + struct.pack(">I", crc32(head, crc32(start))) + body + head
    try:
        words = orjson.loads(head)["key"]
        key = KeyParts(Scope(*words[:5]), *words[5:8]).digest()
    except (ValueError, TypeError, LookupError, AttributeError):
        key = ENTRY.key
    for name in (key, ENTRY.key):
        try:
            found = opened(name, record, MOST)
        except BadRecord:
            _read(record, name)
            continue
        assert found.key == name
        data = found.body.data
        assert data is not None
        assert len(data) <= MOST
        assert all(isinstance(text, str) for text in (found.phrase, found.rule, *found.tags))
        assert not any(map(isnan, (found.requested_at, found.received_at, found.keep_until)))
        try:
            again = codec.encode(found, data)
        except StoreError:
            raise AssertionError("what was read cannot be written") from None
        assert codec.decode(again, name) == found
        described(found)


class _Bytes:
    def __init__(self, record: bytes) -> None:
        self._record = record
        self.size = len(record)

    def read(self, size: int, offset: int) -> bytes:
        return self._record[offset : offset + size]


def _read(record: bytes, key: str) -> None:
    """Read from a file it is refused as well."""
    try:
        codec.read(_Bytes(record), key, 3, lambda header: BytesBody(b"\0" * header.body_size))
    except BadRecord:
        return
    assert Header.parse(record[: codec.HEADER], len(record)).body_size > 3


def _index(description: bytes) -> None:
    try:
        pairs = orjson.loads(description)[1]
        variant = replace(ENTRY, vary=tuple((str(name), str(value)) for name, value in pairs)).variant
    except (ValueError, TypeError, LookupError):
        variant = ENTRY.variant
    found = variant_of(variant.encode(), description)
    if found is not None:
        assert found.id == variant
        assert not any(map(isnan, (found.received_at, found.dated_at)))
        assert variant_of(b"0" * 16, description) is None or variant == "0" * 16


def _name(key: bytes) -> None:
    names = Names("p:")
    ours = names.parse_entry(key)
    assert ours is None or names.entry(ours.name).encode() == key


TARGET = Target(check, SEEDS, TOKENS)
