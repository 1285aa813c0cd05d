"""Rules in shadow (row 204): nothing is served, what would have been hits is counted, and each is held against the live
answer, so that the share of wrong ones is known before the rule is switched on."""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import aiohttp
import pytest

from proxy.observe.counters import Counters
from tests.support.gateway import Client, Clock, running
from tests.support.origin import FIN, Origin, Recorded, render

Answer = Callable[[Recorded], bytes]


def rule(**more: Any) -> dict[str, Any]:
    return {"rules": [{"name": "a", "pattern": "/a*", "ttl": 60, "mode": "shadow", **more}]}


def said(body: str, status: int = 200, **headers: str) -> Answer:
    pairs = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return lambda request: render(request, status, pairs, body.encode(), chunked=False, close=False)


def counting(request: Recorded) -> bytes:
    """Another answer each time."""
    return said(str(id(request)))(request)


def by_query(request: Recorded) -> bytes:
    return said(request.target.rpartition("p=")[2])(request)


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    async with Origin() as made:
        yield made


async def counts(gateway: Client, name: str = "a") -> tuple[int, int, int, float]:
    told = (await gateway.admin("GET", "/stats")).json["rules"][name]
    return told["wouldHits"], told["compared"], told["wrong"], told["wrongRate"]


async def test_it_never_serves_and_tells_what_it_would_have_done(origin: Origin) -> None:
    origin.instead = said("hello")
    clock = Clock()
    async with running(origin, rule(), clock=clock) as gateway:
        got = [await gateway.get("/a") for _ in range(3)]
        assert {(each.verdict, each.detail, each.body) for each in got} == {("BYPASS", "shadow", b"hello")}
        assert origin.count("/a") == 3
        assert await counts(gateway) == (2, 2, 0, 0)
        clock.advance(61)
        await gateway.get("/a")
        assert await counts(gateway) == (2, 2, 0, 0), "its life would have been over"


@pytest.mark.parametrize(
    ("more", "answer", "asked", "expected"),
    [
        pytest.param({}, counting, ["/a"] * 3, (2, 2, 2, 1.0), id="it changes all the time"),
        pytest.param({"key": {"query": {"ignore": ["p"]}}}, by_query, ["/a?p=1", "/a?p=1", "/a?p=2", "/a?p=2"],
                     (3, 3, 2, 0.6667), id="what was ignored matters"),
        pytest.param({"key": {"query": {"ignore": ["t"]}}}, by_query, ["/a?t=1&p=1", "/a?t=2&p=1", "/a?t=3&p=1"],
                     (2, 2, 0, 0.0), id="what was ignored does not matter"),
        pytest.param({}, by_query, ["/a?p=1", "/a?p=2"], (0, 0, 0, 0.0), id="other keys"),
        pytest.param({}, said("x", Cache_Control="no-store"), ["/a"] * 2, (0, 0, 0, 0.0), id="never stored"),
        pytest.param({"conditions": {"minSize": 10}}, said("x"), ["/a"] * 2, (0, 0, 0, 0.0), id="too small"),
        pytest.param({"stale_while_revalidate": 60, "ttl": 0}, by_query, ["/a?p=1"] * 3, (2, 2, 0, 0.0),
                     id="stale, and refreshed behind"),
    ],
)  # fmt: skip
async def test_what_would_have_been_sent_is_held_against_what_was(
    origin: Origin, more: Mapping[str, Any], answer: Answer, asked: list[str], expected: tuple[int, int, int, float]
) -> None:
    origin.instead = answer
    async with running(origin, rule(**more)) as gateway:
        for target in asked:
            await gateway.get(target)
        assert await counts(gateway) == expected


async def test_what_would_be_refreshed_behind_is_the_latest_answer(origin: Origin) -> None:
    for body in (b"1", b"2"):
        origin.answer("/a", body=body, times=1)
    origin.answer("/a", body=b"2")
    async with running(origin, rule(ttl=0, stale_while_revalidate=60)) as gateway:
        for _ in range(4):
            await gateway.get("/a")
        assert await counts(gateway) == (3, 3, 1, 0.3333)


