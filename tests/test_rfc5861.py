"""Over the wire: stale-while-revalidate and stale-if-error (RFC 5861 3, 4)."""

import asyncio
from email.utils import formatdate

import pytest

from tests.support.gateway import Clock, running
from tests.support.judged import Told, cc
from tests.support.origin import FIN, Origin

BEHIND = cc("max-age=600, stale-while-revalidate=30, stale-if-error=0")
ON_ERROR = cc("max-age=600, stale-if-error=1200")  # the example of 4.1


async def test_in_the_window_it_is_served_at_once_and_refreshed_once_behind() -> None:
    """RFC 5861 3: SHOULD attempt to revalidate, without blocking; it is visibly stale."""
    clock = Clock()
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        origin.answer("/a", headers=[BEHIND, ("ETag", '"a"')], body=b"x", times=1)
        origin.answer("/a", 304, [("ETag", '"a"')])
        await gateway.get("/a")
        await gateway.settled()
        clock.advance(629)
        gate = origin.hold("/a")
        got = [await gateway.get("/a") for _ in range(3)]
        assert {(each.verdict, each.body, each.header("age")) for each in got} == {("UPDATING", b"x", "629")}
        await origin.arrived("/a", 2)
        gate.release()
        await gateway.settled()
        assert (origin.count("/a"), origin.last.header("if-none-match")) == (2, '"a"')
        assert (await gateway.get("/a")).verdict == "HIT"


async def test_after_the_window_the_request_waits() -> None:
    """RFC 5861 3: SHOULD NOT continue to be served stale, 3.1: the next request will block."""
    clock = Clock()
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        origin.answer("/a", headers=[BEHIND, ("ETag", '"a"')], body=b"old", times=1)  # kept, to be validated
        origin.answer("/a", headers=[BEHIND], body=b"new")
        await gateway.get("/a")
        await gateway.settled()
        clock.advance(630)
        gate = origin.hold("/a")
        asked = asyncio.ensure_future(gateway.get("/a"))
        await origin.arrived("/a", 2)
        assert not asked.done()
        gate.release()
        assert (await asked).body == b"new"


@pytest.mark.parametrize(("over", "verdict"), [(20, "UPDATING"), (40, "EXPIRED")])
async def test_the_window_begins_when_freshness_ended(over: int, verdict: str) -> None:
    """RFC 5861 3, RFC 9111 4.2.1: which may have been before the answer came."""
    clock = Clock()
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        dates = [("Date", formatdate(clock.now, usegmt=True)), ("Expires", formatdate(clock.now - over, usegmt=True))]
        origin.answer("/a", headers=[*dates, cc("stale-while-revalidate=30"), ("ETag", '"a"')], body=b"x")
        await gateway.get("/a")
        await gateway.settled()
        assert (await gateway.get("/a")).verdict == verdict


async def test_a_refresh_that_fails_leaves_the_window_as_it_was() -> None:
    """RFC 5861 3.1: if validation is inconclusive, the window ends when it would have ended."""
    clock = Clock()
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        origin.answer("/a", headers=[BEHIND], body=b"old", times=1)
        origin.script("/a", FIN)
        await gateway.get("/a")
        await gateway.settled()
        for later, verdict in ((610, "UPDATING"), (15, "UPDATING"), (5, "MISS")):
            clock.advance(later)
            assert (await gateway.get("/a")).verdict == verdict
            await gateway.settled()


async def test_without_a_request_nothing_is_refreshed() -> None:
    """RFC 5861 5: predicated upon an incoming request."""
    clock = Clock()
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        origin.answer("/a", headers=[BEHIND], body=b"x")
        await gateway.get("/a")
        await gateway.settled()
        clock.advance(615)
        await gateway.get("/b")
        await gateway.settled()
        assert origin.count("/a") == 1


@pytest.mark.parametrize("more", [[], [("ETag", '"a"')]], ids=["no validator", "kept to be validated"])
@pytest.mark.parametrize("trouble", ["500", "501", "502", "503", "504", "599", "dropped", "refused"])
async def test_the_example_of_stale_if_error(trouble: str, more: list[Told]) -> None:
    """RFC 5861 4, 4.1: at 900 s the stored answer with its Age, after 1800 s the error. http-caching: of any 5xx."""
    clock = Clock()
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        origin.answer("/a", headers=[ON_ERROR, *more], body=b"success", times=1)
        if trouble.isdigit():
            origin.answer("/a", int(trouble), body=b"failure")
        else:
            origin.script("/a", FIN)
        await gateway.get("/a")
        await gateway.settled()
        if trouble == "refused":
            await origin.stop()
        clock.advance(900)
        got = await gateway.get("/a")
        assert (got.status, got.body, got.header("age")) == (200, b"success", "900")
        assert got.header("cache-control") == ON_ERROR[1]
        clock.advance(900)
        late = await gateway.get("/a")
        assert (late.status, late.body == b"success") == (int(trouble) if trouble.isdigit() else 502, False)


@pytest.mark.parametrize("status", [400, 404, 429])
async def test_what_is_no_error_of_the_server_is_an_answer(status: int) -> None:
    """RFC 5861 4."""
    clock = Clock()
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        origin.answer("/a", headers=[ON_ERROR], body=b"success", times=1)
        origin.answer("/a", status, body=b"answer")
        await gateway.get("/a")
        await gateway.settled()
        clock.advance(900)
        got = await gateway.get("/a")
        assert (got.status, got.body) == (status, b"answer")


@pytest.mark.parametrize(
    ("said", "asked", "later", "status"),
    [
        pytest.param("max-age=10, stale-if-error=0", "stale-if-error=60", 40, 200, id="wider"),
        pytest.param("max-age=10, stale-if-error=0", "stale-if-error=60", 71, 503, id="wider, and over"),
        pytest.param("max-age=10, stale-if-error=600", "stale-if-error=5", 40, 503, id="narrower"),
        pytest.param("max-age=10, must-revalidate", "stale-if-error=60", 40, 503, id="forbidden"),
    ],
)
async def test_a_clients_own_stale_if_error(said: str, asked: str, later: float, status: int) -> None:
    """RFC 5861 4: its scope is the request it appears in."""
    clock = Clock()
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        origin.answer("/a", headers=[cc(said), ("ETag", '"a"')], body=b"x", times=1)
        origin.answer("/a", 503)
        await gateway.get("/a")
        await gateway.settled()
        clock.advance(later)
        assert (await gateway.get("/a", {"Cache-Control": asked})).status == status
