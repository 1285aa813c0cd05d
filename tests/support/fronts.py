"""One of several caches in front of an origin, asked in the same way whichever it is.

async with site("nginx", tmp_path, "proxy_cache_lock on;") as at:
    at.origin.answer("/a", headers=FRESH, body=numbered())
    assert (await at.get("/a")).body == (await at.get("/a")).body

What is said to it are lines of its own language: directives of nginx, VCL (and options that begin with `-`), or for
Cachegate one `option: value` each, as the pages have it: with a dot it is a setting, without one an option of a rule
`*`. `rules` stands for itself, and what begins with `cachegate` is a command that the front does not hear of.
"""

import asyncio
import functools
import itertools
import json
import re
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.support import programs
from tests.support.origin import Headers, Origin, Recorded, render
from tests.support.programs import TOKEN, Program
from tests.support.rawtcp import RawAnswer, raw
from tests.support.redis_servers import redis_server

PROGRAMS = {"nginx": "nginx", "Varnish": "varnishd"}  # by the heading of their column
VERSIONS = {"nginx": "1.22", "Varnish": "7.1"}  # those that the pages speak of; another may do otherwise
OURS = "Cachegate"
HOST = "api.example.com"
FRESH = (("Cache-Control", "max-age=600"),)
OVER = 2.2  # s: a lifetime of 1 s is over by clocks that count whole seconds too
# s: what has not come by then, with nothing else to do, waits for something. It is less than the 5 s after which nginx
# waits no more for another's fetch.
SOON = 3.0
BRIEF = (("Cache-Control", "max-age=1"),)


