"""Records that the kernel holds are read in the event loop: the same answers as from a thread, and never a wait for a
disk. Whatever is odd is left to the thread, which counts and removes."""

import asyncio
import math
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from proxy.entry import Entry, any_variant
from proxy.outcome import Tier
from proxy.store.file import FileStore
from proxy.store.file_cached import MOST, PageCache
from proxy.store.file_kept import Kept, KeptFiles
from proxy.store.file_warm import Sight, Warm
from proxy.store.guarded import Guarded
from proxy.store.tiered import Lookups, Tiered
from tests.support.disks import cold_disk, needs_page_cache
from tests.support.entries import NOW, FakeClock, entry, language, pick
from tests.test_store_file import DAMAGE, path_of, rewrite, settled

MIB = 1024 * 1024
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux says at once what it has")


class World:
    """A file tier of its own, and what of it is warm."""

    def __init__(self, dir: Path, max_bytes: int = 64 * MIB, open_files: int = 100) -> None:
        self.clock = FakeClock()
        self.trusted = True
        self.store = FileStore(dir, max_bytes=max_bytes, max_object=8 * MIB, open_files=open_files, clock=self.clock)
        self.warm: Warm = self.store.warm(lambda: self.trusted)

    async def open(self) -> None:
        await self.store.open()
        needs_page_cache(self.store.directory.root)
        assert self.store.index_task is not None
        await self.store.index_task

    async def read(self, one: Entry) -> Entry | None:
        """As a thread reads it."""
        return await self.store.get(one.hash, pick(one.vary))

    def look(self, one: Entry) -> Sight | None:
        return self.warm.look(one.hash, pick(one.vary))

    def again(self, sight: Sight) -> bytes | None:
        return self.warm.again(sight.mark)

    async def known(self, one: Entry) -> Sight:
        """One that was stored, and read once at hand."""
        await self.store.put(one)
        sight = self.look(one)
        assert sight is not None
        assert self.again(sight) == one.body.data
        return sight


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path / "tier")
    await made.open()
    needs_page_cache(made.store.directory.root)
    yield made
    await made.store.close()


@pytest.mark.parametrize("size", [0, 1, 4096, 50_000])
async def test_the_same_as_from_a_thread(world: World, size: int) -> None:
    one = entry("/one", os.urandom(size), vary=language("de"), fence=7, tags=("a", "b"))
    sight = await world.known(one)
    assert sight.entry == one == await world.read(one)


async def test_what_was_read_is_not_changed_by_what_is_read_next(world: World) -> None:
    """All reads share one buffer."""
    sights = [await world.known(entry(f"/{letter}", letter.encode() * 100)) for letter in "ab"]
    contents = [world.again(sight) for sight in sights]
    assert [sight.entry.body.data for sight in sights] == contents == [b"a" * 100, b"b" * 100]


@pytest.mark.parametrize("change", DAMAGE.values(), ids=DAMAGE.keys())
async def test_damage_is_left_to_the_thread(world: World, change: Callable[[bytearray], None]) -> None:
    sight = await world.known(entry())
    rewrite(path_of(world.store, entry()), change)
    assert world.look(entry()) is world.again(sight) is None
    assert (world.store.damaged, world.store.entries) == (0, 1)
    assert await world.read(entry()) is None
    await settled(world.store)
    assert (world.store.damaged, world.store.entries) == (1, 0)


def as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def as_link(path: Path) -> None:
    path.symlink_to(path.rename(path.with_name("moved")))


def as_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def as_another(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes()[::-1])
    other.rename(path)


def under_another_name(path: Path) -> None:
    """Whole and proven, but of another key."""
    other = next(each for each in path.parent.parent.parent.glob("?/??/*") if each != path)
    path.write_bytes(other.read_bytes())


@pytest.mark.parametrize("change", [Path.unlink, as_folder, as_link, as_pipe, as_another, under_another_name])
async def test_what_stands_in_the_place_of_a_record_is_not_read(world: World, change: Callable[[Path], None]) -> None:
    await world.store.put(entry("/other", b"another's"))
    sight = await world.known(entry())
    change(path_of(world.store, entry()))
    assert world.look(entry()) is world.again(sight) is None


