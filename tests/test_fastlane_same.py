"""The fast lane says byte for byte what all others say who answer requests, and counts the same.

Two gateways that differ in the lane alone get the same bytes on their sockets, at the same hour by the same clock.
"""

import asyncio
import random
import re
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from proxy.outcome import Tier
from tests.support.gateway import Client, Clock, running
from tests.support.origin import Origin
from tests.support.rawtcp import Broken, Raw, raw
from tests.support.redis_servers import redis_server

OWN_ID = re.compile(rb"(X-Request-Id: |request[_-]id[\"=:]+)[0-9a-f]{32}")
BOUNDARY = re.compile(rb"(boundary=|\r\n--)[0-9a-f]{24}")
HOST = "Host: site.example"

RULES: list[dict[str, Any]] = [
    {"name": "keyed", "pattern": "/keyed/*", "ttl": 60, "key": {"headers": ["X-Tenant"], "cookies": ["lang"]}},
    {"name": "tokens", "pattern": "/tokens/*", "ttl": 60, "key": {"credentials": "key"}},
    {"name": "beta", "pattern": "/cond/*", "ttl": 60, "conditions": {"headers": {"X-Beta": "yes*"}}},
    {"name": "cond", "pattern": "/cond/*", "ttl": 30},
    {"name": "ahead", "pattern": "/ahead/*", "ttl": 20, "refresh_ahead": 0.5, "stale_while_revalidate": 10},
    {"name": "limited", "pattern": "/limited/*", "ttl": 60, "rate_limit": {"limit": 1000, "window": 60}},
    {"name": "exempt", "pattern": "/exempt/*", "ttl": 60, "rate_limit": {"limit": 9, "window": 60, "hits": "exempt"}},
    {"name": "told", "pattern": "/told/*", "ttl": 60, "client_cache_control": "max-age=5"},
    {"name": "off", "pattern": "/off/*", "mode": "off"},
    {"name": "all", "pattern": "/rule/*", "ttl": 45, "override": True, "key": {"query": {"ignore": ["utm_*"]}}},
]
ANSWERS: dict[str, list[tuple[str, str]]] = {
    "plain": [("Cache-Control", "max-age=60"), ("ETag", '"v1"'), ("Last-Modified", "Sat, 01 Nov 2025 00:00:00 GMT")],
    "weak": [("Cache-Control", "public, max-age=30"), ("ETag", 'W/"v1"')],
    "short": [("Cache-Control", "max-age=2, stale-while-revalidate=5")],
    "language": [("Cache-Control", "max-age=60"), ("Vary", "Accept-Language")],
    "coding": [("Cache-Control", "max-age=60"), ("Vary", "Accept-Encoding, X-Own")],
    "aged": [("Cache-Control", "max-age=90"), ("Age", "17")],
    "private": [("Cache-Control", "private, max-age=60")],
    "cookie": [("Cache-Control", "max-age=60"), ("Set-Cookie", "a=b")],
    "immutable": [("Cache-Control", "max-age=60, immutable"), ("ETag", '"i"')],
    "chained": [("Cache-Control", "max-age=60"), ("Cache-Status", "cachegate; hit; ttl=5"), ("X-Request-Id", "theirs")],
    "nothing": [],
}
TIERS: dict[str, dict[str, Any]] = {
    "memory": {"file": {"enabled": False}},
    "files": {"memory": {"max_entries": 0}},
    "little memory": {"memory": {"max_entries": 3}},
    "small memory": {"memory": {"max_object": 500}},
    "redis": {"memory": {"max_entries": 0}, "file": {"enabled": False}},
    "redis and files": {"memory": {"max_entries": 0}},
    "redis and memory": {"memory": {"max_entries": 3}},
    "nothing": {"memory": {"max_entries": 0}, "file": {"enabled": False}},
}
FAR = ("files", "redis")
ROOTS = ("", "/rule", "/keyed", "/tokens", "/cond", "/ahead", "/limited", "/exempt", "/told", "/off")
QUERIES = ("", "?", "?b=1&a=2", "?a=2&b=1", "?utm_source=x&a=2", "?a=%7e", "?a=~")
ODD_TARGETS = (
    "/a//b",
    "/a/../plain",
    "/a;b/plain",
    "/%2e%2e/plain",
    "*",
    "http://site.example/plain",
    "/pl#ain",
    "/\xe4",
)
FIELDS = (
    "Accept: */*",
    "Accept-Encoding: gzip",
    "Accept-Encoding: br;q=0.5, gzip",
    "Accept-Language: de",
    "Accept-Language: en, de;q=0.5",
    "Authorization: Bearer abc",
    "Authorization: Bearer test-token",
    "Cache-Control: no-cache",
    "Cache-Control: max-age=3",
    "Cache-Control: max-stale",
    "Cache-Control: min-fresh=100",
    "Cache-Control: only-if-cached",
    "Cachegate-Token: test-token",
    "Connection: X-Tenant",
    "Connection: close",
    "Connection: keep-alive",
    "Content-Length: 0",
    "Cookie: lang=de; id=1",
    "Cookie: lang=en",
    "Expect: 100-continue",
    "Forwarded: for=1.2.3.4;proto=https",
    "If-Match: *",
    "If-Modified-Since: Sat, 01 Nov 2025 00:00:00 GMT",
    'If-None-Match: "v1"',
    "If-None-Match: *",
    'If-None-Match: W/"v1", "x"',
    'If-Range: "v1"',
    'Range: bytes=0-9\r\nIf-Range: "v0"',
    "If-Unmodified-Since: Sat, 01 Nov 2025 00:00:00 GMT",
    "Max-Forwards: 0",
    "Origin: https://a.example",
    "Pragma: no-cache",
    "Proxy-Connection: close",
    "Range: bytes=0-9",
    "Range: bytes=0-3,5-9",
    "Range: bytes=99999-",
    "Range: items=1",
    "TE: trailers",
    "Upgrade: h2c",
    "User-Agent: one",
    "User-Agent: one\r\nuser-agent: two",
    "User-Agent: two  ",
    "user-agent: three",
    "Via: 1.1 elsewhere",
    "Via: 1.1 gate",
    "X-Api-Key: k1",
    "X-Beta: yes",
    "X-Empty:",
    "X-Forwarded-For: 1.2.3.4",
    "X-Forwarded-Proto: https",
    "X-HTTP-Method-Override: DELETE",
    "X-HTTP-Method: PUT",
    "X-Method-Override: PUT",
    "X-Own: 1",
    "X-Request-Id: given-1",
    "X-Request-Id: not one word",
    "X-Tenant: a",
    "X-Tenant: b ",
    "X_Api_Key: k1",
    "X_HTTP_Method_Override: PUT",
    "x-tenant:a",
)
MALFORMED = ("Folded: a\r\n b", "Bad name: x", "NoColon", "Host: other.example", "Bare: a\rb", "Null: a\0b")


