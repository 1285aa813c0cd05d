"""The life of the process: exclusive ports, certificates, a SIGTERM that drains and a second one that does not
(contract "Dashboard and drain"), reload by SIGHUP and by the file, what aiohttp must be. The gateway as a whole is
tested with the wiring; here a front serves a scripted answerer."""

import asyncio
import os
import resource
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme

from proxy.errors import ConfigError, Problem
from proxy.gateway import Gateway
from proxy.message import Reply, Request
from proxy.observe.counters import Counters
from proxy.server.admin.pages import Pages
from proxy.server.admin.port import admin_front, aliases
from proxy.server.admin.probes import Readiness, probe_pages
from proxy.server.admin.purge import PurgeVerb
from proxy.server.admin.rights import Rights
from proxy.server.front import Doorway, Front
from proxy.server.gate import Gate
from proxy.server.http1 import Limits
from proxy.server.lifecycle import Drain, Port, Signals, serve
from proxy.server.listening import ServerTls, allowed_files, bind, check_parser, raise_nofile, urls
from proxy.server.watching import digest
from proxy.settings import settings_from
from tests.support.door import Answer, NoPages, Scripted, reply
from tests.support.gateway import settings
from tests.support.rawtcp import Broken, raw

REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@dataclass
class Running:
    """A gateway that runs in this process."""

    port: int
    admin_port: int
    signals: Signals
    readiness: Readiness
    counters: Counters
    task: asyncio.Task[int]
    reloads: list[str] = field(default_factory=list)
    reloaded: asyncio.Event = field(default_factory=asyncio.Event)
    fail: Exception | None = None

    async def reload(self) -> None:
        self.reloads.append("again")
        self.reloaded.set()
        if self.fail is not None:
            raise self.fail

    async def next_reload(self) -> None:
        async with asyncio.timeout(20):
            await self.reloaded.wait()
        self.reloaded.clear()

    async def ended(self) -> int:
        async with asyncio.timeout(20):
            return await asyncio.shield(self.task)


@asynccontextmanager
async def running(
    script: Answer,
    drain: Drain | None = None,
    *,
    tls: ServerTls | None = None,
    watched: Path | None = None,
    head: float = 60.0,
) -> AsyncIterator[Running]:
    counters, readiness, signals = Counters(), Readiness(), Signals()
    front = Front(Scripted(script), NoPages(), Doorway("gate"), counters, lambda *what: None)
    public = Port(bind("127.0.0.1", 0), front, Gate(front, counters, Limits(head=head, keep_alive=60.0)), tls)
    purge = PurgeVerb(None)  # type: ignore[arg-type]
    pages = Pages(
        probe_pages(readiness), Rights("right"), prefix="/cache", purge=purge, aliases=aliases("/cache"), alone=True
    )
    back = admin_front(pages, Doorway("gate"))
    admin = Port(bind("127.0.0.1", 0), back, Gate(back, Counters(), Limits()))
    numbers = [port.sockets[0].getsockname()[1] for port in (public, admin)]
    started = asyncio.Event()
    run = Running(*numbers, signals, readiness, counters, asyncio.create_task(asyncio.sleep(0, 0)))

    async def served() -> int:
        with signals.heard():
            return await serve(
                public, admin, readiness, signals, drain or Drain(0.0, 20.0),
                reload=lambda: run.reload(), watched=watched, announce=started.set,
            )  # fmt: skip

    ours = {number: signal.getsignal(number) for number in signals.meanings}
    run.task = asyncio.create_task(served())
    try:
        await started.wait()
        yield run
    finally:
        signals.end()
        signals.end()
        await run.ended()
        for number, handler in ours.items():
            signal.signal(number, handler)


async def ready(run: Running) -> int:
    async with raw(run.admin_port) as client:
        return (await client.get("/readyz", host="anything")).status


