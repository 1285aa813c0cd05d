"""The program and its collector (row 101): figures beside traces, several workers, a collector in trouble, and no
OpenTelemetry at all."""

import asyncio
import logging
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

from proxy.observe import otlp
from proxy.observe.tracing import Tracing
from tests.support.collector import Collector, told
from tests.support.origin import Origin
from tests.support.process import REPOSITORY, Process, environment, serving

USERS: dict[str, Any] = {"rules": [{"name": "users", "pattern": "/users/*", "ttl": 60}]}
TAKES_NO = "takes no traces"


@pytest.fixture
async def origin() -> Any:
    async with Origin() as started:
        started.answer("/users/7", body=b"Ada")
        yield started


def numbers(metric: Metric) -> dict[tuple[Any, ...], float]:
    """Of a counter or a gauge, by its labels in order."""
    points = metric.sum.data_points if metric.HasField("sum") else metric.gauge.data_points
    return {
        tuple(value for _, value in sorted(told(point.attributes).items())): getattr(point, point.WhichOneof("value"))
        for point in points
    }


async def test_the_figures_are_those_of_the_metrics_page(origin: Origin) -> None:
    async with Collector() as collector, serving(origin, {**USERS, **collector.settings()}) as gateway:
        await gateway.verdicts("/users/7", "/users/7", "/users/7")
        page = (await gateway.admin("GET", "/metrics")).body.decode()
    listed = {name for name, _, _ in re.findall(r"^\| `(cachegate_\w+)` \| (\w+) \|([^|]*)\|", METRICS, re.MULTILINE)}
    assert {*collector.metrics} <= listed
    typed = dict(re.findall(r"^# TYPE (cachegate_\w+) (\w+)$", page, re.MULTILINE))
    assert {*collector.metrics} == {name for name in typed if re.search(rf"(?m)^{name}(_bucket)?[{{ ]", page)}
    assert numbers(collector.metrics["cachegate_requests_total"])["users", "HIT"] == 2
    assert numbers(collector.metrics["cachegate_tier_up"]) == {("memory",): 1, ("file",): 1}
    seconds = collector.metrics["cachegate_request_seconds"]
    hits = next(p for p in seconds.histogram.data_points if told(p.attributes) == {"verdict": "HIT"})
    assert (seconds.unit, hits.count, sum(hits.bucket_counts)) == ("s", 2, 2)
    assert len(hits.bucket_counts) == len(hits.explicit_bounds) + 1
    assert hits.start_time_unix_nano < hits.time_unix_nano
    assert {metric.WhichOneof("data") for metric in collector.metrics.values()} == {"sum", "gauge", "histogram"}
    assert collector.metrics["cachegate_requests_total"].sum.aggregation_temporality == 2  # since the start


async def test_figures_can_be_left_to_prometheus(origin: Origin) -> None:
    async with Collector() as collector:
        async with serving(origin, {**USERS, **collector.settings(metrics=False)}) as gateway:
            await gateway.get("/users/7")
        assert (collector.spans != [], collector.metrics) == (True, {})


async def test_each_worker_tells_its_own_spans_and_one_the_figures_of_all(origin: Origin) -> None:
    async with Collector() as collector:
        settings = {**USERS, "listen": {"workers": 2}, **collector.settings()}
        async with serving(origin, settings) as gateway:
            while len({span.resource["service.instance.id"] for span in collector.spans}) < 2:
                await asyncio.gather(*(gateway.get("/users/7", {"Connection": "close"}) for _ in range(8)))
                await asyncio.sleep(0.05)
        workers = {(span.resource["cachegate.worker"], span.resource["process.pid"]) for span in collector.spans}
        assert [number for number, _ in sorted(workers)] == [0, 1]
        requests = [span for span in collector.spans if span.name == "GET users"]
    assert {resource["cachegate.worker"] for resource in collector.resources} <= {0}
    assert len({span.id for span in requests}) == len(requests)  # each came once


async def asked(gateway: Process, number: int = 3) -> None:
    for _ in range(number):
        assert (await gateway.get("/users/7")).status == 200


async def test_spans_that_find_too_many_waiting_are_counted_and_told_of_once_each_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "cachegate")
    async with Collector() as there:
        there.hangs = True
        collector = otlp.Collector(there.url, {}, "edge", {})
        tracing = Tracing(collector.record, 1.0)

        def told() -> list[str]:
            return [each.getMessage() for each in caplog.records if each.name.startswith("cachegate")]

        def recorded(number: int) -> None:
            for _ in range(number):
                tracing.end(tracing.always("span"))

        try:
            recorded(otlp.BATCH)
            await until(lambda: there.calls == 1)  # these wait no more: the collector has them
            recorded(otlp.BOUND)
            assert (collector.lost, told()) == (0, [])
            recorded(7)
            assert (collector.lost, told()) == (7, ["spans are dropped: 4096 wait for the collector"])
            there.answers()
            await there.until(lambda: len(there.spans) == otlp.BATCH + otlp.BOUND)
            recorded(1)
            assert (collector.lost, told()[1:]) == (7, ["no more spans are dropped; 7 were"])
        finally:
            await collector.close()
        assert len(there.spans) == otlp.BATCH + otlp.BOUND + 1


