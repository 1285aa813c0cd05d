"""Pages about sizes say what was measured, and nothing else; and what is reckoned with it is reckoned right."""

import json
import re
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest

from bench.results import END
from bench.sizing import Measured, Peer, Wanted, measured, number, plan, size
from bench.sizing_pages import BLOCKS, PAGES, files, main, mark, written
from proxy.settings import Settings
from tests.support.process import REPOSITORY

TOLD = files()
FOUND = measured(TOLD["bench"], TOLD["crowd"], TOLD["load"])
SMALL = Measured(
    **{name: 1.0 for name in Measured.__slots__ if name != "crowd"},
    crowd=(
        Peer(1, calls=10, cpu=0.01, bytes=100, cpu_each=0.001, bytes_each=1000, memory=1e6, connections=2),
        Peer(11, calls=110, cpu=0.11, bytes=2100, cpu_each=0.011, bytes_each=9000, memory=2e6, connections=22),
        Peer(101, calls=1010, cpu=1.01, bytes=9300, cpu_each=0.101, bytes_each=99_000, memory=11e6, connections=202),
    ),
)
_BLOCK = re.compile(r"^<!-- bench/.*? -->$.*?^<!-- the end of it -->$", re.MULTILINE | re.DOTALL)
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_MEASURE = re.compile(r"\d[\d,.]*\s?(?:µs|ms|s|%|bytes|KB|MB|GB|KiB|MiB|GiB|/s|times)(?!\w)")
_DEFAULT = re.compile(r"`([a-z_]+)\.([a-z_]+)` \(([\d,.]+)[^)]*\)")


# -- the pages ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_page_says_what_was_measured(path: Path) -> None:
    page = path.read_text()
    assert page == written(page, TOLD), "run `python -m bench.sizing_pages`"


def test_every_block_is_on_a_page_and_ends() -> None:
    text = "".join(path.read_text() for path in PAGES)
    assert [name for name in BLOCKS if text.count(f"<!-- {mark(name)} -->\n") != 1] == []
    with pytest.raises(ValueError, match="there is no block 'nothing'"):
        written(f"<!-- {mark('nothing')} -->\n{END}\n", TOLD)
    with pytest.raises(ValueError, match="wants the marks"):
        written(f"<!-- {mark('capacity')} -->\n", TOLD)


def test_other_figures_are_another_page() -> None:
    other = json.loads(json.dumps(TOLD))
    for line in other["bench"]["lines"]:
        line["figures"][0]["median"] = 3 * line["figures"][0].get("median", 0)  # ours, and nobody else's
    for path in PAGES:
        assert written(path.read_text(), other) != path.read_text()


@pytest.mark.parametrize(
    ("name", "begin", "end"),
    [
        ("scaling.md", "# Scaling", None),
        ("operations.md", "## Capacity", "## Upgrade"),
        ("performance.md", "## Reading it", None),
    ],
)
def test_prose_beside_the_blocks_measures_nothing(name: str, begin: str, end: str | None) -> None:
    """A number that somebody types is wrong after the next run."""
    page = (REPOSITORY / "docs" / name).read_text().partition(begin)[2]
    page = page.partition(end)[0] if end else page
    prose = _FENCE.sub("", _BLOCK.sub("", page))
    assert _MEASURE.findall(prose) == []


def test_defaults_that_prose_names_are_those_of_the_settings() -> None:
    settings = Settings()
    for path in PAGES:
        for section, name, value in _DEFAULT.findall(path.read_text()):
            assert getattr(getattr(settings, section), name) == float(value.replace(",", "")), f"{section}.{name}"


def test_the_plan_begins_with_the_defaults_of_the_settings() -> None:
    settings, wanted = Settings(), Wanted()
    assert (wanted.near_entries, wanted.near_bytes) == (settings.memory.max_entries, settings.memory.max_bytes)
    assert wanted.records == settings.journal.records


# -- the reckoning -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "calls", "bytes"),
    [(1, 10, 100), (6, 60, 1100), (11, 110, 2100), (56, 560, 5700), (101, 1010, 9300), (202, 2020, 37_200)],
)
def test_between_two_crowds_is_a_straight_line_and_beyond_them_a_square(
    members: int, calls: float, bytes: float
) -> None:
    peer = SMALL.among(members)
    assert (peer.members, peer.calls, peer.bytes) == (members, pytest.approx(calls), pytest.approx(bytes))


