"""Rate limits over the wire, with a clock that the test turns (rows 88, 90, 92, 93): who is counted, when, what clients
are told, and that a retry at the time that was told succeeds."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import ceil
from typing import Any
from urllib.parse import quote

import pytest

from proxy.settings import settings_from
from proxy.settings.load import Loaded
from tests.support.gateway import Client, Clock, Got, running, settings
from tests.support.origin import Origin
from tests.support.process import HAS_PROC
from tests.support.rawtcp import raw

CACHED = [("Cache-Control", "max-age=1000"), ("ETag", '"e"')]
TRUSTING = {"listen": {"trusted_proxies": ["127.0.0.1/32"]}}


def limited(**rate: Any) -> dict[str, Any]:
    return {"limit": 2, "window": 60, **rate}


@asynccontextmanager
async def one_rule(rate: Any, *, extra: Any = None, **rule: Any) -> AsyncIterator[tuple[Client, Origin, Clock]]:
    """A gateway whose only rule, `api` for /api/*, has this limit; whatever is asked for may be kept for 1000 s."""
    clock = Clock()
    rules = [{"name": "api", "pattern": "/api/*", "rate_limit": rate, **rule}]
    async with Origin() as origin, running(origin, {"rules": rules, **(extra or {})}, clock=clock) as gateway:
        for path in ("/api/a", "/api/b", "/api/c", "/other"):
            origin.answer(path, headers=CACHED, body=b"hello")
        yield gateway, origin, clock


def left(got: Got) -> tuple[int, str | None]:
    return got.status, got.header("ratelimit")


@pytest.mark.parametrize(
    ("preset", "limit", "window"), [("chat", 20, 60), ("auth", 5, 900), ("upload", 5, 60), ("search", 30, 60)]
)
async def test_each_preset_at_n_and_one_more(preset: str, limit: int, window: int) -> None:
    async with one_rule(preset) as (gateway, origin, clock):
        for number in range(limit):
            got = await gateway.get("/api/a")
            assert left(got) == (200, f'"api";r={limit - 1 - number};t={ceil(window - number / 8)}')
            clock.advance(0.125)
        got = await gateway.get("/api/a")
        wait = ceil(window - limit / 8)
        assert (got.status, got.verdict, got.detail) == (429, "BYPASS", "rate-limited")
        assert got.header("retry-after") == f"{wait}"
        assert left(got) == (429, f'"api";r=0;t={wait}')
        assert got.header("ratelimit-policy") == f'"api";q={limit};w={window}'
        assert got.header("cache-control") == "no-store"
        assert f"More than {limit} requests in {window} s" in got.body.decode()
        assert origin.count() == 1


async def test_never_more_than_the_limit_in_any_window_and_a_retry_in_time_succeeds() -> None:
    async with one_rule(limited()) as (gateway, _, clock):
        assert [left(await gateway.get("/api/a")) for _ in range(1)] == [(200, '"api";r=1;t=60')]
        clock.advance(59.0)
        assert left(await gateway.get("/api/a")) == (200, '"api";r=0;t=1')
        assert left(await gateway.get("/api/a")) == (429, '"api";r=0;t=1')
        clock.advance(0.75)  # fixed windows would let two through around here
        refused = await gateway.get("/api/a")
        assert left(refused) == (429, '"api";r=0;t=1')
        clock.advance(float(refused.header("retry-after") or 0))
        assert left(await gateway.get("/api/a")) == (200, '"api";r=0;t=59')
        refused = await gateway.get("/api/a")
        clock.advance(float(refused.header("retry-after") or 0))
        assert (await gateway.get("/api/a")).status == 200


async def test_above_a_thousand_two_buckets_count() -> None:
    async with one_rule(limited(limit=1001)) as (gateway, _, clock):
        statuses = [(await gateway.get("/api/a")).status for _ in range(1001)]
        assert set(statuses) == {200}
        refused = await gateway.get("/api/a")
        assert refused.status == 429
        clock.advance(float(refused.header("retry-after") or 0))
        assert (await gateway.get("/api/a")).status == 200


async def test_every_answer_of_a_limited_rule_says_what_is_left() -> None:
    async with one_rule(limited(limit=10), methods=["GET", "POST"]) as (gateway, origin, _):
        origin.answer("/api/post", body=b"done")
        origin.answer("/api/own", headers=[("RateLimit", '"theirs";r=1;t=1'), ("RateLimit-Policy", '"theirs";q=1;w=1')])
        seen = [
            await gateway.get("/api/a"),
            await gateway.get("/api/a"),
            await gateway.get("/api/a", {"If-None-Match": '"e"'}),
            await gateway.get("/api/a", {"Range": "bytes=0-1"}),
            await gateway.ask("HEAD", "/api/a"),
            await gateway.post("/api/post", b"x"),
            await gateway.get("/api/missing"),
            await gateway.get("/api/c", {"Cache-Control": "only-if-cached"}),
            await gateway.get("/api/own"),
        ]
        assert [got.status for got in seen] == [200, 200, 304, 206, 200, 200, 404, 504, 200]
        assert [got.header("ratelimit") for got in seen] == [f'"api";r={9 - n};t=60' for n in range(9)]
        assert {got.header("ratelimit-policy") for got in seen} == {'"api";q=10;w=60'}


async def test_what_is_said_of_a_limit_is_not_stored_and_others_pass_it_on() -> None:
    """The limit is lifted; what is in store then says nothing of it. An origin's own is the origin's."""
    async with one_rule(limited()) as (gateway, origin, _):
        said = [("RateLimit", '"theirs";r=1;t=1'), ("RateLimit-Policy", '"theirs";q=1;w=1')]
        origin.answer("/other", headers=said)
        assert (await gateway.get("/other")).header("ratelimit") == '"theirs";r=1;t=1'
        await gateway.get("/api/a")
        await gateway.settled()
        lifted = settings(origin, gateway.gateway.settings.file.dir, {"rules": [{"name": "api", "pattern": "/api/*"}]})
        gateway.gateway.apply(Loaded(settings_from(lifted), {}))
        got = await gateway.get("/api/a")
        assert (got.verdict, got.header("ratelimit"), got.header("ratelimit-policy")) == ("HIT", None, None)


async def test_refused_before_anything_is_done_even_what_is_in_store() -> None:
    async with one_rule(limited(), methods=["GET", "POST"]) as (gateway, origin, clock):
        assert [(await gateway.get("/api/a")).verdict for _ in range(2)] == ["MISS", "HIT"]
        for _ in range(5):  # refused ones use nothing, so that the wait does not grow
            refused = [
                await gateway.get("/api/a"),
                await gateway.post("/api/b", b"x" * 100_000),
                await gateway.ask("HEAD", "/api/a"),
            ]
            assert [got.status for got in refused] == [429, 429, 429]
            assert refused[2].body == b""
        assert origin.count("/api/b") == 0
        clock.advance(60)
        assert (await gateway.get("/api/a")).status == 200


async def test_hits_that_are_exempt_use_nothing_and_go_on() -> None:
    async with one_rule(limited(hits="exempt"), stale_while_revalidate=100) as (gateway, origin, clock):
        assert left(await gateway.get("/api/a")) == (200, '"api";r=1;t=60')
        for _ in range(5):
            assert left(await gateway.get("/api/a")) == (200, '"api";r=1;t=60')
        assert left(await gateway.get("/api/b")) == (200, '"api";r=0;t=60')
        refused = await gateway.get("/api/c")
        assert (refused.verdict, refused.detail, left(refused)) == ("BYPASS", "rate-limited", (429, '"api";r=0;t=60'))
        assert (await gateway.post("/api/c")).header("ratelimit") is None  # its method is not the rule's
        assert (await gateway.get("/api/a")).verdict == "HIT"
        clock.advance(1050)
        assert [(await gateway.get(path)).verdict for path in ("/api/a", "/api/b")] == ["UPDATING", "UPDATING"]
        await gateway.settled()
        assert origin.count("/api/c") == 1
        status = (await gateway.admin("GET", "/ratelimit/api:127.0.0.1")).json
        assert (status["remaining"], status["reset"]) == (2, 0)


@pytest.mark.skipif(not HAS_PROC, reason="open files are counted in /proc")
async def test_refused_with_a_stale_copy_in_hand_leaves_nothing_behind() -> None:
    rate, extra = limited(limit=1, hits="exempt"), {"memory": {"max_entries": 0}}
    async with one_rule(rate, extra=extra) as (gateway, origin, clock):
        origin.answer("/api/large", headers=CACHED, body=bytes(2 << 20))
        await gateway.get("/api/large")
        await gateway.settled()
        clock.advance(1001)
        assert (await gateway.get("/api/b")).status == 200
        await gateway.settled()
        before = len(os.listdir("/proc/self/fd"))
        assert [(await gateway.get("/api/large")).status for _ in range(5)] == [429] * 5
        assert len(os.listdir("/proc/self/fd")) <= before
        clock.advance(60)
        assert (await gateway.get("/api/large")).verdict == "EXPIRED"


async def test_a_websocket_is_a_request_too() -> None:
    async with one_rule(limited(), mode="off") as (gateway, origin, _):
        handshake = (
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        )
        seen = []
        for _ in range(3):
            async with raw(gateway.port) as connection:
                got = await connection.get("/api/a", *handshake, host="site.example")
                seen.append((got.status, got.header("ratelimit")))
        assert seen == [(200, '"api";r=1;t=60'), (200, '"api";r=0;t=60'), (429, '"api";r=0;t=60')]
        assert origin.count() == 2


# -- who is counted ----------------------------------------------------------------------------------------------------


async def test_rules_are_apart_and_unlimited_ones_are_untouched() -> None:
    rules = [
        {"name": name, "pattern": f"/api/{name}", **({"rate_limit": limited(limit=1)} if name != "c" else {})}
        for name in "abc"
    ]
    async with Origin() as origin, running(origin, {"rules": rules}) as gateway:
        for name in "abc":
            origin.answer(f"/api/{name}", headers=CACHED)
        assert [(await gateway.get(f"/api/{name}")).status for name in "aabb"] == [200, 429, 200, 429]
        for _ in range(5):
            got = await gateway.get("/api/c")
            assert (got.status, got.header("ratelimit"), got.header("ratelimit-policy")) == (200, None, None)
        assert len(gateway.gateway.limits) == 2


async def test_strangers_do_not_evade_it_by_what_they_say_of_themselves() -> None:
    async with one_rule(limited()) as (gateway, _, _clock):
        says = [{"X-Forwarded-For": f"10.0.0.{n}", "Forwarded": f"for=10.0.0.{n}"} for n in range(4)]
        assert [(await gateway.get("/api/a", said)).status for said in says] == [200, 200, 429, 429]


FROM: list[tuple[list[str], list[int]]] = [
    (["10.0.0.1", "10.0.0.2"] * 2, [200] * 4),
    (["10.0.0.1", "9.9.9.9, 10.0.0.1", "8.8.8.8,10.0.0.1"], [200, 200, 429]),
    (["2001:db8::1", "2001:db8::2", "2001:db8:0:0:ffff::"], [200, 200, 429]),
    (["2001:db8::1", "2001:db8:0:1::1", "2001:db8:0:2::1"], [200] * 3),
    (["::ffff:10.0.0.1", "10.0.0.1", "[::ffff:a00:1]:80"], [200, 200, 429]),
    (["fe80::1%eth0", "fe80::2", "fe80::3%1"], [200, 200, 429]),
]


@pytest.mark.parametrize(("addresses", "statuses"), FROM)
async def test_a_client_is_an_address_or_a_network_of_ipv6(addresses: list[str], statuses: list[int]) -> None:
    async with one_rule(limited(), extra=TRUSTING) as (gateway, _, _clock):
        seen = [(await gateway.get("/api/a", {"X-Forwarded-For": each})).status for each in addresses]
        assert seen == statuses


async def test_by_a_header_and_by_address_where_it_is_missing() -> None:
    async with one_rule(limited(limit=1, by="X-Api-Key"), extra=TRUSTING) as (gateway, _, _clock):

        async def status(key: str | None, address: str = "10.0.0.1") -> int:
            said = {"X-Forwarded-For": address} | ({} if key is None else {"X-Api-Key": key})
            return (await gateway.get("/api/a", said)).status

        assert [await status("k1"), await status("k1", "10.0.0.2"), await status("k2")] == [200, 429, 200]
        assert [await status(None), await status(""), await status(None, "10.0.0.2")] == [200, 429, 200]
        assert [await status("10.0.0.1"), await status("10.0.0.3"), await status(None, "10.0.0.3")] == [200] * 3


# -- what operators see ------------------------------------------------------------------------------------------------


async def test_the_page_tells_what_is_left_and_uses_nothing() -> None:
    async with one_rule(limited(by="x-user"), extra=TRUSTING) as (gateway, _, clock):
        await gateway.get("/api/a", {"X-User": "a/b:ä", "X-Forwarded-For": "2001:db8::7"})
        clock.advance(10.5)
        user = quote("api:" + "a/b:ä", safe="")
        for _ in range(3):
            got = await gateway.admin("GET", f"/ratelimit/{user}")
        assert got.json == {
            "key": "api:a/b:" + "ä".encode().decode("latin-1"),
            "rule": "api",
            "limit": 2,
            "window": 60.0,
            "remaining": 1,
            "reset": 50,
            "counted": "instance",
        }
        address = quote("api:2001:db8::9", safe="")
        assert (await gateway.admin("GET", f"/ratelimit/{address}?by=client_ip")).json["remaining"] == 2
        await gateway.get("/api/a", {"X-Forwarded-For": "2001:db8::7"})
        assert (await gateway.admin("GET", f"/ratelimit/{address}?by=client_ip")).json["remaining"] == 1
        assert (await gateway.admin("GET", f"/ratelimit/{address}")).json["remaining"] == 2


@pytest.mark.parametrize(
    ("key", "status", "word"),
    [("nobody:1", 404, "no-such-limit"), ("api", 404, "no-such-limit"), ("api:1?by=x", 400, "bad-by")],
)
async def test_what_the_page_does_not_know(key: str, status: int, word: str) -> None:
    async with one_rule(limited()) as (gateway, _, _clock):
        got = await gateway.admin("GET", f"/ratelimit/{key}")
        assert (got.status, got.json["error"]) == (status, word)
        assert (await gateway.get(f"/cache/ratelimit/{key}")).status == 404  # for the token alone


async def test_names_with_colons_are_told_apart() -> None:
    rules = [
        {"name": name, "pattern": f"/{n}", "rate_limit": limited(limit=n)}
        for n, name in ((5, "a"), (6, "a:b"), (7, "x"))
    ]
    async with Origin() as origin, running(origin, {"rules": rules}) as gateway:
        told = [(await gateway.admin("GET", f"/ratelimit/{key}")).json for key in ("a:b", "a:b:1", "a:1", "x:")]
        assert [(each["rule"], each["limit"]) for each in told] == [("a", 5), ("a:b", 6), ("a", 5), ("x", 7)]


async def test_refusals_are_counted_by_rule() -> None:
    async with one_rule(limited()) as (gateway, _, _clock):
        for _ in range(5):
            await gateway.get("/api/a")
        stats = await gateway.stats()
        assert (stats["reasons"]["rate-limited"], stats["verdicts"]["BYPASS"], stats["requests"]) == (3, 3, 5)
        metrics = (await gateway.admin("GET", "/metrics")).body.decode()
        assert 'cachegate_rate_limited_total{rule="api"} 3.0' in metrics


async def test_counts_stay_over_a_reload_that_leaves_the_numbers_alone() -> None:
    async with one_rule(limited(limit=1)) as (gateway, origin, _):

        def reload(rate: Any, **rule: Any) -> None:
            rules = [{"name": "api", "pattern": "/api/*", "rate_limit": rate, **rule}]
            made = settings(origin, gateway.gateway.settings.file.dir, {"rules": rules})
            gateway.gateway.apply(Loaded(settings_from(made), {}))

        assert (await gateway.get("/api/a")).status == 200
        reload(limited(limit=1), ttl=5)
        assert (await gateway.get("/api/a")).status == 429
        reload(limited(limit=3))
        assert left(await gateway.get("/api/a")) == (200, '"api";r=2;t=60')
        reload(limited(limit=1))
        assert (await gateway.get("/api/a")).status == 429


async def test_what_ended_is_swept() -> None:
    async with one_rule(limited()) as (gateway, _, clock):
        await gateway.get("/api/a")
        clock.advance(59)
        await gateway.gateway.sweep()
        assert len(gateway.gateway.limits) == 1
        clock.advance(1)
        await gateway.gateway.sweep()
        assert len(gateway.gateway.limits) == 0
