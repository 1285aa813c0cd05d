"""One request's story over real sockets: verdicts, tiers, conditions of rules (rows 1-6, 9-12, 17, 19, 23, 24, 51)."""

import asyncio
from base64 import b64encode
from hashlib import sha1
from pathlib import Path
from typing import Any

import pytest

from proxy.errors import ConfigError
from tests.support.gateway import Client, Clock, running
from tests.support.origin import STALL, Origin, Recorded
from tests.support.own_store import DictStore
from tests.support.rawtcp import raw

ALL: dict[str, Any] = {"rules": [{"name": "all", "pattern": "*", "ttl": 60}]}
CACHED = [("Cache-Control", "max-age=60"), ("Content-Type", "application/json")]


async def verdicts(gateway: Client, *targets: str, headers: dict[str, str] | None = None) -> list[str | None]:
    return [(await gateway.get(target, headers)).verdict for target in targets]


async def test_miss_then_hit_with_all_the_headers() -> None:
    async with Origin() as origin, running(origin) as gateway:
        origin.answer("/a", headers=CACHED, body=b'{"a":1}')
        first, second = await gateway.get("/a"), await gateway.get("/a")
        assert (first.status, first.verdict, first.tier) == (200, "MISS", None)
        assert (first.header("cache-status") or "").startswith("cachegate; fwd=uri-miss; ttl=")
        assert (second.verdict, second.tier, second.body) == ("HIT", "memory", b'{"a":1}')
        assert (second.header("cache-status") or "").startswith("cachegate; hit; ttl=")
        assert second.header("age") is not None
        assert "cachegate-" in (second.header("via") or "")
        assert second.header("x-request-id") != first.header("x-request-id")
        assert origin.count("/a") == 1


async def test_without_a_rule_the_origin_rules_or_nothing_is_cached() -> None:
    async with Origin() as origin:
        origin.answer("/fresh", headers=CACHED, body=b"x")
        origin.answer("/bare", body=b"x")
        async with running(origin) as gateway:
            assert await verdicts(gateway, "/fresh", "/fresh", "/bare", "/bare") == ["MISS", "HIT", "MISS", "MISS"]
        async with running(origin, {"cache": {"unmatched": "bypass"}}) as gateway:
            got = await gateway.get("/fresh")
            assert (got.verdict, got.detail) == ("BYPASS", "no-rule")


async def test_patterns_and_their_ttls() -> None:
    clock = Clock()
    rules = [
        {"name": "users", "pattern": "*/users/*", "ttl": 1},
        {"name": "slow", "pattern": "*/docs/*", "ttl": 60},
    ]
    async with Origin() as origin, running(origin, {"rules": rules}, clock=clock) as gateway:
        for path in ("/api/users/7", "/api/docs/7", "/users"):
            origin.answer(path, body=b"x")
        both = ("/api/users/7", "/api/docs/7")
        await verdicts(gateway, *both)
        clock.advance(0.9)
        assert await verdicts(gateway, *both) == ["HIT", "HIT"]
        clock.advance(0.3)
        assert await verdicts(gateway, *both) == ["EXPIRED", "HIT"]
        assert await verdicts(gateway, "/users", "/users") == ["MISS", "MISS"]  # no rule's pattern, no freshness


async def test_post_is_keyed_by_its_body() -> None:
    rules = [{"pattern": "/search", "methods": ["POST"], "ttl": 60, "key": {"body": "json"}}]
    async with Origin() as origin, running(origin, {"rules": rules}) as gateway:
        origin.answer("/search", body=lambda request: b"for " + request.body)
        json = {"Content-Type": "application/json"}
        first = await gateway.post("/search", b'{"q": 1, "p": 2}', json)
        same = await gateway.post("/search", b'{"p":2,"q":1.0}', json)
        other = await gateway.post("/search", b'{"q":2,"p":2}', json)
        assert [got.verdict for got in (first, same, other)] == ["MISS", "HIT", "MISS"]
        assert same.body == b'for {"q": 1, "p": 2}'
        assert (await gateway.ask("PUT", "/search", data=b"{}")).verdict == "BYPASS"


