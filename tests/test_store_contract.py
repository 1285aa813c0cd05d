"""The Store contract, on every store and on their compositions (rows 26 and 58).

A new store joins by one line in `MAKERS`; one that a user writes can be held against it too.
"""

import asyncio
import math
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.entry import BytesBody, Entry, Select, Variant, any_variant
from proxy.message import Fields
from proxy.outcome import Tier
from proxy.store import Store
from proxy.store.backlog import Backlog
from proxy.store.file import FileStore
from proxy.store.guarded import Guarded
from proxy.store.memory import MemoryStore
from proxy.store.redis import RedisStore
from proxy.store.tiered import Tiered
from tests.support.disks import needs_page_cache
from tests.support.entries import NOW, DictStore, FakeClock, content, entry, language, pick
from tests.support.redis_servers import redis_server
from tests.support.redis_stores import redis_store

MIB = 1024 * 1024
Maker = Callable[[Path], Awaitable[Store]]


async def memory(dir: Path) -> MemoryStore:
    return MemoryStore(max_entries=1000, max_bytes=64 * MIB, max_object=4 * MIB, clock=FakeClock())


async def file(dir: Path) -> FileStore:
    store = FileStore(dir / "file", max_bytes=64 * MIB, max_object=4 * MIB, clock=FakeClock())
    await store.open()
    return store


def guarded(inner: Maker) -> Maker:
    async def make(dir: Path) -> Guarded:
        return Guarded(await inner(dir), "inner", lambda health, reason: None, clock=FakeClock())

    return make


async def dictionary(dir: Path) -> DictStore:
    return DictStore()


class NothingPurged:
    head = 0

    def ended(self, entry: Entry, checked: int = 0) -> float | None:
        return None


class AsStore:
    """All tiers behind the port of one."""

    def __init__(self, tiers: Tiered) -> None:
        self.tiers = tiers

    async def get(self, hash: str, select: Select) -> Entry | None:
        found = self.tiers.near(hash, select) or await self.tiers.far(hash, select, {})
        return found.entry if found else None

    async def put(self, entry: Entry) -> bool:
        return bool(await self.tiers.put(entry))

    async def delete(self, key: str) -> int:
        return max((await self.tiers.delete(key)).values())

    async def scan(self) -> AsyncIterator[Entry]:
        async for _, one in self.tiers.scan():
            yield one

    async def clear(self) -> int:
        return max((await self.tiers.clear()).values())

    async def close(self) -> None:
        await self.tiers.close()


async def redis(dir: Path) -> RedisStore:
    """Its server is its own, and ends with it."""
    stack = AsyncExitStack()
    server = await stack.enter_async_context(redis_server())

    class Owner(RedisStore):
        async def close(self) -> None:
            await super().close()
            await stack.aclose()

    return await stack.enter_async_context(redis_store(server.url, kind=Owner, max_object=4 * MIB, clock=FakeClock()))


async def with_backlog(dir: Path) -> Backlog:
    return Backlog(await redis(dir))


async def tiered(dir: Path) -> AsStore:
    return await tiers(dir, [(Tier.FILE, guarded(file))])


async def at_hand(dir: Path) -> AsStore:
    """Records that the kernel holds need no thread."""
    store = await file(dir)
    needs_page_cache(store.directory.root)
    far, warm = [(Tier.FILE, store)], store.warm(lambda: True)
    return AsStore(Tiered(None, far, NothingPurged(), clock=FakeClock(), spawn=lambda work: work.close(), warm=warm))


async def tiered_with_redis(dir: Path) -> AsStore:
    return await tiers(dir, [(Tier.REDIS, guarded(with_backlog)), (Tier.FILE, guarded(file))])


