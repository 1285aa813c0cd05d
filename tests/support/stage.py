"""A place where pages of the documentation are acted out, line by line, as a reader would.

async with stage(tmp_path) as scene:
    for block in blocks(page):
        await scene.play(block)

A line that starts the gateway (`cachegate --upstream ...`, `make run`) starts it; it is the one that the lines after it
ask. Before the first such line one is there as if it had been started so. Ports of the page stand for free ones,
`https://api.example.com` for an origin that answers everything, 6379 for a Redis of our own. What `purge` and `clear`
ask on a terminal is answered yes.
"""

import asyncio
import gzip
import itertools
import json
import os
import re
import shlex
import signal
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

from tests.support.gateway import TOKEN
from tests.support.origin import Origin, Recorded
from tests.support.pages import ROOT, Block, Typed, typed
from tests.support.process import PATIENCE, WAYS
from tests.support.redis_servers import RedisServer, redis_server

API = "https://api.example.com"
CONFIG = "config/cachegate.yaml"
_PORT = re.compile(r"((?:127\.0\.0\.1|localhost|0\.0\.0\.0):|--(?:admin-)?port[ =]|\bport: |PORT=)(\d{4,5})\b")
_SERVES = re.compile(r"(?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?cachegate (?:serve\b|--(?!version|help))|make run\b")
_ENDLESS = re.compile(r"(?:\.venv/bin/)?cachegate monitor\b|curl .*(?:-N\b|/cache/events)")
_LISTENS = re.compile(r"cachegate listens on http://[^ ,]+:(\d+)")
_COMBINED = '203.0.113.7 - - [21/Nov/2026:10:00:0{n} +0000] "GET /users/{n} HTTP/1.1" 200 120 "-" "curl/8"\n'
_HAR = {"log": {"version": "1.2", "creator": {"name": "x", "version": "1"}, "entries": []}}
_RULES = 'rules:\n  - {name: new, pattern: "*", ttl: 60}\n'
# What the lines of pages read and do not make: a name, and what such a file holds.
FILES: dict[str, str] = {
    "access.log": "".join(_COMBINED.format(n=n % 4) for n in range(9)),
    "urls.txt": "http://127.0.0.1:4000/users/1\nhttp://127.0.0.1:4000/users/2\n",
    "new.yaml": _RULES,
    "traffic.har": json.dumps(_HAR),
}


