"""An instance of several workers, as a program: the parent and the workers are real processes, and what they serve is
just enough to see what they share.

async with crew(tmp_path, workers=3) as it:
    assert (await it.get("/memory/a"))["cache"] == "MISS"
    await it.get("/purge/a")                        # holds on every worker
    os.kill((await it.pids())[0], signal.SIGKILL)   # another takes its place

With `redis=url` it shares its purges with every other that is told of the same.
"""

import asyncio
import json
import os
import secrets
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp

from proxy.entry import Entry, any_variant
from proxy.errors import ConfigError, Problem
from proxy.eventloop import run
from proxy.invalidation.local import LocalLog
from proxy.invalidation.parent_log import ParentLog
from proxy.invalidation.records import Kind, Purge, url_name
from proxy.invalidation.ring import CAPACITY, Ring, shared_memory
from proxy.invalidation.shared import SharedLog
from proxy.message import Reply, Request
from proxy.observe.counters import Counters
from proxy.observe.figures import Figures, TierFigures
from proxy.observe.merging import merged
from proxy.outcome import Tier
from proxy.redis.address import Address
from proxy.redis.dial import Patience
from proxy.redis.keys import Names
from proxy.redis.server import Server
from proxy.server.access_log import Books
from proxy.server.admin.probes import Readiness
from proxy.server.desk import Desk
from proxy.server.front import Doorway, Front
from proxy.server.gate import Gate
from proxy.server.http1 import Limits
from proxy.server.lifecycle import Drain, Port, Signals, serve
from proxy.server.listening import bind
from proxy.server.member import Member
from proxy.server.seat import Seat
from proxy.server.spreading import spread
from proxy.server.workers import Shares
from proxy.store.file import FileStore
from proxy.store.file_dir import Role
from proxy.store.file_keeper import Keeper
from proxy.store.memory import MemoryStore
from proxy.store.tiered import Tiered
from tests.support.door import NoPages, Scripted, reply
from tests.support.entries import content, entry

REPOSITORY = Path(__file__).parent.parent.parent
PATIENCE = 30.0
MIB = 1 << 20
NAMES = Names("t:")


# a worker


def work(seat: Seat) -> int:
    """What runs in each worker's process."""
    if (wish := json.loads(os.environ["CREW"])).get("fail") == "import" and seat.number == wish.get("who", 0):
        raise RuntimeError("cannot even begin")
    return run(_work(seat), seat.loop)


async def _work(seat: Seat) -> int:
    member = await Member.join(seat)
    said = member.kit.common
    try:
        if said.get("fail") == "unfit":
            raise ConfigError((Problem("listen.tls_cert", "cannot be used"),))
        served = Served(member, said)
        await served.file.open()
    except ConfigError as error:
        member.unfit(error)
        await member.leave()
        return 2
    counters, readiness = Counters(), Readiness()
    served.counters = counters
    front = Front(Scripted(served.answer), NoPages(), Doorway("gate"), counters, Books(counters, None))
    port = Port(seat.public, front, Gate(front, counters, Limits(head=60.0, keep_alive=60.0)))
    telling = asyncio.create_task(served.tell())
    try:
        drain = Drain(said["delay"], said["limit"])
        with member.orders.heard():
            return await serve(port, None, readiness, member.orders, drain, reload=member.reload, announce=member.ready)
    finally:
        telling.cancel()
        await served.file.close()
        await member.leave()


