"""The load suite fails when a bound is broken and says which, and its list is the same for k6 and locust."""

import json
import re
import resource
from pathlib import Path

import pytest

from tests.load.__main__ import main
from tests.load.arena import descriptors
from tests.load.cases import COURSES, stale
from tests.load.clients import Answered, asked, connected
from tests.load.report import PLACE
from tests.load.scenarios import LIST, OF_THE_RUNNER, Threshold, scenarios
from tests.support.origin import FIN, Origin
from tests.support.process import REPOSITORY

HERE = LIST.parent
NAMES = [each.name for each in scenarios()]
FIGURES = {bound.figure for each in scenarios() for bound in each.thresholds}
K6, LOCUST = ((HERE / name).read_text() for name in ("k6.js", "locustfile.py"))
PAGE = (REPOSITORY / "docs" / "load.md").read_text()
_ELSEWHERE = re.compile(r"""(?:src|href)=|url\(|@import|<script|https?://(?!www\.w3\.org/2000/svg")""")


def small(name: str, directory: Path, **bounds: dict[str, float]) -> list[str]:
    """The words that run this one for a second or two, with at most 50 clients: no bound on how long something takes,
    and these beside its own."""
    (one,) = (each for each in json.loads(LIST.read_text())["scenarios"] if each["name"] == name)
    timed = {"slowdown", "efficiency_2", "efficiency_4", "redis_cores"}
    own = {figure: bound for figure, bound in one["thresholds"].items() if figure not in timed}
    clients = min(one["clients"], 50)
    few = {"connections": {"least": clients}, "purges": {"least": 1}, "hits_after": {"least": 0.01}}
    own |= {figure: bound for figure, bound in few.items() if figure in own}
    one |= {"clients": clients, "seconds": 1.5, "thresholds": own | bounds}
    file = directory / "list.json"
    file.write_text(json.dumps({"scenarios": [one]}))
    return ["--scenarios", str(file), "--results", str(directory)]


# -- runs --------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_small_run_keeps_every_bound(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(small(name, tmp_path))
    assert code == 0, capsys.readouterr().out
    (data,) = (json.loads(path.read_text()) for path in tmp_path.glob("20*.json"))
    (page,) = (path.read_text() for path in tmp_path.glob("20*.html"))
    assert [each["name"] for each in data["scenarios"]] == [name]
    assert data["broken"] == []
    assert page.count("<svg") == 1
    assert _ELSEWHERE.search(page) is None


@pytest.mark.slow
def test_a_broken_bound_fails_the_run_and_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(small("miss", tmp_path, hits={"least": 0.5})) == 1
    assert "broken: miss: hits >= 0.5, but it is 0\n" in capsys.readouterr().out
    (page,) = (path.read_text() for path in tmp_path.glob("20*.html"))
    assert '<p class="broken">broken: miss: hits &gt;= 0.5, but it is 0</p>' in page


@pytest.mark.slow
def test_a_gateway_or_a_redis_that_grows_fails_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tight: dict[str, dict[str, float]] = {"memory_limit": {"most": 0.01}, "redis_mb": {"most": 0.1}}
    assert main(small("redis_share", tmp_path, redis_bytes_per_key={"most": 100}, **tight)) == 1
    broken = re.findall(r"^broken: redis_share: (\w+) <= ", capsys.readouterr().out, re.MULTILINE)
    assert sorted(broken) == ["memory_limit", "redis_bytes_per_key", "redis_mb"]


# -- what is judged ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bound", "figures", "holds"),
    [
        (Threshold("errors", 0), {"errors": 0.0}, True),
        (Threshold("errors", 0), {"errors": 0.001}, False),
        (Threshold("hits", 0.9, least=True), {"hits": 0.9}, True),
        (Threshold("hits", 0.9, least=True), {"hits": 0.89}, False),
        (Threshold("errors", 0), {}, False),
    ],
)
def test_a_bound(bound: Threshold, figures: dict[str, float], holds: bool) -> None:
    assert bound.holds(figures) is holds


@pytest.mark.parametrize(
    ("asked_at", "made", "target", "number"),
    [
        (12.0, 9.0, "/a", 1),  # asked for after the purge was over, made before it was sent
        (11.5, 9.0, "/a", 0),  # asked for while it was under way
        (13.0, 10.5, "/a", 0),  # made since it was sent
        (13.0, 9.0, "/b", 0),  # another one
    ],
)
def test_what_is_older_than_a_purge_that_was_over(asked_at: float, made: float, target: str, number: int) -> None:
    answers = [Answered(target, asked_at, 0.1, made=made)]
    assert stale(answers, [(10.0, 11.9, "/a")]) == number


async def test_what_fails_is_an_error_of_its_answer() -> None:
    async with Origin() as origin:
        origin.answer("/right", body=b'{"target":"/right"}')
        origin.answer("/another", body=b'{"target":"/right"}')
        origin.answer("/broken", 500)
        origin.script("/ended", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", FIN)
        async with connected([origin.port], 1) as clients:
            paths = ("/right", "/another", "/broken", "/missing", "/ended", "/right")
            answers = await asked(clients, iter(paths), 60)
    errors = [each.error for each in answers]
    assert errors == ["", "another answer", "status 500", "status 404", "ConnectionResetError", ""]


def test_too_few_descriptors_are_said_with_what_to_do() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert descriptors(before[0]) == ""
    assert f"ulimit -Hn {1 << 40}" in descriptors(1 << 40)
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= before[0]


# -- one list for all --------------------------------------------------------------------------------------------------


def test_every_scenario_has_a_course_and_is_explained() -> None:
    assert {each.name.partition("_1")[0] for each in scenarios() if not each.workers} == set(COURSES)
    assert re.findall(r"^\| `(\w+)` \|", PAGE.partition("## The figures")[0], re.MULTILINE) == NAMES
    assert set(re.findall(r"^\| `(\w+)` \|", PAGE.partition("## The figures")[2], re.MULTILINE)) == FIGURES


def test_k6_and_locust_hold_the_same_figures() -> None:
    others = {bound.figure for each in scenarios() if not each.runner for bound in each.thresholds}
    for figure in others - OF_THE_RUNNER:
        assert f"'{figure}'" in K6
        assert f'"{figure}"' in LOCUST


def test_the_sample_is_of_a_whole_run_that_kept_every_bound() -> None:
    data = json.loads((PLACE / "sample.json").read_text())
    assert [each["name"] for each in data["scenarios"]] == NAMES
    assert data["broken"] == []
    page = (PLACE / "sample.html").read_text()
    assert page.count("<svg") == len(NAMES)
    assert _ELSEWHERE.search(page) is None


def test_the_sample_has_ten_thousand_connections_and_few_errors() -> None:
    data = json.loads((PLACE / "sample.json").read_text())
    for number in (100, 1_000, 10_000):
        (one,) = (each for each in data["scenarios"] if each["name"] == f"connections_{number}")
        assert one["figures"]["connections"] == one["clients"] == number
        assert one["figures"]["errors"] < 0.001
        assert one["figures"]["memory_limit"] < 1


def test_the_sample_says_what_the_machine_bore() -> None:
    for one in json.loads((PLACE / "sample.json").read_text())["scenarios"]:
        gateways = {"1 worker", "2 workers", "4 workers"} if one["name"] == "workers" else {"gateway 1"}
        assert {row["who"] for row in one["watched"]} >= gateways | ({"Redis"} if one["redis"] else set())
