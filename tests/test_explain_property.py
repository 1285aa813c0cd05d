"""What explain says of a request is what becomes of it, over the wire, whatever was asked, purged, cleared or failed
before; and asking for it changes nothing (row 201)."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.reasons import Why
from tests.support.gateway import Client, Clock, running
from tests.support.origin import FIN, Origin, Recorded, render
from tests.support.process import PATIENCE, Process, serving
from tests.support.redis_servers import redis_server

RULES: list[dict[str, Any]] = [
    {"name": "limited", "pattern": "/limited", "ttl": 60, "rate_limit": {"limit": 3, "window": 60, "hits": "exempt"}},
    {"name": "counted", "pattern": "/counted", "ttl": 60, "rate_limit": {"limit": 4, "window": 60}},
    {"name": "off", "pattern": "/off", "mode": "off"},
    {"name": "shaded", "pattern": "/shaded", "mode": "shadow", "ttl": 60, "key": {"query": {"ignore": ["ts"]}}},
    {"name": "posted", "pattern": "/posted", "methods": ["POST"], "ttl": 60, "key": {"body": "json"}},
    {"name": "conditional", "pattern": "/keyed", "ttl": 20, "conditions": {"headers": {"x-kind": "a*"}}},
    {"name": "keyed", "pattern": "/keyed", "ttl": 30, "key": {"query": {"ignore": ["ts"]}}, "refresh_ahead": 0.2},
    {"name": "plain", "pattern": "/plain", "ttl": 30, "stale_while_revalidate": 20, "key": {"cookies": "ignore"}},
]
# What the origin says of each path; those of RULES say nothing.
SAID: dict[str, list[tuple[str, str]]] = {
    "/fresh": [("Cache-Control", "max-age=60"), ("ETag", '"1"')],
    "/vary": [("Cache-Control", "max-age=60"), ("Vary", "X-Kind")],
    "/window": [("Cache-Control", "max-age=10, stale-while-revalidate=30, stale-if-error=60"), ("ETag", '"1"')],
    "/must": [("Cache-Control", "max-age=10, must-revalidate"), ("ETag", '"1"')],
    "/no-cache": [("Cache-Control", "no-cache"), ("ETag", '"1"')],
    "/no-store": [("Cache-Control", "no-store")],
    "/private": [("Cache-Control", "private, max-age=60")],
    "/cookie": [("Cache-Control", "max-age=60"), ("Set-Cookie", "a=b")],
    "/public": [("Cache-Control", "public, max-age=60")],
}
PATHS = [*SAID, "/limited", "/counted", "/off", "/shaded", "/posted", "/keyed", "/plain", "/a/../b", "/a%2fb"]
WISHES = [
    {},
    {},
    {},
    {"X-Kind": "a1"},
    {"X-Kind": "b"},
    {"If-None-Match": '"1"'},
    {"If-Match": '"1"'},
    {"Range": "bytes=0-1"},
    {"Range": "bytes=900-"},
    {"Range": "bytes=0-1", "If-Range": '"1"'},
    {"Cache-Control": "only-if-cached"},
    {"Cache-Control": "max-stale=20"},
    {"Cache-Control": "min-fresh=50"},
    {"Cache-Control": "no-store"},
    {"Cache-Control": "no-cache"},
    {"Authorization": "Basic eDp5"},
    {"Cookie": "a=1"},
    {"X-HTTP-Method-Override": "DELETE"},
    {"Max-Forwards": "0"},
    {"Via": "1.1 us"},
]
METHODS = ["GET", "GET", "GET", "GET", "HEAD", "POST", "DELETE", "OPTIONS", "TRACE"]
NOT_KEPT = {why.word for why in (Why.NO_STORE, Why.PRIVATE, Why.SET_COOKIE, Why.STATUS, Why.CREDENTIALS, Why.COOKIE)}
NOT_KEPT |= {why.word for why in (Why.NO_FRESHNESS, Why.ZERO_TTL, Why.ORIGIN_NO_CACHE, Why.PARTIAL)}


@dataclass(frozen=True)
class Ask:
    """A request, `after` so many seconds; the origin is well, says 503, or hangs up."""

    path: str
    query: str = ""
    method: str = "GET"
    fields: Mapping[str, str] = field(default_factory=dict)
    after: int = 0
    origin: str = "well"


@dataclass(frozen=True)
class Purge:
    """What is purged, or the tier that is emptied where `tier` names one."""

    what: Mapping[str, Any] = field(default_factory=dict)
    tier: str = ""


def asks(paths: list[str]) -> st.SearchStrategy[Ask]:
    return st.builds(
        Ask,
        path=st.sampled_from(paths),
        query=st.sampled_from(["", "", "", "?x=1", "?ts=1"]),
        method=st.sampled_from(METHODS),
        fields=st.sampled_from(WISHES),
        after=st.sampled_from([0, 0, 0, 0, 1, 12, 27, 45, 100]),
        origin=st.sampled_from(["well", "well", "well", "well", "sick", "gone"]),
    )


def purges(paths: list[str]) -> st.SearchStrategy[Purge]:
    named = st.sampled_from([*({"url": path} for path in paths), {"rule": "keyed"}, {"pattern": "/*e*"}, {"all": True}])
    ended = st.builds(lambda what, soft: Purge({**what, "soft": soft}), named, st.booleans())
    return st.one_of(ended, st.sampled_from(["memory", "memory", "file", "redis"]).map(lambda tier: Purge(tier=tier)))


def plain(paths: list[str]) -> st.SearchStrategy[Ask]:
    return st.builds(Ask, path=st.sampled_from(paths), after=st.sampled_from([0, 1, 12, 27]))


# The same few paths again and again, so that there is something to find.
stories = st.lists(st.sampled_from(PATHS), min_size=1, max_size=2).flatmap(
    lambda few: st.lists(st.one_of(plain(few), asks(few), asks(few), purges(few)), min_size=4, max_size=16)
)


CONTENT = b"0123456789"


class Site:
    """The origin: it is well, sick (503 to all) or gone. Well, it says 304 to who has it already, and cuts ranges."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self.become("well")

    def become(self, state: str) -> None:
        for path in PATHS:
            self._origin.script(path, FIN if state == "gone" else self._well if state == "well" else self._sick)

    def _sick(self, request: Recorded) -> bytes:
        return render(request, 503, [], b"sick", chunked=False, close=False)

    def _well(self, request: Recorded) -> bytes:
        fields = SAID.get(request.path, [])
        if request.header("if-none-match") == '"1"' and ("ETag", '"1"') in fields:
            return render(request, 304, fields, b"", chunked=False, close=False)
        status, content = 200, CONTENT
        if request.header("range") == "bytes=0-1":
            status, content, fields = 206, CONTENT[:2], [*fields, ("Content-Range", f"bytes 0-1/{len(CONTENT)}")]
        return render(request, status, fields, content, chunked=False, close=False)


