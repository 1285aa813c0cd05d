"""What a scenario takes of the machine is told as it is: processes with their children, Redis, and what comes back."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bench.machine import Machine
from tests.load.arena import arena
from tests.load.cases import Told
from tests.load.clients import Answered
from tests.load.report import Run, data, page
from tests.load.scaled import grown
from tests.load.scenarios import Scenario, Threshold
from tests.load.watching import (
    REDIS,
    RUNNER,
    RedisUsage,
    Sample,
    Usage,
    cores,
    figures,
    memory,
    own,
    sample,
    spent,
    stretches,
    usage,
    watched,
)
from tests.support.process import HAS_PROC, children

pytestmark = pytest.mark.skipif(not HAS_PROC, reason="reads /proc")
MB = 10**6
NEVER = "time.sleep(600)"


@contextmanager
def started(*lines: str) -> Iterator[int]:
    """Python that runs these lines and says so with a line of its own."""
    text = "\n".join((*lines[:-1], "print('done', flush=True)", lines[-1]))
    with subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"done\n"
        try:
            yield process.pid
        finally:
            process.kill()


def at(moment: float, gateway: Usage, redis: RedisUsage | None = None) -> Sample:
    return Sample(moment, (gateway,), Usage(0, 0), redis)


# -- what is asked -----------------------------------------------------------------------------------------------------


def test_memory_of_a_process_is_that_of_its_children_too() -> None:
    child = "import time; x = b'1' * 60_000_000; print(1, flush=True); time.sleep(600)"
    begun = f"child = subprocess.Popen([sys.executable, '-c', {child!r}], stdout=subprocess.PIPE)"
    with started("import subprocess, sys", begun, "child.stdout.readline()", "child.wait()") as pid:
        assert usage(pid).memory > 60 * MB
        (below,) = children(pid)
        os.kill(below, signal.SIGKILL)


def test_cpu_of_a_process_is_counted() -> None:
    with started(
        "import time", "until = time.process_time() + 0.2", "while time.process_time() < until: pass", NEVER
    ) as pid:
        assert usage(pid).cpu >= 0.2
    assert usage(2**22 - 1) == Usage(0, 0)  # nobody


def test_of_the_runner_its_children_are_not_counted() -> None:
    before = own().cpu
    subprocess.run([sys.executable, "-c", "import time\nwhile time.process_time() < 0.5: pass"], check=True)
    assert own().cpu - before < 0.4


async def test_redis_is_asked_and_may_be_away() -> None:
    scenario = Scenario("here", "Redis", 1, 1, (), instances=1, redis=True)
    async with arena(scenario) as field:
        assert field.redis is not None
        before = (await sample(field)).redis
        await field.redis.command("SET", "a", "x" * MB)
        after = (await sample(field)).redis
        assert before is not None
        assert after is not None
        assert after.keys == before.keys + 1
        assert MB < after.memory - before.memory < 2 * MB
        assert after.clients >= 2  # of the gateway; ours is not counted
        await field.redis.kill()
        assert (await sample(field)).redis is None
        await field.redis.start()


async def test_samples_are_taken_from_the_first_moment_to_the_last() -> None:
    async with arena(Scenario("here", "No Redis", 1, 1, ())) as field, watched(field) as samples:
        assert len(samples) == 1
    assert len(samples) == 2
    assert samples[0].at <= samples[1].at
    assert [each.usages().keys() for each in samples] == [{"gateway 1", RUNNER}] * 2
    assert samples[0].gateways[0].memory > 20 * MB


# -- what is told ------------------------------------------------------------------------------------------------------


def test_what_comes_back_counts_from_nothing() -> None:
    idle, samples = Usage(5, MB), [0.0, 1.0, 2.0, 4.0]
    redis = [RedisUsage(2.0, MB, 3, 4), None, RedisUsage(0.5, 2 * MB, 1, 0), RedisUsage(1.5, 3 * MB, 1, 0)]
    told = [at(moment, idle, one) for moment, one in zip(samples, redis, strict=True)]
    assert list(spent(told, REDIS)) == [(2.0, 1.0, 0.5), (4.0, 2.0, 1.0)]
    assert cores(told, REDIS) == [(2.0, 0.5), (4.0, 0.5)]
    assert memory(told, REDIS) == [(0.0, 1.0), (2.0, 2.0), (4.0, 3.0)]
    assert [[each.at for each in part] for part in stretches(told, REDIS)] == [[0.0], [2.0, 4.0]]
    assert cores(told, "gateway 1") == [(1.0, 0.0), (2.0, 0.0), (4.0, 0.0)]
    another = [at(0.0, Usage(5, MB)), at(1.0, Usage(6, MB)), at(2.0, Usage(0.5, MB))]  # the last is another process
    assert list(spent(another, "gateway 1")) == [(1.0, 1.0, 1.0), (2.0, 1.0, 0.5)]


def test_figures_are_the_most_and_the_mean() -> None:
    told = [
        Sample(0, (Usage(1, 100 * MB), Usage(1, 50 * MB)), Usage(0, 10 * MB), RedisUsage(0, 5 * MB, 7, 9)),
        Sample(2, (Usage(2, 90 * MB), Usage(2, 60 * MB)), Usage(3, 20 * MB), RedisUsage(1, 4 * MB, 8, 3)),
    ]
    assert figures(told, 200 * MB) == {
        "gateway_mb": 100,
        "memory_limit": 0.5,
        "gateway_cores": 1.0,
        "runner_mb": 20,
        "runner_cores": 1.5,
        "redis_mb": 5,
        "redis_cores": 0.5,
        "redis_clients": 8,
        "redis_keys": 9,
    }
    assert "redis_mb" not in figures([at(0, Usage(0, MB)), at(1, Usage(0, MB))], MB)


def test_a_bound_that_cannot_be_told_here_is_said_and_breaks_nothing() -> None:
    bounds = (Threshold("efficiency_2", 0.8, least=True), Threshold("errors", 0))
    samples = [at(0, Usage(0, MB)), at(1, Usage(1, 2 * MB))]
    why = "cores do not allow: 4 are wanted"
    told = Told(Scenario("workers", "Workers", 1, 1, bounds), (), {"errors": 0.0}, (), samples, {"efficiency_2": why})
    run = Run("2026-01-02 03:04 UTC", "abc", Machine("cpu", 2, "6", 0.1), None, [told])
    assert run.broken == []
    (scenario,) = data(run)["scenarios"]
    assert scenario["thresholds"] == [
        {"figure": "efficiency_2", "least": 0.8, "kept": None, "why": why},
        {"figure": "errors", "most": 0, "kept": True},
    ]
    assert f'<td colspan="2">{why}</td>' in page(run)
    apart = Told(told.scenario, (), {"errors": 0.0}, (), samples)
    assert apart.broken == ["workers: efficiency_2 >= 0.8, but it is not measured"]


def test_the_report_has_a_line_and_a_plot_of_each_process() -> None:
    samples = [
        at(moment, Usage(moment / 2, 80 * MB), RedisUsage(moment / 10, 2 * MB, 1, 1)) for moment in (0.0, 1.0, 2.0)
    ]
    answers = [Answered("/", moment, 0.5, b"HIT") for moment in (0.0, 1.0)]
    told = Told(Scenario("hit", "Hits", 1, 1, ()), answers, {"errors": 0.0}, (), samples)
    run = Run("2026-01-02 03:04 UTC", "abc", Machine("cpu", 2, "6", 0.1), None, [told])
    (scenario,) = data(run)["scenarios"]
    assert [(row["who"], row["cores"], row["most_mb"]) for row in scenario["watched"]] == [
        ("gateway 1", 0.5, 80.0),
        (RUNNER, 0.0, 0.0),
        (REDIS, pytest.approx(0.1), 2.0),
    ]
    html = page(run)
    for title in ("answers per second", "milliseconds until answered", "cores in use", "MB of memory"):
        assert html.count(title) == 1
    assert html.count("<polyline") == 2 + 2 * 3  # p50 and p99; each of the three, twice


# -- workers -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("enough", [True, False])
async def test_two_workers_are_held_against_one_where_cores_allow(enough: bool) -> None:
    scenario = Scenario("workers", "Workers", 4, 1.0, (), paths=10, workers=(1, 2), runner=True)
    told = await grown(scenario, cores=4 if enough else 3)
    assert (told.figures["errors"], told.figures["hits"]) == (0, 1)
    assert min(told.figures[name] for name in ("rate_1", "rate_2", "us_1", "us_2")) > 0
    if enough:
        assert told.figures["efficiency_2"] == told.figures["rate_2"] / 2 / told.figures["rate_1"]
        assert told.excused == {}
    else:
        assert "efficiency_2" not in told.figures
        assert told.excused["efficiency_2"].startswith(
            "cores do not allow: 2 workers and 2 processes of clients want 4"
        )
