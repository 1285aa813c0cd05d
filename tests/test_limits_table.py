"""What one process counts (row 89): apart by client and quota, bounded whatever comes, and emptied by and by."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.limits.near import AtParent, duties, swept
from proxy.limits.table import SLICE, Table
from proxy.limits.window import Quota, Standing

CHAT, LARGE = Quota(3, 60_000_000), Quota(5000, 10_000_000)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_clients_and_quotas_are_apart() -> None:
    table = Table(Clock())
    assert [table.take("a", CHAT).allowed for _ in range(4)] == [True, True, True, False]
    assert table.take("b", CHAT).allowed
    assert table.take("a", Quota(3, 30_000_000)).allowed
    assert table.peek("a", CHAT) == Standing(False, 0, 60_000_000)
    assert table.peek("nobody", CHAT) == Standing(True, 3, 0)
    assert table.peek("a", LARGE) == Standing(True, 5000, 0)
    assert len(table) == 3


def test_who_asked_longest_ago_leaves() -> None:
    clock = Clock()
    table = Table(clock, clients=3)
    for client, quota in (("a", CHAT), ("b", LARGE), ("c", CHAT), ("a", CHAT), ("d", LARGE)):
        clock.now += 0.001
        table.take(client, quota)
    left = {client: table.peek(client, CHAT).remaining for client in "ac"}
    assert left == {"a": 1, "c": 2}
    assert [table.peek(client, LARGE).remaining for client in "bd"] == [5000, 4999]


@pytest.mark.slow
def test_a_million_clients_leave_a_bounded_table() -> None:
    table = Table(Clock())
    for number in range(1_000_000):
        table.take(f"{number}", CHAT)
    assert (len(table), table.times) == (100_000, 100_000)


def test_those_who_ask_much_take_the_room_of_several() -> None:
    table = Table(Clock(), times=5000)
    for number in range(100_000):
        table.take(f"{number // 100}", Quota(100, 60_000_000))
    assert (len(table), table.times) == (50, 5000)


async def test_the_parent_counts_as_long_as_it_answers() -> None:
    parents, own, told = Table(Clock()), Table(Clock()), list[tuple[object, ...]]()
    answers = True

    async def ask(verb: str, *args: Any) -> object:
        return await duties(parents)[verb](*args) if answers else None

    near = AtParent(ask, lambda *said: told.append(said), own)
    assert [(await near.take("a", CHAT)).allowed for _ in range(4)] == [True, True, True, False]
    assert (await near.peek("a", CHAT), len(own)) == (parents.peek("a", CHAT), 0)
    near.note("b", CHAT)
    assert (told, near.glance("a", CHAT)) == ([("b", CHAT)], None)
    answers = False
    assert [(await near.take("a", CHAT)).allowed for _ in range(4)] == [True, True, True, False]
    assert (await near.peek("a", CHAT)).remaining == 0


async def test_what_ended_goes_and_nothing_else() -> None:
    clock = Clock()
    table = Table(clock)
    for number in range(2 * SLICE + 1):
        table.take(f"{number}", CHAT)
    table.take("large", LARGE)
    clock.now += 19.0
    table.take("large", LARGE)
    clock.now += 40.9
    assert table.sweep() == 1
    clock.now += 0.1
    table.take("5", CHAT)
    assert [table.sweep(), await swept(table)] == [SLICE, SLICE]
    assert (len(table), table.times) == (1, 1)
    clock.now += 60.0
    assert (await swept(table), len(table), table.times) == (1, 0, 0)


@given(
    st.lists(
        st.tuples(st.sampled_from("abcdef"), st.sampled_from([CHAT, Quota(1, 5), Quota(2, 9)]), st.integers(0, 4)),
        max_size=60,
    )
)
def test_its_own_account_is_right(steps: list[tuple[str, Quota, int]]) -> None:
    clock = Clock()
    table = Table(clock, clients=4, times=6)
    for client, quota, pause in steps:
        clock.now += pause / 1e6
        (table.note if pause == 3 else table.take)(client, quota)
        if pause == 4:
            table.sweep()
        held = [window for windows in table._windows.values() for window in windows.values()]
        assert (len(held), sum(map(len, held))) == (len(table), table.times)
        assert len(table) <= 4
        assert table.times <= 6
