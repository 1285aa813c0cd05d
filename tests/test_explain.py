"""Why a request is answered as it is (row 201; contract "Endpoints", "Other JSON"): what each part of the trace says.
That the verdict is what then comes, and that asking changes nothing, is in test_explain_property."""

import asyncio
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from proxy.server.admin.explain import Question
from proxy.settings import settings_from
from tests.support.gateway import HOST, Client, Clock, Got, running, settings
from tests.support.origin import FIN, Origin
from tests.support.rawtcp import raw

RULES: list[dict[str, Any]] = [
    {"name": "mobile", "pattern": "*/users/*", "ttl": 60, "conditions": {"headers": {"x-app": "mobile*"}}},
    {
        "name": "users",
        "pattern": "*/users/*",
        "ttl": 60,
        "host": HOST,
        "key": {"headers": ["x-kind"], "cookies": ["c"]},
    },
    {"name": "few", "pattern": "/few", "ttl": 60, "rate_limit": {"limit": 2, "window": 60}},
    {"name": "posted", "pattern": "/ask", "methods": ["POST"], "ttl": 60, "key": {"body": "json"}},
    {"name": "all", "pattern": "*", "methods": ["GET"], "ttl": 60},
]
NAMES = {"verdict", "reason", "clause", "rule", "rules", "key", "tiers", "nearest", "advice"}


async def explain(gateway: Client, url: str, method: str = "", **more: Any) -> Any:
    got = await gateway.admin("POST", "/explain", {"url": url, "method": method, **more})
    assert got.status == 200, got.body
    return got.json


def well(origin: Origin, *paths: str, headers: tuple[tuple[str, str], ...] = ()) -> Origin:
    for path in paths:
        origin.answer(path, headers=headers, body=b"0123456789")
    return origin


# -- the trace ---------------------------------------------------------------------------------------------------------


async def test_every_rule_up_to_the_one_that_takes_it_says_why_it_does_not() -> None:
    async with Origin() as origin, running(origin, {"rules": RULES}) as gateway:
        told = await explain(gateway, "http://other.example/api/users/7", headers={"X-App": "web"})
        assert told["rules"] == [
            {"name": "mobile", "matched": False, "why": "header x-app does not fit mobile*"},
            {"name": "users", "matched": False, "why": f"host other.example does not fit {HOST}"},
            {"name": "few", "matched": False, "why": "path /api/users/7 does not fit /few"},
            {"name": "posted", "matched": False, "why": "path /api/users/7 does not fit /ask"},
            {"name": "all", "matched": True, "why": "host, path, method and headers fit"},
        ]
        assert (told["rule"], told["mode"]) == ("all", "on")
        nobodys = await explain(gateway, "/x", "DELETE")
        assert (nobodys["rule"], nobodys["mode"], nobodys["reason"]) == ("", "origin", "method")
        assert not any(rule["matched"] for rule in nobodys["rules"])


async def test_the_key_has_its_parts_and_the_url_its_normal_form() -> None:
    async with Origin() as origin, running(well(origin, "/api/users/7"), {"rules": RULES}) as gateway:
        url = f"HTTP://{HOST.upper()}:80/api/%75sers/7?b=2&a=1"
        told = await explain(gateway, url, headers={"X-Kind": "k", "Cookie": "c=1; d=2"})
        assert told["url"] == f"http://{HOST}/api/users/7?a=1&b=2"
        parts = told["key"]["parts"]
        assert (parts["method"], parts["host"], parts["path"], parts["query"]) == (
            "GET",
            HOST,
            "/api/users/7",
            "a=1&b=2",
        )
        assert parts["selected"]["x-kind"] == "k"
        assert len(parts["selected"]["cookie:c"]) == 64  # a digest: nobody's cookie is shown
        await gateway.get("/api/users/7?a=1&b=2", {"X-Kind": "k", "Cookie": "c=1"})
        (entry,) = (await gateway.admin("GET", "/entries")).json["entries"]
        assert told["key"]["hash"] == entry["key"]


