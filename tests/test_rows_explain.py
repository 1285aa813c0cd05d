"""Explain as an operator has it: the command, several workers, several instances (row 201; contract "Command line")."""

import asyncio
import json
from typing import Any

import pytest

from tests.support.origin import Origin
from tests.support.process import PATIENCE, Process, instances, serving
from tests.support.redis_servers import redis_server

RULES: dict[str, Any] = {
    "rules": [
        {"name": "posted", "pattern": "/ask", "methods": ["POST"], "ttl": 60, "key": {"body": "json"}},
        {"name": "all", "pattern": "*", "methods": ["GET"], "ttl": 60},
    ]
}


async def explain(gateway: Process, *words: str) -> tuple[int, Any]:
    code, out, err = await gateway.command("explain", *words, "--json")
    return code, json.loads(out) if out else err


async def test_the_command_tells_a_person_and_a_program() -> None:
    async with Origin() as origin, serving(origin, RULES) as gateway:
        origin.answer("/users/7", body=b"seven")
        await gateway.get("/users/7")
        code, out, err = await gateway.command("explain", "/users/7?ts=1", "--site", "site.example")
        assert (code, err) == (0, "")
        told = out.splitlines()
        assert told[:2] == ["MISS uri-miss (RFC 9111 4)", "  GET http://site.example/users/7?ts=1"]
        assert "  differs   only in query.ts" in told
        assert told[-1] == 'advice: if query.ts does not change the answer: key.query.ignore: ["ts"]'
        code, document = await explain(gateway, "http://site.example/users/7")
        assert (code, document["verdict"], document["tiers"][0]["found"]) == (0, "HIT", True)
        code, document = await explain(gateway, "/users/7", "-H", "host:site.example")
        assert (code, document["verdict"]) == (0, "HIT")
        code, document = await explain(gateway, "/users/7")  # the Host of --url, which has the port
        assert (document["verdict"], document["nearest"]["differs"]) == ("MISS", ["host"])


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("--expect", "HIT"), 0, ""),
        (("--expect", "hit"), 0, ""),
        (("--expect", "MISS"), 1, "expected MISS, found HIT (fresh)"),
        (("-X", "DELETE", "--expect", "BYPASS"), 0, ""),
        (("-H", "Range: bytes=0-0", "--expect", "HIT"), 0, ""),
        (("-H", "nothing"), 2, "is no header"),
        (("--expect", "WARM"), 2, "Invalid value for '--expect'"),
        (("-d", "@nowhere"), 2, "cannot read nowhere"),
        (("-X", "G T"), 2, "method"),
        (("--token", "not-the-token"), 2, "the token is wrong"),
    ],
)
async def test_what_its_exit_code_says(words: tuple[str, ...], code: int, told: str) -> None:
    async with Origin() as origin, serving(origin, RULES) as gateway:
        origin.answer("/a")
        await gateway.get("/a")
        found, _, err = await gateway.command("explain", "/a", "--site", "site.example", *words)
        assert (found, told in err) == (code, True)


async def test_a_body_is_given_as_to_curl() -> None:
    async with Origin() as origin, serving(origin, RULES) as gateway:
        origin.answer("/ask")
        json_ = {"Content-Type": "application/json"}
        await gateway.ask("POST", "/ask", json_, b'{"q": 1}')
        (gateway.directory / "body.json").write_text('{\n"q":1\n}')
        for data in ('{"q":1}', "@body.json"):
            words = ("/ask", "--site", "site.example", "-H", "Content-Type: application/json", "-d", data)
            code, document = await explain(gateway, *words)
            assert (code, document["method"], document["verdict"]) == (0, "POST", "HIT")


