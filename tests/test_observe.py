"""Counters, latency, series, log lines: the identity of verdicts (contract "Stats"), the names of "Logs and metrics",
invariant 11 (bounded series, bounded lines), no injection into logs. Rows 99, 100, 105."""

import io
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from proxy.errors import WITHHELD, Fault
from proxy.observe import logs
from proxy.observe.collector import registry
from proxy.observe.counters import Bound, Counters, UpstreamCounts
from proxy.observe.figures import Figures, Pressure, ReplicaFigures, ServiceFigures, TierFigures
from proxy.observe.groups import MAX_RULES, OTHER_RULES
from proxy.observe.latency import BOUNDS, Histogram
from proxy.observe.logs import LineWriter, json_line, printable, setup
from proxy.outcome import Outcome, Tier, Verdict
from proxy.policy.pressure import Level
from proxy.reasons import Why
from tests.support.process import environment

seconds = st.floats(0, 2000, allow_nan=False)

# -- latency ------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(seconds, min_size=1), st.floats(0, 1))
def test_a_quantile_is_near_the_true_one(seen: list[float], q: float) -> None:
    histogram = Histogram()
    for value in seen:
        histogram.observe(value)
    true = sorted(seen)[max(0, int(q * len(seen) + 0.999999999) - 1)]
    got = histogram.quantile(q)
    if true <= BOUNDS[0]:
        assert got <= BOUNDS[0]
    elif true <= BOUNDS[-1]:
        assert true / 1.2 <= got <= true * 1.2
    else:
        assert got == BOUNDS[-1]


@settings(deadline=None)
@given(st.lists(seconds), st.lists(seconds))
def test_merging_is_having_seen_both(some: list[float], others: list[float]) -> None:
    one, two, both = Histogram(), Histogram(), Histogram()
    for values, part in ((some, one), (others, two)):
        for value in values:
            part.observe(value)
            both.observe(value)
    merged = Histogram.merged((one, two))
    assert (merged.buckets, merged.count) == (both.buckets, both.count)
    assert merged.mean == pytest.approx(both.mean)


@settings(deadline=None)
@given(st.lists(seconds))
def test_prometheus_buckets_say_how_many_were_at_most_that(seen: list[float]) -> None:
    histogram = Histogram()
    for value in seen:
        histogram.observe(value)
    told = dict(histogram.cumulative())
    assert told["+Inf"] == len(seen)
    for bound in BOUNDS[::4]:
        assert told[f"{bound:.6g}"] == sum(value <= bound for value in seen)


def test_nothing_seen_is_zero() -> None:
    assert Histogram().summary() == {"avg": 0.0, "p50": 0.0, "p95": 0.0, "p99": 0.0}


# -- counters -----------------------------------------------------------------------------------------------------

outcomes = st.builds(
    Outcome,
    st.sampled_from(Verdict),
    st.sampled_from(Why),
    rule=st.sampled_from(["", "a", "b"]),
    collapsed=st.booleans(),
    stored=st.booleans(),
    stored_why=st.none() | st.sampled_from(Why),
    upstream_seconds=st.none() | st.floats(0, 10),
)


@settings(deadline=None)
@given(st.lists(outcomes))
def test_every_request_has_one_verdict_one_reason_and_one_rule(seen: list[Outcome]) -> None:
    counters = Counters()
    for outcome in seen:
        counters.finish(outcome, 0.001, 10)
    assert counters.requests == len(seen) == sum(counters.verdicts.values()) == sum(counters.reasons.values())
    assert sum(sum(rule.verdicts.values()) for rule in counters.rules.values()) == len(seen)
    assert counters.response_time.count == len(seen)
    hits = sum(rule.hits for rule in counters.rules.values())
    misses = sum(rule.misses for rule in counters.rules.values())
    assert counters.hit_rate == (round(hits / (hits + misses), 4) if hits + misses else 0)


