"""What a scenario takes of the machine: CPU and memory of each gateway, of Redis, and of this process, a few times a
second. /proc and INFO tell it; nothing that is watched does more for it than answer one INFO."""

import asyncio
import os
import resource
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path
from time import time

from redis.exceptions import RedisError

from bench.reading import parsed_stat, parsed_status
from tests.load.arena import Arena
from tests.support.process import children

_EVERY = 0.2  # seconds
RUNNER, REDIS = "clients and upstream", "Redis"
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """Of a process with all its children: seconds of CPU so far, and bytes that it holds now."""

    cpu: float
    memory: int


@dataclass(frozen=True, slots=True)
class RedisUsage(Usage):
    """As INFO has it: `memory` is used_memory, `clients` are connections but ours, `keys` those of all databases."""

    clients: int
    keys: int


@dataclass(frozen=True, slots=True)
class Sample:
    """At one moment (Unix seconds). `runner` is this process: the clients and the upstream. `redis` is None where
    there is none, or none that answers. `called`: the name of the gateway, where there is one after the other."""

    at: float
    gateways: tuple[Usage, ...]
    runner: Usage
    redis: RedisUsage | None
    called: str = ""

    def usages(self) -> dict[str, Usage]:
        """By the name that the report gives each."""
        named: dict[str, Usage] = {
            self.called or f"gateway {number}": each for number, each in enumerate(self.gateways, 1)
        }
        return named | {RUNNER: self.runner} | ({REDIS: self.redis} if self.redis else {})


@asynccontextmanager
async def watched(field: Arena) -> AsyncIterator[list[Sample]]:
    """The samples, which grow until the block is left; the first and the last are those of its ends."""
    samples = [await sample(field)]

    async def watch() -> None:
        while True:
            await asyncio.sleep(_EVERY)
            samples.append(await sample(field))

    watching = asyncio.create_task(watch())
    try:
        yield samples
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
    samples.append(await sample(field))


async def sample(field: Arena) -> Sample:
    redis = await redis_usage(field)
    return Sample(time(), tuple(usage(gateway.pid) for gateway in field.gateways), own(), redis)


def usage(pid: int) -> Usage:
    """Of the process and those it has started; who has ended counts in the CPU of the one that waited for it."""
    told = [each for each in map(_told, _family(pid)) if all(each)]
    ticks = sum(parsed_stat(stat).ticks for stat, _ in told)
    return Usage(ticks / _TICKS, sum(parsed_status(status, "VmRSS") for _, status in told))


def own() -> Usage:
    """Of this process alone: what it has started is watched for itself."""
    cpu = resource.getrusage(resource.RUSAGE_SELF)
    return Usage(cpu.ru_utime + cpu.ru_stime, parsed_status(_told(os.getpid())[1], "VmRSS"))


def _family(pid: int) -> list[int]:
    try:
        return [pid, *(each for child in children(pid) for each in _family(child))]
    except OSError:  # it has ended
        return []


def _told(pid: int) -> tuple[str, str]:
    try:
        place = Path("/proc", str(pid))
        return (place / "stat").read_text(errors="replace"), (place / "status").read_text(errors="replace")
    except OSError:
        return "", ""


async def redis_usage(field: Arena) -> RedisUsage | None:
    if field.redis is None or not field.redis.running:
        return None
    try:
        info = await field.redis.command("INFO")
    except (RedisError, OSError):
        return None
    keys = sum(each["keys"] for name, each in info.items() if name.startswith("db") and name[2:].isdecimal())
    cpu = info["used_cpu_user"] + info["used_cpu_sys"]
    return RedisUsage(cpu, info["used_memory"], info["connected_clients"] - 1, keys)


# -- figures -----------------------------------------------------------------------------------------------------------


def names(samples: Sequence[Sample]) -> list[str]:
    """Of all that were seen, in the order of the report."""
    return list(dict.fromkeys(name for each in samples for name in each.usages()))


def stretches(samples: Sequence[Sample], name: str) -> list[list[Sample]]:
    """The samples that have it, apart where it was away."""
    return [list(those) for there, those in groupby(samples, lambda each: name in each.usages()) if there]


def spent(samples: Sequence[Sample], name: str) -> Iterator[tuple[float, float, float]]:
    """Of each interval: when it ended (Unix seconds), how long it was, and the seconds of CPU that went into it. What
    was started anew in between counts from nothing."""
    for before, after in pairwise(samples):
        if (last := after.usages().get(name)) is not None:
            first = before.usages().get(name, Usage(0, 0)).cpu
            yield after.at, after.at - before.at, last.cpu - (first if first <= last.cpu else 0)


def cores(samples: Sequence[Sample], name: str) -> list[tuple[float, float]]:
    """When, and how many cores it has used until then since the sample before: 1 is one whole core."""
    return [(at, cpu / seconds) for at, seconds, cpu in spent(samples, name) if seconds > 0]


def memory(samples: Sequence[Sample], name: str) -> list[tuple[float, float]]:
    """When, and the MB that it held."""
    return [(each.at, used.memory / 1e6) for each in samples if (used := each.usages().get(name))]


def figures(samples: Sequence[Sample], limit: int) -> dict[str, float]:
    """Of the whole time: the most memory, in MB, and the mean of the cores; of the gateways, of the clients with the
    upstream, and of Redis. `limit` is the memory.limit of a gateway, in bytes."""
    seconds = samples[-1].at - samples[0].at or 1.0
    used = {name: sum(cpu for _, _, cpu in spent(samples, name)) / seconds for name in names(samples)}
    most = max(each.memory for one in samples for each in one.gateways)
    told = {
        "gateway_mb": most / 1e6,
        "memory_limit": most / limit,
        "gateway_cores": sum(used[name] for name in used if name not in (RUNNER, REDIS)),
        "runner_mb": max(each.runner.memory for each in samples) / 1e6,
        "runner_cores": used[RUNNER],
    }
    if redis := [each.redis for each in samples if each.redis is not None]:
        told |= {
            "redis_mb": max(each.memory for each in redis) / 1e6,
            "redis_cores": used[REDIS],
            "redis_clients": max(each.clients for each in redis),
            "redis_keys": max(each.keys for each in redis),
        }
    return told
