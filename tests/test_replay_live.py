"""Replay's word against what happened (row 202): three kinds of traffic run through the real program, and its own
access log replayed under the same rules, and under rules that did not hold then."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.process import Process, program
from tests.support.workloads import POPULAR, WORKLOADS

NUMBER = 6000
POINTS = 0.02


async def replayed(gateway: Process, *words: str) -> Any:
    code, out, err = await program(gateway.directory, "replay", "gateway.log", *words, "--json")
    assert (code, err) == (0, ""), out + err
    return json.loads(out)


@pytest.mark.slow
@pytest.mark.parametrize("name", WORKLOADS)
async def test_the_prediction_is_within_two_points_of_what_was_measured(name: str, tmp_path: Path) -> None:
    async with WORKLOADS[name].recorded(tmp_path, NUMBER) as gateway:
        measured = (await gateway.stats())["hitRate"]
        told = await replayed(gateway, "--rules", "cachegate.yaml")
    assert (told["requests"], told["unreadable"]) == (NUMBER, 0)
    assert told["logged_hit_ratio"] == pytest.approx(measured, abs=0.0005)
    assert 0.1 < measured < 0.95, "a workload with something to predict"
    assert abs(told["hit_ratio"] - measured) <= POINTS, (measured, told["hit_ratio"])


@pytest.mark.slow
async def test_what_other_rules_would_do_is_what_they_do(tmp_path: Path) -> None:
    """Recorded without the rule that makes the difference, predicted with it, then measured with it."""
    key = {"query": {"ignore": [POPULAR.noise]}}
    old, new = (
        {"rules": [{"name": "items", "pattern": "/items/*", "ttl": 600, **more}]} for more in ({}, {"key": key})
    )
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    async with POPULAR.recorded(tmp_path / "old", NUMBER, old) as gateway:
        (gateway.directory / "new.yaml").write_text(json.dumps(new))
        told = await replayed(gateway, "--rules", "new.yaml", "--compare", "cachegate.yaml")
        before = (await gateway.stats())["hitRate"]
    async with POPULAR.recorded(tmp_path / "new", NUMBER, new) as gateway:
        measured = (await gateway.stats())["hitRate"]
    assert (told["compared"]["hit_ratio"], before) == (0, 0)
    assert abs(told["hit_ratio"] - measured) <= POINTS, (measured, told["hit_ratio"])
    assert {(change["from"], change["to"]) for change in told["changed"]} >= {("MISS", "HIT")}