class Held:
    """An answerer that answers when the test says so."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.go = asyncio.Event()

    async def __call__(self, request: Request) -> Reply:
        self.asked.set()
        await self.go.wait()
        return reply(b"late")


# -- draining -----------------------------------------------------------------------------------------------------


async def test_a_drain_ends_what_is_under_way_and_takes_no_more() -> None:
    held = Held()
    async with running(held) as run, raw(run.port) as busy, raw(run.port) as idle:
        assert await ready(run) == 200
        await busy.send(REQUEST)
        await held.asked.wait()
        os.kill(os.getpid(), signal.SIGTERM)
        assert await idle.closed() == "fin"
        assert await ready(run) == 503  # the admin port answers until the end
        with pytest.raises(OSError, match="Connect"):
            async with raw(run.port):
                pass
        assert not run.task.done()
        held.go.set()
        got = await busy.response()
        assert (got.body, got.header("connection"), await busy.closed()) == (b"late", "close", "fin")
        assert await run.ended() == 0
    assert (run.counters.connections, run.counters.in_flight) == (0, 0)


async def test_connections_are_still_taken_for_a_while() -> None:
    async with running(lambda request: reply(b"ok"), Drain(20.0, 20.0)) as run:
        run.signals.end()
        await asyncio.sleep(0)
        while await ready(run) != 503:
            pass
        async with raw(run.port) as client:
            got = await client.get("/")
            assert (got.body, got.header("connection")) == (b"ok", "close")


async def test_an_upload_under_way_comes_to_its_end() -> None:
    async def echo(request: Request) -> Reply:
        assert request.body is not None
        return reply(b"".join([chunk async for chunk in request.body]))

    async with running(echo) as run, raw(run.port) as client:
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello")
        while not run.counters.in_flight:
            await asyncio.sleep(0)
        run.signals.end()
        while await ready(run) != 503:
            pass
        await client.send(b"world")
        assert (await client.response()).body == b"helloworld"
        assert await run.ended() == 0


async def test_what_outlasts_the_drain_is_cut() -> None:
    held = Held()
    async with running(held, Drain(0.0, 0.05)) as run, raw(run.port) as client:
        await client.send(REQUEST)
        await held.asked.wait()
        run.signals.end()
        assert await run.ended() == 0
        with pytest.raises(Broken):
            await client.head()
    assert run.counters.in_flight == 0


async def test_a_second_signal_ends_at_once() -> None:
    held = Held()
    async with running(held, Drain(20.0, 20.0)) as run, raw(run.port) as client:
        await client.send(REQUEST)
        await held.asked.wait()
        os.kill(os.getpid(), signal.SIGINT)
        while not run.signals.stop.is_set():
            await asyncio.sleep(0)
        os.kill(os.getpid(), signal.SIGTERM)
        assert await run.ended() == 0


async def test_who_is_told_again_waits_for_no_fetch(tmp_path: Path) -> None:
    done = []

    async def fetch() -> None:
        await asyncio.sleep(0.1)
        done.append(1)

    for told in (False, True):
        gateway, at_once = Gateway(settings_from(settings("http://127.0.0.1:9", tmp_path))), asyncio.Event()
        await gateway.start()
        gateway.tasks.spawn(fetch())
        closing = asyncio.create_task(gateway.close(at_once))
        await asyncio.sleep(0)  # it may be told again while it closes
        if told:
            at_once.set()
        await closing
    assert done == [1]


async def endless(request: Request) -> Reply:
    async def content() -> AsyncIterator[bytes]:
        yield b"hello"
        await asyncio.Event().wait()

    return reply(content())


@pytest.mark.parametrize("again", [True, False], ids=["told twice", "drain over"])
async def test_what_is_cut_is_no_whole_answer(again: bool) -> None:
    """A body that ends with its connection ends by a reset (RFC 9112 8; invariant 2)."""
    async with running(endless, Drain(0.0, 20.0 if again else 0.05)) as run, raw(run.port) as client:
        await client.send(b"GET / HTTP/1.0\r\n\r\n")
        await client.reader.readuntil(b"hello")
        run.signals.end()
        if again:
            run.signals.end()
        assert await client.closed() == "rst"
        assert await run.ended() == 0


async def test_what_a_slow_reader_has_not_taken_yet_is_waited_for_and_then_cut() -> None:
    size = 8_000_000  # more than the sockets hold
    for limit, ending in ((20.0, "fin"), (0.05, "rst")):
        async with running(lambda request: reply(bytes(size)), Drain(0.0, limit)) as run, raw(run.port) as client:
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await client.send(b"GET / HTTP/1.0\r\n\r\n")
            while not run.counters.in_flight:
                await asyncio.sleep(0)
            run.signals.end()
            if ending == "rst":
                assert await run.ended() == 0
            client.writer.transport.resume_reading()  # type: ignore[attr-defined]
            got = await client.response()
            assert (len(got.body) == size, await client.closed()) == (ending == "fin", ending)


# -- reloading ----------------------------------------------------------------------------------------------------


async def test_sighup_reloads_and_an_error_keeps_the_gateway_running(caplog: pytest.LogCaptureFixture) -> None:
    async with running(lambda request: reply(b"ok")) as run, raw(run.port) as client:
        os.kill(os.getpid(), signal.SIGHUP)
        await run.next_reload()
        run.fail = ConfigError((Problem("x.yaml:1:1", "unknown key"),))
        run.signals.reload.set()
        await run.next_reload()
        run.fail = ZeroDivisionError()
        run.signals.reload.set()
        await run.next_reload()
        assert (await client.get("/")).body == b"ok"
        assert len(run.reloads) == 3
    assert "x.yaml:1:1: unknown key" in caplog.text


async def test_the_file_s_new_content_reloads(tmp_path: Path) -> None:
    """Written in place, replaced by an editor, swapped as Kubernetes swaps a ConfigMap; the same content is none."""
    (tmp_path / "..v1").mkdir()
    (tmp_path / "..v1" / "c.yaml").write_text("a: 1")
    (tmp_path / "..data").symlink_to("..v1")
    file = tmp_path / "c.yaml"
    file.symlink_to("..data/c.yaml")
    async with running(lambda request: reply(b"ok"), watched=file) as run:
        version = 1
        while not run.reloads:  # nothing tells when the watch is set
            version += 1
            (tmp_path / f"..v{version}").mkdir()
            (tmp_path / f"..v{version}" / "c.yaml").write_text(f"a: {version}")
            (tmp_path / "..data_tmp").symlink_to(f"..v{version}")
            (tmp_path / "..data_tmp").rename(tmp_path / "..data")
            await asyncio.sleep(0.3)
        run.reloaded.clear()
        (tmp_path / "other").write_text("not ours")
        fresh = tmp_path / "c.tmp"
        fresh.write_text("a: text")
        fresh.rename(file)
        await run.next_reload()
        file.unlink()
        file.write_text("a: more text")
        await run.next_reload()
        assert len(run.reloads) == 3


def test_what_holds_no_settings_is_no_new_content(tmp_path: Path) -> None:
    """Emptied by who is about to write it; a pipe, which would be waited for; of a large one, no more than is read."""
    file = tmp_path / "c.yaml"
    assert digest(file) is None
    file.write_text("a: 1")
    assert digest(file) not in (None, digest(tmp_path))
    file.write_text("")
    assert digest(file) is None
    file.unlink()
    os.mkfifo(file)
    assert digest(file) is None
    file.unlink()
    with file.open("w") as large:
        large.truncate(1 << 40)
    assert digest(file) is not None


# -- sockets ------------------------------------------------------------------------------------------------------


def test_a_port_is_taken_once() -> None:
    (sock,) = bind("127.0.0.1", 0)
    port = sock.getsockname()[1]
    with pytest.raises(ConfigError, match=rf"listen\.port: port {port} on 127\.0\.0\.1 is in use"):
        bind("127.0.0.1", port)
    with pytest.raises(ConfigError, match=r"admin\.port"):
        bind("127.0.0.1", port, "admin")
    sock.close()
    for again in bind("127.0.0.1", port):
        again.close()


def test_a_shared_port_is_in_use_too() -> None:
    """SO_REUSEPORT of another gateway does not let us in."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(ConfigError, match="in use"):
            bind("127.0.0.1", other.getsockname()[1])


