"""What a client sees is what the origin said, with the gateway, without it, and from every tier; and nothing that
belongs to one person reaches another or the disk (rows 4, 7, 12, 24, 110, 210)."""

import gzip
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway import Clock, Got, running
from tests.support.origin import Origin
from tests.support.process import session

ALL: dict[str, Any] = {"rules": [{"pattern": "*", "ttl": 60}]}
OURS = {"age", "via", "x-cache", "x-cache-tier", "cache-status", "x-request-id"}

PACKED = gzip.compress(b"packed " * 500, mtime=0)
ANSWERS: dict[str, tuple[int, list[tuple[str, str]], bytes, bool]] = {
    "/plain": (200, [("Content-Type", "text/plain; charset=utf-8")], b"hello \xc3\xa9", False),
    "/binary": (200, [("Content-Type", "application/octet-stream"), ("ETag", '"b1"')], bytes(range(256)) * 300, False),
    "/packed": (200, [("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding")], PACKED, False),
    "/chunked": (200, [("content-TYPE", "application/json")], b'{"a": [1,  2]}', True),
    "/empty": (200, [("X-Empty", "")], b"", False),
    "/many": (
        200,
        [("Link", "<a>"), ("X-A", "1"), ("Link", "<b>"), ("X-Latin", "caf\xe9"), ("Date", "then")],
        b"x",
        False,
    ),
    "/moved": (301, [("Location", "/plain?a=%2F&b")], b"moved", False),
    "/gone": (410, [("Cache-Control", "max-age=60"), ("Content-Type", "text/html")], b"<b>gone</b>", False),
    "/nothing": (204, [("Cache-Control", "max-age=60")], b"", False),
}


async def direct(origin: Origin, target: str) -> Got:
    async with session() as client, client.get(origin.url + target, allow_redirects=False) as answer:
        pairs = tuple((n.decode("latin-1"), v.decode("latin-1")) for n, v in answer.raw_headers)
        return Got(answer.status, pairs, await answer.read())


def end_to_end(got: Got) -> Counter[tuple[str, str]]:
    """The fields that are the origin's, names as they were written; how the body is framed is each hop's own."""
    framing = {"transfer-encoding", "content-length", "connection"}
    added = {"date"} if ("Date", "then") not in got.pairs else set()
    return Counter((name, value) for name, value in got.pairs if name.lower() not in OURS | framing | added)


@pytest.mark.parametrize("path", ANSWERS)
async def test_the_same_bytes_without_the_gateway_and_with_it_from_every_tier(path: str) -> None:
    status, headers, body, chunked = ANSWERS[path]
    async with Origin() as origin, running(origin, ALL) as gateway:
        origin.answer(path, status, headers, body, chunked=chunked)
        plain = await direct(origin, path)
        miss = await gateway.get(path)
        await gateway.settled()
        memory = await gateway.get(path)
        await gateway.admin("DELETE", "/memory")
        file = await gateway.get(path)
        assert [(got.verdict, got.tier) for got in (miss, memory, file)] == [
            ("MISS", None),
            ("HIT", "memory"),
            ("HIT", "file"),
        ]
        for got in (miss, memory, file):
            assert (got.status, got.body) == (plain.status, plain.body) == (status, body)
            assert end_to_end(got) == end_to_end(plain) == Counter(headers)
        assert miss.header("date") == memory.header("date") == file.header("date")


async def test_the_order_of_equal_fields_is_kept() -> None:
    async with Origin() as origin, running(origin, ALL) as gateway:
        origin.answer("/a", headers=[("Link", f"<{n}>") for n in range(9)], body=b"x")
        for _ in range(2):
            got = await gateway.get("/a")
            assert [value for name, value in got.pairs if name == "Link"] == [f"<{n}>" for n in range(9)]


# -- what is one person's ----------------------------------------------------------------------------------------------


async def test_two_users_never_share_and_cannot_by_any_spelling() -> None:
    rules = [{"pattern": "*", "ttl": 60, "conditions": {"headers": {"x-user-id": "*"}}}]
    async with Origin() as origin, running(origin, {"rules": rules, "cache": {"unmatched": "bypass"}}) as gateway:
        origin.answer("/me", body=lambda request: repr(request.lines("x-user-id")).encode())
        users = ["7", "07", "7 ", "7,8", "a|b", "A|B", "7%20", '"7"']
        for _ in range(2):
            for user in users:
                assert (await gateway.get("/me", {"X-User-Id": user})).body == repr([user.strip()]).encode()
        assert (await gateway.get("/me", {"X_User_Id": "7"})).verdict == "BYPASS"