async def test_each_tier_tells_what_it_has_of_it() -> None:
    clock = Clock()
    async with Origin() as origin, running(well(origin, "/a"), {"rules": RULES}, clock=clock) as gateway:
        nothing = {"found": False, "age": None, "ttl": None, "variants": 0, "purged": None}
        told = await explain(gateway, "/a", headers={"Host": HOST})
        assert told["tiers"] == [{"tier": tier, **nothing} for tier in ("memory", "file")]
        await gateway.get("/a")
        await gateway.settled()
        clock.advance(20)
        await gateway.admin("DELETE", "/memory")
        memory, file = (await explain(gateway, "/a", headers={"Host": HOST}))["tiers"]
        assert not memory["found"]
        assert (file["found"], file["age"], file["ttl"], file["size"], file["stored_by"]) == (True, 20, 40, 10, "all")


@pytest.mark.parametrize(
    ("purge", "kind", "name"),
    [
        ({"pattern": "/a*"}, "pattern", "/a*"),
        ({"tag": "t"}, "tag", "t"),
        ({"rule": "r"}, "rule", "r"),
        ({"url": "/a"}, "url", "|/a"),
        ({"all": True}, "all", ""),
    ],
)
@pytest.mark.parametrize("soft", [False, True])
async def test_what_was_purged_says_by_which_purge(purge: dict[str, Any], kind: str, name: str, soft: bool) -> None:
    clock = Clock()
    rules = [{"name": "r", "pattern": "*", "ttl": 60, "tags": ["t"]}]
    async with Origin() as origin, running(well(origin, "/a"), {"rules": rules}, clock=clock) as gateway:
        await gateway.get("/a")
        await gateway.settled()
        clock.advance(5)
        receipt = (await gateway.purge(**purge, soft=soft)).json
        told = await explain(gateway, "/a", headers={"Host": HOST})
        for tier in told["tiers"]:
            assert tier["purged"]["id"] == receipt["id"]
            assert (tier["purged"]["kind"], tier["purged"]["name"], tier["purged"]["soft"]) == (kind, name, soft)
            assert tier["found"] is soft
            assert tier["purged"]["at"] == (clock.now if soft else None)
        assert (told["verdict"], told["reason"]) == (("EXPIRED", "purged") if soft else ("MISS", "uri-miss"))
        assert soft or "the next answer is stored anew" in told["advice"]


async def test_a_fetch_under_way_is_told_and_nobody_joins_it_by_asking() -> None:
    async with Origin() as origin, running(well(origin, "/a"), {"rules": RULES}) as gateway:
        assert (await explain(gateway, "/a", headers={"Host": HOST}))["fetch"] is None
        gate = origin.hold("/a")
        waiting = asyncio.create_task(gateway.get("/a"))
        await origin.arrived("/a")
        for _ in range(2):
            assert (await explain(gateway, "/a", headers={"Host": HOST}))["fetch"] == {
                "passengers": 1,
                "elsewhere": False,
            }
        gate.release()
        assert (await waiting).verdict == "MISS"
        assert origin.count("/a") == 1


async def test_what_was_learnt_lately_is_told_with_what_would_mend_it() -> None:
    async with Origin() as origin, running(origin, {"rules": RULES}) as gateway:
        well(origin, "/a", headers=(("Set-Cookie", "a=b"),))
        before = await explain(gateway, "/a", headers={"Host": HOST})
        assert (before["reason"], before["storing"]["stored"], before["storing"]["ttl"]) == ("uri-miss", True, 60)
        assert before["storing"]["assumed"] == "a plain 200 answer"
        await gateway.get("/a")
        told = await explain(gateway, "/a", headers={"Host": HOST})
        assert (told["verdict"], told["reason"], told["because"]) == ("MISS", "set-cookie", "lately-uncacheable")
        assert told["storing"]["lately"] == "set-cookie"
        assert "cache.store_set_cookie" in told["advice"]


