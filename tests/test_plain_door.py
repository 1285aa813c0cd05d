"""Plain requests that somebody has to wait for, without aiohttp: the connection's own rules hold for them too."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import get_args

import pytest
import trustme

from proxy.eventloop import EventLoop, run
from proxy.server.connections import HELD, Connection
from tests.support.gateway import running_with_lane as running
from tests.support.origin import FIN, Origin
from tests.support.rawtcp import raw

FRESH = [("Cache-Control", "max-age=60")]
HOST = b"Host: site.example\r\n"


def asked(target: str = "/a", more: bytes = b"") -> bytes:
    return b"GET %b HTTP/1.1\r\n" % target.encode() + HOST + more + b"\r\n"


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.005)


async def test_what_comes_behind_waits_in_its_order_and_within_bounds() -> None:
    async with Origin() as origin, running(origin) as gateway, raw(gateway.port) as client:
        for path in ("/slow", "/a", "/up"):
            origin.answer(path, headers=FRESH, body=path.encode())
        gate = origin.hold("/slow")
        upload = bytes(3_000_000)
        client.writer.write(asked("/slow"))
        await origin.arrived("/slow")
        client.writer.write(b"POST /up HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % len(upload) + upload)
        client.writer.write(asked("/a") * 3)
        connection = next(iter(gateway.gate.connections))
        await until(lambda: len(connection._held) >= HELD)  # type: ignore[attr-defined]
        assert len(connection._held) < HELD + (1 << 18)  # type: ignore[attr-defined]
        assert origin.count("/up") == 0
        gate.release()
        assert [(await client.response()).body for _ in range(5)] == [b"/slow", b"/up", b"/a", b"/a", b"/a"]
        assert origin.last.body == upload if origin.last.target == "/up" else origin.count("/a") == 1


async def test_more_than_may_wait_is_read_later() -> None:
    async with (
        Origin() as origin,
        running(origin, {"limits": {"pipelined": 10_000}}) as gateway,
        raw(gateway.port) as client,
    ):
        for path in ("/slow", "/a"):
            origin.answer(path, headers=FRESH, body=path.encode())
        await gateway.get("/a", {"Host": "site.example"})
        gate = origin.hold("/slow")
        number = 4 * HELD // len(asked())
        client.writer.write(asked("/slow") + asked() * number)
        await origin.arrived("/slow")
        connection = next(each for each in gateway.gate.connections if each._under_way)  # type: ignore[attr-defined]
        await until(lambda: len(connection._held) >= HELD)  # type: ignore[attr-defined]
        gate.release()
        assert (await client.response()).body == b"/slow"
        for _ in range(number):
            assert (await client.response()).body == b"/a"
        assert origin.count("/a") == 1


async def test_an_answer_may_take_longer_than_a_connection_may_be_idle() -> None:
    short = {"timeouts": {"keep_alive": 0.2, "head": 0.2}}
    async with Origin() as origin, running(origin, short) as gateway, raw(gateway.port) as client:
        origin.answer("/a", body=b"at last")
        gate = origin.hold("/a")
        await client.send(asked())
        await origin.arrived("/a")
        await client.send(b"GET /a HT")  # the rest of this head is due once its turn has come
        await asyncio.sleep(0.7)
        gate.release()
        assert (await client.response()).body == b"at last"
        assert (await client.response()).status == 408


async def test_an_idle_connection_is_closed_after_such_an_answer() -> None:
    short = {"timeouts": {"keep_alive": 0.3}}
    async with Origin() as origin, running(origin, short) as gateway, raw(gateway.port) as client:
        for number in range(4):  # longer than keep_alive on the whole
            origin.answer(f"/{number}", body=b"here")
            assert (await client.get(f"/{number}")).body == b"here"
            await asyncio.sleep(0.15)
        assert await client.closed() == "fin"


async def test_idleness_begins_with_the_end_of_an_answer() -> None:
    short = {"timeouts": {"keep_alive": 0.3}}
    async with Origin() as origin, running(origin, short) as gateway, raw(gateway.port) as client:
        origin.answer("/a", body=b"at last")
        gate = origin.hold("/a")
        await client.send(asked())
        await origin.arrived("/a")
        await asyncio.sleep(0.5)
        gate.release()
        assert (await client.response()).body == b"at last"
        await asyncio.sleep(0.2)
        assert (await client.get("/b")).status == 404


async def test_a_client_that_leaves_ends_its_request() -> None:
    async with Origin() as origin, running(origin, {"cache": {"unmatched": "bypass"}}) as gateway:
        origin.answer("/a", body=b"for nobody")
        gate = origin.hold("/a")
        async with raw(gateway.port) as client:
            await client.send(asked() + asked("/b"))
            await origin.arrived("/a")
        counters = gateway.gateway.counters
        await until(lambda: counters.in_flight == 0)
        gate.release()
        assert (await gateway.stats())["verdicts"]["BYPASS"] == 1
        assert origin.count("/b") == 0
        await until(lambda: not gateway.gateway.front.busy)


@pytest.mark.parametrize("hold", [True, False])
async def test_a_drain_waits_for_it_and_keeps_no_connection(hold: bool) -> None:
    async with Origin() as origin, running(origin) as gateway, raw(gateway.port) as client:
        origin.answer("/a", body=b"whole")
        gate = origin.hold("/a")
        await client.send(asked())
        await origin.arrived("/a")
        draining = asyncio.create_task(gateway.gateway.front.drained())
        await asyncio.sleep(0)
        if hold:
            await client.send(asked("/b"))
        assert not draining.done()
        gate.release()
        answer = await client.response()
        assert (answer.body, answer.header("connection")) == (b"whole", "close")
        await draining
        await until(lambda: not gateway.gate.connections)  # though the client has not closed its end
        assert origin.count("/b") == 0


async def test_who_reads_nothing_of_such_an_answer_is_cut() -> None:
    async with Origin() as origin, running(origin, {"timeouts": {"send_idle": 0.3}}) as gateway:
        origin.answer("/large", body=bytes(20_000_000))
        async with raw(gateway.port) as client:
            client.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await client.send(asked("/large"))
            await until(lambda: gateway.gateway.counters.in_flight == 1)
            await until(lambda: gateway.gateway.counters.in_flight == 0)
        assert (await gateway.stats())["requests"] == 1


async def test_a_client_that_says_no_goodbye_over_tls_takes_no_deadline_from_others() -> None:
    authority = trustme.CA()
    ours, theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(ours)
    authority.configure_trust(theirs)
    short = {"timeouts": {"keep_alive": 0.2, "head": 0.3}}
    async with Origin() as origin, running(origin, short) as gateway:
        origin.script("/a", b"HTTP/1.1 200 OK\r\n\r\nits end is that of the connection", FIN)
        server = await asyncio.get_running_loop().create_server(gateway.gate, "127.0.0.1", 0, ssl=ours)
        port = server.sockets[0].getsockname()[1]
        async with raw(port, tls=theirs) as silent:
            assert (await silent.get("/b", method="OPTIONS")).status == 404  # aiohttp has answered here before
            await silent.send(asked())
            await origin.arrived("/a")
            silent.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await until(lambda: gateway.gateway.counters.in_flight == 0)
            await asyncio.sleep(0.5)  # longer than it may be idle
            async with raw(port, tls=theirs) as other:
                await other.send(b"GET /a HT")
                assert (await other.response()).status == 408
            async with asyncio.timeout(20):
                await gateway.gate.drained()
            silent.writer.transport.abort()  # type: ignore[attr-defined]
        server.close()


# -- who aiohttp has, and who it has had -------------------------------------------------------------------------------

BY_AIOHTTP = b"Connection: keep-alive, x\r\n"


@pytest.mark.parametrize("loop", get_args(EventLoop))
def test_the_first_request_of_a_connection_needs_no_aiohttp(loop: EventLoop) -> None:
    """Its task may not have begun when the first bytes come."""

    async def story() -> None:
        async with Origin() as origin, running(origin) as gateway:
            origin.answer("/a", headers=FRESH, body=b"x")
            before = gateway.gate.requests_count
            for _ in range(3):
                with socket.create_connection(("127.0.0.1", gateway.port)) as client:
                    client.sendall(asked())  # before the gateway has its turn
                    client.setblocking(False)
                    assert (await asyncio.get_running_loop().sock_recv(client, 1000)).startswith(b"HTTP/1.1 200")
            assert gateway.gate.requests_count == before

    run(story(), loop)


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("behind", [asked(), asked() + asked(more=BY_AIOHTTP) + asked()], ids=["one", "three"])
async def test_what_comes_while_aiohttp_comes_back_needs_no_aiohttp(behind: bytes, turns: int) -> None:
    async with Origin() as origin, running(origin) as gateway, raw(gateway.port) as client:
        origin.answer("/a", headers=FRESH, body=b"x")
        await client.send(asked())
        await client.response()
        (connection,) = (each for each in gateway.gate.connections if isinstance(each, Connection))
        before = gateway.gate.requests_count
        connection.data_received(asked(more=BY_AIOHTTP))
        while gateway.gate.requests_count == before:
            await asyncio.sleep(0)
        for _ in range(turns):
            await asyncio.sleep(0)
        connection.data_received(behind)
        for _ in range(1 + behind.count(b"GET")):
            assert (await client.response()).body == b"x"
        by_aiohttp = 2 if BY_AIOHTTP in behind else 0  # what lies behind one that is aiohttp's is aiohttp's too
        assert gateway.gate.requests_count - before == 1 + by_aiohttp


async def test_what_comes_before_aiohttp_has_begun_a_request_waits_for_it() -> None:
    async with Origin() as origin, running(origin) as gateway, raw(gateway.port) as client:
        origin.answer("/a", headers=FRESH, body=b"a")
        origin.answer("/slow", body=b"slow")
        await client.send(asked())
        await client.response()
        (connection,) = (each for each in gateway.gate.connections if isinstance(each, Connection))
        gate = origin.hold("/slow")
        connection.data_received(asked("/slow", BY_AIOHTTP))
        while connection._messages:
            await asyncio.sleep(0)
        assert connection._current_request is None  # its task is about to begin
        connection.data_received(asked())
        await origin.arrived("/slow")
        gate.release()
        assert [(await client.response()).body for _ in range(2)] == [b"slow", b"a"]
