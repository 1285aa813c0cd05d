"""A tier that fails fails no request (row 33 for files, invariant 9 of reliability); stores by dotted path (row 26)."""

import asyncio
from collections.abc import Callable
from typing import NoReturn

import pytest

from proxy.entry import Entry, any_variant
from proxy.errors import ConfigError, StoreError
from proxy.store.guarded import FIRST_PAUSE, LONGEST_PAUSE, Guarded, Health, Unpaced
from proxy.store.loading import load_store
from tests.support.entries import DictStore, FakeClock, entry, pick


class Counting(DictStore):
    """Counts what reaches it, and can fail in reading, in writing, or hang."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.writes_fail = False
        self.reads_raise: Exception | None = None
        self.hangs = False

    async def get(self, hash: str, select: Callable[..., str | None]) -> Entry | None:
        self.asked += 1
        if self.hangs:
            await asyncio.Event().wait()
        await asyncio.sleep(0)
        if self.reads_raise is not None:
            raise self.reads_raise
        return await super().get(hash, select)

    async def put(self, entry: Entry) -> bool:
        self.asked += 1
        if self.writes_fail:
            raise OSError("disk full")
        return await super().put(entry)


class World:
    def __init__(self) -> None:
        self.store = Counting()
        self.clock = FakeClock(1000.0)
        self.told: list[tuple[Health, str]] = []
        self.guarded = Guarded(
            self.store,
            "file",
            lambda health, reason: self.told.append((health, reason)),
            clock=self.clock,
            read_patience=0.01,
        )

    async def found(self) -> bool:
        return await self.guarded.get(entry().hash, any_variant) is not None


async def test_every_verb_of_a_dead_store_is_nothing_done() -> None:
    world = World()
    world.store.fail = True
    assert await world.guarded.get(entry().hash, any_variant) is None
    assert await world.guarded.put(entry()) is False
    assert await world.guarded.delete(entry().key) == 0
    assert await world.guarded.clear() == 0
    assert await world.guarded.sweep() == 0
    world.clock.now += 100
    assert [one async for one in world.guarded.scan()] == []
    await world.guarded.close()
    assert world.guarded.errors == 6
    assert world.told == [(Health.FAILED, "out of order")]


@pytest.mark.parametrize("error", [ValueError("a bug"), KeyError(), OSError(5, "I/O error"), TimeoutError()])
async def test_an_error_that_nobody_thought_of_is_a_miss_too(error: Exception) -> None:
    world = World()
    world.store.reads_raise = error
    assert not await world.found()
    ((health, reason),) = world.told
    assert health is Health.FAILED
    assert reason


async def test_cancelling_is_no_failure() -> None:
    world = World()
    world.store.reads_raise = asyncio.CancelledError()  # type: ignore[assignment]
    with pytest.raises(asyncio.CancelledError):
        await world.found()
    assert world.told == []


async def test_a_store_that_hangs_is_given_little_time() -> None:
    world = World()
    world.store.hangs = True
    assert not await world.found()
    assert world.told == [(Health.FAILED, "no answer in time")]


async def test_it_is_asked_again_after_pauses_that_grow_to_a_bound() -> None:
    world = World()
    world.store.reads_raise = ValueError("dead")
    pauses = []
    for _ in range(12):
        before, asked = world.clock.now, world.store.asked
        while world.store.asked == asked:
            await world.found()
            world.clock.now += 0.125
        pauses.append(world.clock.now - before)
    assert pauses[1:7] == [FIRST_PAUSE * 2**number for number in range(6)]
    assert pauses[-1] == LONGEST_PAUSE
    assert len(world.told) == 1


async def test_a_store_that_paces_itself_is_asked_every_time() -> None:
    world = World()
    guarded = Guarded(world.store, "redis", lambda health, reason: None, clock=world.clock, pace=Unpaced)
    world.store.reads_raise = StoreError("away")
    for _ in range(5):
        assert await guarded.get(entry().hash, any_variant) is None
    assert world.store.asked == 5
    world.store.reads_raise = None
    assert await guarded.put(entry())
    found = await guarded.get(entry().hash, any_variant)
    assert found is not None


async def test_only_one_tries_while_the_others_pass_by() -> None:
    world = World()
    world.store.reads_raise = ValueError("dead")
    await asyncio.gather(*(world.found() for _ in range(50)))  # all had set out before the first failed
    world.clock.now += FIRST_PAUSE  # so many failures together count as one
    world.store.hangs, asked = True, world.store.asked
    await asyncio.gather(*(world.found() for _ in range(50)))
    assert world.store.asked == asked + 1


async def test_it_is_ready_again_at_once_and_each_change_is_told_once() -> None:
    world = World()
    await world.guarded.put(entry())
    for _ in range(3):
        world.store.reads_raise = ValueError("dead")
        assert not await world.found()
        assert not await world.found()
        world.store.reads_raise = None
        world.clock.now += LONGEST_PAUSE
        assert await world.found()
        assert await world.found()
    assert world.told == [(Health.FAILED, "dead"), (Health.READY, "")] * 3
    assert (world.guarded.health, world.guarded.reason) == (Health.READY, "")


async def test_a_full_disk_still_gives_hits() -> None:
    world = World()
    await world.guarded.put(entry())
    world.store.writes_fail = True
    assert await world.guarded.put(entry("/b")) is False
    for _ in range(5):
        assert await world.found()
    assert world.told == [(Health.FAILED, "disk full")]
    asked = world.store.asked
    assert await world.guarded.put(entry("/b")) is False
    assert world.store.asked == asked
    assert await world.guarded.delete(entry().key) == 1  # a purge is never put off


# stores by dotted path


class Named(DictStore):
    """A user's store that wants an option."""

    def __init__(self, *, size: int) -> None:
        super().__init__()
        if size < 0:
            raise ValueError("size must not be negative")
        self.size = size


class Half:
    """No store: it lacks verbs."""

    async def get(self) -> NoReturn:
        raise NotImplementedError

    clear = "not callable"


async def test_a_users_store_is_made_by_its_name() -> None:
    store = load_store(f"{__name__}:Named", {"size": 3})
    assert isinstance(store, Named)
    assert store.size == 3
    assert await store.put(entry()) is True
    assert await store.get(entry().hash, pick(())) is not None


@pytest.mark.parametrize(
    ("path", "options", "words"),
    [
        ("", {}, "package.module:Class"),
        ("just.a.module", {}, "package.module:Class"),
        (":Class", {}, "package.module:Class"),
        ("no.such.module:Class", {}, "cannot be imported: No module named 'no'"),
        (f"{__name__}:Missing", {}, "has no class 'Missing'"),
        (f"{__name__}:entry", {}, "has no class 'entry'"),
        (f"{__name__}:Half", {}, "has no put, delete, scan, clear, close; wanted are get, put"),
        (f"{__name__}:Named", {}, "cannot be made with {}: "),
        (f"{__name__}:Named", {"size": -1}, "size must not be negative"),
        (f"{__name__}:Named", {"sise": 1}, "sise"),
    ],
)
def test_a_name_that_makes_no_store_is_told_clearly(path: str, options: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_store(path, options, place="cachegate.yaml:3:5")
    (problem,) = caught.value.problems
    assert problem.place == "cachegate.yaml:3:5"
    assert words in problem.text
