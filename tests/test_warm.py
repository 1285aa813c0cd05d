"""Jobs that fetch answers before clients ask for them: by the admin pages, in a gateway of one process (60, 62)."""

import asyncio
from typing import Any

import pytest

from proxy.warming_jobs import FAILURES, KEPT, RUNNING, Board, End, Progress
from tests.support.gateway import Clock, running
from tests.support.origin import Origin
from tests.support.warming import begun, counts, over, told, url, warmed

RULES: dict[str, Any] = {
    "rules": [{"name": "all", "pattern": "*", "ttl": 60, "key": {"headers": ["x-tenant"]}}],
    "warm": {"rate": 0},
}
FAST = {"warm": {"rate": 0}}


# -- what a job does ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "tiers",
    [
        {},
        pytest.param({"memory": {"max_entries": 0}}, marks=pytest.mark.slow),
        pytest.param({"file": {"enabled": False}}, marks=pytest.mark.slow),
    ],
    ids=["all", "no memory", "no files"],
)
async def test_a_thousand_urls_in_one_job_then_each_is_a_hit(tiers: dict[str, Any]) -> None:
    """The same ones again are fresh: nothing is fetched."""
    async with Origin() as origin, running(origin, {**RULES, **tiers}) as gateway:
        origin.otherwise([], lambda request: request.target.encode())
        urls = [url(f"/item/{n}?q={n}") for n in range(1000)]
        job = await warmed(gateway, urls=[*urls, urls[0]])
        assert (counts(job), job["done"], job["ended"]) == ((1000, 1000, 0, 0), 1000, "complete")
        assert origin.count() == 1000
        got = [await gateway.get(f"/item/{n}?q={n}") for n in (0, 500, 999)]
        assert [(each.verdict, each.body) for each in got] == [
            ("HIT", b"/item/%d?q=%d" % (n, n)) for n in (0, 500, 999)
        ]
        assert counts(await warmed(gateway, urls=urls)) == (1000, 0, 1000, 0)
        assert origin.count() == 1000


async def test_what_is_stale_is_asked_for_and_what_is_confirmed_is_stored() -> None:
    clock = Clock()
    rules = {"rules": [{"name": "all", "pattern": "*", "ttl": 60, "stale_while_revalidate": 600}], **FAST}
    async with Origin() as origin, running(origin, rules, clock=clock) as gateway:
        origin.answer("/a", headers=[("ETag", '"a"')], body=b"a", times=1)
        origin.answer("/a", 304, [("ETag", '"a"')])
        await gateway.get("/a")
        clock.advance(100)
        assert counts(await warmed(gateway, urls=[url("/a")])) == (1, 1, 0, 0)
        got = await gateway.get("/a")
        assert (got.verdict, got.header("age"), origin.count("/a")) == ("HIT", "0", 2)


async def test_headers_say_whose_answer_is_wanted() -> None:
    async with Origin() as origin, running(origin, RULES) as gateway:
        origin.otherwise([], lambda request: (request.header("x-tenant") or "").encode())
        wanted = [{"url": url("/a"), "headers": {"X-Tenant": name}} for name in ("one", "two")]
        assert counts(await warmed(gateway, requests=wanted)) == (2, 2, 0, 0)
        got = [await gateway.get("/a", {"X-Tenant": name}) for name in ("one", "two", "three")]
        assert [(each.verdict, each.body) for each in got] == [("HIT", b"one"), ("HIT", b"two"), ("MISS", b"three")]


async def test_a_bare_path_is_one_of_the_site_that_was_asked() -> None:
    async with Origin() as origin, running(origin, RULES) as gateway:
        origin.answer("/a", body=b"a")
        assert counts(await warmed(gateway, urls=["/a"])) == (1, 1, 0, 0)
        assert (await gateway.get("/a")).verdict == "HIT"


async def test_a_rule_that_hears_no_client_and_one_with_a_limit() -> None:
    deaf = {"name": "deaf", "pattern": "/deaf/*", "ttl": 60}
    few = {"name": "few", "pattern": "/few/*", "ttl": 60, "rate_limit": {"limit": 1, "window": 60, "hits": "exempt"}}
    settings = {"rules": [deaf, few], "cache": {"client_directives": "ignore"}, **FAST}
    async with Origin() as origin, running(origin, settings) as gateway:
        origin.otherwise([], lambda request: b"x")
        urls = [url(path) for path in ("/deaf/1", "/deaf/2", "/few/1", "/few/2")]
        first = await warmed(gateway, urls=urls)
        assert (counts(first), [each["reason"] for each in first["failures"]]) == ((4, 3, 0, 1), ["rate-limited"])
        assert counts(await warmed(gateway, urls=urls[:2])) == (2, 0, 2, 0)
        assert origin.count() == 3