def test_the_reason_is_why_an_answer_was_not_kept() -> None:
    counters = Counters()
    counters.finish(Outcome(Verdict.MISS, Why.URI_MISS, stored_why=Why.SET_COOKIE), 0.1, 0)
    counters.finish(Outcome(Verdict.MISS, Why.URI_MISS, stored=True), 0.1, 0)
    assert counters.reasons == {Why.SET_COOKIE: 1, Why.URI_MISS: 1}


def test_what_a_rule_saved() -> None:
    counters = Counters({"r": 0.5})
    for _ in range(2):
        counters.finish(Outcome(Verdict.MISS, Why.URI_MISS, "r", upstream_seconds=1.0), 1.1, 100)
    counters.finish(Outcome(Verdict.HIT, Why.FRESH, "r"), 0.25, 100)
    counters.finish(Outcome(Verdict.MISS, Why.URI_MISS, "r", collapsed=True, upstream_seconds=1.0), 0.5, 100)
    counters.finish(Outcome(Verdict.REVALIDATED, Why.REVALIDATED, "r", upstream_seconds=1.0), 1.0, 100)
    rule = counters.rules["r"]
    assert (rule.hits, rule.misses, rule.calls, rule.calls_saved) == (2, 3, 3, 2)
    assert (rule.bytes_saved, rule.seconds_saved, rule.money_saved) == (300, 1.25, 1.0)
    assert counters.coalesced == 1


def test_a_group_without_calls_saves_what_its_rule_does() -> None:
    counters = Counters()
    counters.finish(Outcome(Verdict.MISS, Why.URI_MISS, "r", upstream_seconds=9.0), 9.0, 0, "/slow")
    counters.finish(Outcome(Verdict.MISS, Why.URI_MISS, "r", upstream_seconds=1.0), 1.0, 0, "/quick")
    for group in ("/quick", "/slow", "/never-fetched"):
        counters.finish(Outcome(Verdict.HIT, Why.FRESH, "r"), 0.5, 0, group)
        counters.tally("r", Why.FRESH, group).book(0.25, 0)
    counters.settle()
    saved = {name: group.seconds_saved for name, group in counters.groups.by_rule["r"].items()}
    assert saved == {"/slow": 8.5 + 8.75, "/quick": 0.5 + 0.75, "/never-fetched": 4.5 + 4.75}
    assert counters.rules["r"].seconds_saved == 27.75


def test_rules_are_bounded() -> None:
    counters = Counters()
    for number in range(MAX_RULES + 50):
        counters.finish(Outcome(Verdict.HIT, Why.FRESH, f"rule-{number}"), 0.001, 0)
        counters.finish(Outcome(Verdict.BYPASS, Why.RATE_LIMITED, f"rule-{number}"), 0.001, 0)
        counters.opened(f"upstream-{number}", "error_rate")
        counters.groups.price(f"rule-{number}", 1.0)
        counters.finish(Outcome(Verdict.MISS, Why.URI_MISS, f"rule-{number}", upstream_seconds=1.0), 1.0, 0)
    assert len(counters.rules) == len(counters.rate_limited) == len(counters.openings) == MAX_RULES + 1
    assert counters.rules[OTHER_RULES].hits == counters.rate_limited[OTHER_RULES] == 50
    assert counters.openings[OTHER_RULES, "error_rate"] == 50
    assert len(counters.groups._prices) == len(counters.groups._calls) == MAX_RULES + 1


def test_upstream_calls() -> None:
    upstream = Counters().upstream
    for fault in (None, None, Fault.REFUSED):
        upstream.began()
        upstream.ended(fault, 0.1)
    assert (upstream.requests, upstream.errors, upstream.in_flight) == (3, 1, 0)


