"""k6.js and locustfile.py ask a gateway that runs, as docs/load.md says: every scenario, and a bound that is broken.

k6 cannot be had where there is nothing but PyPI, Debian and npm: a stand-in in node (tests/support/k6) runs the script,
each virtual user in a thread of its own. Locust is the real one, where there is one.
"""

import asyncio
import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.load.arena import Arena, arena
from tests.load.scenarios import LIST, OF_THE_RUNNER, scenarios
from tests.load.serving import FIELD
from tests.support.gateway import TOKEN
from tests.support.process import REPOSITORY

HERE, K6 = LIST.parent, REPOSITORY / "tests" / "support" / "k6"
NAMES = [each.name for each in scenarios() if not each.runner]
NODE = shutil.which("node")
LOCUST = shutil.which("locust", path=f"{Path(sys.prefix) / 'locust' / 'bin'}{os.pathsep}{os.environ['PATH']}")
needs_node = pytest.mark.skipif(NODE is None, reason="there is no node")
needs_locust = pytest.mark.skipif(LOCUST is None, reason="there is no locust (pip install locust requests)")
# Nobody kills Redis here, and nothing is bounded by how long it takes.
_APART = {"slowdown", "redis_after"}


def listed(place: Path, **bounds: dict[str, float]) -> Path:
    """A copy of what each of the two reads, with a list of small scenarios; and these bounds on `hit`."""
    data = json.loads(LIST.read_text())
    for each in data["scenarios"]:
        own = {figure: bound for figure, bound in each["thresholds"].items() if figure not in _APART}
        clients = min(each["clients"], 4)
        own |= {"connections": {"least": clients}} if "connections" in own else {}
        own |= {"purges": {"least": 1}} if "purges" in own else {}
        each |= {"clients": clients, "seconds": 1.5, "paths": min(each.get("paths", 0), 40)}
        each["thresholds"] = own | (bounds if each["name"] == "hit" else {})
    for name in ("k6.js", "locustfile.py", "scenarios.py"):
        shutil.copy(HERE / name, place)
    (place / "scenarios.json").write_text(json.dumps(data))
    return place


async def ran(*command: object, cwd: Path, **env: str) -> tuple[int | None, str]:
    """Exit code, and all that it said."""
    made = await asyncio.create_subprocess_exec(
        *map(str, command),
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "HOME": str(cwd), **env},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        said, _ = await made.communicate()
    finally:
        if made.returncode is None:
            made.kill()
            await made.wait()
    return made.returncode, said.decode()


async def k6(place: Path, field: Arena, **env: str) -> tuple[int | None, str]:
    given = [f"{name}={value}" for name, value in {**asked(field), **env}.items()]
    shutil.copytree(K6 / "stub", place / "node_modules" / "k6")
    shutil.copy(place / "k6.js", place / "k6.mjs")
    return await ran(NODE, K6 / "run.mjs", place / "k6.mjs", *given, cwd=place)


async def locust(place: Path, field: Arena, **env: str) -> tuple[int | None, str]:
    words = ("-f", "locustfile.py", "--headless", "--loglevel", "WARNING")
    return await ran(LOCUST, *words, cwd=place, **asked(field), **env)


def asked(field: Arena) -> dict[str, str]:
    return {"BASE": ",".join(gateway.url for gateway in field.gateways), "TOKEN": TOKEN}


def small() -> Any:
    return arena(replace(FIELD, clients=100))


@needs_node
@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_k6_plays_every_scenario_and_keeps_its_bounds(tmp_path: Path) -> None:
    async with small() as field:
        code, said = await k6(listed(tmp_path), field)
        fetched = sum(field.upstream.calls.values())
    assert (code, "every bound kept" in said) == (0, True), said
    counted = {line.split(" ")[0]: float(line.split(" ")[1]) for line in said.splitlines() if "{scenario:" in line}
    assert {name for name in NAMES if counted.get(f"hits{{scenario:{name}}}") is not None} == set(NAMES)
    assert counted["hits{scenario:miss}"] == 0
    assert counted["purges{scenario:purge}"] > 0
    told = sum(value for name, value in counted.items() if name.startswith("fetched{"))
    assert 0 < told <= fetched  # setup asks too


@needs_node
@pytest.mark.slow
@pytest.mark.parametrize("bounds", [{"hits": {"most": 0.5}}, {"connections": {"least": 5}}], ids=str)
async def test_k6_ends_with_99_when_a_bound_is_broken(bounds: dict[str, dict[str, float]], tmp_path: Path) -> None:
    async with small() as field:
        code, said = await k6(listed(tmp_path, **bounds), field, CASE="hit")
    (figure,) = bounds
    assert code == 99, said
    assert [line.partition("{")[0] for line in said.splitlines() if "broken" in line] == [f"broken: {figure}"]


@needs_locust
@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", [name for name in NAMES if name != "redis_kill"])  # two seconds say nothing of it
async def test_locust_plays_it_and_keeps_its_bounds(name: str, tmp_path: Path) -> None:
    async with small() as field:
        code, said = await locust(listed(tmp_path), field, CASE=name)
        fetched = sum(field.upstream.calls.values())
    assert (code, "every bound kept" in said) == (0, True), said
    assert fetched > 0


@needs_locust
@pytest.mark.slow
async def test_locust_ends_with_1_when_a_bound_is_broken(tmp_path: Path) -> None:
    async with small() as field:
        code, said = await locust(listed(tmp_path, hits={"most": 0.5}), field, CASE="hit")
    assert code == 1, said
    assert "broken: hit: hits <= 0.5, but it is 1" in said


def test_what_is_of_the_runner_alone_is_in_none_of_them() -> None:
    for text in ((HERE / "k6.js").read_text(), (HERE / "locustfile.py").read_text()):
        assert [figure for figure in OF_THE_RUNNER if figure in text] == []
