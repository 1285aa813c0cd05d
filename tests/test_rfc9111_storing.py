"""Over the wire: what is stored, and with which fields (RFC 9111 3, 3.1, 3.3, 4.2.2, 5.2.2, 5.3)."""

from pathlib import Path

import aiohttp
import pytest

from tests.support.gateway import Clock, running
from tests.support.judged import Told, cc
from tests.support.origin import FIN, RST, Origin, Step
from tests.support.rawtcp import raw

MINUTE = cc("max-age=60")
AGO = ("Last-Modified", "Mon, 01 Jan 2001 00:00:00 GMT")


@pytest.mark.parametrize(
    ("status", "fields", "kept"),
    [
        pytest.param(200, [MINUTE], True, id="3 a lifetime"),
        pytest.param(200, [], False, id="3 nothing said"),
        pytest.param(302, [], False, id="3 nothing said of a redirect"),
        *(
            pytest.param(status, [MINUTE], True, id=f"3 {status} with a lifetime")
            for status in (302, 404, 418, 503, 599)
        ),
        pytest.param(204, [MINUTE], True, id="3 204 with a lifetime"),
        pytest.param(206, [MINUTE, ("Content-Range", "bytes 0-3/9")], False, id="3.3 a part that nobody asked for"),
        pytest.param(200, [("Expires", "Fri, 01 Jan 2100 00:00:00 GMT")], True, id="5.3 Expires"),
        pytest.param(200, [("Expires", "0")], False, id="5.3 0 is in the past"),
        pytest.param(200, [("Expires", "0"), AGO], False, id="5.3, 4.2.2 and leaves nothing to guess at"),
        pytest.param(200, [("Expires", "Fri, 01 Jan 2100 00:00:00 GMT"), cc("max-age=0")], False, id="5.3 not beside"),
        pytest.param(200, [AGO], True, id="4.2.2 a heuristic one"),
        pytest.param(302, [AGO], False, id="4.2.2 not for every status"),
        pytest.param(302, [AGO, cc("public")], True, id="5.2.2.9 public makes it heuristic"),
        pytest.param(200, [cc("max-age=60, no-store")], False, id="5.2.2.5 no-store"),
        pytest.param(200, [cc("max-age=60, NO-STORE=x")], False, id="5.2 in any case and with whatever argument"),
        pytest.param(200, [cc("max-age=60"), cc("private")], False, id="5.2.2.7 private, on another line"),
        pytest.param(200, [cc('max-age=60, x="y, no-store')], False, id="5.2 behind a quote that never ends"),
        pytest.param(200, [cc('max-age=60, x="y'), cc('no-store, z="w"')], False, id="5.2 on a line behind such a one"),
        pytest.param(200, [cc("no-store, must-understand, max-age=60")], True, id="5.2.2.3 must-understand"),
        pytest.param(599, [cc("must-understand, max-age=60")], False, id="5.2.2.3 what we do not understand"),
        pytest.param(200, [cc("max-age=60, no-cache")], False, id="5.2.2.4 no-cache"),
        pytest.param(200, [cc("s-maxage=60, max-age=0")], True, id="5.2.2.10 s-maxage"),
        pytest.param(200, [cc('max-age="60"')], True, id="5.2 the quoted form"),
        pytest.param(200, [cc('max-age=60, foo, bar=1, baz="no-store"')], True, id="5.2.3 unknown directives"),
        pytest.param(200, [cc("max-age=99999999999999999999")], True, id="1.2.2 saturated"),
        pytest.param(200, [cc("max-age=60x")], False, id="4.2.1 no number"),
        pytest.param(200, [cc("max-age=60, max-age=5")], False, id="4.2.1 two numbers"),
        pytest.param(200, [MINUTE, ("Age", "60")], False, id="4.2.3 it was old when it came"),
        pytest.param(200, [MINUTE, ("Age", "60, 0")], False, id="5.1 the first member counts"),
        pytest.param(200, [MINUTE, ("Age", " ,60")], False, id="5.1, 9110 5.6.1.2 an empty one is no member"),
        pytest.param(200, [MINUTE, ("Age", "old")], True, id="5.1 what is no number is ignored"),
        pytest.param(200, [MINUTE, ("Vary", "Foo, *")], False, id="4.1 star anywhere"),
        pytest.param(200, [MINUTE, ("Pragma", "no-cache")], True, id="5.4 Pragma of an answer means nothing"),
    ],
)
async def test_what_answers_twice(status: int, fields: list[Told], kept: bool) -> None:
    async with Origin() as origin, running(origin) as gateway:
        origin.answer("/a", status, fields, b"" if status == 204 else b"body")
        first = await gateway.get("/a")
        await gateway.settled()
        second = await gateway.get("/a")
        assert (first.status, first.verdict, origin.count("/a")) == (status, "MISS", 1 if kept else 2)
        assert (second.status, second.body, second.verdict == "HIT") == (status, first.body, kept)


