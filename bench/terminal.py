"""The table on a terminal."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.table import COLUMNS, Run, rows


def show(run: Run, console: Console) -> None:
    table = Table(title=f"Cachegate {run.versions['Cachegate']} at {run.commit}, CPU of the server for each answer")
    for name in COLUMNS:
        table.add_column(name, overflow="fold")
    for row, line in zip(rows(run.lines), run.lines, strict=True):
        *cells, goals = row
        missed = any(verdict.met is False for verdict in line.verdicts())
        met = any(verdict.met for verdict in line.verdicts())
        colour = "yellow" if missed else "green" if met else "default"
        table.add_row(*map(escape, cells), f"[{colour}]{escape(goals)}[/]")
    console.print(table)