async def figures(gateway: Client) -> Mapping[str, Any]:
    """All that is counted, how often and when each entry was used, on which evictions go, and what is under way."""
    now, tiers = gateway.gateway, gateway.gateway.tiers
    stats = await gateway.stats()
    for name in ("uptime", "process", "activeSessions"):
        stats.pop(name)
    for name in ("latency", "memory", "memoryUsage", "keyspace", "size", "keys"):
        stats["redis"].pop(name)
    assert tiers.memory is not None
    assert tiers.file is not None
    return {
        "stats": stats,
        "memory": [(slot.key, slot.uses, slot.last_access) for slot in tiers.memory.slots()],
        "files": [(record.key, record.uses) for record in tiers.file._shelves],
        "under way": (len(now.story.flying.flights), len(now.tasks)),
    }


async def explained(gateway: Client | Process, ask: Ask, body: bytes | None) -> Any:
    said: dict[str, Any] = {"url": f"http://site.example{ask.path}{ask.query}", "method": ask.method}
    said |= {"headers": dict(ask.fields), "body": None if body is None else body.decode(), "client": "127.0.0.1"}
    got = await gateway.admin("POST", "/explain", said)
    assert got.status == 200, got.body
    return got.json


async def one(gateway: Client, ask: Ask) -> None:
    body = None
    if ask.method == "POST":
        ask, body = replace(ask, fields={**ask.fields, "Content-Type": "application/json"}), b'{"a": 1}'
    before = await figures(gateway)
    told = await explained(gateway, ask, body)
    assert await figures(gateway) == before
    got = await gateway.ask(ask.method, f"{ask.path}{ask.query}", ask.fields, body)
    await gateway.settled()
    after = await gateway.stats()
    reasons = {word: number - before["stats"]["reasons"].get(word, 0) for word, number in after["reasons"].items()}
    (reason,) = (word for word, number in reasons.items() if number)
    assert got.verdict in (told["verdict"], *told["maybe"]), (ask, told, got)
    if got.verdict != told["verdict"] or reason in (told["reason"], told["because"]):
        return
    # Only what the origin was asked may turn out otherwise: it failed, or said what nobody could know before.
    asked = told["verdict"] in ("MISS", "EXPIRED", "BYPASS")
    failed = ask.origin != "well" and reason.startswith("upstream-")
    unkept = told["verdict"] != "BYPASS" and reason in NOT_KEPT and told["storing"]["lately"] != reason
    assert asked, (ask, told, reason)
    assert failed or unkept, (ask, told, reason)