async def test_what_could_be_stored_is_judged_by_the_nearest_answer() -> None:
    async with Origin() as origin, running(origin) as gateway:
        plain = await explain(gateway, f"http://{HOST}/a?x=1")
        assert (plain["storing"]["stored"], plain["storing"]["why"]) == (False, "no-freshness")
        assert "(no-freshness): give the rule a ttl" in plain["advice"]
        well(origin, "/a", headers=(("Cache-Control", "max-age=30"),))
        await gateway.get("/a")
        told = await explain(gateway, f"http://{HOST}/a?x=1")
        assert (told["storing"]["stored"], round(told["storing"]["ttl"])) == (True, 30)
        assert told["storing"]["assumed"] == "one like the nearest that is stored"
        assert told["advice"] == 'if query.x does not change the answer: in a rule for it, key.query.ignore: ["x"]'


async def test_a_limit_is_told_for_whom_it_asks_and_not_used() -> None:
    async with Origin() as origin, running(well(origin, "/few"), {"rules": RULES}) as gateway:
        for _ in range(3):
            told = await explain(gateway, "/few", headers={"Host": HOST})
            assert (told["limit"]["remaining"], told["limit"]["refuses"], told["verdict"]) == (2, None, "MISS")
        for _ in range(2):
            await gateway.get("/few")
        told = await explain(gateway, "/few", headers={"Host": HOST})
        assert (told["verdict"], told["reason"], told["limit"]["refuses"]) == ("BYPASS", "rate-limited", "rate-limited")
        other = await explain(gateway, "/few", headers={"Host": HOST}, client="192.0.2.7")
        assert (other["verdict"], other["limit"]["remaining"], other["client"]) == ("HIT", 2, "192.0.2.7")


async def test_an_open_breaker_is_told_and_not_woken(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "cachegate")
    clock = Clock()
    async with Origin() as origin, running(origin, {"rules": RULES}, clock=clock) as gateway:
        origin.script("/a", FIN)
        for _ in range(5):
            await gateway.get("/a")
        told = await explain(gateway, "/b", headers={"Host": HOST})
        assert (told["verdict"], told["reason"], told["upstream"]["breaker"]) == ("MISS", "breaker-open", "open")
        assert told["upstream"]["refuses"] == "breaker-open"
        clock.advance(60)  # the next call may be the probe; asking is none
        for _ in range(2):
            told = await explain(gateway, "/b", headers={"Host": HOST})
            assert (told["reason"], told["upstream"]["breaker"], told["upstream"]["refuses"]) == (
                "uri-miss",
                "half-open",
                None,
            )
        assert "the breaker is half-open" not in caplog.text
        await gateway.get("/b")
        assert "the breaker is half-open" in caplog.text


async def test_a_ttl_that_does_not_act_is_said_loudly() -> None:
    async with Origin() as origin, running(origin, {"rules": RULES}) as gateway:
        well(origin, "/own", headers=(("Cache-Control", "max-age=5"),))
        well(origin, "/rules")
        for path, said in (("/own", ["the rule's ttl of 60 s does not act"]), ("/rules", [])):
            await gateway.get(path)
            told = await explain(gateway, path, headers={"Host": HOST})
            assert [warning.partition(":")[0] for warning in told["warnings"]] == said


async def test_parts_of_an_answer_are_told() -> None:
    async with Origin() as origin, running(origin, {"rules": RULES}) as gateway:
        part = (("Content-Range", "bytes 0-3/10"), ("ETag", '"1"'))
        origin.answer("/a", 206, headers=part, body=b"0123")
        await gateway.get("/a", {"Range": "bytes=0-3"})
        await gateway.settled()
        for more in ({}, {"Cache-Control": "only-if-cached"}):
            told = await explain(gateway, "/a", headers={"Host": HOST, "Range": "bytes=1-2", **more})
            assert (told["verdict"], told["reason"]) == ("HIT", "range")
        assert told["parts"] == {"tier": "memory", "there": 4, "of": 10}
        whole = await explain(gateway, "/a", headers={"Host": HOST})
        assert (whole["verdict"], whole["reason"]) == ("MISS", "partial")