@dataclass(frozen=True)
class Pair:
    """Two gateways, and the connections to them that go on."""

    clock: Clock
    gates: tuple[Client, Client]
    kept: list[tuple[AsyncExitStack, Raw]] = field(default_factory=list)

    async def both(self, sent: bytes, method: str) -> tuple[bytes, bytes]:
        if not self.kept:
            await self.connect()
        got = [await said(connection, sent, method) for _, connection in self.kept]
        for gate in self.gates:
            await gate.settled()
        if not all(goes_on for _, goes_on in got):
            await self.leave()
        return got[0][0], got[1][0]

    async def connect(self) -> None:
        for gate in self.gates:
            stack = AsyncExitStack()
            self.kept.append((stack, await stack.enter_async_context(raw(gate.port))))

    async def leave(self) -> None:
        """What is sent next goes on new connections."""
        for stack, _ in self.kept:
            await stack.aclose()
        self.kept.clear()


async def said(connection: Raw, sent: bytes, method: str) -> tuple[bytes, bool]:
    """Everything that comes back, and how it ends; what nobody can foresee is blotted out. And whether the connection
    takes another request."""
    await connection.send(sent)
    try:
        answer = await connection.response(method=method)
    except Broken as broken:
        return str(broken).encode(), False
    whole = answer.head + answer.body + repr((answer.complete, answer.ending)).encode()
    goes_on = answer.status in (200, 206, 304) and answer.header("connection") is None and answer.ending == "open"
    return BOUNDARY.sub(rb"\1*", OWN_ID.sub(rb"\1*", whole)), goes_on and method != "OPTIONS"


