"""Over the wire: what is answered from store, how old it says it is, and what ends it (RFC 9111 4, 4.1, 4.2.3, 4.2.4,
4.4, 5.1, 5.2.1)."""

import asyncio

import pytest

from proxy.policy.fields import http_date
from tests.support.gateway import TOKEN, Clock, running
from tests.support.judged import Told, cc
from tests.support.origin import FIN, Origin

MINUTE = cc("max-age=60")
TRUSTED = {"Cachegate-Token": TOKEN}


@pytest.mark.parametrize(
    ("told", "dated", "came"),
    [
        pytest.param([("Age", "20")], 0, 20, id="5.1 Age"),
        pytest.param([], 20, 20, id="4.2.3 apparent age"),
        pytest.param([("Age", "9")], 20, 20, id="4.2.3 the greater of both"),
        pytest.param([("Age", "20")], 9, 20, id="4.2.3 whichever it is"),
    ],
)
async def test_age_is_what_it_came_with_and_the_time_since(told: list[Told], dated: float, came: int) -> None:
    """RFC 9111 4, 4.2.3, 5.1: made anew from store, replaced there, passed on where the origin's answer is passed on.
    Date stays the origin's."""
    clock = Clock(1_700_000_000.0)
    date = http_date(clock.now - dated)
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        origin.answer("/a", headers=[MINUTE, *told, ("Date", date)], body=b"x")
        first = await gateway.get("/a")
        await gateway.settled()
        clock.advance(30.5)
        second = await gateway.get("/a")
        assert [(got.verdict, got.header("age"), got.header("date")) for got in (first, second)] == [
            ("MISS", dict(told).get("Age"), date),
            ("HIT", str(came + 30), date),
        ]
        clock.advance(9.5)
        assert (await gateway.get("/a")).verdict == "EXPIRED"


async def test_the_way_from_the_origin_counts() -> None:
    """RFC 9111 4.2.3: corrected_age_value is relative to when the request was made."""
    clock = Clock()
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        origin.answer("/a", headers=[MINUTE], body=b"x")
        gate = origin.hold("/a")
        asked = asyncio.ensure_future(gateway.get("/a"))
        await origin.arrived("/a")
        clock.advance(25)
        gate.release()
        await asked
        await gateway.settled()
        assert (await gateway.get("/a")).header("age") == "25"
        clock.advance(35)
        assert (await gateway.get("/a")).verdict == "EXPIRED"


async def test_who_shares_a_fetch_is_told_the_age_of_its_answer() -> None:
    """RFC 9111 4, 5.1: it is no answer to his own request. Who led gets the origin's words as they came."""
    clock = Clock()
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        origin.answer("/a", headers=[MINUTE], body=b"x")
        gate = origin.hold("/a")
        asked = [asyncio.ensure_future(gateway.get("/a")) for _ in range(2)]
        await gateway.waiting(2)
        await origin.arrived("/a")
        clock.advance(25)
        gate.release()
        assert {(await each).header("age") for each in asked} == {None, "25"}
        assert origin.count("/a") == 1