# -- the nearest -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "headers", "differs", "advice"),
    [
        (f"http://{HOST}/api/users/7?a=1&ts=2", {}, ["query.ts"], 'key.query.ignore: ["ts"]'),
        (f"http://{HOST}/api/users/7", {}, ["query.a"], 'key.query.ignore: ["a"]'),
        (f"http://{HOST}/api/users/7?a=2", {}, ["query.a"], 'key.query.ignore: ["a"]'),
        (f"https://{HOST}/api/users/7?a=1", {}, ["scheme"], ""),
        (f"http://{HOST}/api/users/8?a=1", {}, ["path[2]"], ""),
        (f"http://{HOST}/api/users/7?a=1", {"X-Kind": "k"}, ["header.x-kind"], "leave x-kind out of key.headers"),
        (f"http://{HOST}/api/users/7?a=1", {"Cookie": "c=1"}, ["cookie.c"], "leave c out of key.cookies"),
        (
            f"http://{HOST}/api/users/7?a=1",
            {"X-Kind": "k", "Cookie": "c=1"},
            ["header.x-kind", "cookie.c"],
            "key.cookies",
        ),
        ("http://other.example/api/users/7?a=1", {}, ["host"], "key.host: false"),
        (f"http://{HOST}/elsewhere/x/y/z", {}, None, ""),
    ],
)
@pytest.mark.parametrize("tier", ["memory", "file"])
async def test_the_nearest_stored_answer_and_what_differs(
    url: str, headers: dict[str, str], differs: list[str] | None, advice: str, tier: str
) -> None:
    async with Origin() as origin, running(well(origin, "/api/users/7"), {"rules": RULES}) as gateway:
        await gateway.get("/api/users/7?a=1")
        await gateway.settled()
        if tier == "file":
            await gateway.admin("DELETE", "/memory")
        told = await explain(gateway, url, headers=headers)
        assert (told["verdict"], told["searched"]["complete"]) == ("MISS", True)
        nearest = told["nearest"]
        assert (nearest and nearest["differs"]) == differs
        assert nearest is None or (nearest["url"], nearest["tier"]) == (f"http://{HOST}/api/users/7?a=1", tier)
        assert advice in told["advice"]


async def test_what_the_rule_leaves_out_already_is_not_advised(tmp_path: Path) -> None:
    """The nearest is of the rules before, and has what these ignore."""
    key = {"query": {"ignore": ["ts"]}}
    rules = {"rules": [{"name": "all", "pattern": "*", "ttl": 60, "key": key}]}
    async with Origin() as origin, running(well(origin, "/a"), {"rules": RULES}, directory=tmp_path) as gateway:
        await gateway.get("/a?ts=1&page=2")
        await gateway.settled()
        now = gateway.gateway
        now.story.change(settings_from(settings(origin, tmp_path, rules)), now.settings)
        told = await explain(gateway, "/a?ts=2&page=2", headers={"Host": HOST})
        assert (told["verdict"], told["nearest"]["differs"]) == ("MISS", ["query.ts"])
        assert "other rules held" in told["advice"]
        assert "key.query.ignore" not in told["advice"]


async def test_a_variant_that_does_not_fit_says_in_what() -> None:
    async with Origin() as origin, running(origin, {"rules": RULES}) as gateway:
        well(origin, "/a", headers=(("Vary", "X-Lang"),))
        await gateway.get("/a", {"X-Lang": "de"})
        told = await explain(gateway, f"http://{HOST}/a", headers={"X-Lang": "fr"})
        assert (told["verdict"], told["reason"]) == ("MISS", "vary-miss")
        assert told["nearest"]["differs"] == ["vary.x-lang"]
        assert (told["nearest"]["here"], told["nearest"]["there"]) == ({"vary.x-lang": "fr"}, {"vary.x-lang": "de"})


async def test_what_a_purge_ended_is_not_the_nearest() -> None:
    async with Origin() as origin, running(well(origin, "/a"), {"rules": RULES}) as gateway:
        await gateway.get("/a?x=1")
        await gateway.settled()
        await gateway.purge(pattern="/a")
        assert (await explain(gateway, f"http://{HOST}/a?x=2"))["nearest"] is None


