"""Recordings: one writer, many readers, the same bytes for all (row 207, reliability invariants 1, 2 and 11)."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.entry import Body
from proxy.errors import StoreError
from proxy.recording import CHUNK, Abandoned, GivenUp, OpenSpool, Recording, Spool, State
from proxy.recording_reader import Reader
from proxy.store.file_dir import Directory
from proxy.store.spool import open_spool

KIB = 1024


class SpooledBody:
    """The body of a finished `MemorySpool`."""

    data = None

    def __init__(self, spool: "MemorySpool") -> None:
        self.spool = spool

    @property
    def size(self) -> int:
        return len(self.spool.held)

    async def read(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        yield bytes(self.spool.held[start:end])

    def close(self) -> None:
        pass


class MemorySpool:
    """A spool whose disk is a bytearray: full beyond `room`, dead when told to be."""

    def __init__(self, room: int = 1 << 30) -> None:
        self.held = bytearray()
        self.room = room
        self.dead = False
        self.discarded = False

    async def write(self, data: bytes) -> None:
        await asyncio.sleep(0)
        if len(self.held) + len(data) > self.room:
            raise StoreError("disk full")
        self.held += data

    async def read(self, start: int, end: int) -> bytes:
        await asyncio.sleep(0)
        if self.dead or self.discarded:
            raise StoreError("the disk is gone")
        assert end <= len(self.held)
        return bytes(self.held[start:end])

    async def finish(self) -> Body:
        return SpooledBody(self)

    def discard(self) -> None:
        self.discarded = True


def opening(spool: Spool | None) -> OpenSpool:
    async def open_it() -> Spool | None:
        await asyncio.sleep(0)
        return spool

    return open_it


def recording(spool: Spool | None = None, **changes: int) -> Recording:
    bounds = {"memory": 64 * KIB, "limit": 1 << 20, "window": 16 * KIB}
    return Recording(**bounds | changes, open_spool=opening(spool) if spool is not None else None)


async def read_all(reader: Reader, pause: int = 0) -> bytes:
    """Everything, with `pause` turns of the loop between two chunks."""
    got = b""
    async with aclosing(reader):
        async for chunk in reader:
            got += chunk
            for _ in range(pause):
                await asyncio.sleep(0)
    return got


async def turns(number: int = 50) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


def chunks_of(data: bytes, sizes: list[int]) -> list[bytes]:
    out, at = [], 0
    for size in sizes:
        out.append(data[at : at + size])
        at += size
    return [*out, data[at:]]


# kept


@pytest.mark.parametrize("size", [0, 1, 64 * KIB, 64 * KIB + 1, 300 * KIB])
async def test_a_whole_body_is_kept(size: int) -> None:
    data = random.Random(size).randbytes(size)
    one = recording(MemorySpool())
    early = asyncio.create_task(read_all(one.reader()))
    for chunk in chunks_of(data, [1, 5, 10_000, 70_000]):
        await one.write(chunk)
    assert one.state is State.GROWING
    with pytest.raises(GivenUp):
        one.body()
    await one.finish()
    assert (one.state, one.size, one.given_up) == (State.COMPLETE, size, False)
    assert await early == data
    assert await read_all(one.reader()) == data  # a late joiner
    assert b"".join([chunk async for chunk in one.body().read()]) == data
    assert one.readers == 0
    one.discard()


async def test_a_small_body_never_asks_for_a_spool() -> None:
    async def never() -> Spool | None:
        raise AssertionError("asked for a spool")

    one = Recording(memory=100, limit=1000, open_spool=never)
    await one.write(b"x" * 100)
    await one.finish()
    assert one.body().data == b"x" * 100


async def test_a_spooled_body_stays_out_of_memory_however_slow_its_readers() -> None:
    spool = MemorySpool()
    one = recording(spool, limit=1 << 30)
    reader = one.reader()
    data = random.Random(1).randbytes(2 << 20)
    for at in range(0, len(data), 10_000):
        await one.write(data[at : at + 10_000])  # nobody reads: nobody is waited for
        assert len(one._tail) <= 64 * KIB + 10_000
    await one.finish()
    assert len(one._tail) == 0
    assert await read_all(reader) == data
    assert await read_all(one.reader()) == data


async def test_readers_get_the_bytes_as_they_come() -> None:
    one = recording()
    reader = one.reader()
    await one.write(b"first")
    assert await anext(reader) == b"first"
    waiting = asyncio.ensure_future(anext(reader))
    await turns()
    assert not waiting.done()
    await one.write(b"second")
    assert await waiting == b"second"
    await one.finish()
    assert [chunk async for chunk in reader] == []
    assert one.readers == 0


async def test_a_waiting_reader_costs_no_turns() -> None:
    """It is woken, it does not look again and again."""
    one = recording()
    reader = one.reader()
    waiting = asyncio.ensure_future(anext(reader))
    await turns()
    loop = asyncio.get_running_loop()
    assert not loop._ready  # type: ignore[attr-defined]
    await one.finish()
    with pytest.raises(StopAsyncIteration):
        await waiting


# failed


@pytest.mark.parametrize("size", [10, 200 * KIB])
async def test_a_failure_cuts_everybody(size: int) -> None:
    spool = MemorySpool()
    one = recording(spool)
    waiting, behind, untouched = (one.reader() for _ in range(3))
    await one.write(b"x" * size)
    got = 0
    while got < size:
        got += len(await anext(waiting))
    next_of_waiting = asyncio.ensure_future(anext(waiting))
    await turns()
    one.fail(ValueError("cut"))
    for reader in (next_of_waiting, anext(behind), anext(untouched), anext(one.reader())):
        with pytest.raises(ValueError, match="cut"):
            await reader
    with pytest.raises(GivenUp):
        one.body()
    assert one.state is State.FAILED
    assert spool.discarded == (size > 64 * KIB)
    assert len(one._tail) == 0


async def test_a_failure_during_a_read_from_the_spool_is_the_failure() -> None:
    one = recording(MemorySpool())
    reader = one.reader()
    await one.write(b"x" * 200 * KIB)
    reading = asyncio.ensure_future(anext(reader))
    await asyncio.sleep(0)
    one.fail(ValueError("cut"))
    with pytest.raises(ValueError, match="cut"):
        await reading


async def test_a_spool_that_cannot_be_read_cuts_its_reader() -> None:
    spool = MemorySpool()
    one = recording(spool)
    await one.write(b"x" * 200 * KIB)
    await one.finish()
    spool.dead = True
    with pytest.raises(StoreError):
        await read_all(one.reader())


# given up


async def grow(one: Recording, size: int, step: int = 4096) -> int:
    """Write up to `size` bytes; how many went in."""
    done = 0
    while done < size:
        await one.write(bytes([done // step % 251]) * step)
        done += step
    return done


@pytest.mark.parametrize("cause", ["limit", "no spool", "disk full", "asked to"])
async def test_given_up_is_passed_on_in_flat_memory(cause: str) -> None:
    """Two readers, one slow: both get all, the writer waits for the slow one, memory stays in its window."""
    spool = MemorySpool(room=100 * KIB) if cause == "disk full" else MemorySpool()
    limit = 200 * KIB if cause == "limit" else 1 << 30
    one = recording(None if cause == "no spool" else spool, limit=limit)
    fast, slow = one.reader(), one.reader()
    fast_read, slow_read = asyncio.create_task(read_all(fast)), asyncio.create_task(read_all(slow, pause=3))
    most = 0
    written = bytearray()
    for number in range(512):
        if number == 10 and cause == "asked to":
            one.give_up()
        chunk = bytes([number % 251]) * 4096
        await one.write(chunk)
        written += chunk
        if one.size > 512 * KIB:
            most = max(most, len(one._tail))
    await one.finish()
    assert one.given_up
    assert most <= 16 * KIB + 4096
    assert await fast_read == await slow_read == bytes(written)
    assert len(one._tail) == 0
    with pytest.raises(GivenUp):
        one.reader()
    with pytest.raises(GivenUp):
        one.body()
    assert spool.discarded == (cause in ("limit", "disk full"))


async def test_the_slowest_reader_holds_the_writer_and_one_that_leaves_frees_it() -> None:
    one = recording()
    slow, fast = one.reader(), one.reader()
    one.give_up()
    fast_read = asyncio.create_task(read_all(fast))
    writing = asyncio.create_task(grow(one, 100 * KIB))
    await turns()
    assert not writing.done()
    assert one.size <= 16 * KIB + 4096
    await slow.aclose()
    assert await writing == 100 * KIB
    await one.finish()
    assert len(await fast_read) == 100 * KIB


async def test_the_writer_is_told_when_the_last_reader_has_left() -> None:
    one = recording()
    reader = one.reader()
    one.give_up()
    writing = asyncio.create_task(grow(one, 100 * KIB))
    await turns()
    await reader.aclose()
    with pytest.raises(Abandoned):
        await writing
    with pytest.raises(Abandoned):
        await one.write(b"more")
    assert len(one._tail) == 0


async def test_what_is_kept_goes_on_with_no_reader() -> None:
    one = recording(MemorySpool())
    reader = one.reader()
    await one.write(b"x" * 100)
    await reader.aclose()
    await grow(one, 200 * KIB)
    await one.finish()
    assert not one.given_up
    assert one.body().size == one.size


async def test_a_reader_far_behind_goes_on_from_the_spool_after_it_was_given_up() -> None:
    spool = MemorySpool()
    one = recording(spool, limit=300 * KIB)
    slow = one.reader()
    await grow(one, 300 * KIB)
    writing = asyncio.create_task(grow(one, 300 * KIB))
    await turns()
    assert one.given_up
    assert not spool.discarded
    reading = asyncio.create_task(read_all(slow))
    await writing
    assert spool.discarded  # the reader has come as far as what is in memory
    await one.finish()
    assert await reading == b"".join(bytes([number % 75 % 251]) * 4096 for number in range(150))


async def test_a_disk_full_at_the_very_end_cuts_nobody() -> None:
    one = recording(MemorySpool(room=70 * KIB))
    reader = one.reader()
    await grow(one, 76 * KIB)
    assert not one.given_up
    await one.finish()
    assert one.given_up
    with pytest.raises(GivenUp):
        one.body()
    assert len(await read_all(reader)) == 76 * KIB


async def test_a_cancelled_write_leaves_no_gap_behind() -> None:
    """Nobody knows what reached the spool: it is not kept, and its readers still get every byte once."""
    one = recording(MemorySpool())
    reader = one.reader()
    await one.write(b"a" * 60 * KIB)
    writing = asyncio.create_task(one.write(b"b" * 60 * KIB))
    await turns(2)
    assert not writing.done()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert one.given_up
    reading = asyncio.create_task(read_all(reader))
    await one.write(b"c" * 10)
    await one.finish()
    assert await reading == b"a" * 60 * KIB + b"b" * 60 * KIB + b"c" * 10


async def test_given_up_while_the_spool_opens() -> None:
    spool, gate = MemorySpool(), asyncio.Event()

    async def slowly() -> Spool | None:
        await gate.wait()
        return spool

    one = Recording(memory=100, limit=1 << 20, open_spool=slowly)
    reader = one.reader()
    writing = asyncio.create_task(one.write(b"x" * 200))
    await turns()
    one.give_up()
    gate.set()
    await writing
    await one.finish()
    assert spool.discarded
    assert await read_all(reader) == b"x" * 200


async def test_nothing_is_given_up_once_it_is_whole() -> None:
    one = recording()
    await one.write(b"whole")
    await one.finish()
    one.give_up()
    one.fail(ValueError("too late"))
    assert (one.state, one.given_up, one.body().data) == (State.COMPLETE, False, b"whole")


# filled at once


async def test_a_body_that_is_here_as_a_whole_is_kept_at_once() -> None:
    one = recording()
    early = one.reader()
    assert one.fill(b"whole")
    assert (one.state, one.size, one.given_up, one.body().data) == (State.COMPLETE, 5, False, b"whole")
    assert await read_all(early) == b"whole"
    one.discard()
    assert await read_all(one.reader()) == b"whole"


@pytest.mark.parametrize("bound", ["memory", "limit"])
async def test_what_is_more_than_memory_holds_is_not_filled_in(bound: str) -> None:
    one = recording(**{bound: 4})
    assert not one.fill(b"whole")
    assert (one.state, one.size) == (State.GROWING, 0)
    assert one.fill(b"here")


async def test_a_reader_takes_a_whole_body_once_and_has_left() -> None:
    one = recording()
    first, second = one.reader(), one.reader()
    assert first.whole() is None  # it still grows
    one.fill(b"whole")
    assert first.whole() == b"whole"
    assert one.readers == 1
    assert await anext(second) == b"whole"
    assert second.whole() is None  # it has begun to read
    assert one.readers == 1
    await second.aclose()
    assert one.readers == 0


# discarded


async def test_a_discarded_recording_waits_for_its_last_reader() -> None:
    spool = MemorySpool()
    one = recording(spool)
    reader, other = one.reader(), one.reader()
    await grow(one, 200 * KIB)
    await one.finish()
    one.discard()
    with pytest.raises(GivenUp):
        one.reader()
    assert len(await read_all(reader)) == 200 * KIB
    assert not spool.discarded
    await other.aclose()
    assert spool.discarded


async def test_a_chunk_is_never_too_large() -> None:
    one = Recording(memory=1 << 20, limit=1 << 20)
    await one.write(b"x" * 300 * KIB)
    await one.finish()
    assert max([len(chunk) async for chunk in one.reader()]) == CHUNK


# whatever happens


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_every_reader_gets_the_same_bytes_whatever_the_paces(data: st.DataObject) -> None:
    """Joins, leaves and paces at random, in memory, spooled, given up at some point, or failed at the end."""
    sizes = data.draw(st.lists(st.integers(0, 60), max_size=40), "sizes")
    plans = data.draw(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 4), st.integers(0, 60))), "readers")
    room = data.draw(st.sampled_from([0, 100, 400, 10_000]), "disk")
    limit = data.draw(st.sampled_from([0, 50, 300, 10_000]), "limit")
    fails = data.draw(st.booleans(), "fails")
    asyncio.run(story(sizes, plans, room, limit, fails))


async def story(sizes: list[int], plans: list[tuple[int, int, int]], room: int, limit: int, fails: bool) -> None:
    body = random.Random(1).randbytes(sum(sizes))
    spool = MemorySpool(room)
    one = Recording(memory=64, limit=limit, window=32, open_spool=opening(spool if room else None))
    whole, cut = [], []

    async def read(reader: Reader, pace: int, leaves_after: int) -> None:
        got = b""
        async with aclosing(reader):
            try:
                async for chunk in reader:
                    got += chunk
                    assert body.startswith(got)
                    for _ in range(pace):
                        await asyncio.sleep(0)
                    if leaves_after and len(got) > leaves_after * 10:
                        return
                whole.append(got)
            except ValueError:
                cut.append(got)

    tasks = []
    try:
        for number, chunk in enumerate(chunks_of(body, sizes)[:-1]):
            for join, pace, leaves_after in plans:
                if join == number and not one.given_up:
                    tasks.append(asyncio.create_task(read(one.reader(), pace, leaves_after)))
            await one.write(chunk)
            assert len(one._tail) <= 64 + 60 + 60
    except Abandoned:
        assert one.given_up
        assert one.readers == 0
        await asyncio.gather(*tasks)
        assert whole == cut == []
        return
    if fails:
        one.fail(ValueError("cut"))
    else:
        await one.finish()
        if not one.given_up:
            assert b"".join([chunk async for chunk in one.body().read()]) == body
    await asyncio.wait_for(asyncio.gather(*tasks), 5)
    assert whole == [] if fails else all(got == body for got in whole)
    assert fails or not cut
    one.discard()
    assert one.readers == 0
    assert len(one._tail) == 0
    assert spool.discarded or not spool.held


# with a real spool


async def test_the_same_story_on_a_real_disk(tmp_path: Path) -> None:
    directory = Directory(tmp_path / "tier", spool_max=1 << 30)
    await directory.run(directory.claim)

    async def open_it() -> Spool | None:
        return await open_spool(directory)

    data = random.Random(2).randbytes(5 << 20)
    one = Recording(memory=1 << 20, limit=1 << 26, open_spool=open_it)
    tasks = [asyncio.create_task(read_all(one.reader(), pause)) for pause in (0, 1, 20)]
    for at in range(0, len(data), 50_000):
        await one.write(data[at : at + 50_000])
        if at == 2_000_000:
            tasks.append(asyncio.create_task(read_all(one.reader())))
    await one.finish()
    tasks.append(asyncio.create_task(read_all(one.reader())))
    assert [got == data for got in await asyncio.gather(*tasks)] == [True] * 5
    assert b"".join([chunk async for chunk in one.body().read()]) == data
    one.discard()
    directory.release()
    assert list((tmp_path / "tier" / "tmp").iterdir()) == []


async def test_a_disk_that_gives_no_file_means_given_up(tmp_path: Path) -> None:
    directory = Directory(tmp_path / "tier", spool_max=1 << 30)
    (tmp_path / "tier").write_text("a file")

    async def open_it() -> Spool | None:
        return await open_spool(directory)

    one = Recording(memory=1000, limit=1 << 20, open_spool=open_it)
    reader = one.reader()
    await one.write(b"x" * 2000)
    assert one.given_up
    await one.finish()
    assert await read_all(reader) == b"x" * 2000
    directory.release()