def test_calls_end_with_their_bodies_and_each_attempt_is_a_request() -> None:
    upstream = Counters().upstream
    for _ in range(4):
        upstream.began()
        upstream.answered(0.1)
    upstream.retried()
    assert (upstream.requests, upstream.in_flight, upstream.coming, upstream.outcomes) == (5, 0, 4, {"retried": 1})
    upstream.over(cut=False)
    upstream.over(cut=True)
    assert (upstream.requests, upstream.errors, upstream.retries, upstream.seconds.count) == (5, 1, 1, 4)
    both = Counters.merged([counters_of(upstream), counters_of(upstream)]).upstream
    assert (both.requests, both.errors, both.coming) == (10, 2, 4)
    upstream.forget_present()
    assert upstream.outcomes == {"retried": 1, "ok": 1, "truncated": 1, "client-left": 2}
    assert upstream.requests == 5  # as before: nothing that was counted falls


def counters_of(upstream: UpstreamCounts) -> Counters:
    counters = Counters()
    counters.upstream = upstream
    return counters


def test_calls_that_were_withheld_or_given_up_say_nothing_against_an_origin() -> None:
    upstream = Counters().upstream
    for fault in (Fault.ERROR, *WITHHELD):
        upstream.began()
        upstream.ended(fault, 0.1)
    upstream.began()
    upstream.left(0.1)
    assert (upstream.requests, upstream.errors, upstream.in_flight, upstream.seconds.count) == (2, 1, 0, 2)
    assert upstream.outcomes == {"upstream-error": 1, "client-left": 1}
    assert upstream.withheld == dict.fromkeys(["upstream-busy", "breaker-open", "over-memory"], 1)


# -- series -------------------------------------------------------------------------------------------------------


def test_the_series_have_the_names_and_labels_of_the_contract() -> None:
    counters = Counters()
    counters.finish(Outcome(Verdict.HIT, Why.FRESH, "users"), 0.002, 5)
    counters.finish(Outcome(Verdict.BYPASS, Why.RATE_LIMITED, "users"), 0.001, 5)
    counters.upstream.began()
    counters.upstream.ended(Fault.REFUSED, 0.2)
    counters.purged("tag")
    counters.tiers[Tier.MEMORY].hits = 4
    counters.malformed = counters.in_flight = counters.connections = 2
    service = ServiceFigures("open", "slow_call_rate", (ReplicaFigures("a:1"), ReplicaFigures("b:1", up=False)))
    counters.shrinks = 3
    counters.add_passed(Bound.TAGS, 4)
    figures = Figures(
        {Tier.MEMORY: TierFigures(3, 300, 1000, 2)},
        services={"main": service},
        pressure=Pressure(970, 1000, 400, Level.SHRINKING),
    )
    counters.opened("main", "slow_call_rate")
    counters.opened("main", "slow_call_rate")
    text = generate_latest(registry(counters, figures)).decode()
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["cachegate_requests_total", ("rule", "users"), ("verdict", "HIT")] == 1
    assert samples["cachegate_requests_total", ("rule", "users"), ("verdict", "STALE")] == 0
    assert samples["cachegate_reasons_total", ("reason", "fresh")] == 1
    assert samples[("cachegate_malformed_total",)] == 2
    assert samples["cachegate_tier_lookups_total", ("result", "hit"), ("tier", "memory")] == 4
    assert samples["cachegate_request_seconds_count", ("verdict", "HIT")] == 1
    assert samples["cachegate_request_seconds_bucket", ("le", "0.0016"), ("verdict", "HIT")] == 0
    assert samples["cachegate_request_seconds_bucket", ("le", "0.0032"), ("verdict", "HIT")] == 1
    assert samples["cachegate_tier_seconds_count", ("tier", "memory")] == 0
    assert samples[("cachegate_upstream_seconds_count",)] == 1
    assert samples["cachegate_upstream_requests_total", ("outcome", "upstream-refused")] == 1
    assert samples["cachegate_tier_entries", ("tier", "memory")] == 3
    assert samples["cachegate_tier_bytes", ("tier", "memory")] == 300
    assert samples["cachegate_evictions_total", ("tier", "memory")] == 2
    assert samples["cachegate_purges_total", ("kind", "tag")] == 1
    assert samples[("cachegate_coalesced_total",)] == 0
    assert samples["cachegate_rate_limited_total", ("rule", "users")] == 1
    assert samples["cachegate_breaker_state", ("state", "open"), ("upstream", "main")] == 1
    assert samples["cachegate_breaker_state", ("state", "closed"), ("upstream", "main")] == 0
    assert samples["cachegate_breaker_opened_total", ("cause", "slow_call_rate"), ("upstream", "main")] == 2
    assert samples["cachegate_replica_up", ("replica", "a:1"), ("upstream", "main")] == 1
    assert samples["cachegate_replica_up", ("replica", "b:1"), ("upstream", "main")] == 0
    assert samples[("cachegate_in_flight",)] == samples[("cachegate_connections",)] == 2
    assert samples[("cachegate_resident_bytes",)] == 970
    assert samples[("cachegate_memory_limit_bytes",)] == 1000
    assert samples[("cachegate_memory_room_bytes",)] == 400
    assert samples["cachegate_memory_pressure", ("state", "shrinking")] == 1
    assert samples["cachegate_memory_pressure", ("state", "refusing")] == 0
    assert samples[("cachegate_memory_shrinks_total",)] == 3
    assert samples["cachegate_bounds_passed_total", ("bound", "limits.tags")] == 4
    assert samples["cachegate_bounds_passed_total", ("bound", "limits.connections")] == 0
    assert any(name == "cachegate_build_info" for name, *_ in samples)


