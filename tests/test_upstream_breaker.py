"""The breaker and the retry budget by themselves, with a clock that the test turns (row 95; reliability.md, limits:
breaker and retry budget). What they do to calls is in test_story_protection."""

from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.upstream.breaker import JITTER, Breaker, Cause, Change, State, Thresholds
from proxy.upstream.fellows import Turns
from proxy.upstream.retry_budget import RetryBudget
from proxy.upstream.window import BUCKETS, Window

CHANCE = 0.5


def breaker(told: list[Change] | None = None, **thresholds: float) -> Breaker:
    changes: list[Change] = [] if told is None else told
    return Breaker(Thresholds(**thresholds), changes.append, lambda: 0.0)  # type: ignore[arg-type]


def run(it: Breaker, outcomes: str, now: float = 0.0) -> None:
    """Calls one after another: `x` fails, `.` succeeds; `X` and `s` do so slowly."""
    for outcome in outcomes:
        permit = it.admit(now)
        assert permit is not None
        slow = outcome in "sX"
        it.failed(permit, now, "status 503", slow=slow) if outcome in "xX" else it.succeeded(permit, now, slow=slow)


@pytest.mark.parametrize(
    ("outcomes", "cause"),
    [
        ("xxxx", None),
        ("xxxxx", Cause.CONSECUTIVE),
        ("xxxx.xxxx", None),
        (".x" * 9 + "x", None),  # 10 of 19: too few to say
        (".x" * 10, Cause.ERROR_RATE),  # 10 of 20
        (".x" * 9 + "..x", None),  # 10 of 21
        ("..x" * 20, None),
        ("s" * 19, None),
        ("s" * 20, Cause.SLOW_CALLS),
        ("." * 10 + "s" * 10, Cause.SLOW_CALLS),
        ("." * 11 + "s" * 10, None),
        (".x" * 9 + "ss", None),  # neither half is bad in the same way
        (".." + "sX" * 9, Cause.SLOW_CALLS),  # a failure may be slow as well: 18 of 20, and 9 of 20
        ("XXXXX", Cause.CONSECUTIVE),
    ],
)
def test_what_opens_it(outcomes: str, cause: Cause | None) -> None:
    it = breaker()
    run(it, outcomes)
    assert (it.state(0.0) is State.OPEN, it.cause(0.0)) == (cause is not None, cause)


def test_a_call_is_slow_past_its_threshold_and_none_is_without_one() -> None:
    assert [breaker(slow_call_duration=2.0).is_slow(seconds) for seconds in (2.0, 2.001)] == [False, True]
    assert not breaker().is_slow(1e9)


def test_a_slow_probe_leaves_it_open() -> None:
    told: list[Change] = []
    it = breaker(told, slow_call_duration=2.0)
    run(it, "xxxxx")
    run(it, "s", 5.0)
    run(it, "x", 15.0)
    assert [(change.cause, change.why) for change in told if change.state is State.OPEN] == [
        (Cause.CONSECUTIVE, "5 failures in a row, the last: status 503"),
        (Cause.SLOW_CALLS, "the probe was slow"),
        (Cause.SLOW_CALLS, "the probe failed (status 503)"),
    ]
    run(it, ".", 35.0)
    assert it.cause(35.0) is None


def test_slow_calls_leave_the_window_too() -> None:
    told: list[Change] = []
    it = breaker(told, slow_call_duration=0.5)
    run(it, "s" * 10, 0.5)
    run(it, "." * 9 + "s" * 9, 10.5)
    assert told == []
    run(it, "ss", 10.5)
    assert [change.why for change in told] == ["11 of 20 calls in 10 s took longer than 0.5 s"]


def test_what_is_older_than_the_window_counts_no_more() -> None:
    it = breaker(window=10.0, consecutive=100)
    run(it, "." * 10 + "x" * 9, now=0.5)
    run(it, "x", now=10.5)  # 10 of 20, had the others not left
    assert it.state(10.5) is State.CLOSED
    run(it, "x" * 18, now=10.5)
    assert it.state(10.5) is State.CLOSED
    run(it, "x", now=10.5)
    assert it.state(10.5) is State.OPEN


def test_a_run_of_failures_knows_no_window() -> None:
    it = breaker()
    for n in range(5):
        run(it, "x", now=n * 1000.0)
    assert it.state(4000.0) is State.OPEN


