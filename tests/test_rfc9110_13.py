"""RFC 9110 13 (conditional requests) over the wire; tables are in test_policy_conditional and test_policy_ranges."""

from email.utils import formatdate

import pytest

from tests.support.gateway import Clock, running
from tests.support.origin import Origin

TAG = ("ETag", '"v1"')
OLD = "Sun, 06 Nov 1994 08:49:37 GMT"
CACHED = [("Cache-Control", "max-age=60"), TAG, ("Last-Modified", OLD)]
RANGE = {"Range": "bytes=2-4"}


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        pytest.param({"If-None-Match": '"v1"'}, 304, id="13.1.2"),
        pytest.param({"If-None-Match": 'W/"v1"'}, 304, id="13.1.2 weakly"),
        pytest.param({"If-None-Match": '"x", "v1"'}, 304, id="13.1.2 one of a list"),
        pytest.param({"If-None-Match": 'W/"v1" ,"x"'}, 304, id="13.1.2 the first of a list"),
        pytest.param({"If-None-Match": "*"}, 304, id="13.1.2 any"),
        pytest.param({"If-None-Match": '"x"'}, 200, id="13.1.2 another"),
        pytest.param({"If-Modified-Since": OLD}, 304, id="13.1.3"),
        pytest.param({"If-Modified-Since": "Sunday, 06-Nov-94 08:49:37 GMT"}, 304, id="13.1.3 another form"),
        pytest.param({"If-Modified-Since": "Sun, 06 Nov 1994 08:49:36 GMT"}, 200, id="13.1.3 modified since"),
        pytest.param({"If-Modified-Since": "Sun, 06 Nov 1994 08:49:38 GMT"}, 304, id="13.1.3 not since then"),
        pytest.param({"If-Modified-Since": "yesterday"}, 200, id="13.1.3 no date"),
        pytest.param({"If-Modified-Since": f"{OLD}, {OLD}"}, 200, id="13.1.3 two"),
        pytest.param({"If-None-Match": '"x"', "If-Modified-Since": OLD}, 200, id="13.2.2 tags win"),
        pytest.param({"If-None-Match": '"v1"', **RANGE}, 304, id="13.2.2 before the range"),
        pytest.param({"If-None-Match": '"x"', **RANGE}, 206, id="13.2.2 then the range"),
        pytest.param({"If-None-Match": '"x"', "If-Range": '"v1"', **RANGE}, 206, id="13.2.2 then If-Range"),
        pytest.param({"If-None-Match": '"x"', "If-Range": '"x"', **RANGE}, 200, id="13.2.2 then If-Range, false"),
        pytest.param({"If-Modified-Since": OLD, "If-Range": '"x"', **RANGE}, 304, id="13.2.2 step 4 before step 5"),
        pytest.param({"If-Range": '"v1"', **RANGE}, 206, id="13.1.5 the same tag"),
        pytest.param({"If-Range": 'W/"v1"', **RANGE}, 200, id="13.1.5 weak"),
        pytest.param({"If-Range": '"v2"', **RANGE}, 200, id="13.1.5 another tag"),
        pytest.param({"If-Range": OLD, **RANGE}, 206, id="13.1.5 the same date"),
        pytest.param({"If-Range": "Sun Nov  6 08:49:37 1994", **RANGE}, 206, id="13.1.5 in another form"),
        pytest.param({"If-Range": "Sun, 06 Nov 1994 08:49:38 GMT", **RANGE}, 200, id="13.1.5 a later date"),
        pytest.param({"If-Range": "v1", **RANGE}, 200, id="13.1.5 neither"),
        pytest.param({"If-Range": '"v1", "v2"', **RANGE}, 200, id="13.1.5 a list is neither"),
        pytest.param({"If-Range": '"v1"'}, 200, id="13.1.5 without a range it says nothing"),
        pytest.param({"If-Range": '"x"'}, 200, id="13.1.5 nor here"),
    ],
)
async def test_conditions_are_answered_from_store(asked: dict[str, str], status: int) -> None:
    """13.2.1, 13.2.2; also what a client is told of a GET is told of a HEAD, but for ranges."""
    bodies = {200: b"0123456789", 206: b"234", 304: b""}
    async with Origin() as origin, running(origin) as gateway:
        origin.answer("/a", headers=CACHED, body=bodies[200])
        await gateway.get("/a")
        got, head = await gateway.get("/a", asked), await gateway.ask("HEAD", "/a", asked)
        assert (got.status, got.body, got.verdict) == (status, bodies[status], "HIT")
        assert (head.status, head.body, head.verdict) == (304 if status == 304 else 200, b"", "HIT")
        assert origin.count() == 1


