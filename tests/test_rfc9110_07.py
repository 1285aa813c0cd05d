"""RFC 9110 7.6 (forwarding): Connection, Max-Forwards, Via, over the wire. The tables are in test_forwarding."""

import pytest

from tests.support.gateway import running
from tests.support.origin import Origin
from tests.support.rawtcp import raw

CACHED = [("Cache-Control", "max-age=60")]


async def test_what_connection_names_goes_no_further_either_way() -> None:
    """7.6.1: neither with the answer that is passed on nor with the stored one, whatever the case of the names."""
    async with Origin() as origin, running(origin) as gateway, raw(gateway.port) as client:
        hop = [("Connection", "X-HOP , keep-alive"), ("connection", "x-other"), ("X-Hop", "1"), ("x-OTHER", "2")]
        origin.answer("/a", headers=[*CACHED, *hop, ("Keep-Alive", "timeout=5"), ("X-Stays", "3")], body=b"x")
        for verdict in ("MISS", "HIT"):
            got = await client.get("/a", "Connection: X-Mine", "X-Mine: 1", "X-Passes: 2")
            assert (got.header("x-cache"), got.header("x-stays")) == (verdict, "3")
            names = {name.lower() for name, _ in got.pairs}
            assert not names & {b"connection", b"x-hop", b"x-other", b"keep-alive"}
            await gateway.settled()
        asked = origin.of("/a")[0]
        assert (asked.header("x-mine"), asked.header("x-passes"), asked.header("connection")) == (None, "2", None)


@pytest.mark.parametrize(
    "name", ["Proxy-Connection", "Keep-Alive", "TE", "Upgrade", "Trailer", "HTTP2-Settings", "Close"]
)
async def test_fields_of_the_connection_go_no_further_without_being_named(name: str) -> None:
    """7.6.1."""
    async with Origin() as origin, running(origin) as gateway, raw(gateway.port) as client:
        origin.answer("/a", headers=[*CACHED, (name, "x")], body=b"x")
        for _ in range(2):
            assert (await client.get("/a", f"{name}: x")).header(name) is None
            await gateway.settled()
        assert origin.of("/a")[0].header(name) is None


@pytest.mark.parametrize(("value", "told"), [("1", "0"), ("7", "6"), ("9" * 30, str(2**31 - 1))])
async def test_max_forwards_is_counted_down(value: str, told: str) -> None:
    """7.6.2."""
    async with Origin() as origin, running(origin) as gateway:
        origin.answer("/a", 204)
        assert (await gateway.ask("OPTIONS", "/a", {"Max-Forwards": value})).status == 204
        assert origin.last.header("max-forwards") == told


@pytest.mark.parametrize(("method", "status"), [("OPTIONS", 200), ("TRACE", 501)])
async def test_max_forwards_of_zero_ends_here(method: str, status: int) -> None:
    """7.6.2: answered as the final recipient, and not forwarded."""
    async with Origin() as origin, running(origin) as gateway, raw(gateway.port) as client:
        assert (await client.get("/a", "Max-Forwards: 0", method=method)).status == status
        assert origin.count() == 0


async def test_other_methods_do_not_count_hops() -> None:
    """7.6.2."""
    async with Origin() as origin, running(origin) as gateway:
        assert (await gateway.get("/a", {"Max-Forwards": "0"})).status == 404
        assert origin.last.header("max-forwards") == "0"


async def test_via_is_appended_both_ways() -> None:
    """7.6.3: what came stands before ours, on the way and from store, and our name is a pseudonym."""
    async with (
        Origin() as origin,
        running(origin, {"listen": {"name": "edge"}}) as gateway,
        raw(gateway.port) as client,
    ):
        origin.answer("/a", headers=[*CACHED, ("Via", "1.0 fred (old)"), ("via", "1.1 p.example:80")], body=b"x")
        for _ in range(2):
            got = await client.get("/a", "Via: 1.0 ricky", "VIA: 1.1 lucy")
            assert got.header("via") == "1.0 fred (old), 1.1 p.example:80, 1.1 edge"
            await gateway.settled()
        assert origin.of("/a")[0].header("via") == "1.0 ricky, 1.1 lucy, 1.1 edge"


async def test_via_tells_the_version_that_the_client_spoke() -> None:
    """7.6.3: the origin sees what the chain is capable of."""
    async with Origin() as origin, running(origin, {"listen": {"name": "edge"}}) as gateway:
        for version in ("1.0", "1.1"):
            async with raw(gateway.port) as client:
                await client.send(f"GET /a HTTP/{version}\r\nHost: a\r\n\r\n".encode())
                await client.response()
            assert origin.last.header("via") == f"{version} edge"


@pytest.mark.parametrize(
    ("via", "status"),
    [
        pytest.param("1.1 edge", 508, id="it was here"),
        pytest.param("1.0 fred, 2 EDGE (x), 1.1 p", 508, id="in the middle, with a comment, in another case"),
        pytest.param("1.1 edge2, 1.1 x.edge", 200, id="others whose names are like ours"),
    ],
)
async def test_a_message_that_was_here_before_is_not_forwarded(via: str, status: int) -> None:
    """7.6, 7.6.3."""
    async with Origin() as origin, running(origin, {"listen": {"name": "edge"}}) as gateway:
        origin.answer("/a", body=b"x")
        assert (await gateway.get("/a", {"Via": via})).status == status
        assert origin.count() == int(status == 200)


@pytest.mark.parametrize(
    ("method", "status"),
    [("GET", 299), ("GET", 471), ("GET", 599), ("LINK", 200), ("M-SEARCH", 418), ("PROPFIND", 207)],
)
async def test_what_is_not_known_is_forwarded(method: str, status: int) -> None:
    """7.6: methods, status codes and fields."""
    async with Origin() as origin, running(origin) as gateway, raw(gateway.port) as client:
        origin.answer("/a", status, headers=[("X-New!", "\xff")], body=b"x")
        got = await client.get("/a", "X-~New: 1", method=method)
        assert (got.status, got.body, got.header("x-new!")) == (status, b"x", "\xff")
        assert (origin.last.method, origin.last.header("x-~new")) == (method, "1")