# -- log lines ----------------------------------------------------------------------------------------------------

NASTY = "a\nb\r\x1b[31m\x00\x7f\x85\u2028é"


@pytest.fixture
def logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield
    root.setLevel(level)
    root.handlers[:] = handlers


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.usefixtures("logging_as_it_was")
def test_a_record_is_one_line_whatever_it_holds(form: logs.Format) -> None:
    stream = io.BytesIO()
    writer = setup("info", form, stream)
    log = logging.getLogger("proxy.test")
    log.info("first %s", NASTY)
    log.debug("not told")
    try:
        raise ValueError(NASTY)
    except ValueError:
        log.exception("second")
    writer.close()
    lines = stream.getvalue().decode().splitlines()
    assert len(lines) == 2
    assert "\x1b" not in stream.getvalue().decode()
    if form == "json":
        first, second = map(orjson.loads, lines)
        assert (first["level"], first["logger"]) == ("info", "proxy.test")
        assert "Traceback" in second["trace"]
    else:
        assert " info first a\\u000ab" in lines[0]
        assert "ValueError" in lines[1]


@settings(deadline=None)
@given(st.text(alphabet=st.characters()))
def test_nothing_printable_controls_a_terminal(text: str) -> None:
    told = printable(text)
    assert len(told.splitlines()) <= 1
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in told)
    assert b"\n" not in json_line({"x": text})


def test_a_reader_that_is_stuck_delays_nobody_and_lines_are_dropped_and_counted() -> None:
    go = threading.Event()

    class Stuck(io.BytesIO):
        def write(self, data: object) -> int:
            go.wait(20)
            return super().write(data)  # type: ignore[arg-type]

    stream = Stuck()
    writer = LineWriter(stream)
    for number in range(logs.LINES + 1000):
        writer.write(b"%d" % number)
    assert 0 < writer.dropped <= 1000
    go.set()
    writer.close(20)
    told = stream.getvalue().split()
    assert len(told) == logs.LINES + 1000 - writer.dropped
    assert told[0] == b"0"


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.usefixtures("logging_as_it_was")
def test_lines_that_were_lost_behind_a_full_pipe_are_told_once_somebody_reads(form: logs.Format) -> None:
    read, write = os.pipe()
    with open(write, "wb") as stream:
        writer = setup("info", form, stream)
        size = logs.LINES + 3000  # more than pipe and queue hold
        for _ in range(2):
            before = writer.dropped
            for _ in range(size):
                writer.write(b"x" * 99)
            lost = writer.dropped - before
            assert lost > 0
            taken = b""
            while b"were lost" not in taken:
                taken += os.read(read, 65536)
            assert taken.count(b"were lost") == 1
            assert f"{lost} lines of this log were lost".encode() in taken
            assert taken.count(b"x" * 99 + b"\n") == size - lost
        writer.close(20)
    os.close(read)


