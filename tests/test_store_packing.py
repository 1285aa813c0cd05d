"""Bodies packed at rest (rows 39 and 125): smaller or not at all, and nothing that unpacks to more than it may."""

import random
from dataclasses import replace

import orjson
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from proxy.entry import BytesBody, Entry, Variant
from proxy.message import Fields
from proxy.policy.variants import as_variant
from proxy.store import codec
from proxy.store.codec import BadRecord
from proxy.store.packing import SMALLEST, PackedBody, pack, unpack, worth_packing
from proxy.store.redis_record import described, framed, opened, seal, variant_of
from tests.support.entries import entries, entry, language

MANY = 1 << 20


@given(entries(), st.binary(max_size=40), st.integers(0, 400))
def test_every_fact_and_every_byte_comes_back(plain: Entry, piece: bytes, times: int) -> None:
    one = replace(plain, body=BytesBody(piece * times))
    for packs in (True, False):
        sealed = seal(one.body.data or b"", packs)
        assert len(sealed.data) <= one.body.size
        assert opened(one.key, framed(one, sealed), MANY) == one


@given(entries(), st.data())
def test_no_flipped_or_missing_byte_goes_unseen(one: Entry, data: st.DataObject) -> None:
    record = framed(one, seal((one.body.data or b"") * 20, True))
    place = data.draw(st.integers(0, len(record) - 1))
    flipped = bytearray(record)
    flipped[place] ^= data.draw(st.integers(1, 255))
    for bad in (bytes(flipped), record[:place]):
        with pytest.raises(BadRecord):
            opened(one.key, bad, MANY)


def test_a_json_corpus_takes_less_than_sixty_per_cent() -> None:
    chance = random.Random(39)
    words = ["name", "city", "price", "email", "created", "active", "comment", "color"]
    before = after = 0
    for _ in range(200):
        rows = [
            {word: chance.choice([chance.random(), chance.randrange(10**6), "some text", None]) for word in words}
            for _ in range(chance.randrange(8, 80))
        ]
        data = orjson.dumps(rows)
        before += len(data)
        after += len(seal(data, True).data)
    assert after <= 0.6 * before


def test_what_would_not_be_smaller_lies_as_it_is() -> None:
    data = random.Random(1).randbytes(5000)
    assert pack(data) is None
    assert seal(data, True).unpacked is None
    assert pack(b"a" * 5000) is not None


@pytest.mark.parametrize(
    ("fields", "size", "worth"),
    [
        ([("Content-Type", "application/json; charset=utf-8")], SMALLEST, True),
        ([("Content-Type", "application/json")], SMALLEST - 1, False),
        ([], 5000, True),
        ([("Content-Type", "text/html"), ("Content-Encoding", "gzip")], 5000, False),
        ([("Content-Encoding", "identity")], 5000, False),
        ([("Content-Type", "IMAGE/PNG")], 5000, False),
        ([("Content-Type", "image/svg+xml")], 5000, True),
        ([("Content-Type", "video/mp4")], 5000, False),
        ([("Content-Type", "application/zip")], 5000, False),
        ([("Content-Type", "application/vnd.openxmlformats-officedocument.wordprocessingml.document")], 5000, False),
    ],
)
def test_what_is_worth_packing(fields: list[tuple[str, str]], size: int, worth: bool) -> None:
    assert worth_packing(Fields.of(*fields), size) is worth


def test_only_what_unpacks_to_what_was_said_is_unpacked() -> None:
    data = b"a" * 5000
    packed = pack(data)
    assert packed is not None
    assert unpack(PackedBody(packed, 5000), 5000) == data
    unsized = zstandard.ZstdCompressor(write_content_size=False).compress(data)
    bad = [
        (packed, 4999, MANY),  # it says one size, the head another
        (packed, 5000, 4999),  # more than may be
        (packed[:-3], 5000, MANY),
        (packed + b"x", 5000, MANY),
        (packed + packed, 5000, MANY),
        (unsized, 5000, MANY),
        (data, 5000, MANY),
        (b"", 0, MANY),
        (packed, 0, MANY),
        (packed, -1, MANY),
    ]
    for piece, size, most in bad:
        with pytest.raises(BadRecord):
            unpack(PackedBody(piece, size), most)


def test_a_bomb_is_no_record() -> None:
    """64 MiB of zeros take 2 KB packed, honest in every sum."""
    one = entry(body=b"")
    packed = pack(bytes(64 * MANY))
    assert packed is not None
    for said in (64 * MANY, MANY, 10):
        header, head = codec.frame(one, len(packed), codec.crc32(packed), said)
        with pytest.raises(BadRecord):
            opened(one.key, header + packed + head, MANY)


@pytest.mark.parametrize(
    "line",
    [
        *(b"", b"x", b"{}", b"null", b"[]", b"[1.0]", b"[1.0,[]]", b"[null,null]", b"[1.0,[[1,2]]]", b"\xff"),
        *(b'[1.0,[["accept-language","de"]],2.0]', b'[1.0,[["accept-language","de"]],"a",[]]'),
        *(b'[1.0,[["accept-language","de"]],2.0,3.0]', b'[1.0,[["accept-language","de"]],2.0,[],1]'),
        *(b'["a",[["accept-language","de"]]]', b'[1.0,[["accept-language"]]]', b'[1.0,[["accept-language","fr"]]]'),
    ],
)
def test_a_line_of_an_index_is_ours_or_none(line: bytes) -> None:
    german = entry(vary=language("de"))
    name = german.variant.encode()
    assert variant_of(name, described(german)) == as_variant(german)
    assert variant_of(name, line) is None


def test_a_line_of_an_index_from_before_dates_were_told() -> None:
    german = entry(vary=language("de"))
    line = b'[17.0,[["accept-language","de"]]]'
    assert variant_of(german.variant.encode(), line) == Variant(german.variant, german.vary, 17.0, 17.0)


@given(entries())
def test_a_line_of_an_index_keeps_the_request_values(one: Entry) -> None:
    found = variant_of(one.variant.encode(), described(one))
    assert found == (as_variant(one) if one.vary else None)