async def test_a_body_past_the_key_limit_is_streamed_and_never_cached() -> None:
    extra = {"rules": [{"pattern": "*", "methods": ["POST"], "ttl": 60}], "limits": {"key_body": 10}}
    async with Origin() as origin, running(origin, extra) as gateway:
        origin.answer("/x", body=lambda request: str(len(request.body)).encode())
        for _ in range(2):
            got = await gateway.post("/x", b"y" * 100_000)
            assert (got.verdict, got.detail, got.body) == ("BYPASS", "body-too-large", b"100000")


@pytest.mark.parametrize(
    ("body", "content", "headers", "ends"),
    [
        ("raw", b"y" * 100, {}, False),
        ("json", b"y" * 100, {}, False),
        ("raw", b"q", {"If-None-Match": '"a"'}, False),  # looked up, though its condition is the origin's to judge
        ("graphql", b"{ a }" + b" " * 100, {"Content-Type": "application/graphql"}, True),  # it may be a mutation
        ("raw", b"q", {"X-HTTP-Method-Override": "DELETE"}, True),
    ],
)
async def test_a_post_that_its_rule_looks_up_is_no_change(
    body: str, content: bytes, headers: dict[str, str], *, ends: bool
) -> None:
    """RFC 9111 4.4, as far as the rule has not said that its POSTs are questions."""
    rule = {"pattern": "*", "methods": ["GET", "POST"], "ttl": 60, "key": {"body": body}}
    async with Origin() as origin, running(origin, {"rules": [rule], "limits": {"key_body": 10}}) as gateway:
        origin.answer("/x", body=b"x")
        await gateway.get("/x")
        await gateway.settled()
        await gateway.ask("POST", "/x", data=content, headers=headers)
        assert origin.count("/x") == 2
        assert (await gateway.get("/x")).verdict == ("MISS" if ends else "HIT")


async def test_two_users_never_share_what_a_header_condition_names() -> None:
    rules = [{"pattern": "*", "ttl": 60, "conditions": {"headers": {"x-user-id": "*"}}}]
    async with Origin() as origin, running(origin, {"rules": rules, "cache": {"unmatched": "bypass"}}) as gateway:
        origin.answer("/me", body=lambda request: (request.header("x-user-id") or "nobody").encode())
        for user in ("ann", "bob", "ann", "bob"):
            assert (await gateway.get("/me", {"X-User-Id": user})).body == user.encode()
        assert origin.count("/me") == 2
        assert (await gateway.get("/me")).detail == "no-rule"


@pytest.mark.parametrize(("status", "stored"), [(200, True), (404, False), (500, False)])
async def test_status_codes(status: int, stored: bool) -> None:
    rules = [{"pattern": "*", "ttl": 60, "conditions": {"statusCodes": [200, 304]}}]
    async with Origin() as origin, running(origin, {"rules": rules}) as gateway:
        origin.answer("/a", status, body=b"x")
        assert await verdicts(gateway, "/a", "/a") == ["MISS", "HIT" if stored else "MISS"]


async def test_a_304_refreshes_the_stored_200() -> None:
    clock = Clock()
    rules = [{"pattern": "*", "ttl": 60, "conditions": {"statusCodes": [200, 304]}}]
    async with Origin() as origin, running(origin, {"rules": rules}, clock=clock) as gateway:
        origin.answer("/a", headers=[("ETag", '"1"')], body=b"body", times=1)
        origin.answer("/a", 304, headers=[("ETag", '"1"'), ("X-New", "yes")])
        await gateway.get("/a")
        clock.advance(61)
        got = await gateway.get("/a")
        assert (got.status, got.verdict, got.body, got.header("x-new")) == (200, "REVALIDATED", b"body", "yes")
        assert origin.last.header("if-none-match") == '"1"'
        assert await verdicts(gateway, "/a") == ["HIT"]


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(("size", "stored"), [(1023, False), (1024, True)])
async def test_min_size_also_without_a_length(chunked: bool, size: int, stored: bool) -> None:
    rules = [{"pattern": "*", "ttl": 60, "conditions": {"minSize": 1024}}]
    async with Origin() as origin, running(origin, {"rules": rules}) as gateway:
        origin.answer("/a", body=b"x" * size, chunked=chunked)
        assert await verdicts(gateway, "/a", "/a") == ["MISS", "HIT" if stored else "MISS"]


