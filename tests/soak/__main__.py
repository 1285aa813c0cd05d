"""`python -m tests.soak --seconds 180`: exit 0 when everything held, 1 with the seed and the first findings if not."""

import argparse
import asyncio
import json
import secrets
import shlex
import sys
from pathlib import Path

from tests.soak.course import soak
from tests.soak.faults import FAULTS
from tests.support.process import HAS_PROC


def main() -> int:
    parser = argparse.ArgumentParser(prog="soak", description="Mixed traffic and random faults, with oracles.")
    parser.add_argument("--seconds", type=float, default=180, help="how long about (default 180)")
    parser.add_argument("--seed", type=int, default=None, help="chooses the faults; shown, and random by default")
    parser.add_argument("--instances", type=int, default=3, help="gateways over one Redis (default 3)")
    parser.add_argument("--workers", type=int, default=1, help="processes of each; the last has one more (default 1)")
    parser.add_argument("--only", default="", metavar="WORD", help="faults with this in their name, such as Redis")
    parser.add_argument("--json", type=Path, default=Path("build/soak.json"), help="figures go there too")
    args = parser.parse_args()
    if not HAS_PROC:
        parser.error("it reads /proc, which is not here: run it on Linux")
    if not any(args.only in each.name for each in FAULTS):
        parser.error(f"--only {args.only}: there are {', '.join(each.name for each in FAULTS)}")
    seed = secrets.randbelow(1_000_000) if args.seed is None else args.seed
    workers = [args.workers] * (args.instances - 1) + [args.workers + 1]
    result = asyncio.run(soak(args.seconds, seed, workers, args.only))
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(json.dumps(result.data, indent=1))
    print(result.text)
    more = ["--only", args.only] * bool(args.only)
    for name, usual in (("instances", 3), ("workers", 1)):
        more += [f"--{name}", str(getattr(args, name))] * (getattr(args, name) != usual)
    again = f"make soak SECONDS={args.seconds:.0f} SEED={seed}" + f' ARGS="{shlex.join(more)}"' * bool(more)
    print(f"{'FAILED' if result.findings else 'everything held'}; the same faults again: {again}")
    return 1 if result.findings else 0


if __name__ == "__main__":
    sys.exit(main())
