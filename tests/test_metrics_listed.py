"""docs/metrics.md lists the series that there are, and what is shipped for Prometheus and Grafana asks for no others
(rows 99, 100, 104)."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric

from proxy.errors import Fault
from proxy.observe.collector import GatewayCollector
from proxy.observe.counters import Counters
from proxy.observe.figures import Figures, RedisFigures, ReplicaFigures, ServiceFigures, TierFigures
from proxy.outcome import Outcome, Tier, Verdict
from proxy.reasons import Why
from tests.support.process import REPOSITORY

PAGE = (REPOSITORY / "docs" / "metrics.md").read_text()
ROW = re.compile(r"^\| `(cachegate_\w+)` \| (\w+) \|([^|]*)\| [^|]+ \|$", re.MULTILINE)
SUFFIXES = {"counter": "_total", "gauge": "", "histogram": ""}


def whole() -> CollectorRegistry:
    """Of an instance that has everything, each series with at least one sample."""
    counters = Counters()
    counters.finish(Outcome(Verdict.BYPASS, Why.RATE_LIMITED, "users"), 0.1, 1)
    counters.upstream.began()
    counters.upstream.ended(None, 0.1)
    counters.upstream.ended(Fault.BUSY, 0.0)
    counters.purged("tag")
    counters.opened("main", "error_rate")
    counters.shadow("users").would_hits += 1
    service = ServiceFigures(replicas=(ReplicaFigures("a:1"),))
    tiers = {tier: TierFigures() for tier in Tier}
    figures = Figures(tiers, services={"main": service}, redis=RedisFigures("ready", True))
    registry = CollectorRegistry(auto_describe=False)
    registry.register(GatewayCollector(counters, figures))
    return registry


def families() -> list[Metric]:
    return list(whole().collect())


def series(family: Metric) -> tuple[str, str, tuple[str, ...]]:
    """Its name, its kind and its labels."""
    labels = {name for sample in family.samples for name in sample.labels} - {"le"}
    return family.name + SUFFIXES[family.type], family.type, tuple(sorted(labels))


def listed() -> list[tuple[str, str, tuple[str, ...]]]:
    return [(name, kind, tuple(sorted(re.findall(r"`(\w+)`", labels)))) for name, kind, labels in ROW.findall(PAGE)]


def test_the_page_lists_every_series_and_no_other() -> None:
    assert sorted(listed()) == sorted(series(family) for family in families())


@pytest.mark.parametrize("family", families(), ids=lambda family: family.name)
def test_a_series_has_help_a_unit_and_a_sample(family: Metric) -> None:
    assert family.documentation
    assert family.samples
    assert family.type != "histogram" or family.name.endswith("_seconds")


# -- deploy/prometheus, deploy/grafana ---------------------------------------------------------------------------------

PROMETHEUS = REPOSITORY / "deploy" / "prometheus"
GRAFANA = REPOSITORY / "deploy" / "grafana"
BESIDE = Path(sys.executable).parent / "promtool"  # where `make alerts` brings it
PROMTOOL = str(BESIDE) if BESIDE.exists() else shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="needs promtool: `make alerts` brings it on Debian")
EXTRA = ("_bucket", "_sum", "_count")
SERIES = {name for name, _, _ in listed()}
KNOWN = SERIES | {name + extra for name, kind, _ in listed() if kind == "histogram" for extra in EXTRA}


def rules(file: str) -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load((PROMETHEUS / file).read_text())["groups"] for rule in group["rules"]]


RECORDED = {rule["record"] for rule in rules("recording.yml")}
ALERTS = {rule["alert"]: rule for rule in rules("alerts.yml")}
DASHBOARD = json.loads((GRAFANA / "dashboards" / "cachegate.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [(panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]]


def unknown(query: str) -> set[str]:
    """What it asks for and nobody has."""
    return set(re.findall(r"[\w:]*cachegate_[\w:]+", query)) - KNOWN - RECORDED


def promtool(*words: str, cwd: Path = PROMETHEUS, said: str = "") -> subprocess.CompletedProcess[str]:
    assert PROMTOOL is not None
    return subprocess.run([PROMTOOL, *words], cwd=cwd, input=said, capture_output=True, text=True, timeout=30)


@pytest.mark.parametrize(
    "rule", [*rules("recording.yml"), *ALERTS.values()], ids=lambda rule: next(iter(rule.values()))
)
def test_a_rule_asks_for_series_that_there_are(rule: dict[str, Any]) -> None:
    assert unknown(rule["expr"]) == set()


def test_every_alert_says_what_it_is_and_has_a_line_on_the_page() -> None:
    assert re.findall(r"^\| `(Cachegate\w+)` \|", PAGE, re.MULTILINE) == list(ALERTS)
    for alert in ALERTS.values():
        assert alert["labels"]["severity"] in ("warning", "critical")
        assert alert["annotations"].keys() == {"summary", "description"}


@needs_promtool
def test_promtool_says_yes_to_the_rules_and_their_tests() -> None:
    for words in (("check", "rules", "recording.yml", "alerts.yml"), ("test", "rules", "alerts.test.yml")):
        done = promtool(*words)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_seen_firing_in_those_tests() -> None:
    text = (PROMETHEUS / "alerts.test.yml").read_text()
    assert set(re.findall(r'alertname="(\w+)", instance="(?:sick|gone)"', text)) == set(ALERTS)


@needs_promtool
def test_promtool_finds_nothing_to_say_of_our_series() -> None:
    done = promtool("check", "metrics", said=generate_latest(whole()).decode())
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize(("title", "query"), QUERIES, ids=[title for title, _ in QUERIES])
def test_a_panel_asks_for_series_that_there_are(title: str, query: str) -> None:
    assert re.search("cachegate_", query)
    assert unknown(query) == set()


def test_every_series_is_on_the_dashboard() -> None:
    asked = " ".join(query for _, query in QUERIES)
    assert [name for name in sorted(SERIES) if name not in asked] == []


@needs_promtool
def test_promtool_can_read_every_query(tmp_path: Path) -> None:
    known = {"$__rate_interval": "5m", "$__range": "1h", "$job": "cachegate", "$instance": ".+"}
    read = [re.sub(r"\$\w+", lambda found: known[found[0]], query) for _, query in QUERIES]
    group = {"name": "panels", "rules": [{"record": f"panel:{n}", "expr": query} for n, query in enumerate(read)]}
    (tmp_path / "panels.yml").write_text(yaml.safe_dump({"groups": [group]}))
    done = promtool("check", "rules", "panels.yml", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dashboard_can_be_provisioned() -> None:
    assert [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"] == [
        "Overview", "Tiers", "Rules", "Upstream", "Redis", "Workers"
    ]  # fmt: skip
    assert DASHBOARD["uid"] == "cachegate"
    assert "id" not in DASHBOARD  # of one installation alone
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    assert {panel["datasource"]["uid"] for panel in PANELS} == {"${datasource}"}
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/cachegate.yml").read_text())["providers"]
    assert provider["type"] == "file"


def test_no_panel_lies_on_another() -> None:
    taken = [
        (x, y)
        for place in (panel["gridPos"] for panel in DASHBOARD["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(taken) == len(set(taken))
    assert max(x for x, _ in taken) < 24