async def test_all_fields_are_stored_but_those_of_a_connection() -> None:
    """RFC 9111 3.1: known or not, in their order and bytes."""
    told = [("X-New-Thing", "\xe9  a,,b\t c"), ("x-new-thing", "c"), MINUTE, ("Link", "</x>"), ("X-Odd", "")]
    gone = [("Connection", "X-Hop"), ("X-Hop", "1"), ("Keep-Alive", "timeout=5"), ("Proxy-Connection", "x")]
    gone += [("Proxy-Authenticate", "Basic"), ("Proxy-Authentication-Info", "x"), ("Proxy-Authorization", "x")]
    gone += [("Upgrade", "h2c")]
    async with Origin() as origin, running(origin) as gateway:
        origin.answer("/a", headers=[*told[:2], *gone, *told[2:]], body=b"x")
        for verdict, tier in (("MISS", None), ("HIT", "memory"), ("HIT", "file")):
            if tier == "file":
                await gateway.admin("DELETE", "/memory")
            async with raw(gateway.port) as client:
                await client.send(b"GET /a HTTP/1.1\r\nHost: site.example\r\n\r\n")
                answer = await client.response()
            await gateway.settled()
            assert (answer.header("x-cache"), answer.header("x-cache-tier")) == (verdict, tier)
            names = {name.lower().encode() for name, _ in told}
            kept = [(n.decode(), v.decode("latin-1")) for n, v in answer.pairs if n.lower() in names]
            assert kept == told
            for name in {name for name, _ in gone} - {"Connection"}:
                assert answer.header(name) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Cache-Control", "no-store"),
        ("Cache-Control", "private"),
        ("CDN-Cache-Control", "no-store"),
        ("Expires", "0"),
        ("Set-Cookie", "a=b"),
        ("Vary", "*"),
    ],
)
async def test_connection_hides_no_word_of_the_origins_from_the_cache(name: str, value: str) -> None:
    """RFC 9110 7.6.1: Cache-Control is never appropriate as a connection option, nor is what else is for everybody."""
    async with Origin() as origin, running(origin) as gateway:
        origin.answer("/a", headers=[("Connection", name), (name, value), AGO], body=b"x")
        for _ in range(2):
            got = await gateway.get("/a")
            await gateway.settled()
            assert (got.verdict == "HIT", got.header(name)) == (False, value)


async def test_trailers_are_never_made_header_fields() -> None:
    """RFC 9111 3.1 MUST NOT."""
    trailers = b"0\r\nX-Late: 1\r\nCache-Control: no-store\r\n\r\n"
    head = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTrailer: X-Late\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with Origin() as origin, running(origin) as gateway:
        origin.script("/a", head + b"1\r\nx\r\n" + trailers)
        for verdict in ("MISS", "HIT"):
            got = await gateway.get("/a")
            await gateway.settled()
            assert (got.verdict, got.body, got.header("x-late")) == (verdict, b"x", None)
            assert got.header("cache-control") == "max-age=60"


HEAD = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n"


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param([HEAD + b"Content-Length: 10\r\n\r\nhalf", FIN], id="3.3 ended before its length"),
        pytest.param([HEAD + b"Content-Length: 10\r\n\r\nhalf", RST], id="3.3 reset"),
        pytest.param(
            [HEAD + b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", FIN], id="3.3 ended before its last chunk"
        ),
        pytest.param([HEAD + b"\r\nhalf", FIN], id="3.3 ended by the connection, which proves nothing"),
    ],
)
async def test_an_incomplete_answer_is_not_used_again(steps: list[Step], tmp_path: Path) -> None:
    async with Origin() as origin, running(origin, directory=tmp_path) as gateway:
        origin.script("/a", *steps, times=1)
        origin.answer("/a", headers=[MINUTE], body=b"whole")
        try:
            await gateway.get("/a")
        except aiohttp.ClientError:
            pass
        await gateway.settled()
        got = await gateway.get("/a")
        assert (got.verdict, got.body, origin.count("/a")) == ("MISS", b"whole", 2)


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        pytest.param("max-age=60, no-store", {}, id="5.2.2.5 no-store"),
        pytest.param("max-age=60, private", {}, id="5.2.2.7 private"),
        pytest.param("max-age=60", {"Cache-Control": "no-store"}, id="5.2.1.5 the client's no-store"),
        pytest.param("max-age=60", {"Authorization": "Basic YQ=="}, id="3.5 credentials"),
    ],
)
async def test_nothing_of_what_must_not_be_stored_reaches_the_disk(
    said: str, asked: dict[str, str], tmp_path: Path
) -> None:
    async with Origin() as origin, running(origin, directory=tmp_path) as gateway:
        origin.answer("/a", headers=[cc(said)], body=b"a secret of one client")
        await gateway.get("/a", asked)
        await gateway.settled()
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"a secret of one" in path.read_bytes()]


async def test_a_heuristic_lifetime_ends_after_a_tenth_and_a_day_at_most() -> None:
    """RFC 9111 4.2.2 (10%), http-caching (a day)."""
    clock = Clock(1_700_000_000.0)
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        date = ("Date", "Tue, 14 Nov 2023 22:13:20 GMT")
        origin.answer("/young", headers=[date, ("Last-Modified", "Tue, 14 Nov 2023 21:56:40 GMT")], body=b"x")
        origin.answer("/old", headers=[date, AGO], body=b"x")
        for path in ("/young", "/old"):
            await gateway.get(path)
        await gateway.settled()
        clock.advance(99)
        assert [(await gateway.get(path)).verdict for path in ("/young", "/old")] == ["HIT", "HIT"]
        clock.advance(2)
        assert [(await gateway.get(path)).verdict for path in ("/young", "/old")] == ["EXPIRED", "HIT"]
        clock.advance(86_400)
        assert (await gateway.get("/old")).verdict == "EXPIRED"
