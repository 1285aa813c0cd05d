"""When a process shrinks, refuses and recovers, and how much room its memory tier has then (invariant 11)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.policy.pressure import CALMS, SHRINKS, Level, judge_pressure, judge_room

CALM, SHRINKING, REFUSING = Level
WHOLE = 25_600

# before, bytes used of 1000, what then
LEVELS = [
    (CALM, 900, CALM),
    (CALM, 950, CALM),
    (CALM, 951, SHRINKING),
    (CALM, 1000, SHRINKING),
    (CALM, 1001, REFUSING),
    (SHRINKING, 950, SHRINKING),
    (SHRINKING, 901, SHRINKING),
    (SHRINKING, 900, CALM),
    (SHRINKING, 1000, SHRINKING),
    (SHRINKING, 1001, REFUSING),
    (REFUSING, 1000, REFUSING),
    (REFUSING, 951, REFUSING),
    (REFUSING, 950, SHRINKING),
    (REFUSING, 900, CALM),
]


@pytest.mark.parametrize(("before", "used", "due"), LEVELS)
def test_a_level_ends_lower_than_it_begins(before: Level, used: int, due: Level) -> None:
    assert judge_pressure(before, used, 1000) is due


# level, bytes used of 1000, held, room, room then
ROOMS = [
    (SHRINKING, 960, 500, WHOLE, 440),  # 60 too many
    (SHRINKING, 960, 500, 450, 440),
    (SHRINKING, 960, 500, 430, 430),  # never more while it shrinks
    (REFUSING, 1100, 500, WHOLE, 300),
    (REFUSING, 1100, 100, 100, 31),  # something stays
    (SHRINKING, 960, 31, 31, 31),
    (CALM, 930, 500, 600, 600),  # enough was given up, and nothing is free yet
    (CALM, 880, 500, 600, 610),  # half of what is free
    (CALM, 100, 500, 600, 700),  # one in 256 of the whole
    (CALM, 100, 500, WHOLE - 10, WHOLE),
    (CALM, 100, 500, WHOLE, WHOLE),
    (CALM, 0, 0, 0, 100),
]
FLOOR = 10_000 // 32


@pytest.mark.parametrize(("level", "used", "held", "room", "due"), ROOMS)
def test_room_goes_by_what_is_too_much_and_comes_back_slowly(
    level: Level, used: int, held: int, room: int, due: int
) -> None:
    assert judge_room(level, used, 1000, held, room, WHOLE) == due


@given(st.lists(st.integers(0, 500), max_size=200), st.integers(0, 1500), st.integers(0, 1000))
def test_a_tier_that_alone_grows_never_reaches_the_limit(grown: list[int], whole: int, beside: int) -> None:
    """Whatever is put into the tier between two looks, as long as it is no more than 5% of the limit, and what lies
    beside it no more than 90%."""
    limit, level, held, room = 10_000, CALM, 0, whole * 10
    beside = beside * 9
    for more in grown:
        held = min(room, held + more)
        assert beside + held <= limit
        level = judge_pressure(level, beside + held, limit)
        assert level is not REFUSING
        room = judge_room(level, beside + held, limit, held, room, whole * 10)
        held = min(held, room)
        assert beside + held <= limit * SHRINKS
        assert level is CALM or room == min(whole * 10, FLOOR) or beside + held <= limit * CALMS