# -- how it is asked ---------------------------------------------------------------------------------------------------


async def test_by_query_and_by_body_it_says_the_same() -> None:
    async with Origin() as origin, running(well(origin, "/a"), {"rules": RULES}) as gateway:
        await gateway.get("/a")
        await gateway.settled()
        by_query = (await gateway.admin("GET", "/explain?url=/a&method=GET")).json
        assert by_query.keys() >= NAMES
        by_body = await explain(gateway, "/a", "GET")
        for told in (by_query, by_body):
            for tier in told["tiers"]:
                tier.pop("age"), tier.pop("ttl")
            told.pop("freshness"), told.pop("workers")
        assert by_query == by_body
        assert by_query["verdict"] == "HIT"


async def test_a_body_makes_it_a_post_and_is_part_of_the_key() -> None:
    async with Origin() as origin, running(well(origin, "/ask"), {"rules": RULES}) as gateway:
        await gateway.post("/ask", '{"q": 1, "n": 2}')
        media = {"Content-Type": "text/plain; charset=utf-8"}  # as the client says
        for body, verdict in (('{"n":2,"q":1}', "HIT"), ('{"q": 2}', "MISS")):
            told = await explain(gateway, f"http://{HOST}/ask", body=body, headers=media)
            assert (told["method"], told["verdict"]) == ("POST", verdict)
            assert told["key"]["parts"]["body"].startswith("json:")


def _error(got: Got) -> tuple[int, str]:
    return got.status, got.json["error"]


@pytest.mark.parametrize(
    ("said", "word"),
    [
        ([], "bad-explain"),
        ({}, "bad-url"),
        ({"url": 7}, "bad-explain"),
        ({"url": "ftp://a/"}, "bad-url"),
        ({"url": "a.example/x"}, "bad-url"),
        ({"url": "http://a b/"}, "bad-url"),
        ({"url": "http://u:p@a/"}, "bad-url"),
        ({"url": "/" + "a" * 8177}, "bad-url"),
        ({"url": "/a\x01"}, "bad-url"),
        ({"url": "/a", "client": "nope"}, "bad-client"),
        ({"url": "/a", "body": "x", "body_base64": "eA=="}, "bad-body"),
        ({"url": "/a", "methode": "GET"}, "bad-explain"),
        ({"url": "/a", "headers": "X: y"}, "bad-headers"),
        ({"url": "/a", "headers": [["X"]]}, "bad-headers"),
        ({"url": "/a", "headers": [7]}, "bad-headers"),
        ({"url": "/a", "headers": {"X: y": "z"}}, "bad-headers"),
        ({"url": "/a", "headers": {"X": "y\r\nZ: 1"}}, "bad-headers"),
        ({"url": "/a", "headers": {"X": 7}}, "bad-headers"),
        ({"url": "/a", "headers": {"Host": ["a", "b"]}}, "malformed"),
        ({"url": "/a", "headers": {"X": "y" * 40_000}}, "malformed"),
        ({"url": "/a", "body": 7}, "bad-body"),
        ({"url": "/a", "body_base64": "?"}, "bad-body"),
        ({"url": "/a", "method": "CONNECT"}, "method"),
        ({"url": "/a", "method": "G T"}, "bad-method"),
        ({"url": "/a", "method": "PURGE"}, "not-proxied"),
        ({"url": "/cache/stats"}, "not-proxied"),
    ],
)
async def test_what_is_no_request_is_refused_in_words(said: Any, word: str) -> None:
    async with Origin() as origin, running(origin, {"rules": RULES}) as gateway:
        assert _error(await gateway.admin("POST", "/explain", said)) == (400, word)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("/a\x1b", "url: wanted text without control characters, found '/a\\x1b'"),
        ("http://[::1]:99999/", "found 'http://[::1]:99999/'"),
        ("http://a:b@c/", "and no user, found 'http://***@c/'"),
        ("http://", "url: wanted a host, perhaps with a port up to 65535, and no user, found 'http://'"),
        ("ftp://a/", "found 'ftp://a/'"),
        ("/" + "a" * 8177, "wanted at most 8177 characters of path and query (limits.request_line), found 8178"),
    ],
)
async def test_what_the_door_refuses_is_refused_by_both_ways_and_names_what_was_found(url: str, says: str) -> None:
    async with Origin() as origin, running(origin, {"rules": RULES}) as gateway:
        said = [await gateway.admin("POST", "/explain", {"url": url})]
        if len(url) < 1000:  # a longer one is no request for the page
            said.append(await gateway.admin("GET", f"/explain?url={quote(url, safe='')}"))
        for got in said:
            assert _error(got) == (400, "bad-url")
            assert says in got.json["message"]
        longest = "/" + "a" * 8176
        assert (await explain(gateway, longest))["verdict"] == "MISS"
        assert (await gateway.get(longest)).status == 404  # the door takes it too


