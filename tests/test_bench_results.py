"""What was measured is told as it was: the pages quote the last whole run, and every case is explained."""

import json
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from bench.cases import CASES
from bench.install import PROGRAMS
from bench.peers.cachegate import REPOSITORY
from bench.results import PAGES, PLACE, kept, quoted
from bench.table import Run, data, markdown, run_of

LATEST = json.loads((PLACE / "latest.json").read_text())
PAGE = (REPOSITORY / "docs" / "performance.md").read_text()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_the_page_quotes_the_last_whole_run(path: Path) -> None:
    page, table = path.read_text(), (PLACE / "latest.md").read_text()
    assert page == quoted(page, table), "run `make bench`, or take the quotation back to bench/results/latest.md"


def test_the_table_is_made_of_the_data() -> None:
    assert markdown(run_of(LATEST)) == (PLACE / "latest.md").read_text()
    assert json.loads(json.dumps(data(run_of(LATEST)))) == LATEST


def test_the_last_whole_run_has_every_case() -> None:
    assert {line["case"] for line in LATEST["lines"]} == {case.name for case in CASES}


def test_every_case_is_explained() -> None:
    assert re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE) == [case.name for case in CASES]


def test_a_quotation_wants_its_marks() -> None:
    with pytest.raises(ValueError, match="the page wants the marks"):
        quoted("# Cachegate\n", "| case |\n")


@pytest.mark.parametrize(("whole", "names"), [(True, {"2026-01-02-abc", "latest"}), (False, {"2026-01-02-abc"})])
def test_a_run_of_some_cases_is_not_the_latest(whole: bool, names: set[str], tmp_path: Path) -> None:
    run = Run("2026-01-02 03:04 UTC", "abc", run_of(LATEST).machine, {"Cachegate": "1"}, {"rounds": 3}, ())
    written = kept(run, tmp_path, whole=whole)
    assert {path.stem for path in written} == names
    assert {path.suffix for path in written} == {".json", ".md"}
    assert sorted(tmp_path.iterdir()) == sorted(written)


def test_the_lock_fits_what_the_extra_asks_for() -> None:
    lock = (REPOSITORY / "requirements-bench.lock").read_text()
    pins = dict(re.findall(r"^([a-z0-9.-]+)==([^ ]+)", lock, re.MULTILINE))
    base = dict(re.findall(r"^([a-z0-9.-]+)==([^ ]+)", (REPOSITORY / "requirements.lock").read_text(), re.MULTILINE))
    extra = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]["bench"]
    wrong = [
        text
        for text in extra
        if not (need := Requirement(text)).specifier.contains(pins.get(canonicalize_name(need.name), "0"))
    ]
    assert wrong == [], "run `make lock`"
    assert {name: version for name, version in pins.items() if name in base and base[name] != version} == {}


def test_packages_are_named_where_they_are_asked_for() -> None:
    assert all(f"`{package}`" in PAGE for package in PROGRAMS.values())
