"""Over the wire, defaults only: variants (http-caching: Vary; RFC 9111 4, 4.1, 4.3.3; RFC 9110 12.5)."""

from pathlib import Path

import pytest

from proxy.policy.fields import http_date
from tests.support.gateway import Client, Clock, running
from tests.support.judged import Told, cc
from tests.support.origin import Origin
from tests.support.rawtcp import raw

MINUTE = cc("max-age=60")
BOTH = {"X-A": "1", "X-B": "1"}
OTHER = {"X-A": "1", "X-B": "2"}


async def fill(origin: Origin, gateway: Client, asked: dict[str, str], body: bytes, *fields: Told) -> None:
    origin.answer("/a", headers=[MINUTE, *fields], body=body, times=1)
    assert (await gateway.get("/a", asked)).body == body
    await gateway.settled()


@pytest.mark.parametrize("tier", ["memory", "file", "file, after a restart"])
@pytest.mark.parametrize(("later", "used"), [(30, b"wide"), (-30, b"narrow")])
async def test_of_several_that_fit_the_newest_by_date_is_used(
    later: float, used: bytes, tier: str, tmp_path: Path
) -> None:
    """RFC 9111 4 MUST: whichever came last."""
    clock = Clock()
    async with Origin() as origin:
        async with running(origin, directory=tmp_path, clock=clock) as gateway:
            narrow, wide = http_date(clock.now), http_date(clock.now + later)
            await fill(origin, gateway, BOTH, b"narrow", ("Vary", "X-A, X-B"), ("Date", narrow))
            clock.advance(1)
            await fill(origin, gateway, OTHER, b"wide", ("Vary", "X-A"), ("Date", wide))
            if tier == "memory":
                assert (await gateway.get("/a", BOTH)).body == used
            elif tier == "file":
                await gateway.admin("DELETE", "/memory")
                got = await gateway.get("/a", BOTH)
                assert (got.body, got.tier) == (used, "file")
        if tier == "file, after a restart":
            async with running(origin, directory=tmp_path, clock=clock) as gateway:
                got = await gateway.get("/a", BOTH)
                assert (got.body, got.tier) == (used, "file")


@pytest.mark.parametrize("fields", [[], [("ETag", '"2"')], [("Vary", "X-B")]])
async def test_what_takes_a_variants_place_ends_it(fields: list[Told]) -> None:
    """RFC 9111 4.3.3: the stored answer is not suitable any more, also where the new one is filed elsewhere and would
    step back behind it."""
    clock = Clock()
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        await fill(origin, gateway, BOTH, b"old", ("Vary", "X-A"), ("ETag", '"1"'))
        clock.advance(61)
        await fill(origin, gateway, BOTH, b"new", *fields)
        got = await gateway.get("/a", BOTH)
        assert (got.verdict, got.body) == ("HIT", b"new")


@pytest.mark.parametrize(
    ("name", "asked", "used"),
    [
        ("Language", "de, en;q=0.5", b"narrow"),
        ("Language", "de;q=0.1, en", b"wide"),
        ("Language", "de-CH, *;q=0.5", b"narrow"),
        ("Language", "en-GB", b"wide"),
        ("Language", "de, en", b"wide"),
        ("Language", "", b"wide"),
        ("Encoding", "gzip, br;q=0.5", b"narrow"),
        ("Encoding", "gzip;q=0.5, br", b"wide"),
        ("Type", "a/b, a/*;q=0.5", b"narrow"),
        ("Type", "a/b;q=0.5, */*", b"wide"),
    ],
)
async def test_of_several_that_fit_the_preferred_is_used(name: str, asked: str, used: bytes) -> None:
    """RFC 9111 4.1; and of equals the newest."""
    narrow, wide = {"Language": ("de-CH", "en"), "Encoding": ("gzip", "br"), "Type": ("a/b", "a/c")}[name]
    clock = Clock()
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        await fill(origin, gateway, BOTH, b"narrow", ("Vary", "X-A, X-B"), (f"Content-{name}", narrow))
        clock.advance(1)
        await fill(origin, gateway, OTHER, b"wide", ("Vary", "X-A"), (f"Content-{name}", wide))
        said = {"Accept" if name == "Type" else f"Accept-{name}": asked} if asked else {}
        got = await gateway.get("/a", {**BOTH, **said})
        assert (got.verdict, got.body) == ("HIT", used)


