"""What the bench reads and what it makes of it: /proc, wrk, histograms, goals; and one case for real. It asserts what
was counted and told, never how fast anything was."""

import math
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from bench.arena import Arena, Plan
from bench.cases import hits
from bench.cases.day import Afternoon
from bench.cases.tiers import buckets, took, within
from bench.figures import Figure, Line, Verdict, at_least, at_most, quantile
from bench.heads import PATHS, RING, each_path, varied
from bench.load import CONNECTIONS, Load, Sample, problem
from bench.origin import Origin, origin
from bench.pacer import each_once, paced
from bench.profile import by_function, stacks
from bench.programs import Cores, Missing, Running, cores, found
from bench.reading import Stat, Told, parsed_stat, parsed_status, parsed_wrk, tree_ticks
from bench.table import cell, told

STAT = "{pid} ({name}) S {parent} 42 42 0 -1 4194560 900 800 0 0 {ticks} 20 0 1 0 100 1000 200 18446744073709551615"


@pytest.mark.parametrize("name", ["nginx", "a b", "a) S 1 (b", "(", "0"])
def test_a_process_is_read_whatever_it_is_called(name: str) -> None:
    text = STAT.format(pid=7, name=name, parent=3, ticks="100 20 4 1")
    assert parsed_stat(text) == Stat(7, 3, 125)


def test_the_tree_counts_the_living_and_those_that_their_parents_waited_for() -> None:
    parent, child, grandchild = Stat(10, 1, 5), Stat(11, 10, 70), Stat(12, 11, 9)
    neighbour, its_child = Stat(20, 1, 1000), Stat(21, 20, 1000)
    everybody = [grandchild, neighbour, parent, its_child, child]
    assert tree_ticks(everybody, 10) == 84
    assert tree_ticks(everybody, 11) == 79
    assert tree_ticks(everybody, 99) == 0


@pytest.mark.parametrize(("name", "size"), [("VmRSS", 2048 * 1024), ("VmHWM", 4096 * 1024), ("VmSwap", 0)])
def test_memory_is_read_in_bytes(name: str, size: int) -> None:
    assert parsed_status("Name:\tx\nVmHWM:\t    4096 kB\nVmRSS:\t    2048 kB\nThreads:\t3\n", name) == size


WRK = """Running 3s test @ http://127.0.0.1:4000
  1 threads and 32 connections
  96 requests in 2.00s, 1.2KB read
bench requests=96 microseconds=2000000 bytes=115200 connect=0 read=3 write=0 timeout=1 status=0
"""


def test_wrk_is_read_by_the_line_of_our_own_scripts() -> None:
    said = parsed_wrk(WRK)
    assert said == Told(96, 2.0, 115200, {"read": 3, "timeout": 1})
    assert said.rate == 48
    with pytest.raises(ValueError, match="unable to connect"):
        parsed_wrk("unable to connect to 127.0.0.1:4000 Connection refused\n")


def sample(*, requests: int = 10_000, size: int = 1_200, asked: int = 0, **errors: int) -> Sample:
    return Sample(0.5, Told(requests, 2.0, requests * size, errors), asked)


HIT, MISS = Load(varied()), Load((b"a", b"b"), script="counting", asks=1)


@pytest.mark.parametrize(
    ("load", "taken", "why"),
    [
        (HIT, sample(), ""),
        (HIT, sample(size=1_230), ""),
        (HIT, sample(asked=CONNECTIONS), ""),
        (MISS, sample(asked=10_000), ""),
        (HIT, sample(status=3), "invalid: 3 status errors"),
        (HIT, sample(timeout=1, read=2), "invalid: 1 timeout errors, 2 read errors"),
        (HIT, sample(requests=0), "invalid: no answers"),
        (HIT, sample(size=300), "invalid: answers of 300 bytes, not 1200"),
        (HIT, sample(asked=400), "invalid: 400 requests to the origin, not 0"),
        (MISS, sample(asked=0), "invalid: 0 requests to the origin, not 10000"),
    ],
)
def test_what_may_not_be_believed_says_why(load: Load, taken: Sample, why: str) -> None:
    assert problem(taken, load, 1_200) == why


def test_cpu_is_told_for_each_answer() -> None:
    assert sample(requests=10_000).microseconds == 50
    assert math.isnan(sample(requests=0).microseconds)


