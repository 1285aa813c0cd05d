"""A crowd of instances on one real Redis: `python -m bench.crowd` (`make crowd`).

Each has what an instance has towards the others: a client of its own, a journal linked to the stream, leases and the
Redis tier, with the program's own constants. What is left out is HTTP. All are in this one process, on one core: counts
are what they would be on as many machines, times are upper bounds. The figures go to `bench/results/crowd.json`, and
into docs/scaling.md, which quotes them.
"""

import argparse
import asyncio
import json
import secrets
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from redis.asyncio import Redis

from bench.crowd_member import PATIENCE, Member
from bench.crowd_table import table
from bench.machine import commit, machine, versions
from bench.programs import cores
from bench.redis import redis
from bench.results import PLACE, quoted
from bench.sizing_pages import rewrite
from proxy.entry import KeyParts, Scope
from proxy.invalidation.records import Kind, Purge
from proxy.settings import Settings

LATEST, SOURCE = PLACE / "crowd.json", "bench/results/crowd.json"
PAGE = Path(__file__).parent.parent / "docs" / "scaling.md"


@dataclass(frozen=True, slots=True)
class Spent:
    """What Redis did meanwhile: calls, seconds of CPU, bytes on the wire in and out."""

    calls: int
    cpu: float
    bytes: int


@dataclass(frozen=True, slots=True)
class Told:
    """What came of a run. Times are seconds, one of each purge or key; `memory` is bytes of Redis, and
    `record` what a purge takes of them in the journal."""

    instances: int
    connections: int
    memory: int
    idle_seconds: float
    idle: Spent
    keys: int
    fetches: int
    taken: list[float]
    coalescing: Spent
    purges: int
    applied: list[float]
    purging: Spent
    storm: int
    storm_seconds: float
    record: float
    joined_seconds: float


# -- the run -----------------------------------------------------------------------------------------------------------


async def measure(url: str, instances: int, *, seconds: float, keys: int, purges: int, storm: int) -> Told:
    """Everything, one after the other. RuntimeError where something does not come to its end."""
    async with crowd(url, instances) as members, asking(url) as ask:
        await linked(members)
        facts = await ask("INFO")
        before = await spent(ask)
        await asyncio.sleep(seconds)  # nobody asks for anything: what it costs to be there
        idle = since(before, await spent(ask))
        fetches, taken, coalescing = await coalesced(members, ask, keys)
        applied, purging = await purged(members, ask, purges)
        storm_seconds = await stormed(members, storm)
        record = await recorded(members[0], ask)
        began = time.monotonic()
        async with crowd(url, 1) as late:
            await linked([*members, *late])
            joined_seconds = time.monotonic() - began
        return Told(
            instances=instances,
            connections=int(facts["connected_clients"]) - 1,
            memory=int(facts["used_memory"]),
            idle_seconds=seconds,
            idle=idle,
            keys=keys,
            fetches=fetches,
            taken=taken,
            coalescing=coalescing,
            purges=purges,
            applied=applied,
            purging=purging,
            storm=storm,
            storm_seconds=storm_seconds,
            record=record,
            joined_seconds=joined_seconds,
        )


@asynccontextmanager
async def crowd(url: str, instances: int) -> AsyncIterator[list[Member]]:
    settings = Settings()
    async with AsyncExitStack() as stack:
        members = [Member(url, settings) for _ in range(instances)]
        for member in members:
            stack.push_async_callback(member.close)
            member.start()
        yield members


async def coalesced(members: list[Member], ask: Any, keys: int) -> tuple[int, list[float], Spent]:
    """All want the same missing thing at once, so many times: fetches, seconds until the last has it."""
    origin: list[str] = []
    taken: list[float] = []
    before = await spent(ask)
    for number in range(keys):
        parts = KeyParts(Scope("origin", "", "http", "GET", "a.example"), f"/{number}", None)
        began = time.monotonic()
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*(member.wants(parts, origin) for member in members))
        taken.append(time.monotonic() - began)
    return len(origin), taken, since(before, await spent(ask))