async def test_preference_is_no_reason_not_to_ask() -> None:
    """http-caching: never to skip asking, however well something stored would do."""
    async with Origin() as origin, running(origin) as gateway:
        told = ("Vary", "Accept-Language"), ("Content-Language", "de")
        await fill(origin, gateway, {"Accept-Language": "de"}, b"de", *told)
        got = await gateway.get("/a", {"Accept-Language": "de, en;q=0.1"})
        assert (got.verdict, origin.count("/a")) == ("MISS", 2)
        assert "fwd=vary-miss" in (got.header("cache-status") or "")


@pytest.mark.parametrize(
    ("name", "then", "now", "same"),
    [
        ("Accept-Language", "de-CH, en;q=0.5", "EN;q=0.50 ,DE-ch;q=1", True),
        ("Accept-Language", "de, en;q=0.5", "de, en;q=0.6", False),
        ("Accept-Language", "de", "de-CH", False),
        ("Accept-Charset", "utf-8, x;q=0.5", "X;q=0.5,UTF-8", True),
        ("Accept", "text/html, a/b;q=0.5", "Text/HTML ,a/b ; q=0.5", True),
        ("Accept", "text/html, a/b", "a/b, text/html", False),
        ("Accept", "text/html;level=1", "text/html", False),
        ("Accept", "text/html;x=A", "text/html;x=a", False),
        ("Accept", 'a/b;x="1 ;2"', 'a/b;x="1;2"', False),
        ("Accept-Encoding", "gzip, br", "br;q=1.0,gzip ,deflate", True),
        ("Accept-Encoding", "gzip, br;q=0.5", "gzip", True),
        ("Accept-Encoding", "gzip, br;q=0.5", "gzip;q=0.5, br", False),
        ("Accept-Encoding", "gzip", "gzip;q=0", False),
        ("Accept-Encoding", "x-gzip", "gzip", True),
        ("X-Foo", "a,b", "b,a", False),
        ("X-Foo", None, None, True),
        ("X-Foo", None, "", False),
        ("X-Foo", "", None, False),
        ("X-Foo", "a", None, False),
        ("X-Foo", "a,b", "a, b", False),
        ("X-Foo", "a", "A", False),
        ("User-Agent", "x", "x ", True),
    ],
)
async def test_values_are_compared_by_their_own_grammar(
    name: str, then: str | None, now: str | None, same: bool
) -> None:
    """Where it is known, byte for byte otherwise; absent is like nothing else."""
    async with Origin() as origin, running(origin) as gateway:
        await fill(origin, gateway, {} if then is None else {name: then}, b"x", ("Vary", name))
        assert ((await gateway.get("/a", {} if now is None else {name: now})).verdict == "HIT") is same


async def test_lines_of_one_field_are_one_value() -> None:
    async with Origin() as origin, running(origin) as gateway, raw(gateway.port) as client:
        origin.answer("/a", headers=[MINUTE, ("Vary", "X-Foo")], body=b"x")
        await client.get("/a", "X-Foo: 1", "X-Foo: 2")
        await gateway.settled()
        answers = [await client.get("/a", *said) for said in (["X-Foo: 1, 2"], ["X-Foo: 1"], ["X-Foo: 2"])]
        assert [answer.header("x-cache") for answer in answers] == ["HIT", "MISS", "MISS"]


@pytest.mark.parametrize("vary", [[("Vary", "X-A, X-B")], [("Vary", "x-b, X-A")], [("Vary", "X-A"), ("Vary", "X-B")]])
async def test_all_that_is_named_counts(vary: list[Told]) -> None:
    async with Origin() as origin, running(origin) as gateway:
        await fill(origin, gateway, BOTH, b"x", *vary)
        got = [(await gateway.get("/a", asked)).verdict for asked in (BOTH, {"X-A": "2", "X-B": "1"}, OTHER)]
        assert got == ["HIT", "MISS", "MISS"]


