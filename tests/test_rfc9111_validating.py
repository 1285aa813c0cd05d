"""Over the wire: how a stored answer is validated, and what the outcome means (RFC 9111 3.2, 4.3.1-4.3.4)."""

import pytest

from tests.support.gateway import Clock, running
from tests.support.judged import Told, cc
from tests.support.origin import Origin, Recorded
from tests.support.rawtcp import raw

SHORT = cc("max-age=1")
TAG = ("ETag", '"a"')
THEN = ("Last-Modified", "Tue, 14 Nov 2023 22:13:20 GMT")


@pytest.mark.parametrize(
    ("fields", "match", "since"),
    [
        pytest.param([TAG, THEN], '"a"', THEN[1], id="both, where there are both"),
        pytest.param([("ETag", 'W/"a"')], 'W/"a"', None, id="a weak tag too"),
        pytest.param([THEN], None, THEN[1], id="a date alone"),
        pytest.param([], None, None, id="nothing to validate with"),
    ],
)
async def test_what_is_asked(fields: list[Told], match: str | None, since: str | None) -> None:
    """RFC 9111 4.3.1: the entity tag MUST, the date SHOULD be sent; with what the variant was chosen by, and without
    the client's own conditions, which are not ours."""
    clock = Clock()
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        origin.answer("/a", headers=[SHORT, ("Vary", "Foo"), *fields], body=b"x")
        await gateway.get("/a", {"Foo": "1"})
        await gateway.settled()
        clock.advance(2)
        await gateway.get(
            "/a", {"Foo": "1", "If-None-Match": '"c"', "If-Modified-Since": "Mon, 01 Jan 2001 00:00:00 GMT"}
        )
        assert (origin.last.header("if-none-match"), origin.last.header("if-modified-since")) == (match, since)
        assert origin.last.header("foo") == "1"


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        pytest.param({}, 200, id="no condition of its own"),
        pytest.param({"If-None-Match": '"a"'}, 304, id="it has this one"),
        pytest.param({"If-None-Match": '"b", "c"'}, 200, id="it has others"),
        pytest.param({"If-Modified-Since": THEN[1]}, 304, id="it has one of that time"),
        pytest.param({"If-Modified-Since": "Mon, 01 Jan 2001 00:00:00 GMT"}, 200, id="it has an older one"),
        pytest.param({"If-None-Match": '"b"', "If-Modified-Since": THEN[1]}, 200, id="the tag comes first"),
    ],
)
async def test_a_304_answers_every_client_for_himself(asked: dict[str, str], status: int) -> None:
    """RFC 9111 4.3.2: 200 for a client whose list does not hold what the 304 confirms."""
    clock = Clock()
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        origin.answer("/a", headers=[SHORT, TAG, THEN], body=b"body", times=1)
        origin.answer("/a", 304, [TAG, cc("max-age=60"), ("X-New", "1")])
        await gateway.get("/a")
        await gateway.settled()
        clock.advance(2)
        got = await gateway.get("/a", asked)
        assert (got.status, got.body, got.header("x-new")) == (status, b"body" if status == 200 else b"", "1")
        await gateway.settled()
        later = await gateway.get("/a", asked)
        assert (later.status, later.verdict, later.header("x-new"), origin.count()) == (status, "HIT", "1", 2)