async def test_tiers_in_order_with_promotion_of_the_remaining_life(tmp_path: Path) -> None:
    clock = Clock()
    async with Origin() as origin, running(origin, ALL, directory=tmp_path, clock=clock) as gateway:
        origin.answer("/a", body=b"x")
        await gateway.get("/a")
        await gateway.settled()
        assert (await gateway.admin("DELETE", "/memory")).json == {"cleared": 1}
        clock.advance(20)
        far, near = await gateway.get("/a"), None
        await gateway.settled()
        near = await gateway.get("/a")
        assert [(got.verdict, got.tier, got.header("age")) for got in (far, near)] == [
            ("HIT", "file", "20"),
            ("HIT", "memory", "20"),
        ]
        clock.advance(41)
        assert await verdicts(gateway, "/a") == ["EXPIRED"]
        assert origin.count("/a") == 2


async def test_answers_survive_a_restart(tmp_path: Path) -> None:
    async with Origin() as origin:
        origin.answer("/a", headers=CACHED, body=b"x")
        async with running(origin, directory=tmp_path) as gateway:
            await gateway.get("/a")
        async with running(origin, directory=tmp_path) as gateway:
            got = await gateway.get("/a")
            assert (got.verdict, got.tier, got.body) == ("HIT", "file", b"x")
        assert origin.count("/a") == 1


async def test_namespaces_are_apart_and_purged_apart() -> None:
    rules = [
        {"pattern": "*", "ttl": 60, "namespace": "mobile", "conditions": {"headers": {"x-app": "mobile"}}},
        {"pattern": "*", "ttl": 60, "namespace": "web"},
    ]
    async with Origin() as origin, running(origin, {"rules": rules}) as gateway:
        origin.answer("/a", body=b"x")
        mobile = {"X-App": "mobile"}
        assert await verdicts(gateway, "/a", "/a") == ["MISS", "HIT"]
        assert await verdicts(gateway, "/a", "/a", headers=mobile) == ["MISS", "HIT"]
        await gateway.purge(namespace="mobile")
        assert await verdicts(gateway, "/a", headers=mobile) == ["MISS"]
        assert await verdicts(gateway, "/a") == ["HIT"]


async def test_vary_keeps_variants_side_by_side() -> None:
    async with Origin() as origin, running(origin) as gateway:
        origin.answer(
            "/a",
            headers=[*CACHED, ("Vary", "Accept-Language")],
            body=lambda request: (request.header("accept-language") or "none").encode(),
        )
        for language in ("de", "fr", "de", "fr"):
            assert (await gateway.get("/a", {"Accept-Language": language})).body == language.encode()
        assert origin.count("/a") == 2
        new = await gateway.get("/a", {"Accept-Language": "it"})
        assert (new.verdict, new.detail) == ("MISS", "vary-miss")


async def test_conditional_and_head_and_range_from_a_fresh_copy() -> None:
    async with Origin() as origin, running(origin) as gateway:
        origin.answer("/a", headers=[*CACHED, ("ETag", '"v1"')], body=b"0123456789")
        await gateway.get("/a")
        same = await gateway.get("/a", {"If-None-Match": 'W/"v1"'})
        assert (same.status, same.body, same.verdict) == (304, b"", "HIT")
        head = await gateway.ask("HEAD", "/a")
        assert (head.status, head.header("content-length"), head.verdict) == (200, "10", "HIT")
        part = await gateway.get("/a", {"Range": "bytes=2-4"})
        assert (part.status, part.body, part.header("content-range")) == (206, b"234", "bytes 2-4/10")
        beyond = await gateway.get("/a", {"Range": "bytes=20-"})
        assert (beyond.status, beyond.header("content-range")) == (416, "bytes */10")
        assert origin.count("/a") == 1