async def purged(members: list[Member], ask: Any, purges: int) -> tuple[list[float], Spent]:
    """One purge after the other, each by another instance: seconds until all have applied it, by its receipt."""
    applied: list[float] = []
    before = await spent(ask)
    for number in range(purges):
        member = members[number % len(members)]
        purge = made(member, f"tag-{number}")
        began = time.monotonic()
        await member.shared.append(purge)
        spread = await member.shared.spread(purge.id, PATIENCE)
        applied.append(time.monotonic() - began)
        if not spread.complete or len(spread.instances) < len(members):
            raise RuntimeError(f"only {len(spread.instances)} of {len(members)} have applied purge {number}")
    return applied, since(before, await spent(ask))


async def stormed(members: list[Member], purges: int) -> float:
    """So many purges at once, by all of them: seconds until all are at the same record."""
    began = time.monotonic()
    await asyncio.gather(
        *(
            members[number % len(members)].shared.append(made(members[number % len(members)], f"storm-{number}"))
            for number in range(purges)
        )
    )
    await linked(members)
    return time.monotonic() - began


async def recorded(member: Member, ask: Any) -> float:
    """Bytes of Redis for each record of the journal."""
    stream = member.names.stream
    return float(await ask("MEMORY", "USAGE", stream, "SAMPLES", 0)) / int(await ask("XLEN", stream))


def made(member: Member, tag: str) -> Purge:
    return Purge(secrets.token_hex(8), Kind.TAG, (tag,), False, time.time(), member.shared.instance)


async def linked(members: list[Member]) -> None:
    """Wait until all are linked, at the same record, have told all, and know of each other."""
    names = {member.shared.instance for member in members}

    def well() -> bool:
        stamps = {member.shared.stamp() for member in members}
        return (
            len(stamps) == 1
            and None not in stamps
            and not any(member.shared.unsent for member in members)
            and all(names <= member.shared.told("").instances.keys() for member in members)
        )

    await until(well)


async def until(holds: Any) -> None:
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110 - what is waited for gives no sign
            await asyncio.sleep(0.005)


# -- what Redis says ---------------------------------------------------------------------------------------------------


@asynccontextmanager
async def asking(url: str) -> AsyncIterator[Any]:
    """A client beside those of the crowd."""
    client = Redis.from_url(url)
    try:
        yield client.execute_command
    finally:
        await client.aclose()


async def spent(ask: Any) -> Spent:
    stats, cpu = await ask("INFO", "stats"), await ask("INFO", "cpu")
    wire = int(stats["total_net_input_bytes"]) + int(stats["total_net_output_bytes"])
    used = float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"])
    return Spent(int(stats["total_commands_processed"]), used, wire)


def since(before: Spent, after: Spent) -> Spent:
    return Spent(after.calls - before.calls - 2, after.cpu - before.cpu, after.bytes - before.bytes)


# -- the command -------------------------------------------------------------------------------------------------------


async def _runs(sizes: list[int], seconds: float) -> list[Mapping[str, Any]]:
    runs: list[Mapping[str, Any]] = []
    for size in sizes:
        with TemporaryDirectory() as place, redis(Path(place) / "redis", cores()) as server:
            told = await measure(
                f"redis://127.0.0.1:{server.port}", size, seconds=seconds, keys=20, purges=100, storm=1000
            )
            runs.append(asdict(told))
            print(f"{size} instances: done", file=sys.stderr)
    return runs


def main() -> None:
    said = argparse.ArgumentParser(prog="python -m bench.crowd", description="a crowd of instances on one Redis")
    said.add_argument("--instances", type=int, action="append", help="how many; may be given again (1, 10 and 100)")
    said.add_argument("--seconds", type=float, default=10.0, help="to look at what it costs to be there")
    given = said.parse_args()
    runs = asyncio.run(_runs(given.instances or [1, 10, 100], given.seconds))
    where = {
        "when": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "commit": commit(),
        "cpu": f"one core of an {machine().cpu}",
        "redis": versions()["Redis"],
    }
    print(table(runs, where))
    if given.instances is None:
        LATEST.write_text(json.dumps({"machine": where, "runs": runs}, indent=1) + "\n")
        PAGE.write_text(quoted(PAGE.read_text(), table(runs, where), SOURCE))
        rewrite()


if __name__ == "__main__":
    main()
