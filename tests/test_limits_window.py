"""Sliding windows against an oracle that keeps every request and looks at every window (row 88)."""

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.limits.window import EXACT, Buckets, Log, Quota, Standing, Window, window_of

SECOND = 1_000_000
GAPS = st.lists(st.integers(0, 12), max_size=80)  # between requests, so that many fall on the edges of windows
QUOTAS = st.builds(Quota, st.integers(1, 6), st.integers(1, 20))


@dataclass
class Asked:
    """When a client asked, and what it was told."""

    at: int
    said: Standing


def ask(window: Window, quota: Quota, gaps: list[int]) -> list[Asked]:
    now, asked = 0, []
    for gap in gaps:
        now += gap
        asked.append(Asked(now, window.take(quota, now)))
    return asked


def let_through(asked: list[Asked]) -> list[int]:
    return [each.at for each in asked if each.said.allowed]


def fullest(times: list[int], length: int) -> int:
    """The most that any half-open window of this length holds; one that begins with a request is among the fullest."""
    return max((sum(start <= time < start + length for time in times) for start in times), default=0)


@given(QUOTAS, GAPS)
@settings(max_examples=300, deadline=None)
def test_no_window_holds_more_than_the_limit_and_nothing_that_fits_is_refused(quota: Quota, gaps: list[int]) -> None:
    asked = ask(Log(0), quota, gaps)
    assert fullest(let_through(asked), quota.window) <= quota.limit
    for number, one in enumerate(asked):
        before = [time for time in let_through(asked[:number]) if time > one.at - quota.window]
        assert one.said.allowed == (len(before) < quota.limit)
        inside = [*before, *([one.at] if one.said.allowed else [])]
        assert one.said == Standing(one.said.allowed, quota.limit - len(inside), inside[0] + quota.window - one.at)


@given(QUOTAS, GAPS)
@settings(max_examples=300, deadline=None)
def test_two_buckets_stay_below_twice_the_limit_and_below_it_in_the_mean(quota: Quota, gaps: list[int]) -> None:
    times = let_through(ask(Buckets(0), quota, gaps))
    assert fullest(times, quota.window) < 2 * quota.limit
    for windows in (2, 3, 5):
        assert fullest(times, windows * quota.window) <= (windows + 1) * quota.limit


def test_two_buckets_come_close_to_their_bound() -> None:
    """What is documented is no idle word: all at the end of one bucket, and what is set free all through the next."""
    quota, window = Quota(1000, 1000), Buckets(0)
    window.take(quota, 0)
    gaps = [999] + [0] * 998 + [1] * 999
    assert fullest(let_through(ask(window, quota, gaps)), quota.window) > 1.9 * quota.limit


@pytest.mark.parametrize(("kind", "gap"), [(Log, 50), (Buckets, 53)])
def test_evenly_spread_requests_get_all_that_the_limit_allows(kind: type[Window], gap: int) -> None:
    """Two buckets refuse one now and then at the very edge."""
    quota = Quota(20, 1000)
    asked = ask(kind(0), quota, [gap] * 200)
    assert [one.said.allowed for one in asked] == [True] * 200


@pytest.mark.parametrize("kind", [Log, Buckets])
@given(quota=QUOTAS, gaps=GAPS, late=st.integers(0, 60))
@settings(max_examples=300, deadline=None)
def test_the_wait_that_is_told_is_the_shortest_that_helps(
    kind: type[Window], quota: Quota, gaps: list[int], late: int
) -> None:
    """And looking changes nothing, however late."""
    window = kind(0)
    asked = ask(window, quota, gaps)
    now = (asked[-1].at if asked else 0) + late
    seen = window.peek(quota, now)
    assert seen.allowed == (seen.remaining > 0)
    assert 0 <= seen.remaining <= quota.limit
    if seen.wait:
        assert window.peek(quota, now + seen.wait).remaining > seen.remaining
        assert window.peek(quota, now + seen.wait - 1).remaining == seen.remaining
    else:
        assert seen.remaining == quota.limit
    assert window.peek(quota, now) == seen
    assert window.take(quota, now).allowed == seen.allowed


@pytest.mark.parametrize("kind", [Log, Buckets])
@given(quota=QUOTAS, gaps=GAPS)
@settings(max_examples=200, deadline=None)
def test_what_is_over_is_as_good_as_new(kind: type[Window], quota: Quota, gaps: list[int]) -> None:
    window = kind(0)
    asked = ask(window, quota, gaps)
    last = asked[-1].at if asked else 0
    assert window.over(quota, last + 2 * quota.window)
    for now in range(last, last + 2 * quota.window):
        if window.over(quota, now):
            assert window.peek(quota, now) == Standing(True, quota.limit, 0)


@pytest.mark.parametrize("kind", [Log, Buckets])
def test_what_others_let_through_counts_and_keeps_the_bound(kind: type[Window]) -> None:
    quota, window = Quota(3, 60 * SECOND), kind(0)
    for now in range(5):
        window.note(quota, now * SECOND)
    assert not window.take(quota, 5 * SECOND).allowed
    assert len(window) <= 3
    assert window.over(quota, 125 * SECOND)


def test_up_to_a_thousand_it_is_exact() -> None:
    assert isinstance(window_of(Quota(EXACT, SECOND), 0), Log)
    assert isinstance(window_of(Quota(EXACT + 1, SECOND), 0), Buckets)
    assert EXACT == 1000