def test_a_plan_by_hand() -> None:
    """Chosen so that a reader can reckon it again in his head."""
    found = replace(SMALL, us_memory=10, us_redis=30, us_miss_redis=200, process=100e6, entry=1000, connection=5000)
    found = replace(found, packed=0.5, redis_around=500, redis_us_hit=10, redis_us_miss=100, redis_connections=6)
    found = replace(found, record=300, us_logged=12, us_unlogged=10)
    wanted = Wanted(rate=10_000, machines=11, memory=0.8, redis=0.1, entries=1_000_000, body=1000, connections=100_000,
                    purges=2, cores=1, near_entries=1000, near_bytes=10**9, records=1_000_000, node=1e9)  # fmt: skip
    made = plan(found, wanted)
    so = {step.what: step.so for step in made.steps}
    assert so == {
        "CPU of all gateways": "0.33 cores",  # 8,000 x 10 + 1,000 x 30 + 1,000 x 200 + 10,000 x 2 µs
        "of each, one of 11 away, cores half busy": "0.066 cores: 1 worker",
        "machines of 1 cores that would do, one of them to spare": "2",
        "calls upstream, at most": "1,000/s",
        "answers to clients, of each machine": "1 MB/s",
        "memory of each gateway": "152 MB",  # 100 + 1 + 1 + 10,000 x 5 KB
        "an answer in Redis": "1 KB",  # 500 + 500
        "memory of Redis": "1.3 GB",  # 1,000 + 2 + 300 MB
        "CPU of Redis": "24.2 % of a core",  # 1 % + 10 % + 11 % at rest + 2 x 1.1 %
        "answers on the wire of Redis": "2 MB/s",
        "the journal on the wire of Redis": "20.1 KB/s",  # 2 x 9 + 2.1
        "connections to Redis": "66",
        "nodes of Redis": "a Cluster of 3, each with a replica",  # a little more than 1 GB
    }
    assert (made.workers, made.enough, made.nodes) == (1, True, 2)


def test_cores_that_are_too_few_are_said() -> None:
    found = replace(SMALL, us_memory=1000)
    made = plan(found, Wanted(rate=10_000, machines=3, memory=1, redis=0, cores=9))
    assert (made.workers, made.enough) == (10, False)  # 10 cores, on the 2 that are left 5 each, half busy
    assert plan(found, Wanted(rate=10_000, machines=3, memory=1, redis=0, cores=10)).enough


def test_shares_of_more_than_all_are_refused() -> None:
    with pytest.raises(ValueError, match=r"0\.9 from memory and 0\.2 from Redis are more than all requests"):
        plan(SMALL, Wanted(memory=0.9, redis=0.2))


@pytest.mark.parametrize(
    ("value", "said"), [(999, "999 bytes"), (1500, "1.5 KB"), (12_345_678, "12.3 MB"), (4e9, "4 GB")]
)
def test_sizes(value: float, said: str) -> None:
    assert size(value) == said


@pytest.mark.parametrize(("value", "said"), [(5000.4, "5,000"), (10.86, "10.9"), (0.5, "0.5"), (0.1, "0.1")])
def test_numbers(value: float, said: str) -> None:
    assert number(value) == said


def test_the_command_prints_a_plan_and_changes_no_page(capsys: pytest.CaptureFixture[str]) -> None:
    before = [path.read_text() for path in PAGES]
    assert main(["--rate", "5000", "--machines", "8"]) == 0
    said = capsys.readouterr().out
    for step in plan(FOUND, Wanted(rate=5000, machines=8)).steps:
        assert step.so in said
        assert step.how in said
    assert main(["--memory", "0.9", "--redis", "0.2"]) == 2
    assert [path.read_text() for path in PAGES] == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--rate", "-5"], "rate wants 1 or more, found -5"),
        (["--rate", "0"], "rate wants 1 or more, found 0"),
        (["--node", "nan"], "node wants 1 or more, found nan"),
        (["--node", "inf"], "node wants 1 or more, found inf"),
        (["--machines", "0"], "machines wants 1 or more, found 0"),
        (["--packed", "0"], "packed wants 1 or more, found 0"),
        (["--connections", "-1"], "connections wants 0 or more, found -1"),
    ],
    ids=str,
)
def test_a_number_that_no_traffic_has_is_refused(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert capsys.readouterr() == ("", f"sizing: {said}\n")


@pytest.mark.parametrize("name", sorted({each.name for each in fields(Wanted)} - {"memory", "redis"}))
def test_each_number_has_its_least(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} wants .* or more, found -1"):
        plan(FOUND, replace(Wanted(), **{name: -1}))


@pytest.mark.parametrize(
    "words", re.findall(r"^make sizing (.*)$", (REPOSITORY / "docs" / "scaling.md").read_text(), re.MULTILINE)
)
def test_what_the_page_types_prints_a_plan(words: str) -> None:
    """With nothing but Python: no package is imported."""
    asked = subprocess.run(
        f"make --dry-run sizing {words}", shell=True, capture_output=True, text=True, cwd=REPOSITORY, check=True
    )
    line = asked.stdout.splitlines()[-1].replace(".venv/bin/python", f"{sys.executable} -S")
    done = subprocess.run(line, shell=True, capture_output=True, text=True, cwd=REPOSITORY, check=False)
    assert (done.returncode, "of Redis" in done.stdout) == (0, True), done.stderr