async def test_spans_that_a_collector_does_not_take_are_counted(origin: Origin) -> None:
    async with Collector() as collector:
        collector.status = 401
        settings = {**USERS, **collector.settings(metrics=False)}
        async with serving(origin, settings) as gateway:
            assert (await gateway.stats())["passed"]["spans"] == 0
            await asked(gateway, 1)
            async with asyncio.timeout(20):
                while (stats := await gateway.stats())["passed"]["spans"] < 5:  # the request, lookups, fetch, call
                    await asyncio.sleep(0.05)
            assert stats["passed"]["spans"] == 5
            metrics = (await gateway.admin("GET", "/metrics")).body.decode()
    assert 'cachegate_bounds_passed_total{bound="spans"} 5.0' in metrics


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize(("status", "word"), [(401, "code: 401"), (503, "Service Unavailable")])
async def test_a_collector_that_refuses_is_told_of_once(origin: Origin, status: int, word: str) -> None:
    async with Collector() as collector:
        collector.status = status
        async with serving(origin, {**USERS, **collector.settings(metrics=False)}) as gateway:
            await asked(gateway)
            await gateway.logged(TAKES_NO)
            calls = collector.calls
            await asked(gateway)
            await collector.until(lambda: collector.calls > calls)
            collector.status = 200
            await asked(gateway)
            await gateway.logged("takes traces again")
            lines = [line for line in gateway.lines if "collector" in line.get("message", "")]
            assert [line["level"] for line in lines] == ["warning", "info"]
            assert collector.url in lines[0]["message"]
            assert word in lines[0]["message"]
            assert not [line for line in gateway.lines if line.get("logger", "").startswith("opentelemetry")]


@pytest.mark.slow
async def test_a_collector_that_is_away_costs_one_line(origin: Origin) -> None:
    collector = Collector()
    await collector.start()
    await collector.stop()
    async with serving(origin, {**USERS, **collector.settings(metrics=False)}) as gateway:
        await asked(gateway)
        await gateway.logged(TAKES_NO)
        await asked(gateway)
        await collector.start()
        await gateway.logged("takes traces again")
        assert gateway.log.count(TAKES_NO) == 1
    await collector.stop()


@pytest.mark.slow
async def test_a_collector_that_hangs_holds_up_nobody(origin: Origin) -> None:
    """Neither who asks nor the end of the process: it would wait for the collector for ever."""
    async with Collector() as collector:
        collector.hangs = True
        async with serving(origin, {**USERS, **collector.settings()}) as gateway:
            await asked(gateway)
            async with asyncio.timeout(20):
                while not collector.calls:
                    await asyncio.sleep(0.01)
            await asked(gateway, 600)  # so many that to try to send them would take a minute
            assert await gateway.stop() == 0
        assert collector.spans == []


async def test_without_the_extra_it_does_not_start_and_says_what_is_wanted(origin: Origin, tmp_path: Path) -> None:
    (tmp_path / "opentelemetry.py").write_text("raise ModuleNotFoundError(\"No module named 'opentelemetry'\")")
    env = environment(
        {"PYTHONPATH": f"{tmp_path}:{REPOSITORY}", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
    )
    for command in ("serve", "check"):
        made = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "proxy", command, "--upstream", origin.url),
            *(("--port", "0") if command == "serve" else ()),
            cwd=tmp_path,
            env=env,
            stderr=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        out, err = await made.communicate()
        assert made.returncode == 2
        said = (out + err).decode()
        assert "OTEL_EXPORTER_OTLP_ENDPOINT (environment)" in said
        assert "pip install 'cachegate[otel]'" in said


async def test_the_key_of_the_collector_is_shown_nowhere(origin: Origin) -> None:
    async with Collector() as collector:
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_EXPORTER_OTLP_HEADERS": "api-key=S3cret%20key"}
        async with serving(origin, USERS, env=env) as gateway:
            await asked(gateway)
            shown = (await gateway.admin("GET", "/config")).json
            assert shown["settings"]["observe"]["tracing"]["headers"] == {"api-key": "***"}
            assert shown["sources"]["observe.tracing.endpoint"] == "environment OTEL_EXPORTER_OTLP_ENDPOINT"
            assert "S3cret" not in gateway.log
            collector.status = 401
            await gateway.logged(TAKES_NO)
            assert "S3cret" not in gateway.log
        assert {headers["api-key"] for headers in collector.headers} == {"S3cret key"}


METRICS = (REPOSITORY / "docs" / "metrics.md").read_text()
