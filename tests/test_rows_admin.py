"""The operator's side of a gateway that runs: curl as documented, purges in every way, clear and rebuild, clear of one
tier or all, statistics by HTTP, jq and command (rows 15, 20, 51, 52, 54-57, 59, 64, 71, 82, 84, 136)."""

import asyncio
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from proxy.settings import settings_from
from proxy.settings.load import Loaded
from tests.support.gateway import TOKEN, running
from tests.support.origin import Origin
from tests.support.process import PATIENCE, REPOSITORY, Process, environment, serving

RULES = {
    "rules": [
        {"name": "users", "pattern": "/api/users/*", "ttl": 60, "tags": ["user:{path[2]}"], "namespace": "people"},
        {"name": "rest", "pattern": "*", "ttl": 60},
    ]
}
USERS = ("/api/users/1", "/api/users/2")
EVERY = (*USERS, "/docs/a", "/docs/b")
README = "".join((REPOSITORY / page).read_text() for page in ("README.md", "docs/guide.md"))
CURL = re.findall(r"^(?:\$ )?(curl .*)$", README, re.MULTILINE)

# The shape that scripts hold on to: names, and what kind of thing stands there.
SHAPE: dict[str, Any] = {
    "uptime": float,
    "version": str,
    "requests": int,
    "hitRate": float,
    "inFlight": int,
    "activeSessions": int,
    "coalesced": int,
    "malformed": int,
    "workers": int,
    "responseTime": {"avg": float, "p50": float, "p95": float, "p99": float},
    "memory": {"size": int, "bytes": int, "maxBytes": int, "hitRate": float}
    | {"totalHits": int, "totalMisses": int, "evictions": int},
    "redis": {"enabled": bool, "connected": bool, "isConnected": bool, "mode": str, "size": int, "keys": int}
    | {"memory": str, "memoryUsage": int, "latency": float, "keyspace": dict, "hits": int, "misses": int, "errors": int}
    | {"localFallbackSize": int},
    "file": {"size": int, "bytes": int, "files": list, "hits": int, "misses": int, "evictions": int},
    "parts": {"size": int, "bytes": int},
    "verdicts": dict.fromkeys(["HIT", "MISS", "EXPIRED", "REVALIDATED", "UPDATING", "STALE", "BYPASS"], int),
    "reasons": dict,
    "rules": dict,
    "upstream": {"requests": int, "errors": int, "inFlight": int, "breaker": str},
}


def misshapen(document: Any, shape: Any, path: str = "stats") -> list[str]:
    """Where a document lacks a name of its shape, or has another kind of thing there."""
    if isinstance(shape, dict):
        if not isinstance(document, dict):
            return [path]
        missing = [f"{path}.{name}" for name in shape if name not in document]
        held = [(document[name], inner, f"{path}.{name}") for name, inner in shape.items() if name in document]
        return missing + [wrong for each in held for wrong in misshapen(*each)]
    kinds = (int, float) if shape is float else shape
    fits = isinstance(document, kinds) and (shape is bool or not isinstance(document, bool))
    return [] if fits else [path]


def served(origin: Origin) -> Origin:
    for path in EVERY:
        origin.answer(path, body=path.encode())
    return origin