async def test_a_date_that_is_not_strong_does_not_join_parts() -> None:
    """8.8.2.2, 13.1.5: modified in the very minute in which it was sent."""
    clock = Clock()
    modified = formatdate(clock.now - 30, usegmt=True)
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        origin.answer("/a", headers=[("Cache-Control", "max-age=60"), ("Last-Modified", modified)], body=b"0123456789")
        await gateway.get("/a")
        assert (await gateway.get("/a", {"If-Range": modified, **RANGE})).status == 200
        assert (await gateway.get("/a", {"If-Modified-Since": modified})).status == 304  # here it need not be


async def test_a_weak_tag_does_not_join_parts() -> None:
    """8.8.3.2, 13.1.5: neither does a strong one of the client's join it."""
    async with Origin() as origin, running(origin) as gateway:
        origin.answer("/a", headers=[("Cache-Control", "max-age=60"), ("ETag", 'W/"v1"')], body=b"0123456789")
        await gateway.get("/a")
        for tag in ('W/"v1"', '"v1"'):
            assert (await gateway.get("/a", {"If-Range": tag, **RANGE})).status == 200
            assert (await gateway.get("/a", {"If-None-Match": tag})).status == 304  # here it may be


@pytest.mark.parametrize(
    ("status", "told"),
    [
        pytest.param(404, 404, id="13.2.1 an error is told"),
        pytest.param(301, 301, id="13.2.1 a redirect is told"),
        pytest.param(203, 304, id="13.2.1 another success"),
    ],
)
async def test_conditions_count_for_a_success_alone(status: int, told: int) -> None:
    async with Origin() as origin, running(origin) as gateway:
        origin.answer("/a", status, headers=CACHED, body=b"x")
        for verdict in ("MISS", "HIT"):
            got = await gateway.get("/a", {"If-None-Match": '"v1"', "Range": "bytes=0-0"} if verdict == "HIT" else {})
            assert (got.status, got.verdict) == (told if verdict == "HIT" else status, verdict)


@pytest.mark.parametrize("name", ["If-Match", "If-Unmodified-Since"])
async def test_what_only_the_origin_may_evaluate_is_sent_to_it(name: str) -> None:
    """13.1.1, 13.1.4, RFC 9111 4.3.2: a fresh copy answers nothing, and nothing of the answer is kept."""
    values = {"If-Match": '"other"', "If-Unmodified-Since": OLD}
    async with Origin() as origin, running(origin) as gateway:
        origin.answer("/a", headers=CACHED, body=b"x", times=1)
        origin.answer("/a", 412, headers=CACHED, body=b"no")
        await gateway.get("/a")
        got = await gateway.get("/a", {name: values[name]})
        assert (got.status, got.header("cache-status")) == (412, "cachegate; fwd=request; detail=precondition")
        assert origin.last.header(name) == values[name]
        await gateway.settled()
        got = await gateway.get("/a")
        assert (got.status, got.body, got.verdict) == (200, b"x", "HIT")


async def test_a_condition_on_another_method_is_the_origins() -> None:
    """13.1.2, 13.2.1: it means 412, which a stored answer to the same POST does not know."""
    rules = [{"pattern": "*", "methods": ["POST"], "ttl": 60}]
    async with Origin() as origin, running(origin, {"rules": rules}) as gateway:
        origin.answer("/a", headers=CACHED, body=b"x", times=1)
        origin.answer("/a", 412)
        assert (await gateway.post("/a", b"q")).verdict == "MISS"
        got = await gateway.post("/a", b"q", {"If-None-Match": "*"})
        assert (got.status, got.detail, origin.last.header("if-none-match")) == (412, "precondition", "*")
        assert (await gateway.post("/a", b"q")).verdict == "HIT"


