"""Several instances over one stream that is lost, put back, trimmed and cut: no purge is undone (invariant 3).

The stream is a list that keeps the rules of the scripts in `invalidation.stream`; instances are the pure part with a
file of lines that a crash cuts short.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from proxy.entry import Entry, Position
from proxy.invalidation.chain import Chain, Fit, Record
from proxy.invalidation.lines import compact_copy, restore
from proxy.invalidation.local import LEAP, LocalLog
from proxy.invalidation.records import Kind, Purge, Told, decode, encode
from tests.support.journal import entry, names_entry

INSTANCES = 3
HISTORY = 3  # records that an instance remembers whole: small, so that they fall off
TAGS = ("a", "b")
_numbers = count(1)


class Lines(LocalLog):
    """A log whose file is a list; what was not awaited may be missing after a crash."""

    def __init__(self, name: str) -> None:
        super().__init__(None, shares=True)
        self.instance = name
        self.lines = list(compact_copy(self.journal, self.tie))
        self.synced = len(self.lines)
        self.spread: list[tuple[int, set[str] | None]] = []  # lines so far -> ids to be told; None: nothing before is

    def _note(self, line: bytes, *, soon: bool = False) -> None:
        self.lines.append(line)
        if not soon:
            self.synced = len(self.lines)

    def crashed(self, lost: int) -> "Lines":
        left = max(self.synced, len(self.lines) - lost)
        kept = restore(b"".join(self.lines[:left]))
        assert kept is not None
        log = Lines(self.instance)
        log.journal, log.tie = kept
        log.journal.advance(log.journal.head + LEAP)
        log.lines = list(compact_copy(log.journal, log.tie))
        log.synced = len(log.lines)
        log.spread = [(0, ids) for lines, ids in self.spread if lines <= left]
        return log

    def told(self) -> set[str]:
        ids: set[str] = set()
        for _, each in self.spread:
            ids = set() if each is None else ids | each
        return ids


@dataclass
class Stream:
    """What the server has."""

    records: list[tuple[int, int, int, bytes]] = field(default_factory=list)  # number, epoch, prior, content

    @property
    def epoch(self) -> int:
        return self.records[-1][1] if self.records else 0

    @property
    def last(self) -> int:
        return self.records[-1][0] if self.records else 0

    def append(self, epoch: int, told: Told) -> bool:
        if not self.records or self.epoch != epoch:
            return False
        self.records.append((max(next(_numbers), self.last + 1), epoch, self.last, encode(told)))
        return True

    def begin(self, dead: int, after: int, told: Told) -> None:
        if self.records and self.epoch != dead:
            return
        number = max(next(_numbers), self.last + 1, after + 1)
        self.records = [(number, number, 0, encode(told))]

    def after(self, number: int) -> Iterator[Record]:
        for number_, epoch, prior, raw in [each for each in self.records if each[0] > number]:
            yield Record(number_, epoch, prior, decode(raw), len(raw))


@dataclass
class Fetched:
    """An answer whose fetch began at `at`."""

    stored: Entry
    at: int


class Instance:
    def __init__(self, log: Lines) -> None:
        self.log = log
        self.chain = Chain(log, lambda: 0.0, lambda: f"s{next(_numbers)}", records=HISTORY)
        self.linked = False
        self.cut = False
        self.memory: list[Fetched] = []
        self.known: set[str] = set()
        log.on_read = self.heard

    def heard(self, seq: int, purge: Purge) -> None:
        if purge.id == "":
            self.log.spread.append((len(self.log.lines), None))
        else:
            self.known.add(purge.id)

    def read(self, stream: Stream, most: int) -> None:
        """What the reading task does, up to `most` records."""
        chain = self.chain
        self.linked = False
        if not stream.records or (stream.epoch, stream.last) < (chain.epoch, chain.last):
            stream.begin(stream.epoch, chain.last, chain.seed())
        if stream.epoch != chain.epoch:
            chain.enter(stream.epoch)
        for number, record in enumerate(stream.after(chain.last)):
            if number >= most:
                return
            fit = chain.fit(record)
            first = stream.records[0][0]
            if fit is Fit.BACK or (fit is Fit.HOLE and first <= chain.last):
                stream.begin(chain.epoch, chain.last, chain.seed())
                return
            assert fit is not Fit.OTHER
            if fit is Fit.HOLE:
                chain.skip(record.prior)
            chain.take(record)
            told = record.told
            assert told is not None
            purges = (told,) if isinstance(told, Purge) else [purge for _, each in told.items for purge in each]
            self.log.spread.append((len(self.log.lines), {purge.id for purge in purges}))
        chain.settled()
        self.linked = True

    def current(self, stream: Stream) -> bool:
        return self.linked and not self.cut and (stream.epoch, stream.last) == (self.chain.epoch, self.chain.last)

    def place(self, epoch: int, number: int) -> Position | None:
        log = self.log
        local = log.tie.local(epoch, number, log.journal.head)
        return None if local is None else Position(log.journal.epoch, 0, local)

    def alive(self, stored: Entry) -> bool:
        return self.log.journal.ended(stored) is None


which = st.integers(0, INSTANCES - 1)


class StreamModel(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.stream = Stream()
        self.saved = Stream()
        self.instances = [Instance(Lines(f"{i}")) for i in range(INSTANCES)]
        self.purges: dict[str, tuple[int, Purge]] = {}
        self.redis: list[tuple[Entry, int, int, int]] = []  # entry, at, epoch, number

    # what operators and clients do

    @rule(who=st.sets(which, min_size=1), shared=st.booleans())
    def fetch(self, who: set[int], shared: bool) -> None:
        for i in who:
            journal = self.instances[i].log.journal
            for tag in TAGS:
                got = entry("http://a/x", journal.head, tags=(tag,), epoch=journal.epoch)
                self.instances[i].memory.append(Fetched(got, next(_numbers)))
            if shared:
                self.put(i)

    @rule(i=which, tag=st.sampled_from(TAGS), told=st.booleans())
    def purge(self, i: int, tag: str, told: bool) -> None:
        self.purged(i, tag)
        if told:
            self.send(i, 10_000, reply_lost=False)

    @rule(i=which, tags=st.lists(st.sampled_from(TAGS), max_size=6))
    def purge_many(self, i: int, tags: list[str]) -> None:
        """So that the first fall off."""
        for tag in tags:
            self.purge(i, tag, told=True)
            self.read_all(i)

    def purged(self, i: int, tag: str) -> None:
        instance = self.instances[i]
        at = next(_numbers)
        made = Purge(f"p{at}", Kind.TAG, (tag,), False, 0.0, instance.log.instance)
        instance.log.append(made).close()
        instance.log.spread.append((len(instance.log.lines), {made.id}))
        instance.known.add(made.id)
        self.purges[made.id] = at, made

    @rule(i=which)
    def put(self, i: int) -> None:
        instance = self.instances[i]
        if not instance.linked or instance.cut:
            return
        for got in instance.memory:
            if instance.alive(got.stored):
                self.redis.append((got.stored, got.at, instance.chain.epoch, instance.chain.last))
        del self.redis[:-30]

    @rule(i=which)
    def get(self, i: int) -> None:
        instance = self.instances[i]
        if instance.linked and not instance.cut:
            instance.memory += self.readable(instance)
            del instance.memory[:-40]

    def readable(self, instance: Instance) -> list[Fetched]:
        found = []
        for stored, at, epoch, number in self.redis:
            position = instance.place(epoch, number)
            if position is not None and instance.alive(moved := replace(stored, position=position)):
                found.append(Fetched(moved, at))
        return found

    # what instances do

    @rule(i=which, most=st.integers(0, 4))
    def read_some(self, i: int, most: int) -> None:
        if not self.instances[i].cut:
            self.instances[i].read(self.stream, most)

    @rule(who=st.sets(which, min_size=1))
    def some_read(self, who: set[int]) -> None:
        for i in sorted(who):
            self.read_all(i)

    def read_all(self, i: int) -> None:
        instance = self.instances[i]
        if not instance.cut:
            for _ in range(3):
                instance.read(self.stream, 10_000)

    @rule(i=which, most=st.integers(1, 3), reply_lost=st.booleans())
    def send(self, i: int, most: int, reply_lost: bool) -> None:
        """One whose reply is lost is sent again."""
        instance = self.instances[i]
        if instance.linked and not instance.cut:
            for owed in list(instance.log.tie.unsent.values())[:most]:
                for _ in range(1 + reply_lost):
                    self.stream.append(instance.chain.epoch, owed.told)

    @rule()
    def everybody_is_well(self) -> None:
        for _ in range(4):
            for i in range(INSTANCES):
                self.instances[i].cut = False
                self.read_all(i)
                self.send(i, 10_000, reply_lost=False)
        for instance in self.instances:
            instance.read(self.stream, 10_000)
            assert instance.current(self.stream)
            assert not instance.log.tie.unsent

    # what happens

    @rule(i=which)
    def cut(self, i: int) -> None:
        self.instances[i].cut = True
        self.instances[i].linked = False

    @rule(i=which)
    def mend(self, i: int) -> None:
        self.instances[i].cut = False

    @rule(i=which, j=which, tags=st.lists(st.sampled_from(TAGS), min_size=2, max_size=6), left=st.integers(0, 2))
    def miss(self, i: int, j: int, tags: list[str], left: int) -> None:
        """One is away while others go on; what it missed may be trimmed, or the stream another one."""
        self.fetch({i}, shared=False)
        self.cut(i)
        self.purge_many(j, tags)
        self.stream.records = self.stream.records[-left:] if left else []
        self.read_all(j)

    @rule(i=which, lost=st.integers(0, 4), keeps=st.booleans())
    def crash(self, i: int, lost: int, keeps: bool) -> None:
        """A file tier may outlive it."""
        old = self.instances[i]
        new = Instance(old.log.crashed(lost))
        new.memory = old.memory if keeps else []
        new.known = {each for each in old.known if self.purges[each][1].origin == str(i)} | new.log.told()
        self.instances[i] = new

    @rule()
    def lose(self) -> None:
        self.stream.records = []

    @rule()
    def save(self) -> None:
        self.saved = Stream(list(self.stream.records))

    @precondition(lambda self: self.saved.records)
    @rule()
    def go_back(self) -> None:
        self.stream.records = list(self.saved.records)

    @rule(left=st.integers(1, 4))
    def trim(self, left: int) -> None:
        del self.stream.records[:-left]

    # what must hold

    @invariant()
    def what_an_instance_knows_is_never_undone(self) -> None:
        for instance in self.instances:
            self.check(instance, instance.known)

    @invariant()
    def what_one_that_is_linked_was_told_all_that_are_linked_obey(self) -> None:
        current = [instance for instance in self.instances if instance.current(self.stream)]
        told: set[str] = set()
        for instance in current:
            if not instance.log.tie.unsent:
                told |= instance.log.told()
        for instance in current:
            self.check(instance, told)

    def check(self, instance: Instance, told: Iterable[str]) -> None:
        got = [each for each in instance.memory if instance.alive(each.stored)]
        if instance.linked:
            got += self.readable(instance)
        for name in told:
            at, made = self.purges[name]
            for each in got:
                assert each.at > at or not names_entry(made, each.stored), "an acknowledged purge was undone"


StreamModel.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestStreamModel = StreamModel.TestCase


@pytest.mark.slow
class TestStreamModelAtLength(TestStreamModel):
    settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
