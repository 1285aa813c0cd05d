"""One directory, several workers: what one writes the others read, and the parent alone accounts and evicts
(reliability: one worker sweeps and accounts, a shared directory)."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.entry import any_variant
from proxy.errors import StoreError
from proxy.store.file import UNTOLD_SHARE, FileStore
from proxy.store.file_dir import Role
from proxy.store.file_keeper import Keeper
from proxy.store.file_shared import REMEMBERED, Changes
from proxy.store.spool import open_spool
from tests.support.entries import NOW, FakeClock, content, entry, language, pick

MIB = 1 << 20


@dataclass
class Instance:
    """A keeper and stores that tell it of changes; `lose` loses what they tell."""

    directory: Path
    keeper: Keeper
    clock: FakeClock
    lose: bool = False
    told: list[Changes] = field(default_factory=list)
    stores: list[FileStore] = field(default_factory=list)

    async def worker(self, number: int = 0) -> FileStore:
        store = FileStore(
            self.directory,
            max_bytes=MIB,
            max_object=MIB // 4,
            clock=self.clock,
            role=Role.WORKER,
            workers=2,
            tell=partial(self._tell, number),
        )
        await store.open()
        self.stores.append(store)
        return store

    async def account(self) -> dict[str, int]:
        """What the keeper believes, once everything was told."""
        for store in self.stores:
            store._index.close()  # tells what waits
        while self.keeper._writes:
            await asyncio.wait(self.keeper._writes)
        return {record.key: record.size for record in self.keeper._shelves}

    async def disk(self) -> dict[str, int]:
        directory = self.keeper.directory
        return {one.key: one.size for top in directory.tops() for one in directory.walk(top)}

    def _tell(self, number: int, changes: Changes) -> None:
        self.told.append(changes)
        if not self.lose:
            self.keeper.take(changes)


@asynccontextmanager
async def instance(directory: Path, max_bytes: int = MIB, settled: float = 0.0) -> AsyncIterator[Instance]:
    clock = FakeClock()
    keeper = Keeper(directory, max_bytes=max_bytes, clock=clock, settled=settled)
    await keeper.open()
    assert keeper.index_task is not None
    await keeper.index_task
    made = Instance(directory, keeper, clock)
    try:
        yield made
    finally:
        for store in (*made.stores, keeper):
            await store.close()


async def get(store: FileStore, path: str) -> bytes | None:
    found = await store.get(entry(path).hash, any_variant)
    return await content(found) if found is not None else None


async def test_what_one_writes_the_others_read_replace_and_delete(tmp_path: Path) -> None:
    async with instance(tmp_path / "tier") as it:
        one, other = await it.worker(), await it.worker()
        assert await get(one, "/a") is None
        assert await other.put(entry("/a", b"first"))
        assert await get(one, "/a") == b"first"
        assert await one.put(entry("/a", b"second", received_at=NOW + 1))
        assert await get(other, "/a") == b"second"
        assert await other.delete(entry("/a").hash) == 1
        assert await get(one, "/a") is await get(other, "/a") is None


async def test_variants_that_others_add_are_found(tmp_path: Path) -> None:
    async with instance(tmp_path / "tier") as it:
        one, other = await it.worker(), await it.worker()
        await one.put(entry("/a", b"hallo", vary=language("de")))
        name = entry("/a").hash
        assert await one.get(name, pick(language("en"))) is None
        await other.put(entry("/a", b"hello", vary=language("en")))
        for store in (one, other):
            for word, body in (("de", b"hallo"), ("en", b"hello")):
                found = await store.get(name, pick(language(word)))
                assert found is not None
                assert await content(found) == body
        assert await one.delete(entry("/a", vary=language("en")).key) == 1
        assert await other.get(name, pick(language("en"))) is None
        assert await other.delete(name) == 1


async def test_an_older_fence_of_one_worker_never_replaces_a_newer_one_of_another(tmp_path: Path) -> None:
    async with instance(tmp_path / "tier") as it:
        one, other = await it.worker(), await it.worker()
        assert await one.put(entry("/a", b"old!", fence=1))
        assert await get(one, "/a") == b"old!"  # it remembers what it has read
        assert await other.put(entry("/a", b"new!", fence=3))
        assert not await one.put(entry("/a", b"late", fence=2))
        assert await get(one, "/a") == b"new!"


async def test_a_large_body_is_checked_again_when_another_worker_has_replaced_it(tmp_path: Path) -> None:
    """The same length, the same times: only the file is another one."""
    async with instance(tmp_path / "tier", 64 * MIB) as it:
        one, other = await it.worker(), await it.worker()
        for store in (one, other):
            store._max_bytes = store._max_object = 64 * MIB
        await one.put(entry("/a", b"x" * (2 * MIB)))
        assert await get(one, "/a") == b"x" * (2 * MIB)
        await other.put(entry("/a", b"y" * (2 * MIB)))
        path = other.directory._path(entry("/a").hash)
        with open(path, "r+b") as file:
            file.seek(MIB)
            file.write(b"z")
        os.utime(path, (NOW, NOW + 3600))
        found = await one.get(entry("/a").hash, any_variant)
        assert found is not None
        with pytest.raises(StoreError, match="damaged"):
            await found.body.verify()
        found.body.close()


async def test_the_parent_accounts_for_all_and_evicts_for_all(tmp_path: Path) -> None:
    async with instance(tmp_path / "tier", max_bytes=40 * 4096) as it:
        workers = [await it.worker(number) for number in range(2)]
        for number in range(30):
            assert await workers[number % 2].put(entry(f"/{number}", b"x" * 3000))
        assert await it.account() == await it.disk()
        assert (it.keeper.entries, it.keeper.bytes) == (30, 30 * 4096)
        assert await get(workers[0], "/0") == b"x" * 3000  # used again: it shall stay
        assert workers[0].entries == workers[0].bytes == 0  # the parent tells the figures
        await it.account()
        for number in range(30, 60):
            assert await workers[number % 2].put(entry(f"/{number}", b"x" * 3000))
        account = await it.account()
        assert account == await it.disk()
        assert it.keeper.bytes <= 40 * 4096
        assert it.keeper.evictions == 20
        assert await get(workers[1], "/0") == b"x" * 3000
        assert await get(workers[1], "/1") is None


async def test_what_nobody_was_told_of_is_bounded_in_bytes(tmp_path: Path) -> None:
    """Not in time alone: a fast disk takes much while word of it waits. Beside what is told in time stands a record of
    each worker, and what it has not told."""
    async with instance(tmp_path / "tier", max_bytes=MIB) as it:
        workers = [await it.worker(number) for number in range(2)]
        untold = MIB // UNTOLD_SHARE
        for number in range(300):
            await workers[number % 2].put(entry(f"/{number}", b"x" * (number % 7) * 5000))
            while it.keeper._writes:
                await asyncio.wait(it.keeper._writes)
            assert sum((await it.disk()).values()) <= MIB + untold + 2 * (30_000 + 4096)
        await it.account()
        assert sum((await it.disk()).values()) <= MIB


async def test_what_was_lost_on_the_way_is_found_on_the_disk(tmp_path: Path) -> None:
    async with instance(tmp_path / "tier") as it:
        worker = await it.worker()
        await worker.put(entry("/stays", b"x"))
        await worker.put(entry("/goes", b"x"))
        await worker.put(entry("/grows", b"x"))
        await it.account()
        it.lose = True
        await worker.delete(entry("/goes").hash)
        await worker.put(entry("/grows", b"x" * 10_000))
        await worker.put(entry("/new", b"x"))
        assert await it.account() != await it.disk()
        for _ in range(16):
            await it.keeper.sweep()
        assert await it.account() == await it.disk()


async def test_what_was_written_just_now_waits_for_its_word(tmp_path: Path) -> None:
    """Taken in as the oldest it would be the first to go, although it is the newest."""
    async with instance(tmp_path / "tier", settled=600.0) as it:
        worker = await it.worker()
        await worker.put(entry("/a", b"x"))
        await it.keeper._look_at_all()
        assert it.keeper.entries == 0
        assert await it.account() == await it.disk()


async def test_what_changes_while_the_disk_is_looked_at_is_as_it_was_told(tmp_path: Path) -> None:
    async with instance(tmp_path / "tier") as it:
        worker = await it.worker()
        for number in range(40):
            await worker.put(entry(f"/{number}", b"x"))
        await it.account()
        looks = asyncio.create_task(it.keeper._look_at_all())
        for number in range(40):
            await worker.put(entry(f"/new-{number}", b"x"))
            await worker.delete(entry(f"/{number}").hash)
            worker._index.close()
        await looks
        assert await it.account() == await it.disk()


async def test_what_is_told_while_the_disk_is_read_is_newer_than_what_was_read(tmp_path: Path) -> None:
    async with instance(tmp_path / "tier") as it:
        worker = await it.worker()
        await worker.put(entry("/goes", b"x"))
        await it.account()
        for top in (entry("/goes").hash[0], entry("/comes").hash[0]):
            seen = {one.key: one for one in it.keeper.directory.walk(str(tmp_path / "tier" / top))}
            await worker.delete(entry("/goes").hash)
            await worker.put(entry("/comes", b"x"))
            await it.account()
            changed = {entry("/goes").hash, entry("/comes").hash}
            await it.keeper._correct(top, seen, changed)
            assert await it.account() == await it.disk() == {entry("/comes").hash: 4096}
            await worker.delete(entry("/comes").hash)
            await worker.put(entry("/goes", b"x"))
            await it.account()


async def test_cleared_by_one_is_empty_for_all(tmp_path: Path) -> None:
    async with instance(tmp_path / "tier") as it:
        one, other = await it.worker(), await it.worker()
        for number in range(20):
            await one.put(entry(f"/{number}", b"x"))
        await it.account()
        await other.put(entry("/unheard", b"x"))
        assert await other.clear() == 21
        await one.put(entry("/after", b"x"))
        assert await it.account() == await it.disk() == {entry("/after").hash: 4096}
        assert await get(one, "/1") is None


async def test_only_the_parent_sweeps_what_is_past_its_time(tmp_path: Path) -> None:
    async with instance(tmp_path / "tier") as it:
        worker = await it.worker()
        await worker.put(entry("/short", b"x", keep_until=NOW + 10))
        await worker.put(entry("/long", b"x", keep_until=NOW + 1000))
        await it.account()
        it.clock.now += 100
        assert await get(worker, "/short") is None
        assert await worker.sweep() == 0
        assert len(await it.disk()) == 2
        assert await it.keeper.sweep() == 1
        assert list(await it.disk()) == [entry("/long").hash]


async def test_a_scan_and_a_restart_see_what_all_have_written(tmp_path: Path) -> None:
    async with instance(tmp_path / "tier") as it:
        one, other = await it.worker(), await it.worker()
        await one.put(entry("/a", b"x"))
        await other.put(entry("/b", b"x"))
        assert {each.parts.path async for each in one.scan()} == {"/a", "/b"}
    async with instance(tmp_path / "tier") as it:
        assert it.keeper.entries == 2
        assert await get(await it.worker(), "/b") == b"x"


async def test_the_parent_keeps_other_gateways_out(tmp_path: Path) -> None:
    async with instance(tmp_path / "tier") as it:
        await it.worker()
        alone = FileStore(tmp_path / "tier", max_bytes=MIB, max_object=MIB, clock=FakeClock())
        with pytest.raises(StoreError, match="another gateway"):
            await alone.open()
        await alone.close()


async def test_temporary_files_go_with_the_worker_that_wrote_them(tmp_path: Path) -> None:
    """Those of a living one stay, whoever sweeps; so do not those of a dead one, or from before the start."""
    (tmp_path / "tier" / "tmp").mkdir(parents=True, mode=0o700)
    before = tmp_path / "tier" / "tmp" / f"{os.getpid()}-before-1"
    before.touch()
    async with instance(tmp_path / "tier") as it:
        assert not before.exists()
        one, other = await it.worker(), await it.worker()
        spool = await open_spool(one.directory)
        assert spool is not None
        await spool.write(b"under way")
        dead = subprocess.Popen([sys.executable, "-c", ""])
        dead.wait()
        left = tmp_path / "tier" / "tmp" / f"{dead.pid}-abcdef-1"
        left.touch()
        await other.sweep()
        await it.keeper.sweep()
        assert not left.exists()
        assert await spool.read(0, 9) == b"under way"
        assert len(list((tmp_path / "tier" / "tmp").iterdir())) == 1
        spool.discard()


async def test_a_directory_deleted_under_a_worker_is_made_again(tmp_path: Path) -> None:
    async with instance(tmp_path / "tier") as it:
        worker = await it.worker()
        await worker.put(entry("/a", b"x"))
        os.rename(tmp_path / "tier", tmp_path / "gone")
        assert await get(worker, "/a") is None
        assert await worker.put(entry("/b", b"y"))
        assert await get(worker, "/b") == b"y"


async def test_recordings_of_all_workers_share_the_room_for_them(tmp_path: Path) -> None:
    async with instance(tmp_path / "tier") as it:
        assert (await it.worker()).directory.spool_max == MIB // 4 // 2


async def test_what_a_worker_remembers_and_gathers_is_bounded(tmp_path: Path) -> None:
    async with instance(tmp_path / "tier") as it:
        worker = await it.worker()
        index = worker._index
        for number in range(3000):
            index.touch(type("Record", (), {"key": str(number)})())  # type: ignore[arg-type]
        assert [len(changes.used) for changes in it.told] == [1000] * 3
        await worker.put(entry("/a", b"x"))
        seen = worker.directory.variants(entry("/a").hash)[0]
        for number in range(REMEMBERED + 10):
            index._record(seen._replace(key=str(number)))  # type: ignore[union-attr]
        assert len(index._remembered) == REMEMBERED  # type: ignore[union-attr]


ACTS = st.tuples(st.sampled_from(["put", "get", "delete"]), st.integers(0, 1), st.integers(0, 4), st.integers(1, 3))


async def test_what_is_told_late_undoes_nothing(tmp_path: Path) -> None:
    async with instance(tmp_path / "tier") as it:
        early, late = await it.worker(), await it.worker()
        for path in ("/grows", "/goes"):
            await late.put(entry(path, b"x"))
        await early.put(entry("/grows", b"x" * 10_000))
        await early.delete(entry("/goes").hash)
        early._index.close()
        assert await it.account() == await it.disk() == {entry("/grows").hash: 12288}
        await late.put(entry("/before", b"x"))
        await early.clear()
        early._index.close()
        assert await it.account() == await it.disk() == {}


@settings(deadline=None)
@given(st.lists(ACTS, max_size=25))
def test_two_workers_are_as_good_as_one(
    tmp_path_factory: pytest.TempPathFactory, acts: list[tuple[str, int, int, int]]
) -> None:
    """The oracle is a dict; the account is that of the disk at the end."""

    async def story() -> None:
        async with instance(tmp_path_factory.mktemp("tier") / "tier") as it:
            workers = [await it.worker(number) for number in range(2)]
            truth: dict[str, bytes] = {}
            for what, number, name, size in acts:
                path = f"/{name}"
                if what == "put":
                    truth[path] = b"x" * size * 3000
                    assert await workers[number].put(entry(path, truth[path]))
                elif what == "get":
                    assert await get(workers[number], path) == truth.get(path)
                else:
                    assert await workers[number].delete(entry(path).hash) == int(truth.pop(path, None) is not None)
            assert await it.account() == await it.disk()
            assert it.keeper.entries == len(truth)

    asyncio.run(story())
