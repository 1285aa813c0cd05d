"""An entry as it lies in Redis: a record whose body may be packed, and a line in the index of its variants. Pure."""

from dataclasses import replace
from typing import NamedTuple
from zlib import crc32

import orjson

from proxy.entry import Body, BytesBody, Entry, Variant, variant_id
from proxy.policy.variants import as_variant
from proxy.store import codec
from proxy.store.packing import PackedBody, pack, unpack


class Sealed(NamedTuple):
    """A body as it will lie there; `unpacked` is its length when it is packed."""

    data: bytes
    sum: int
    unpacked: int | None


def seal(data: bytes, packs: bool) -> Sealed:
    packed = pack(data) if packs else None
    return Sealed(data, crc32(data), None) if packed is None else Sealed(packed, crc32(packed), len(data))


def framed(entry: Entry, sealed: Sealed) -> bytes:
    """The record; StoreError for facts that cannot be written."""
    header, head = codec.frame(entry, len(sealed.data), sealed.sum, sealed.unpacked)
    return b"".join((header, sealed.data, head))


def unsealed(entry: Entry, most: int) -> Entry:
    """With its content in memory; BadRecord when a packed one is not what it says, or larger than `most`."""
    body = entry.body
    return replace(entry, body=BytesBody(unpack(body, most))) if isinstance(body, PackedBody) else entry


def opened(key: str, record: bytes, most: int, at_once: int | None = None) -> Entry:
    """The entry of a record of this key; BadRecord for any other. A packed body of more than `at_once` bytes is left as
    it is, to be `unsealed`."""

    def body(packed: bytes, size: int) -> Body:
        held = PackedBody(packed, size)
        return held if at_once is not None and size > at_once else BytesBody(unpack(held, most))

    return codec.decode(record, key, body)


def described(entry: Entry) -> bytes:
    """What the index says of a variant: its time first, where a script finds it."""
    variant = as_variant(entry)
    return orjson.dumps([variant.received_at, variant.vary, variant.dated_at, variant.told])


def variant_of(id: bytes, description: bytes) -> Variant | None:
    """None for what we did not write. Indexes from before Dates were told have two members."""
    try:
        received_at, pairs, *more = orjson.loads(description)
        dated_at, told = more or (received_at, ())
        vary = codec.text_pairs(pairs)
        found = Variant(variant_id(vary), vary, float(received_at), float(dated_at), codec.text_pairs(told))
    except (ValueError, TypeError):
        return None
    return found if vary and found.id.encode() == id else None