async def story(told: list[Ask | Purge], extra: Mapping[str, Any]) -> None:
    clock = Clock()
    async with (
        Origin() as origin,
        running(origin, {"rules": RULES, "listen": {"name": "us"}, **extra}, clock=clock) as gateway,
    ):
        site = Site(origin)
        async with asyncio.timeout(PATIENCE):
            while extra and not (await gateway.stats())["redis"]["connected"]:
                await asyncio.sleep(0.005)
        for each in told:
            match each:
                case Ask():
                    clock.advance(each.after)
                    site.become(each.origin)
                    await one(gateway, each)
                case Purge(what, ""):
                    assert (await gateway.purge(**what)).status in (200, 202)
                case Purge(tier=tier):
                    assert (await gateway.admin("DELETE", f"/{tier}")).status in (200, 503)


TIERS = [Ask("/fresh"), *[Purge(tier="memory"), Ask("/fresh")] * 2, Ask("/fresh"), Purge(tier="redis"), Ask("/fresh")]
TWICE = [Ask("/fresh"), Ask("/fresh"), Ask("/fresh", after=100), Ask("/fresh", fields={"If-None-Match": '"1"'})]
FAILS = [
    Ask("/window"),
    Ask("/window", after=45, origin="gone"),
    *[Ask("/must", origin="sick")] * 6,
    Ask("/window", after=1),
]
PURGED = [Ask("/keyed"), Purge({"rule": "keyed", "soft": True}), Ask("/keyed"), Purge({"url": "/keyed"}), Ask("/keyed")]
UNKEPT_PART = [Ask("/no-store"), Ask("/no-store", fields={"Range": "bytes=900-"})]
UNKEPT = [Ask("/cookie"), Ask("/cookie"), Ask("/cookie", fields={"Range": "bytes=0-1"})]
ORDER = [Ask("/fresh"), Ask("/plain"), Ask("/fresh")]
PARTS = [Ask("/fresh", fields={"Range": "bytes=0-1"}), Ask("/fresh", fields={"Range": "bytes=0-1"})]
VARIED = [Ask("/vary"), Ask("/vary", fields={"X-Kind": "a1"}), Purge({"url": "/vary"}), Ask("/vary")]
POSTED = [Ask("/posted", method="POST"), Ask("/posted", method="POST"), Ask("/posted")]
SHADED = [Ask("/shaded"), Ask("/shaded", query="?ts=1"), Ask("/shaded", method="POST"), Ask("/shaded", after=100)]
FEW = [*[Ask("/limited", query=f"?x={n}") for n in range(4)], Ask("/limited", query="?x=0"), *[Ask("/counted")] * 6]