def test_open_times_double_up_to_the_longest_and_start_again_after_a_success() -> None:
    told: list[Change] = []
    it, now = breaker(told), 100.0
    run(it, "xxxxx", now)
    for seconds in (5, 10, 20, 40, 60, 60):
        assert told[-1].seconds == seconds
        assert it.withheld(now) == seconds
        assert it.admit(now + seconds - 0.001) is None
        now += seconds
        probe = it.admit(now)
        assert probe is not None
        it.failed(probe, now, "status 503")
    now += 60
    run(it, ".", now)
    assert it.state(now) is State.CLOSED
    run(it, "xxxx", now)
    assert it.state(now) is State.CLOSED  # nothing of what was before counts
    run(it, "x", now)
    assert told[-1].seconds == 5


def test_nothing_of_what_opened_it_counts_once_it_is_closed() -> None:
    it = breaker(window=60.0)
    run(it, ".x" * 10)
    run(it, "." * 10 + ".x" * 5, now=5.0)  # 5 of 19: the first was the probe
    assert it.state(5.0) is State.CLOSED
    run(it, "x", now=5.0)  # 6 of 20, but 16 if the old ones counted
    assert it.state(5.0) is State.CLOSED


def test_no_slow_call_counts_once_it_is_closed() -> None:
    it = breaker(window=60.0)
    run(it, "s" * 20)
    run(it, "." * 12 + "s" * 9, now=5.0)  # 9 of 20: the first was the probe
    assert it.state(5.0) is State.CLOSED
    run(it, "ss", now=5.0)
    assert it.cause(5.0) is Cause.SLOW_CALLS


@pytest.mark.parametrize("chance", [0.0, 0.3, 0.999])
def test_jitter_only_shortens(chance: float) -> None:
    told: list[Change] = []
    it = Breaker(Thresholds(), told.append, lambda: chance)
    run(it, "xxxxx")
    assert told[-1].seconds == pytest.approx(5.0 * (1 - JITTER * chance))


def test_one_probe_at_a_time() -> None:
    it = breaker(probe=33.0)
    run(it, "xxxxx")
    first = it.admit(5.0)
    assert first is not None
    assert it.probes(first)
    assert (it.admit(5.0), it.withheld(5.0)) == (None, 1.0)
    it.left(first)  # its client went away: the next one probes
    second = it.admit(6.0)
    assert second is not None
    it.succeeded(first, 6.0)
    assert it.state(6.0) is State.HALF_OPEN  # what comes of the first counts no more
    assert it.admit(6.0 + 32.9) is None
    third = it.admit(6.0 + 33.0)  # the second is under way for too long to be waited for
    assert third is not None
    it.failed(second, 40.0, "late")
    assert it.state(40.0) is State.HALF_OPEN
    it.succeeded(third, 40.0)
    assert it.state(40.0) is State.CLOSED


def test_what_began_before_a_change_counts_for_nothing_after_it() -> None:
    it = breaker()
    early = it.admit(0.0)
    assert early is not None
    run(it, "xxxxx")
    it.succeeded(early, 1.0)
    it.failed(early, 1.0, "late")
    it.left(early)
    assert it.state(1.0) is State.OPEN
    run(it, ".", 5.0)
    for _ in range(10):
        it.failed(early, 5.0, "late")
    assert it.state(5.0) is State.CLOSED


def test_every_change_is_told_once_and_in_words() -> None:
    told: list[Change] = []
    it = breaker(told)
    run(it, "xxxxx")
    assert it.state(4.9) is State.OPEN
    assert it.state(5.0) is it.state(6.0) is State.HALF_OPEN  # also when nobody calls
    run(it, "x", 6.0)
    run(it, ".", 16.0)
    assert [(change.state.value, change.why) for change in told] == [
        ("open", "5 failures in a row, the last: status 503"),
        ("half-open", "the next call is the probe"),
        ("open", "the probe failed (status 503)"),
        ("half-open", "the next call is the probe"),
        ("closed", "the probe succeeded"),
    ]


# of several workers


def test_it_follows_what_others_have_found_out_and_tells_nobody() -> None:
    ours: list[Change] = []
    theirs: list[Change] = []
    it, other = breaker(ours), breaker(theirs)
    early = it.admit(0.0)
    run(other, "xxxxx")
    it.learn(theirs[-1], 1.0)
    assert (it.state(1.0), it.cause(1.0), it.withheld(1.0)) == (State.OPEN, Cause.CONSECUTIVE, 5.0)
    assert early is not None
    it.succeeded(early, 1.0)
    assert it.state(1.0) is State.OPEN  # what began before counts for nothing
    run(other, "x", 5.0)
    it.learn(theirs[-1], 5.0)
    assert it.withheld(5.0) == 10.0  # the second in a row, here too
    it.learn(theirs[-1], 9.0)
    it.learn(theirs[0], 9.0)
    assert it.withheld(9.0) == 6.0  # old news
    run(other, ".", 15.0)
    it.learn(theirs[-1], 15.0)
    assert it.state(15.0) is State.CLOSED
    run(it, "xxxx", 15.0)
    assert it.state(15.0) is State.CLOSED
    assert ours == []


