"""Tiers read without leaving a trace, for whoever explains what is there (row 201): what is found is what a lookup
finds, and nothing is counted, learnt, moved or taken away."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.entry import Entry, Variant, any_variant
from proxy.errors import StoreError
from proxy.redis.errors import Away
from proxy.store import Store
from proxy.store.backlog import Backlog
from proxy.store.file import FileStore
from proxy.store.file_dir import Role
from proxy.store.guarded import FIRST_PAUSE, Guarded, Health
from proxy.store.redis import RedisStore
from tests.support.entries import DictStore, FakeClock, content, entry, language, pick
from tests.support.redis_servers import RedisServer, redis_server
from tests.support.redis_stores import NAMES, Journal, redis_store

MIB = 1 << 20
PATHS = ["/a", "/b", "/c"]


@asynccontextmanager
async def files(dir: Path, **more: object) -> AsyncIterator[FileStore]:
    store = FileStore(dir / "file", max_bytes=8 * MIB, max_object=MIB, clock=FakeClock(), **more)  # type: ignore[arg-type]
    await store.open()
    assert store.index_task is not None
    await store.index_task
    try:
        yield store
    finally:
        await store.close()


async def same(store: FileStore | RedisStore, wanted: Entry, variant: str | None = None) -> None:
    """What a glance finds is what a lookup gives."""

    def select(variants: Iterable[Variant]) -> str | None:
        return variant if variant is not None else any_variant(variants)

    glanced, got = await store.glance(wanted.hash, select), await store.get(wanted.hash, select)
    assert (glanced is None) is (got is None)
    if glanced is not None and got is not None:
        assert (glanced.key, glanced.fields, glanced.received_at) == (got.key, got.fields, got.received_at)
        assert await content(glanced) == await content(got)


VARIED = [entry("/v", vary=language(value), body=value.encode()) for value in ("de", "fr")]


async def test_it_finds_what_a_lookup_finds(tmp_path: Path) -> None:
    stored = [*map(entry, PATHS), *VARIED]
    async with files(tmp_path) as store:
        for one in stored:
            await store.put(one)
        for one in [*stored, entry("/none")]:
            await same(store, one, one.variant)
    async with files(tmp_path) as again:  # whose heads nobody has read yet
        for one in [*stored, entry("/none")]:
            await same(again, one, one.variant)
    async with redis_server() as redis, redis_store(redis.url) as shared:
        for one in stored:
            await shared.put(one)
        for one in [*stored, entry("/none")]:
            await same(shared, one, one.variant)


async def test_files_keep_their_order_and_what_is_known_of_them(tmp_path: Path) -> None:
    async with files(tmp_path, eviction="lru") as store:
        for path in PATHS:
            await store.put(entry(path))
    async with files(tmp_path, eviction="lru") as store:
        before = store.names(), [(record.uses, record.variant) for record in store._shelves]
        for path in PATHS:
            assert await store.glance(entry(path).hash, any_variant) is not None
        assert len([head async for head in store.heads()]) == len(PATHS)
        assert (store.names(), [(record.uses, record.variant) for record in store._shelves]) == before
        await store.get(entry("/a").hash, any_variant)
        assert [(record.uses, record.variant) for record in store._shelves] != before[1]  # as a lookup does


async def test_a_worker_tells_its_parent_of_nothing(tmp_path: Path) -> None:
    told: list[object] = []
    async with files(tmp_path) as store:
        await store.put(entry("/a"))
    async with files(tmp_path, role=Role.WORKER, workers=2, tell=told.append) as worker:
        assert await worker.glance(entry("/a").hash, any_variant) is not None
        assert await worker.glance(entry("/none").hash, any_variant) is None
    assert not told


async def test_a_damaged_file_stays_for_a_lookup_to_find(tmp_path: Path) -> None:
    async with files(tmp_path) as store:
        await store.put(one := entry("/a", body=b"0123456789"))
        (path,) = (each for each in (tmp_path / "file").rglob("*") if each.is_file() and one.hash[8:] in each.name)
        raw = bytearray(path.read_bytes())
        raw[-1] ^= 1
        path.write_bytes(raw)
        for _ in range(2):
            assert await store.glance(one.hash, any_variant) is None
            assert [head async for head in store.heads()] == []
            assert (store.entries, store.damaged, path.exists()) == (1, 0, True)
        assert await store.get(one.hash, any_variant) is None
        assert (store.entries, store.damaged) == (0, 1)


async def test_redis_is_asked_by_reading_alone() -> None:
    async with redis_server() as redis, redis_store(redis.url) as store:
        for one in VARIED:
            await store.put(one)
        await redis.command("SET", NAMES.entry(entry("/bad").hash), b"no record of ours", "EX", 60)
        await redis.command("UNLINK", NAMES.entry(VARIED[0].key))  # of which the index goes on telling
        await redis.command("HSET", NAMES.index(VARIED[0].hash), "ffff", "no description")
        before = await everything(redis)
        async with redis.monitor() as seen:
            assert await store.glance(entry("/bad").hash, any_variant) is None
            assert await store.glance(VARIED[0].hash, lambda variants: VARIED[0].variant) is None
            await seen.caught_up()
        asked = {line.partition('] "')[2].partition('"')[0].upper() for line in seen}
        assert asked <= {"GETRANGE", "HGETALL", "PING", "ECHO", ""}, asked
        assert (await everything(redis), store.poisoned) == (before, 0)
        assert await store.get(entry("/bad").hash, any_variant) is None
        assert store.poisoned == 1


async def test_redis_that_is_not_asked_is_no_miss() -> None:
    journal = Journal(at=None)
    async with redis_server() as redis, redis_store(redis.url, journal=journal) as store:
        with pytest.raises(Away, match="not asked: cut off from the purges of the others"):
            await store.glance(entry("/a").hash, any_variant)
        assert await store.get(entry("/a").hash, any_variant) is None
        await store._server.close()
        journal.at = (7, 100)
        with pytest.raises(Away, match="not asked: we are closing"):
            await store.glance(entry("/a").hash, any_variant)


async def everything(redis: RedisServer) -> dict[bytes, object]:
    async with redis.client() as client:
        names = [name async for name in client.scan_iter(match=f"{NAMES.prefix}*")]
        return {name: (await client.dump(name)) for name in names}


class Failing(DictStore):
    """Counts its reads."""

    asked = 0

    async def get(self, hash: str, select: object) -> Entry | None:
        self.asked += 1
        return await super().get(hash, select)  # type: ignore[arg-type]


async def test_trouble_is_told_in_words_and_noted_by_nobody() -> None:
    changes: list[Health] = []
    clock, inner = FakeClock(), Failing()
    guarded = Guarded(inner, "inner", lambda health, reason: changes.append(health), clock=clock)
    await guarded.put(one := entry("/a"))
    assert await guarded.glance(one.hash, pick(())) is not None  # of a store that has only lookups
    inner.fail = True
    for _ in range(2):
        with pytest.raises(StoreError, match="out of order"):
            await guarded.glance(one.hash, pick(()))
    assert (guarded.errors, guarded.health, changes, inner.asked) == (0, Health.READY, [], 3)
    assert await guarded.get(one.hash, pick(())) is None
    with pytest.raises(StoreError, match="out of order"):  # nobody would be asked now
        await guarded.glance(one.hash, pick(()))
    assert (guarded.errors, inner.asked) == (1, 4)
    inner.fail = False
    clock.now += FIRST_PAUSE  # a lookup would try again: so does a glance, and leaves the try to it
    assert await guarded.glance(one.hash, pick(())) is not None
    assert (guarded.health, changes) == (Health.FAILED, [Health.FAILED])


async def test_what_stands_before_a_store_passes_it_on(tmp_path: Path) -> None:
    async with files(tmp_path, eviction="lru") as store:
        await store.put(one := entry("/a"))
        layers: Store = Guarded(Backlog(store), "file", lambda health, reason: None, clock=FakeClock())
        assert isinstance(layers, Guarded)
        uses = [record.uses for record in store._shelves]
        assert await layers.glance(one.hash, any_variant) is not None
        assert [record.uses for record in store._shelves] == uses
