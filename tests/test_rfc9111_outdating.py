"""Over the wire: what an answer that is not stored says of what is, and what of an answer is stored in part (RFC 9111
4.3.3, 4.3.5, 5.2.2.4, 5.2.2.7; RFC 8246 2.1)."""

import pytest

from tests.support.gateway import TOKEN, Client, Clock, running
from tests.support.judged import Told, cc
from tests.support.origin import FIN, Origin

SHORT = cc("max-age=10")
TAG = ("ETag", '"a"')
THEN = ("Last-Modified", "Tue, 14 Nov 2023 22:13:20 GMT")


async def filled(origin: Origin, gateway: Client, *fields: Told) -> None:
    """Something stored that is stale in a moment; then the origin says something else."""
    origin.answer("/a", headers=fields, body=b"body", times=1)
    await gateway.get("/a")
    await gateway.settled()


@pytest.mark.parametrize(
    ("told", "renewed"),
    [
        pytest.param([TAG, THEN, ("Content-Length", "4")], True, id="it agrees"),
        pytest.param([("Content-Length", "4")], True, id="it says little, and agrees"),
        pytest.param([("ETag", '"b"'), ("Content-Length", "4")], False, id="another tag"),
        pytest.param([("Last-Modified", "Tue, 14 Nov 2023 22:13:21 GMT")], False, id="another date"),
        pytest.param([TAG, ("Content-Length", "5")], False, id="another length"),
        pytest.param([TAG, ("Content-Length", "4"), ("Vary", "Foo")], False, id="it varies otherwise"),
    ],
)
async def test_a_head_renews_or_ends_what_a_get_stored(told: list[Told], renewed: bool) -> None:
    """RFC 9111 4.3.5 SHOULD; updated as 3.2 says."""
    clock = Clock()
    window = cc("max-age=10, stale-while-revalidate=60")
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        await filled(origin, gateway, window, TAG, THEN, ("X-A", "old"))
        clock.advance(100)
        lines = [f"{name}: {value}" for name, value in (*told, cc("max-age=60"), ("X-A", "new"))]
        origin.script("/a", ("HTTP/1.1 200 OK\r\n" + "\r\n".join(lines) + "\r\n\r\n").encode(), times=1)
        head = await gateway.ask("HEAD", "/a")
        assert (head.status, head.header("x-a")) == (200, "new")
        await gateway.settled()
        origin.answer("/a", headers=[SHORT], body=b"next")
        got = await gateway.get("/a")
        assert (got.verdict, got.body) == (("HIT", b"body") if renewed else ("MISS", b"next"))
        assert not renewed or got.header("x-a") == "new"


@pytest.mark.parametrize("asked", [{"Authorization": "Basic YQ=="}, {"Cookie": "a=b"}, {"Accept-Encoding": "gzip"}])
async def test_a_head_for_one_client_changes_nothing_for_the_others(asked: dict[str, str]) -> None:
    """RFC 9111 4.3.5: only what could have been chosen for that request."""
    clock = Clock()
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        await filled(origin, gateway, cc("public, max-age=10, stale-while-revalidate=60"), TAG)
        clock.advance(20)
        coding = [("Content-Encoding", "gzip")] if "Accept-Encoding" in asked else []
        origin.answer("/a", headers=[("ETag", '"mine"'), *coding], times=1)
        origin.answer("/a", headers=[SHORT], body=b"next")
        if "Accept-Encoding" not in asked:
            await gateway.ask("HEAD", "/a", {**asked, "If-Match": "*"})
        else:
            await gateway.ask("HEAD", "/a", {**asked, "Cache-Control": "no-cache", "Cachegate-Token": TOKEN})
        await gateway.settled()
        assert origin.last.method == "HEAD"
        assert (await gateway.get("/a")).body == b"body"


@pytest.mark.parametrize(
    ("status", "fields", "over"),
    [
        pytest.param(200, [cc("no-store")], True, id="another representation"),
        pytest.param(404, [], True, id="it is gone"),
        pytest.param(429, [], False, id="no word on it"),
        pytest.param(403, [], False, id="no word on it either"),
    ],
)
async def test_what_takes_its_place_ends_it_even_unstored(status: int, fields: list[Told], over: bool) -> None:
    """RFC 9111 4.3.3: none of the stored responses is suitable; so that it stands in for no error later."""
    clock = Clock()
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        await filled(origin, gateway, SHORT, TAG)
        clock.advance(11)
        origin.answer("/a", status, fields, b"other", times=1)
        origin.script("/a", FIN)
        assert (await gateway.get("/a")).body == b"other"
        await gateway.settled()
        later = await gateway.get("/a")
        assert (later.status, later.body == b"body") == ((502, False) if over else (200, True))