async def test_any_worker_answers_and_says_what_each_of_them_has() -> None:
    settings = {**RULES, "listen": {"workers": 2}, "file": {"enabled": False}}
    async with Origin() as origin, serving(origin, settings) as gateway:
        origin.answer("/a", body=b"0123456789")
        await gateway.get("/a")
        async with asyncio.timeout(PATIENCE):
            answered: dict[int, Any] = {}
            while len(answered) < 2:
                code, told = await explain(gateway, "/a", "--site", "site.example")
                assert code == 0
                answered[told["worker"]] = told
        for number, told in answered.items():
            workers = told["workers"]
            assert [each["worker"] for each in workers] == [0, 1]
            assert sorted(each["verdict"] for each in workers) == [
                "HIT",
                "MISS",
            ]  # one memory has it, and the other not
            assert workers[number]["verdict"] == told["verdict"]
            assert [each["memory"][0]["found"] for each in workers] == [each["verdict"] == "HIT" for each in workers]
            _, other = await explain(gateway, "/a?ts=1", "--site", "site.example")
            assert other["nearest"]["differs"] == ["query.ts"]  # whoever has it
        _, out, _ = await gateway.command("explain", "/a", "--site", "site.example")
        assert "workers" in out.splitlines()


async def test_what_another_instance_has_stored_is_found_in_redis() -> None:
    async with redis_server() as redis, Origin() as origin, instances(2, origin, RULES, redis.url) as (one, other):
        origin.answer("/a", body=b"0123456789")
        await one.get("/a")
        async with asyncio.timeout(PATIENCE):
            while True:
                _, told = await explain(other, "/a", "--site", "site.example")
                if told["verdict"] == "HIT":
                    break
        found = {tier["tier"]: tier["found"] for tier in told["tiers"]}
        assert found == {"memory": False, "redis": True, "file": False}
        got = await other.get("/a")
        assert (got.verdict, got.tier) == ("HIT", "redis")
        receipt = (await one.admin("POST", "/purge", {"pattern": "/a"})).json
        _, told = await explain(other, "/a", "--site", "site.example")
        purged = told["tiers"][0]["purged"]
        assert (told["verdict"], purged["name"], purged["id"]) == ("MISS", "/a", receipt["id"])


@pytest.mark.parametrize("name", ["killed", "stopped"])
async def test_a_redis_that_says_nothing_is_not_said_to_have_nothing(name: str) -> None:
    async with redis_server() as redis, Origin() as origin, instances(1, origin, RULES, redis.url) as (gateway,):
        origin.answer("/a", body=b"0123456789")
        if name == "killed":
            await redis.kill()
        else:
            redis.stop()
        for _ in range(2):  # at first it is found out, and then it is known
            _, told = await explain(gateway, "/a", "--site", "site.example")
            found = {tier["tier"]: tier["found"] for tier in told["tiers"]}
            assert found == {"memory": False, "redis": None, "file": False}
            assert told["tiers"][1]["trouble"]
            await gateway.get("/a?other")
            await gateway.logged("is away, serving from memory and files")
        assert told["tiers"][1]["trouble"].startswith("not asked: ")
        _, out, _ = await gateway.command("explain", "/a", "--site", "site.example")
        assert "  ?   redis   not asked: " in out


async def test_a_fetch_in_another_instance_is_told_and_what_that_learnt() -> None:
    async with redis_server() as redis, Origin() as origin, instances(2, origin, RULES, redis.url) as (one, other):
        origin.answer("/a", headers=[("Set-Cookie", "a=b")])
        gate = origin.hold("/a")
        fetching = asyncio.create_task(one.get("/a"))
        await origin.arrived("/a")
        _, told = await explain(other, "/a", "--site", "site.example")
        assert (told["verdict"], told["fetch"]) == ("MISS", {"passengers": 0, "elsewhere": True})
        _, own = await explain(one, "/a", "--site", "site.example")
        assert own["fetch"] == {"passengers": 1, "elsewhere": False}
        gate.release()
        assert (await fetching).detail == "set-cookie"
        async with asyncio.timeout(PATIENCE):
            while (told := (await explain(other, "/a", "--site", "site.example"))[1])["fetch"] is not None:
                await asyncio.sleep(0.005)
        assert (told["reason"], told["because"], told["storing"]["lately"]) == ("set-cookie", "uri-miss", "set-cookie")
        assert (await other.get("/a")).detail == "set-cookie"
