"""What the instances hold: memory, descriptors, threads, bytes on disk, every few seconds and when all is quiet."""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.soak.fleet import FILES, MEMORY, OBJECT, Instance

MIB = 1 << 20
RSS_SHARE, RSS_MORE = 1.25, 24 * MIB  # what an instance may hold more when it is quiet again, by share and by process
DESCRIPTORS_MORE = 16  # in each process: connections to the upstream and to Redis come and go
WRITTEN = FILES // 4 + OBJECT  # may lie beside the records: what is being written, and what leaves for it right after
QUIET = "quiet"  # the weather when nobody asks: nothing is being written
LOOKS = 3  # at the directory: what is renamed, or leaves for another, while one looks is seen twice
ROWS, WIDTH = 24, 60  # of the table and the plot
BARS = " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class Sample:
    """One instance at one time (seconds of the run). Bytes and counts over all of its processes."""

    at: float
    instance: int
    processes: int
    rss: int
    descriptors: int
    threads: int
    disk: int
    memory: int  # bytes that the memory tier says it holds
    files: int  # bytes that the file tier says it holds
    requests: int
    weather: str


async def sample(instance: Instance, at: float, weather: str) -> tuple[Sample, list[str]]:
    """What it holds, and which bound it does not keep to. It has to answer /cache/stats."""
    stats = await instance.gateway.stats()
    disk = min([await asyncio.to_thread(_bytes_under, instance.answers) for _ in range(LOOKS)])
    pids = instance.pids
    taken = Sample(
        at=round(at, 1),
        instance=instance.index,
        processes=len(pids),
        rss=sum(_status(pid, "VmRSS") for pid in pids) * 1024,
        descriptors=sum(_descriptors(pid) for pid in pids),
        threads=sum(_status(pid, "Threads") for pid in pids),
        disk=disk,
        memory=stats["memory"]["bytes"],
        files=stats["file"]["bytes"],
        requests=stats["requests"],
        weather=weather,
    )
    return taken, _beyond(taken, sum(stats["verdicts"].values()))


def _beyond(taken: Sample, verdicts: int) -> list[str]:
    quiet, who = taken.weather == QUIET, f"instance {taken.instance}"
    disk = FILES if quiet else FILES + WRITTEN
    bounds = (("memory", taken.memory, MEMORY), ("files", taken.files, FILES), ("disk", taken.disk, disk))
    found = [f"{who}: {name} holds {size}, its bound is {bound}" for name, size, bound in bounds if size > bound]
    if quiet and verdicts != taken.requests:
        found.append(f"{who}: {verdicts} verdicts for {taken.requests} requests")
    return found


def leaked(before: Sample, after: Sample) -> list[str]:
    """What a quiet instance has more of than when it was quiet before."""
    found = []
    most = round(before.rss * RSS_SHARE) + RSS_MORE * after.processes
    if after.rss > most:
        found.append(f"instance {after.instance}: RSS {_mib(after.rss)} MiB after {_mib(before.rss)}")
    if after.descriptors > before.descriptors + DESCRIPTORS_MORE * after.processes:
        found.append(f"instance {after.instance}: {after.descriptors} descriptors after {before.descriptors}")
    if after.threads > before.threads + 8 * after.processes:
        found.append(f"instance {after.instance}: {after.threads} threads after {before.threads}")
    return found


def _status(pid: int, name: str) -> int:
    """A figure of /proc/<pid>/status; 0 when the process is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), 0)


def _descriptors(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0


def _bytes_under(directory: Path) -> int:
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            try:
                total += os.lstat(os.path.join(folder, name)).st_blocks * 512
            except OSError:
                continue  # it left meanwhile
    return total


# -- told --------------------------------------------------------------------------------------------------------------


def table(samples: Sequence[Sample]) -> str:
    """Some rows for each instance, evenly over the run."""
    lines = ["inst    at s  proc  RSS MiB  descr  threads  disk MiB  memory MiB  requests  weather"]
    for index in sorted({each.instance for each in samples}):
        own = [each for each in samples if each.instance == index]
        lines += [_row(each) for each in own[:: max(1, -(-len(own) // ROWS))]]
    return "\n".join(lines)


def _row(of: Sample) -> str:
    return (
        f"{of.instance:4} {of.at:7.1f} {of.processes:5} {_mib(of.rss):>8} {of.descriptors:6} {of.threads:8}"
        f" {_mib(of.disk):>9} {_mib(of.memory):>11} {of.requests:9}  {of.weather}"
    )


def plots(samples: Sequence[Sample]) -> str:
    """RSS and descriptors of each instance over time, a bar from 0 to the most that there was."""
    lines = []
    for index in sorted({each.instance for each in samples}):
        own = [each for each in samples if each.instance == index]
        rss, descriptors = [each.rss / MIB for each in own], [float(each.descriptors) for each in own]
        lines.append(f"{index}  RSS    {_plot(rss)}  {min(rss):.0f} to {max(rss):.0f} MiB")
        lines.append(f"{index}  descr  {_plot(descriptors)}  {min(descriptors):.0f} to {max(descriptors):.0f}")
    return "\n".join(lines)


def _plot(values: Sequence[float]) -> str:
    step = max(1, -(-len(values) // WIDTH))
    most = max(values) or 1.0
    columns = [max(values[start : start + step]) for start in range(0, len(values), step)]
    return "".join(BARS[round(each / most * (len(BARS) - 1))] for each in columns)


def as_data(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    return [asdict(each) for each in samples]


def _mib(size: int) -> str:
    return f"{size / MIB:.1f}"
