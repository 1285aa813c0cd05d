"""`python -m bench.profile --case memory_hit`: where the microseconds of an answer go, function by function.

py-spy looks at the worker from outside while wrk loads it; what a function costs is its share of the looks, times the
CPU of an answer, which is measured before without py-spy.
"""

import argparse
import os
import shutil
import subprocess
import sys
import threading
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.arena import Arena, Contender, Plan, Start, gateway
from bench.cases.hits import pipeline
from bench.heads import counted, each_path, identical, varied
from bench.load import Load
from bench.origin import ETAG, origin
from bench.peers.cachegate import FILES, MEMORY, NAME, ROOMY
from bench.programs import Missing, cores

_MISS = Load(counted(), script="counting", asks=1)
CASES: dict[str, tuple[Start, Load, str]] = {  # the gateway, the load, the place of the origin to fill it from
    "memory_hit": (gateway(), Load(varied()), "1k"),
    "memory_hit_identical": (gateway(), Load(identical()), "1k"),
    "lane_off": (pipeline, Load(varied()), "1k"),
    "conditional": (gateway(), Load(varied(f"If-None-Match: {ETAG}"), status=304), "1k"),
    "file_hit": (gateway(FILES), Load(varied(size="4k")), "4k"),
    "miss_memory": (gateway({**ROOMY, **MEMORY}), _MISS, ""),
    "miss_file": (gateway({**ROOMY, "file": {"max_bytes": "8GiB"}}), _MISS, ""),
}
_RATE = 500  # looks a second
_WAITING = ("Condition.wait ", "WorkerThread.run ", "_worker (concurrent/")


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.profile", description="Where the microseconds of an answer go.")
    parser.add_argument("--case", choices=CASES, default="memory_hit", help="default memory_hit")
    parser.add_argument("--seconds", type=float, default=5.0, help="to look at it (default 5)")
    parser.add_argument("--top", type=int, default=30, help="functions that are told (default 30)")
    args = parser.parse_args()
    on = cores()
    os.sched_setaffinity(0, {on.load})
    with TemporaryDirectory(prefix="cachegate-profile-") as name:
        place = Path(name)
        try:
            with origin(place / "origin", on) as behind, ExitStack() as stack:
                arena = Arena(Plan(rounds=1, seconds=args.seconds), place, on, behind)
                start, load, size = CASES[args.case]
                us = arena.enter(stack, NAME, start, load, each_path(size) if size else ())
                print(_told(arena, us, args.top))
        except Missing as missing:
            print(f"there is nothing to look at: {missing}")
            return 1
    return 0


def _told(arena: Arena, us: Contender, top: int) -> str:
    (figure,) = arena.contest([us])
    if us.server is None or not figure.valid:
        return figure.problem
    looks = stacks(_looked_at(arena, us, arena.plan.seconds))
    whole = sum(looks.values())
    if not whole:
        return "py-spy saw nothing: it may want root, or kernel.yama.ptrace_scope = 0"
    own, all_in = by_function(looks)
    lines = [f"{figure.median:.1f} µs of CPU for each answer ({whole} looks)", "", "  own µs   with what it calls"]
    for name, count in own.most_common(top):
        lines.append(f"{figure.median * count / whole:8.2f} {figure.median * all_in[name] / whole:8.2f}   {name}")
    return "\n".join(lines)


def _looked_at(arena: Arena, us: Contender, seconds: float) -> str:
    """What py-spy writes in its raw format: the functions of a stack from the outermost on, and how often it was
    seen."""
    assert us.server is not None
    file = arena.place / "stacks"
    spy = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
    if spy is None:
        raise Missing("py-spy is not installed (the extra `bench` brings it)")
    command = [spy, "record", "--pid", str(us.server.pid), "--rate", str(_RATE), "--duration", f"{seconds:.0f}"]
    load = threading.Thread(target=arena.loaded, args=(us.server, us.load, seconds + 1))
    load.start()
    subprocess.run([*command, "--format", "raw", "--function", "--output", str(file)], capture_output=True, check=False)
    load.join()
    return file.read_text() if file.exists() else ""


def stacks(raw: str) -> Counter[tuple[str, ...]]:
    """How often each stack was seen at work, from py-spy's raw format: `outer;inner 12`. Threads that wait for work
    are left out: py-spy does not know all of them for idle."""
    seen: Counter[tuple[str, ...]] = Counter()
    for line in raw.splitlines():
        functions, _, count = line.rpartition(" ")
        stack = tuple(functions.split(";"))
        if not stack[-1].startswith(_WAITING):
            seen[stack] += int(count)
    return seen


def by_function(looks: Counter[tuple[str, ...]]) -> tuple[Counter[str], Counter[str]]:
    """How often each function was seen at work itself, and how often it was on the stack at all."""
    own: Counter[str] = Counter()
    all_in: Counter[str] = Counter()
    for stack, count in looks.items():
        own[stack[-1]] += count
        for name in set(stack):
            all_in[name] += count
    return own, all_in


if __name__ == "__main__":
    sys.exit(main())
