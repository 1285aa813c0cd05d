"""Instances over one Redis, each in a directory and on a port that stay the same over its starts and ends."""

import asyncio
import os
import re
import resource
import shutil
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import aiohttp

from tests.soak.weather import Weather
from tests.support.faults import ReservedPort
from tests.support.gateway import TOKEN
from tests.support.persons import RULES
from tests.support.process import Process, environment, session, write

MEMORY = 2 << 20  # bytes: so little that what is asked for does not fit
FILES = 16 << 20
OBJECT = 4 << 20  # the largest answer that is kept on disk
LIMITS: dict[str, Any] = {
    "memory": {"max_bytes": MEMORY, "max_object": 256 << 10},
    "file": {"max_bytes": FILES, "max_object": OBJECT},
    "limits": {"body": 8 << 20},
    "timeouts": {"keep_alive": 5},
    "cache": {"cleanup_interval": 5},
    "log": {"access": False, "format": "json"},
}
UPSTREAM: dict[str, Any] = {"first_byte_timeout": 2, "read_timeout": 2, "breaker": {"open_for": 0.5, "max_open": 2}}
QUOTED = 25  # lines of a traceback that are told


class Instance:
    """One gateway: `process` while it runs. Its log is read as it is written: a traceback is a finding."""

    def __init__(self, index: int, workers: int, upstream: str, settings: Mapping[str, Any], weather: Weather) -> None:
        self.index = index
        self.workers = workers
        self.directory = Path(mkdtemp(prefix=f"cachegate-soak-{index}-"))
        self.warnings: Counter[str] = Counter()
        self.starts = 0
        self._upstream = upstream
        self._weather = weather
        self._reserved = ReservedPort()
        self.settings = {
            **settings,
            "upstream": {"url": upstream, **UPSTREAM},
            "listen": {"workers": workers, "drain": 3, "drain_delay": 0.2},
        }
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._session: aiohttp.ClientSession | None = None

    @property
    def port(self) -> int:
        return self._reserved.number

    @property
    def name(self) -> str:
        """What the receipts of the others call it."""
        return (self.directory / ".cachegate" / "instance").read_text().strip()

    @property
    def answers(self) -> Path:
        """Where the records of the file tier lie."""
        return self.directory / ".cachegate" / "answers"

    @property
    def gateway(self) -> Process:
        assert self._process is not None
        assert self._session is not None
        gateway = Process(self.directory, self._upstream, self._process, self._session)
        gateway.port = self.port
        return gateway

    @property
    def pids(self) -> list[int]:
        """Of the parent first, then of its workers; nothing when it is away."""
        if self._process is None or self._process.returncode is not None:
            return []
        return [self._process.pid, *_children(self._process.pid)]

    # its life

    async def start(self) -> None:
        """Start it where it ended or was killed, and wait until it is ready."""
        write(self.directory, self.settings, self._upstream)
        command = (sys.executable, "-m", "proxy", "serve", "--config", "cachegate.yaml", "--port", str(self.port))
        self._process = await asyncio.create_subprocess_exec(
            *command, cwd=self.directory, env=environment({"ADMIN_TOKEN": TOKEN}), stdout=PIPE, stderr=STDOUT
        )
        log, self._session = self.directory / "gateway.log", session()
        log.touch()
        before = log.stat().st_size
        self._reading = asyncio.create_task(self._read(self._process))
        await self.gateway._ready(log, before)
        self.starts += 1

    async def kill(self) -> None:
        """SIGKILL, its workers with it, as when the machine is out of memory for all of them."""
        for pid in reversed(self.pids):
            with _gone():
                os.kill(pid, signal.SIGKILL)
        await self._over()

    async def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        return await self._over()

    async def _over(self) -> int:
        assert self._process is not None
        async with asyncio.timeout(30):
            code = await self._process.wait()
        if self._reading is not None:
            await asyncio.wait([self._reading], timeout=5)
        if self._session is not None:
            await self._session.close()
        return code

    async def end(self) -> None:
        """Kill it and forget everything."""
        if self._process is not None:
            await self.kill()
        self._reserved.release()
        shutil.rmtree(self.directory, ignore_errors=True)

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        """The log comes through a pipe, so that it goes on when no file of the gateway can grow."""
        assert process.stdout is not None
        quoting = 0
        with (self.directory / "gateway.log").open("ab", buffering=0) as log:
            while line := await process.stdout.readline():
                log.write(line)
                text = line.decode(errors="replace").rstrip()
                if "Traceback" in text:
                    self._weather.found("traceback", f"instance {self.index}: {text}")
                    quoting = QUOTED
                elif quoting:
                    quoting = quoting - 1 if text.startswith(" ") else 0
                    self._weather.tell(f"      {text}")
                if found := re.search(r'"level":"(warning|error|critical)".*?"message":"([^"0-9;]{0,60})', text):
                    self.warnings[f"{found[1]}: {found[2]}"] += 1

    # what is done to it

    def no_room(self, none: bool) -> None:
        """Whether every write to a file fails from now on, of its workers too."""
        for pid in self.pids:
            with _gone():
                _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (0 if none else hard, hard))


@contextmanager
def _gone() -> Iterator[None]:
    try:
        yield
    except ProcessLookupError:
        pass


def _children(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            after = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(after[1]) == pid and after[0] != "Z":
            found.append(int(stat.parent.name))
    return sorted(found)


@asynccontextmanager
async def fleet(
    workers: Sequence[int], upstream: str, echo: str, redis: str, weather: Weather
) -> AsyncIterator[list[Instance]]:
    """Instances that have so many workers each, all of them started and one over Redis."""
    sockets = {"name": "sockets", "pattern": "/ws*", "upstream": "echo", "mode": "off"}
    settings = {**LIMITS, "rules": [sockets, *RULES], "upstreams": {"echo": {"url": echo}}, "redis": {"url": redis}}
    made = [Instance(index, number, upstream, settings, weather) for index, number in enumerate(workers)]
    try:
        await asyncio.gather(*(each.start() for each in made))
        yield made
    finally:
        await asyncio.gather(*(each.end() for each in made), return_exceptions=True)
