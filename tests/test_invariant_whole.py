"""Only what is proven whole is stored (invariant 1), and no client takes a part for the whole (2): an answer is cut at
each byte of its body and many of its head, by an end and by a reset, before each kind of client, with all tiers behind.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import redis.asyncio

from tests.support.gateway import Client, running
from tests.support.origin import FIN, RST, Origin
from tests.support.rawtcp import Broken, RawAnswer, raw
from tests.support.redis_servers import redis_server

FRESH = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n"
PATIENT = {"consecutive": 10**6, "min_requests": 10**6}  # the breaker is not what holds back the parts
WIRES = {
    "length": FRESH + b"Content-Length: 6\r\n\r\nsecret",
    "chunked": FRESH + b"Transfer-Encoding: chunked\r\n\r\n3;x\r\nsec\r\n3\r\nret\r\n0\r\nT: 1\r\n\r\n",
    "connection": FRESH + b"Connection: close\r\n\r\nsecret",
}
ASKED = {
    "1.1": b"GET /%d HTTP/1.1\r\nHost: site.example\r\n\r\n",
    "1.0": b"GET /%d HTTP/1.0\r\nHost: site.example\r\n\r\n",
    "range": b"GET /%d HTTP/1.1\r\nHost: site.example\r\nRange: bytes=0-2\r\n\r\n",
}


@asynccontextmanager
async def gateway_and_tiers(origin: Origin, directory: Path) -> AsyncIterator[tuple[Client, redis.asyncio.Redis]]:
    async with redis_server() as server, redis.asyncio.from_url(server.url) as beside:
        upstream = {"retries": 0, "url": origin.url, "breaker": PATIENT}
        settings = {"redis": {"url": server.url}, "upstream": upstream}
        async with running(origin, settings, directory=directory) as gateway:
            async with asyncio.timeout(20):
                while not (await gateway.stats())["redis"]["connected"]:
                    await asyncio.sleep(0.01)
            yield gateway, beside


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("wire", WIRES)
async def test_no_cut_is_stored_or_looks_whole(wire: str, asked: str, tmp_path: Path) -> None:
    said = WIRES[wire]
    body = said.index(b"\r\n\r\n") + 4
    cuts = [*range(1, body, 6), *range(body, len(said) - (wire != "connection"))]
    async with Origin() as origin, gateway_and_tiers(origin, tmp_path) as (gateway, beside):
        for end in (FIN, RST):
            for cut in cuts:
                origin.script(f"/{cut}", said[:cut], end)
            got = await asyncio.gather(*(told(gateway.port, ASKED[asked] % cut) for cut in cuts))
            await gateway.settled()
            whole = [cut for cut, one in zip(cuts, got, strict=True) if looks_whole(one)]
            assert [cut for cut in whole if not may_end(wire, asked, cut - body, end)] == []
            assert (await gateway.admin("GET", "/entries")).json["entries"] == []
            assert await beside.keys("proxy:cache:[ev]:*") == []
            assert records(tmp_path) == []
        origin.script("/0", said, FIN)  # the whole is taken, so that the rest says something
        assert looks_whole(await told(gateway.port, ASKED[asked] % 0)) or wire == "connection"
        await gateway.settled()
        assert len(records(tmp_path)) == (wire != "connection")


async def told(port: int, request: bytes) -> RawAnswer | None:
    async with raw(port) as client:
        await client.send(request)
        try:
            return await client.response()
        except Broken:
            return None


def records(directory: Path) -> list[str]:
    """What lies on disk, temporary files too."""
    answers = directory / "answers"
    return [str(file) for file in answers.rglob("*") if file.is_file() and file.parent != answers]


def looks_whole(got: RawAnswer | None) -> bool:
    """A success that a client takes for whole: by its framing, or by an end in good order where none is told."""
    if got is None or got.status not in (200, 206):
        return False
    unframed = got.header("content-length") is None and got.header("transfer-encoding") is None
    return got.complete or (unframed and got.ending == "fin")


def may_end(wire: str, asked: str, content: int, end: object) -> bool:
    """An end of the connection is all that ends an answer without length or chunks, and the client is told no more;
    and of an answer whose length is known three bytes are three bytes of it."""
    if wire == "connection":
        return end is FIN and content >= 0
    return (wire, asked) == ("length", "range") and content >= 3