async def test_a_client_condition_on_a_miss_still_fills_the_cache() -> None:
    async with Origin() as origin, running(origin) as gateway:
        origin.answer("/a", headers=[*CACHED, ("ETag", '"v1"')], body=b"whole")
        got = await gateway.get("/a", {"If-None-Match": '"v1"'})
        assert (got.status, got.verdict) == (304, "MISS")
        assert origin.last.header("if-none-match") is None
        await gateway.settled()
        got = await gateway.get("/a")
        assert (got.verdict, got.body) == ("HIT", b"whole")


async def test_stale_while_revalidate_serves_now_and_refreshes_once_behind() -> None:
    clock = Clock()
    rules = [{"pattern": "*", "ttl": 10, "stale_while_revalidate": 30}]
    async with Origin() as origin, running(origin, {"rules": rules}, clock=clock) as gateway:
        origin.answer("/a", body=b"old", times=1)
        origin.answer("/a", body=b"new")
        await gateway.get("/a")
        clock.advance(15)
        gate = origin.hold("/a")
        stale = await asyncio.gather(*(gateway.get("/a") for _ in range(5)))
        assert {(got.verdict, got.body) for got in stale} == {("UPDATING", b"old")}
        await origin.arrived("/a", 2)
        gate.release()
        await gateway.settled()
        assert [(got.verdict, got.body) for got in [await gateway.get("/a")]] == [("HIT", b"new")]
        assert origin.count("/a") == 2


@pytest.mark.parametrize("trouble", ["503", "refused"])
async def test_stale_if_error(trouble: str) -> None:
    clock = Clock()
    async with Origin() as origin, running(origin, ALL, clock=clock) as gateway:
        origin.answer("/a", body=b"good", times=1)
        origin.answer("/a", 503, body=b"bad")
        await gateway.get("/a")
        clock.advance(61)
        if trouble == "refused":
            await origin.stop()
        got = await gateway.get("/a")
        assert (got.status, got.verdict, got.body, got.detail) == (200, "STALE", b"good", "stale-if-error")
        clock.advance(301)
        late = await gateway.get("/a")
        assert (late.status, late.verdict) == ((503, "MISS") if trouble == "503" else (502, "MISS"))


async def test_must_revalidate_forbids_stale_on_error() -> None:
    clock = Clock()
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        origin.answer("/a", headers=[("Cache-Control", "max-age=10, must-revalidate")], body=b"good")
        await gateway.get("/a")
        clock.advance(11)
        await origin.stop()
        assert (await gateway.get("/a")).status == 502


@pytest.mark.parametrize(
    ("headers", "request_headers", "word"),
    [
        ([("Cache-Control", "no-store")], {}, "no-store"),
        ([("Cache-Control", "private, max-age=60")], {}, "private"),
        ([("Cache-Control", "max-age=60"), ("Set-Cookie", "a=b")], {}, "set-cookie"),
        ([("Cache-Control", "max-age=60"), ("Vary", "*")], {}, "vary-star"),
        ([("Cache-Control", "max-age=60")], {"Authorization": "Basic x"}, "credentials"),
        ([("Cache-Control", "max-age=60")], {"X-Api-Key": "k"}, "credentials"),
    ],
)
async def test_what_is_bound_to_a_person_is_not_shared(
    headers: list[tuple[str, str]], request_headers: dict[str, str], word: str
) -> None:
    async with Origin() as origin, running(origin) as gateway:
        origin.answer("/a", headers=headers, body=b"secret")
        for _ in range(2):
            got = await gateway.get("/a", request_headers)
            assert (got.verdict, got.status) == ("MISS", 200)
        assert origin.count("/a") == 2


