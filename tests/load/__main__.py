"""`python -m tests.load`: exit 0 when every bound was kept, 1 when one was broken, 2 when it cannot be run here."""

import argparse
import asyncio
import signal
import sys
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

from bench.machine import commit, machine
from tests.load.arena import SPARE, descriptors
from tests.load.cases import Told, played
from tests.load.report import PLACE, Run, kept, sampled
from tests.load.scenarios import Scenario, scenarios, told
from tests.load.serving import offered
from tests.support.process import HAS_PROC

_SHOWN = ("answers", "p50_ms", "p99_ms", "hits", "errors", "gateway_mb", "gateway_cores", "redis_mb", "redis_cores")


def main(words: Sequence[str] | None = None) -> int:
    known = scenarios()
    args = _parser(known).parse_args(words)
    chosen = [
        replace(each, seconds=args.seconds or each.seconds)
        for each in args.scenarios or known
        if not args.case or each.name in args.case
    ]
    if not HAS_PROC:
        return _cannot("it reads /proc, which is not here: run it on Linux")
    if problem := descriptors(max(each.connections for each in chosen) + SPARE):
        return _cannot(problem)
    if args.serve:
        _ended(offered())  # it has no other end
        return 0
    when, before = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"), machine()
    done: list[Told] = []
    if _ended(_all(chosen, done)):
        return 130
    run = Run(when, commit(), before, args.seconds, done)
    written = kept(run, args.results)
    if args.sample and not run.broken and chosen == list(known):
        written = sampled(run)
    for why in (f"{each.scenario.name}: {name}: {why}" for each in done for name, why in each.excused.items()):
        print(f"not told: {why}")
    for line in run.broken:
        print(f"broken: {line}")
    print(f"{'FAILED' if run.broken else 'every bound kept'}; {' and '.join(map(str, written))}")
    return 1 if run.broken else 0


def _parser(known: Sequence[Scenario]) -> argparse.ArgumentParser:
    names = [each.name for each in known]
    parser = argparse.ArgumentParser(prog="load", description="Traffic as it comes, with bounds that fail the run.")
    parser.add_argument("--case", action="append", choices=names, metavar="CASE", help=", ".join(names))
    parser.add_argument("--seconds", type=float, default=None, help="for each in place of its own")
    parser.add_argument(
        "--scenarios", type=_list, default=None, metavar="FILE", help="another list than scenarios.json"
    )
    parser.add_argument(
        "--results", type=Path, default=PLACE, help="where the report goes (default tests/load/results)"
    )
    parser.add_argument(
        "--sample", action="store_true", help="keep a whole run, no bound broken, as what the pages quote"
    )
    parser.add_argument("--serve", action="store_true", help="start what k6 and locust ask, and wait to be ended")
    return parser


def _list(name: str) -> tuple[Scenario, ...]:
    return scenarios(Path(name).read_text())


def _cannot(why: str) -> int:
    print(f"load: {why}", file=sys.stderr)
    return 2


def _ended(work: Coroutine[None, None, None]) -> bool:
    """Whether it was told to end before it was done; what it had started has ended then all the same."""

    async def whole() -> None:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        await work

    try:
        asyncio.run(whole())
    except (KeyboardInterrupt, asyncio.CancelledError):
        return True
    return False


async def _all(chosen: Sequence[Scenario], done: list[Told]) -> None:
    for scenario in chosen:
        began = monotonic()
        done.append(one := await played(scenario))
        figures = ", ".join(f"{name} {told(one.figures[name])}" for name in _SHOWN if name in one.figures)
        print(f"{scenario.name}: {figures} ({monotonic() - began:.0f} s){' BROKEN' * bool(one.broken)}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