async def test_a_304_renews_the_stored_fields_but_not_what_describes_its_bytes() -> None:
    """RFC 9111 3.2, 4.3.4."""
    clock = Clock()
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        old = [SHORT, TAG, ("X-A", "1"), ("X-A", "2"), ("X-B", "old"), ("Content-Type", "text/plain"), ("Age", "0")]
        origin.answer("/a", headers=old, body=b"body", times=1)
        new = [TAG, cc("max-age=60"), ("X-A", "3"), ("X-C", "new"), ("Content-Type", "text/html")]
        origin.answer("/a", 304, [*new, ("Content-Length", "99"), ("Content-Encoding", "gzip")])
        await gateway.get("/a")
        await gateway.settled()
        clock.advance(2)
        for verdict in ("REVALIDATED", "HIT"):
            got = await gateway.get("/a")
            await gateway.settled()
            told = [got.header(name) for name in ("x-a", "x-b", "x-c", "content-type", "cache-control")]
            assert (got.verdict, got.body, told) == (verdict, b"body", ["3", "old", "new", "text/html", "max-age=60"])
            assert (got.header("content-length"), got.header("content-encoding")) == ("4", None)


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        *((name, "own") for name in ("Content-Range", "Content-MD5", "Content-Digest", "Repr-Digest", "Digest")),
        *((name, None) for name in ("Proxy-Authenticate", "Proxy-Authentication-Info", "Proxy-Authorization")),
        *((name, None) for name in ("Keep-Alive", "Proxy-Connection", "TE", "Trailer", "Upgrade", "HTTP2-Settings")),
        *((name, None) for name in ("Close", "Connection", "X-Nominated")),
    ],
)
async def test_a_304_tells_of_its_own_message_what_is_not_the_stored_ones(name: str, stored: str | None) -> None:
    """RFC 9111 3.1, 3.2; RFC 9110 7.6.1: neither to who asked nor to the next, from a revalidation and from a HEAD."""
    clock = Clock()
    async with Origin() as origin, running(origin, clock=clock) as gateway, raw(gateway.port) as client:
        own = [] if stored is None else [(name, stored)]
        origin.answer("/a", headers=[cc("max-age=10"), TAG, *own], body=b"body", times=1)
        said = [TAG, cc("max-age=10"), ("Connection", "X-Nominated"), (name, "x-nominated")]
        origin.answer("/a", 304, said, times=1)
        origin.script("/a", "".join(["HTTP/1.1 200 OK\r\n", *(f"{n}: {v}\r\n" for n, v in said), "\r\n"]).encode())
        await client.get("/a")
        await gateway.settled()
        for method, verdicts in (("GET", ["REVALIDATED", "HIT"]), ("HEAD", ["EXPIRED", "HIT"])):
            clock.advance(11)
            for verdict in verdicts:
                got = await client.get("/a", method=method if verdict != "HIT" else "GET")
                await gateway.settled()
                assert got.header("x-cache") == verdict
                assert verdict == "EXPIRED" or got.header(name) == stored


async def test_a_304_ends_the_age_and_the_date_that_were_stored() -> None:
    """RFC 9111 3.2, 4.2.3: both are of one message, told or not; without a Date it has the time at which it came."""
    clock = Clock(1_700_000_000.0)
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        origin.answer("/a", headers=[SHORT, TAG, ("Date", THEN[1]), ("Age", "1")], body=b"body", times=1)
        origin.answer("/a", 304, [TAG, cc("max-age=60")])
        await gateway.get("/a")
        await gateway.settled()
        clock.advance(100)
        for verdict in ("REVALIDATED", "HIT"):
            got = await gateway.get("/a")
            await gateway.settled()
            told = got.verdict, got.header("age"), got.header("date")
            assert told == (verdict, "0", "Tue, 14 Nov 2023 22:15:00 GMT")


async def test_a_cookie_that_a_304_sets_is_for_who_asked() -> None:
    """http-caching: Set-Cookie is not stored; RFC 9111 7.3."""
    clock = Clock()
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        origin.answer("/a", headers=[SHORT, TAG], body=b"body", times=1)
        origin.answer("/a", 304, [TAG, cc("max-age=60"), ("Set-Cookie", "a=b")])
        await gateway.get("/a")
        await gateway.settled()
        clock.advance(2)
        for verdict, cookie in (("REVALIDATED", "a=b"), ("HIT", None)):
            got = await gateway.get("/a")
            await gateway.settled()
            assert (got.verdict, got.body, got.header("set-cookie")) == (verdict, b"body", cookie)


@pytest.mark.parametrize("told", [[("ETag", '"b"')], [TAG, ("Vary", "Foo")]])
async def test_a_304_for_something_else_is_asked_again(told: list[Told]) -> None:
    """RFC 9111 4.3.4 MUST NOT: it updates nothing that it does not identify."""
    clock = Clock()

    def say(request: Recorded) -> bytes:
        return b"new"

    async with Origin() as origin, running(origin, clock=clock) as gateway:
        origin.answer("/a", headers=[SHORT, TAG], body=b"old", times=1)
        origin.answer("/a", 304, [*told, cc("max-age=60")], times=1)
        origin.answer("/a", headers=[cc("max-age=60"), ("ETag", '"b"')], body=say)
        await gateway.get("/a")
        await gateway.settled()
        clock.advance(2)
        assert (await gateway.get("/a")).body == b"new"
        assert origin.last.header("if-none-match") is None
        await gateway.settled()
        assert (await gateway.get("/a")).body == b"new"
        assert origin.count() == 3


