"""What pages say of sizes and of what things cost, written from what was measured: `python -m bench.sizing_pages`.

Each block of a page stands between `<!-- bench/sizing_pages.py: NAME -->` and the mark of its end. Runs of the bench,
of the crowd and of the load suite that are kept rewrite them. With `--rate` or any other number it changes no page,
and prints the plan for that traffic (`make sizing`).
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from textwrap import TextWrapper
from typing import Any

from bench.results import PLACE, quoted
from bench.sizing import BUSY, Measured, Wanted, measured, number, plan, size, tabled

_ROOT = Path(__file__).parent.parent
SAMPLE = _ROOT / "tests" / "load" / "results" / "sample.json"
SOURCES = {"bench": PLACE / "latest.json", "crowd": PLACE / "crowd.json", "load": SAMPLE}
Files = Mapping[str, Mapping[str, Any]]


def files() -> Files:
    return {name: json.loads(path.read_text()) for name, path in SOURCES.items()}


def mark(name: str) -> str:
    return f"bench/sizing_pages.py: {name}"


def written(page: str, told: Files) -> str:
    """The page with its blocks as they are after these runs. ValueError: a block has no end, or no such name."""
    for name in [part.partition(" -->")[0] for part in page.split(f"<!-- {mark('')}")[1:]]:
        if name not in BLOCKS:
            raise ValueError(f"there is no block {name!r}: {', '.join(BLOCKS)}")
        page = quoted(page, BLOCKS[name](told), mark(name))
    return page


def rewrite() -> None:
    """All pages. Where a source is older than what is asked of it, nothing is written: that is said."""
    told = files()
    for path in PAGES:
        path.write_text(written(path.read_text(), told))


def _found(told: Files) -> Measured:
    return measured(told["bench"], told["crowd"], told["load"])


# -- the blocks --------------------------------------------------------------------------------------------------------


def one_process(told: Files) -> str:
    it = _found(told)
    rows = [
        ("a hit from memory", f"{number(it.us_memory)} µs of CPU", "bench `memory_hit`"),
        ("a hit from a file", f"{number(it.us_file)} µs", "bench `file_hit`"),
        ("a hit from Redis", f"{number(it.us_redis)} µs", "bench `redis_hit`"),
        ("a miss, stored in memory", f"{number(it.us_miss)} µs", "bench `miss_memory`"),
        ("a miss, stored in memory and in a file", f"{number(it.us_miss_file)} µs", "bench `miss_file`"),
        ("a miss, stored in memory and in Redis", f"{number(it.us_miss_redis)} µs", "load `redis_share`"),
        ("hits from memory of one worker that has a core", f"{number(it.rate)}/s", "bench `workers`"),
        (
            "an open connection",
            f"{size(it.connection_least)} to {size(it.connection)}: 10,000 are {size(1e4 * it.connection)}",
            "bench `connections`",
        ),
        (
            "an entry in memory, beyond its bytes",
            f"{size(it.entry)}: 100,000 of 1 KB are {size(1e5 * (it.entry + 1e3))}",
            "bench `entries`",
        ),
        ("a process with nothing in it", size(it.process), "load `hit`, at its beginning"),
        ("the access log and the metrics", f"{number(it.us_logged - it.us_unlogged)} µs more", "bench `observed`"),
        ("start to first answer", f"{number(it.start)} s", "bench `start`"),
    ]
    return f"{tabled(('what', 'measured', 'where'), rows)}\n\n{_when(told)}\n"


def workers(told: Files) -> str:
    it, load = _found(told), _scenario(told, "workers")
    bounds = {each["figure"]: each for each in load["thresholds"]}
    rows = []
    for count in (1, 2, 4):
        figures, name = load["figures"], f"efficiency_{count}"
        share = f"{figures[name]:.0%}" if name in figures else bounds.get(name, {}).get("why", "")
        rows.append(
            (str(count), f"{number(figures[f'rate_{count}'])}/s", f"{number(figures[f'us_{count}'])} µs", share)
        )
    head = ("workers", "answers", "CPU of the gateway for each", "rate, in shares of as many times that of one")
    more = f"On the quieter machine of the bench: {number(it.us_two_workers)} µs with two workers"
    more += f" beside {number(it.us_one_worker)} with one."
    return f"{tabled(head, rows)}\n\n{more}\n"


def scales(told: Files) -> str:
    rows = []
    for name in ("connections_100", "connections_1000", "connections_10000"):
        one = _scenario(told, name)
        figures = one["figures"]
        rows.append((
            f"{one['clients']:,}",
            str(one["instances"]),
            f"{100 * figures['errors']:.3g} %",
            f"{number(figures['answers'])}",
            f"{number(figures['p99_ms'])} ms",
            f"{number(figures['gateway_mb'])} MB",
        ))  # fmt: skip
    head = ("connections, all of which ask", "instances", "errors", "answers", "p99", "memory of the gateway")
    return f"{tabled(head, rows)}\n\n{_of_load(told)}\n"


def being_there(told: Files) -> str:
    """What the table of the crowd means, in words."""
    it = _found(told)
    most, thrice, tenfold = it.crowd[-1], it.among(300), it.among(1000)
    return _items(
        f"**Being there** costs each instance {number(most.calls / most.members)} calls a second: a look at the purges,"
        " its sign of life, those of the others. It reads the others' signs all at once, so that bytes grow with the"
        f" square of their number: {size(most.bytes)}/s for {most.members} together, and so {size(thrice.bytes)}/s for"
        f" {thrice.members} and {size(tenfold.bytes)}/s for {tenfold.members:,}. An instance with workers counts once"
        " for each of them."
    )


def redis(told: Files) -> str:
    it = _found(told)
    json_body, most = 4000.0, it.crowd[-1]
    whole = json_body * it.packed + it.redis_around
    rows = [
        ("a hit from Redis", f"{number(it.redis_us_hit)} µs of its CPU", "load `redis_share`"),
        ("a miss that is stored there, and its lease", f"{number(it.redis_us_miss)} µs", "load `redis_share`"),
        (
            f"a purge, with {most.members} instances",
            f"{number(1e3 * most.cpu_each)} ms, {size(most.bytes_each)} on the wire",
            "crowd",
        ),
        (
            f"{most.members} instances at rest",
            f"{number(100 * most.cpu)} % of a core, {size(most.bytes)}/s",
            "crowd",
        ),
        ("connections of an instance", f"{number(it.redis_connections)} at most", "load, every scenario with Redis"),
        ("an answer, around its body", size(it.redis_around), "load `redis_share`"),
        ("JSON at rest, in shares of its size", number(it.packed), "bench `compression`"),
        (
            "4 KB of JSON therefore",
            f"{size(json_body)} × {number(it.packed)} + {size(it.redis_around)} = {size(whole)}",
            "the two above",
        ),
        ("a purge in the journal", size(it.record), "crowd"),
    ]
    core = f"A core of Redis, {100 * BUSY:.0f} % busy, bears {number(BUSY / it.redis_us_hit * 1e6)} hits or"
    core += f" {number(BUSY / it.redis_us_miss * 1e6)} misses a second."
    return f"{tabled(('what', 'measured', 'where'), rows)}\n\n{core}\n"


def example(told: Files) -> str:
    wanted = Wanted()
    made = plan(_found(told), wanted)
    enough = "are enough" if made.enough else "are too few"
    said = (
        f"{number(wanted.rate)} requests a second on {wanted.machines} machines of {wanted.cores} cores;"
        f" {wanted.memory:.0%} are answered from memory, {wanted.redis:.0%} from Redis, {wanted.misses:.0%} are misses;"
        f"\n{wanted.entries:,} answers of {size(wanted.body)} of JSON, {wanted.connections:,} connections,"
        f" {number(wanted.purges)} purges a second; no file tier.\n"
    )
    rows = [(each.what, each.how, each.so) for each in made.steps]
    return f"{said}\n{tabled(('what', 'reckoned', 'so'), rows)}\n\nThe {wanted.cores} cores of each {enough}.\n"


def cluster(told: Files) -> str:
    found = _found(told)
    rows = []
    for rate, entries in ((5_000, 1_000_000), (20_000, 10_000_000), (100_000, 100_000_000)):
        wanted = Wanted(rate=rate, entries=entries, machines=max(8, rate // 2_500), connections=2 * rate)
        made = plan(found, wanted)
        so = {each.what: each.so for each in made.steps}
        gateways = f"{wanted.machines}, {made.workers} worker{'s' * (made.workers > 1)} each"
        of_redis = (so["CPU of Redis"], so["memory of Redis"], so["nodes of Redis"])
        rows.append((f"{rate:,}/s", f"{entries:,}", gateways, *of_redis))
    head = ("requests", "answers of 4 KB of JSON", "gateways", "CPU of Redis", "memory of Redis", "nodes of 4 GB")
    return f"{tabled(head, rows)}\n"


def capacity(told: Files) -> str:
    it = _found(told)
    rows = [
        (
            "CPU",
            "`listen.workers`",
            f"{number(it.us_memory)} µs a hit from memory, {number(it.us_miss_file)} µs a miss, in a file too",
        ),
        (
            "memory",
            "`memory.max_bytes`, `memory.limit`",
            f"{size(it.process)} a process, bodies and {size(it.entry)} an entry, {size(it.connection)} a connection",
        ),
        ("disk", "`file.max_bytes`", "and what is being written on top: leave a quarter more"),
        ("connections", "`limits.connections`", "and the limit of open files: `ulimit -n`"),
        ("calls upstream", "`upstream.max_in_flight`, `max_queue`", "what the API bears, not what clients want"),
        (
            "Redis",
            "`maxmemory`",
            f"{number(it.packed)} of the size of JSON, and {size(it.redis_around)} an answer",
        ),
    ]
    return f"{tabled(('grows with', 'bounded by', 'measured'), rows)}\n"


def reading(told: Files) -> str:
    """What docs/performance.md says of its table."""
    it = _found(told)
    return _items(
        f"**A miss costs {_times(it.us_miss / it.us_memory)} what a hit from memory does.** What raises the hit ratio"
        " is worth more than anything else: parameters that do not matter (`cachegate suggest`), stale windows,"
        " `refresh_ahead`, memory enough (`cachegate replay ... --plot`).",
        "**The number of rules and of entries** is hardly felt: a hit with 1,000 rules costs"
        f" {100 * it.us_thousand_rules / it.us_ten_rules:.0f} % of what it does with 10, and one among 100,000 entries"
        f" {100 * it.us_many / it.us_few:.0f} % of what it does among 1,000.",
        "**Files** are for what memory does not hold and for restarts. A miss that is stored in one too costs"
        f" {_times(it.us_miss_file / it.us_miss)} what it does without; where Redis holds the same, `--no-file-cache`"
        " saves it.",
        f"**The access log** with the metrics makes a hit {_times(it.us_logged / it.us_unlogged)} as dear. Where nobody"
        " reads it: `--no-access-log`.",
        f"**`listen.fast_lane: false`** makes a hit {_times(it.us_plain / it.us_memory)} as dear: it is for looking for"
        " faults alone.",
        "**Workers** when one core is full, not before: each has a memory of its own, and with two of them an answer"
        f" costs {100 * it.us_two_workers / it.us_one_worker:.0f} % of what it does with one.",
    )


def _items(*texts: str) -> str:
    """A list, in lines of the width of the pages."""
    wide = TextWrapper(120, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False, break_long_words=False)
    return "\n".join(map(wide.fill, texts)) + "\n"


def _times(ratio: float) -> str:
    return f"{ratio:.2g} times" if ratio < 100 else f"{ratio:.0f} times"


def _when(told: Files) -> str:
    bench, load = told["bench"], told["load"]
    return (
        f"Bench: {bench['when']}, {bench['machine']['cpu']}; load: {load['when']}, {load['machine']['cpu']} with"
        f" {load['machine']['cores']} cores."
    )


def _of_load(told: Files) -> str:
    load = told["load"]
    machine = load["machine"]
    return (
        f"{load['when']}, commit {load['commit']}, {machine['cpu']} with {machine['cores']} cores, which clients,"
        " upstream and gateway share."
    )


def _scenario(told: Files, name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next(each for each in told["load"]["scenarios"] if each["name"] == name)
    return found


BLOCKS: dict[str, Callable[[Files], str]] = {
    "one process": one_process,
    "workers": workers,
    "scales": scales,
    "being there": being_there,
    "redis": redis,
    "example": example,
    "cluster": cluster,
    "capacity": capacity,
    "reading": reading,
}
PAGES = tuple(_ROOT / "docs" / name for name in ("scaling.md", "operations.md", "performance.md"))


# -- the command -------------------------------------------------------------------------------------------------------


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="sizing", description="What some traffic wants, by what was measured.")
    asked = {each.name: each for each in fields(Wanted)}
    for name, each in asked.items():
        kind = int if isinstance(each.default, int) else float
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, default=None, help=f"default {each.default}")
    given = {name: value for name, value in vars(parser.parse_args(words)).items() if value is not None}
    if not given:
        rewrite()
        return 0
    try:
        made = plan(_found(files()), Wanted(**given))
    except ValueError as error:
        print(f"sizing: {error}", file=sys.stderr)
        return 2
    width = max(len(each.what) for each in made.steps)
    for step in made.steps:
        print(f"{step.what:<{width}}  {step.so}\n{'':<{width}}    {step.how}")
    print(f"{'enough' if made.enough else 'too few'}: the cores of these machines")
    return 0


if __name__ == "__main__":
    sys.exit(main())