@asynccontextmanager
async def shared(tiers: str) -> AsyncIterator[list[dict[str, Any]]]:
    """Settings of a Redis for each of two, where they have one."""
    if not tiers.startswith("redis"):
        yield [{}, {}]
        return
    async with redis_server() as redis:
        yield [{"redis": {"url": redis.url, "key_prefix": f"{name}:"}} for name in ("one", "other")]


async def linked(gate: Client) -> None:
    """Wait until what lies in Redis is trusted."""
    async with asyncio.timeout(20):
        while (sharing := gate.gateway.tiers.sharing) is not None and not sharing.now().connected:
            await asyncio.sleep(0.005)


@asynccontextmanager
async def two(origin: Origin, tiers: str = "memory", **listen: Any) -> AsyncIterator[Pair]:
    clock = Clock()
    rules = RULES
    if tiers.startswith("redis"):  # which counts requests by a clock of its own
        rules = [{name: value for name, value in rule.items() if name != "rate_limit"} for rule in RULES]
    common = {"rules": rules, **TIERS[tiers]}
    ways = [{**common, "listen": {"name": "gate", "fast_lane": lane, **listen}} for lane in (True, False)]
    async with (
        shared(tiers) as theirs,
        running(origin, ways[0] | theirs[0], clock=clock) as one,
        running(origin, ways[1] | theirs[1], clock=clock) as other,
    ):
        await linked(one)
        await linked(other)
        assert one.gateway.lane is not None
        assert other.gateway.lane is None
        one.gateway.lane.common = 2  # every other head is read by an expression
        one.gateway.lane.rest(False)
        pair = Pair(clock, (one, other))
        try:
            yield pair
        finally:
            await pair.leave()


def answers(origin: Origin) -> None:
    for root in ROOTS:
        for name, fields in ANSWERS.items():
            origin.answer(f"{root}/{name}", headers=fields, body=(f"{root}/{name} " * 40).encode())


def request(dice: random.Random) -> tuple[bytes, str]:
    method = dice.choices(("GET", "HEAD", "OPTIONS", "get"), (12, 3, 1, 0.2))[0]
    target = dice.choice(ROOTS) + "/" + dice.choice(list(ANSWERS)) + dice.choice(QUERIES)
    if dice.random() < 0.03:
        target = dice.choice(ODD_TARGETS)
    lines = [HOST, *dice.sample(FIELDS, dice.choice((0, 0, 1, 1, 2, 3, 5)))]
    if dice.random() < 0.03:
        lines.insert(dice.randrange(2), dice.choice(MALFORMED))
    if dice.random() < 0.02:
        lines.remove(HOST)
    version = dice.choices(("HTTP/1.1", "HTTP/1.0", "HTTP/1.2"), (30, 1, 0.3))[0]
    return "\r\n".join([f"{method} {target} {version}", *lines, "", ""]).encode("latin-1"), method


async def compare(seed: int, steps: int, tiers: str = "memory", **listen: Any) -> Any:
    dice = random.Random(seed)
    async with Origin() as origin, two(origin, tiers, **listen) as pair:
        answers(origin)
        lately: deque[tuple[bytes, str]] = deque(maxlen=6)
        for step in range(steps):
            sent, method = dice.choice(lately) if lately and dice.random() < 0.4 else request(dice)
            lately.append((sent, method))
            for _ in range(dice.choice((1, 2, 3))):
                quick, slow = await pair.both(sent, method)
                assert quick == slow, f"seed {seed}, step {step}: {sent!r}"
            if dice.random() < 0.3:
                await pair.leave()
            if dice.random() < 0.1:
                pair.clock.advance(dice.choice((0.3, 1.0, 3.0, 12.5)))
            if dice.random() < 0.02:
                purge = dice.choice(({"rule": "all"}, {"pattern": "/keyed/*"}, {"all": True, "soft": True}))
                for gate in pair.gates:
                    assert (await gate.purge(**purge)).status == 200
        return [counted(await gate.stats(), gate) for gate in pair.gates]