async def test_a_folder_is_looked_at_by_a_thread_first(world: World, tmp_path: Path) -> None:
    """Before that it might be a link to somewhere else."""
    await world.store.put(entry())
    await world.store.close()
    later = World(tmp_path / "tier")
    await later.open()
    assert later.look(entry()) is None
    assert await later.read(entry()) == entry()
    assert later.look(entry()) is not None
    await asyncio.to_thread(later.store.directory.claim)  # as for a directory that was deleted
    assert later.look(entry()) is None
    await later.store.close()


async def until_forgotten(path: Path, ask: Callable[[], object]) -> None:
    """Until what asks gets nothing. That the kernel lets go what it holds of a file can only be advised, and who asks
    has it begin to read."""
    async with asyncio.timeout(20):
        with path.open("rb") as file:
            asked = True
            while asked:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                asked = ask() is not None
                await asyncio.sleep(0)


async def test_what_the_kernel_does_not_hold_is_left_to_the_thread(world: World) -> None:
    body = b"x" * 20_000
    sight = await world.known(entry(body=body))
    path = path_of(world.store, entry())
    await until_forgotten(path, lambda: world.look(entry()))
    await until_forgotten(path, lambda: world.again(sight))
    assert await world.read(entry()) == entry(body=body)
    assert world.again(sight) == body


async def test_what_is_large_is_left_to_the_thread(world: World) -> None:
    await world.store.put(entry(body=b"x" * MOST))
    assert world.look(entry()) is None


async def test_a_disk_in_trouble_is_not_asked(world: World) -> None:
    sight = await world.known(entry())
    world.trusted = False
    assert world.look(entry()) is world.again(sight) is None


async def test_what_is_over_is_not_read(world: World) -> None:
    await world.known(entry(keep_until=NOW + 10))
    world.clock.now = NOW + 10
    assert world.look(entry()) is None


async def put_anew(world: World) -> object:
    return await world.store.put(entry(body=b"new"))


async def put_a_variant(world: World) -> object:
    """It may suit better."""
    return await world.store.put(entry(vary=language("de")))


async def delete(world: World) -> object:
    return await world.store.delete(entry().hash)


async def clear(world: World) -> object:
    return await world.store.clear()


async def close(world: World) -> object:
    return await world.store.close()


@pytest.mark.parametrize("change", [put_anew, put_a_variant, delete, clear, close])
async def test_nothing_is_taken_again_once_something_is_another(
    world: World, change: Callable[[World], Awaitable[object]]
) -> None:
    sight = await world.known(entry())
    await change(world)
    assert world.again(sight) is None