async def test_a_cookie_needs_the_origins_word_or_the_rules() -> None:
    async with Origin() as origin:
        origin.answer("/bare", body=b"x")
        origin.answer("/told", headers=CACHED, body=b"x")
        cookie = {"Cookie": "session=1"}
        async with running(origin, ALL) as gateway:
            assert await verdicts(gateway, "/bare", "/bare", headers=cookie) == ["MISS", "MISS"]
            assert await verdicts(gateway, "/told", "/told", headers=cookie) == ["MISS", "HIT"]
        rules = [{"pattern": "*", "ttl": 60, "key": {"cookies": "ignore"}}]
        async with running(origin, {"rules": rules}) as gateway:
            assert await verdicts(gateway, "/bare", "/bare", headers=cookie) == ["MISS", "HIT"]


async def test_unsafe_requests_invalidate_when_they_succeed() -> None:
    rules = [{"pattern": "/users/*", "ttl": 60, "invalidates": ["/lists/*", "tag:people"]}, {"pattern": "*", "ttl": 60}]
    async with Origin() as origin, running(origin, {"rules": rules}) as gateway:
        for path in ("/users/1", "/lists/a", "/lists/b", "/other"):
            origin.answer(path, body=b"x")
        origin.answer("/people", headers=[("Surrogate-Key", "people")], body=b"x")
        every = ("/users/1", "/lists/a", "/lists/b", "/people", "/other")
        await verdicts(gateway, *every)
        assert await verdicts(gateway, *every) == ["HIT"] * 5
        origin.answer("/users/1", 409, body=b"no", times=1)
        assert (await gateway.ask("PUT", "/users/1", data=b"{}")).status == 409
        assert await verdicts(gateway, *every) == ["HIT"] * 5
        assert (await gateway.ask("PUT", "/users/1", data=b"{}")).status == 200
        assert await verdicts(gateway, *every) == ["MISS", "MISS", "MISS", "MISS", "HIT"]


async def test_only_if_cached_and_a_loop_and_an_upstream_that_is_down() -> None:
    async with Origin() as origin, running(origin) as gateway:
        origin.answer("/a", headers=CACHED)
        got = await gateway.get("/a", {"Cache-Control": "only-if-cached"})
        assert (got.status, got.verdict, got.detail, origin.count()) == (504, "MISS", "only-if-cached", 0)
        via = (await gateway.get("/a")).header("via") or ""
        assert (await gateway.get("/a", {"Via": via})).status == 508
        await origin.stop()
        down = await gateway.get("/other")
        assert (down.status, down.verdict, down.detail) == (502, "MISS", "upstream-refused")
        assert b"upstream-refused" in down.body


@pytest.mark.parametrize("rules", [[], [{"pattern": "*", "ttl": 60}], [{"pattern": "*", "mode": "off"}]])
async def test_no_request_leaves_the_base_path(rules: list[Any]) -> None:
    async with Origin() as origin, running(f"{origin.url}/base", {"rules": rules}) as gateway:
        origin.answer("/base/a/../x", body=b"inside")
        for target in ("/../x", "/%2e%2e/x", "/a/..%2f../x"):
            for method in ("GET", "DELETE"):
                got = await gateway.ask(method, target)
                assert (got.status, got.verdict, got.detail) == (400, "BYPASS", "unsafe-target")
        socket = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
        got = await gateway.get("/../ws", {**socket, "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="})
        assert (got.status, origin.count()) == (400, 0)
        assert (await gateway.get("/a/../x")).body == b"inside"
    async with Origin() as origin, running(origin) as gateway:
        origin.answer("/../x", body=b"as it came")
        assert (await gateway.get("/../x")).body == b"as it came"