def counted(stats: Any, gate: Client) -> Any:
    rules = {name: (rule["hits"], rule["misses"], rule["bytesSaved"]) for name, rule in stats["rules"].items()}
    memory, tiers = stats["memory"], gate.gateway.tiers.tiered
    lookups = [(tiers.lookups(tier).hits, tiers.lookups(tier).misses) for tier in Tier]
    if gate.gateway.tiers.sharing is not None:  # who has got a lease may look again, in vain
        lookups = [(hits, 0) for hits, _ in lookups]
    timed = [gate.gateway.counters.tiers[tier].seconds.count for tier in Tier]
    told = stats["requests"], stats["verdicts"], stats["reasons"], rules, memory["totalHits"], memory["totalMisses"]
    return *told, lookups, timed


@pytest.mark.parametrize("proxies", [[], ["127.0.0.0/8"]], ids=["strangers", "trusted"])
@pytest.mark.parametrize("tiers", ["memory", *(pytest.param(tier, marks=pytest.mark.slow) for tier in FAR)])
async def test_each_field_alone_after_the_plain_request_was_remembered(tiers: str, proxies: list[str]) -> None:
    async with Origin() as origin, two(origin, tiers, trusted_proxies=proxies) as pair:
        answers(origin)
        for target in ("/plain", "/keyed/plain", "/cond/coding"):
            for number, field in enumerate((*FIELDS, *MALFORMED, "")):
                plain = f"GET {target}?{number} HTTP/1.1\r\n{HOST}\r\n".encode()
                other = plain + field.encode("latin-1") + b"\r\n\r\n"
                if not field:
                    other = other.replace(b"site", b"other")
                less = (
                    plain + (field.partition("\r\n")[0] or "X: y").encode("latin-1") + b"\r\n\r\n"
                )  # the first of two
                for sent in (plain + b"\r\n", plain + b"\r\n", less, less, other, other, plain + b"\r\n"):
                    quick, slow = await pair.both(sent, "GET")
                    assert quick == slow, f"{field}: {sent!r}"


async def test_one_value_means_what_its_field_means() -> None:
    async with Origin() as origin, two(origin) as pair:
        answers(origin)
        for names in (("If-None-Match", "If-Match"), ("If-Match", "If-None-Match")):
            for name in names:
                sent = f'GET /plain?{names[0]} HTTP/1.1\r\n{HOST}\r\n{name}: "v1"\r\n\r\n'.encode()
                for _ in range(4):
                    quick, slow = await pair.both(sent, "GET")
                    assert quick == slow
            pair.gates[0].gateway.lane.rest(False)  # type: ignore[union-attr]


@pytest.mark.parametrize("seed", range(4))
async def test_the_same_bytes_and_the_same_counts(seed: int) -> None:
    quick, slow = await compare(seed, 120)
    assert quick == slow
    assert quick[1]["HIT"] > 10


async def test_the_same_behind_a_trusted_proxy() -> None:
    quick, slow = await compare(99, 120, trusted_proxies=["127.0.0.0/8"])
    assert quick == slow


@pytest.mark.parametrize("tiers", [tiers for tiers in TIERS if tiers != "memory"])
@pytest.mark.parametrize("seed", [200, pytest.param(201, marks=pytest.mark.slow)])
async def test_the_same_where_memory_is_not_all(tiers: str, seed: int) -> None:
    quick, slow = await compare(seed, 120, tiers)
    assert quick == slow
    hits = {tier: hits for tier, (hits, _) in zip(Tier, quick[6], strict=True)}
    assert (hits[Tier.FILE] > 10) == (tiers in ("files", "little memory", "small memory"))
    assert (hits[Tier.REDIS] > 10) == tiers.startswith("redis")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tiers", "seed"), [(tiers, seed) for tiers in TIERS for seed in range(100, 108 if tiers == "memory" else 102)]
)
async def test_the_same_for_a_long_time(tiers: str, seed: int) -> None:
    quick, slow = await compare(seed, 1500, tiers)
    assert quick == slow