def test_every_head_of_a_ring_is_another_one() -> None:
    ring = varied("If-None-Match: x")
    targets = Counter(head.split(b" ")[1] for head in ring)
    assert len(set(ring)) == len(ring) == RING
    assert len(targets) == PATHS
    assert {target.count(b"&") for target in targets} == {2}
    assert all(head.endswith(b"\r\nIf-None-Match: x\r\n\r\n") for head in ring)
    assert ring == varied("If-None-Match: x")  # in every run the same


# -- figures and goals -------------------------------------------------------------------------------------------------


def test_a_figure_is_the_median_of_its_rounds_and_tells_how_far_they_lie_apart() -> None:
    assert (Figure("a", (10, 12, 30)).median, Figure("a", (9, 10, 11)).spread) == (12, 0.1)
    assert [each.valid for each in (Figure("a"), Figure("a", (1,), "absent"), Figure("a", (math.nan,)))] == [False] * 3


OURS, NGINX = Figure("Cachegate", (11, 12, 13)), Figure("nginx", (16, 16, 16))


@pytest.mark.parametrize(
    ("goal", "others", "words"),
    [
        (at_most(0.75, "nginx"), (NGINX,), "0.75x nginx (<= 0.75: met)"),
        (at_most(0.7, "nginx"), (NGINX,), "0.75x nginx (<= 0.7: missed)"),
        (at_least(0.5, "nginx"), (NGINX,), "0.75x nginx (>= 0.5: met)"),
        (at_most(55), (), "<= 55 µs: met"),
        (at_least(55), (), ">= 55 µs: missed"),
        (at_most(0.75, "nginx"), (), "<= 0.75x nginx: not told"),
        (at_most(0.75, "nginx"), (Figure("nginx", problem="not installed"),), "<= 0.75x nginx: not told"),
        (at_most(0.75, "nginx"), (Figure("nginx", (9.0,), "invalid: 3 status errors"),), "<= 0.75x nginx: not told"),
    ],
)
def test_goals_are_held_against_what_counts(goal: object, others: tuple[Figure, ...], words: str) -> None:
    assert isinstance(goal, type(at_most(1)))
    (verdict,) = Line("x", "x", "µs", (OURS, *others), (goal,)).verdicts()
    assert told(verdict, "µs") == words


def test_ours_that_does_not_count_meets_no_goal() -> None:
    line = Line(
        "x", "x", "µs", (Figure("Cachegate", (1.0,), "invalid: 1 status errors"), NGINX), (at_most(1, "nginx"),)
    )
    assert list(line.verdicts()) == [Verdict(line.goals[0], None)]


@pytest.mark.parametrize(
    ("figure", "words"),
    [
        (Figure("a", (11.46, 11.5, 11.54)), "11.5 µs"),
        (Figure("a", (9.0, 10.0, 11.0)), "10.0 µs ±10%"),
        (Figure("a", (1234.5,)), "1,234 µs"),
        (Figure("a", (0.04213,)), "0.0421 µs"),
        (Figure("a", (5.0,), "not here"), "not here"),
        (Figure("a", (math.nan,)), "no figure"),
    ],
)
def test_figures_in_words(figure: Figure, words: str) -> None:
    assert cell(figure, "µs") == words


@pytest.mark.parametrize(("share", "value"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.001, 1)])
def test_quantiles(share: float, value: int) -> None:
    assert quantile(range(1, 101), share) == value


METRICS = """# TYPE cachegate_tier_seconds histogram
cachegate_tier_seconds_bucket{le="0.001",tier="redis"} 50.0
cachegate_tier_seconds_bucket{le="0.002",tier="redis"} 100.0
cachegate_tier_seconds_bucket{le="+Inf",tier="redis"} 100.0
cachegate_tier_seconds_count{tier="redis"} 100.0
cachegate_tier_seconds_sum{tier="redis"} 0.1
cachegate_tier_seconds_bucket{le="0.001",tier="file"} 0.0
cachegate_tier_seconds_bucket{le="+Inf",tier="file"} 7.0
"""


def test_the_gateways_own_histograms() -> None:
    redis = buckets(METRICS, "cachegate_tier_seconds", "tier", "redis")
    assert redis == {0.001: 50, 0.002: 100, math.inf: 100}
    assert [within(redis, share) for share in (0.25, 0.5, 0.75, 1.0)] == pytest.approx([0.0005, 0.001, 0.0015, 0.002])
    assert within(buckets(METRICS, "cachegate_tier_seconds", "tier", "file"), 0.5) == 0.001  # at least: it has no end
    assert math.isnan(within({}, 0.99))