async def test_nothing_of_a_person_is_written_to_disk(tmp_path: Path) -> None:
    """Bodies of requests, credentials, and answers that are for one only: whatever is under the directory is read."""
    rules = [
        {"pattern": "/search", "methods": ["POST"], "ttl": 60},
        {"pattern": "/keyed", "ttl": 60, "key": {"credentials": "key", "cookies": ["session"]}},
        {"pattern": "*", "ttl": 60},
    ]
    async with Origin() as origin, running(origin, {"rules": rules}, directory=tmp_path) as gateway:
        origin.answer("/search", body=b"found-" * 9)
        origin.answer("/keyed", body=b"keyed-" * 9)
        origin.answer("/private", headers=[("Cache-Control", "private")], body=b"private-answer")
        origin.answer("/cookie", headers=[("Set-Cookie", "s=set-cookie-secret")], body=b"x")
        origin.answer("/bearer", body=b"bearer-answer")
        for _ in range(2):
            await gateway.post("/search", b"body-secret")
            await gateway.get("/keyed", {"Authorization": "Bearer header-secret", "Cookie": "session=cookie-secret"})
            await gateway.get("/private")
            await gateway.get("/cookie")
            await gateway.get("/bearer", {"Authorization": "Bearer header-secret"})
        await gateway.settled()
        assert (await gateway.stats())["file"]["size"] == 2
        held = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
        assert b"found-" in held
        assert b"keyed-" in held
        assert not [word for word in (b"secret", b"private-answer", b"bearer-answer") if word in held]
        entries = (await gateway.admin("GET", "/entries")).body
        assert b"secret" not in entries


# -- time --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tier", ["memory", "file"])
@pytest.mark.parametrize(("past", "verdict"), [(59.99, "HIT"), (60.01, "EXPIRED"), (1e9, "MISS")])
async def test_no_tier_serves_what_is_over(tier: str, past: float, verdict: str, tmp_path: Path) -> None:
    """To the hundredth of a second; after a restart of the gateway, too, for what lies in files."""
    clock = Clock()
    async with Origin() as origin:
        origin.answer("/a", headers=[("ETag", '"1"')], body=b"x")
        async with running(origin, ALL, directory=tmp_path, clock=clock) as gateway:
            await gateway.get("/a")
            await gateway.settled()
            if tier == "memory":
                clock.advance(past)
                assert (await gateway.get("/a")).verdict == verdict
        if tier == "file":
            clock.advance(past)
            async with running(origin, ALL, directory=tmp_path, clock=clock) as gateway:
                assert (await gateway.get("/a")).verdict == verdict


async def test_a_clock_that_is_set_back_makes_nothing_fresh_for_ever(tmp_path: Path) -> None:
    clock = Clock()
    async with Origin() as origin, running(origin, ALL, directory=tmp_path, clock=clock) as gateway:
        origin.answer("/a", body=b"x")
        await gateway.get("/a")
        clock.advance(-86_400)
        got = await gateway.get("/a")
        if got.verdict == "HIT":
            assert int(got.header("age") or "-1") >= 0
        clock.advance(86_400 + 61)
        assert (await gateway.get("/a")).verdict == "EXPIRED"


# -- canonical bodies --------------------------------------------------------------------------------------------------


async def test_one_question_in_several_spellings_is_one_entry() -> None:
    rules = [
        {"pattern": "/graphql", "methods": ["POST"], "ttl": 60, "key": {"body": "graphql"}},
        {"pattern": "/json", "methods": ["POST"], "ttl": 60, "key": {"body": {"json": {"ignore": ["user"]}}}},
    ]
    kind = {"Content-Type": "application/json"}
    async with Origin() as origin, running(origin, {"rules": rules}) as gateway:
        for path in ("/graphql", "/json"):
            origin.answer(path, body=lambda request: request.body)

        async def verdicts(path: str, *bodies: bytes) -> list[str | None]:
            return [(await gateway.post(path, body, kind)).verdict for body in bodies]

        assert await verdicts(
            "/json",
            b'{"a": 1, "b": [1.0, "\\u00e9"], "user": "ann"}',
            b'{"user":"bob","b":[1e0,"\xc3\xa9"],"a":1.00}',
            b'{"a": 1, "b": ["\\u00e9", 1]}',
            b'{"a": 12345678901234567890}',
            b'{"a": 12345678901234567891}',
        ) == ["MISS", "HIT", "MISS", "MISS", "MISS"]
        assert await verdicts(
            "/graphql",
            b'{"query": "query Q { user(id: 1) { name } }"}',
            b'{"query": "query Q{\\n  user(id:1),{name} # who\\n}", "variables": {}}',
            b'{"query": "query Q { user(id: 2) { name } }"}',
        ) == ["MISS", "HIT", "MISS"]
        assert await verdicts("/graphql", *[b'{"query": "mutation { drop }"}'] * 2) == ["BYPASS", "BYPASS"]
