"""One run as data, as a table of words, and as Markdown. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.figures import Figure, Goal, Line, Unit, Verdict
from bench.machine import Machine
from bench.peers import nginx, varnish

COLUMNS = ("case", "Cachegate", nginx.NAME, varnish.NAME, "others", "goals")
_OWN_COLUMN = (nginx.NAME, varnish.NAME)
_SHOWN = 0.005  # a spread below that is none


@dataclass(frozen=True, slots=True)
class Run:
    """Everything that is kept of it. `settings` are those of the bench: seconds, rounds and so on."""

    when: str  # 2026-11-21 14:05 UTC
    commit: str
    machine: Machine
    versions: dict[str, str]
    settings: dict[str, float]
    lines: tuple[Line, ...]


def rows(lines: Sequence[Line]) -> Iterator[tuple[str, ...]]:
    """The words of each cell, in the order of COLUMNS."""
    for line in lines:
        ours, *others = line.figures
        named = {each.who: each for each in others if each.who in _OWN_COLUMN}
        beside = "; ".join(f"{each.who}: {cell(each, line.unit)}" for each in others if each.who not in _OWN_COLUMN)
        columns = (cell(named[who], line.unit) if who in named else "" for who in _OWN_COLUMN)
        goals = "; ".join(told(verdict, line.unit) for verdict in line.verdicts())
        yield line.title, cell(ours, line.unit), *columns, beside, goals


def cell(figure: Figure, unit: Unit) -> str:
    """`15.9 µs ±2%`, or what is wrong with it."""
    if figure.problem:
        return figure.problem
    if not figure.valid:
        return "no figure"
    spread = f" ±{figure.spread:.0%}" if figure.spread >= _SHOWN else ""
    return f"{number(figure.median)}{f' {unit}' if unit else ''}{spread}"


def told(verdict: Verdict, unit: Unit) -> str:
    """`0.72x nginx (<= 0.75: met)`, or the bound alone where there is nothing to hold against it."""
    goal, reached = verdict.goal, verdict.reached
    what = f"x {goal.of}" if goal.of else f" {unit}".rstrip()
    if reached is None:
        return f"{goal.sign} {goal.bound:g}{what}: not told"
    word = "met" if verdict.met else "missed"
    if goal.of:
        return f"{reached:.2f}{what} ({goal.sign} {goal.bound:g}: {word})"
    return f"{goal.sign} {goal.bound:g}{what}: {word}"


def number(value: float) -> str:
    """Three digits that mean something, and all those before the point."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


def markdown(run: Run) -> str:
    """The table with what was measured on what; ends with a newline."""
    head = [f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
    body = [f"| {' | '.join(word.replace('|', '/') for word in row)} |" for row in rows(run.lines)]
    titles: dict[str, list[str]] = {}
    for line in run.lines:
        titles.setdefault(line.note, []).append(line.title)
    notes = [f"- {'; '.join(those)}: {note}." for note, those in titles.items() if note]
    return "\n".join([*head, *body, "", *notes, "", _footing(run), ""])


def _footing(run: Run) -> str:
    machine, own = run.machine, ", ".join(f"{name} {value:g}" for name, value in run.settings.items())
    return (
        f"{run.when}, commit {run.commit}, {machine.cpu} with {machine.cores} cores, Linux {machine.kernel},"
        f" load average {machine.load:.1f} before; {', '.join(f'{k} {v}' for k, v in run.versions.items())}; {own}."
    )


def data(run: Run) -> dict[str, Any]:
    """For programs: every round, and what became of the goals."""
    lines = []
    for line in run.lines:
        figures = [
            {**asdict(each), "median": each.median, "spread": each.spread} if each.valid else asdict(each)
            for each in line.figures
        ]
        goals = [{**asdict(each.goal), "reached": each.reached, "met": each.met} for each in line.verdicts()]
        lines.append({"case": line.case, "title": line.title, "unit": line.unit, "note": line.note,
                      "figures": figures, "goals": goals})  # fmt: skip
    return {**asdict(run), "lines": lines}


def run_of(kept: dict[str, Any]) -> Run:
    """The run that `data` was made of."""
    lines = tuple(
        Line(
            line["case"],
            line["title"],
            line["unit"],
            tuple(Figure(each["who"], tuple(each["values"]), each["problem"]) for each in line["figures"]),
            tuple(Goal(each["bound"], each["of"], each["least"]) for each in line["goals"]),
            line["note"],
        )
        for line in kept["lines"]
    )
    return Run(kept["when"], kept["commit"], Machine(**kept["machine"]), kept["versions"], kept["settings"], lines)
