"""RFC 9110 7.6 (forwarding): Connection, Max-Forwards, Via, over the wire. The tables are in test_forwarding."""

import pytest

from tests.support.gateway import TOKEN, running
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


@pytest.mark.parametrize("said", [None, "no-transform"])
async def test_target_and_content_pass_as_they_came(said: str | None) -> None:
    """7.7 MUST NOT: path, query and content, on routes that no rule normalises; coded or not."""
    target = "/%7e//a;b/%2F?x=%41&&b=+&x"
    async with Origin() as origin, running(origin) as gateway, raw(gateway.port) as client:
        fields = [*CACHED, ("Content-Type", "text/html"), *([("Cache-Control", said)] if said else [])]
        origin.answer(target, headers=fields, body=b"<p>  x </p>\r\n")
        for verdict in ("MISS", "HIT"):
            got = await client.get(target, "Accept-Encoding: gzip, br")
            assert (got.header("x-cache"), got.body) == (verdict, b"<p>  x </p>\r\n")
            assert [got.header(name) for name in ("content-encoding", "content-type")] == [None, "text/html"]
            await gateway.settled()
        assert (origin.last.target, origin.last.raw.splitlines()[1][:5]) == (target, b"Host:")  # 7.2: the first field


async def test_fields_that_are_not_ours_to_change_pass_as_they_came() -> None:
    """5.3, 10.1.3, 10.2.1, 11.6.1, 11.6.2."""
    told = [("WWW-Authenticate", 'Basic realm="a",  New  x=y'), ("Allow", "GET,  BREW"), ("www-authenticate", "Third")]
    asked = ['Authorization: Digest  a="b", c', "Referer: http://test/a?b", "X-A: 1", "From: a@b", "X-A: 0"]
    async with Origin() as origin, running(origin) as gateway, raw(gateway.port) as client:
        origin.answer("/a", 401, headers=told)
        got = await client.get("/a", *asked)
        names = {name.lower() for name, _ in told}
        pairs = [(name.decode(), value.decode()) for name, value in got.pairs]
        assert [pair for pair in pairs if pair[0].lower() in names] == told
        lines = [line.decode() for line in origin.last.raw.splitlines()]
        assert [line for line in lines if line in asked] == asked


async def test_our_own_token_goes_no_further() -> None:
    """11.6.2: the one Authorization that was not meant for the origin; another's passes."""
    async with Origin() as origin, running(origin) as gateway:
        for value, told in ((f"Bearer {TOKEN}", None), (f"bearer  {TOKEN} ", None), ("Bearer x", "Bearer x")):
            await gateway.get("/a", {"Authorization": value})
            assert origin.last.header("authorization") == told


async def test_content_in_a_get_is_passed_on_and_nothing_is_kept() -> None:
    """9.3.1: nobody says what it means, so that it must not choose what others get."""
    async with Origin() as origin, running(origin) as gateway:
        origin.answer("/a", headers=CACHED, body=lambda request: b"said " + request.body)
        for content in (b"evil", None, b"other"):
            got = await gateway.ask("GET", "/a", data=content)
            assert (got.body, got.verdict) == (b"said " + (content or b""), "BYPASS" if content else "MISS")
            await gateway.settled()
        assert (await gateway.get("/a")).verdict == "HIT"


async def test_http_1_0_knows_no_upgrade() -> None:
    """7.8, 15.2 MUST: the field is ignored, nobody gets a 101."""
    handshake = ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
    handshake.append("Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==")
    async with Origin() as origin, running(origin) as gateway, raw(gateway.port) as client:
        origin.answer("/a", body=b"plain")
        await client.send("\r\n".join(["GET /a HTTP/1.0", "Host: a", *handshake, "", ""]).encode())
        got = await client.response()
        assert (got.status, got.body, origin.last.header("upgrade")) == (200, b"plain", None)
