"""What large bodies and floods do to the memory of a gateway in a process of its own (row 16; invariant 11)."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.support.origin import Origin, Reader, Recorded, Writer
from tests.support.process import HAS_PROC, Process, serving, session
from tests.support.rawtcp import raw

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not HAS_PROC, reason="the memory of a process is read from /proc"),
    pytest.mark.timeout(300),
]

MIB = 1 << 20
LARGE = 100 * 1000 * 1000
PIECE = bytes(range(256)) * 256
TWICE = PIECE * 2
ALL: dict[str, Any] = {"rules": [{"name": "all", "pattern": "*", "ttl": 3600}]}


# -- one large body ----------------------------------------------------------------------------------------------------


def pieces() -> list[bytes]:
    whole, rest = divmod(LARGE, len(PIECE))
    return [PIECE] * whole + [PIECE[:rest]]


def large(origin: Origin, path: str, *fields: str, chunked: bool) -> None:
    """A body of 100 MB that the origin sends as fast as it is taken."""
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {LARGE}"
    head = "\r\n".join(["HTTP/1.1 200 OK", framing, *fields, "", ""]).encode()

    async def send(request: Recorded, reader: Reader, writer: Writer) -> None:
        writer.write(head)
        for piece in pieces():
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            await writer.drain()
        if chunked:
            writer.write(b"0\r\n\r\n")

    origin.script(path, send)


async def received(gateway: Process, path: str) -> tuple[str, bool]:
    """Ask for the large body without keeping it: the verdict, and whether every byte was right."""
    at, right = 0, True
    async with session() as client, client.get(gateway.url + path) as answer:
        async for chunk in answer.content.iter_chunked(len(PIECE)):
            start = at % 256
            right = right and chunk == TWICE[start : start + len(chunk)]
            at += len(chunk)
        return answer.headers["X-Cache"], right and at == LARGE


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize(
    ("fields", "extra"),
    [
        (("Cache-Control: no-store",), {}),
        ((), {}),
        ((), {"file": {"max_object": "256MiB"}}),
        ((), {"file": {"enabled": False}}),
    ],
    ids=["uncacheable", "too-large", "kept-on-disk", "memory-alone"],
)
async def test_100_megabytes_pass_in_less_than_20(
    fields: tuple[str, ...], extra: dict[str, Any], chunked: bool
) -> None:
    kept = extra.get("file", {}).get("max_object") is not None
    async with Origin() as origin, serving(origin, ALL | extra) as gateway:
        large(origin, "/large", *fields, chunked=chunked)
        origin.answer("/small", body=b"x" * 100_000)
        await gateway.verdicts("/small", "/small")
        gateway.forget_peak()
        before = gateway.rss
        assert await received(gateway, "/large") == ("MISS", True)
        async with asyncio.timeout(20):
            while kept and (await gateway.stats())["file"]["size"] < 2:
                await asyncio.sleep(0.01)
        assert await received(gateway, "/large") == ("HIT" if kept else "MISS", True)
        print(f"peak growth {(gateway.peak - before) / 1e6:.1f} MB")
        assert gateway.peak - before < 20 * 1000 * 1000


async def test_100_megabytes_go_up_in_less_than_20() -> None:
    async def upload() -> AsyncIterator[bytes]:
        for piece in pieces():
            yield piece

    arrived = 0

    async def count(request: Recorded, reader: Reader, writer: Writer) -> None:
        nonlocal arrived
        left = LARGE
        while left and (chunk := await reader.read(min(left, 1 << 16))):
            left -= len(chunk)
            arrived += len(chunk)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with Origin() as origin, serving(origin, ALL) as gateway:
        origin.script("/up", count, early=True)
        await gateway.get("/small")
        gateway.forget_peak()
        before = gateway.rss
        got = await gateway.ask("PUT", "/up", {"Content-Length": str(LARGE)}, upload())
        assert (got.status, got.verdict, arrived) == (200, "BYPASS", LARGE)
        assert gateway.peak - before < 20 * 1000 * 1000


async def test_a_slow_reader_of_a_large_body_costs_no_memory() -> None:
    """Twenty clients that ask for 100 MB and read nothing: what is held for them is bounded, and others are served."""
    async with Origin() as origin, serving(origin, ALL) as gateway:
        large(origin, "/large", "Cache-Control: no-store", chunked=False)
        origin.answer("/small", body=b"x")
        await gateway.get("/small")
        gateway.forget_peak()
        before = gateway.rss
        async with AsyncExitStack() as stack:
            for number in range(20):
                client = await stack.enter_async_context(raw(gateway.port))
                client.writer.transport.pause_reading()  # type: ignore[attr-defined]
                await client.send(f"GET /large?{number} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            await origin.until(lambda: origin.count("/large") == 20)
            assert await gateway.verdicts(*["/small"] * 50) == ["HIT"] * 50
            print(f"peak growth {(gateway.peak - before) / 1e6:.1f} MB")
            assert gateway.peak - before < 20 * MIB


# -- a flood of unique keys --------------------------------------------------------------------------------------------


class Lean(asyncio.Protocol):
    """An origin that answers each head with the same 1 KB, as cheaply as can be."""

    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1024\r\n\r\n" + b"x" * 1024

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.held = b""

    def data_received(self, data: bytes) -> None:
        *heads, self.held = (self.held + data).split(b"\r\n\r\n")
        self.transport.write(self.answer * len(heads))  # type: ignore[attr-defined]


async def ask_for(gateway: Process, numbers: Iterator[int]) -> None:
    """One client, one connection, one request after the other for as long as there are numbers."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    for number in numbers:
        writer.write(b"GET /%d HTTP/1.1\r\nHost: site.example\r\n\r\n" % number)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), head
        assert b"X-Cache: MISS" in head, head
        assert b"Content-Length: 1024" in head, head
        await reader.readexactly(1024)
    writer.close()


async def flood(gateway: Process, numbers: range) -> None:
    shared = iter(numbers)
    await asyncio.gather(*(ask_for(gateway, shared) for _ in range(32)))


@pytest.mark.parametrize(
    ("asked", "kept", "files"), [(60_000, 20_000, False), (20_000, 5000, True)], ids=["60000", "20000-with-files"]
)
async def test_a_flood_leaves_exactly_what_fits_and_flat_memory(asked: int, kept: int, files: bool) -> None:
    """Filled a little over the bound, then flooded: as many entries as before in as much memory. What lies in files
    costs a place in their index."""
    full = kept * 5 // 4
    origin = await asyncio.get_running_loop().create_server(Lean, "127.0.0.1", 0, backlog=1024)
    url = f"http://127.0.0.1:{origin.sockets[0].getsockname()[1]}"
    env = {"CACHE_MAX_SIZE": str(kept), "FILE_CACHE": str(files), "ACCESS_LOG": "false"}
    try:
        async with serving(url, ALL, env=env) as gateway:
            await flood(gateway, range(full))
            filled = gateway.rss
            assert (await gateway.stats())["memory"]["size"] == kept
            await flood(gateway, range(full, asked))
            stats = await gateway.stats()
            assert (stats["memory"]["size"], stats["memory"]["evictions"]) == (kept, asked - kept)
            assert (stats["requests"], stats["upstream"]["requests"]) == (asked, asked)
            index = 1024 * (asked - full) if files else 0
            print(f"filled {filled / 1e6:.1f} MB, growth {(gateway.rss - filled) / 1e6:.1f} MB")
            assert gateway.rss - filled < 10 * MIB + index
    finally:
        origin.close()