@settings(max_examples=60, deadline=None)
@example(TWICE)
@example(TIERS)
@example(FAILS)
@example(PURGED)
@example(UNKEPT)
@example(UNKEPT_PART)
@example(PARTS)
@example(ORDER)
@example(FEW)
@example(POSTED)
@example(VARIED)
@example(SHADED)
@given(stories)
def test_it_says_what_becomes_of_each(told: list[Ask | Purge]) -> None:
    asyncio.run(story(told, {}))


@settings(max_examples=12, deadline=None)
@example(TWICE)
@example(TIERS)
@example(PURGED)
@given(stories)
def test_it_does_so_over_redis_too(told: list[Ask | Purge]) -> None:
    async def shared() -> None:
        async with redis_server() as redis:
            await story(told, {"redis": {"url": redis.url}})

    asyncio.run(shared())


# -- several workers ---------------------------------------------------------------------------------------------------

ALIKE = ("/fresh", "/vary", "/keyed", "/plain", "/off", "/shaded", "/limited", "/no-store", "/posted")
KINDS: list[dict[str, str]] = [{}, {}, {"X-Kind": "a1"}, {"If-None-Match": '"1"'}, {"Cache-Control": "no-cache"}]


def asked_now(chance: Random) -> Ask | Purge:
    if chance.random() < 0.15:
        return chance.choice([Purge({"url": chance.choice(ALIKE)}), Purge({"all": True}), Purge(tier="memory")])
    method = chance.choice(["GET", "GET", "GET", "HEAD", "POST"])
    return Ask(chance.choice(ALIKE), chance.choice(["", "?ts=1"]), method, chance.choice(KINDS))


async def of_all(gateway: Process, ask: Ask) -> None:
    """Whoever is asked tells what each of them would do; one of them does it."""
    body = b'{"a": 1}' if ask.method == "POST" else None
    if body is not None:
        ask = replace(ask, fields={**ask.fields, "Content-Type": "application/json"})
    told = await explained(gateway, ask, body)
    assert [each["worker"] for each in told["workers"]] == [0, 1]
    # While one connection is busy another is opened, and closed again: it may be another worker's.
    alone = {**ask.fields, "Connection": "close"}
    asking = gateway.ask(ask.method, f"{ask.path}{ask.query}", alone, body)
    _, got = await asyncio.gather(gateway.stats(), asking)
    assert got.verdict in {*(each["verdict"] for each in told["workers"]), *told["maybe"]}, (ask, told, got)
    async with asyncio.timeout(PATIENCE):
        while any(each["fetch"] for each in (await explained(gateway, ask, body))["workers"]):
            await asyncio.sleep(0.005)


async def test_each_worker_tells_what_all_of_them_would_do() -> None:
    """Each has its own memory, and nothing else here."""
    chance = Random(201)
    told = [Ask("/fresh")] * 6 + [asked_now(chance) for _ in range(60)]
    apart = {"rules": RULES, "listen": {"workers": 2}, "file": {"enabled": False}}
    async with Origin() as origin, serving(origin, apart) as gateway:
        Site(origin)
        for each in told:
            match each:
                case Ask():
                    await of_all(gateway, each)
                case Purge(what, ""):
                    assert (await gateway.admin("POST", "/purge", what)).status in (200, 202)
                case Purge(tier=tier):
                    assert (await gateway.admin("DELETE", f"/{tier}")).status == 200