async def shell(gateway: Process, line: str) -> tuple[int | None, str]:
    """A line in a shell, where the gateway was started."""
    made = await asyncio.create_subprocess_exec(
        *("bash", "-o", "pipefail", "-c", line),
        cwd=gateway.directory,
        env=environment({}),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, _ = await made.communicate()
    return made.returncode, out.decode()


# -- curl --------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
async def test_every_documented_curl_line_does_what_it_says(tmp_path: Path) -> None:
    """Word for word but for the port. The gateway makes a token of its own here; the lines read it where it lies."""
    assert len(CURL) >= 4
    async with Origin() as origin, serving(origin, RULES, directory=tmp_path, env={"ADMIN_TOKEN": ""}) as gateway:
        origin.answer("/users/7", body=b"seven")
        at = f"127.0.0.1:{gateway.port}"
        for line in CURL:
            code, out = await shell(gateway, line.replace("127.0.0.1:4000", at) + " --fail-with-body -sS")
            assert code == 0, (line, out)
        _, out = await shell(gateway, f"curl -si http://{at}/users/7")
        assert "X-Cache: HIT" in out.splitlines()


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("jq")), reason="there is no curl or no jq here")
async def test_what_scripts_ask_with_curl_and_jq() -> None:
    async with Origin() as origin, serving(served(origin), RULES) as gateway:
        await gateway.verdicts("/docs/a", "/docs/a", "/docs/a", "/docs/a")
        base = f"http://localhost:{gateway.port}/cache"
        assert await shell(gateway, f"curl -s {base}/stats | jq '.memory.hitRate, .redis.keys'") == (0, "0.75\n0\n")
        assert await shell(gateway, f"curl -s {base}/redis/health | jq -r .status") == (0, "disabled\n")
        status = "curl -s -o /dev/null -w '%{http_code}'"
        assert await shell(gateway, f"{status} {base}/redis/ping") == (0, "503")
        assert await shell(gateway, f"{status} -X DELETE {base}/redis") == (0, "404")  # no token, no such page
        bearer = f"-H 'Authorization: Bearer {TOKEN}'"
        assert await shell(gateway, f"curl -s -X DELETE {bearer} {base}/redis | jq -r .error") == (0, "redis-off\n")
        assert await gateway.verdicts("/docs/a") == ["HIT"]  # the other tiers were not touched
        assert await shell(gateway, f"curl -s -X DELETE {bearer} {base}") == (0, '{"cleared":1}')


# -- purges ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "gone"),
    [
        ({"url": "/api/users/1"}, USERS[:1]),
        ({"url": "http://site.example/api/users/1"}, USERS[:1]),
        ({"url": "http://other.example/api/users/1"}, ()),
        ({"pattern": "*/users/*"}, USERS),
        ({"pattern": "//site.example/docs/?"}, EVERY[2:]),
        ({"tag": "user:2"}, USERS[1:]),
        ({"tags": ["user:1", "user:2"]}, USERS),
        ({"rule": "rest"}, EVERY[2:]),
        ({"namespace": "people"}, USERS),
        ({"all": True}, EVERY),
    ],
    ids=str,
)
async def test_a_purge_takes_what_it_names_out_of_every_tier(wanted: dict[str, Any], gone: tuple[str, ...]) -> None:
    async with Origin() as origin, running(served(origin), RULES) as gateway:
        for path in EVERY:
            await gateway.get(path)
        await gateway.settled()
        dry = (await gateway.purge(**wanted, dry_run=True)).json
        assert (dry["dry_run"], dry["matched"], len(dry["sample"])) == (True, {"memory": len(gone)}, len(gone))
        receipt = (await gateway.purge(**wanted)).json
        assert (receipt["matched"], receipt["exact"]) == ({"memory": len(gone)}, True)
        assert (await gateway.admin("GET", f"/purges/{receipt['id']}")).json["id"] == receipt["id"]
        await gateway.admin("DELETE", "/memory")  # what answers now comes from the file tier
        got = {path: await gateway.get(path) for path in EVERY}
        assert tuple(path for path in EVERY if got[path].verdict == "MISS") == gone
        assert {answer.tier for answer in got.values() if answer.verdict == "HIT"} <= {"file"}


async def test_the_purge_method_takes_every_variant_and_never_goes_upstream() -> None:
    async with Origin() as origin, running(origin, RULES) as gateway:
        origin.answer("/v", headers=[("Vary", "Accept-Language")], body=b"x")
        for language in ("de", "fr"):
            await gateway.get("/v", {"Accept-Language": language})
        await gateway.get("/w")
        asked = origin.count()
        assert (await gateway.ask("PURGE", "/v")).status == 403
        assert (await gateway.ask("PURGE", "/v", {"Cachegate-Token": "wrong"})).status == 401
        assert (await gateway.get("/v", {"Accept-Language": "de"})).verdict == "HIT"
        got = await gateway.ask("PURGE", "/v", {"Cachegate-Token": TOKEN})
        assert (got.status, got.json["kind"], got.json["matched"]) == (200, "url", {"memory": 2})
        assert origin.count() == asked
        for language in ("de", "fr"):
            assert (await gateway.get("/v", {"Accept-Language": language})).verdict == "MISS"
        assert origin.last.header("cachegate-token") is None