async def test_variants_and_persons_are_told_apart_as_by_a_rule_that_is_on(origin: Origin) -> None:
    def answer(request: Recorded) -> bytes:
        return said(request.header("accept-language") or "", Vary="Accept-Language")(request)

    origin.instead = answer
    async with running(origin, rule()) as gateway:
        for language in ("de", "en", "de", "en"):
            await gateway.get("/a", {"Accept-Language": language})
        assert await counts(gateway) == (2, 2, 0, 0)
        await gateway.get("/a", {"Accept-Language": "de", "Authorization": "Bearer x"})
        assert await counts(gateway) == (2, 2, 0, 0)


async def test_a_status_that_differs_is_wrong_and_a_failure_says_nothing(origin: Origin) -> None:
    async with running(origin, rule()) as gateway:
        for answer in (said("x"), said("x", 404), said("x", 500), said("x", 304)):
            origin.instead = answer
            await gateway.get("/a")
        origin.instead = said("other")
        await gateway.ask("HEAD", "/a")
        assert await counts(gateway) == (4, 1, 1, 1)


async def test_bodies_are_keyed_and_reach_the_origin_whole(origin: Origin) -> None:
    def answer(request: Recorded) -> bytes:
        return said(request.body.decode())(request)

    origin.instead = lambda request: answer  # once its body has come
    async with running(origin, rule(methods=["POST"])) as gateway:
        for body in (b"1", b"2", b"1", b"2"):
            assert (await gateway.ask("POST", "/a", data=body)).body == body
        assert await counts(gateway) == (2, 2, 0, 0)


async def test_purges_end_what_would_have_been_there(origin: Origin) -> None:
    origin.instead = said("x")
    async with running(origin, rule(tags=["t"])) as gateway:
        for purge in ({"url": "/a"}, {"tag": "t"}, {"all": True}):
            await gateway.get("/a")
            await gateway.admin("POST", "/purge", purge)
        await gateway.get("/a")
        assert await counts(gateway) == (0, 0, 0, 0)
        await gateway.admin("POST", "/purge", {"tag": "t", "soft": True})
        await gateway.get("/a")
        assert await counts(gateway) == (0, 0, 0, 0)


async def test_what_is_cut_is_not_compared(origin: Origin) -> None:
    cut = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"
    origin.answer("/a", body=b"x")
    origin.answer("/a", body=b"x", times=1)
    origin.script("/a", cut, FIN, times=1)
    async with running(origin, rule()) as gateway:
        await gateway.get("/a")
        with pytest.raises(aiohttp.ClientPayloadError):
            await gateway.get("/a")
        await gateway.get("/a")
        assert await counts(gateway) == (2, 1, 0, 0)


async def test_only_rules_in_shadow_carry_it_and_the_metrics_do_too(origin: Origin) -> None:
    origin.instead = counting
    settings = rule()
    settings["rules"].append({"name": "b", "pattern": "/b", "ttl": 60})
    async with running(origin, settings) as gateway:
        for target in ("/a", "/a", "/b", "/b"):
            await gateway.get(target)
        rules = (await gateway.admin("GET", "/stats")).json["rules"]
        assert "wouldHits" in rules["a"]
        assert "wouldHits" not in rules["b"]
        metrics = (await gateway.admin("GET", "/metrics")).body.decode()
    for name in ("would_hits", "compared", "wrong"):
        assert f'cachegate_shadow_{name}_total{{rule="a"}} 1.0' in metrics
    assert 'cachegate_shadow_wrong_total{rule="b"}' not in metrics


def test_workers_are_one_instance() -> None:
    one, other, nobody = Counters(), Counters(), Counters()
    for counters, wrong in ((one, 1), (other, 3)):
        shadow = counters.shadow("a")
        shadow.would_hits, shadow.compared, shadow.wrong = 10, 8, wrong
    nobody.shadow("b")
    whole = Counters.merged([one, nobody, other])
    assert whole.shadow("a").wrong_rate == 0.25
    assert (whole.shadow("a").would_hits, whole.shadow("b").would_hits) == (20, 0)
