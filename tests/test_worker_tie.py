"""What workers know of the shared stream is what their parent knows, line by line, however it comes about."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import count

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.entry import Position
from proxy.invalidation.chain import Chain, Record
from proxy.invalidation.link import BLIND
from proxy.invalidation.local import LocalLog
from proxy.invalidation.parent_log import ParentLog
from proxy.invalidation.records import Kind, Purge, Seed, Spread, Told, encode
from proxy.invalidation.ring import CAPACITY, Ring, Word, shared_memory
from proxy.invalidation.shared import SharedLog
from proxy.invalidation.tie import UNSENT
from proxy.invalidation.worker_log import MICRO, WorkerLog
from proxy.redis.address import Address
from proxy.redis.dial import Patience
from proxy.redis.keys import Names
from proxy.redis.server import Server
from tests.support.direct import Direct
from tests.support.journal import entry

TAGS = "abc"
_numbers = count(1)


@dataclass
class Instance:
    """A parent that reads a stream which the test makes up, and workers that follow it."""

    local: LocalLog
    chain: Chain
    ring: Ring
    parent: ParentLog
    fd: int
    now: list[float]
    workers: list[WorkerLog] = field(default_factory=list)
    stream: list[Record] = field(default_factory=list)  # what is not read yet
    end: int = 0  # the number of its last record
    epoch: int = 0
    seen: set[tuple[int, int]] = field(default_factory=set)  # epochs and numbers that somebody may have stamped

    async def worker(self) -> WorkerLog:
        snapshot = await self.parent.snapshot()
        worker = WorkerLog.begin(snapshot, self.fd, Direct(self.parent), clock=lambda: self.now[0])
        self.workers.append(worker)
        return worker

    def link(self, until: float, unlinked: float = 0.0) -> None:
        self.ring.set(Word.UNLINKED, int(unlinked * MICRO))
        self.ring.set(Word.LINKED, int(until * MICRO))

    # what happens

    def purge(self, tag: str) -> None:
        self.local.append(self._made(tag, self.local.instance)).close()

    def elsewhere(self, tag: str) -> None:
        self._append(self._made(tag, "elsewhere"))

    def unreadable(self, tag: str) -> None:
        self._append(None)

    def send(self, tag: str) -> None:
        for owed in list(self.local.tie.unsent.values()):
            self._append(owed.told)

    def read(self, tag: str) -> None:
        if self.stream:
            record = self.stream.pop(0)
            if record.prior > self.chain.last:
                self.chain.skip(record.prior)
            self.chain.take(record)

    def read_all(self, tag: str) -> None:
        while self.stream:
            self.read(tag)
        self.chain.settled()

    def trim(self, tag: str) -> None:
        del self.stream[:1]

    def begin(self, tag: str) -> None:
        """Another epoch, begun by one who knew as much as we, or by a stranger."""
        seed = self.chain.seed() if tag == "a" else Seed(f"s{next(_numbers)}", 0 if tag == "b" else 999)
        self.end = next(_numbers)
        self.epoch = self.end
        self.stream = [Record(self.end, self.epoch, 0, seed, len(encode(seed)))]
        self.chain.enter(self.epoch)

    def _append(self, told: Told | None) -> None:
        prior, self.end = self.end, next(_numbers)
        self.stream.append(Record(self.end, self.epoch, prior, told, 10))
        self.seen.add((self.epoch, self.end))

    def _made(self, tag: str, origin: str) -> Purge:
        return Purge(f"p{next(_numbers)}", Kind.TAG, (tag,), False, 0.0, origin)

    # what has to hold

    def same(self, worker: WorkerLog) -> None:
        """It answers what the parent would, now."""
        journal, tie = self.local.journal, self.local.tie
        for epoch, number in self.seen:
            local = tie.local(epoch, number, journal.head)
            there = worker.local(epoch, number)
            assert there == (None if local is None else Position(journal.epoch, 0, local))
        for tag in TAGS:
            for head in range(journal.head + 1):
                got = entry("/a", head, tags=(tag,), epoch=journal.epoch)
                assert worker.ended(got) == journal.ended(got)
        assert worker.stamp() == ((tie.epoch, tie.last) if tie.epoch else None)
        assert (worker.unsent, worker.head) == (len(tie.unsent), journal.head)
        assert orjson.dumps(worker._kept.tie.to_json()) == orjson.dumps(tie.to_json())


@asynccontextmanager
async def instance(capacity: int = CAPACITY, *, strict: bool = False) -> AsyncIterator[Instance]:
    now = [1.0]
    local = LocalLog(None, shares=True)
    fd = shared_memory(capacity)
    ring = Ring(fd)
    nowhere = Server(Address.parse("redis://127.0.0.1:1"), Patience(1.0, 1.0), lambda state, reason: None)
    shared = SharedLog(local, nowhere, Names("t:"), strict=strict, clock=lambda: now[0])
    parent = ParentLog(local, ring, shared)
    chain = Chain(local, lambda: 0.0, lambda: f"s{next(_numbers)}", records=4)
    it = Instance(local, chain, ring, parent, fd, now)
    it.begin("b")
    it.link(1e6)
    try:
        yield it
    finally:
        for worker in it.workers:
            await worker.close()
        await parent.close()
        os.close(fd)


verbs = ("purge", "elsewhere", "unreadable", "send", "read", "read_all", "trim", "begin")
steps = st.lists(st.tuples(st.sampled_from(verbs), st.sampled_from(TAGS), st.booleans()), max_size=40)


@settings(deadline=None)
@given(steps, st.sampled_from([2048, CAPACITY]))
def test_workers_know_what_their_parent_knows(steps: list[tuple[str, str, bool]], capacity: int) -> None:
    """One looks after each line, one now and then; one comes late. With a small ring some are overtaken, and begin
    again."""

    async def story() -> None:
        async with instance(capacity) as it:
            eager, lazy = await it.worker(), await it.worker()
            write = it.local.on_line

            def written(line: bytes) -> None:
                write(line)
                if eager.linked:
                    it.same(eager)

            it.local.on_line = written
            for verb, tag, looks in steps:
                getattr(it, verb)(tag)
                for worker in (eager, lazy) if looks else (eager,):
                    while not worker.linked:
                        assert capacity == 2048
                        assert worker.stamp() is worker.local(it.epoch, it.end) is None
                        await worker._begin_again()
                    it.same(worker)
            it.same(await it.worker())

    asyncio.run(story())


async def test_a_hole_and_what_it_costs_are_one_step() -> None:
    """Between two lines no worker may take an answer from before the hole for one that was checked after it, nor stamp
    one of its own as if it knew what lies there."""
    async with instance() as it:
        it.elsewhere("a")
        it.read_all("a")
        worker, before, checks = await it.worker(), it.chain.last, 0
        write = it.local.on_line

        def written(line: bytes) -> None:
            nonlocal checks
            write(line)
            passed = worker.head >= hole
            assert (worker.local(it.epoch, before) is None) is passed
            assert (worker.stamp() != (it.epoch, before)) is passed
            checks += passed

        it.elsewhere("a")
        it.elsewhere("b")
        it.trim("a")
        hole = it.local.journal.head + 1
        it.local.on_line = written
        it.read("a")
        assert checks == 2  # the hole, and the record behind it


async def test_a_stamp_claims_no_more_than_was_looked_at() -> None:
    """Another process may read the stream between the two."""
    async with instance() as it:
        worker, other = await it.worker(), await it.worker()
        got = entry("/a", it.local.journal.head, tags=("a",), epoch=it.local.journal.epoch)
        assert worker.ended(got) is None
        it.elsewhere("a")
        it.read_all("a")
        stamp = worker.stamp()
        assert stamp is not None
        position = other.local(*stamp)
        assert position is not None
        assert other.ended(replace(got, position=position)) is not None


async def test_too_much_to_tell_is_one_record_for_workers_too() -> None:
    async with instance() as it:
        worker = await it.worker()
        for _ in range(UNSENT + 1):
            it.purge("a")
            assert worker.linked  # it keeps up
        assert worker.unsent == 1
        assert orjson.dumps(worker._kept.tie.to_json()) == orjson.dumps(it.local.tie.to_json())


async def test_one_that_was_overtaken_is_cut_off_until_it_has_begun_again() -> None:
    async with instance(2048) as it:
        worker = await it.worker()
        worker.start()
        heard: list[tuple[bool, str]] = []
        linked, cut = asyncio.Event(), asyncio.Event()

        def hear(is_linked: bool, reason: str) -> None:
            heard.append((is_linked, reason))
            (linked if is_linked else cut).set()

        worker.on_link = hear
        await linked.wait()
        linked.clear()
        old = entry("/a", it.local.journal.head, tags=("other",), epoch=it.local.journal.epoch)
        for _ in range(30):
            it.purge("a")
        it.send("a")
        it.read_all("a")
        assert not worker.linked
        assert worker.reason == "overtaken by purges"
        assert worker.ended(old) is not None
        assert worker.ended(entry("/a", it.local.journal.head, epoch=it.local.journal.epoch)) is None
        async with asyncio.timeout(20):
            await linked.wait()
        it.same(worker)
        assert worker.ended(old) is None  # what it could not know is known again
        assert heard[0] == heard[-1] == (True, "")


async def test_the_link_holds_as_long_as_the_last_proof_whoever_hangs() -> None:
    async with instance(strict=True) as it:
        worker = await it.worker()
        assert (worker.linked, worker.reason, worker.blind) == (True, "", False)
        it.link(50.0)
        it.now[0] = 49.9
        assert worker.linked
        it.now[0] = 50.0
        assert not worker.linked
        assert worker.stamp() is worker.local(it.epoch, it.end) is None
        assert not worker.blind
        it.now[0] = 49.9 + BLIND
        assert not worker.blind
        it.now[0] = 50.0 + BLIND
        assert worker.blind
        it.link(0.0, unlinked=60.0)  # it came back, and was cut off
        assert not worker.blind
        it.now[0] = 60.0 + BLIND
        assert worker.blind
        it.link(1000.0)
        assert (worker.linked, worker.blind) == (True, False)


async def test_a_cut_too_short_to_be_seen_is_told_all_the_same() -> None:
    async with instance() as it:
        worker, shared = await it.worker(), it.parent._shared
        assert shared is not None
        heard: list[tuple[bool, str]] = []
        worker.on_link = lambda linked, reason: heard.append((linked, reason))
        worker.start()
        async with asyncio.timeout(20):
            while not heard:
                await asyncio.sleep(0)
            shared._link.part("for a moment")
            it.link(1e6)
            while len(heard) < 3:
                await asyncio.sleep(0.01)
        assert heard == [(True, ""), (False, "for a moment"), (True, "")]


async def test_why_they_are_cut_off_is_told_to_workers() -> None:
    async with instance() as it:
        early = await it.worker()
        it.link(0.0)
        shared = it.parent._shared
        assert shared is not None
        shared._link.part("a reason")
        late = await it.worker()
        assert [worker.reason for worker in (early, late)] == ["a reason", "a reason"]
        it.local.instance = "renamed"  # another bears our name
        shared._changed()
        assert [worker.instance for worker in (early, late)] == ["renamed", "renamed"]


async def test_without_other_instances_nothing_is_linked_and_nothing_runs() -> None:
    fd = shared_memory()
    local = LocalLog(None)
    parent = ParentLog(local, Ring(fd))
    worker = WorkerLog.begin(await parent.snapshot(), fd, Direct(parent))
    worker.start()
    try:
        assert (worker.linked, worker.stamp(), worker.local(1, 1), worker.blind, worker.unsent) == (
            False,
            None,
            None,
            False,
            0,
        )
        assert worker._tasks == []
        assert await worker.spread("x") == Spread({local.instance: "applied"}, complete=True)
    finally:
        await worker.close()
        await parent.close()
        os.close(fd)