async def test_what_fails_is_told_with_its_reason() -> None:
    """The rest goes on; of many failures some are told."""
    off = {"name": "off", "pattern": "/off/*", "mode": "off"}
    settings = {"rules": [off, *RULES["rules"]], "upstream": {"breaker": {"consecutive": 1000}}, **FAST}
    async with Origin() as origin, running(origin, settings) as gateway:
        origin.answer("/private", headers=[("Cache-Control", "private")], body=b"p")
        origin.answer("/broken", 500, body=b"x")
        origin.answer("/off/a", body=b"x")
        origin.answer("/good", body=b"g")
        paths = ["/private", "/broken", "/off/a", "/good"]
        job = await warmed(gateway, urls=[url(path) for path in paths])
        assert counts(job) == (4, 1, 0, 3)
        why = {each["url"]: (each["reason"], each["status"]) for each in job["failures"]}
        assert why == {
            url("/private"): ("private", 200),
            url("/broken"): ("status", 500),
            url("/off/a"): ("rule-off", None),
        }
        assert origin.count("/off/a") == 0
        job = await warmed(gateway, urls=[url(f"/none/{n}") for n in range(40)])
        assert (counts(job), len(job["failures"])) == ((40, 0, 0, 40), FAILURES)
        assert (await gateway.get("/good")).verdict == "HIT"


async def test_each_is_counted_once_by_a_limit_and_what_is_fresh_is_not() -> None:
    limit = {"limit": 3, "window": 60, "by": "x-tenant"}
    rules = [{"name": "few", "pattern": "*", "ttl": 60, "rate_limit": limit}]
    async with Origin() as origin, running(origin, {"rules": rules, **FAST}) as gateway:
        origin.otherwise([], lambda request: b"x")
        wanted = [{"url": url(f"/{n}"), "headers": {"X-Tenant": "one"}} for n in range(4)]
        assert counts(await warmed(gateway, requests=wanted[:2])) == (2, 2, 0, 0)
        assert counts(await warmed(gateway, requests=wanted[:2])) == (2, 0, 2, 0)
        job = await warmed(gateway, requests=wanted[2:])
        assert (counts(job), job["failures"][0]["reason"]) == ((2, 1, 0, 1), "rate-limited")
        assert origin.count() == 3


# -- clients first -----------------------------------------------------------------------------------------------------


async def test_so_many_are_under_way_and_no_more() -> None:
    async with Origin() as origin, running(origin, {**RULES, "warm": {"concurrency": 3, "rate": 0}}) as gateway:
        origin.otherwise([], lambda request: b"x")
        gates = [origin.hold(f"/{n}") for n in range(6)]
        first = await begun(gateway, urls=[url(f"/{n}") for n in range(4)])
        second = await begun(gateway, urls=[url("/4"), url("/5")])
        await origin.until(lambda: origin.count() == 3)
        gates[0].release()
        await origin.until(lambda: origin.count() == 4)
        assert origin.count() == 4
        for gate in gates:
            gate.release()
        assert [counts(await over(gateway, one)) for one in (first, second)] == [(4, 4, 0, 0), (2, 2, 0, 0)]


@pytest.mark.parametrize("heard", ["honour", "ignore"])
async def test_places_of_clients_are_left_to_them(heard: str) -> None:
    """Of four places three may be taken; while clients have them, a job waits, and asks nothing beside it."""
    bounded = {**RULES, "upstream": {"max_in_flight": 4}, "cache": {"client_directives": heard}}
    async with Origin() as origin, running(origin, bounded) as gateway:
        origin.otherwise([], lambda request: b"x")
        gates = [origin.hold(f"/client/{n}") for n in range(3)]
        clients = [asyncio.create_task(gateway.get(f"/client/{n}")) for n in range(3)]
        await origin.until(lambda: origin.count() == 3)
        job_id = await begun(gateway, urls=[url("/warm")])
        last = await gateway.get("/last")  # the fourth place is a client's
        assert (last.verdict, origin.count("/warm"), (await told(gateway, job_id))["done"]) == ("MISS", 0, 0)
        for gate in gates:
            gate.release()
        assert counts(await over(gateway, job_id)) == (1, 1, 0, 0)
        await asyncio.gather(*clients)


