"""What is found again in memory without another look: only while it is what another look would find."""

import math
from collections.abc import Callable

import pytest

from proxy.entry import Entry, any_variant
from proxy.store.memory import HOLDS, MemoryStore, Slot
from proxy.store.near import Held, Near
from tests.support.entries import NOW, FakeClock, entry, language


class Log:
    """A journal that is told what it says."""

    def __init__(self) -> None:
        self.head = 0
        self.said: float | None = None

    def ended(self, entry: Entry, checked: int = 0) -> float | None:
        return self.said

    def purge(self, said: float | None) -> None:
        self.head, self.said = self.head + 1, said


class World:
    def __init__(self, *, may_be_blind: bool = False) -> None:
        self.log, self.blind = Log(), False
        self.memory = MemoryStore(max_entries=100, max_bytes=1 << 20, max_object=1 << 16, clock=FakeClock())
        self.near = Near(self.memory, self.log, FakeClock(), (lambda: self.blind) if may_be_blind else None)
        self.memory.keep(entry())

    def held(self) -> "Holder":
        held = self.near.look(entry().hash, any_variant)
        assert held is not None
        holder = Holder(held)
        self.near.hold(held, holder)
        return holder

    def seen(self) -> None:
        self.near.look(entry().hash, any_variant)

    def again(self, holder: "Holder", now: float = NOW) -> bool:
        return holder.slot is not None and self.near.again(holder.slot, now)


class Holder:
    def __init__(self, held: Held) -> None:
        self.slot: Slot | None = held.slot

    def end(self) -> None:
        self.slot = None


def blinded(world: World) -> None:
    world.blind = True


LOST = "others may have purged it"
ENDS: dict[str, Callable[[World], object]] = {
    "it was replaced": lambda world: world.memory.keep(entry(body=b"newer")),
    "another variant joined": lambda world: world.memory.keep(entry(vary=language("de"))),
    "it was dropped": lambda world: world.memory.forget(entry().hash),
    "it was purged": lambda world: world.log.purge(-math.inf),
    "its life was ended": lambda world: world.log.purge(NOW),
    "somebody else saw that it was purged": lambda world: (world.log.purge(-math.inf), world.seen()),
    "somebody else saw that its life was ended": lambda world: (world.log.purge(NOW), world.seen()),
}


@pytest.mark.parametrize("before", [0, 1, 3])
@pytest.mark.parametrize(("what", "may_be_blind"), [*((what, False) for what in ENDS), (LOST, True)])
def test_nothing_is_found_again_once(what: str, may_be_blind: bool, before: int) -> None:
    world = World(may_be_blind=may_be_blind)
    holder = world.held()
    for _ in range(before):
        assert world.again(holder)
    (blinded if what is LOST else ENDS[what])(world)
    hits = world.memory.hits
    assert not world.again(holder)
    assert world.memory.hits == hits


STAYS: dict[str, Callable[[World], object]] = {
    "nothing happened": lambda world: None,
    "something else was stored": lambda world: world.memory.keep(entry("/b")),
    "something else was purged": lambda world: world.log.purge(None),
}


@pytest.mark.parametrize("what", STAYS)
def test_it_is_found_and_counted_as_a_hit_when(what: str) -> None:
    world = World()
    holder = world.held()
    for number in range(1, 4):
        STAYS[what](world)
        assert world.again(holder, NOW + number)
        slot = holder.slot
        assert slot is not None
        assert (world.memory.hits, slot.hits, slot.last_access) == (number, number, NOW + number)


def test_what_leaves_is_held_by_nobody() -> None:
    world = World()
    holder = world.held()
    slot = holder.slot
    world.memory.resize(1)
    assert slot is not None
    assert (holder.slot, slot.holds) == (None, ())


def test_of_too_many_holders_the_oldest_ends() -> None:
    world = World()
    holders = [world.held() for _ in range(HOLDS + 3)]
    assert [holder.slot is None for holder in holders] == [True] * 3 + [False] * HOLDS
