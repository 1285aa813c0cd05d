"""`python -m bench`: measure, show one table, and keep it (docs/performance.md). It asserts nothing: exit 0 whatever
came out, 2 when it cannot measure here at all."""

import argparse
import os
import resource
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import NoReturn

from rich.console import Console

from bench.arena import Arena, Plan
from bench.cases import CASES, Case
from bench.figures import Figure, Line
from bench.install import installed
from bench.machine import commit, machine, versions
from bench.origin import origin
from bench.peers.cachegate import NAME
from bench.picture import draw
from bench.programs import Missing, cores
from bench.results import PAGES, PLACE, kept, quoted
from bench.sizing_pages import rewrite
from bench.table import Run, markdown
from bench.terminal import show

PLAN = Plan()


def main() -> int:
    args = _parser().parse_args()
    console = Console(stderr=True)
    if sys.platform != "linux":
        console.print("the bench reads /proc and pins programs to cores: run it on Linux")
        return 2
    signal.signal(signal.SIGTERM, _told_to_end)
    if said := installed():
        console.print(said, highlight=False)
    chosen = [case for case in CASES if not args.case or case.name in args.case]
    plan = Plan(args.rounds, args.seconds, entries=args.entries, connections=_held(args.connections, console))
    when, before, at = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"), machine(), commit()
    lines = measured(chosen, plan, console)
    settings = {name: value for name, value in asdict(plan).items() if name != "warm"}
    run = Run(when, at, before, versions(), settings, tuple(lines))
    show(run, Console(width=None if sys.stdout.isatty() else 200))
    _keep(run, args.json, console, whole=len(chosen) == len(CASES))
    return 0


def _told_to_end(number: int, frame: object) -> NoReturn:
    """What was started ends with us: the blocks are left as by any other exit."""
    raise SystemExit(128 + number)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench", description="CPU of the server for each answer, beside others.")
    names = ", ".join(case.name for case in CASES)
    parser.add_argument("--case", action="append", choices=[case.name for case in CASES], metavar="CASE", help=names)
    parser.add_argument("--rounds", type=int, default=PLAN.rounds, help="of each measurement (default 3)")
    parser.add_argument("--seconds", type=float, default=PLAN.seconds, help="of each measurement (default 1.5)")
    parser.add_argument("--entries", type=int, default=PLAN.entries, help="of the case `entries` (default 100000)")
    parser.add_argument("--connections", type=int, default=PLAN.connections, help="held open at most (default 10000)")
    parser.add_argument("--json", type=Path, default=None, help="what was measured goes there too")
    return parser


def measured(cases: Sequence[Case], plan: Plan, console: Console) -> list[Line]:
    """Every line of these cases. This process, and with it the load, stays on the core of the load."""
    on, lines = cores(), list[Line]()
    os.sched_setaffinity(0, {on.load})
    with TemporaryDirectory(prefix="cachegate-bench-") as name:
        place = Path(name)
        try:
            with origin(place / "origin", on) as behind:
                for number, case in enumerate(cases, 1):
                    began = monotonic()
                    lines += _lines(case, Arena(plan, place / case.name, on, behind))
                    console.print(f"{number}/{len(cases)} {case.name}: {monotonic() - began:.0f} s", highlight=False)
        except Missing as missing:
            lines += [Line(case.name, case.name, "", (Figure(NAME, problem=str(missing)),)) for case in cases]
    return lines


def _lines(case: Case, arena: Arena) -> Iterator[Line]:
    """Nothing that one case meets keeps the others from being told. What it has stored goes with it."""
    arena.place.mkdir()
    try:
        yield from case.run(arena)
    except Missing as missing:
        yield Line(case.name, case.name, "", (Figure(NAME, problem=str(missing)),))
    except (RuntimeError, OSError) as error:
        yield Line(case.name, case.name, "", (Figure(NAME, problem=f"invalid: {_in_short(error)}"),))
    finally:
        shutil.rmtree(arena.place, ignore_errors=True)


def _in_short(error: Exception) -> str:
    """On one line: some carry a log."""
    return " ".join(str(error).split())[:200]


def _held(wanted: int, console: Console) -> int:
    """As many connections as this process may have descriptors for, once it has raised the bound to the hard one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    most = hard - 512
    if most < wanted:
        console.print(f"connections: {most} instead of {wanted}, as the hard bound of descriptors is {hard}")
    return min(most, wanted)


def _keep(run: Run, json: Path | None, console: Console, *, whole: bool) -> None:
    written = kept(run, whole=whole)
    if json is not None:
        json.write_text(written[0].read_text())
    draw(run, written[0].with_suffix(".png"))
    if whole:
        draw(run, PLACE / "latest.png")
        for page in PAGES:
            page.write_text(quoted(page.read_text(), markdown(run)))
        rewrite()
    console.print(f"kept as {written[0].with_suffix('')}.json, .md and .png", highlight=False)


if __name__ == "__main__":
    sys.exit(main())