@pytest.mark.parametrize("name", ["X-Forwarded-For", "Forwarded"])
async def test_what_we_say_in_a_clients_place_makes_no_variant(name: str) -> None:
    """The origin is told his address, whatever he says himself: two who say the same get answers of their own."""
    async with Origin() as origin, running(origin) as gateway:
        origin.answer("/a", headers=[MINUTE, ("Vary", f"X-A, {name}")], body=b"x")
        for asked in ({}, {}, {name: "for=9.9.9.9"}, {name: "for=9.9.9.9"}):
            assert (await gateway.get("/a", asked)).verdict == "MISS"
            await gateway.settled()
            assert "127.0.0.1" in (origin.last.header(name) or "")


@pytest.mark.parametrize("vary", [["*"], ["X-A, *"], ["*, X-A"], ["X-A", "*"], ["*", "X-A"]])
async def test_a_star_anywhere_means_never(vary: list[str]) -> None:
    async with Origin() as origin, running(origin) as gateway:
        origin.answer("/a", headers=[MINUTE, *(("Vary", line) for line in vary)], body=b"x")
        got = [await gateway.get("/a") for _ in range(2)]
        assert [(each.verdict, each.detail) for each in got] == [("MISS", "vary-star")] * 2


# -- content codings ---------------------------------------------------------------------------------------------------

CODINGS = [
    pytest.param(None, "identity", id="nothing said"),
    pytest.param("gzip, deflate, br, zstd", "zstd", id="a browser's"),
    pytest.param("gzip, deflate, br", "br", id="an older browser's"),
    pytest.param("gzip, deflate", "gzip", id="an old one's"),
    pytest.param("br;q=0.5, gzip", "gzip", id="the client's preference first"),
    pytest.param("deflate, compress", "identity", id="none of ours"),
    pytest.param("*", "zstd", id="anything"),
    pytest.param("identity, gzip;q=0.5", "identity", id="plain is liked best"),
    pytest.param("gzip;q=0", "identity", id="not that one"),
]


@pytest.mark.parametrize(("asked", "coding"), CODINGS)
async def test_the_origin_is_asked_for_one_coding(asked: str | None, coding: str) -> None:
    async with Origin() as origin, running(origin) as gateway:
        origin.answer("/a", headers=[MINUTE, ("Vary", "Accept-Encoding")], body=b"x")
        await gateway.get("/a", {} if asked is None else {"Accept-Encoding": asked})
        assert origin.last.lines("accept-encoding") == [coding]


@pytest.mark.parametrize("vary", [True, False])
async def test_one_entry_for_each_coding_where_the_answer_varies_by_it(vary: bool) -> None:
    """And one for all where it does not."""
    told = [MINUTE, *([("Vary", "Accept-Encoding")] if vary else [])]
    async with Origin() as origin, running(origin) as gateway:
        origin.answer("/a", headers=told, body=lambda request: (request.header("accept-encoding") or "").encode())
        for asked in ("gzip, br", "br, gzip;q=0.9", "gzip", "deflate, gzip", "gzip, br", ""):
            await gateway.get("/a", {"Accept-Encoding": asked})
            await gateway.settled()
        asked_for = [request.header("accept-encoding") for request in origin.requests]
        assert asked_for == (["br", "gzip", "identity"] if vary else ["br"])


async def test_as_it_came_where_the_setting_says_so() -> None:
    async with Origin() as origin, running(origin, {"cache": {"accept_encoding": "preserve"}}) as gateway:
        origin.answer("/a", headers=[MINUTE, ("Vary", "Accept-Encoding")], body=b"x")
        for asked in ("gzip, br", "br, gzip", "gzip"):
            await gateway.get("/a", {"Accept-Encoding": asked})
            await gateway.settled()
        assert [request.header("accept-encoding") for request in origin.requests] == ["gzip, br", "gzip"]
