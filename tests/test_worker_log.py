"""The journal of several workers: what the parent was told holds on each of them at once (architecture, "Workers")."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import CachegateError
from proxy.invalidation.journal import DEAD
from proxy.invalidation.local import LocalLog
from proxy.invalidation.parent_log import ParentLog
from proxy.invalidation.records import Kind
from proxy.invalidation.ring import CAPACITY, Ring, shared_memory
from proxy.invalidation.worker_log import Snapshot, WorkerLog
from tests.support.direct import Direct
from tests.support.entries import entry
from tests.support.journal import purge


@dataclass
class Instance:
    """A parent and its workers in one process; the bus between them is a call."""

    local: LocalLog
    parent: ParentLog
    fd: int
    workers: list[WorkerLog] = field(default_factory=list)

    async def worker(self) -> WorkerLog:
        self.workers.append(WorkerLog.begin(await self.parent.snapshot(), self.fd, Direct(self.parent)))
        return self.workers[-1]


@asynccontextmanager
async def instance(path: Path | None = None, *, capacity: int = CAPACITY) -> AsyncIterator[Instance]:
    local = LocalLog(path)
    local.open()
    fd = shared_memory(capacity)
    made = Instance(local, ParentLog(local, Ring(fd)), fd)
    try:
        yield made
    finally:
        for worker in made.workers:
            await worker.close()
        await made.parent.close()
        os.close(fd)


async def test_an_acknowledged_purge_holds_on_every_worker(tmp_path: Path) -> None:
    async with instance(tmp_path / "journal") as it:
        one, other = await it.worker(), await it.worker()
        old = entry("/a", tags=("x",), position=other.position())
        assert one.ended(old) is other.ended(old) is None
        appended = await one.apply(purge(Kind.TAG, "x"))
        assert one.ended(old) == other.ended(old) == DEAD
        assert one.head == other.head == it.local.journal.head == appended.number
        assert await appended.kept
        assert one.ended(entry("/a", tags=("x",), position=other.position())) is None


async def test_a_soft_purge_ends_at_its_own_time_everywhere() -> None:
    async with instance() as it:
        one, other = await it.worker(), await it.worker()
        old = entry("/a", position=other.position())
        await one.apply(purge(Kind.ALL, soft=True, at=12.5))
        assert one.ended(old) == other.ended(old) == 12.5


async def test_a_new_worker_knows_what_was_purged_before_it_came(tmp_path: Path) -> None:
    async with instance(tmp_path / "journal") as it:
        first = await it.worker()
        old = entry("/a", position=first.position())
        stays = entry("/b", position=first.position())
        await first.apply(purge(Kind.PATTERN, "/a*"))
        snapshot = await it.parent.snapshot()
        await first.apply(purge(Kind.TAG, "later"))  # between the copy and the first look at the ring
        late = WorkerLog.begin(snapshot, it.fd, Direct(it.parent))
        it.workers.append(late)
        assert late.ended(old) == DEAD
        assert late.ended(stays) is None
        assert late.ended(entry("/c", tags=("later",), position=old.position)) == DEAD
        assert (late.head, late.instance) == (first.head, it.local.instance)


async def test_a_worker_that_was_overtaken_distrusts_what_is_old_and_serves_what_is_new() -> None:
    async with instance(capacity=2048) as it:
        busy, asleep = await it.worker(), await it.worker()
        old = entry("/unrelated", position=asleep.position())
        for number in range(100):
            await busy.apply(purge(Kind.TAG, f"tag-{number}"))
            assert busy.ended(old) is None  # it looks after each
        assert asleep.ended(old) == DEAD
        fresh = entry("/unrelated", tags=("tag-7",), position=asleep.position())
        assert asleep.ended(fresh) is None
        await busy.apply(purge(Kind.TAG, "tag-7"))
        assert asleep.ended(fresh) == DEAD


async def test_a_purge_too_large_for_the_ring_ends_more_than_it_names_and_never_less() -> None:
    async with instance(capacity=2048) as it:
        one, other = await it.worker(), await it.worker()
        named = entry("/a", tags=("999",), position=one.position())
        await one.apply(purge(Kind.TAG, *map(str, range(1000))))
        assert one.ended(named) == other.ended(named) == DEAD
        assert it.local.journal.ended(entry("/b", position=named.position)) is None


async def test_durable_is_what_the_parent_says(tmp_path: Path) -> None:
    async with instance() as without, instance(tmp_path / "journal") as it:
        assert not (await without.worker()).durable
        appended = await (await without.worker()).apply(purge(Kind.ALL))
        assert not await appended.kept
        worker = await it.worker()
        assert worker.durable
        (tmp_path / "journal").unlink()
        (tmp_path / "journal.new").mkdir()  # where the file would be made anew
        it.local._disk._size = 1 << 40  # it wants to be
        appended = await worker.apply(purge(Kind.ALL))
        assert not await appended.kept
        assert not worker.durable


async def test_purges_that_meet_are_all_applied_and_all_kept(tmp_path: Path) -> None:
    async with instance(tmp_path / "journal") as it:
        workers = [await it.worker() for _ in range(3)]
        all_of_them = await asyncio.gather(*(workers[n % 3].apply(purge(Kind.TAG, str(n))) for n in range(300)))
        assert len({each.number for each in all_of_them}) == 300
        assert await asyncio.gather(*(each.kept for each in all_of_them)) == [True] * 300
        for worker in workers:
            old = [
                entry("/a", tags=(str(n),), position=it.local.journal.position()._replace(local=0)) for n in (0, 299)
            ]
            assert [worker.ended(each) for each in old] == [DEAD, DEAD]


def test_a_snapshot_that_cannot_be_read_starts_no_worker() -> None:
    fd = shared_memory()
    try:
        with pytest.raises(CachegateError, match="cannot be read"):
            WorkerLog.begin(Snapshot(b"nothing", 0, "a1b2"), fd, None)  # type: ignore[arg-type]
    finally:
        os.close(fd)


steps = st.lists(
    st.tuples(st.sampled_from(["tag", "all", "fetch", "look"]), st.integers(0, 2), st.integers(0, 3)), max_size=60
)


@given(steps, st.sampled_from([600, 100_000]))
def test_no_worker_keeps_what_another_was_told_to_forget(steps: list[tuple[str, int, int]], capacity: int) -> None:
    """Steps are (what, which worker, which tag). An entry that the parent's journal has ended is ended on every
    worker; with room in the ring nothing else is."""

    async def story() -> None:
        async with instance(capacity=capacity) as it:
            workers = [await it.worker() for _ in range(3)]
            entries = []
            for what, number, tag in steps:
                worker = workers[number]
                if what == "fetch":
                    entries.append(entry("/a", tags=(str(tag),), position=worker.position()))
                elif what == "look":
                    assert worker.head == it.local.journal.head
                else:
                    await worker.apply(purge(Kind.TAG, str(tag)) if what == "tag" else purge(Kind.ALL))
            for each in entries:
                truth = it.local.journal.ended(each)
                told = [worker.ended(each) for worker in workers]
                assert all(end == DEAD for end in told) if truth == DEAD else capacity == 600 or told == [truth] * 3

    asyncio.run(story())