class Served:
    """What a worker answers."""

    def __init__(self, member: Member, said: dict[str, Any]) -> None:
        self.member = member
        self.settings = member.kit.live
        self.counters = Counters()
        self.memory = MemoryStore(max_entries=1000, max_bytes=64 * MIB, max_object=MIB, clock=time.time)
        self.tiered = Tiered(self.memory, [], member.log, clock=time.time, spawn=lambda work: work.close())
        self.directory = Path(said["dir"])
        self.file = FileStore(
            self.directory / "answers",
            max_bytes=said["file_max"],
            max_object=MIB,
            clock=time.time,
            role=Role.WORKER,
            workers=member.seat.of,
            tell=partial(member.tell, "files"),
        )
        member.duties |= {"take": self.take, "apply": self.apply, "who": self.who}
        self.number = 0
        self.kept: list[Entry] = []  # what was fetched and is to be looked at again
        self.links: list[dict[str, Any]] = []
        member.log.on_link = self.linked

    async def answer(self, request: Request) -> Reply:
        _, what, *rest = request.path.split("/")
        return reply(json.dumps(await getattr(self, f"do_{what}")(*rest)).encode())

    async def take(self) -> tuple[Counters, Figures]:
        memory = TierFigures(self.memory.entries, self.memory.bytes)
        return self.counters, Figures({Tier.MEMORY: memory, Tier.FILE: TierFigures(max_bytes=1)})

    async def apply(self, settings: dict[str, Any]) -> dict[str, object]:
        if settings.get("refused"):
            raise ConfigError((Problem("refused", "is not to be"),))
        self.settings = settings
        return {"changed": sorted(settings), "restart": []}

    async def who(self) -> int:
        return os.getpid()

    async def tell(self) -> None:
        while True:
            self.member.tell("counted", self.counters)
            await asyncio.sleep(0.05)

    # one page each

    async def do_memory(self, name: str) -> dict[str, Any]:
        """From memory, or fetched at once."""
        kept = entry(f"/{name}", position=self.member.log.position(), keep_until=2**33)
        if (found := self.tiered.near(kept.hash, any_variant)) is not None:
            return {"cache": "HIT", "by": found.entry.phrase, "pid": os.getpid()}
        await self.tiered.put(self._named(kept))
        return {"cache": "MISS", "by": kept.phrase, "pid": os.getpid()}

    async def do_late(self, name: str) -> dict[str, Any]:
        """Fetched, while the test makes a file of that name; what was purged meanwhile must not come in."""
        kept = entry(f"/{name}", position=self.member.log.position(), keep_until=2**33)
        await self._released(name)
        return {"stored": len(await self.tiered.put(self._named(kept)))}

    async def do_purge(self, name: str) -> dict[str, Any]:
        names = (url_name("", f"/{name}"),)
        log = self.member.log
        purge = Purge(secrets.token_hex(8), Kind.URL, names, False, time.time(), log.instance)
        appended = await log.apply(purge)
        return {"number": appended.number, "kept": await appended.kept, "durable": log.durable, "id": purge.id}

    # what instances share

    def linked(self, linked: bool, reason: str) -> None:
        self.links.append({"linked": linked, "reason": reason, "alive": self._alive()})

    def _alive(self) -> list[str]:
        return [kept.parts.target for kept in self.kept if self.member.log.ended(kept) is None]

    async def do_keep(self, *names: str) -> int:
        """Fetch these, to be looked at again."""
        self.kept += [entry(f"/{name}", position=self.member.log.position()) for name in names]
        return len(self.kept)

    async def do_link(self) -> dict[str, Any]:
        """How it stands, as of one moment."""
        log = self.member.log
        told = {"head": log.head, "linked": log.linked, "reason": log.reason, "blind": log.blind, "stamp": log.stamp()}
        return told | {
            "unsent": log.unsent,
            "instance": log.instance,
            "alive": self._alive(),
            "links": self.links,
            "pid": os.getpid(),
        }

    async def do_found(self, epoch: str, number: str, name: str) -> bool | None:
        """Whether an answer with this stamp is good here; None when nobody knows."""
        position = self.member.log.local(int(epoch), int(number))
        return None if position is None else self.member.log.ended(entry(f"/{name}", position=position)) is None

    async def do_spread(self, id: str, seconds: str) -> dict[str, Any]:
        return (await self.member.log.spread(id, float(seconds)))._asdict()

    async def do_file(self, name: str, size: str = "10") -> dict[str, Any]:
        kept = entry(f"/{name}", b"x" * int(size), keep_until=2**33)
        if (found := await self.file.get(kept.hash, any_variant)) is not None:
            assert await content(found) == b"x" * int(size)
            return {"cache": "HIT", "pid": os.getpid()}
        return {"cache": "MISS", "stored": await self.file.put(kept), "pid": os.getpid()}

    async def do_stats(self) -> dict[str, Any]:
        answers = await self.member.ask("take")
        parts = [await self.take(), *answers.values]
        counters, figures = Counters.merged([each for each, _ in parts]), merged([each for _, each in parts])
        return {
            "requests": counters.requests,
            "workers": figures.workers,
            "memory": figures.tiers[Tier.MEMORY].entries,
            "file": figures.tiers[Tier.FILE].entries,
            "file_bytes": figures.tiers[Tier.FILE].bytes,
            "silent": answers.silent,
            "settings": self.settings,
        }

    async def do_pid(self) -> dict[str, Any]:
        return {"pid": os.getpid()}

    async def do_pids(self) -> list[int]:
        return [os.getpid(), *(await self.member.ask("who")).values]

    async def do_reload(self) -> dict[str, Any]:
        try:
            return {"ok": await self.member.reload()}
        except ConfigError as error:
            return {"problems": [str(problem) for problem in error.problems]}

    async def do_hang(self) -> None:
        """This worker's loop runs no more."""
        (self.directory / "hangs").touch()
        time.sleep(600)

    async def do_held(self) -> dict[str, Any]:
        await self._released("held")
        return {"pid": os.getpid()}

    def _named(self, kept: Any) -> Any:
        self.number += 1
        object.__setattr__(kept, "phrase", f"{os.getpid()}.{self.number}")
        return kept

    async def _released(self, name: str) -> None:
        (self.directory / f"{name}.{os.getpid()}").touch()
        while not (self.directory / name).exists():
            await asyncio.sleep(0.005)


