"""docs/rules-cookbook.md: each recipe does before a real origin what is said of it (row 117). That it loads, and that
its own tests hold, is shown with all other YAML of the documents in test_project.py."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from io import BytesIO
from typing import Any

import aiohttp
import pytest
import yaml

from tests.support.gateway import Client, Clock, Got, running
from tests.support.origin import FIN, Gate, Origin
from tests.support.pages import told_in
from tests.support.process import REPOSITORY

PAGE = (REPOSITORY / "docs" / "rules-cookbook.md").read_text()
SECTION = re.compile(r"^## (.+?)\n\n\*.+?\*\n\n```yaml\n(.*?)^```\n\n(?=[^#\s])", re.MULTILINE | re.DOTALL)
RECIPES: dict[str, Any] = {title: yaml.safe_load(text) for title, text in SECTION.findall(PAGE)}
JSON = {"Content-Type": "application/json"}

Story = Callable[[Client, Origin, Clock], Awaitable[None]]
STORIES: dict[str, Story] = {}
tells = told_in(STORIES)


async def course(gateway: Client, *asked: str | tuple[str, dict[str, str]]) -> list[str | None]:
    """The verdicts, one request after the other; nothing goes on between them."""
    verdicts = []
    for each in asked:
        target, headers = (each, {}) if isinstance(each, str) else each
        verdicts.append((await gateway.get(target, headers)).verdict)
        await gateway.settled()
    return verdicts


async def post(gateway: Client, target: str, said: object) -> Got:
    got = await gateway.post(target, json.dumps(said).encode(), JSON)
    await gateway.settled()
    return got


def test_there_are_more_than_twenty_and_each_has_problem_lines_and_tests() -> None:
    assert list(RECIPES) == re.findall(r"^## (.+)$", PAGE, re.MULTILINE)
    assert len(RECIPES) >= 20
    assert [title for title, recipe in RECIPES.items() if not all(rule["tests"] for rule in recipe["rules"])] == []


def test_each_has_its_story() -> None:
    assert list(STORIES) == list(RECIPES)


@pytest.mark.parametrize("title", RECIPES)
async def test_it_does_what_is_said_of_it(title: str) -> None:
    clock = Clock()
    async with Origin() as origin, running(origin, RECIPES[title], clock=clock) as gateway:
        origin.otherwise([], lambda request: request.target.encode())
        await STORIES[title](gateway, origin, clock)


# -- how long ----------------------------------------------------------------------------------------------------------


@tells("A lifetime by status")
async def _(gateway: Client, origin: Origin, clock: Clock) -> None:
    origin.answer("/pages/none", 404)
    origin.answer("/pages/moved", 301, [("Location", "/")])
    assert await course(gateway, "/pages/a", "/pages/none", "/pages/none", "/pages/moved", "/pages/moved") == [
        *("MISS", "MISS", "HIT", "MISS", "MISS"),
    ]
    clock.advance(31)
    assert await course(gateway, "/pages/a", "/pages/none") == ["HIT", "EXPIRED"]


@tells("The rule knows better than the origin")
async def _(gateway: Client, origin: Origin, clock: Clock) -> None:
    origin.answer("/prices/1", headers=[("Cache-Control", "no-cache, max-age=0")], body=b"1")
    assert await course(gateway, "/prices/1", "/prices/1") == ["MISS", "HIT"]
    clock.advance(21)
    assert await course(gateway, "/prices/1") == ["EXPIRED"]


@tells("Parameters of campaigns do not matter")
async def _(gateway: Client, origin: Origin, clock: Clock) -> None:
    assert await course(gateway, "/a?utm_source=x&page=2&b=1", "/a?b=1&page=2&fbclid=7", "/a?page=3") == [
        *("MISS", "HIT", "MISS"),
    ]
    assert origin.requests[0].target == "/a?b=1&page=2"


@tells("Only these parameters matter")
async def _(gateway: Client, origin: Origin, clock: Clock) -> None:
    assert await course(gateway, "/img/a?w=2&x=1", "/img/a?x=2&w=2", "/img/a?w=3") == ["MISS", "HIT", "MISS"]


# -- for whom ----------------------------------------------------------------------------------------------------------


@tells("An entry for each value of a header")
async def _(gateway: Client, origin: Origin, clock: Clock) -> None:
    regions: tuple[dict[str, str], ...] = ({"X-Region": "eu"}, {"X-Region": "us"}, {})
    asked = [("/offers/1", region) for region in regions]
    assert await course(gateway, *asked, *asked) == ["MISS"] * 3 + ["HIT"] * 3


@tells("One entry for each language")
async def _(gateway: Client, origin: Origin, clock: Clock) -> None:
    spellings = ("de", "de-AT, de;q=0.9", "fr, de;q=0.1")
    asked = [("/docs/a", {"X-Language": "de", "Accept-Language": spelling}) for spelling in spellings]
    assert await course(gateway, *asked, ("/docs/a", {"X-Language": "en"})) == ["MISS", "HIT", "HIT", "MISS"]
    origin.answer("/docs/b", headers=[("Vary", "Accept-Language")], body=b"b")
    varied = ("de, en;q=0.5", "en;q=0.5,DE", "de")
    assert await course(gateway, *(("/docs/b", {"Accept-Language": each}) for each in varied)) == [
        *("MISS", "HIT", "MISS"),
    ]


@tells("By country")
async def _(gateway: Client, origin: Origin, clock: Clock) -> None:
    origin.answer("/prices/a", body=lambda request: (request.header("x-country") or "-").encode())
    asked = [("NO", "Bergen"), ("NO", "Oslo"), ("SE", "Lund"), ("SE", "Umeå"), ("NO", "Bergen")]
    got = []
    for country, city in asked:
        got.append(await gateway.get("/prices/a", {"X-Country": country, "X-City": city}))
        await gateway.settled()
    assert [(each.verdict, each.body.decode()) for each in got] == [
        ("MISS", "NO"),
        ("HIT", "NO"),
        ("MISS", "SE"),
        ("HIT", "SE"),
        ("HIT", "NO"),
    ]
    assert (await gateway.get("/prices/a")).body == b"-"


@tells("Cookies that do not matter")
async def _(gateway: Client, origin: Origin, clock: Clock) -> None:
    assert await course(gateway, ("/blog/a", {"Cookie": "_ga=1"}), ("/blog/a", {"Cookie": "_ga=2"}), "/blog/a") == [
        *("MISS", "HIT", "HIT"),
    ]
    assert origin.last.header("cookie") == "_ga=1"


@tells("One cookie tells answers apart")
async def _(gateway: Client, origin: Origin, clock: Clock) -> None:
    cookies = ("session=1; tenant=x", "tenant=x; session=2", "session=1; tenant=y")
    assert await course(gateway, *(("/shop/a", {"Cookie": each}) for each in cookies)) == ["MISS", "HIT", "MISS"]


@tells("Signed in, and the same for all")
async def _(gateway: Client, origin: Origin, clock: Clock) -> None:
    keys: tuple[dict[str, str], ...] = ({"Authorization": "Bearer x"}, {"Authorization": "Bearer y"}, {})
    assert await course(gateway, *(("/catalogue/a", key) for key in keys)) == ["MISS", "HIT", "HIT"]


@tells("Each API key its own answers")
async def _(gateway: Client, origin: Origin, clock: Clock) -> None:
    origin.answer("/usage/may", headers=[("Cache-Control", "private")], body=b"x")
    asked = [("/usage/may", {"X-Api-Key": key}) for key in ("k1", "k2")]
    assert await course(gateway, *asked, *asked, "/usage/may") == ["MISS", "MISS", "HIT", "HIT", "MISS"]


@tells("A search by POST")
async def _(gateway: Client, origin: Origin, clock: Clock) -> None:
    origin.answer("/search", body=b"found")
    asked: list[object] = [{"q": "tea", "requestId": 1}, {"client": {"v": 2}, "requestId": 2, "q": "tea"}]
    asked += [{"client": {"v": 3}, "q": "tea"}, {"q": "Tea"}]
    assert [(await post(gateway, "/search", each)).verdict for each in asked] == ["MISS", "MISS", "HIT", "MISS"]
    large = BytesIO(b'"' + b"x" * (1 << 20) + b'"')
    assert (await gateway.post("/search", large, JSON)).detail == "body-too-large"
    assert (await post(gateway, "/search", asked[0])).verdict == "HIT"


# -- until when --------------------------------------------------------------------------------------------------------


@tells("Names to purge by")
async def _(gateway: Client, origin: Origin, clock: Clock) -> None:
    origin.answer("/articles/list", headers=[("Surrogate-Key", "article:7 article:8")], body=b"list")
    all_of_them = (("/articles/7?lang=de", {"X-Site": "a"}), "/articles/8", "/articles/list")
    await course(gateway, *all_of_them)
    for tag, left in (("article:7", 1), ("site:a", 2), ("language:de", 2), ("articles", 0)):
        await gateway.purge(tag=tag)
        assert (await course(gateway, *all_of_them)).count("HIT") == left, tag


@tells("A write ends what it changed")
async def _(gateway: Client, origin: Origin, clock: Clock) -> None:
    every = ("/users", "/users/7", "/users/7?full=1", "/users/8")
    await course(gateway, *every)
    assert (await gateway.ask("PUT", "/users/7", data=b"new")).status == 200
    assert await course(gateway, *every) == ["MISS", "MISS", "MISS", "HIT"]
    origin.answer("/users/7", 409)
    assert (await gateway.ask("PUT", "/users/7", data=b"new")).status == 409
    assert await course(gateway, *every) == ["HIT"] * 4


@tells("Nobody waits, and nobody sees an outage")
async def _(gateway: Client, origin: Origin, clock: Clock) -> None:
    assert await course(gateway, "/reports/a") == ["MISS"]
    clock.advance(61)
    assert await course(gateway, "/reports/a", "/reports/a") == ["UPDATING", "HIT"]
    clock.advance(60 + 601)
    await origin.stop()
    assert await course(gateway, "/reports/a") == ["STALE"]


@tells("Errors are remembered for a moment")
async def _(gateway: Client, origin: Origin, clock: Clock) -> None:
    origin.answer("/items/none", 404)
    origin.answer("/items/broken", 503, times=1)
    assert await course(gateway, "/items/none", "/items/none", "/items/broken", "/items/broken") == [
        *("MISS", "HIT", "MISS", "HIT"),
    ]
    clock.advance(11)
    assert await course(gateway, "/items/none", "/items/broken") == ["EXPIRED", "EXPIRED"]
    assert await course(gateway, "/items/a", "/items/a") == ["MISS", "HIT"]


@tells("Never cache this")
async def _(gateway: Client, origin: Origin, clock: Clock) -> None:
    origin.answer("/checkout/1", headers=[("Cache-Control", "public, max-age=60")], body=b"1")
    got = [await gateway.get("/checkout/1"), await gateway.post("/checkout/1")]
    assert [(each.verdict, each.detail) for each in got] == [("BYPASS", "rule-off")] * 2


@tells("By host")
async def _(gateway: Client, origin: Origin, clock: Clock) -> None:
    hosts = ({"Host": "static.example.com"}, {"Host": "api.example.com"}, {"Host": "other.example.com"})
    asked = [("/a.js", host) for host in hosts]
    assert await course(gateway, *asked, *asked) == ["MISS", "MISS", "MISS", "HIT", "HIT", "MISS"]
    clock.advance(11)
    assert await course(gateway, *asked[:2]) == ["HIT", "EXPIRED"]


@tells("In shadow first")
async def _(gateway: Client, origin: Origin, clock: Clock) -> None:
    origin.answer("/quotes/a", body=b"1", times=2)
    origin.answer("/quotes/a", body=b"2")
    assert await course(gateway, *["/quotes/a"] * 3) == ["BYPASS"] * 3
    told = (await gateway.stats())["rules"]["quotes"]
    assert (told["wouldHits"], told["compared"], told["wrong"]) == (2, 2, 1)


@tells("Fetched anew before it ends")
async def _(gateway: Client, origin: Origin, clock: Clock) -> None:
    assert await course(gateway, "/") == ["MISS"]
    clock.advance(59)
    assert await course(gateway, "/") == ["HIT"]
    clock.advance(30)
    assert await course(gateway, "/") == ["HIT"]
    assert origin.count("/") == 2


# -- how much ----------------------------------------------------------------------------------------------------------


@tells("Not more than it can take")
async def _(gateway: Client, origin: Origin, clock: Clock) -> None:
    key = {"X-Api-Key": "k1"}
    assert {(await gateway.get(f"/search/{n}", key)).status for n in range(30)} == {200}
    assert [(await gateway.get(f"/search/{n}", key)).status for n in (0, 30, 0)] == [200, 429, 200]
    clock.advance(61)
    gate = origin.hold("/search/x")
    before = origin.count()
    many = [asyncio.create_task(gateway.get(f"/search/x?{n}", {"X-Api-Key": f"m{n}"})) for n in range(12)]
    await gateway.waiting(12)
    await origin.arrived("/search/x", 8)
    assert (await gateway.get("/else")).status == 200
    assert origin.count() == before + 9
    gate.release()
    assert {got.status for got in await asyncio.gather(*many)} == {200}


@tells("What it saves")
async def _(gateway: Client, origin: Origin, clock: Clock) -> None:
    origin.answer("/translate", headers=list(JSON.items()), body=b'{"text": "Tee", "usage": {"characters": 500}}')
    asked = [{"text": "Tea", "to": "de"}, {"to": "de", "text": "Tea"}]
    assert [(await post(gateway, "/translate", each)).verdict for each in (*asked, asked[0])] == ["MISS", "HIT", "HIT"]
    assert (await gateway.stats())["rules"]["translations"]["moneySaved"] == pytest.approx(2 * 500 * 0.00002)


@tells("GraphQL")
async def _(gateway: Client, origin: Origin, clock: Clock) -> None:
    origin.answer("/graphql", body=b'{"data": {}}')
    persisted = {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "ab"}}}
    asked = [{"query": "{ me { name, id } }"}, {"query": "{me{name id}} # mine"}, persisted]
    asked += [{"query": "{ me { name, id } }", "variables": {"a": 1}}]
    assert [(await post(gateway, "/graphql", each)).verdict for each in asked] == ["MISS", "HIT", "BYPASS", "MISS"]
    assert await course(gateway, "/graphql?hash=ab", "/graphql?hash=ab") == ["MISS", "HIT"]
    assert (await post(gateway, "/graphql", {"query": "mutation { a }"})).verdict == "BYPASS"
    assert (await post(gateway, "/graphql", asked[0])).verdict == "MISS"


@tells("Streams")
async def _(gateway: Client, origin: Origin, clock: Clock) -> None:
    head = (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
    )
    gate = Gate()
    origin.script("/answers/7", head + b"9\r\ndata: a\n\n\r\n", gate, b"9\r\ndata: b\n\n\r\n0\r\n\r\n")
    asking = [asyncio.create_task(gateway.get("/answers/7"))]
    await origin.arrived("/answers/7")
    asking.append(asyncio.create_task(gateway.get("/answers/7")))
    gate.release()
    assert {got.body for got in await asyncio.gather(*asking)} == {b"data: a\n\ndata: b\n\n"}
    await gateway.settled()
    assert ((got := await gateway.get("/answers/7")).verdict, got.body) == ("HIT", b"data: a\n\ndata: b\n\n")
    assert origin.count() == 1
    origin.script("/answers/8", head + b"9\r\ndata: a\n\n\r\n", FIN, times=1)
    with pytest.raises(aiohttp.ClientPayloadError):
        await gateway.get("/answers/8")
    assert await course(gateway, "/answers/8", "/events/live", "/events/live") == ["MISS", "BYPASS", "BYPASS"]


@tells("What browsers are told")
async def _(gateway: Client, origin: Origin, clock: Clock) -> None:
    origin.answer("/pages/a", headers=[("ETag", '"1"')], body=b"a")
    got = await gateway.get("/pages/a")
    assert (got.verdict, got.header("cache-control")) == ("MISS", "no-cache")
    await gateway.settled()
    again = await gateway.get("/pages/a", {"If-None-Match": '"1"'})
    assert (again.status, again.verdict, origin.count()) == (304, "HIT", 1)