FIELD = 8190  # limits.header
HOST_LINE = {"Host": HOST}


@pytest.mark.parametrize(
    ("target", "headers", "status"),
    [
        ("/" + "a" * 8175, {}, 200),
        ("/" + "a" * 8176, {}, 200),
        ("/" + "a" * 8177, {}, 414),
        ("/a", {"X-Long": "y" * (FIELD - 6)}, 200),
        ("/a", {"X-Long": "y" * (FIELD + 1)}, 431),
        ("/a", {"X" * (FIELD + 1): "y"}, 431),
        ("/a", {f"X-{n}": "y" for n in range(99)}, 200),
        ("/a", {f"X-{n}": "y" for n in range(100)}, 431),
        ("/a", {f"X-{n}": "y" * 8000 for n in range(4)}, 200),
        ("/a", {f"X-{n}": "y" * 8000 for n in range(5)}, 431),
        ("/a", {"Content-Length": "1", "Transfer-Encoding": "chunked"}, 400),
    ],
)
async def test_what_is_too_long_for_the_door_is_told_its_verdict(
    target: str, headers: dict[str, str], status: int
) -> None:
    """It is asked both: the door, byte for byte, and explain."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in {**HOST_LINE, **headers}.items())
    async with Origin() as origin, running(origin, {"rules": RULES}) as gateway, raw(gateway.port) as door:
        origin.answer(target, body=b"x")
        await door.send(f"GET {target} HTTP/1.1\r\n{lines}\r\n".encode())
        answer = await door.response()
        assert answer.status == status
        got = await gateway.admin("POST", "/explain", {"url": target, "headers": headers})
        if status == 200:
            assert got.status == 200
        else:
            assert (got.status, got.json["status"]) == (400, status)
            assert f"; the door answers {status}." in got.json["message"]


async def test_what_was_found_is_told_and_nothing_said_twice_is_guessed_at() -> None:
    async with Origin() as origin, running(origin, {"rules": RULES}) as gateway:
        got = await gateway.admin("POST", "/explain", {"url": 7})
        assert got.json["message"] == "url: wanted text, found 7."
        got = await gateway.admin("GET", "/explain?url=/a&url=/b")
        assert (*_error(got), got.json["message"]) == (400, "bad-query", "url: given twice.")
        assert _error(await gateway.admin("POST", "/explain?method=PUT", {"url": "/a"})) == (400, "bad-query")


async def test_with_an_admin_port_paths_of_its_prefix_are_the_sites() -> None:
    async with Origin() as origin, running(origin, {"rules": RULES, "admin": {"port": 9}}) as gateway:
        question = Question("GET", "/cache/stats", ((b"Host", HOST.encode()),), "127.0.0.1", secure=False)
        assert (await gateway.gateway.everywhere.explain(question))["verdict"] == "MISS"


async def test_it_wants_the_token() -> None:
    async with Origin() as origin, running(origin, {"rules": RULES}) as gateway:
        for method in ("GET", "POST"):
            for host in (HOST, "localhost"):
                assert (await gateway.ask(method, "/cache/explain?url=/a", {"Host": host})).status == 404
        assert (await gateway.ask("GET", "/cache/explain?url=/a", {"Authorization": "Bearer no"})).status == 401
