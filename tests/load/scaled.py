"""One gateway with one worker, with two, with four, each time with the same load for each worker."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from time import time
from typing import Any

from tests.load.arena import Arena, arena
from tests.load.clients import PATIENCE, Connection, connected
from tests.load.scenarios import Scenario
from tests.load.watching import Sample, usage, watched
from tests.support.process import REPOSITORY


@dataclass(frozen=True, slots=True)
class Grown:
    """What came of it. `excused`: figures that this machine cannot tell, and why."""

    figures: dict[str, float] = field(default_factory=dict)
    excused: dict[str, str] = field(default_factory=dict)
    marks: tuple[tuple[float, str], ...] = ()
    samples: list[Sample] = field(default_factory=list)


async def grown(scenario: Scenario, cores: int | None = None) -> Grown:
    """`rate_N`: answers a second of N workers. `us_N`: microseconds of CPU of the gateway for each answer.
    `efficiency_N`: the rate in shares of N times that of one, which wants a core for each worker and each process of
    clients, one for each worker; `cores` are those of this machine."""
    cores = cores or len(os.sched_getaffinity(0))
    figures, excused = dict[str, float](), dict[str, str]()
    marks, samples = list[tuple[float, str]](), list[Sample]()
    answers = hits = errors = 0
    for workers in scenario.workers:
        async with arena(scenario, workers) as place, watched(place) as seen:
            await _warm(place, workers)
            marks.append((time(), "is asked"))
            told, cpu = await _pounded(place, workers)
        samples += [replace(each, called=f"{workers} worker{'s' * (workers > 1)}") for each in seen]
        rate = sum(each["answers"] / each["seconds"] for each in told)
        here = sum(each["answers"] for each in told)
        answers, hits = answers + here, hits + sum(each["hits"] for each in told)
        errors += sum(each["errors"] for each in told)
        figures |= {f"rate_{workers}": rate, f"us_{workers}": cpu / here * 1e6}
        if workers == 1:
            continue
        if cores < 2 * workers:
            excused[f"efficiency_{workers}"] = (
                f"cores do not allow: {workers} workers and {workers} processes of clients want {2 * workers},"
                f" and there are {cores}"
            )
        else:
            figures[f"efficiency_{workers}"] = rate / (workers * figures["rate_1"])
    shares = {"answers": float(answers), "errors": errors / answers, "hits": hits / answers}
    return Grown(shares | figures, excused, tuple(marks), samples)


async def _warm(place: Arena, workers: int) -> None:
    """Every worker has all of it in memory: over connections to all of them nothing is taken out of a file any more."""
    async with connected(place.ports, 8 * workers) as clients, asyncio.timeout(2 * PATIENCE):
        calm = -1
        while (hits := (await place.gateways[0].admin("GET", "/stats")).json["file"]["hits"]) != calm:
            calm = hits
            await asyncio.gather(*(_all_of(client, place.scenario.paths) for client in clients))


async def _all_of(client: Connection, paths: int) -> None:
    for number in range(paths):
        await client.ask(f"/paths/{number}")


async def _pounded(place: Arena, workers: int) -> tuple[list[dict[str, Any]], float]:
    """What each process of clients tells, and the seconds of CPU that the gateway took meanwhile."""
    (gateway,), scenario = place.gateways, place.scenario
    async with _clients(gateway.port, scenario, workers) as clients:
        before = usage(gateway.pid).cpu
        for client in clients:
            assert client.stdin is not None
            client.stdin.write(f"{scenario.seconds}\n".encode())
        told = [json.loads(await _line(client)) for client in clients]
        return told, usage(gateway.pid).cpu - before


@asynccontextmanager
async def _clients(port: int, scenario: Scenario, number: int) -> AsyncIterator[list[Process]]:
    """So many processes of clients, whose connections are open."""
    words = (sys.executable, "-m", "tests.load.pounding", *map(str, (port, scenario.clients, scenario.paths)))
    started: list[Process] = []
    try:
        while len(started) < number:
            started.append(await asyncio.create_subprocess_exec(*words, cwd=REPOSITORY, stdin=PIPE, stdout=PIPE))
        for client in started:
            assert await _line(client) == b"open\n"
        yield started
        for client in started:
            await client.wait()
    finally:
        for client in started:
            if client.returncode is None:
                client.kill()
            await client.wait()


async def _line(client: Process) -> bytes:
    assert client.stdout is not None
    async with asyncio.timeout(PATIENCE * 2):
        return await client.stdout.readline()
