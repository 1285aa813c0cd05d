"""Over the wire, defaults only: which requests are no matter for the cache, and what they leave (http-caching: HEAD,
methods; RFC 9110 9.3.2, 9.3.3)."""

import asyncio
from typing import Any

import pytest

from proxy.invalidation.records import Kind, Purge, url_name
from proxy.message import Fields, Request
from proxy.outcome import Outcome, Verdict
from proxy.reasons import Why
from tests.support.gateway import HOST, Client, running
from tests.support.judged import Told, cc
from tests.support.origin import FIN, Origin
from tests.support.process import instances
from tests.support.rawtcp import raw
from tests.support.redis_servers import redis_server

MINUTE = cc("max-age=60")
HERE = ("Content-Location", "/a?b=1")


async def posted(origin: Origin, gateway: Client, status: int, fields: list[Told], asked: dict[str, str]) -> str:
    """What a GET says after a POST whose answer had these fields."""
    origin.answer("/a?b=1", status, fields, b"posted", times=1)
    origin.answer("/a?b=1", headers=[MINUTE], body=b"asked")
    got = await gateway.post("/a?b=1", b"content", {"Content-Type": "text/plain", **asked})
    assert (got.status, got.verdict, got.body) == (status, "BYPASS", b"posted")
    await gateway.settled()
    return (await gateway.get("/a?b=1")).body.decode()


@pytest.mark.parametrize(
    ("status", "fields", "asked", "serves"),
    [
        pytest.param(200, [MINUTE, HERE], {}, True, id="explicit freshness, and it is the target"),
        pytest.param(200, [MINUTE, ("Content-Location", f"http://{HOST}/a?b=1")], {}, True, id="as a whole URI"),
        pytest.param(200, [("Expires", "Fri, 31 Dec 2100 23:59:59 GMT"), HERE], {}, True, id="Expires"),
        pytest.param(200, [cc("public, max-age=60"), HERE], {"Authorization": "Basic YQ=="}, True, id="for everybody"),
        pytest.param(200, [MINUTE], {}, False, id="no Content-Location"),
        pytest.param(200, [MINUTE, ("Content-Location", "/a")], {}, False, id="another target"),
        pytest.param(200, [MINUTE, ("Content-Location", "http://x.example/a?b=1")], {}, False, id="another origin"),
        pytest.param(200, [MINUTE, HERE, ("Content-Location", "/b")], {}, False, id="two of them"),
        pytest.param(200, [("Last-Modified", "Tue, 14 Nov 2023 22:13:20 GMT"), HERE], {}, False, id="heuristics"),
        pytest.param(201, [MINUTE, HERE], {}, False, id="not the representation that a GET wants"),
        pytest.param(404, [MINUTE, HERE], {}, False, id="no success"),
        pytest.param(200, [cc("no-store, max-age=60"), HERE], {}, False, id="no-store"),
        pytest.param(200, [MINUTE, HERE], {"Authorization": "Basic YQ=="}, False, id="credentials"),
        pytest.param(200, [MINUTE, HERE], {"X-HTTP-Method-Override": "PUT"}, False, id="it was no POST"),
        pytest.param(200, [MINUTE, HERE, ("Vary", "Content-Type")], {}, False, id="a GET has no Content-Type"),
    ],
)
async def test_an_answer_to_post_may_serve_a_later_get(
    status: int, fields: list[Told], asked: dict[str, str], serves: bool
) -> None:
    """RFC 9110 9.3.3."""
    async with Origin() as origin, running(origin) as gateway:
        assert await posted(origin, gateway, status, fields, asked) == ("posted" if serves else "asked")
        assert origin.count() == (1 if serves else 2)


