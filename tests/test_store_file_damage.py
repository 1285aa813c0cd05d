"""The file tier among damage (invariants 5, 9 and 12; reliability: bit flips, disk full, deleted): whatever a bad
block, a full disk, a clock or another program makes of a record, what is read is its very bytes, or it is a miss."""

import asyncio
import os
import shutil
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.entry import Body, Entry, any_variant
from proxy.errors import StoreError
from proxy.store.codec import HEADER
from proxy.store.file import FileStore
from proxy.store.file_handle import OpenFile
from proxy.store.file_index import BATCH
from proxy.store.file_read import WHOLE
from proxy.store.spool import open_spool
from tests.support.entries import NOW, FakeClock, content, entry
from tests.support.full_disk import full_disk
from tests.support.instances import until

MIB = 1 << 20


@asynccontextmanager
async def opened(dir: Path) -> AsyncIterator[FileStore]:
    store = FileStore(dir, max_bytes=64 * MIB, max_object=8 * MIB, clock=FakeClock())
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def path_of(dir: Path, one: Entry) -> Path:
    return dir / one.key[0] / one.key[1:3] / one.key


async def read(store: FileStore, one: Entry) -> bytes | None:
    """What a client would be sent: a large body is held against its checksum before."""
    found = await store.get(one.hash, any_variant)
    if found is None:
        return None
    try:
        await found.body.verify()
    except StoreError:
        found.body.close()
        return None
    return await content(found)


async def settled(store: FileStore) -> None:
    """What was started in the background is done."""
    while store._writes:
        await asyncio.wait(store._writes)


# -- bytes that are others ---------------------------------------------------------------------------------------------

Change = Callable[[bytearray], None]


def flipped(place: int, bit: int) -> Change:
    def change(raw: bytearray) -> None:
        if raw:
            raw[place % len(raw)] ^= 1 << bit

    return change


def replaced(start: int, end: int, data: bytes) -> Change:
    return lambda raw: raw.__setitem__(slice(start, end), data)


places = st.integers(0, 600)
changes = st.builds(flipped, places, st.integers(0, 7)) | st.builds(
    replaced, places, places, st.just(b"") | st.binary(max_size=9) | st.integers(1, 600).map(bytes)
)


@settings(deadline=None)
@given(st.binary(max_size=40), st.lists(changes, min_size=1, max_size=4), st.booleans())
def test_a_changed_record_is_its_bytes_or_a_miss(
    tmp_path_factory: pytest.TempPathFactory, body: bytes, changes: list[Change], restart: bool
) -> None:
    place = tmp_path_factory.mktemp("damage") / "tier"
    ours, other = entry("/ours", body), entry("/other", b"another's")

    async def story() -> None:
        async with opened(place) as store:
            await store.put(ours)
            await store.put(other)
            if not restart:
                await damaged_and_read(store)
        if restart:
            async with opened(place) as store:
                await damaged_and_read(store)

    async def damaged_and_read(store: FileStore) -> None:
        whole = path_of(place, ours).read_bytes()
        raw = bytearray(whole)
        for change in changes:
            change(raw)
        path_of(place, ours).write_bytes(raw)
        assert await read(store, ours) == (body if raw == whole else None)
        assert await store.put(ours)
        assert await read(store, ours) == body
        assert await read(store, other) == b"another's"

    asyncio.run(story())
    shutil.rmtree(place)


@pytest.mark.parametrize("size", [7, WHOLE + 1], ids=["read at once", "read in parts"])
async def test_no_byte_of_a_record_can_change_unseen(tmp_path: Path, size: int) -> None:
    """One bit of each byte of header and head, and of some of the body."""
    one = entry("/one", Random(7).randbytes(size))
    async with opened(tmp_path / "tier") as store:
        await store.put(one)
        whole = path_of(tmp_path / "tier", one).read_bytes()
        end = HEADER + size
        body = range(HEADER, end) if size < 100 else (HEADER, HEADER + 65_536, end - 1)
        for place in (*range(HEADER), *body, *range(end, len(whole))):
            await store.put(one)
            with path_of(tmp_path / "tier", one).open("r+b") as file:
                file.seek(place)
                file.write(bytes([whole[place] ^ 1 << place % 8]))
            assert await read(store, one) is None, place
        assert store.damaged == HEADER + len(body) + len(whole) - end


def test_a_disk_that_cannot_be_read_says_so() -> None:
    """The memory of a process has a hole at its beginning, which is read as a bad block is."""
    if not Path("/proc/self/mem").exists():
        pytest.skip("there is no /proc here")
    file = OpenFile(os.open("/proc/self/mem", os.O_RDONLY))
    with pytest.raises(StoreError, match="read: Input/output error"):
        file.read(10, 0)
    file.close()


# -- things in a record's place ----------------------------------------------------------------------------------------


def a_device(path: Path) -> None:
    try:
        os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("no device can be made here")