def kept_open(world: World) -> list[str]:
    """Names of the records of which this process has a descriptor."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            path = Path(os.readlink(f"/proc/self/fd/{number}"))
            if path.is_relative_to(world.store.directory.root) and len(path.name) >= 64:
                found.append(path.name)
    return found


async def test_what_is_read_again_is_kept_open(world: World) -> None:
    await world.store.put(entry())
    for _ in range(3):
        sight = world.look(entry())
    assert kept_open(world) == []
    assert sight is not None
    for _ in range(3):
        assert world.again(sight) == b"content"
        assert kept_open(world) == [entry().key]


async def sweep(world: World) -> object:
    """Whoever moved the directory away is noticed now at the latest."""
    return await world.store.sweep()


@pytest.mark.parametrize("change", [put_anew, put_a_variant, delete, clear, sweep, close])
async def test_it_is_given_back_when_something_becomes_of_it(
    world: World, change: Callable[[World], Awaitable[object]]
) -> None:
    await world.known(entry())
    assert kept_open(world) == [entry().key]
    await change(world)
    await settled(world.store)
    assert (kept_open(world), len(world.store.kept)) == ([], 0)


def as_deleted(path: Path) -> None:
    path.unlink()


def as_moved(path: Path) -> None:
    path.rename(path.with_name("moved"))


def as_written(path: Path) -> None:
    """The very same bytes."""
    path.write_bytes(path.read_bytes())


@pytest.mark.parametrize("change", [as_deleted, as_moved, as_written, as_another])
async def test_it_is_given_back_when_somebody_else_did_something_to_it(
    world: World, change: Callable[[Path], None]
) -> None:
    sight = await world.known(entry())
    for _ in range(1000):  # until the clock of the file system has gone on, and with it the time of the change
        change_time = path_of(world.store, entry()).stat().st_ctime_ns
        (world.store.directory.root / "clock").write_bytes(b"")
        if (world.store.directory.root / "clock").stat().st_ctime_ns > change_time:
            break
        await asyncio.sleep(0.001)
    change(path_of(world.store, entry()))
    assert world.again(sight) is None
    await settled(world.store)
    assert (kept_open(world), len(world.store.kept)) == ([], 0)


async def test_so_many_files_are_kept_open(tmp_path: Path) -> None:
    """The first three, of which one goes for the fifth, as none was used since that was looked at last."""
    world = World(tmp_path / "tier", open_files=3)
    await world.open()
    for number in range(5):
        world.again(await world.known(entry(f"/{number}")))
    await settled(world.store)
    assert sorted(kept_open(world)) == sorted(entry(f"/{number}").key for number in (1, 2, 4))
    await world.store.close()


async def test_what_somebody_deletes_is_gone_within_a_tick_of_the_clock(world: World) -> None:
    """Before Linux 6.13 times of files stand still for some milliseconds."""
    for number in range(30):
        sight = await world.known(entry(f"/{number}"))
        path_of(world.store, entry(f"/{number}")).unlink()
        assert world.again(sight) is None


class Thing:
    kept: Kept | None = None


@pytest.mark.parametrize(
    ("most", "steps", "left"),
    [
        (0, "+a", ""),
        (2, "+a +b", "ab"),
        (2, "+a +b +c", "bc"),
        (2, "+a +b !a +c", "ab"),  # a was used: c is not kept, and next it is b's turn
        (2, "+a +b !a +c +c", "ac"),
        (2, "+a +b !a !b +c +d", "ab"),
        (2, "+a +b !a !b +c +d +e", "be"),
        (2, "+a +b -a +c", "bc"),
    ],
)
def test_who_has_to_go_for_another(most: int, steps: str, left: str) -> None:
    closed: list[int] = []
    files, things = KeptFiles(most, closed.append), {name: Thing() for name in "abcde"}
    taken = []
    for step in steps.split():
        thing = things[step[1]]
        if step[0] == "+":
            fd = os.open("/dev/null", os.O_RDONLY)
            if files.keep(thing, fd):
                taken.append(fd)
            else:
                os.close(fd)
        else:
            assert thing.kept is not None
            if step[0] == "!":
                thing.kept.used = True
            else:
                thing.kept.end()
    assert "".join(name for name, thing in things.items() if thing.kept is not None) == left
    assert len(files) == len(left)
    files.clear()
    assert sorted(closed) == sorted(taken)  # each once
    for fd in closed:
        os.close(fd)


async def test_several_workers_ask_the_disk(tmp_path: Path) -> None:
    """Another may have written there."""
    world = World(tmp_path / "tier")
    world.store = FileStore(
        tmp_path / "tier", max_bytes=MIB, max_object=MIB, clock=world.clock, tell=lambda changes: None
    )
    await world.store.open()
    await world.store.put(entry())
    assert await world.read(entry()) == entry()
    assert world.store.warm(lambda: True).look(entry().hash, any_variant) is None
    await world.store.close()


async def test_reading_at_hand_writes_nothing_to_disk_until_it_is_noted(world: World) -> None:
    """The order in which records were used last has to survive a restart."""
    paths = [path_of(world.store, entry(path)) for path in ("/a", "/b", "/c")]
    for path in ("/a", "/b", "/c"):
        await world.known(entry(path))
    await world.store.sweep()

    def used() -> list[bool]:
        return [path.stat().st_atime > NOW for path in paths]

    for path in paths:
        os.utime(path, (NOW, NOW + 3600))
    for letter in "abc":
        sight = world.look(entry(f"/{letter}"))
        assert sight is not None
        for _ in range(3 if letter != "b" else 0):
            world.warm.take(sight.mark)
    assert used() == [False, False, False]
    assert len(world.store.directory._used) == 2  # each once, however often it was used
    await world.store.sweep()
    assert used() == [True, False, True]
    assert {path.stat().st_mtime for path in paths} == {NOW + 3600}  # until when they are kept


async def test_what_was_used_at_hand_leaves_last(tmp_path: Path) -> None:
    world = World(tmp_path / "tier", max_bytes=3 * 4096)
    await world.open()
    marks = [(await world.known(entry(path))).mark for path in ("/a", "/b", "/c")]
    world.warm.take(marks[0])
    await world.store.put(entry("/d"))
    assert [path for path in ("/a", "/b", "/c", "/d") if world.look(entry(path)) is None] == ["/b"]
    await settled(world.store)
    assert sorted(kept_open(world)) == sorted([entry("/a").key, entry("/c").key])
    world.warm.take(marks[1])  # while it was read it left
    await world.store.close()


def test_a_file_system_that_has_to_ask_somebody_is_not_asked_in_the_loop(tmp_path: Path) -> None:
    cache = PageCache()
    (tmp_path / "lock").touch()
    needs_page_cache(tmp_path)
    assert not cache.works(b"/proc/self/status")  # made while it is read
    assert not cache.works(os.fsencode(tmp_path / "none"))


def test_a_name_that_the_kernel_does_not_hold_is_not_looked_up(tmp_path: Path) -> None:
    (tmp_path / "filled").mkdir()
    (tmp_path / "filled" / "empty").touch()  # of which no page can be missing
    with cold_disk(tmp_path / "disk", tmp_path / "filled"):
        cache, path = PageCache(), os.fsencode(tmp_path / "disk" / "empty")
        assert cache.read(path) is None
        assert (tmp_path / "disk" / "empty").exists()
        assert cache.read(path) == b""


def test_as_much_as_there_is_room_for(tmp_path: Path) -> None:
    path, cache = tmp_path / "lock", PageCache()
    path.write_bytes(b"x" * MOST)
    needs_page_cache(tmp_path)
    assert cache.read(os.fsencode(path)) == b"x" * MOST
    path.write_bytes(b"x" * (MOST + 1))
    assert cache.read(os.fsencode(path)) is None


class Log:
    """A journal in which everything may be purged, at a time or for good."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    @property
    def head(self) -> int:
        return len(self.ends)

    def ended(self, entry: Entry, checked: int = 0) -> float | None:
        return min(self.ends[checked:], default=None)