async def test_an_unsafe_request_waits_for_the_origin_and_ends_what_it_changed() -> None:
    """RFC 9111 4 (write through), 4.4: the target, Location and Content-Location of the same origin, no others; and
    nothing by a failure."""
    paths = ("/a", "/b", "/c", "/other", "/port", "/scheme")
    async with Origin() as origin, running(origin) as gateway:
        for path in paths:
            origin.answer(path, headers=[MINUTE], body=b"x")
            await gateway.get(path)
        await gateway.settled()
        told = [("Location", "/b"), ("Content-Location", "http://site.example/c")]
        told += [("Location", "http://elsewhere.example/other"), ("Location", "http://site.example:8080/port")]
        told += [("Content-Location", "https://site.example/scheme")]
        origin.answer("/a", 500, told, b"no", times=1)
        assert (await gateway.post("/a")).status == 500
        assert {(await gateway.get(path)).verdict for path in paths} == {"HIT"}
        origin.answer("/a", 201, told, b"made", times=1)
        gate = origin.hold("/a")
        posted = asyncio.ensure_future(gateway.post("/a"))
        await origin.arrived("/a", 3)
        assert not posted.done()
        gate.release()
        assert (await posted).status == 201
        assert [(await gateway.get(path)).verdict for path in paths] == ["MISS"] * 3 + ["HIT"] * 3


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "POST", "PROPPATCH", "M-SEARCH", "LINK"])
@pytest.mark.parametrize(("status", "ends"), [(200, True), (204, True), (303, True), (400, False), (503, False)])
async def test_every_unsafe_method_ends_what_is_stored(method: str, status: int, ends: bool) -> None:
    """RFC 9111 4.4: 2xx and 3xx are no errors."""
    async with Origin() as origin, running(origin) as gateway:
        origin.answer("/a?q=1", headers=[MINUTE], body=b"x", times=1)
        origin.answer("/a?q=1", status, times=1)
        origin.answer("/a?q=1", headers=[MINUTE], body=b"y")
        await gateway.get("/a?q=1")
        await gateway.settled()
        await gateway.ask(method, "/a?q=1")
        assert (await gateway.get("/a?q=1")).body == (b"y" if ends else b"x")


async def test_a_safe_method_ends_nothing() -> None:
    """RFC 9111 4.4, RFC 9110 9.2.1."""
    async with Origin() as origin, running(origin) as gateway:
        origin.answer("/a", headers=[MINUTE, ("Location", "/a")], body=b"x")
        await gateway.get("/a")
        await gateway.settled()
        for method in ("OPTIONS", "HEAD"):
            await gateway.ask(method, "/a")
        assert (await gateway.get("/a")).verdict == "HIT"


async def test_an_answer_that_forgot_its_vary_steps_back() -> None:
    """RFC 9111 4.1 SHOULD: the most recent one with a Vary, where it fits."""
    clock = Clock()
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        origin.answer("/a", headers=[MINUTE, ("Vary", "Accept-Language")], body=b"de", times=1)
        await gateway.get("/a", {"Accept-Language": "de"})
        await gateway.settled()
        clock.advance(1)
        origin.answer("/a", headers=[MINUTE], body=b"default", times=1)
        await gateway.get("/a", {"Accept-Language": "fr"})
        await gateway.settled()
        assert (await gateway.get("/a", {"Accept-Language": "DE"})).body == b"de"
        assert (await gateway.get("/a")).body == b"default"
        assert origin.count("/a") == 2


@pytest.mark.parametrize(
    ("asked", "later", "verdict"),
    [
        pytest.param("max-stale=30", 80, "HIT", id="5.2.1.2 stale by less"),
        pytest.param("max-stale=10", 80, "EXPIRED", id="5.2.1.2 stale by more"),
        pytest.param("max-stale", 300, "HIT", id="5.2.1.2 by anything"),
        pytest.param("min-fresh=30", 20, "HIT", id="5.2.1.3 fresh for longer"),
        pytest.param("min-fresh=30", 40, "EXPIRED", id="5.2.1.3 fresh for less"),
        pytest.param("no-cache", 0, "HIT", id="http-caching: a stranger's reload"),
        pytest.param("max-age=0", 0, "HIT", id="http-caching: a stranger's reload by max-age"),
        pytest.param("foo, no-transform", 0, "HIT", id="5.2.3 what is unknown"),
    ],
)
async def test_what_a_client_asks_for(asked: str, later: float, verdict: str) -> None:
    clock = Clock()
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        origin.answer("/a", headers=[MINUTE], body=b"x")
        await gateway.get("/a")
        await gateway.settled()
        clock.advance(later)
        assert (await gateway.get("/a", {"Cache-Control": asked})).verdict == verdict


@pytest.mark.parametrize(
    "asked", [{"Cache-Control": "no-cache"}, {"Cache-Control": "max-age=0"}, {"Pragma": "no-cache"}]
)
async def test_a_reload_of_the_trusted_is_validated(asked: dict[str, str]) -> None:
    """RFC 9111 5.2.1.1, 5.2.1.4, 5.4; http-caching: from trusted proxies or with Cachegate-Token."""
    async with Origin() as origin, running(origin) as gateway:
        origin.answer("/a", headers=[MINUTE, ("ETag", '"a"')], body=b"x", times=1)
        origin.answer("/a", 304, [("ETag", '"a"')])
        await gateway.get("/a")
        await gateway.settled()
        got = await gateway.get("/a", asked | TRUSTED)
        assert (got.status, got.verdict, got.body) == (200, "REVALIDATED", b"x")
        assert origin.last.header("if-none-match") == '"a"'
        assert origin.last.header("cachegate-token") is None


