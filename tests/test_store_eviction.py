"""Who leaves a full tier (rows 14 and 16): the order of each policy, and bounds that always hold."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from proxy.store.eviction import Name, S3Fifo, policy
from proxy.store.shelves import Eviction

NAMES: tuple[Name, ...] = ("s3fifo", "lru", "fifo")


def drained(chosen: Eviction) -> list[str]:
    """Everybody in the order in which they left."""
    left = []
    while (key := chosen.evict()) is not None:
        left.append(key)
    return left


def play(name: Name, script: str, room: int) -> str:
    """Who left, in order, when a letter is asked for: a hit when it is there, else added. `-x` removes x."""
    chosen, there, left = policy(name, room, 10**9), set(), ""
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
            for key in drained(chosen):
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
        chosen, there = policy(name, 100, 10**9), set(hot)
        for key in hot:
            chosen.add(key, 1)
            for _ in range(3):
                chosen.touch(key)
        for number in range(1000):
            chosen.add(f"cold{number}", 1)
            there -= set(drained(chosen))
        return len(there)

    assert survivors("s3fifo") == 50
    assert survivors("lru") == 0


@pytest.mark.parametrize("name", NAMES)
def test_bytes_bound_as_well_as_entries(name: Name) -> None:
    chosen = policy(name, 100, 10)
    for key, size in (("a", 4), ("b", 4), ("c", 2)):
        chosen.add(key, size)
    assert drained(chosen) == []
    chosen.add("d", 7)
    assert drained(chosen) == ["a", "b"]
    assert chosen.bytes == 9


@pytest.mark.parametrize("name", NAMES)
def test_a_changed_size_counts_once(name: Name) -> None:
    chosen = policy(name, 100, 100)
    chosen.add("a", 10)
    chosen.add("a", 30)
    assert (len(chosen), chosen.bytes) == (1, 30)
    chosen.remove("a")
    assert (len(chosen), chosen.bytes) == (0, 0)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_restored_is_older_than_what_is_there(name: Name) -> None:
    """A restart: the newest is told first, and new entries have come meanwhile."""
    chosen = policy(name, 4, 10**9)
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
    assert drained(chosen) == ["a", "b", "c"]


class Bounds(RuleBasedStateMachine):
    """Whatever happens: both bounds hold, the sums are right, and nobody leaves who is not there."""

    @initialize(name=st.sampled_from(NAMES), entries=st.integers(1, 8), size=st.integers(1, 40))
    def start(self, name: Name, entries: int, size: int) -> None:
        self.chosen = policy(name, entries, size)
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
        left = drained(self.chosen)
        assert bool(left) == needed
        for key in left:
            del self.model[key]

    @invariant()
    def holds(self) -> None:
        if hasattr(self, "model"):
            assert (len(self.chosen), self.chosen.bytes) == (len(self.model), sum(self.model.values()))
            assert len(self.model) <= self.entries
            assert sum(self.model.values()) <= self.size
            if isinstance(self.chosen, S3Fifo):
                assert len(self.chosen._ghost) <= self.entries
                assert self.chosen._ghost.bytes <= self.size


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
