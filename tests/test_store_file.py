"""The file tier on a real disk (rows 13, 14, 17, 23, 27; reliability: bit flips, kill -9, deleted, a shared directory,
permissions, links). Its six verbs are in the contract suite."""

import asyncio
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from proxy.entry import Entry, any_variant
from proxy.errors import StoreError
from proxy.store.eviction import Name
from proxy.store.file import FileStore
from proxy.store.file_batches import WAITING
from proxy.store.file_body import FileBody, SpoolBody
from proxy.store.file_handle import OpenFile
from proxy.store.spool import Spool, open_spool
from tests.support.entries import NOW, FakeClock, content, entry, language, pick
from tests.support.file_writer import numbered

MIB = 1024 * 1024
Open = Callable[..., Awaitable[FileStore]]


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Open]:
    """Opens file tiers, on the same directory when not told otherwise, and closes them in the end."""
    made = []

    async def open_one(dir: Path = tmp_path / "tier", *, indexed: bool = True, **changes: object) -> FileStore:
        settings: dict[str, object] = {"max_bytes": 64 * MIB, "max_object": 8 * MIB, "clock": FakeClock()}
        store = FileStore(dir, **settings | changes)  # type: ignore[arg-type]
        made.append(store)
        await store.open()
        if indexed and store.index_task:
            await store.index_task
        return store

    yield open_one
    for store in made:
        await store.close()


def records(store: FileStore) -> list[Path]:
    return sorted(path for path in store.directory.root.glob("?/??/*") if path.is_file())


def path_of(store: FileStore, one: Entry) -> Path:
    return store.directory.root / one.key[0] / one.key[1:3] / one.key


async def body_of(store: FileStore, one: Entry) -> bytes | None:
    found = await store.get(one.hash, pick(one.vary))
    return None if found is None else await content(found)


async def settled(store: FileStore) -> None:
    """What was started in the background is done."""
    while store._writes:
        await asyncio.wait(store._writes)


def open_files() -> int:
    return len(os.listdir("/dev/fd"))


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


# the directory