async def test_fetches_begin_at_their_rate() -> None:
    """So many seconds apart by the gateway's own clock."""
    async with Origin() as origin, running(origin, {**RULES, "warm": {"rate": 50}}) as gateway:
        origin.otherwise([], lambda request: b"x")
        job = await warmed(gateway, urls=[url(f"/{n}") for n in range(11)])
        assert job["ok"] == 11
        assert job["seconds"] >= 10 / 50
        fresh = await warmed(gateway, urls=[url(f"/{n}") for n in range(11)])  # what is judged alone waits for no turn
        assert fresh["skipped"] == 11


async def test_an_open_breaker_ends_it() -> None:
    fragile = {
        **RULES,
        "upstream": {"breaker": {"consecutive": 2}, "retries": 0},
        "warm": {"concurrency": 1, "rate": 0},
    }
    async with Origin() as origin, running(origin, fragile) as gateway:
        origin.otherwise([], lambda request: b"x")
        for n in range(2):
            origin.answer(f"/{n}", 503)
        job = await warmed(gateway, urls=[url(f"/{n}") for n in range(100)])
        assert (job["ended"], job["done"], origin.count()) == ("breaker-open", 2, 2)


async def test_memory_under_pressure_ends_it() -> None:
    used = [100 << 20]
    bounded = {**RULES, "memory": {"limit": 200 << 20}, "warm": {"concurrency": 1, "rate": 0}}
    async with Origin() as origin, running(origin, bounded, memory=lambda: used[0]) as gateway:
        origin.otherwise([], lambda request: b"x")
        gate = origin.hold("/0")
        job_id = await begun(gateway, urls=[url(f"/{n}") for n in range(100)])
        await origin.arrived("/0")
        used[0] = 199 << 20
        await gateway.gateway.shedding.look()
        gate.release()
        job = await over(gateway, job_id)
        assert (job["ended"], job["done"]) == ("over-memory", 1)


async def test_a_drain_ends_it() -> None:
    async with Origin() as origin, running(origin, {**RULES, "warm": {"concurrency": 1, "rate": 0}}) as gateway:
        origin.otherwise([], lambda request: b"x")
        gate = origin.hold("/0")
        job_id = await begun(gateway, urls=[url(f"/{n}") for n in range(100)])
        await origin.arrived("/0")
        gateway.gateway.readiness.draining = True
        gate.release()
        job = await over(gateway, job_id)
        assert (job["ended"], job["done"], origin.count()) == ("draining", 1, 1)


async def test_cancelled_it_asks_for_nothing_more() -> None:
    async with Origin() as origin, running(origin, {**RULES, "warm": {"concurrency": 2, "rate": 0}}) as gateway:
        origin.otherwise([], lambda request: b"x")
        gates = [origin.hold(f"/{n}") for n in range(2)]
        job_id = await begun(gateway, urls=[url(f"/{n}") for n in range(100)])
        await origin.until(lambda: origin.count() == 2)
        assert (await gateway.admin("DELETE", f"/warm/{job_id}")).status == 200
        for gate in gates:
            gate.release()
        job = await over(gateway, job_id)
        assert (job["ended"], job["done"], job["ok"], origin.count()) == ("cancelled", 2, 2, 2)
        assert [each["id"] for each in (await gateway.admin("GET", "/warm")).json["jobs"]] == [job_id]