# the parent


async def _parent(said: dict[str, Any]) -> int:
    directory, size = Path(said["dir"]), said["workers"]
    bound = bind("127.0.0.1", said["port"])
    log = LocalLog(directory / "journal", shares="redis" in said)
    log.open()
    memory = shared_memory(said.get("ring", CAPACITY))
    shares = Shares(spread(bound, size), [()] * size, memory, "uvloop")
    keeper = Keeper(directory / "answers", max_bytes=said["file_max"], clock=time.time)
    await keeper.open()

    def read() -> dict[str, Any]:
        found: dict[str, Any] = json.loads((directory / "settings.json").read_text())
        if found.get("wrong"):
            raise ConfigError((Problem("settings.json", "is wrong"),))
        return found

    async def take(silent: Sequence[int]) -> tuple[Counters, Figures]:
        return desk.counted(silent), Figures({Tier.FILE: TierFigures(keeper.entries, keeper.bytes)}, workers=0)

    server = _server(said)
    shared = SharedLog(log, server, NAMES, strict=said.get("strict", False)) if server is not None else None
    kept = ParentLog(log, Ring(memory), shared)
    if server is not None:
        server.start()
    kept.start()
    desk = Desk(
        size,
        "tests.support.crew:work",
        shares,
        kept,
        read(),
        read=read,
        common=said,
        says={"take": take},
        hears={"files": keeper.take},
        answer=said["answer"],
    )
    signals = Signals()
    background = [asyncio.create_task(_reloads(desk, signals)), asyncio.create_task(_sweeps(keeper))]
    try:
        drain = Drain(said["delay"], said["limit"])
        with signals.heard():
            return await desk.workers.run(signals, drain, lambda: print("port", bound[0].getsockname()[1], flush=True))
    finally:
        for task in background:
            task.cancel()
        await keeper.close()
        await kept.close()
        if server is not None:
            await server.close()


def _server(said: dict[str, Any]) -> Server | None:
    """The Redis that instances share."""
    url = said.get("redis")
    return Server(Address.parse(url), Patience(1.0, 1.0), lambda state, reason: None) if url else None


async def _reloads(desk: Desk, signals: Signals) -> None:
    while True:
        await signals.reload.wait()
        signals.reload.clear()
        with suppress(ConfigError):
            await desk.reload()