def test_localhost_is_one_port_on_all_its_addresses() -> None:
    sockets = bind("localhost", 0)
    assert len({sock.getsockname()[1] for sock in sockets}) == 1
    for sock in sockets:
        sock.close()


@pytest.mark.parametrize("host", ["no.such.host.invalid", "203.0.113.7"])
def test_a_host_that_is_not_ours(host: str) -> None:
    with pytest.raises(ConfigError, match=r"listen\.(host|port)"):
        bind(host, 0)


def test_urls() -> None:
    (sock,) = bind("127.0.0.1", 0)
    assert urls([sock], tls=True) == [f"https://127.0.0.1:{sock.getsockname()[1]}"]
    sock.close()


def test_files_are_kept_back_from_clients() -> None:
    room = raise_nofile()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert soft == hard or hard == resource.RLIM_INFINITY
    assert 0 < room < 1 << 20
    assert raise_nofile(taken=10) == max(room - 10, soft // 2 + soft % 2)
    assert allowed_files() >= soft


def issue(authority: trustme.CA, name: str, cert: Path, key: Path) -> None:
    made = authority.issue_cert("127.0.0.1", common_name=name)
    cert.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
    key.write_bytes(made.private_key_pem.bytes())


async def test_a_handshake_has_as_long_as_a_head(tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    issue(trustme.CA(), "one", cert, key)
    hello = b"\x16\x03\x01\x02\x00\x01"  # a TLS handshake begins
    async with running(lambda request: reply(b"ok"), tls=ServerTls(cert, key), head=0.2) as run:
        for sent in (b"", hello):
            async with raw(run.port) as client:
                await client.send(sent)
                assert await client.closed() in ("fin", "rst")


async def test_certificates_are_read_again(tmp_path: Path) -> None:
    authority, cert, key = trustme.CA(), tmp_path / "cert.pem", tmp_path / "key.pem"
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    async def name(port: int) -> str:
        async with raw(port, tls=trusting) as client:
            assert (await client.get("/")).body == b"ok"
            subject = client.writer.get_extra_info("peercert")["subject"]
            return next(value for part in subject for kind, value in part if kind == "commonName")

    issue(authority, "one", cert, key)
    tls = ServerTls(cert, key)
    async with running(lambda request: reply(b"ok"), tls=tls) as run:
        assert await name(run.port) == "one"
        issue(authority, "two", cert, key)
        tls.reload()
        assert await name(run.port) == "two"
        cert.write_text("nonsense")
        with pytest.raises(ConfigError, match=r"listen\.tls_cert"):
            tls.reload()
        assert await name(run.port) == "two"


def test_a_certificate_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.pem"):
        ServerTls(tmp_path / "none.pem", None)


# -- aiohttp ------------------------------------------------------------------------------------------------------


def test_the_python_parser_is_refused() -> None:
    check_parser()
    script = (
        "from proxy.server.listening import check_parser\n"
        "from proxy.errors import ConfigError\n"
        "check_parser(allow_python_parser=True)\n"
        "try:\n    check_parser()\nexcept ConfigError as e:\n    print(e)\n"
    )
    environment = {**os.environ, "AIOHTTP_NO_EXTENSIONS": "1"}
    told = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True,
        cwd=Path(__file__).parent.parent,
    )  # fmt: skip
    assert "--allow-python-parser" in told.stdout
