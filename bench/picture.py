"""The ratios as bars, with the goals marked on them: shorter is better."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure as Canvas

from bench.table import Run

MET, MISSED, MARK = "#3f8f5f", "#d08a3c", "#333333"
_PAPER = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}  # so that the mark of the goal crosses no words
_MOST = 3.0  # times the goal: what is longer is cut, and its number stands beside it


@dataclass(frozen=True, slots=True)
class Bar:
    """A ratio in shares of its goal: 1 is the goal itself, less is better."""

    label: str
    share: float
    text: str


def bars(run: Run) -> Iterator[Bar]:
    """Of every goal that could be told, the last of the table first, as a picture counts from below."""
    for line in reversed(run.lines):
        for verdict in line.verdicts():
            goal, reached = verdict.goal, verdict.reached
            if reached is None or not goal.bound:  # of errors there shall be none: no share of that
                continue
            share = goal.bound / reached if goal.least and reached else reached / goal.bound
            against = f" against {goal.of}" if goal.of else ""
            unit = "x" if goal.of else f" {line.unit}".rstrip()
            yield Bar(f"{line.title}{against}", share, f"{reached:.2f}{unit} ({goal.sign} {goal.bound:g})")


def draw(run: Run, file: Path) -> None:
    """As PNG."""
    mpl.rcParams["font.size"] = 9
    drawn = list(bars(run))
    canvas = Canvas(figsize=(10, 1.2 + 0.3 * len(drawn)), layout="constrained")
    axes = canvas.subplots()
    lengths = [min(bar.share, _MOST) for bar in drawn]
    colours = [MET if bar.share <= 1 else MISSED for bar in drawn]
    axes.barh(range(len(drawn)), lengths, color=colours, height=0.62)
    axes.set_yticks(range(len(drawn)), [bar.label for bar in drawn])
    for at, (bar, length) in enumerate(zip(drawn, lengths, strict=True)):
        axes.text(length + 0.04, at, bar.text, va="center", color=MARK, bbox=_PAPER)
    axes.axvline(1, color=MARK, linewidth=1.2, zorder=1.5)
    axes.set_ylim(-0.7, len(drawn) - 0.3)
    axes.set_xlim(0, _MOST + 0.9)
    axes.set_xticks([0, 0.5, 1, 2, 3], ["0", "half", "goal", "twice", "3 times and more"])
    axes.set_title(f"What was measured in shares of its goal (shorter is better)\n{run.when}, commit {run.commit}")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(left=False)
    canvas.savefig(file, dpi=110)