async def _sweeps(keeper: Keeper) -> None:
    while True:
        await asyncio.sleep(0.02)
        await keeper.sweep()


def main() -> int:
    try:
        return asyncio.run(_parent(json.loads(os.environ["CREW"])))
    except ConfigError as error:
        print(error, file=sys.stderr, flush=True)
        return 2


# in the test


class Crew:
    """A running instance. `get` comes over a new connection each time."""

    def __init__(self, process: asyncio.subprocess.Process, directory: Path, port: int, workers: int) -> None:
        self.process = process
        self.workers = workers
        self.directory = directory
        self.port = port
        self.session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))

    async def get(self, path: str, session: aiohttp.ClientSession | None = None) -> Any:
        """A page's JSON."""
        closes = {} if session else {"Connection": "close"}
        url = f"http://127.0.0.1:{self.port}{path}"
        async with (session or self.session).get(url, headers=closes, timeout=aiohttp.ClientTimeout(PATIENCE)) as got:
            assert got.status == 200, (path, got.status)
            return json.loads(await got.read())

    async def until(self, path: str, holds: Any, session: aiohttp.ClientSession | None = None) -> Any:
        """Ask for a page until it says what is wanted."""
        async with asyncio.timeout(PATIENCE):
            while True:
                with suppress(aiohttp.ClientError):
                    if holds(got := await self.get(path, session)):
                        return got
                await asyncio.sleep(0.01)

    async def pids(self) -> list[int]:
        return sorted(await self.until("/pids", lambda pids: len(pids) == self.workers))

    async def files(self, pattern: str, number: int = 1) -> None:
        """Wait for so many files in the directory."""
        async with asyncio.timeout(PATIENCE):
            while len(list(self.directory.glob(pattern))) < number:
                await asyncio.sleep(0.005)

    @asynccontextmanager
    async def connections(self, number: int) -> AsyncIterator[dict[int, list[aiohttp.ClientSession]]]:
        """Kept connections, by the worker that has them; at least one to each."""
        found: dict[int, list[aiohttp.ClientSession]] = {}
        async with AsyncExitStack() as stack:
            while sum(map(len, found.values())) < number or len(found) < self.workers:
                one = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)))
                found.setdefault((await self.get("/pid", one))["pid"], []).append(one)
            yield found

    def configure(self, settings: dict[str, Any]) -> None:
        (self.directory / "settings.json").write_text(json.dumps(settings))

    @property
    def log(self) -> str:
        return (self.directory / "crew.log").read_text()

    async def ended(self) -> int:
        async with asyncio.timeout(PATIENCE):
            return await self.process.wait()

    async def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return await self.ended()


async def start(directory: Path, **said: Any) -> asyncio.subprocess.Process:
    """The program; its output is a pipe, what it logs lies in `crew.log`."""
    told = {
        "workers": 2,
        "port": 0,
        "dir": str(directory),
        "delay": 0.0,
        "limit": 30.0,
        "file_max": 64 * MIB,
        "answer": 4.0,
    }
    told |= said
    if not (directory / "settings.json").exists():
        (directory / "settings.json").write_text("{}")
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), "CREW": json.dumps(told)}
    with (directory / "crew.log").open("ab") as log:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.support.crew"), env=environment, stdout=asyncio.subprocess.PIPE, stderr=log
        )


@asynccontextmanager
async def crew(directory: Path, **said: Any) -> AsyncIterator[Crew]:
    """An instance that serves; ended with the block, if it has not ended before."""
    process = await start(directory, **said)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            line = await process.stdout.readline()
        assert line.startswith(b"port "), (directory / "crew.log").read_text()
        it = Crew(process, directory, int(line.split()[1]), said.get("workers", 2))
        async with it.session:
            yield it
            if process.returncode is None:
                assert await it.stop() == 0, it.log
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


if __name__ == "__main__":
    import logging

    logging.basicConfig(level=logging.INFO)
    sys.exit(main())
