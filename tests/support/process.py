"""The program itself, in a process and a directory of its own, as an operator runs it.

async with serving(origin, {"rules": [{"pattern": "*", "ttl": 60}]}) as gateway:
    assert (await gateway.get("/a")).verdict == "MISS"
    gateway.configure({"rules": []})        # the file is another one now; a running gateway notices
    await gateway.kill()                    # SIGKILL; leaving the block otherwise is SIGTERM, and has to be exit 0
async with instances(2, origin, {"rules": [...]}, redis.url) as (a, b):     # one over Redis
    ...
"""

import asyncio
import json
import os
import re
import shutil
import signal
from asyncio.subprocess import Process as Subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import aiohttp

from tests.support import forked
from tests.support.gateway import TOKEN, Asker
from tests.support.origin import Origin

REPOSITORY = Path(__file__).parent.parent.parent
WAYS = {
    "WITHOUT_FAST_LANE": ("CACHEGATE__LISTEN__FAST_LANE", "false"),
    "WITHOUT_UVLOOP": ("CACHEGATE__LISTEN__LOOP", "asyncio"),
}
PATIENCE = 30.0  # seconds after which a wait of a test is a failure of the test
HAS_PROC = Path("/proc/self/status").exists()  # memory is read from there
_LISTENS = re.compile(r"cachegate listens on http://[^ ,]+:(\d+)")


class Process(Asker):
    """A gateway that runs. What it wrote is in `log`; its files lie under `directory`."""

    def __init__(
        self, directory: Path, upstream: str, process: Subprocess | forked.Process, session: aiohttp.ClientSession
    ) -> None:
        self.directory = directory
        self.port = 0
        self._upstream = upstream
        self._process = process
        self._session = session

    # asking

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def verdicts(self, *targets: str) -> list[str | None]:
        return [(await self.get(target)).verdict for target in targets]

    async def connected(self) -> None:
        """Wait until it is one with the other instances over Redis."""
        async with asyncio.timeout(PATIENCE):
            while not (await self.admin("GET", "/redis/health")).json["connected"]:
                await asyncio.sleep(0.01)

    async def command(self, *words: str, env: Mapping[str, str] | None = None) -> tuple[int, str, str]:
        """`cachegate <words>` where the gateway was started, aimed at it: exit code, output, errors."""
        return await program(self.directory, *words, "--url", self.url, env=env)

    # what it says and is

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def log(self) -> str:
        return (self.directory / "gateway.log").read_text()

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The log, line by line, where it is JSON."""
        return [json.loads(line) for line in self.log.splitlines()]

    @property
    def access(self) -> list[dict[str, Any]]:
        return [line for line in self.lines if "verdict" in line]

    async def logged(self, text: str, times: int = 1) -> None:
        """Wait until the log holds the text so many times."""
        async with asyncio.timeout(PATIENCE):
            while self.log.count(text) < times:
                await asyncio.sleep(0.01)

    @property
    def rss(self) -> int:
        """Bytes of memory that it holds now."""
        return self._status("VmRSS")

    @property
    def peak(self) -> int:
        """The most bytes of memory that it has held since `forget_peak`."""
        return self._status("VmHWM")

    def forget_peak(self) -> None:
        Path(f"/proc/{self._process.pid}/clear_refs").write_text("5")

    def _status(self, name: str) -> int:
        text = Path(f"/proc/{self._process.pid}/status").read_text()
        found = re.search(rf"^{name}:\s+(\d+) kB$", text, re.MULTILINE)
        assert found is not None
        return int(found[1]) * 1024

    # its life

    def configure(self, settings: Mapping[str, Any] | str) -> None:
        """Replace the YAML file, in one step as an editor does."""
        write(self.directory, settings, self._upstream)

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    async def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self._process.kill()
        await self._process.wait()

    async def stop(self) -> int:
        """SIGTERM; the exit code."""
        if self._process.returncode is None:
            self.signal(signal.SIGTERM)
        return await self.ended()

    async def ended(self) -> int:
        async with asyncio.timeout(PATIENCE):
            return await self._process.wait()

    async def _ready(self, log: Path, start: int) -> None:
        """Wait until it says where it listens, and that it is ready."""
        async with asyncio.timeout(PATIENCE):
            while not (found := _LISTENS.search(log.read_text()[start:])):
                assert self._process.returncode is None, log.read_text()
                await asyncio.sleep(0.01)
            self.port = int(found[1])
            while (await self.get("/cache/ready")).status != 200:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def serving(
    origin: Origin | str,
    settings: Mapping[str, Any] | str | None = None,
    *flags: str,
    directory: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> AsyncIterator[Process]:
    """`cachegate serve` with these settings (YAML text, or data by section), flags and environment, and nothing else.

    Text learns its origin from UPSTREAM_URL, data as a setting beside the others. Given a directory it starts where an
    earlier one ended, or was killed; settings of None then leave the file as it is.
    """
    place = directory or Path(mkdtemp(prefix="cachegate-"))
    url = origin if isinstance(origin, str) else origin.url
    if settings is not None or not (place / "cachegate.yaml").exists():
        write(place, settings or {}, url)
    known = {"ADMIN_TOKEN": TOKEN, "CACHEGATE__LISTEN__DRAIN_DELAY": "0"}
    if not isinstance(settings, Mapping):
        known["UPSTREAM_URL"] = url
    known |= env or {}
    words = ("serve", "--config", "cachegate.yaml", "--port", "0", *flags)
    log = place / "gateway.log"
    before = len(log.read_text()) if log.exists() else 0
    with log.open("ab") as output:
        process = await forked.start(place, environment(known), output.fileno(), *words)
    try:
        async with session() as asking:
            gateway = Process(place, url, process, asking)
            await gateway._ready(log, before)
            yield gateway
            if process.returncode is None:
                assert await gateway.stop() == 0, gateway.log
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        if directory is None:
            shutil.rmtree(place, ignore_errors=True)


@asynccontextmanager
async def launched(directory: Path, *command: str, env: Mapping[str, str]) -> AsyncIterator[Process]:
    """The gateway that this command brings, whatever it runs it in; not ended by more than SIGKILL to the command."""
    log = directory / "gateway.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(*command, cwd=directory, env=env, stdout=output, stderr=output)
    try:
        async with session() as asking:
            gateway = Process(directory, "", process, asking)
            await gateway._ready(log, 0)
            yield gateway
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def children(pid: int) -> list[int]:
    """Processes that this one has started: those that run, and those that nobody has buried."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@asynccontextmanager