def tiers_of(world: World, log: Log) -> Tiered:
    """Files alone."""
    guarded = Guarded(world.store, "file", lambda health, reason: None, clock=world.clock)
    far = [(Tier.FILE, guarded)]
    return Tiered(None, far, log, clock=world.clock, spawn=lambda work: work.close(), warm=world.warm)


@pytest.mark.parametrize("end", [NOW - 1, -math.inf], ids=["soft", "hard"])
async def test_a_purge_ends_what_is_at_hand(world: World, end: float) -> None:
    await world.known(entry())
    log = Log()
    near = tiers_of(world, log).nearest_file
    assert near is not None
    before = near.look(entry().hash, any_variant)
    assert before is not None
    assert before.found.ended_at is None
    log.ends.append(end)
    assert near.again(before.slot) is None
    after = near.look(entry().hash, any_variant)
    if end == -math.inf:
        assert after is None
    else:
        assert after is not None
        assert after.found.ended_at == end
        assert near.again(after.slot) == b"content"


async def test_a_hit_needs_no_thread(world: World) -> None:
    """Whether one waits or not: all threads have gone."""
    await world.known(entry())
    tiers = tiers_of(world, Log())
    world.store.directory._pool.shutdown()
    found = await tiers.far(entry().hash, any_variant, {})
    assert found is not None
    assert (found.entry, found.tier) == (entry(), Tier.FILE)
    assert tiers.nearest_file is not None
    held = tiers.nearest_file.look(entry().hash, any_variant)
    assert held is not None
    assert held.found == found
    assert tiers.lookups(Tier.FILE) == Lookups(hits=1)
    tiers.nearest_file.take(held)
    assert tiers.nearest_file.again(held.slot) == b"content"
    assert tiers.lookups(Tier.FILE) == Lookups(hits=3)