def test_what_an_answer_tells_of_a_lookup() -> None:
    answer = b"HTTP/1.1 200 OK\r\nServer-Timing: redis;dur=1.5, memory;dur=0.021\r\nAge: 1\r\n\r\nmemory;dur=7"
    assert [list(took(answer, tier)) for tier in ("memory", "redis", "file")] == [[0.021], [1.5], []]
    assert list(took(b"HTTP/1.1 200 OK\r\n\r\n", "memory")) == []


def test_ratios_of_the_day_are_of_hot_requests_and_of_lookups_behind_memory() -> None:
    afternoon = Afternoon(
        ((0, "memory"), (1, "file"), (2, "memory"), (3, "memory"), (9_000, "file"), (9_001, "")), frozenset({1})
    )
    assert (afternoon.from_memory(), afternoon.beyond("file")) == (75, pytest.approx(200 / 3))
    assert afternoon.known() == pytest.approx(100 / 3)


def test_stacks_are_told_by_function() -> None:
    own, all_in = by_function(
        stacks("main;serve;parse 3\nmain;serve 2\nmain;walk;walk 1\nrun;Condition.wait (threading.py:295) 9\n")
    )
    assert own == {"parse": 3, "serve": 2, "walk": 1}
    assert all_in == {"main": 6, "serve": 5, "parse": 3, "walk": 1}


# -- for real ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def arena(tmp_path: Path) -> Iterator[Arena]:
    """Half a second of everything; everybody shares the cores as they come."""
    for program, package in (("wrk", "wrk"), ("nginx", "nginx"), ("taskset", "util-linux")):
        try:
            found(program, package)
        except Missing as missing:
            pytest.skip(str(missing))
    with origin(tmp_path / "origin", cores()) as behind:
        yield Arena(Plan(rounds=1, seconds=0.5, warm=0.1), tmp_path, cores(), behind)


@pytest.mark.slow
def test_a_case_runs_against_the_real_program(arena: Arena) -> None:
    where = os.sched_getaffinity(0)
    (line,) = hits.memory_hit_identical(arena)
    ours, nginx, varnish = line.figures
    assert (ours.who, ours.problem, len(ours.values)) == ("Cachegate", "", 1)
    assert (nginx.who, nginx.problem, len(nginx.values)) == ("nginx", "", 1)
    assert varnish.valid or "varnish" in varnish.problem
    assert ours.median > 0
    assert os.sched_getaffinity(0) == where


def test_who_is_missing_is_told_and_keeps_nobody_from_being_measured(arena: Arena) -> None:
    @contextmanager
    def nobody(directory: Path, on: Cores, behind: Origin) -> Iterator[Running]:
        found("no-such-program", "its-package")
        yield behind.running

    @contextmanager
    def nothing_is_kept(directory: Path, on: Cores, behind: Origin) -> Iterator[Running]:
        yield behind.running

    with ExitStack() as stack:
        starts = {"nobody": nobody, "forgetful": nothing_is_kept}
        paths = list(each_path(paths=20))
        absent, forgetful = (arena.enter(stack, name, start, HIT, paths) for name, start in starts.items())
        told = arena.contest([absent, forgetful])
    assert told[0] == Figure("nobody", (), "no-such-program is not installed (apt-get install its-package)")
    assert told[1] == Figure("forgetful", (), "invalid: it does not keep what it fetches")


def test_our_own_client_sends_everything_once_and_at_a_rate(arena: Arena) -> None:
    port, ring = arena.origin.port, varied()[:100]
    before = arena.origin.asked()
    answers: dict[int, bytes] = {}
    once = each_once(port, ring, note=answers.__setitem__)
    assert (len(once.latencies), once.problem) == (100, "")
    assert all(head.split(b" ")[1] in answers[number] for number, head in enumerate(ring))  # each its own
    assert arena.origin.asked() - before == 101
    steady = paced(port, ring, rate=200, seconds=0.5, connections=4)
    assert (len(steady.latencies), steady.problem) == (100, "")
    wrong = each_once(port, [b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n"])
    assert wrong.problem == "invalid: 1 answers were not 200"