class Site:
    """A front, its origin, and more fronts like it when they are asked for."""

    def __init__(self, name: str, directory: Path, lines: Sequence[str], origin: Origin, stack: AsyncExitStack) -> None:
        self.name = name
        self.origin = origin
        self.directory = directory
        self.commands = [line for line in lines if line.startswith("cachegate ")]  # for whoever wants them typed
        self._lines = [line for line in lines if line not in self.commands]
        self._stack = stack
        self._numbers = itertools.count()
        self._redis: str | None = None
        self._own = AsyncExitStack()  # what runs as the first front
        self.front: Program

    async def start(self) -> None:
        self.front = await self._begin(self._own, "0")

    async def end(self) -> None:
        await self._own.aclose()

    async def restart(self) -> None:
        """End the program in good order, and start it again where it ran."""
        port = self.front.port
        await self.end()
        self.front = await self._begin(self._own, "0", port=port)

    async def another(self) -> Program:
        """A second one like it, on another machine as it were: nothing is common but what its lines name."""
        return await self._begin(self._stack, f"other-{next(self._numbers)}")

    async def get(self, target: str = "/a", *fields: str, on: Program | None = None) -> RawAnswer:
        return await self.ask("GET", target, *fields, on=on)

    async def ask(
        self, method: str, target: str, *fields: str, body: bytes | None = None, on: Program | None = None
    ) -> RawAnswer:
        """One request on a connection of its own; `fields` are whole lines."""
        lines = [f"{method} {target} HTTP/1.1", f"Host: {HOST}", *fields]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        async with raw((on or self.front).port) as connection:
            await connection.send("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (body or b""))
            return await connection.response(method=method)

    async def purge(self, target: str, *fields: str) -> RawAnswer:
        """PURGE, with the right to do it where that is asked for."""
        right = (f"Authorization: Bearer {TOKEN}",) if self.name == OURS else ()
        return await self.ask("PURGE", target, *fields, *right)

    async def admin(self, page: str, body: Mapping[str, Any]) -> RawAnswer:
        """A page of Cachegate under /cache."""
        right = f"Authorization: Bearer {TOKEN}"
        return await self.ask("POST", f"/cache{page}", right, body=json.dumps(body).encode())

    async def _begin(self, stack: AsyncExitStack, place: str, port: int | None = None) -> Program:
        directory = self.directory / place
        directory.mkdir(exist_ok=True)
        if self.name == OURS:
            front = stack.enter_context(programs.gateway(directory, self.origin, await self._settings(), port=port))
            if self._redis is not None:
                await self._connected(front)
            return front
        begin = programs.nginx if self.name == "nginx" else programs.varnish
        return stack.enter_context(begin(directory, self.origin.url, "\n".join(self._lines), port=port))

    async def _connected(self, front: Program) -> None:
        """Wait until it is one with the others over Redis."""
        right = f"Authorization: Bearer {TOKEN}"
        async with asyncio.timeout(programs.PATIENCE):
            while not json.loads((await self.get("/cache/redis/health", right, on=front)).body)["connected"]:
                await asyncio.sleep(0.01)

    async def _settings(self) -> dict[str, Any]:
        """The lines as settings; the documented address of Redis stands for a server of our own."""
        made: dict[str, Any] = {}
        rule: dict[str, Any] = {}
        for line in self._lines:
            for path, value in yaml.safe_load(line).items():
                section, _, name = path.partition(".")
                if path == "rules":
                    made[path] = value
                elif name:
                    made.setdefault(section, {})[name] = value
                else:
                    rule[path] = value
        if "redis" in made:
            if self._redis is None:
                self._redis = (await self._stack.enter_async_context(redis_server())).url
            made["redis"]["url"] = self._redis
        if rule:
            made["rules"] = [{"pattern": "*", **rule}]
        return made


@asynccontextmanager
async def site(name: str, directory: Path, *lines: str) -> AsyncIterator[Site]:
    """The program of this name with these lines, before an origin of its own."""
    async with AsyncExitStack() as stack, Origin() as origin:
        made = Site(name, directory, lines, origin, stack)
        await made.start()
        stack.push_async_callback(made.end)
        yield made


def missing(name: str, *lines: str) -> str:
    """Why this program cannot be run here, or not with these lines, or ""."""
    wanted = PROGRAMS.get(name)
    if wanted and not programs.located(wanted):
        return f"there is no {wanted} here (apt-get install {wanted.removesuffix('d')})"
    if wanted and (version := _version(programs.located(wanted))) != VERSIONS[name]:
        return f"the pages speak of {name} {VERSIONS[name]}; here is {version}"
    modules = set(re.findall(r"^import (\w+);", "\n".join(lines), re.MULTILINE)) if name == "Varnish" else ()
    without = [module for module in modules if not [*Path("/usr").glob(f"lib/**/varnish/vmods/libvmod_{module}.so")]]
    return f"there is no vmod {', '.join(without)} here (apt-get install varnish-modules)" if without else ""


@functools.cache
def _version(path: str) -> str:
    """Such as 1.22, by what the program says of itself."""
    done = subprocess.run([path, "-V"], capture_output=True, text=True, check=True)
    found = re.search(r"(?:nginx/|varnish-)(\d+\.\d+)", done.stdout + done.stderr)
    return found[1] if found else "one that does not say its version"


def numbered() -> Callable[[Recorded], bytes]:
    """A body that says the how-manieth it is: equal bodies are one fetch."""
    numbers = itertools.count(1)
    return lambda request: b"%d" % next(numbers)


def confirming(fields: Headers, renewed: Headers | None = None) -> Callable[[Recorded], bytes]:
    """200, or 304 with the `renewed` fields where the request has a condition."""

    def said(request: Recorded) -> bytes:
        if request.header("if-none-match") is None:
            return render(request, 200, fields, b"whole", chunked=False, close=False)
        return render(request, 304, renewed or fields, b"", chunked=False, close=False)

    return said


async def fetches(at: Site, number: int) -> int:
    """How many fetches it took to answer so many who asked at once for what nobody had."""
    at.origin.answer("/a", headers=FRESH, body=numbered())
    gate = at.origin.hold("/a")
    waiting = [asyncio.ensure_future(at.get()) for _ in range(number)]
    await at.origin.arrived("/a")
    try:  # all of them, where each is for itself
        async with asyncio.timeout(SOON):
            await at.origin.until(lambda: at.origin.count() == number)
    except TimeoutError:
        pass
    gate.release()
    assert all([(await each).status == 200 for each in waiting])
    return at.origin.count()