@pytest.mark.parametrize(("status", "body"), [(200, b"new"), (404, b"gone"), (410, b"gone"), (301, b"moved")])
async def test_a_full_answer_takes_the_place(status: int, body: bytes) -> None:
    """RFC 9111 4.3.3: it MUST be used, and may be stored."""
    clock = Clock()
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        origin.answer("/a", headers=[SHORT, TAG], body=b"old", times=1)
        origin.answer("/a", status, [cc("max-age=60")], body)
        await gateway.get("/a")
        await gateway.settled()
        clock.advance(2)
        for verdict in ("EXPIRED", "HIT"):
            got = await gateway.get("/a")
            await gateway.settled()
            assert (got.status, got.verdict, got.body) == (status, verdict, body)


async def test_a_5xx_to_a_validation_is_passed_on_where_nothing_may_stand_in() -> None:
    """RFC 9111 4.3.3, and the stored answer is not lost by it."""
    clock = Clock()
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        origin.answer("/a", headers=[cc("max-age=1, must-revalidate"), TAG], body=b"good", times=1)
        origin.answer("/a", 503, [cc("max-age=60")], b"bad", times=1)
        origin.answer("/a", 304, [TAG])
        await gateway.get("/a")
        await gateway.settled()
        clock.advance(2)
        got = await gateway.get("/a")
        assert (got.status, got.body) == (503, b"bad")
        await gateway.settled()
        again = await gateway.get("/a")
        assert (again.status, again.verdict, again.body) == (200, "REVALIDATED", b"good")


@pytest.mark.parametrize("name", ["If-Match", "If-Unmodified-Since"])
async def test_conditions_for_the_origin_go_to_the_origin(name: str) -> None:
    """RFC 9111 4.3.2 MUST NOT: we do not evaluate them, and keep nothing of the answer."""
    value = '"z"' if name == "If-Match" else THEN[1]
    async with Origin() as origin, running(origin) as gateway:
        origin.answer("/a", headers=[cc("max-age=60"), TAG], body=b"x", times=1)
        origin.answer("/a", 412, [cc("max-age=60")])
        await gateway.get("/a")
        await gateway.settled()
        assert (await gateway.get("/a", {name: value})).status == 412
        assert origin.last.header(name) == value
        await gateway.settled()
        got = await gateway.get("/a")
        assert (got.status, got.body, got.verdict) == (200, b"x", "HIT")


async def test_a_condition_that_meets_nothing_stored_is_not_answered_before_the_origin_was() -> None:
    """RFC 9111 4.3.2 MUST NOT."""
    async with Origin() as origin, running(origin) as gateway:
        origin.answer("/a", headers=[cc("max-age=60"), TAG], body=b"x")
        assert (await gateway.get("/a", {"If-None-Match": "*"})).status == 304
        assert origin.count("/a") == 1
        origin.answer("/b", 404, [cc("max-age=60"), TAG], b"none")
        assert (await gateway.get("/b", {"If-None-Match": "*"})).status == 404


async def test_date_stands_in_for_a_last_modified_that_is_not_there() -> None:
    """RFC 9111 4.3.2 SHOULD; an answer without Date has the time at which it came."""
    clock = Clock(1_700_000_000.0)
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        origin.answer("/dated", headers=[cc("max-age=60"), ("Date", THEN[1])], body=b"x")
        origin.answer("/bare", headers=[cc("max-age=60")], body=b"x")
        for path in ("/dated", "/bare"):
            await gateway.get(path)
            await gateway.settled()
            assert (await gateway.get(path, {"If-Modified-Since": THEN[1]})).status == 304
            assert (await gateway.get(path, {"If-Modified-Since": "Tue, 14 Nov 2023 22:13:19 GMT"})).status == 200