CONDITIONS = {
    "If-Match": '"1"',
    "If-None-Match": '"2", W/"3"',
    "If-Modified-Since": OLD,
    "If-Unmodified-Since": OLD,
    "If-Range": '"4"',
    "Range": "bytes=0-1,5-",
}


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_where_we_are_no_cache_conditions_are_forwarded_and_not_evaluated(method: str) -> None:
    """13.2.1."""
    off = {"rules": [{"pattern": "*", "mode": "off"}]}
    async with Origin() as origin, running(origin, off) as gateway:
        origin.answer("/a", headers=[TAG, ("Last-Modified", OLD)], body=b"x")
        got = await gateway.ask(method, "/a", CONDITIONS)
        assert (got.status, got.verdict) == (200, "BYPASS")
        assert {name: origin.last.header(name) for name in CONDITIONS} == CONDITIONS


NEW = [("Cache-Control", "max-age=60"), ("ETag", '"v2"')]
PASSED = [("Cache-Control", "no-store"), ("ETag", '"v2"')]


@pytest.mark.parametrize(
    ("brought", "mine", "status", "body"),
    [
        pytest.param((304, CACHED, b""), '"v1"', 304, b"", id="confirmed: it has this one"),
        pytest.param((304, CACHED, b""), '"v2"', 200, b"old", id="confirmed: it has another"),
        pytest.param((200, NEW, b"new"), '"v1"', 200, b"new", id="new: it has the old one"),
        pytest.param((200, NEW, b"new"), '"v2"', 304, b"", id="new: it has it already"),
        pytest.param((200, PASSED, b"new"), '"v1"', 200, b"new", id="not to be kept: it has the old one"),
        pytest.param((200, PASSED, b"new"), '"v2"', 304, b"", id="not to be kept: it has it already"),
        pytest.param((503, [], b"bad"), '"v1"', 304, b"", id="failed: it has what stands in"),
        pytest.param((503, [], b"bad"), '"v2"', 200, b"old", id="failed: it has another"),
        pytest.param((404, CACHED, b"gone"), '"v1"', 404, b"gone", id="gone: whatever it has"),
    ],
)
async def test_a_client_condition_is_answered_from_what_a_revalidation_brought(
    brought: tuple[int, list[tuple[str, str]], bytes], mine: str, status: int, body: bytes
) -> None:
    """13.2.1, 15.4.5: ours goes upstream, the client's own is answered from the outcome."""
    clock = Clock()
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        origin.answer("/a", headers=CACHED, body=b"old", times=1)
        origin.answer("/a", *brought)
        await gateway.get("/a")
        await gateway.settled()
        clock.advance(61)
        got = await gateway.get("/a", {"If-None-Match": mine})
        assert (got.status, got.body) == (status, body)
        assert [request.header("if-none-match") for request in origin.requests] == [None, '"v1"']


@pytest.mark.parametrize("asked", [{}, {"If-None-Match": '"x"'}])
async def test_no_if_range_goes_without_a_range(asked: dict[str, str]) -> None:
    """13.1.5 MUST NOT: where the fetch is for the cache, both fields stay behind."""
    clock = Clock()
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        origin.answer("/a", headers=CACHED, body=b"0123456789")
        await gateway.get("/a", {"If-Range": '"v1"', **asked})  # nothing is stored
        assert [origin.last.header(name) for name in ("if-range", "range")] == [None, None]
        await gateway.settled()
        clock.advance(61)
        assert (await gateway.get("/a", {"If-Range": '"v1"', **RANGE, **asked})).status == 206  # it is stale
        assert [origin.last.header(name) for name in ("if-range", "range", "if-none-match")] == [None, None, '"v1"']


async def test_what_a_request_says_of_ranges_beside_range_is_nothing() -> None:
    """14.4 MUST: a Content-Range in a GET."""
    async with Origin() as origin, running(origin) as gateway:
        origin.answer("/a", headers=CACHED, body=b"0123456789")
        for verdict in ("MISS", "HIT"):
            got = await gateway.get("/a", {"Content-Range": "bytes 0-1/2", "Accept-Ranges": "none"})
            assert (got.status, got.body, got.verdict) == (200, b"0123456789", verdict)
            await gateway.settled()
