"""Records: what goes in comes out, and no damage goes unseen (rows 13 and 27, reliability invariants 5 and 12)."""

import ast
import zlib
from pathlib import Path
from typing import cast

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.entry import Body, BytesBody, Entry
from proxy.errors import StoreError
from proxy.store import codec
from proxy.store.codec import FENCE, HEADER, BadRecord, Header
from tests.support.entries import entries, entry, language
from tests.support.parsed import parsed

PROXY = Path(codec.__file__).parent.parent


def record_of(one: Entry) -> bytes:
    return codec.encode(one, one.body.data or b"")


@given(entries())
def test_every_fact_and_every_byte_comes_back(one: Entry) -> None:
    assert codec.decode(record_of(one), one.key) == one


SMALL = entry("/x?y", b"small", vary=language("de"), fence=7)


@pytest.mark.parametrize("length", range(len(record_of(SMALL))))
def test_a_truncated_record_is_refused(length: int) -> None:
    with pytest.raises(BadRecord):
        codec.decode(record_of(SMALL)[:length], SMALL.key)


@pytest.mark.parametrize("place", range(len(record_of(SMALL))))
def test_a_flipped_byte_is_found(place: int) -> None:
    for flip in (0x01, 0x80, 0xFF):
        record = bytearray(record_of(SMALL))
        record[place] ^= flip
        with pytest.raises(BadRecord):
            codec.decode(bytes(record), SMALL.key)


@given(st.binary(max_size=400))
def test_foreign_bytes_are_refused(junk: bytes) -> None:
    with pytest.raises(BadRecord):
        codec.decode(junk, SMALL.key)


@given(st.binary(max_size=60), st.integers(0, 2**32))
def test_junk_behind_a_good_checksum_is_refused(head: bytes, seed: int) -> None:
    """A program that computes checksums as we do, but writes something else."""
    body = b"x" * (seed % 5)
    raw = codec._HEADER.pack(codec.MAGIC, codec.VERSION, 0, len(body), len(head), zlib.crc32(body))
    total = zlib.crc32(head, zlib.crc32(raw))
    with pytest.raises(BadRecord):
        codec.decode(raw + codec._SUM.pack(total) + body + head, SMALL.key)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=200)
@given(
    st.sampled_from(["key", "status", "fields", "times", "vary", "rule", "tags", "position", "unpacked"]), json_values
)
def test_a_fact_of_the_wrong_shape_is_refused_or_read(name: str, value: object) -> None:
    """Never another exception: whatever JSON stands where a fact should."""
    header, head = codec.frame(SMALL, 5, zlib.crc32(b"small"))
    facts = orjson.loads(head) | {name: value}
    other = orjson.dumps(facts)
    raw = codec._HEADER.pack(codec.MAGIC, codec.VERSION, 7, 5, len(other), zlib.crc32(b"small"))
    record = raw + codec._SUM.pack(zlib.crc32(other, zlib.crc32(raw))) + b"small" + other
    try:
        found = codec.decode(record, SMALL.key)
    except BadRecord:
        return
    assert found.key == SMALL.key
    assert len(header) == HEADER


def test_a_record_of_another_key_is_refused() -> None:
    other = entry("/other", b"small", vary=language("de"))
    with pytest.raises(BadRecord, match="another key"):
        codec.decode(record_of(other), SMALL.key)
    with pytest.raises(BadRecord, match="another key"):
        codec.decode(record_of(entry("/x?y", b"small", vary=language("fr"))), SMALL.key)


@pytest.mark.parametrize(("magic", "version"), [(codec.MAGIC, codec.VERSION + 1), (codec.MAGIC, 0), (b"OTHER\n", 1)])
def test_a_sound_record_of_another_version_is_refused(magic: bytes, version: int) -> None:
    head = codec.frame(SMALL, 5, zlib.crc32(b"small"))[1]
    raw = codec._HEADER.pack(magic, version, 7, 5, len(head), zlib.crc32(b"small"))
    record = raw + codec._SUM.pack(zlib.crc32(head, zlib.crc32(raw))) + b"small" + head
    with pytest.raises(BadRecord, match="version"):
        codec.decode(record, SMALL.key)


def test_the_fence_lies_at_its_place_in_order_of_bytes() -> None:
    low, high = record_of(entry(fence=255)), record_of(entry(fence=256))
    assert int.from_bytes(high[FENCE]) == 256
    assert low[FENCE] < high[FENCE]


def test_a_record_begins_with_its_fence() -> None:
    assert record_of(entry(fence=2**64 - 1)).startswith(codec.begin(2**64 - 1))
    assert len(codec.begin(0)) == FENCE.stop
    with pytest.raises(StoreError):
        codec.begin(2**64)


def test_a_packed_body_is_only_for_who_expects_it() -> None:
    """Nobody takes packed bytes for the content; the sum in the header is theirs."""
    header, head = codec.frame(SMALL, 6, zlib.crc32(b"packed"), 99)
    record = header + b"packed" + head
    with pytest.raises(BadRecord, match="packed"):
        codec.decode(record, SMALL.key)
    with pytest.raises(BadRecord, match="packed"):
        codec.read(Pieces(record), SMALL.key, 0, lambda header: BytesBody(b""))
    seen = []

    def packed(data: bytes, size: int) -> Body:
        seen.append((data, size))
        return BytesBody(b"small")

    assert codec.decode(record, SMALL.key, packed) == SMALL
    assert seen == [(b"packed", 99)]


def test_what_cannot_be_written_is_a_store_error() -> None:
    for one in (entry(fence=-1), entry(tags=("\ud800",)), entry(tags=("x" * codec.MAX_HEAD,))):
        with pytest.raises(StoreError):
            record_of(one)


class Pieces:
    """A record that remembers which bytes of it were read."""

    def __init__(self, record: bytes) -> None:
        self.record = record
        self.size = len(record)
        self.asked: list[tuple[int, int]] = []

    def read(self, size: int, offset: int) -> bytes:
        self.asked.append((offset, size))
        return self.record[offset : offset + size]


@pytest.mark.parametrize("size", [0, 1, 1000, codec.FIRST, 200_000])
def test_reading_from_a_source(size: int) -> None:
    one = entry(body=b"b" * size)
    assert codec.read(Pieces(record_of(one)), one.key, 200_000, lambda header: BytesBody(b"")) == one


def test_a_large_body_is_not_read_with_its_head() -> None:
    one = entry(body=b"b" * 200_000)
    source, headers = Pieces(record_of(one)), []

    def larger(header: Header) -> Body:
        headers.append(header)
        return cast("Body", BytesBody(b"elsewhere"))

    found = codec.read(source, one.key, 1000, larger)
    assert found.body.data == b"elsewhere"
    assert [header.body_size for header in headers] == [200_000]
    assert sum(size for _, size in source.asked) < codec.FIRST + 2000


def test_values_are_data_never_code() -> None:
    """No module of ours can unpickle anything, but the one that speaks to our own workers over our own socket."""
    for path in set(PROXY.rglob("*.py")) - {PROXY / "server" / "bus.py"}:
        for node in ast.walk(parsed(path)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            assert not {"pickle", "marshal", "shelve", "dill"} & set(names), path
