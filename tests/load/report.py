"""One run as JSON, for programs, and as one page of HTML that asks for nothing from elsewhere."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from bench.machine import Machine
from bench.sizing_pages import rewrite
from tests.load.cases import Told
from tests.load.picture import svg
from tests.load.scenarios import Threshold
from tests.load.scenarios import told as number
from tests.load.watching import cores, memory, names, spent

PLACE = Path(__file__).parent / "results"
_USAGE = {"cores": 2, "most_cores": 2, "first_mb": 1, "most_mb": 1}  # what is told of each process, and its digits
_STYLE = """body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:800px;padding:0 1rem;color:#222}
svg{width:100%;height:auto}table{border-collapse:collapse;width:100%;margin:.5rem 0}
td,th{padding:.2rem .6rem;border-bottom:1px solid #ddd;text-align:left}td.n,th.n{text-align:right}
.kept{color:#2b6b45}.broken{color:#b3261e;font-weight:600}h2{margin:2.2rem 0 0}p{margin:.2rem 0}small{color:#555}"""


@dataclass(frozen=True, slots=True)
class Run:
    """`wanted`: seconds that every scenario was given in place of its own; None where each had its own."""

    when: str  # 2026-11-21 14:05 UTC
    commit: str
    machine: Machine
    wanted: float | None
    told: Sequence[Told]

    @property
    def broken(self) -> list[str]:
        return [line for each in self.told for line in each.broken]


def kept(run: Run, place: Path = PLACE) -> list[Path]:
    """Write both, by date and commit."""
    place.mkdir(parents=True, exist_ok=True)
    return _written(run, place, f"{run.when[:10]}-{run.commit}")


def sampled(run: Run) -> list[Path]:
    """The same as the sample, which pages of the documentation quote: they are written anew."""
    files = _written(run, PLACE, "sample")
    rewrite()
    return files


def _written(run: Run, place: Path, name: str) -> list[Path]:
    files = [place / f"{name}.json", place / f"{name}.html"]
    files[0].write_text(json.dumps(data(run), indent=1) + "\n")
    files[1].write_text(page(run))
    return files


def data(run: Run) -> dict[str, Any]:
    """Figures and bounds, but not every answer."""
    machine = {name: getattr(run.machine, name) for name in ("cpu", "cores", "kernel", "load")}
    return {"when": run.when, "commit": run.commit, "machine": machine, "seconds": run.wanted, "broken": run.broken,
            "scenarios": [_scenario(each) for each in run.told]}  # fmt: skip


def _scenario(told: Told) -> dict[str, Any]:
    scenario = told.scenario
    bounds = [
        {"figure": each.figure, "least" if each.least else "most": each.bound}
        | ({"kept": None, "why": why} if (why := told.excused.get(each.figure)) else {"kept": each.holds(told.figures)})
        for each in scenario.thresholds
    ]
    return {"name": scenario.name, "title": scenario.title, "clients": scenario.clients, "seconds": scenario.seconds,
            "instances": scenario.instances, "redis": scenario.redis, "figures": told.figures,
            "thresholds": bounds, "watched": _watched(told)}  # fmt: skip


def _watched(told: Told) -> list[dict[str, Any]]:
    """Of each that ran: the most and the mean of its cores, its MB in the beginning and at most."""
    rows = []
    for name in names(told.samples):
        used, held = list(spent(told.samples, name)), [value for _, value in memory(told.samples, name)]
        rows.append({
            "who": name,
            "cores": sum(cpu for _, _, cpu in used) / (sum(seconds for _, seconds, _ in used) or 1.0),
            "most_cores": max((value for _, value in cores(told.samples, name)), default=0.0),
            "first_mb": held[0],
            "most_mb": max(held),
        })  # fmt: skip
    return rows


def page(run: Run) -> str:
    machine, broken = run.machine, escape("; ".join(run.broken))
    verdict = f'<p class="broken">broken: {broken}</p>' if broken else '<p class="kept">every bound kept</p>'
    on = f"{machine.cpu}, {machine.cores} cores, Linux {machine.kernel}, load average {machine.load:.1f} before"
    parts = "\n".join(map(_part, run.told))
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Load, {escape(run.when)}</title><style>{_STYLE}</style>
<h1>Under load</h1>
{verdict}
<p><small>{escape(run.when)}, commit {escape(run.commit)}; {escape(on)}. Clients, upstream and Redis run on the same
machine, each client in a closed loop: how many answers a second says as much of the neighbours as of the gateway.
docs/load.md says what each figure is.</small></p>
{parts}
</html>
"""


def _part(told: Told) -> str:
    scenario = told.scenario
    who = f"{scenario.clients:,} clients, {scenario.instances} instance{'s' * (scenario.instances > 1)}"
    bounds = "".join(_row(each, told) for each in scenario.thresholds)
    watched = "".join(_usage(each) for each in _watched(told))
    bounded = {each.figure for each in scenario.thresholds}
    others = ", ".join(f"{name} {number(value)}" for name, value in told.figures.items() if name not in bounded)
    return f"""<h2 id="{scenario.name}">{escape(scenario.title)}</h2>
<p><small>{scenario.name}: {who}{" over Redis" if scenario.redis else ""}</small></p>
<table><tr><th>bound</th><th class="n">measured</th><th></th></tr>{bounds}</table>
<p><small>{escape(others)}</small></p>
<table><tr><th>process</th><th class="n">cores, mean</th><th class="n">most</th><th class="n">MB at first</th>
<th class="n">most</th></tr>{watched}</table>
{svg(told)}"""


def _usage(row: dict[str, Any]) -> str:
    values = "".join(f'<td class="n">{row[name]:.{digits}f}</td>' for name, digits in _USAGE.items())
    return f"<tr><td>{escape(row['who'])}</td>{values}</tr>"


def _row(bound: Threshold, told: Told) -> str:
    if why := told.excused.get(bound.figure):
        return f'<tr><td>{escape(str(bound))}</td><td colspan="2">{escape(why)}</td></tr>'
    word = "kept" if bound.holds(told.figures) else "broken"
    value = number(told.figures.get(bound.figure))
    return f'<tr><td>{escape(str(bound))}</td><td class="n">{value}</td><td class="{word}">{word}</td></tr>'
