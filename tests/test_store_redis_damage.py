"""What lies in Redis under a name of ours and is not what we put there (row 27, invariant 5): a miss, counted, and it
goes."""

import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from proxy.entry import Entry, Pairs, Variant, any_variant
from proxy.store import codec
from proxy.store.codec import HEADER
from proxy.store.packing import pack
from proxy.store.redis import HEAD_ROOM, RedisStore
from tests.support.entries import NOW, content, entry, language, pick
from tests.support.redis_servers import RedisServer, redis_server
from tests.support.redis_stores import NAMES, redis_store

MAX_OBJECT = 100_000


@asynccontextmanager
async def world(**changes: object) -> AsyncIterator[tuple[RedisServer, RedisStore]]:
    async with redis_server() as redis, redis_store(redis.url, max_object=MAX_OBJECT, **changes) as store:
        yield redis, store


def flipped(place: int) -> Callable[[bytes, Entry], bytes]:
    def flip(record: bytes, one: Entry) -> bytes:
        return record[:place] + bytes([record[place] ^ 1]) + record[place:][1:]

    return flip


def another(record: bytes, one: Entry) -> bytes:
    return codec.encode(entry("/another", vary=one.vary), b"content")


def bomb(record: bytes, one: Entry) -> bytes:
    packed = pack(bytes(50 * MAX_OBJECT))
    assert packed is not None
    header, head = codec.frame(one, len(packed), zlib.crc32(packed), 50 * MAX_OBJECT)
    return header + packed + head


def older_format(record: bytes, one: Entry) -> bytes:
    header = record[:6] + (codec.VERSION - 1).to_bytes(2) + record[8 : HEADER - 4]
    head = record[HEADER + int.from_bytes(record[16:24]) :]
    return header + zlib.crc32(head, zlib.crc32(header)).to_bytes(4) + record[HEADER:]


BAD: dict[str, Callable[[bytes, Entry], bytes]] = {
    "one byte": lambda record, one: b"x",
    "text": lambda record, one: b'{"status": 200, "body": "hello"}',
    "pickle": lambda record, one: b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94\x8c\x06system\x94\x93.",
    "cut short": lambda record, one: record[:-1],
    "a header alone": lambda record, one: record[:HEADER],
    "too long": lambda record, one: record + b"\0",
    "magic": flipped(0),
    "version": flipped(7),
    "fence": flipped(15),
    "length": flipped(23),
    "body": flipped(HEADER + 1),
    "head": flipped(-2),
    "another key's": another,
    "an older format": older_format,
    "a bomb": bomb,
    "too large for its body": lambda record, one: codec.encode(one, b"x" * (MAX_OBJECT + HEAD_ROOM)),
}


@pytest.mark.parametrize("vary", [(), language("de")], ids=["plain", "variant"])
@pytest.mark.parametrize("damage", BAD.values(), ids=BAD.keys())
async def test_what_is_no_record_of_this_key_is_a_miss_and_goes(
    damage: Callable[[bytes, Entry], bytes], vary: Pairs
) -> None:
    async with world() as (redis, store):
        one, beside = entry(vary=vary), entry(vary=language("fr"))
        await store.put(beside)
        await store.put(one)
        name = NAMES.entry(one.key)
        await redis.command("SET", name, damage(await redis.command("GET", name), one), "PX", 60_000)
        assert await store.get(one.hash, pick(vary)) is None
        assert store.poisoned + store.too_large == 1
        assert await redis.command("EXISTS", name) == 0
        found = await store.get(one.hash, pick(beside.vary))
        assert found is not None
        assert await store.put(one)
        assert await store.get(one.hash, pick(vary)) is not None


@pytest.mark.parametrize("junk", [b"\xff" * 100, b"CGATE\n" + b"\xff" * 100, b"\xff"])
async def test_what_is_no_record_has_no_fence(junk: bytes) -> None:
    async with world() as (redis, store):
        await redis.command("SET", NAMES.entry(entry().hash), junk)
        assert await store.put(entry(fence=1))
        found = await store.get(entry().hash, any_variant)
        assert found is not None
        assert await redis.command("PTTL", NAMES.entry(entry().hash)) > 0


async def test_a_value_that_is_too_large_is_not_read_whole() -> None:
    async with world() as (redis, store):
        await redis.command("SET", NAMES.entry(entry().hash), b"x" * 50_000_000)
        before = (await redis.command("INFO", "stats"))["total_net_output_bytes"]
        assert await store.get(entry().hash, any_variant) is None
        after = (await redis.command("INFO", "stats"))["total_net_output_bytes"]
        assert after - before < 2 * (MAX_OBJECT + HEAD_ROOM)
        assert (store.too_large, store.poisoned) == (1, 0)
        assert await redis.command("DBSIZE") == 0