async def test_a_websocket_s_101_is_the_origin_s_and_ours() -> None:
    async def accepted(request: Recorded, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        key = (request.header("sec-websocket-key") or "").encode()
        accept = b64encode(sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        own = b"X-Hop: 1\r\nSet-Cookie: a=b\r\nX-Extra: \xc3\xbc\r\nX-Cache: HIT\r\n"
        head = b"HTTP/1.1 101 OK\r\nUpgrade: websocket\r\nConnection: Upgrade, X-Hop\r\nSec-WebSocket-Accept: "
        writer.write(head + accept + b"\r\n" + own + b"\r\n")

    asked = ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
    async with Origin() as origin, running(origin) as gateway, raw(gateway.port) as client:
        origin.script("/ws", accepted, STALL)
        more = ("Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", "X-Request-Id: 7")
        got = await client.get("/ws", *asked, *more, "Max-Forwards: 0")  # it means nothing with GET (RFC 9110 7.6.2)
        assert (got.status, got.header("set-cookie"), got.header("x-hop")) == (101, "a=b", None)
        assert (b"X-Extra", b"\xc3\xbc") in got.pairs
        assert (got.header("x-cache"), got.header("x-request-id")) == ("BYPASS", "7")
        assert got.header("cache-status") == "cachegate; fwd=bypass; detail=upgrade"
        assert "cachegate-" in (got.header("via") or "")
        accepts = [value for name, value in got.pairs if name.lower() == b"sec-websocket-accept"]
        assert len(accepts) == 1


async def test_cleanup_removes_what_nobody_can_want_without_a_read(tmp_path: Path) -> None:
    clock = Clock()
    async with Origin() as origin, running(origin, ALL, directory=tmp_path, clock=clock) as gateway:
        origin.answer("/a", body=b"x")
        await gateway.get("/a")
        await gateway.settled()
        clock.advance(10_000)
        await gateway.gateway.sweep()
        stats = await gateway.stats()
        assert (stats["memory"]["size"], stats["file"]["size"]) == (0, 0)


async def test_verdicts_add_up_to_requests() -> None:
    async with Origin() as origin, running(origin, ALL) as gateway:
        origin.answer("/a", body=b"x")
        await verdicts(gateway, "/a", "/a", "/a", "/none")
        await gateway.ask("PUT", "/a")
        stats = await gateway.stats()
        assert stats["requests"] == 5 == sum(stats["verdicts"].values())
        assert stats["verdicts"]["HIT"] == 2
        assert stats["hitRate"] == pytest.approx(0.5)
        assert stats["rules"]["all"]["hits"] == 2


async def test_a_client_that_has_an_uncacheable_answer_already_is_told_so() -> None:
    async with Origin() as origin, running(origin) as gateway:
        origin.answer("/a", headers=[("Cache-Control", "private"), ("ETag", '"v1"')], body=b"mine")
        mine = {"If-None-Match": '"v1"'}
        first = await gateway.get("/a", mine)
        assert (first.status, first.body, first.detail) == (304, b"", "private")
        origin.answer("/a", 304, headers=[("ETag", '"v1"')])
        second = await gateway.get("/a", mine)  # the origin is asked with the client's own condition from now on
        assert (second.status, second.verdict) == (304, "MISS")
        assert [request.header("if-none-match") for request in origin.requests] == [None, '"v1"']


async def test_a_store_of_the_operators_own_takes_the_file_tiers_place() -> None:
    own = {**ALL, "file": {"store": "tests.support.own_store:DictStore", "options": {"limit": 1}}}
    async with Origin() as origin, running(origin, own) as gateway:
        store = DictStore.made[-1]
        origin.answer("/a", body=b"x")
        await gateway.get("/a")
        await gateway.settled()
        assert (store.limit, [entry.parts.path for entry in store.entries.values()]) == (1, ["/a"])
        await gateway.admin("DELETE", "/memory")
        got = await gateway.get("/a")
        assert (got.verdict, got.tier, got.body) == ("HIT", "file", b"x")
        await gateway.purge(url="/a")
        assert (await gateway.get("/a")).verdict == "MISS"


async def test_a_store_that_cannot_be_made_is_told_with_its_place() -> None:
    with pytest.raises(ConfigError, match=r"file\.store: 'nowhere' cannot be imported"):
        async with running("http://127.0.0.1:9", {"file": {"store": "nowhere:Store"}}):
            pass