async def test_a_posts_answer_serves_get_and_head_and_no_other_post() -> None:
    """RFC 9110 9.3.3; RFC 9211 2.5: it says that it was stored."""
    async with Origin() as origin, running(origin) as gateway:
        origin.answer("/a", headers=[MINUTE, ("Content-Location", "/a"), ("ETag", '"1"')], body=b"posted")
        first = await gateway.post("/a", b"x")
        told = (first.header("cache-status") or "").split("; ")
        assert told[1] == "fwd=method"
        assert "stored" in told
        await gateway.settled()
        get, head = await gateway.get("/a"), await gateway.ask("HEAD", "/a")
        assert [(got.verdict, got.header("etag")) for got in (get, head)] == [("HIT", '"1"')] * 2
        assert (await gateway.post("/a", b"x")).verdict == "BYPASS"
        assert [request.method for request in origin.requests] == ["POST", "POST"]


async def test_only_a_post_does() -> None:
    async with Origin() as origin, running(origin) as gateway:
        for method in ("PUT", "PATCH", "DELETE"):
            origin.answer("/a", headers=[MINUTE, ("Content-Location", "/a")], body=b"x")
            await gateway.ask(method, "/a", data=b"x")
            await gateway.settled()
            assert (await gateway.get("/a")).verdict == "MISS"


async def test_a_posts_answer_takes_the_place_of_what_it_ended() -> None:
    """RFC 9111 4.4 first, RFC 9110 9.3.3 then: its own purge does not end it."""
    rules = [{"name": "r", "pattern": "*", "ttl": 60, "tags": ["t"], "invalidates": ["*", "tag:t"]}]
    async with Origin() as origin, running(origin, {"rules": rules}) as gateway:
        for path in ("/a", "/b"):
            origin.answer(path, headers=[MINUTE], body=b"old", times=1)
            await gateway.get(path)
        await gateway.settled()
        origin.answer("/a", headers=[MINUTE, ("Content-Location", "/a")], body=b"new")
        await gateway.post("/a", b"x")
        await gateway.settled()
        assert [(got.verdict, got.body) for got in [await gateway.get("/a")]] == [("HIT", b"new")]
        origin.answer("/b", body=b"new")
        assert (await gateway.get("/b")).verdict == "MISS"


async def test_a_get_that_another_service_answers_is_not_served_by_a_post() -> None:
    async with Origin() as origin, Origin() as other:
        rules = [{"pattern": "*", "upstream": "other", "ttl": 60}]
        async with running(origin, {"upstreams": {"other": {"url": other.url}}, "rules": rules}) as gateway:
            origin.answer("/a", headers=[MINUTE, ("Content-Location", "/a")], body=b"posted")
            other.answer("/a", body=b"other")
            assert (await gateway.post("/a", b"x")).body == b"posted"
            await gateway.settled()
            assert (await gateway.get("/a")).body == b"other"


@pytest.mark.parametrize("what", [{"url": "/a"}, {"pattern": "/*"}, {"tag": "t"}, {"all": True}, {"url": "/other"}])
@pytest.mark.parametrize("when", ["it is asked", "its body comes"])
async def test_a_purge_during_a_post_is_not_undone(what: dict[str, Any], when: str) -> None:
    async with Origin() as origin, running(origin) as gateway:
        fields = [MINUTE, ("Content-Location", "/a"), ("Surrogate-Key", "t")]
        if when == "it is asked":
            origin.answer("/a", headers=fields, body=b"old")
            gate = origin.hold("/a")
            asked = asyncio.ensure_future(gateway.post("/a", b"x"))
            await origin.arrived("/a")
        else:
            head = "".join(f"{name}: {value}\r\n" for name, value in [*fields, ("Content-Length", "3")])
            gate = type(origin.hold("/never"))()
            origin.script("/a", f"HTTP/1.1 200 OK\r\n{head}\r\n".encode(), gate, b"old")
            asked = asyncio.ensure_future(gateway.post("/a", b"x"))
            async with asyncio.timeout(20):
                while not len(gateway.gateway.tasks):  # its head has come, and it is being kept
                    await asyncio.sleep(0.001)
        await gateway.purge(**what)
        gate.release()
        assert (await asked).body == b"old"
        await gateway.settled()
        origin.answer("/a", headers=[MINUTE], body=b"new")
        assert (await gateway.get("/a")).body == (b"old" if what == {"url": "/other"} else b"new")