async def test_cache_directives_pass_both_ways() -> None:
    """RFC 9111 5.2 MUST: whatever they mean to us."""
    there, back = 'foo="a, b", max-age=9, NO-transform', 'max-age=60, community="UCI", proxy-revalidate'
    async with Origin() as origin, running(origin) as gateway:
        origin.answer("/a", headers=[cc(back), cc("bar")], body=b"x")
        for _ in range(2):
            got = await gateway.get("/a", {"Cache-Control": there})
            assert [value for name, value in got.pairs if name.lower() == "cache-control"] == [back, "bar"]
            await gateway.settled()
        assert origin.last.lines("cache-control") == [there]


async def test_only_if_cached() -> None:
    """RFC 9111 5.2.1.7: what is stored, or 504; the origin hears of neither."""
    async with Origin() as origin, running(origin) as gateway:
        origin.answer("/a", headers=[MINUTE], body=b"x")
        wish = {"Cache-Control": "only-if-cached"}
        missed = await gateway.get("/a", wish)
        assert (missed.status, origin.count()) == (504, 0)
        await gateway.get("/a")
        await gateway.settled()
        got = await gateway.get("/a", wish)
        assert (got.status, got.body, origin.count()) == (200, b"x", 1)


@pytest.mark.parametrize(
    ("said", "allowed"),
    [
        pytest.param("max-age=10", True, id="4.2.4 the configured 300 s"),
        pytest.param("max-age=10, must-revalidate", False, id="5.2.2.2"),
        pytest.param("max-age=10, proxy-revalidate", False, id="5.2.2.8"),
        pytest.param("s-maxage=10", False, id="5.2.2.10"),
        pytest.param("max-age=10, no-cache", False, id="5.2.2.4"),
        pytest.param("max-age=10, must-revalidate, stale-if-error=99", False, id="4.2.4 whatever else is said"),
    ],
)
@pytest.mark.parametrize(
    ("trouble", "status"),
    [("refused", 502), ("dropped", 502), ("late", 504), ("503", 503), ("500", 500)],
)
async def test_stale_only_where_nobody_forbids_it(said: str, allowed: bool, trouble: str, status: int) -> None:
    """RFC 9111 4.2.4, 5.2.2.2: else an error, 504 where nothing came in time and what is more applicable otherwise."""
    clock = Clock()
    tired = {"upstream": {"first_byte_timeout": 0.05}}
    async with Origin() as origin, running(origin, tired, clock=clock) as gateway:
        origin.answer("/a", headers=[cc(said), ("ETag", '"a"')], body=b"good", times=1)
        await gateway.get("/a")
        await gateway.settled()
        clock.advance(11)
        if trouble == "refused":
            await origin.stop()
        elif trouble == "late":
            origin.hold("/a")
        elif trouble == "dropped":
            origin.script("/a", FIN)
        else:
            origin.answer("/a", int(trouble), body=b"trouble")
        got = await gateway.get("/a", {"Cache-Control": "max-stale"} if not allowed else None)
        if allowed:
            assert (got.status, got.verdict, got.body, got.header("age")) == (200, "STALE", b"good", "11")
        else:
            assert (got.status, got.body == b"good") == (status, False)


@pytest.mark.parametrize("fields", [[("Vary", "*")], [("Vary", "Foo"), ("Vary", "*")]])
async def test_a_star_is_asked_every_time(fields: list[Told]) -> None:
    """RFC 9111 4.1: it always fails to match."""
    async with Origin() as origin, running(origin) as gateway:
        origin.answer("/a", headers=[MINUTE, *fields], body=b"x")
        for _ in range(2):
            await gateway.get("/a")
            await gateway.settled()
        assert origin.count("/a") == 2
