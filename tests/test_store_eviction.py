"""Who leaves a full tier (rows 14 and 16): the order of each policy, and bounds that always hold."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from proxy.store.eviction import Name, S3Fifo, policy
from proxy.store.shelves import Eviction, Node

NAMES: tuple[Name, ...] = ("s3fifo", "lru", "fifo")


class Thing(Node):
    """All that a policy knows of what is stored."""

    def __init__(self, key: str, size: int) -> None:
        self.key = self.hash = key
        self.size = size
        self.received_at = 0.0


class Keyed:
    """A policy, asked by keys."""

    def __init__(self, name: Name, entries: int, size: int) -> None:
        self.policy: Eviction[Thing] = policy(name, entries, size)
        self.things: dict[str, Thing] = {}

    def __len__(self) -> int:
        return len(self.policy)

    @property
    def bytes(self) -> int:
        return self.policy.bytes

    def add(self, key: str, size: int) -> None:
        thing, old = Thing(key, size), self.things.get(key)
        if old is None:
            self.policy.add(thing)
        else:
            self.policy.replace(old, thing)
        self.things[key] = thing

    def restore(self, key: str, size: int) -> None:
        if key not in self.things:
            self.things[key] = Thing(key, size)
            self.policy.restore(self.things[key])

    def touch(self, key: str) -> None:
        self.policy.touch(self.things[key])

    def remove(self, key: str) -> None:
        self.policy.remove(self.things.pop(key))

    def drained(self) -> list[str]:
        """Everybody who has to leave, in the order in which they do."""
        left = []
        while (thing := self.policy.evict()) is not None:
            assert self.things.pop(thing.key) is thing
            left.append(thing.key)
        return left


def play(name: Name, script: str, room: int) -> str:
    """Who left, in order, when a letter is asked for: a hit when it is there, else added. `-x` removes x."""
    chosen, there, left = Keyed(name, room, 10**9), set(), ""
    letters = iter(script.replace(" ", ""))
    for letter in letters:
        if letter == "-":
            gone = next(letters)
            chosen.remove(gone)
            there.discard(gone)
        elif letter in there:
            chosen.touch(letter)
        else:
            chosen.add(letter, 1)
            there.add(letter)
            for key in chosen.drained():
                there.discard(key)
                left += key
    return left


@pytest.mark.parametrize(
    ("name", "script", "left"),
    [
        ("fifo", "abc d e f", "abc"),
        ("fifo", "abc aaa d e", "ab"),  # use does not help
        ("fifo", "abc -b d e", "a"),
        ("lru", "abc d e f", "abc"),
        ("lru", "abc a d e", "bc"),  # a was used: b and c leave first
        ("lru", "abc a b d e f", "cab"),
        ("lru", "abc -a d e", "b"),
        ("s3fifo", "abc aa d e f", "bcd"),  # used twice: a goes on to main
        ("s3fifo", "abc a d", "a"),  # used once: a does not
        ("s3fifo", "abc d a", "ab"),  # a comes back, straight into main
        ("s3fifo", "abc d a e f g h", "abcdef"),  # and stays while others pass through
    ],
)
def test_the_order_of_leaving(name: Name, script: str, left: str) -> None:
    assert play(name, script, room=3) == left


def test_one_pass_over_many_keys_does_not_wash_out_what_is_used() -> None:
    """The scan resistance for which s3fifo is the default; lru has none."""
    hot = [f"hot{number}" for number in range(50)]

    def survivors(name: Name) -> int:
        chosen, there = Keyed(name, 100, 10**9), set(hot)
        for key in hot:
            chosen.add(key, 1)
            for _ in range(3):
                chosen.touch(key)
        for number in range(1000):
            chosen.add(f"cold{number}", 1)
            there -= set(chosen.drained())
        return len(there)

    assert survivors("s3fifo") == 50
    assert survivors("lru") == 0


@pytest.mark.parametrize("name", NAMES)
def test_bytes_bound_as_well_as_entries(name: Name) -> None:
    chosen = Keyed(name, 100, 10)
    for key, size in (("a", 4), ("b", 4), ("c", 2)):
        chosen.add(key, size)
    assert chosen.drained() == []
    chosen.add("d", 7)
    assert chosen.drained() == ["a", "b"]
    assert chosen.bytes == 9


@pytest.mark.parametrize("name", NAMES)
def test_a_changed_size_counts_once(name: Name) -> None:
    chosen = Keyed(name, 100, 100)
    chosen.add("a", 10)
    chosen.add("a", 30)
    assert (len(chosen), chosen.bytes) == (1, 30)
    chosen.remove("a")
    assert (len(chosen), chosen.bytes) == (0, 0)


@pytest.mark.parametrize(("name", "left"), [("s3fifo", "bcd"), ("lru", "bca"), ("fifo", "bca")])
def test_what_is_replaced(name: Name, left: str) -> None:
    """In s3fifo a new copy keeps the place of the old one, with its uses; in the others it is the newest."""
    chosen = Keyed(name, 3, 10**9)
    for key in "abc":
        chosen.add(key, 1)
    chosen.touch("a")
    chosen.touch("a")
    chosen.add("a", 1)
    gone: list[str] = []
    for key in "def":
        chosen.add(key, 1)
        gone += chosen.drained()
    assert "".join(gone) == left


@pytest.mark.parametrize("name", NAMES)
def test_who_has_left_holds_nobody_who_stayed(name: Name) -> None:
    """Else an answer that a slow client still reads would keep those beside it in memory."""
    chosen = Keyed(name, 3, 10**9)
    for key in "abc":
        chosen.add(key, 1)
    b = chosen.things["b"]
    chosen.remove("b")
    assert not any(isinstance(getattr(b, link, None), Node) for link in ("before", "after"))
    assert getattr(b, "queue", None) is None


@pytest.mark.parametrize("name", NAMES)
def test_what_is_restored_is_older_than_what_is_there(name: Name) -> None:
    """A restart: the newest is told first, and new entries have come meanwhile."""
    chosen = Keyed(name, 4, 10**9)
    chosen.add("new", 1)
    for key in ("c", "b", "a", "new"):
        chosen.restore(key, 1)
    assert (len(chosen), chosen.bytes) == (4, 4)
    if name == "s3fifo":  # the survivors of a restart are in main; newcomers have to prove themselves
        chosen.touch("new")
        chosen.touch("new")
    for number in range(3):
        chosen.add(f"x{number}", 1)
        chosen.touch(f"x{number}")
        chosen.touch(f"x{number}")
    assert chosen.drained() == ["a", "b", "c"]


class Bounds(RuleBasedStateMachine):
    """Whatever happens: both bounds hold, the sums are right, and nobody leaves who is not there."""

    @initialize(name=st.sampled_from(NAMES), entries=st.integers(1, 8), size=st.integers(1, 40))
    def start(self, name: Name, entries: int, size: int) -> None:
        self.chosen = Keyed(name, entries, size)
        self.entries, self.size = entries, size
        self.model: dict[str, int] = {}

    @rule(key=st.sampled_from("abcdefghijklmnop"), size=st.integers(0, 20))
    def add(self, key: str, size: int) -> None:
        self.chosen.add(key, size)
        self.model[key] = size
        self.evict()

    @rule(key=st.sampled_from("abcdefghijklmnop"), size=st.integers(0, 20))
    def restore(self, key: str, size: int) -> None:
        self.chosen.restore(key, size)
        self.model.setdefault(key, size)
        self.evict()

    @rule(number=st.integers(0, 20))
    def touch(self, number: int) -> None:
        if self.model:
            self.chosen.touch(sorted(self.model)[number % len(self.model)])

    @rule(number=st.integers(0, 20))
    def remove(self, number: int) -> None:
        if self.model:
            key = sorted(self.model)[number % len(self.model)]
            self.chosen.remove(key)
            del self.model[key]

    def evict(self) -> None:
        needed = len(self.model) > self.entries or sum(self.model.values()) > self.size
        left = self.chosen.drained()
        assert bool(left) == needed
        for key in left:
            del self.model[key]

    @invariant()
    def holds(self) -> None:
        if hasattr(self, "model"):
            assert (len(self.chosen), self.chosen.bytes) == (len(self.model), sum(self.model.values()))
            assert len(self.model) <= self.entries
            assert sum(self.model.values()) <= self.size
            if isinstance(self.chosen.policy, S3Fifo):
                assert len(self.chosen.policy._ghost) <= self.entries


TestBounds = Bounds.TestCase
TestBounds.settings = settings(max_examples=100, stateful_step_count=40)


@given(st.lists(st.sampled_from("abcdefgh")), st.integers(1, 5))
def test_lru_is_what_a_list_would_do(asked: list[str], room: int) -> None:
    oracle: list[str] = []
    left = ""
    for letter in asked:
        if letter in oracle:
            oracle.remove(letter)
        oracle.append(letter)
        if len(oracle) > room:
            left += oracle.pop(0)
    assert play("lru", "".join(asked), room) == left


class Listed:
    """S3-FIFO as its paper has it, with lists: who is where, and how often each was used there."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.small: list[str] = []
        self.main: list[str] = []
        self.ghost: list[str] = []
        self.uses: dict[str, int] = {}

    def ask(self, key: str) -> str:
        """Who left for it."""
        if key in self.uses:
            self.uses[key] = min(self.uses[key] + 1, 3)
            return ""
        self.uses[key] = 0
        (self.main if key in self.ghost else self.small).append(key)
        self.ghost = [other for other in self.ghost if other != key]
        left = ""
        while len(self.uses) > self.room:
            left += self.from_small() if len(self.small) * 10 > self.room or not self.main else self.from_main()
        return left

    def from_small(self) -> str:
        key = self.small.pop(0)
        if self.uses[key] > 1:
            self.uses[key] = 0
            self.main.append(key)
            return ""
        del self.uses[key]
        self.ghost = [*self.ghost, key][-self.room :]
        return key

    def from_main(self) -> str:
        key = self.main.pop(0)
        if self.uses[key] > 0:
            self.uses[key] -= 1
            self.main.append(key)
            return ""
        del self.uses[key]
        return key


@settings(max_examples=300)
@given(st.lists(st.sampled_from("abcdefgh"), min_size=30, max_size=80), st.integers(1, 6))
def test_s3fifo_is_what_lists_would_do(asked: list[str], room: int) -> None:
    oracle = Listed(room)
    assert play("s3fifo", "".join(asked), room) == "".join(map(oracle.ask, asked))