def a_hole(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


THINGS: dict[str, Callable[[Path], None]] = {
    "nothing in it": Path.touch,
    "a hole of 1 TiB": a_hole,
    "a folder": Path.mkdir,
    "a pipe": os.mkfifo,
    "a device": a_device,
    "a link to a file that cannot be read": lambda path: path.symlink_to("/proc/self/mem"),
    "a link to nothing": lambda path: path.symlink_to("nothing"),
    "a link to itself": lambda path: path.symlink_to(path),
}


@pytest.mark.parametrize("known", [True, False], ids=["while we run", "before the start"])
@pytest.mark.parametrize("first", ["get", "put", "delete", "clear"])
@pytest.mark.parametrize("make", THINGS.values(), ids=list(THINGS))
async def test_whatever_stands_there_gives_way(
    tmp_path: Path, make: Callable[[Path], None], first: str, known: bool
) -> None:
    one, path = entry(), path_of(tmp_path / "tier", entry())
    async with opened(tmp_path / "tier") as store:
        await store.put(one)
        if known:
            path.unlink()
            make(path)
            await gives_way(store, one, first)
    if not known:
        path.unlink()
        make(path)
        async with opened(tmp_path / "tier") as store:
            await gives_way(store, one, first)


async def gives_way(store: FileStore, one: Entry, first: str) -> None:
    match first:
        case "get":
            assert await read(store, one) is None
        case "delete":
            await store.delete(one.key)
            assert await read(store, one) is None
        case "clear":
            await store.clear()
            assert await read(store, one) is None
    assert await store.put(one)
    assert await read(store, one) == b"content"
    await settled(store)
    assert path_of(store.directory.root, one).is_file()


@pytest.mark.parametrize(
    "times", [(0, 0), (NOW, 0), (0, 2**33), (2**33, 2**33), (NOW, -1e9), (-1e9, NOW + 60)], ids=str
)
async def test_times_of_files_are_a_hint_only(tmp_path: Path, times: tuple[float, float]) -> None:
    """A clock that jumped, a copy that keeps no times: a miss at most, and no answer outlives its own end."""
    live, dead = entry("/live"), entry("/dead", keep_until=NOW + 1)
    async with opened(tmp_path / "tier") as store:
        for one in (live, dead):
            await store.put(one)
            os.utime(path_of(tmp_path / "tier", one), times)
    async with opened(tmp_path / "tier") as store:
        assert isinstance(store._clock, FakeClock)
        store._clock.now = NOW + 2
        assert await read(store, live) in (b"content", None)
        assert await read(store, dead) is None
        await store.sweep()
        assert await store.put(live)
        assert await read(store, live) == b"content"


# -- a disk that is full, and a directory that goes --------------------------------------------------------------------


class InParts:
    """A body that comes from elsewhere."""

    size = 300_000
    data = None

    async def read(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x" * 100_000

    async def verify(self) -> None:
        pass

    def share(self) -> Body:
        return self

    def close(self) -> None:
        pass


@pytest.mark.parametrize("room", [0, 20, 5000, 150_000])
@pytest.mark.parametrize("body", [b"x" * 300_000, InParts()], ids=["at once", "in parts"])
async def test_a_disk_that_fills_up_in_the_middle_of_a_record_takes_nothing_away(
    tmp_path: Path, body: bytes | InParts, room: int
) -> None:
    async with opened(tmp_path / "tier") as store:
        await store.put(entry(body=b"old"))
        descriptors = len(os.listdir("/dev/fd"))
        with full_disk(room), pytest.raises(StoreError, match="write: File too large"):
            await store.put(entry(body=body, received_at=NOW + 1))
        await until(lambda: not list((tmp_path / "tier" / "tmp").iterdir()))
        assert await read(store, entry()) == b"old"
        assert store.entries == 1
        assert len(os.listdir("/dev/fd")) <= descriptors
        assert await store.put(entry(body=body, received_at=NOW + 1))
        assert await read(store, entry()) == b"x" * 300_000


async def test_a_recording_that_finds_no_room_gives_back_what_it_took(tmp_path: Path) -> None:
    async with opened(tmp_path / "tier") as store:
        spool = await open_spool(store.directory)
        assert spool is not None
        with full_disk(100_000):
            await spool.write(b"x" * 50_000)
            with pytest.raises(StoreError, match="File too large"):
                await spool.write(b"x" * 100_000)
        assert await spool.read(0, 50_000) == b"x" * 50_000  # who reads it goes on
        spool.discard()
        assert store.directory.spooled == 0
        await until(lambda: not list((tmp_path / "tier" / "tmp").iterdir()))


async def test_a_directory_that_somebody_else_makes_again_is_ours_again(tmp_path: Path) -> None:
    async with opened(tmp_path / "tier") as store:
        await store.put(entry("/before"))
        shutil.rmtree(tmp_path / "tier")
        (tmp_path / "tier").mkdir(mode=0o755)
        (tmp_path / "tier" / "a").write_text("theirs")
        assert await read(store, entry("/before")) is None
        for number in range(40):
            assert await store.put(entry(f"/{number}", b"%d" % number))
        for number in range(40):
            assert await read(store, entry(f"/{number}")) == b"%d" % number
        assert stat.S_IMODE((tmp_path / "tier").stat().st_mode) == 0o700
        with pytest.raises(StoreError, match="another gateway"):
            async with opened(tmp_path / "tier"):
                pass


async def test_a_start_waits_for_no_leftovers(tmp_path: Path) -> None:
    """However many files a killed writer left: they go one after the other when all else is ready."""
    left = tmp_path / "tier" / "tmp"
    left.mkdir(parents=True)
    for number in range(3 * BATCH):
        (left / f"1-abcdef-{number}").touch()
    async with opened(tmp_path / "tier") as store:
        assert len(os.listdir(left)) == 3 * BATCH
        assert await store.put(entry())
        spool = await open_spool(store.directory)
        assert spool is not None
        await spool.write(b"under way")
        assert store.index_task is not None
        await store.index_task
        assert len(os.listdir(left)) == 1
        assert await spool.read(0, 9) == b"under way"
        spool.discard()
        assert await read(store, entry()) == b"content"