class Stage:
    """Where it is played: `directory` is the reader's working directory, `url` what the gateway of its lines is at."""

    def __init__(self, directory: Path, origin: Origin, stack: AsyncExitStack) -> None:
        self.directory = directory
        self.origin = origin
        self.redis: RedisServer | None = None
        self.gateway: Process | None = None
        self.acts: dict[str, Callable[[], Awaitable[None] | None]] = {}  # what happens between blocks, each once
        self._stack = stack
        self._configured = False  # whether there was a file when the gateway was started
        self._ports: dict[str, int] = {}
        self.environment = {
            "PATH": f"{directory / 'bin'}:{os.environ['PATH']}",
            "HOME": str(directory),
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "PORT": str(self.port("4000")),
            "CACHEGATE__LISTEN__DRAIN_DELAY": "0",
            **{name: value for way, (name, value) in WAYS.items() if os.environ.get(way)},
        }

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port('4000')}"

    @property
    def log(self) -> str:
        return (self.directory / "gateway.log").read_text()

    def port(self, documented: str) -> int:
        """The port that stands for one of the page."""
        if documented not in self._ports:
            with socket.create_server(("127.0.0.1", 0)) as probe:
                self._ports[documented] = int(probe.getsockname()[1])
        return self._ports[documented]

    async def play(self, block: Block) -> None:
        """Do what the block says; AssertionError with its place where something else comes of it."""
        if "act" in block.marks:
            done = self.acts.pop(block.marks["act"])()
            if done is not None:
                await done
        for line in block.marks.get("first", "").splitlines():
            await self._type(Typed(line), block)
        if "file" in block.marks:
            told = self.log.count("reloaded: ") if self._reads(block.marks["file"]) else None
            self.write(block.marks["file"], await self._here(block.text))
            if told is not None:
                await self.logged("reloaded: ", times=told + 1)
        elif block.runs:
            for line in typed(block):
                await self._type(line, block)

    async def until(self, line: str) -> None:
        """Type the line again and again, `{n}` another number each time, until its exit code is 0."""
        async with asyncio.timeout(PATIENCE):
            for number in itertools.count():
                if (await self.run(line.format(n=number)))[0] == 0:
                    return

    async def logged(self, text: str, line: str = "true", times: int = 1) -> None:
        """Wait until the log of the gateway holds the text so many times, and type the line meanwhile."""
        async with asyncio.timeout(PATIENCE):
            for number in itertools.count():
                if self.log.count(text) >= times:
                    return
                await self.run(line.format(n=number))

    def write(self, name: str, text: str) -> None:
        """A file of the reader's; in one step, as an editor does."""
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.new")
        beside.write_text(text)
        beside.replace(path)

    async def start(self, line: str = f"cachegate --upstream {API}") -> None:
        """End the gateway that runs, and start this one in its place."""
        await self.stop()
        words = _as_make_does(await self._here(line))
        log = self.directory / "gateway.log"
        behind = {"UPSTREAM_URL": self.origin.url}  # what a file that the page speaks of would have said
        self._configured = (self.directory / CONFIG).exists()
        with log.open("wb") as output:
            self.gateway = await asyncio.create_subprocess_exec(
                *("bash", "-c", f"exec env {words}"),
                cwd=self.directory,
                env=(behind if "--upstream" not in words and "--demo" not in words else {}) | self.environment,
                stdout=output,
                stderr=output,
            )
        async with asyncio.timeout(PATIENCE):
            while not _LISTENS.search(self.log):
                assert self.gateway.returncode is None, f"{line}\n{self.log}"
                await asyncio.sleep(0.01)

    def _reads(self, name: str) -> bool:
        """Whether the gateway that runs has this file, and so takes a change of it."""
        return name == CONFIG and self._configured and self.gateway is not None and self.gateway.returncode is None

    async def stop(self) -> None:
        """SIGTERM, and wait; nothing where none runs."""
        if self.gateway is None or self.gateway.returncode is not None:
            return
        self.gateway.terminate()
        async with asyncio.timeout(PATIENCE):
            await self.gateway.wait()

    async def run(self, line: str, *, shown: bool = False) -> tuple[int, str]:
        """A line in a shell: its exit code, and all that it printed. To curl an answer of 400 or more is a failure,
        unless the page shows what comes."""
        environment = self.environment | ({"CURL_HOME": str(self.directory / "bin")} if shown else {})
        made = await asyncio.create_subprocess_exec(
            *("bash", "-o", "pipefail", "-c", await self._here(line)),
            cwd=self.directory,
            env=environment | ({"ADMIN_TOKEN": TOKEN} if "$ADMIN_TOKEN" in line else {}),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        assert made.stdout is not None
        try:
            async with asyncio.timeout(PATIENCE):
                if _ENDLESS.match(line):  # it is alive when it says something; then it is told to end
                    out = await made.stdout.read(1)
                    alive = made.returncode is None
                    with suppress(ProcessLookupError):
                        os.killpg(made.pid, signal.SIGINT)
                    out += await made.stdout.read()
                    code = await made.wait()
                    return 0 if alive else code or 1, out.decode()
                out, _ = await made.communicate()
        finally:
            if made.returncode is None:
                os.killpg(made.pid, signal.SIGKILL)
                await made.wait()
        assert made.returncode is not None
        return made.returncode, out.decode()

    async def _type(self, typed: Typed, block: Block) -> None:
        line = typed.line
        if CONFIG in line and not (self.directory / CONFIG).exists():
            self.write(CONFIG, "log: {level: info}\n")  # what a page speaks of and has not shown
        if _SERVES.match(line):
            await self.start(line)
            return
        if line.startswith("make "):
            line = f"make --dry-run --directory {shlex.quote(str(ROOT))} {line.removeprefix('make ')}"
        elif self.gateway is None and re.search(r"cachegate|curl|:4000", line):
            await self.start()
        if re.match(r"(?:\.venv/bin/)?cachegate (?:purge|clear)\b", line) and not re.search("--yes|--dry-run", line):
            line = re.sub(r"\bcachegate (purge|clear)", r"cachegate \1 --yes", line)
        code, said = await self.run(line, shown=typed.shown is not None)
        if typed.shown is None or typed.code is not None:
            assert code == (typed.code or 0), f"{block}: {line}\nexit {code}\n{said}"
        if typed.shown:
            said = said.replace(str(self.directory), "/srv/gateway")
            wrong = differing(typed.shown, said.splitlines())
            assert wrong is None, f"{block}: {line}\nthe page says {wrong!r}, but it says\n{said}"

    async def _here(self, text: str) -> str:
        """The same with what is there instead of what the page names."""
        if "6379" in text and self.redis is None:
            self.redis = await self._stack.enter_async_context(redis_server())
            self._ports["6379"] = self.redis.port
        text = _PORT.sub(lambda found: f"{found[1]}{self.port(found[2])}", text)
        return text.replace(API, self.origin.url)


@asynccontextmanager
async def stage(directory: Path) -> AsyncIterator[Stage]:
    """An empty directory with `cachegate` on the path, the files that pages read, and an origin that answers all."""
    async with AsyncExitStack() as stack:
        origin = await stack.enter_async_context(Origin())
        origin.otherwise([("Cache-Control", "max-age=60"), ("Content-Type", "application/json")], _anything)
        scene = Stage(directory, origin, stack)
        scene._ports["8080"] = origin.port
        _furnish(scene)
        try:
            yield scene
        finally:
            await scene.stop()


def _furnish(scene: Stage) -> None:
    shim = f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m proxy "$@"\n'
    for place in ("bin", ".venv/bin"):
        scene.write(f"{place}/cachegate", shim)
        (scene.directory / place / "cachegate").chmod(0o755)
    scene.write("bin/.curlrc", "silent\nshow-error\nmax-time = 20\n")
    scene.write(".curlrc", "silent\nshow-error\nmax-time = 20\nfail-with-body\n")
    for name, text in FILES.items():
        scene.write(name, text.replace("127.0.0.1:4000", f"127.0.0.1:{scene.port('4000')}"))
    (scene.directory / "access.log.gz").write_bytes(gzip.compress(FILES["access.log"].encode()))
    scene.write(".cachegate/admin.token", TOKEN)  # as an earlier start has left it
    listed = f"<urlset><url><loc>{scene.origin.url}/users/1</loc></url></urlset>"
    scene.origin.answer("/sitemap.xml", body=listed.encode())


def _anything(request: Recorded) -> bytes:
    return json.dumps({"path": request.path}).encode()


def _as_make_does(line: str) -> str:
    """`make run UPSTREAM=... ARGS="..."` as the command that the Makefile makes of it."""
    if not line.startswith("make run"):
        return line
    given = dict(word.split("=", 1) for word in shlex.split(line, comments=True)[2:])
    where = f"--upstream {shlex.quote(given['UPSTREAM'])}" if "UPSTREAM" in given else "--demo"
    return f"cachegate serve {where} {given.get('ARGS', '')}"


# -- what is shown -----------------------------------------------------------------------------------------------------


def differing(shown: tuple[str, ...], said: list[str]) -> str | None:
    """The first line that is shown and was not said in its place; None: all were. Figures, dates and ids are another
    at each run, a line of `...` stands for any lines, and columns are as wide as they like."""
    rest = [_masked(line) for line in said if line.strip()]
    anywhere = False
    for line in shown:
        if line.strip() in ("...", "…"):
            anywhere = True
        elif line.strip():
            wanted = _masked(line)
            while anywhere and rest and rest[0] != wanted:
                rest.pop(0)
            if not rest or rest.pop(0) != wanted:
                return line
            anywhere = False
    return rest[0] if rest and not anywhere else None


def _masked(line: str) -> str:
    line = re.sub(r"^(HTTP/\d\.\d) (\d)(\d\d)", r"\1 \2-\3", line.strip().removesuffix("."))  # a status is no figure
    line = re.sub(r"\b(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d \w{3} \d{4} [\d:]+ GMT", "DATE", line)
    line = re.sub(r"\bcachegate-[0-9a-f]{4}\b", "cachegate-#", line)
    line = re.sub(r"(?i)(?<![\w-])(?=[a-z]*\d)[0-9a-f]{8,64}(?![\w])", "#", line)
    line = re.sub(r"(?<![\w.])(?:\d+(?:\.\d+)?(?:ms|[smhd])\b ?)+", "TIME ", line)
    line = re.sub(r"(?<![-\d])\d+(?:[.,]\d+)*", "#", line)
    return re.sub(r"\s+", " ", line)