# -- jobs that cannot be -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "word", "says"),
    [
        ([], 400, "bad-warm", "one of urls, requests, top, pattern"),
        ({}, 400, "bad-warm", "Exactly one of"),
        ({"top": 1, "urls": ["/a"]}, 400, "bad-warm", "2 were given"),
        ({"url": "/a"}, 400, "bad-warm", "url: not known"),
        ({"urls": []}, 400, "bad-warm", "at least one"),
        ({"urls": "/a"}, 400, "bad-warm", "a list"),
        ({"urls": ["/a", 7]}, 400, "bad-warm", "urls[1]: url: wanted text"),
        ({"urls": ["a"]}, 400, "bad-warm", "urls[0]: url: wanted an absolute"),
        ({"urls": ["ftp://a/b"]}, 400, "bad-warm", "wanted an absolute"),
        ({"urls": ["http://a b/"]}, 400, "bad-warm", "urls[0]: url: wanted a host, "),
        ({"urls": ["http://u:p@a/"]}, 400, "bad-warm", "and no user, found 'http://***@a/'"),
        ({"urls": ["/a\r\nX:y"]}, 400, "bad-warm", "characters"),
        ({"urls": ["/" + "a" * 8000]}, 400, "bad-warm", "too long"),
        ({"urls": ["/"] * 4}, 413, "too-many", "at most 3 in one job (warm.max_urls), 4 were given"),
        ({"requests": ["/a"]}, 400, "bad-warm", 'requests[0]: {"url"'),
        ({"requests": [{"url": "/a", "headers": 7}]}, 400, "bad-warm", "requests[0]: headers: wanted an object"),
        (
            {"requests": [{"url": "/a", "headers": {"Range": "bytes=0-1"}}]},
            400,
            "bad-warm",
            "range cannot be said here",
        ),
        ({"requests": [{"url": "/a", "headers": {"a b": "c"}}]}, 400, "bad-warm", "no header"),
        ({"requests": [{"url": "/a", "headers": {"a": "b\nc"}}]}, 400, "bad-warm", "no header"),
        ({"top": -1}, 400, "bad-warm", "from 1 to 3 (warm.max_urls) is wanted, found -1"),
        ({"top": 0}, 400, "bad-warm", "from 1 to 3"),
        ({"top": True}, 400, "bad-warm", "from 1 to 3"),
        ({"top": 4}, 400, "bad-warm", "from 1 to 3"),
        ({"pattern": ""}, 400, "bad-warm", "a glob"),
    ],
)
async def test_what_is_wrong_with_a_job_is_said(body: Any, status: int, word: str, says: str) -> None:
    async with Origin() as origin, running(origin, {"warm": {"max_urls": 3}}) as gateway:
        got = await gateway.admin("POST", "/warm", body)
        assert (got.status, got.json["error"]) == (status, word)
        assert says in got.json["message"]
        assert origin.count() == 0
        assert (await gateway.admin("GET", "/warm")).json == {"jobs": []}


async def test_who_may_not_and_what_is_not_there() -> None:
    async with Origin() as origin, running(origin, RULES) as gateway:
        assert (await gateway.post("/cache/warm", b'{"urls": ["/a"]}')).status == 404
        wrong = {"Authorization": "Bearer not-the-token"}
        got = await gateway.post("/cache/warm", b'{"urls": ["/a"]}', wrong)
        assert (got.status, got.json["error"]) == (401, "wrong-token")
        for method in ("GET", "DELETE"):
            got = await gateway.admin(method, "/warm/0123456789abcdef")
            assert (got.status, got.json["error"]) == (404, "no-such-job")
        assert origin.count() == 0


# -- the list of jobs --------------------------------------------------------------------------------------------------


def job(number: int, worker: int = 0, ended: End | None = None) -> Progress:
    return Progress(f"{number:016x}", worker, 10, 0.0, ended=ended)


async def test_no_more_than_so_many_run_and_are_kept() -> None:
    board = Board(Clock(0.0), 60)
    assert [await board.begin(job(n)) for n in range(RUNNING + 1)] == [True] * RUNNING + [False]
    board.note(job(0, ended=End.COMPLETE))
    assert await board.begin(job(RUNNING))
    for n in range(100, 100 + 2 * KEPT):
        board.note(job(n, ended=End.COMPLETE))
    assert len(await board.all()) == KEPT
    assert [(await board.find(job(n).id)) is not None for n in (0, 1, RUNNING, 100)] == [False, True, True, False]


async def test_what_ended_is_forgotten_after_a_while() -> None:
    clock = Clock(0.0)
    board = Board(clock, 60)
    for n in range(2):
        await board.begin(job(n))
    board.note(job(0, ended=End.COMPLETE))
    clock.advance(61)
    assert [each.id for each in await board.all()] == [job(1).id]


async def test_a_worker_that_died_ends_its_jobs_and_no_others() -> None:
    board = Board(Clock(0.0), 60)
    for n in range(3):
        await board.begin(job(n, worker=n % 2))
    board.note(job(2, worker=0, ended=End.COMPLETE))
    board.died(0)
    board.note(job(0))  # what it said last comes late
    assert [(await board.find(job(n).id)) for n in range(3)] == [
        job(0, ended=End.WORKER_DIED),
        job(1, worker=1),
        job(2, ended=End.COMPLETE),
    ]