async def test_a_soft_purge_ends_the_life_and_leaves_the_windows() -> None:
    rules = [{"pattern": "*", "ttl": 60, "stale_while_revalidate": 30}]
    async with Origin() as origin, running(origin, {"rules": rules}) as gateway:
        origin.answer("/a", body=b"old", times=1)
        origin.answer("/a", body=b"new")
        await gateway.get("/a")
        assert (await gateway.purge(url="/a", soft=True)).json["soft"] is True
        got = await gateway.get("/a")
        assert (got.verdict, got.body) == ("UPDATING", b"old")
        await gateway.settled()
        got = await gateway.get("/a")
        assert (got.verdict, got.body) == ("HIT", b"new")


# -- clear -------------------------------------------------------------------------------------------------------------


async def test_clearing_one_tier_or_a_part_or_all() -> None:
    async with Origin() as origin, running(served(origin), RULES) as gateway:

        async def sizes() -> tuple[int, int]:
            await gateway.settled()
            stats = await gateway.stats()
            return stats["memory"]["size"], stats["file"]["size"]

        for path in EVERY:
            await gateway.get(path)
        assert await sizes() == (4, 4)
        assert (await gateway.admin("DELETE", "/memory?pattern=*/users/*")).json == {"cleared": 2}
        assert await sizes() == (2, 4)
        assert (await gateway.admin("DELETE", "/file")).json == {"cleared": 4}
        assert await sizes() == (2, 0)
        assert (await gateway.get("/docs/a")).tier == "memory"
        assert (await gateway.admin("DELETE", "")).json == {"cleared": 2}
        assert await sizes() == (0, 0)


async def test_clear_a_pattern_and_rebuild_it(tmp_path: Path) -> None:
    """The recipe against a cache that tells something old: clear what is wrong, ask for it again, and it is right."""
    async with Origin() as origin, serving(served(origin), RULES, directory=tmp_path) as gateway:
        await gateway.verdicts(*EVERY)
        for path in USERS:
            origin.answer(path, body=b"new")
        assert (await gateway.get(USERS[0])).body == USERS[0].encode()
        code, out, _ = await gateway.command("clear", "--pattern", "*/users/*", "--yes", "--json")
        assert (code, json.loads(out)) == (0, {"cleared": 2})
        assert await gateway.verdicts(*EVERY) == ["MISS", "MISS", "HIT", "HIT"]
        assert {(await gateway.get(path)).body for path in USERS} == {b"new"}
        code, _, err = await gateway.command("clear")
        assert (code, "--yes" in err) == (2, True)
        assert await gateway.verdicts(*EVERY) == ["HIT"] * 4


async def test_a_new_item_ends_the_lists_it_belongs_to() -> None:
    rules = [
        {"name": "items", "pattern": ["/items", "/items/*"], "ttl": 60, "invalidates": ["/items", "tag:counts"]},
        {"name": "rest", "pattern": "*", "ttl": 60, "tags": ["counts"]},
    ]
    async with Origin() as origin, running(origin, {"rules": rules}) as gateway:
        for path in ("/items", "/items/1", "/summary"):
            origin.answer(path, body=b"x")

        async def verdicts() -> list[str | None]:
            return [(await gateway.get(path)).verdict for path in ("/items", "/items/1", "/summary")]

        await verdicts()
        origin.answer("/items", 422, body=b"no", times=1)
        assert (await gateway.post("/items", b"{}")).status == 422
        assert await verdicts() == ["HIT"] * 3
        for status in (201, 303):
            origin.answer("/items", status, body=b"made", times=1)
            assert (await gateway.post("/items", b"{}")).status == status
            assert await verdicts() == ["MISS", "HIT", "MISS"]