@pytest.mark.parametrize("vary", [(), language("de")], ids=["plain", "variant"])
async def test_other_types_are_misses_and_go(vary: Pairs) -> None:
    async with world() as (redis, store):
        one = entry(vary=vary)
        record, index = NAMES.entry(one.key), NAMES.index(one.hash)

        async def spoil() -> None:
            await redis.command("DEL", record)
            await redis.command("RPUSH", record, "x")

        await store.put(one)
        await spoil()
        assert await store.get(one.hash, pick(vary)) is None
        assert await redis.command("EXISTS", record) == 0
        await store.put(one)
        await spoil()
        assert await store.put(one)  # over it, without being asked for before
        assert await store.get(one.hash, pick(vary)) is not None

        await redis.command("SET", index, "x")
        found = await store.get(one.hash, any_variant)
        assert (found is not None) == (vary == ())
        assert await redis.command("EXISTS", index) == 0
        assert store.poisoned == 2
        await redis.command("SET", index, "x")
        assert await store.put(entry(vary=language("fr")))
        assert await store.get(one.hash, pick(language("fr"))) is not None
        await redis.command("DEL", index)
        await redis.command("SET", index, "x")
        await store.delete(one.hash)
        assert await redis.command("EXISTS", index) == 0


async def test_lines_of_an_index_that_are_not_ours_go() -> None:
    async with world() as (redis, store):
        one = entry(vary=language("de"))
        await store.put(one)
        index = NAMES.index(one.hash)
        for line in ("x", "0123456789abcdef", "", "\xff"):
            await redis.command("HSET", index, line, "[1.0,[]]")
        seen: list[Variant] = []

        def select(variants: object) -> str | None:
            seen.extend(variants)  # type: ignore[call-overload]
            return one.variant

        assert await store.get(one.hash, select) is not None
        assert seen == [Variant(one.variant, one.vary, NOW, NOW, (("accept", "text/plain"),))]
        assert store.poisoned == 1
        assert set(await redis.command("HKEYS", index)) == {one.variant.encode(), b"fence"}


async def test_a_variant_whose_record_is_gone_leaves_the_index() -> None:
    async with world() as (redis, store):
        german, french = entry(vary=language("de")), entry(vary=language("fr"))
        for one in (german, french):
            await store.put(one)
        await redis.command("DEL", NAMES.entry(german.key))
        assert await store.get(german.hash, pick(german.vary)) is None
        fields = await redis.command("HKEYS", NAMES.index(german.hash))
        assert set(fields) == {french.variant.encode(), b"fence"}
        assert store.poisoned == 0


async def test_without_its_index_a_variant_is_a_miss_and_the_next_put_mends_it() -> None:
    async with world() as (redis, store):
        one = entry(vary=language("de"))
        await store.put(one)
        await redis.command("DEL", NAMES.index(one.hash))
        assert await store.get(one.hash, any_variant) is None
        assert await store.put(one)
        assert await store.get(one.hash, any_variant) is not None


async def test_the_oldest_variants_leave_with_their_records() -> None:
    async with world(variants=3) as (redis, store):
        plain = entry(body=b"plain", received_at=NOW - 1000)
        ours = [entry(vary=language(code), received_at=NOW + at) for at, code in enumerate(("a", "b", "c", "d", "e"))]
        await store.put(plain)
        for one in (ours[1], ours[4], ours[0], ours[2], ours[3]):
            assert await store.put(one)
        names = {key.decode() for key in await redis.command("KEYS", "*")}
        kept = [plain, *ours[2:]]
        assert names == {NAMES.index(plain.hash), *(NAMES.entry(one.key) for one in kept)}
        assert len(await redis.command("HKEYS", NAMES.index(plain.hash))) == 4
        found = await store.get(plain.hash, pick(()))
        assert found is not None
        assert await content(found) == b"plain"


async def test_variants_whose_records_are_gone_leave_first() -> None:
    async with world(variants=2) as (redis, store):
        old, gone, new = (entry(vary=language(code), received_at=NOW + at) for at, code in enumerate(("a", "b", "c")))
        for one in (old, gone):
            await store.put(one)
        await redis.command("DEL", NAMES.entry(gone.key))
        await store.put(new)
        for one in (old, new):
            assert await store.get(one.hash, pick(one.vary)) is not None