def test_a_reader_that_left_is_no_error() -> None:
    stream = io.BytesIO()
    writer = LineWriter(stream)
    stream.close()
    writer.write(b"x")
    writer.close()
    assert writer.dropped == 1


WRITES = """
import sys
from proxy.observe.logs import LineWriter
writer = LineWriter(sys.stdout.buffer)
for number in range(int(sys.argv[2])):
    writer.write(sys.argv[1].encode() * (100 + number % 150))
print("begun", file=sys.stderr, flush=True)
writer.close(30)
"""


def test_lines_of_several_processes_on_one_pipe_stay_whole() -> None:
    read, write = os.pipe()
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITES, letter, "5000"], stdout=write, stderr=subprocess.PIPE, env=environment({})
        )
        for letter in "abc"
    ]
    os.close(write)
    for writer in writers:
        assert writer.stderr is not None
        with writer.stderr as said:
            assert said.readline() == b"begun\n"
    taken: list[bytes] = []
    while got := os.read(read, 1000):  # by little, so that it is full and all of them wait
        taken.append(got)
    os.close(read)
    lines = b"".join(taken).split(b"\n")
    assert [writer.wait(20) for writer in writers] == [0, 0, 0]
    assert lines.pop() == b""
    assert len(lines) == 15_000
    assert all(len(set(line)) == 1 for line in lines)


class Pieces(io.BytesIO):
    """A stream that takes nothing until it may, and remembers what was flushed at once."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()
        self.pieces: list[bytes] = []

    def write(self, data: object) -> int:
        self.go.wait(20)
        return super().write(data)  # type: ignore[arg-type]

    def flush(self) -> None:
        self.pieces.append(self.getvalue())
        self.seek(0)
        self.truncate()


def test_what_a_pipe_takes_whole_goes_together_and_a_longer_line_alone() -> None:
    stream = Pieces()
    writer = LineWriter(stream)
    sizes = [1, 1, 5000, 1, 4093, 1, 4095, 1]
    for size in sizes:
        writer.write(b"x" * size)
    stream.go.set()
    writer.close(20)
    assert b"".join(stream.pieces) == b"".join(b"x" * size + b"\n" for size in sizes)
    assert [len(piece) for piece in stream.pieces if len(piece) > 4096] == [5001]
    assert len(stream.pieces) <= 6  # the first may have gone before the second came


class InFile(io.FileIO):
    """A file that takes nothing until it may, and remembers what it was given at once."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w")
        self.go = threading.Event()
        self.pieces: list[bytes] = []

    def write(self, data: object) -> int:
        self.go.wait(20)
        assert isinstance(data, bytes)
        self.pieces.append(data)
        return super().write(data)


def test_a_file_takes_at_once_what_waits(tmp_path: Path) -> None:
    stream = InFile(tmp_path / "log")
    writer = LineWriter(stream)  # type: ignore[arg-type]
    lines = [b"%d " % number + b"x" * 1000 for number in range(1000)]
    for line in lines:
        writer.write(line)
    stream.go.set()
    writer.close(20)
    assert (tmp_path / "log").read_bytes() == b"".join(line + b"\n" for line in lines)
    assert all(piece.endswith(b"\n") for piece in stream.pieces)
    assert len(stream.pieces) <= 8  # what was under way, and the others by 256
    stream.close()