# -- figures -----------------------------------------------------------------------------------------------------------


async def test_stats_have_the_shape_that_scripts_hold_on_to() -> None:
    async with Origin() as origin, running(served(origin), RULES) as gateway:
        empty = await gateway.stats()
        assert misshapen(empty, SHAPE) == []
        assert (empty["hitRate"], empty["memory"]["hitRate"]) == (0, 0)
        for path in (*EVERY, *EVERY, EVERY[0], "/none"):
            await gateway.get(path)
        await gateway.ask("PUT", "/docs/a", data=b"x")
        await gateway.settled()
        stats = await gateway.stats()
        assert misshapen(stats, SHAPE) == []
        assert sum(stats["verdicts"].values()) == stats["requests"] == sum(stats["reasons"].values()) == 11
        memory = stats["memory"]
        lookups = memory["totalHits"] + memory["totalMisses"]
        assert memory["hitRate"] == pytest.approx(memory["totalHits"] / lookups, abs=1e-4)
        users = stats["rules"]["users"]
        assert [users[name] for name in ("hits", "misses", "callsSaved", "moneySaved")] == [3, 2, 3, 0]
        assert users["bytesSaved"] == 3 * len(EVERY[0])
        assert users["secondsSaved"] >= 0
        assert all(re.fullmatch(r"[\w./-]+", name) for name in stats["file"]["files"])
        assert len(stats["file"]["files"]) == stats["file"]["size"]


async def test_what_answers_from_store_save_is_told_in_money() -> None:
    paid, free = {"name": "paid", "pattern": "/paid/*", "ttl": 60}, {"pattern": "/free/*", "ttl": 60}
    async with Origin() as origin, running(origin, {"rules": [{**paid, "cost": 0.25}, free]}) as gateway:
        for path in ("/paid/a", "/free/a"):
            origin.answer(path, body=b"x")
            for _ in range(3):
                await gateway.get(path)
        await gateway.settled()
        rules = (await gateway.stats())["rules"]
        assert (rules["paid"]["moneySaved"], rules["rule-2"]["moneySaved"]) == (0.5, 0)
        dearer = settings_from({"upstream": {"url": origin.url}, "rules": [{**paid, "cost": 2}]})
        gateway.gateway.configuration.take(Loaded(dearer, {}))
        await gateway.get("/paid/a")
        await gateway.settled()
        assert (await gateway.stats())["rules"]["paid"]["moneySaved"] == 2.5


async def test_what_answers_say_they_cost_is_what_hits_save() -> None:
    rule = {"name": "ai", "pattern": "/ai/*", "ttl": 60, "cost": {"json": "usage.total_tokens", "each": 0.5}}
    async with Origin() as origin, running(origin, {"rules": [rule]}) as gateway:
        for path, tokens in (("/ai/a", 30), ("/ai/b", 10)):
            body = b'{"usage": {"total_tokens": %d}}' % tokens
            origin.answer(path, headers=[("Content-Type", "application/json")], body=body)
            await gateway.get(path)
        origin.answer("/ai/c", body=b"no price")
        await gateway.get("/ai/c")
        await gateway.settled()
        assert (await gateway.stats())["rules"]["ai"]["moneySaved"] == 0
        for path in ("/ai/a", "/ai/a", "/ai/c"):
            await gateway.get(path)
        assert (await gateway.stats())["rules"]["ai"]["moneySaved"] == 3 * (30 + 10) / 2 * 0.5


async def test_names_of_files_are_capped_and_for_the_token_alone() -> None:
    async with Origin() as origin, running(origin, RULES) as gateway:
        origin.answer("/many", body=b"x")
        await asyncio.gather(*(gateway.get(f"/many?{number}") for number in range(120)))
        await gateway.settled()
        stats = await gateway.stats()
        assert (stats["file"]["size"], len(stats["file"]["files"])) == (120, 100)
        local = {"Host": f"127.0.0.1:{gateway.port}"}
        assert "files" not in (await gateway.get("/cache/stats", local)).json["file"]