@pytest.mark.parametrize("moment", range(8))
@pytest.mark.parametrize("target", ["/a", "/other"])
async def test_no_moment_of_a_post_hides_a_purge(target: str, moment: int) -> None:
    """Step by step, since with several workers a purge may come between any two of them."""
    async with Origin() as origin, running(origin) as gateway:
        origin.answer("/a", headers=[MINUTE, ("Content-Location", "/a")], body=b"old", times=1)
        origin.answer("/a", headers=[MINUTE], body=b"new")
        inside, now = gateway.gateway, iter(range(8))
        posting, table, journal = inside.story.flying.posting, inside.story.pipeline.table, inside.log

        async def purged(name: str, at: int) -> int:
            return (await journal.apply(Purge(f"{name}{at}", Kind.URL, (url_name("", name),), False, 0.0, "x"))).number

        async def maybe() -> None:
            if next(now) == moment:
                await purged(target, 0)

        post = Request("POST", "http", HOST, "/a", Fields())
        await maybe()
        start = posting.begin(post)
        await maybe()
        answer = await inside.story.routes.send(post, table.unmatched)
        await maybe()
        offer = posting.offer(post, table.unmatched, answer, start, table)
        await maybe()
        own = [await purged("/a", 1)]
        await maybe()
        own.append(await purged("/b", 2))
        await maybe()
        reply = posting.keep(post, table.unmatched, offer, own, Outcome(Verdict.BYPASS, Why.METHOD))
        await maybe()
        if reply is None:
            await answer.close()
        await gateway.settled()
        await maybe()
        kept = (await gateway.get("/a")).body == b"old"
        if target == "/a":
            assert kept is (moment == 0)
        else:
            assert kept is (moment not in (3, 4))  # between its own it cannot be told, and is not kept


@pytest.mark.parametrize("framing", ["Content-Length: 99", "Transfer-Encoding: chunked", "Connection: close"])
async def test_a_posts_answer_without_a_proven_end_is_not_kept(framing: str) -> None:
    async with Origin() as origin, running(origin) as gateway, raw(gateway.port) as client:
        head = f"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Location: /a\r\n{framing}\r\n\r\n"
        origin.script("/a", head.encode() + b"4\r\nhalf\r\n", FIN, times=1)
        origin.answer("/a", headers=[MINUTE], body=b"whole")
        await client.send(b"POST /a HTTP/1.1\r\nHost: site.example\r\nContent-Length: 1\r\n\r\nx")
        assert not (await client.response()).complete
        await gateway.settled()
        assert (await gateway.get("/a")).body == b"whole"


async def test_with_redis_a_posts_answer_is_ended_by_whoever_purges_it() -> None:
    async with redis_server() as redis, Origin() as origin, instances(2, origin, {}, redis.url) as (a, b):
        origin.answer("/a", headers=[MINUTE, ("Content-Location", "/a")], body=b"posted", times=1)
        origin.answer("/a", headers=[MINUTE], body=b"asked")
        assert (await a.ask("POST", "/a", data=b"x")).body == b"posted"
        async with asyncio.timeout(20):
            while (await a.get("/a", {"Cache-Control": "only-if-cached"})).status != 200:  # until it is stored
                await asyncio.sleep(0.005)
        assert (await a.get("/a")).body == b"posted"
        assert (await b.get("/a")).body in (b"posted", b"asked")  # it may know of the POST's own purge alone
        assert (await b.admin("POST", "/purge", {"url": "/a"})).status == 200
        for each in (a, b):
            assert (await each.get("/a")).body == b"asked"