async def instances(
    number: int, origin: Origin | str, settings: Mapping[str, Any], *urls: str
) -> AsyncIterator[list[Process]]:
    """So many gateways with these settings that are one over Redis, and know each other: each by its own of these
    urls, the rest by the last."""

    def own(place: int) -> Mapping[str, Any]:
        return {**settings, "redis": {**settings.get("redis", {}), "url": urls[min(place, len(urls) - 1)]}}

    async with AsyncExitStack() as stack:
        async with asyncio.TaskGroup() as starts:
            made = [
                starts.create_task(stack.enter_async_context(serving(origin, own(place)))) for place in range(number)
            ]
        gateways = [each.result() for each in made]
        await asyncio.gather(*(gateway.connected() for gateway in gateways))
        await asyncio.gather(*(_knows(gateway, number) for gateway in gateways))
        yield gateways


async def _knows(gateway: Process, number: int) -> None:
    """Wait until its receipts name so many instances."""
    async with asyncio.timeout(PATIENCE):
        while len((await gateway.admin("POST", "/purge", {"tag": "nobody's"})).json["instances"]) < number:
            await asyncio.sleep(0.02)


async def program(directory: Path, *words: str, env: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    """`cachegate <words>` in this directory: exit code, output, errors."""
    done = await asyncio.to_thread(forked.run, directory, environment({"ADMIN_TOKEN": TOKEN, **(env or {})}), *words)
    return done.returncode, done.stdout, done.stderr


def session() -> aiohttp.ClientSession:
    """A client that sends what it is told to, and gives back what came."""
    return aiohttp.ClientSession(
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent"),
        connector=aiohttp.TCPConnector(limit=0),
    )


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """No setting of whoever runs the tests reaches the program, but the ways that they may ask for (CONTRIBUTING)."""
    ways = {name: value for way, (name, value) in WAYS.items() if os.environ.get(way)}
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1", **ways, **more}


def write(directory: Path, settings: Mapping[str, Any] | str, upstream: str) -> None:
    text = (
        settings if isinstance(settings, str) else json.dumps({"upstream": {"url": upstream}, **settings})
    )  # JSON is YAML
    beside = directory / "cachegate.yaml.new"
    beside.write_text(text)
    beside.replace(directory / "cachegate.yaml")