@pytest.mark.parametrize("said", ["private, max-age=60", "no-store"])
@pytest.mark.parametrize(
    ("first", "asked", "over"),
    [
        pytest.param("max-age=10", {}, True, id="it stands in for no error"),
        pytest.param("max-age=10, stale-while-revalidate=60", {}, True, id="nor is it served in its window"),
        pytest.param("public, max-age=10", {"Authorization": "Basic YQ=="}, False, id="told to one person"),
        pytest.param("max-age=10", {"Cache-Control": "no-store"}, False, id="what a client forbids"),
    ],
)
async def test_a_304_that_forbids_storing_ends_what_it_confirms(
    first: str, asked: dict[str, str], over: bool, said: str
) -> None:
    """RFC 9111 3.2, 4.3.4: what is stored would have to say so too, and may not be stored any longer."""
    clock = Clock()
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        await filled(origin, gateway, cc(first), TAG)
        clock.advance(11)
        origin.answer("/a", 304, [cc(said), TAG], times=1)
        origin.script("/a", FIN)
        assert (await gateway.get("/a", asked)).body == b"body"
        await gateway.settled()
        later = await gateway.get("/a")
        assert (later.status, later.verdict) == ((502, "MISS") if over else (200, "STALE"))


async def test_a_refresh_that_brings_something_else_ends_the_window() -> None:
    """RFC 5861 3: served stale while it is revalidated, not after it turned out to be over."""
    clock = Clock()
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        await filled(origin, gateway, cc("max-age=10, stale-while-revalidate=60"), TAG)
        clock.advance(11)
        origin.answer("/a", headers=[cc("private, max-age=60")], body=b"mine")
        assert (await gateway.get("/a")).verdict == "UPDATING"
        await gateway.settled()
        assert (await gateway.get("/a")).body == b"mine"


@pytest.mark.parametrize("form", ["private", "no-cache"])
@pytest.mark.parametrize("name", ["Cache-Control", "CDN-Cache-Control"])
async def test_qualified_directives_keep_the_rest(form: str, name: str) -> None:
    """RFC 9111 5.2.2.4, 5.2.2.7: the fields that are named go to who asked, are not stored, and the rest is."""
    clock = Clock()
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        said = (name, f'max-age=10, {form}="X-Mine, x-other"')
        await filled(origin, gateway, said, ("X-Mine", "1"), ("x-other", "2"), ("X-All", "3"), TAG)
        origin.answer("/a", 304, [said, ("X-Mine", "4"), TAG])
        got = await gateway.get("/a")
        told = [got.header(each) for each in ("x-mine", "x-other", "x-all")]
        assert (got.verdict, got.body, told) == ("HIT", b"body", [None, None, "3"])
        clock.advance(11)
        validated = await gateway.get("/a")
        assert (validated.verdict, validated.header("x-mine")) == ("REVALIDATED", "4")
        await gateway.settled()
        assert (await gateway.get("/a")).header("x-mine") is None


async def test_who_asked_is_told_what_is_withheld_from_the_others() -> None:
    async with Origin() as origin, running(origin) as gateway:
        origin.answer("/a", headers=[cc('max-age=10, private="X-Mine"'), ("X-Mine", "1")], body=b"x")
        assert [(await gateway.get("/a")).header("x-mine") for _ in range(2)] == ["1", None]


@pytest.mark.parametrize(("said", "asked"), [("immutable", 1), ("foo", 2)])
async def test_what_cannot_change_is_not_refreshed_ahead(said: str, asked: int) -> None:
    """RFC 8246 2.1 SHOULD."""
    clock = Clock()
    rules = {"rules": [{"pattern": "*", "refresh_ahead": 0.5}]}
    async with Origin() as origin, running(origin, rules, clock=clock) as gateway:
        origin.answer("/a", headers=[cc(f"max-age=60, {said}")], body=b"x")
        await gateway.get("/a")
        await gateway.settled()
        clock.advance(40)
        assert (await gateway.get("/a")).verdict == "HIT"
        await gateway.settled()
        assert origin.count("/a") == asked