async def tiers(dir: Path, far: Iterable[tuple[Tier, Maker]]) -> AsStore:
    tasks: set[asyncio.Task[None]] = set()

    def spawn(work: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    near = MemoryStore(max_entries=1000, max_bytes=64 * MIB, max_object=1000, clock=FakeClock())
    made = [(tier, await maker(dir)) for tier, maker in far]
    return AsStore(Tiered(near, made, NothingPurged(), clock=FakeClock(), spawn=spawn))


MAKERS: dict[str, Maker] = {
    "memory": memory,
    "file": file,
    "redis": redis,
    "guarded-memory": guarded(memory),
    "guarded-file": guarded(file),
    "guarded-redis": guarded(with_backlog),
    "tiered": tiered,
    "at-hand": at_hand,
    "tiered-redis": tiered_with_redis,
    "dictionary": dictionary,
}


@pytest.fixture(params=MAKERS.values(), ids=MAKERS.keys())
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    made = await request.param(tmp_path)
    yield made
    await made.close()


def same(found: Entry | None, wanted: Entry) -> bool:
    """Equal in every fact; bodies are compared by their bytes. A store may give a fence to what has none."""
    if found is None:
        return False
    nothing = BytesBody(b"")
    return replace(found, body=nothing) == replace(wanted, body=nothing, fence=wanted.fence or found.fence)


async def keys(store: Store) -> list[str]:
    return sorted([one.key async for one in store.scan()])


@pytest.mark.parametrize("size", [0, 1, 1000, MIB, MIB + 1, 3 * MIB])
async def test_what_comes_out_is_what_went_in(store: Store, size: int) -> None:
    body = random.Random(size).randbytes(size)
    fields = Fields([(b"X-A", b"\xff\x00 1"), (b"x-a", b"2"), (b"Empty", b""), (b"X-A", b"3")])
    one = entry("/p\xe9?q=1", body, fields=fields, tags=("a", "b"), phrase="\xc4h", status=599, rule="r", fence=3)
    assert await store.put(one) is True
    found = await store.get(one.hash, any_variant)
    assert found is not None
    assert same(found, one)
    assert found.body.size == size
    assert await content(found) == body


@pytest.mark.parametrize(("start", "end"), [(0, 0), (0, 1), (5, 900_000), (2_000_000, None), (7, 3 * MIB)])
async def test_a_part_of_a_body(store: Store, start: int, end: int | None) -> None:
    body = random.Random(1).randbytes(3 * MIB)
    one = entry(body=body)
    await store.put(one)
    found = await store.get(one.hash, any_variant)
    assert found is not None
    assert await content(found, start, end) == body[start:end]


async def test_a_body_may_be_read_again_and_left_half_read(store: Store) -> None:
    one = entry(body=b"x" * 3 * MIB)
    await store.put(one)
    found = await store.get(one.hash, any_variant)
    assert found is not None
    async with aclosing(found.body.read()) as chunks:  # type: ignore[type-var]
        first = await anext(chunks)
    assert first
    assert await content(found) == b"x" * 3 * MIB
    found.body.close()


async def test_nothing_there(store: Store) -> None:
    def never(variants: Iterable[Variant]) -> str | None:
        raise AssertionError("asked to choose among nothing")

    assert await store.get(entry().hash, never) is None
    assert await store.delete(entry().hash) == 0
    assert await keys(store) == []
    assert await store.clear() == 0


async def test_select_sees_all_variants_once_and_its_word_counts(store: Store) -> None:
    dated = Fields.of(("Date", "Tue, 14 Nov 2023 22:00:00 GMT"), ("Content-Language", "de"))
    german = entry(vary=language("de"), received_at=NOW + 1, fields=dated)
    french = entry(body=b"fr", vary=language("fr"))
    await store.put(german)
    await store.put(french)
    asked = []

    def select(variants: Iterable[Variant]) -> str | None:
        asked.append(sorted(variants))
        return french.variant

    found = await store.get(german.hash, select)
    assert found is not None
    assert await content(found) == b"fr"
    assert asked == [
        sorted(
            [
                Variant(german.variant, german.vary, NOW + 1, NOW - 800, (("accept-language", "de"),)),
                Variant(french.variant, french.vary, NOW, NOW, (("accept", "text/plain"),)),
            ]
        )
    ]


async def test_a_select_that_wants_none_gets_none(store: Store) -> None:
    one = entry(vary=language("de"))
    await store.put(one)
    assert await store.get(one.hash, lambda variants: None) is None
    assert await store.get(one.hash, lambda variants: "0123456789abcdef") is None
    assert await store.get(one.hash, pick(())) is None
    assert same(await store.get(one.hash, pick(language("de"))), one)


async def test_a_put_replaces_its_key_whole_and_no_other(store: Store) -> None:
    others = [entry(vary=language("fr")), entry("/b")]
    old = entry(body=b"old" * 1000, vary=language("de"), fields=Fields.of(("Old", "1")))
    new = entry(body=b"n", vary=language("de"), fields=Fields.of(("New", "1")), received_at=NOW + 5)
    for one in (*others, old, new):
        assert await store.put(one) is True
    found = await store.get(new.hash, pick(language("de")))
    assert same(found, new)
    assert found is not None
    assert await content(found) == b"n"
    assert await keys(store) == sorted(one.key for one in (*others, new))


async def test_an_older_fence_is_refused(store: Store) -> None:
    await store.put(entry(body=b"five", fence=5))
    assert await store.put(entry(body=b"four", fence=4)) is False
    assert await store.put(entry(vary=language("de"), fence=1)) is True  # another variant has its own
    found = await store.get(entry().hash, pick(()))
    assert found is not None
    assert (found.fence, await content(found)) == (5, b"five")
    assert await store.put(entry(body=b"again", fence=5)) is True
    assert await store.put(entry(body=b"six", fence=6)) is True


async def test_what_would_not_outlive_now_is_not_wanted(store: Store) -> None:
    assert await store.put(entry(keep_until=NOW)) is False
    assert await store.get(entry().hash, any_variant) is None
    assert await store.put(entry(keep_until=math.inf)) is True
    found = await store.get(entry().hash, any_variant)
    assert found is not None
    assert found.keep_until == math.inf


async def test_delete_one_variant_or_all(store: Store) -> None:
    variants = [entry(vary=language(code)) for code in ("de", "fr", "it")]
    for one in (*variants, entry("/b")):
        await store.put(one)
    assert await store.delete(variants[0].key) == 1
    assert await store.delete(variants[0].key) == 0
    assert await store.get(variants[0].hash, pick(language("de"))) is None
    assert same(await store.get(variants[0].hash, pick(language("fr"))), variants[1])
    assert await store.delete(variants[0].hash) == 2
    assert await keys(store) == [entry("/b").key]


@pytest.mark.parametrize("key", ["", "x", "../../etc/passwd", "0" * 64 + "./../x", "\0", "a" * 63, "é" * 64])
async def test_what_is_no_key_is_nowhere(store: Store, key: str) -> None:
    await store.put(entry())
    assert await store.delete(key) == 0
    assert await store.get(key, any_variant) is None
    assert await keys(store) == [entry().key]


async def test_scan_tells_every_fact_and_size(store: Store) -> None:
    ours = {one.key: one for one in (entry("/a"), entry("/b", b"x" * 2 * MIB), entry("/a", vary=language("de")))}
    for one in ours.values():
        await store.put(one)
    scanned = [one async for one in store.scan()]
    assert len(scanned) == len(ours)
    for one in scanned:
        assert same(one, ours[one.key])
        assert one.body.size == ours[one.key].body.size
        one.body.close()


async def test_a_scan_bears_changes_meanwhile(store: Store) -> None:
    ours = [entry(f"/{number}") for number in range(20)]
    for one in ours:
        await store.put(one)
    seen = []
    async for one in store.scan():
        seen.append(one.key)
        await store.delete(ours[0].hash)
        await store.put(entry(f"/new-{len(seen)}"))
        if len(seen) == 5:
            break
    assert len(set(seen)) == 5


async def test_clear_forgets_all_and_says_how_many(store: Store) -> None:
    for number in range(12):
        await store.put(entry(f"/{number}"))
    await store.put(entry("/0", vary=language("de")))
    assert await store.clear() == 13
    assert await keys(store) == []
    assert await store.get(entry("/0").hash, any_variant) is None
    assert await store.put(entry("/0")) is True
    assert await keys(store) == [entry("/0").key]


async def test_many_at_once_never_mix(store: Store) -> None:
    """Concurrent puts and gets of few keys: each answer is one that was put, whole."""

    def made(path: str, version: int) -> Entry:
        return entry(path, f"{path}-{version}|".encode() * (version * 40 + 1), fields=Fields.of(("V", str(version))))

    async def writer(path: str) -> None:
        for version in range(8):
            await store.put(made(path, version))

    async def reader(path: str) -> None:
        for _ in range(20):
            found = await store.get(entry(path).hash, any_variant)
            if found is not None:
                version = int(found.fields.get("v") or "-1")
                assert await content(found) == made(path, version).body.data
            await asyncio.sleep(0)

    paths = ["/a", "/b", "/c"]
    await asyncio.gather(*(work(path) for path in paths for work in (writer, reader, writer, reader)))
    assert await keys(store) == sorted(entry(path).key for path in paths)


async def test_close_may_be_called_twice(store: Store) -> None:
    await store.put(entry())
    await store.close()
    await store.close()