async def test_entries_tell_how_often_they_were_used() -> None:
    async with Origin() as origin, running(served(origin), RULES) as gateway:
        for path in (*EVERY, *[USERS[0]] * 5, *["/docs/b"] * 2):
            await gateway.get(path)
        entries = (await gateway.admin("GET", "/entries?limit=3")).json
        assert entries["total"] == 4
        told = [(entry["url"].rpartition("site.example")[2], entry["hits"]) for entry in entries["entries"]]
        assert told[:2] == [(USERS[0], 5), ("/docs/b", 2)]
        first = entries["entries"][0]
        assert (first["rule"], first["tags"], first["tier"]) == ("users", ["user:1"], "memory")
        assert first["size"] >= len(USERS[0])
        assert 0 <= first["age"] <= 60
        assert first["ttl"] == pytest.approx(60 - first["age"], abs=0.01)
        short = (await gateway.admin("GET", f"/entries/{first['key'][:8]}")).json
        assert short["key"] == first["key"]


async def test_entries_are_searched_by_url_tag_and_rule_wherever_they_lie() -> None:
    searches = {
        "url=example/api/users/1": [USERS[0]],
        "tag=user:1": [USERS[0]],
        "tag=user": [],
        "rule=users": sorted(USERS),
        "rule=users&match=*/2": [USERS[1]],
        "rule=users&url=/docs/": [],
        "url=site.example/docs/b": ["/docs/b"],
    }
    settings = {**RULES, "listen": {"workers": 2}}
    async with Origin() as origin, serving(served(origin), settings) as gateway:
        await gateway.verdicts(*EVERY)
        async with asyncio.timeout(PATIENCE):
            while (await gateway.admin("GET", "/entries")).json["total"] < 4:
                await asyncio.sleep(0.01)
        for query, urls in searches.items():
            got = (await gateway.admin("GET", f"/entries?{query}")).json
            found = [entry["url"].rpartition("site.example")[2] for entry in got["entries"]]
            assert (query, sorted(found), got["total"]) == (query, urls, len(urls))


async def test_the_stats_command_tells_what_is_asked_for_and_what_misses_cost() -> None:
    async with Origin() as origin, serving(served(origin), RULES) as gateway:
        await gateway.verdicts(*EVERY, *EVERY, *USERS)
        code, out, _ = await gateway.command("stats")
        assert (code, "asked for most" in out, "missed at most upstream time" in out) == (0, True, True)
        code, out, _ = await gateway.command("stats", "--window", "1h")
        assert (code, out.split()[:4]) == (0, ["last", "1h", "10", "requests,"])
        rows = {line.split()[0]: line.split() for line in out.splitlines() if line.strip()}
        assert rows["users"][1:4] == ["4", "2", "4"]
        assert rows["uri-miss"][1] == "4"
        code, out, _ = await gateway.command("stats", "--window", "24h", "--json")
        assert (code, json.loads(out)["window"]["minutes"]) == (0, 1440)


async def test_the_stats_command_tells_rules_tiers_and_reasons() -> None:
    async with Origin() as origin, serving(served(origin), RULES) as gateway:
        await gateway.verdicts(*EVERY, *EVERY, *USERS)
        code, out, _ = await gateway.command("stats")
        assert code == 0
        rows = {line.split()[0]: line.split() for line in out.splitlines() if line.strip()}
        assert rows["users"][1:4] == ["4", "2", "4"]  # hits, misses, calls saved
        assert rows["memory"][1] == "4"
        assert rows["HIT"][1] == "6"
        assert rows["uri-miss"][1] == "4"
        code, out, _ = await gateway.command("stats", "--json")
        assert (code, misshapen(json.loads(out), SHAPE)) == (0, [])