def test_who_has_opened_by_himself_hears_nothing_new_of_others_who_did() -> None:
    theirs: list[Change] = []
    it, other = breaker(), breaker(theirs)
    run(it, "xxxxx")
    run(other, "xxxxx", 4.0)
    it.learn(theirs[-1], 4.0)
    assert it.withheld(4.0) == 1.0


def test_while_another_probes_nobody_here_does_for_a_moment() -> None:
    it = breaker()
    run(it, "xxxxx")
    first = it.admit(5.0)
    assert first is not None
    it.elsewhere(first, 5.0)
    assert (it.withheld(5.0), it.admit(5.9), it.holds(first)) == (1.0, None, False)
    assert it.admit(6.0) is not None


async def test_turns_are_one_at_a_time_and_end() -> None:
    now = 0.0
    turns = Turns(lambda: now)
    assert [await turns.take(who, "a probe", 5.0) for who in (1, 2, 1)] == [True, False, False]
    assert await turns.take(2, "b probe", 5.0)
    turns.over(2, "a probe")  # was not his
    assert not await turns.take(2, "a probe", 5.0)
    turns.over(1, "a probe")
    turns.over(1, "a probe")
    assert await turns.take(2, "a probe", 5.0)
    now = 4.9
    assert not await turns.take(1, "b probe", 5.0)
    now = 5.0
    assert await turns.take(1, "b probe", 5.0)
    turns.died(2)
    assert not await turns.take(3, "b probe", 5.0)
    turns.died(1)
    assert await turns.take(3, "b probe", 5.0)


# against an oracle that remembers everything


@dataclass
class Oracle:
    """Keeps each call of the present era and computes from them what the breaker should do."""

    limits: Thresholds
    state: State = State.CLOSED
    since: float = 0.0
    seconds: float = 0.0
    openings: int = 0
    ended: list[tuple[float, bool, bool]] = field(default_factory=list)  # when, well, slowly
    era: object = field(default_factory=object)
    probe: tuple[object, float] | None = None

    def look(self, now: float) -> None:
        if self.state is State.OPEN and now >= self.since + self.seconds:
            self.state, self.era, self.probe = State.HALF_OPEN, object(), None

    def admit(self, now: float) -> object | None:
        self.look(now)
        if self.state is State.CLOSED:
            return self.era
        if self.state is State.OPEN or (self.probe and now < self.probe[1] + self.limits.probe):
            return None
        self.probe = object(), now
        return self.probe[0]

    def end(self, call: object, now: float, how: str, slow: bool) -> None:
        if self.state is State.HALF_OPEN and self.probe is not None and call is self.probe[0]:
            if how == "failed" or (how == "succeeded" and slow):
                self.open(now)
            elif how == "succeeded":
                self.state, self.era, self.openings, self.ended = State.CLOSED, object(), 0, []
            else:
                self.probe = None
        elif self.state is State.CLOSED and call is self.era and how != "left":
            self.ended.append((now, how == "succeeded", slow))
            if (how == "failed" and self.is_too_much(now)) or ((how == "failed" or slow) and self.is_too_slow(now)):
                self.open(now)

    def is_too_much(self, now: float) -> bool:
        good = [ok for _, ok, _ in self.ended]
        lately = [ok for ok, _ in self.lately(now)]
        share = lately.count(False) / len(lately)
        return (not any(good[-self.limits.consecutive :]) and len(good) >= self.limits.consecutive) or (
            len(lately) >= self.limits.min_requests and share >= self.limits.error_rate
        )

    def is_too_slow(self, now: float) -> bool:
        slow = [slow for _, slow in self.lately(now)]
        return len(slow) >= self.limits.min_requests and sum(slow) >= max(1, self.limits.slow_call_rate * len(slow))

    def lately(self, now: float) -> list[tuple[bool, bool]]:
        tenth = self.limits.window / BUCKETS
        return [(ok, slow) for when, ok, slow in self.ended if when // tenth > now // tenth - BUCKETS]

    def open(self, now: float) -> None:
        longest = min(self.limits.max_open, self.limits.open_for * 2**self.openings)
        self.seconds = longest * (1 - JITTER * CHANCE)
        self.state, self.since, self.openings, self.era = State.OPEN, now, self.openings + 1, object()


LIMITS = Thresholds(0.5, 6, window=10.0, consecutive=4, open_for=5.0, max_open=20.0, probe=7.0, slow_call_rate=0.7)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["begin", "begin", "succeeded", "failed", "failed", "left", "pass"]),
        st.integers(0, 40),
        st.booleans(),
    ),
    max_size=120,
)