@pytest.mark.parametrize("mask", [0, 0o277])
async def test_nobody_else_may_read_whatever_the_umask(opened: Open, tmp_path: Path, mask: int) -> None:
    with umask(mask):
        store = await opened(tmp_path / "new" / "tier")
        await store.put(entry())
        await store.put(entry("/big", b"x" * 2 * MIB))
        spool = await open_spool(store.directory)
    assert isinstance(spool, Spool)
    for path in (tmp_path / "new").rglob("*"):
        mode = stat.S_IMODE(path.lstat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path
    spool.discard()


async def test_a_directory_that_was_open_is_closed_to_others(opened: Open, tmp_path: Path) -> None:
    (tmp_path / "tier").mkdir(mode=0o755)
    store = await opened()
    assert stat.S_IMODE(store.directory.root.stat().st_mode) == 0o700


async def test_a_second_gateway_is_told_clearly(opened: Open) -> None:
    first = await opened()
    await first.put(entry())
    with pytest.raises(StoreError, match="another gateway"):
        await opened()
    assert await body_of(first, entry()) == b"content"
    await first.close()
    assert await body_of(await opened(), entry()) == b"content"


async def test_a_place_that_cannot_be_ours_is_told_in_one_line(opened: Open, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "locked").mkdir()
    (tmp_path / "locked" / "lock").symlink_to(tmp_path / "file")
    for place in ("file", "file/below", "link", "locked"):
        with pytest.raises(StoreError) as caught:
            await opened(tmp_path / place)
        assert str(tmp_path / place) in str(caught.value)
        assert "\n" not in str(caught.value)
    assert (tmp_path / "file").read_text() == "mine"
    assert list((tmp_path / "real").iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
async def test_a_read_only_place_is_told(opened: Open, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(StoreError, match="Permission denied"):
        await opened(tmp_path / "locked" / "tier")


@pytest.mark.parametrize("indexed", [False, True])
@pytest.mark.parametrize("depth", [1, 2, 3], ids=["the folder above", "its folder", "the record"])
async def test_no_link_is_read_or_written_through(opened: Open, tmp_path: Path, depth: int, indexed: bool) -> None:
    store = await opened()
    await store.put(entry())
    await store.close()
    inside, outside = path_of(store, entry()), tmp_path / "outside"
    shutil.copytree(store.directory.root, outside)
    place = Path(*inside.relative_to(store.directory.root).parts[:depth])
    subprocess.run(["rm", "-rf", str(store.directory.root / place)], check=True)
    (store.directory.root / place).symlink_to(outside / place)

    store = await opened(indexed=indexed)
    assert await body_of(store, entry()) is None
    await store.delete(entry().hash)
    await store.clear()
    assert await store.put(entry(body=b"written")) is True
    assert await body_of(store, entry()) == b"written"
    assert not inside.is_symlink()
    secret = outside / inside.relative_to(store.directory.root)
    assert b"content" in secret.read_bytes()


async def test_no_link_is_read_through_that_comes_while_we_run(opened: Open, tmp_path: Path) -> None:
    store = await opened()
    await store.put(entry())
    shutil.move(path_of(store, entry()), tmp_path / "moved")
    path_of(store, entry()).symlink_to(tmp_path / "moved")
    assert await body_of(store, entry()) is None
    await settled(store)
    assert not path_of(store, entry()).is_symlink()
    assert (tmp_path / "moved").exists()
    assert (store.damaged, store.entries) == (1, 0)


async def test_no_temporary_file_is_written_through_a_link(opened: Open, tmp_path: Path) -> None:
    (tmp_path / "tier").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "mine").write_text("mine")
    (tmp_path / "tier" / "tmp").symlink_to(tmp_path / "outside")
    store = await opened()
    spool = await open_spool(store.directory)
    assert spool is not None
    assert [path.name for path in (tmp_path / "outside").iterdir()] == ["mine"]
    spool.discard()


async def test_a_directory_deleted_under_us(opened: Open) -> None:
    store = await opened()
    await store.put(entry())
    await store.put(entry("/big", b"x" * 2 * MIB))
    subprocess.run(["rm", "-rf", str(store.directory.root)], check=True)
    assert await body_of(store, entry()) is None
    assert await body_of(store, entry("/big")) is None
    assert await store.put(entry("/new", b"again")) is True
    assert await body_of(store, entry("/new")) == b"again"
    assert (store.entries, len(records(store))) == (1, 1)
    with pytest.raises(StoreError, match="another gateway"):  # the new directory is locked like the old
        await opened()


# damage


def rewrite(path: Path, change: Callable[[bytearray], None]) -> None:
    raw = bytearray(path.read_bytes())
    change(raw)
    path.write_bytes(raw)


def flip(place: int) -> Callable[[bytearray], None]:
    def change(raw: bytearray) -> None:
        raw[place] ^= 0x10

    return change


DAMAGE: dict[str, Callable[[bytearray], None]] = {
    "a bit of the magic": flip(0),
    "an older version": flip(7),
    "a bit of the fence": flip(9),
    "a bit of the body": flip(40),
    "a bit of the head": flip(-3),
    "a cut": lambda raw: raw.__delitem__(slice(-1, None)),
    "a tear to zeros": lambda raw: raw.__setitem__(slice(36, None), bytes(len(raw) - 36)),
    "nothing left": bytearray.clear,
    "more behind": lambda raw: raw.extend(b"x"),
    "foreign": lambda raw: raw.__setitem__(slice(None), b"#!/bin/sh\n"),
}


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("change", DAMAGE.values(), ids=DAMAGE.keys())
async def test_damage_is_a_miss_counted_and_removed(
    opened: Open, change: Callable[[bytearray], None], restart: bool
) -> None:
    store = await opened()
    good = entry("/good")
    for one in (entry(), good):
        await store.put(one)
    if restart:
        await store.close()
    rewrite(path_of(store, entry()), change)
    if restart:
        store = await opened()
    assert await body_of(store, entry()) is None
    await settled(store)
    assert records(store) == [path_of(store, good)]
    assert (store.damaged, store.entries) == (1, 1)
    assert await body_of(store, good) == b"content"


async def test_damage_is_told_once_until_an_hour_was_without_any(opened: Open) -> None:
    clock = FakeClock()
    store = await opened(clock=clock)
    told: list[str] = []
    store.on_damage = told.append
    for n, later in enumerate((0, 3599, 3599, 3600)):
        one = entry(f"/{n}", keep_until=NOW + 100_000)
        clock.now += later
        await store.put(one)
        path_of(store, one).write_bytes(b"garbage")
        assert await body_of(store, one) is None
    assert (store.damaged, told) == (4, [entry("/0").key, entry("/3").key])


async def test_a_record_under_anothers_name_is_refused(opened: Open) -> None:
    store = await opened()
    ours, other = entry("/ours"), entry("/other", b"secret")
    await store.put(ours)
    await store.put(other)
    path_of(store, ours).write_bytes(path_of(store, other).read_bytes())
    assert await body_of(store, ours) is None
    assert store.damaged == 1
    assert await body_of(store, other) == b"secret"


async def test_a_folder_in_place_of_a_record_is_a_miss(opened: Open) -> None:
    store = await opened()
    await store.put(entry())
    path_of(store, entry()).unlink()
    path_of(store, entry()).mkdir()
    assert await body_of(store, entry()) is None
    await settled(store)
    assert await store.put(entry()) is True
    assert await body_of(store, entry()) == b"content"


async def test_a_large_body_is_proven_before_its_first_byte(opened: Open) -> None:
    store = await opened()
    big = entry("/big", random.Random(1).randbytes(3 * MIB))
    await store.put(big)
    rewrite(path_of(store, big), flip(2 * MIB))
    found = await store.get(big.hash, any_variant)
    assert found is not None
    chunks = found.body.read()
    with pytest.raises(StoreError, match="damaged"):
        await anext(chunks)
    found.body.close()
    await settled(store)
    assert (records(store), store.damaged) == ([], 1)
    assert await store.get(big.hash, any_variant) is None


async def test_a_large_body_is_proven_once_per_file(opened: Open) -> None:
    """The second reader does not pay; a file put in its place is proven anew."""
    store = await opened()
    big = entry("/big", b"a" * 3 * MIB)
    await store.put(big)
    assert await body_of(store, big) == b"a" * 3 * MIB
    rewrite(path_of(store, big), flip(2 * MIB))
    found = await store.get(big.hash, any_variant)
    assert found is not None
    assert len(await content(found, 0, 10)) == 10
    await store.put(big)
    rewrite(path_of(store, big), flip(2 * MIB))
    found = await store.get(big.hash, any_variant)
    assert found is not None
    with pytest.raises(StoreError):
        await content(found, 0, 10)


# restart and kill


async def test_everything_survives_a_restart(opened: Open) -> None:
    store = await opened()
    ours = [entry(f"/{number}", b"x" * number * 1000, fence=number) for number in range(30)]
    ours += [entry("/v", code.encode(), vary=language(code)) for code in ("de", "fr")]
    ours.append(entry("/big", b"y" * 2 * MIB))
    for one in ours:
        await store.put(one)
    entries, size = store.entries, store.bytes
    await store.close()
    for indexed in (True, False):  # also before the index knows
        store = await opened(indexed=indexed)
        for one in ours:
            assert await body_of(store, one) == one.body.data
        assert await store.put(entry("/5", fence=4)) is False
        assert await store.get(entry("/none").hash, any_variant) is None
        if store.index_task:
            await store.index_task
        assert (store.entries, store.bytes) == (entries, size)
        await store.close()


async def test_what_is_done_while_the_index_fills_holds(opened: Open) -> None:
    store = await opened()
    for number in range(50):
        await store.put(entry(f"/{number}"))
    await store.close()
    store = await opened(indexed=False)
    assert await store.delete(entry("/7").hash) == 1
    await store.put(entry("/8", b"newer"))
    assert store.index_task
    await store.index_task
    assert await body_of(store, entry("/7")) is None
    assert await body_of(store, entry("/8")) == b"newer"
    assert sorted(store.names()) == sorted(path.name for path in records(store))
    assert store.entries == 49


async def test_what_was_found_and_then_deleted_stays_away(opened: Open) -> None:
    """The walk saw the record, the delete came, and only then is what the walk saw taken in."""
    store = await opened()
    for number in range(3):
        await store.put(entry(f"/{number}"))
    await store.close()
    store = await opened(indexed=False)
    assert store.index_task
    store.index_task.cancel()
    found = [seen for top in store.directory.tops() for seen in store.directory.walk(top)]
    await store.delete(entry("/1").hash)
    await store._index._take(found)
    assert sorted(store.names()) == sorted([entry("/0").key, entry("/2").key])


async def test_cleared_while_the_index_fills(opened: Open) -> None:
    store = await opened()
    for number in range(50):
        await store.put(entry(f"/{number}"))
    await store.close()
    store = await opened(indexed=False)
    assert await store.clear() == 50
    assert store.index_task
    await store.index_task
    assert (store.entries, store.bytes, records(store)) == (0, 0, [])


def writer(dir: Path, mode: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.support.file_writer", str(dir), mode]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent.parent)


def kill_after(process: "subprocess.Popen[str]", word: str, wait: float = 0.0) -> None:
    with process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == word
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL


async def test_killed_in_the_middle_of_a_record(opened: Open, tmp_path: Path) -> None:
    kill_after(writer(tmp_path / "tier", "stuck"), "half")
    (leftover,) = (tmp_path / "tier" / "tmp").iterdir()
    assert leftover.stat().st_size >= 2_000_000
    store = await opened(clock=time.time)
    assert list((tmp_path / "tier" / "tmp").iterdir()) == []
    assert await body_of(store, entry("/stuck")) is None
    assert await body_of(store, entry("/whole")) == b"whole"
    assert store.damaged == 0


@pytest.mark.parametrize("wait", [0.0, 0.013, 0.05])
async def test_killed_at_any_time_leaves_whole_records_only(opened: Open, tmp_path: Path, wait: float) -> None:
    kill_after(writer(tmp_path / "tier", "flood"), "going", wait)
    store = await opened(clock=time.time)
    found = 0
    for number in range(20):
        body = await body_of(store, numbered(number))
        assert body is None or body == f"/{number}|".encode() * (len(body) // len(f"/{number}|"))
        found += body is not None
    assert found >= 11
    assert store.damaged == 0
    assert len(records(store)) == store.entries == found


# bounds


@pytest.mark.parametrize("name", ["s3fifo", "lru", "fifo"])
async def test_bytes_on_disk_are_bounded_and_eviction_unlinks(opened: Open, name: Name) -> None:
    store = await opened(max_bytes=40 * 4096, eviction=name)
    for number in range(120):
        await store.put(entry(f"/{number}", b"x" * random.Random(number).randrange(9000)))
        assert sum(path.stat().st_blocks * 512 for path in records(store)) <= 40 * 4096
    assert store.entries == len(records(store))
    assert store.bytes <= 40 * 4096
    assert store.evictions == 120 - store.entries


@pytest.mark.parametrize(("name", "left"), [("lru", "/b"), ("fifo", "/a")])
async def test_who_leaves_when_a_was_used(opened: Open, name: Name, left: str) -> None:
    store = await opened(max_bytes=3 * 4096, eviction=name)
    for path in ("/a", "/b", "/c"):
        await store.put(entry(path))
    assert await body_of(store, entry("/a"))
    await store.put(entry("/d"))
    assert {path for path in ("/a", "/b", "/c", "/d") if await body_of(store, entry(path)) is None} == {left}


async def test_the_order_survives_a_restart(opened: Open) -> None:
    clock = FakeClock()
    store = await opened(clock=clock)
    for path in ("/a", "/b", "/c", "/d"):
        clock.now += 1
        await store.put(entry(path))
    await store.close()
    store = await opened(max_bytes=2 * 4096, clock=clock)
    assert {path for path in ("/a", "/b", "/c", "/d") if await body_of(store, entry(path))} == {"/c", "/d"}
    assert len(records(store)) == 2


async def test_an_object_too_large_is_not_taken_and_ends_the_old_one(opened: Open) -> None:
    store = await opened(max_object=1000)
    assert await store.put(entry(body=b"x" * 1000)) is True
    assert await store.put(entry(body=b"x" * 1001)) is False
    assert records(store) == []


async def test_the_oldest_variant_leaves_for_one_too_many(opened: Open) -> None:
    store = await opened(variants=3)
    for number, code in enumerate(["de", "fr", "it", "es"]):
        await store.put(entry(vary=language(code), received_at=NOW + number))
    assert await body_of(store, entry(vary=language("de"))) is None
    assert len(records(store)) == 3


@pytest.mark.parametrize("restart", [False, True])
async def test_the_sweep_removes_what_nobody_can_want(opened: Open, restart: bool) -> None:
    clock = FakeClock()
    store = await opened(clock=clock)
    for number in range(10):
        await store.put(entry(f"/{number}", keep_until=NOW + number * 10 + 1))
    if restart:
        await store.close()
        store = await opened(clock=clock)
    clock.now = NOW + 50
    assert await body_of(store, entry("/0")) is None
    (store.directory.root / "tmp" / "left-over").write_bytes(b"x")
    assert await store.sweep() == 5
    assert len(records(store)) == store.entries == 5
    assert list((store.directory.root / "tmp").iterdir()) == []


async def test_the_sweep_leaves_recordings_under_way(opened: Open) -> None:
    store = await opened()
    spool = await open_spool(store.directory)
    assert spool is not None
    await spool.write(b"abc")
    await store.sweep()
    assert await spool.read(0, 3) == b"abc"
    assert await store.put(entry(body=await spool.finish())) is True
    spool.discard()
    assert await body_of(store, entry()) == b"abc"


# recordings


async def spooled(store: FileStore, *chunks: bytes) -> tuple[Spool, SpoolBody]:
    spool = await open_spool(store.directory)
    assert spool is not None
    for chunk in chunks:
        await spool.write(chunk)
    return spool, await spool.finish()


async def test_a_recording_becomes_the_record_without_a_copy(opened: Open) -> None:
    store = await opened()
    spool, body = await spooled(store, b"a" * MIB, b"b" * MIB)
    (temp,) = (store.directory.root / "tmp").iterdir()
    number = temp.stat().st_ino
    assert await store.put(entry(body=body)) is True
    assert path_of(store, entry()).stat().st_ino == number
    assert await spool.read(MIB - 1, MIB + 1) == b"ab"  # a late reader of the recording
    spool.discard()
    assert await body_of(store, entry()) == b"a" * MIB + b"b" * MIB
    assert list((store.directory.root / "tmp").iterdir()) == []
    assert store.directory.spooled == 0


async def test_a_recording_can_be_put_again_under_another_key(opened: Open) -> None:
    store = await opened()
    spool, body = await spooled(store, b"a" * 2 * MIB)
    assert await store.put(entry("/a", body)) is True
    assert await store.put(entry("/b", body)) is True
    spool.discard()
    assert await body_of(store, entry("/a")) == await body_of(store, entry("/b")) == b"a" * 2 * MIB


async def test_a_recording_that_nobody_stores_leaves_nothing(opened: Open) -> None:
    store = await opened()
    before = open_files()
    spool, body = await spooled(store, b"a" * MIB)
    spool.discard()
    body.close()
    await store.close()
    assert list((store.directory.root / "tmp").iterdir()) == []
    assert store.directory.spooled == 0
    assert open_files() <= before


async def test_a_renewed_large_entry_is_written_anew(opened: Open) -> None:
    """A 304 changes the head of a stored answer, whose body then comes from the store itself."""
    store = await opened()
    await store.put(entry(body=b"x" * 3 * MIB))
    old = await store.get(entry().hash, any_variant)
    assert old is not None
    assert await store.put(entry(body=old.body, received_at=NOW + 60)) is True
    old.body.close()
    found = await store.get(entry().hash, any_variant)
    assert found is not None
    assert found.received_at == NOW + 60
    assert await content(found) == b"x" * 3 * MIB


async def test_recordings_may_take_a_share_of_the_disk_only(opened: Open) -> None:
    store = await opened(max_bytes=4 * MIB)
    first = await open_spool(store.directory)
    second = await open_spool(store.directory)
    assert first is not None
    assert second is not None
    await first.write(b"x" * 700_000)
    with pytest.raises(StoreError, match="room"):
        await second.write(b"x" * 700_000)
    first.discard()
    await second.write(b"x" * 700_000)
    second.discard()


async def test_a_recording_waits_only_so_long_for_a_disk_that_hangs(opened: Open) -> None:
    """All threads stand still, as they do in the kernel; who records learns that he has to go on without."""
    store = await opened()
    spool = await open_spool(store.directory, 0.05)
    assert spool is not None
    go_on = threading.Event()
    for _ in range(8):
        store.directory.later(go_on.wait)
    try:
        with pytest.raises(StoreError, match="no answer in time"):
            await spool.write(b"x")
        assert await open_spool(store.directory, 0.05) is None
    finally:
        go_on.set()
    spool.discard()
    await store.close()
    assert list((store.directory.root / "tmp").iterdir()) == []


async def test_no_more_waits_for_a_disk_that_hangs_than_may(opened: Open) -> None:
    """Also of those that take turns with one another: what waits for its turn is held in memory all the same."""
    store = await opened()
    go_on = threading.Event()
    for _ in range(8):
        store.directory.later(go_on.wait)
    try:
        waiting = [asyncio.create_task(store.put(entry(f"/{number}"))) for number in range(WAITING)]
        await asyncio.sleep(0)
        with pytest.raises(StoreError, match="more waits"):
            await store.put(entry("/one-more"))
    finally:
        go_on.set()
    assert await asyncio.gather(*waiting) == [True] * WAITING
    assert await store.put(entry("/one-more"))


# files and cancellation


async def test_every_file_is_given_back(opened: Open) -> None:
    store = await opened()
    big = entry("/big", b"x" * 3 * MIB)
    await store.put(big)
    await store.put(entry())
    before = open_files()
    for _ in range(5):
        found = await store.get(big.hash, any_variant)
        assert found is not None
        assert isinstance(found.body, FileBody)
        assert os.pread(found.body.handle, 3, found.body.offset) == b"xxx"
        found.body.close()
        found.body.close()
        assert await store.get(big.hash, lambda variants: None) is None
        await body_of(store, entry())
    assert open_files() == before


async def test_an_unwanted_record_from_before_a_restart_is_given_back(opened: Open) -> None:
    store = await opened()
    await store.put(entry(body=b"x" * 3 * MIB))
    await store.close()
    store = await opened()
    before = open_files()
    assert await store.get(entry().hash, lambda variants: None) is None
    assert open_files() == before


async def test_a_cancelled_get_gives_its_file_back(opened: Open) -> None:
    store = await opened()
    big = entry("/big", b"x" * 3 * MIB)
    await store.put(big)
    await body_of(store, big)
    before = open_files()
    for turns in range(6):
        task = asyncio.create_task(store.get(big.hash, any_variant))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        (result,) = await asyncio.gather(task, return_exceptions=True)
        if isinstance(result, Entry):
            result.body.close()
    await store.close()
    await asyncio.sleep(0)
    assert open_files() <= before


async def test_a_cancelled_put_is_finished(opened: Open) -> None:
    store = await opened()
    task = asyncio.create_task(store.put(entry()))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await store.close()
    assert await body_of(await opened(), entry()) == b"content"


async def test_an_entry_that_cannot_be_written_holds_up_nobody(opened: Open) -> None:
    store = await opened()
    with pytest.raises(StoreError, match="cannot be written"):
        await store.put(entry(fence=-1))
    async with asyncio.timeout(20):
        assert await store.put(entry()) is True


async def test_a_burst_into_a_full_tier(opened: Open) -> None:
    """Records and what has to leave for them go to disk in the same batches."""
    store = await opened(max_bytes=40 * 4096)
    stored = await asyncio.gather(*(store.put(entry(f"/{number % 150}", b"%d" % number)) for number in range(300)))
    assert all(stored)
    await settled(store)
    assert store.entries == len(records(store)) == 40
    for number in range(150):
        assert await body_of(store, entry(f"/{number}")) in (None, b"%d" % (number + 150))


async def test_a_closed_tier_says_so(opened: Open) -> None:
    store = await opened()
    await store.put(entry())
    found = await store.get(entry().hash, any_variant)
    await store.close()
    assert found is not None
    for verb in (store.get(entry().hash, any_variant), store.put(entry()), store.delete(entry().key), store.sweep()):
        with pytest.raises(StoreError, match="closed"):
            await verb


def test_a_file_outlives_the_reads_under_way(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abcdef")
    file = OpenFile(os.open(tmp_path / "f", os.O_RDONLY))
    with file.held() as fd:
        file.close()
        assert os.pread(fd, 3, 0) == b"abc"
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    with pytest.raises(StoreError, match="closed"):
        file.read(1, 0)
