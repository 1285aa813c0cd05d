"""The scripted origin and the raw client against each other: what the other tests build on."""

import asyncio

import pytest

from tests.support.origin import FIN, RST, STALL, Origin, Step
from tests.support.rawtcp import Broken, raw

OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("steps", "body", "complete", "ending"),
    [
        ((OK + b"Content-Length: 2\r\n\r\nab",), b"ab", True, "open"),
        ((OK + b"Content-Length: 3\r\n\r\nab", FIN), b"ab", False, "fin"),
        ((OK + b"Content-Length: 3\r\n\r\nab", RST), b"ab", False, "rst"),
        ((OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\n\r\n",), b"ab", True, "open"),
        ((OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", FIN), b"ab", False, "fin"),
        ((OK + b"\r\nab", FIN), b"ab", False, "fin"),
        ((b"HTTP/1.1 103 Hint\r\n\r\n" + OK + b"Content-Length: 0\r\n\r\n",), b"", True, "open"),
    ],
)
async def test_answers_are_read_strictly(steps: tuple[Step, ...], body: bytes, complete: bool, ending: str) -> None:
    async with Origin() as origin:
        # A pause lets what was sent arrive before the connection is reset.
        gate = origin.hold("/never")
        origin.script("/", *steps[:1], gate, *steps[1:])
        async with raw(origin.port) as client:
            reading = asyncio.ensure_future(client.get("/"))
            await origin.arrived("/")
            while steps[1:] == (RST,) and not client.received:
                await asyncio.sleep(0.001)
            gate.release()
            got = await reading
            assert (got.status, got.body, got.complete, got.ending) == (200, body, complete, ending)


async def test_answers_may_differ_by_turn_and_be_held() -> None:
    async with Origin() as origin:
        origin.answer("/a", 500, times=1)
        origin.answer("/a", 200, [("X-N", "2")], lambda request: request.target.encode())
        async with raw(origin.port) as client:
            assert (await client.get("/a?x")).status == 500
            gate = origin.hold("/a")
            second = asyncio.ensure_future(client.get("/a?x", "X-B: 1", "x-b: 2"))
            recorded = await origin.arrived("/a", 2)
            assert recorded.lines("X-B") == ["1", "2"]
            assert not second.done()
            gate.release()
            head, body = await second
            assert head.startswith(b"HTTP/1.1 200 OK\r\nX-N: 2\r\n")
            assert body == b"/a?x"
            assert (await client.get("/nothing")).status == 404
        assert (origin.count(), origin.count("/a"), origin.count("/a?x"), origin.connections) == (3, 2, 2, 1)


async def test_who_leaves_is_noticed_while_held() -> None:
    async with Origin() as origin:
        origin.hold("/")
        async with raw(origin.port) as client:
            await client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await origin.arrived("/")
        await origin.until(lambda: origin.open == 0)


async def test_the_end_of_a_connection_is_told() -> None:
    async with Origin() as origin:
        origin.answer("/bye", close=True, body=b"bye")
        origin.script("/more", OK + b"Content-Length: 1\r\n\r\naX", STALL)
        async with raw(origin.port) as client:
            assert (await client.get("/bye")).body == b"bye"
            assert await client.closed() == "fin"
        async with raw(origin.port) as client:
            assert (await client.get("/more")).body == b"a"
            with pytest.raises(Broken):
                await client.closed()