@settings(max_examples=200, deadline=None)
@given(STEPS)
def test_it_agrees_with_an_oracle(steps: list[tuple[str, int, bool]]) -> None:
    told: list[Change] = []
    it, oracle, now = Breaker(LIMITS, told.append, lambda: CHANCE), Oracle(LIMITS), 0.0
    calls: list[tuple[int, object]] = []
    for step, number, slow in steps:
        if step == "pass":
            now += number / 4
        elif step == "begin":
            ours, theirs = it.admit(now), oracle.admit(now)
            assert (ours is None) == (theirs is None)
            if ours is not None:
                calls.append((ours, theirs))
        elif calls:
            permit, call = calls.pop(number % len(calls))
            oracle.look(now)
            assert it.state(now) is oracle.state
            match step:
                case "succeeded":
                    it.succeeded(permit, now, slow=slow)
                case "failed":
                    it.failed(permit, now, "x", slow=slow)
                case "left":
                    it.left(permit)
            oracle.end(call, now, step, slow)
        oracle.look(now)
        assert it.state(now) is oracle.state
        assert sum(it.probes(permit) for permit, _ in calls) <= 1
    assert [change.state for change in told] == _alternating(told)
    assert all(change.seconds <= LIMITS.max_open for change in told)


def _alternating(told: list[Change]) -> list[State]:
    """The changes that are ones: no state follows itself, and none but half-open follows open."""
    path = [State.CLOSED, *(change.state for change in told)]
    for before, after in pairwise(path):
        assert before is not after
        assert (before is State.OPEN) == (after is State.HALF_OPEN)
    return path[1:]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 60), max_size=80))
def test_a_window_counts_what_fell_into_its_last_tenths(waits: list[int]) -> None:
    window, now, added = Window(5.0), 0.0, []
    for wait in waits:
        now += wait / 8
        window.add(now)
        added.append(now)
        assert window.count(now) == sum(when // 0.5 > now // 0.5 - BUCKETS for when in added)
    assert window.count(now + 5.0) == 0
    assert window.count(now) == 0  # a clock that is set back brings nothing back


# retries


def test_a_fifth_of_the_calls_and_three_at_least() -> None:
    budget = RetryBudget(0.2, 10.0)
    assert [budget.take(0.0) for _ in range(4)] == [True, True, True, False]
    for _ in range(20):
        budget.call(1.0)
    assert [budget.take(1.0) for _ in range(2)] == [True, False]  # four of twenty
    assert [budget.take(10.5) for _ in range(4)] == [True] * 3 + [False]  # of the twenty, four; one was made at 1 s


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 8)), max_size=150), st.floats(0, 1))
def test_never_more_than_its_share(steps: list[tuple[bool, int]], share: float) -> None:
    budget, now = RetryBudget(share, 10.0), 0.0
    calls: list[float] = []
    retries: list[float] = []
    for retry, wait in steps:
        now += wait / 4

        def lately(times: list[float], now: float = now) -> int:
            return sum(when // 1.0 > now // 1.0 - BUCKETS for when in times)

        if retry and budget.take(now):
            retries.append(now)
            assert lately(retries) <= max(3, share * lately(calls))
        elif retry:
            assert lately(retries) + 1 > max(3, int(share * lately(calls)))
        else:
            budget.call(now)
            calls.append(now)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("x.sg"), st.sampled_from([0.0, 0.5, 3.0, 10.0])), max_size=40))
def test_a_glance_says_what_asking_would_and_changes_nothing(told: list[tuple[str, float]]) -> None:
    changes: list[Change] = []
    it, other = breaker(changes, consecutive=2), breaker(consecutive=2)
    now = 0.0
    for outcome, seconds in told:
        now += seconds
        before = list(changes)
        glances = {it.glance(now) for _ in range(3)}
        assert changes == before
        assert glances == {(other.state(now), other.withheld(now))}
        for each in (it, other):
            if outcome != "g" and each.withheld(now) is None:
                run(each, outcome, now)
        assert it.state(now) is other.state(now)
