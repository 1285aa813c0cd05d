"""All tiers as one (rows 10-12, 34; reliability invariants 3 and 9): order, promotion, the journal's word, failures."""

import asyncio
import math
import os
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest

from proxy.entry import Entry, Found, Position, any_variant
from proxy.outcome import Tier
from proxy.store import Store
from proxy.store.file import FileStore
from proxy.store.guarded import Guarded
from proxy.store.memory import MemoryStore
from proxy.store.tiered import MAX_PROMOTIONS, Lookups, Tiered
from tests.support.entries import NOW, DictStore, FakeClock, content, entry, language

DEAD = -math.inf


class Log:
    """A journal of purges by path, each hard or soft, in the order of their numbers."""

    def __init__(self) -> None:
        self.records: list[tuple[str, float]] = []
        self.asked = 0

    @property
    def head(self) -> int:
        return len(self.records)

    def purge(self, path: str, ended_at: float = DEAD) -> None:
        self.records.append((path, ended_at))

    def ended(self, entry: Entry, checked: int = 0) -> float | None:
        self.asked += 1
        since = self.records[max(entry.position.local, checked) :]
        ends = [at for path, at in since if path in (entry.parts.path, "*")]
        return min(ends, default=None)


class Gated(DictStore):
    """A far store that writes the body `late` only once its gate is open, and tells what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.late: bytes | None = b"content"
        self.gate = asyncio.Event()
        self.gate.set()
        self.log: list[str] = []

    async def get(self, hash: str, select: Callable[..., str | None]) -> Entry | None:
        self.log.append("get")
        return await super().get(hash, select)

    async def put(self, entry: Entry) -> bool:
        self.log.append("put")
        if entry.body.data == self.late:
            await self.gate.wait()
        return await super().put(entry)


class World:
    """Memory, a Redis of our own and a file tier; what is spawned runs when `settle` is awaited."""

    def __init__(self, memory: MemoryStore | None = None, *, without_memory: bool = False) -> None:
        self.clock = FakeClock()
        self.log = Log()
        near = memory or MemoryStore(max_entries=100, max_bytes=1 << 24, max_object=1 << 20, clock=self.clock)
        self.memory = None if without_memory else near
        self.redis = Gated()
        self.file = Gated()
        self.tasks: list[asyncio.Task[None]] = []
        far: list[tuple[Tier, Store]] = [(Tier.REDIS, self.redis), (Tier.FILE, self.file)]
        self.tiers = Tiered(self.memory, far, self.log, clock=self.clock, spawn=self.spawn)

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        self.tasks.append(asyncio.ensure_future(work))

    async def settle(self) -> None:
        while self.tasks:
            await self.tasks.pop()

    async def get(self, path: str = "/a") -> Found | None:
        wanted = entry(path).hash
        return self.tiers.near(wanted, any_variant) or await self.tiers.far(wanted, any_variant, {})

    def made(self, path: str = "/a", body: bytes = b"content", **changes: object) -> Entry:
        """An entry whose fetch begins now."""
        return entry(path, body, position=Position(0, 0, self.log.head), **changes)  # type: ignore[arg-type]


# order and promotion


async def test_nearest_first_and_no_further_than_needed() -> None:
    world = World()
    assert await world.get() is None
    assert (world.redis.log, world.file.log) == (["get"], ["get"])
    await world.file.put(world.made())
    found = await world.get()
    assert found is not None
    assert found.tier is Tier.FILE
    world.redis.log.clear()
    world.file.log.clear()
    again = await world.get()
    assert again is not None
    assert again.tier is Tier.MEMORY
    assert (world.redis.log, world.file.log) == ([], [])


async def test_a_far_hit_fills_the_nearer_tiers_with_the_remaining_life() -> None:
    world = World()
    await world.file.put(world.made(keep_until=NOW + 50))
    world.clock.now += 20
    await world.get()
    await world.settle()
    assert world.memory is not None
    for near in (world.memory, world.redis):
        held = await near.get(entry().hash, any_variant)
        assert held is not None
        assert (held.keep_until, held.received_at) == (NOW + 50, NOW)
    world.clock.now += 30
    assert world.tiers.near(entry().hash, any_variant) is None


async def test_a_redis_hit_fills_memory_only() -> None:
    world = World()
    await world.redis.put(world.made())
    found = await world.get()
    assert found is not None
    assert found.tier is Tier.REDIS
    await world.settle()
    assert world.tiers.near(entry().hash, any_variant) is not None
    assert world.file.log == []


async def test_each_tier_counts_its_lookups() -> None:
    world = World()
    await world.get()
    await world.file.put(world.made())
    for _ in range(3):
        await world.get()
    assert world.tiers.lookups(Tier.MEMORY) == Lookups(hits=2, misses=2)
    assert world.tiers.lookups(Tier.REDIS) == Lookups(hits=0, misses=2)
    assert world.tiers.lookups(Tier.FILE) == Lookups(hits=1, misses=1)


async def test_a_crowd_promotes_once() -> None:
    world = World(without_memory=True)
    await world.file.put(world.made())
    await asyncio.gather(*(world.get() for _ in range(50)))
    assert len(world.tasks) == 1
    await world.settle()
    assert world.redis.log.count("put") == 1


async def test_promotions_under_way_are_bounded() -> None:
    world = World()
    world.redis.gate.clear()
    for number in range(MAX_PROMOTIONS + 20):
        await world.file.put(world.made(f"/{number}"))
        await world.get(f"/{number}")
    assert len(world.tasks) == MAX_PROMOTIONS
    world.redis.gate.set()
    await world.settle()
    world.tiers.near(entry("/0").hash, any_variant)
    await world.file.put(world.made("/more"))
    await world.get("/more")
    assert len(world.tasks) == 1
    await world.settle()


async def test_a_promotion_does_not_win_over_a_newer_answer() -> None:
    """The fill comes while the promotion is being written, which then lands last."""
    world = World()
    world.redis.late = b"old"
    await world.file.put(world.made(body=b"old"))
    await world.tiers.far(entry().hash, any_variant, {})
    world.redis.gate.clear()
    await asyncio.sleep(0)
    await world.tiers.put(world.made(body=b"new", received_at=NOW + 9))
    world.redis.gate.set()
    await world.settle()
    assert await world.redis.get(entry().hash, any_variant) is None
    found = await world.get()
    assert found is not None
    assert found.entry.body.data == b"new"


async def test_an_older_answer_is_not_brought_over_a_newer_one() -> None:
    """The fill came while the far tier was being read."""
    world = World()
    await world.tiers.put(world.made(body=b"new", received_at=NOW + 9))
    await world.redis.clear()
    await world.file.put(world.made(body=b"old"))
    await world.tiers.far(entry().hash, any_variant, {})
    near = world.tiers.near(entry().hash, any_variant)
    assert near is not None
    assert near.entry.body.data == b"new"
    await world.settle()


async def test_put_reaches_every_tier_that_wants_it() -> None:
    world = World()
    assert await world.tiers.put(world.made()) == {Tier.MEMORY, Tier.REDIS, Tier.FILE}
    assert await world.tiers.put(world.made("/b", b"x" * (2 << 20))) == {Tier.REDIS, Tier.FILE}


# the journal


@pytest.mark.parametrize("tier", ["memory", "redis", "file"])
async def test_nothing_purged_comes_out_of_any_tier(tier: str) -> None:
    world = World()
    await getattr(world, tier).put(world.made())
    world.log.purge("/a")
    assert await world.get() is None
    await world.settle()
    assert [one async for one in getattr(world, tier).scan()] == []
    assert all(world.tiers.lookups(each).hits == 0 for each in Tier)
    assert world.tiers.lookups(Tier(tier)).misses == 1


async def test_a_miss_in_one_tier_for_a_purge_goes_on_to_the_next() -> None:
    world = World()
    await world.redis.put(world.made(body=b"old"))
    world.log.purge("/a")
    await world.file.put(world.made(body=b"new"))
    found = await world.get()
    assert found is not None
    assert found.entry.body.data == b"new"
    await world.settle()


async def test_a_soft_purge_is_told_and_a_hard_one_beats_it() -> None:
    world = World()
    await world.tiers.put(world.made())
    world.log.purge("/a", NOW + 7)
    found = world.tiers.near(entry().hash, any_variant)
    assert found is not None
    assert found.ended_at == NOW + 7
    world.log.purge("/other")
    found = world.tiers.near(entry().hash, any_variant)
    assert found is not None
    assert found.ended_at == NOW + 7
    world.log.purge("/a")
    assert world.tiers.near(entry().hash, any_variant) is None


async def test_the_journal_is_asked_once_per_entry_and_head() -> None:
    world = World()
    await world.tiers.put(world.made())
    world.tiers.near(entry().hash, any_variant)
    asked = world.log.asked
    for _ in range(10):
        assert world.tiers.near(entry().hash, any_variant)
    assert world.log.asked == asked
    world.log.purge("/other")
    for _ in range(10):
        assert world.tiers.near(entry().hash, any_variant)
    assert world.log.asked == asked + 1


async def test_a_fill_that_began_before_a_purge_is_not_stored() -> None:
    world = World()
    late = world.made()
    world.log.purge("/a")
    assert await world.tiers.put(late) == frozenset()
    assert world.file.log == world.redis.log == []
    assert await world.tiers.put(world.made()) != frozenset()


async def test_a_purge_during_a_put_is_not_undone() -> None:
    world = World()
    world.redis.gate.clear()
    putting = asyncio.ensure_future(world.tiers.put(world.made()))
    await asyncio.sleep(0)
    world.log.purge("/a")
    world.redis.gate.set()
    assert await putting == frozenset()
    assert [one async for one in world.tiers.scan()] == []
    assert not any(world.file.kept.values())
    assert not any(world.redis.kept.values())


async def test_what_a_purge_ended_takes_nothing_newer_along() -> None:
    world = World()
    world.redis.gate.clear()
    putting = asyncio.ensure_future(world.tiers.put(world.made(fence=1)))
    await asyncio.sleep(0)
    world.log.purge("/a")
    newer = world.made(body=b"newer", fence=2)
    await world.tiers.put(newer)
    world.redis.gate.set()
    assert await putting == frozenset()
    assert [await content(one) async for _, one in world.tiers.scan()] == [b"newer"]
    for store in (world.memory, world.redis, world.file):
        assert store is not None
        held = await store.get(newer.hash, any_variant)
        assert held is not None
        assert await content(held) == b"newer"


async def test_a_purge_or_delete_during_a_promotion_is_not_undone() -> None:
    for purge in (True, False):
        world = World()
        await world.file.put(world.made())
        world.redis.gate.clear()
        await world.tiers.far(entry().hash, any_variant, {})
        await asyncio.sleep(0)
        if purge:
            world.log.purge("/a")
        else:
            await world.tiers.delete(entry().hash)
        world.redis.gate.set()
        await world.settle()
        assert not any(world.redis.kept.values())


async def test_a_purge_before_a_promotion_runs_stops_it() -> None:
    world = World()
    await world.file.put(world.made())
    await world.tiers.far(entry().hash, any_variant, {})
    world.log.purge("/a")
    await world.settle()
    assert world.redis.log == ["get"]


# the other verbs


async def test_delete_and_clear_tell_what_went_where() -> None:
    world = World()
    for one in (world.made(), world.made(vary=language("de")), world.made("/b")):
        await world.tiers.put(one)
    await world.redis.clear()
    assert await world.tiers.delete(entry().hash) == {Tier.MEMORY: 2, Tier.REDIS: 0, Tier.FILE: 2}
    assert await world.tiers.clear(Tier.FILE) == {Tier.FILE: 1}
    assert await world.tiers.clear() == {Tier.MEMORY: 1, Tier.REDIS: 0, Tier.FILE: 0}


async def test_scan_tells_each_entry_once_from_its_nearest_tier() -> None:
    world = World()
    assert world.memory is not None
    await world.tiers.put(world.made("/everywhere"))
    await world.redis.put(world.made("/redis"))
    await world.file.put(world.made("/redis"))
    await world.file.put(world.made("/file"))
    await world.file.put(world.made("/purged"))
    world.log.purge("/purged")
    found = sorted([(tier.value, one.parts.path) async for tier, one in world.tiers.scan()])
    assert found == [("file", "/file"), ("memory", "/everywhere"), ("redis", "/redis")]


async def test_the_sweep_takes_the_expired_and_the_purged(tmp_path: Path) -> None:
    world = World()
    assert world.memory is not None
    file = FileStore(tmp_path / "tier", max_bytes=1 << 20, max_object=1 << 20, clock=world.clock)
    await file.open()
    guarded = Guarded(file, "file", lambda health, reason: None, clock=world.clock)
    tiers = Tiered(world.memory, [(Tier.FILE, guarded)], world.log, clock=world.clock, spawn=world.spawn)
    for path, keep_until in (("/short", NOW + 1), ("/purged", NOW + 99), ("/good", NOW + 99)):
        await tiers.put(world.made(path, keep_until=keep_until))
    world.clock.now += 2
    world.log.purge("/purged")
    assert await tiers.sweep() == 3  # /short in both tiers, /purged in memory
    assert [slot.entry.parts.path for slot in world.memory.slots()] == ["/good"]
    assert file.entries == 2
    await tiers.close()


async def test_without_memory_everything_else_works() -> None:
    world = World(without_memory=True)
    assert await world.tiers.put(world.made()) == {Tier.REDIS, Tier.FILE}
    found = await world.get()
    assert found is not None
    assert (found.tier, world.tiers.tiers) == (Tier.REDIS, (Tier.REDIS, Tier.FILE))
    assert await world.tiers.sweep() == 0
    assert world.tiers.lookups(Tier.MEMORY) == Lookups()


async def test_a_purged_large_entry_gives_its_file_back(tmp_path: Path) -> None:
    world = World()
    file = FileStore(tmp_path / "tier", max_bytes=1 << 24, max_object=1 << 24, clock=world.clock)
    await file.open()
    tiers = Tiered(world.memory, [(Tier.FILE, file)], world.log, clock=world.clock, spawn=world.spawn)
    await tiers.put(world.made(body=b"x" * (2 << 20)))
    found = await tiers.far(entry().hash, any_variant, {})
    assert found is not None
    assert await content(found.entry) == b"x" * (2 << 20)
    before = len(os.listdir("/dev/fd"))
    world.log.purge("/a")
    assert await tiers.far(entry().hash, any_variant, {}) is None
    assert len(os.listdir("/dev/fd")) == before
    await world.settle()  # it is deleted behind
    await tiers.close()


async def test_nothing_is_found_while_purges_may_have_come_that_are_not_known_here() -> None:
    world, blind = World(), [False]
    far: list[tuple[Tier, Store]] = [(Tier.FILE, world.file)]
    tiers = Tiered(world.memory, far, world.log, clock=world.clock, spawn=world.spawn, blind=lambda: blind[0])
    await tiers.put(entry())
    blind[0] = True
    assert tiers.blind
    assert tiers.near(entry().hash, any_variant) is None
    assert await tiers.far(entry().hash, any_variant, {}) is None
    await tiers.put(entry("/later"))  # whoever sees again finds what was kept meanwhile
    blind[0] = False
    assert tiers.near(entry().hash, any_variant) is not None
    assert tiers.near(entry("/later").hash, any_variant) is not None
