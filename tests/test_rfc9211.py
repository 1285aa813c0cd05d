"""RFC 9211 (Cache-Status) over the wire; the table of members is in test_policy_cache_status."""

import asyncio
from typing import Any

import http_sf
import pytest

from tests.support.gateway import TOKEN, Clock, Got, running
from tests.support.origin import Origin
from tests.support.rawtcp import raw

CACHED = [("Cache-Control", "max-age=60"), ("ETag", '"v1"')]
ALL: dict[str, Any] = {"rules": [{"pattern": "*", "ttl": 60}]}


def ours(got: Got) -> dict[str, Any]:
    """The parameters of our member, the last of the list, read as structured fields."""
    members: Any = http_sf.parse((got.header("cache-status") or "").encode(), tltype="list")
    name, parameters = members[-1]
    assert str(name) == "cachegate"
    assert not {"hit", "fwd"} <= set(parameters)  # 2.1: exclusive
    assert "fwd" in parameters or not {"stored", "collapsed", "fwd-status"} & set(parameters)
    return {key: str(value) if isinstance(value, http_sf.Token) else value for key, value in parameters.items()}


async def test_our_member_comes_after_those_that_are_nearer_to_the_origin() -> None:
    """2: existing values are kept, byte for byte, also with a stored answer and with a 304."""
    lines = ['OriginCache; hit; ttl=1100, "CDN Company Here"; hit; ttl=545', "Third;fwd=uri-miss"]
    async with Origin() as origin, running(origin) as gateway, raw(gateway.port) as client:
        origin.answer("/a", headers=[*CACHED, *(("cache-status", line) for line in lines)], body=b"x")
        for asked in ((), (), ('If-None-Match: "v1"',), ("Range: bytes=0-0",)):
            got = await client.get("/a", *asked)
            told = [value.decode() for name, value in got.pairs if name.lower() == b"cache-status"]
            assert told[:-1] == lines
            assert told[-1].startswith("cachegate; ")
            await gateway.settled()


async def test_a_hit_and_what_is_made_of_one() -> None:
    """2.1, 2.4, 2.8: 304, 206 and 416 are hits; the lifetime is what is left of it."""
    clock = Clock()
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        origin.answer("/a", headers=CACHED, body=b"0123456789")
        assert ours(await gateway.get("/a")) == {"fwd": "uri-miss", "ttl": 60, "stored": True, "detail": "uri-miss"}
        await gateway.settled()
        clock.advance(18)
        expected = {"hit": True, "ttl": 42, "detail": "memory"}
        for headers, status in (
            ({}, 200),
            ({"If-None-Match": '"v1"'}, 304),
            ({"Range": "bytes=0-1"}, 206),
            ({"Range": "bytes=0-1,5-6"}, 206),
            ({"Range": "bytes=99-"}, 416),
        ):
            got = await gateway.get("/a", headers)
            assert (got.status, ours(got)) == (status, expected)


async def test_the_next_hops_status() -> None:
    """2.3: told where it is not the one that the client sees."""
    clock = Clock()
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        origin.answer("/a", headers=CACHED, body=b"0123456789", times=1)
        origin.answer("/a", 304, headers=CACHED)
        got = await gateway.get("/a", {"If-None-Match": '"v1"'})
        assert (got.status, ours(got)["fwd-status"]) == (304, 200)
        await gateway.settled()
        for asked, status in (({}, 200), ({"Range": "bytes=0-1"}, 206), ({"If-None-Match": '"v1"'}, 304)):
            clock.advance(61)
            got = await gateway.get("/a", asked)
            assert (got.status, ours(got)["fwd"], ours(got)["fwd-status"]) == (status, "stale", 304)
            await gateway.settled()


async def test_what_a_304_confirmed_has_its_lifetime_again() -> None:
    """2.4."""
    clock = Clock()
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        origin.answer("/a", headers=CACHED, body=b"x", times=1)
        origin.answer("/a", 304, headers=[("Cache-Control", "max-age=100"), ("ETag", '"v1"')])
        await gateway.get("/a")
        clock.advance(61)
        assert ours(await gateway.get("/a")) == {
            "fwd": "stale",
            "fwd-status": 304,
            "ttl": 100,
            "stored": True,
            "detail": "revalidated",
        }


@pytest.mark.parametrize(
    ("headers", "asked", "word"),
    [
        pytest.param(CACHED, {}, "uri-miss", id="2.2 nothing there"),
        pytest.param([*CACHED, ("Vary", "Accept")], {"Accept": "x/y"}, "vary-miss", id="2.2 no variant fits"),
        pytest.param([("Cache-Control", "no-cache"), CACHED[1]], {}, "stale", id="2.2 stale at once"),
        pytest.param(CACHED, {"If-Match": '"v1"'}, "request", id="2.2 fresh, but the request does not allow it"),
        pytest.param(CACHED, {"Cache-Control": "min-fresh=61"}, "request", id="2.2 fresh, but not enough"),
    ],
)
async def test_why_a_request_went_forward(headers: list[tuple[str, str]], asked: dict[str, str], word: str) -> None:
    async with Origin() as origin, running(origin) as gateway:
        origin.answer("/a", headers=headers, body=b"x")
        if word != "uri-miss":
            assert ours(await gateway.get("/a"))["fwd"] == "uri-miss"
            await gateway.settled()
        assert ours(await gateway.get("/a", asked))["fwd"] == word


@pytest.mark.parametrize(
    ("extra", "method", "word"),
    [
        pytest.param({"cache": {"unmatched": "bypass"}}, "GET", "bypass", id="2.2 configured not to"),
        pytest.param({"rules": [{"pattern": "*", "mode": "off"}]}, "GET", "bypass", id="2.2 by a rule"),
        pytest.param({}, "PUT", "method", id="2.2 the method"),
    ],
)
async def test_why_a_request_never_was_the_caches(extra: dict[str, Any], method: str, word: str) -> None:
    async with Origin() as origin, running(origin, extra) as gateway:
        origin.answer("/a", headers=CACHED, body=b"x")
        assert ours(await gateway.ask(method, "/a"))["fwd"] == word


async def test_a_stale_answer_in_place_of_none_is_a_hit() -> None:
    """2.1; with a status of the next hop's, it went forward."""
    clock = Clock()
    async with Origin() as origin, running(origin, ALL, clock=clock) as gateway:
        origin.answer("/a", body=b"x", times=1)
        origin.answer("/a", 503)
        await gateway.get("/a")
        clock.advance(62)
        expected = {"ttl": -2, "detail": "stale-if-error"}
        assert ours(await gateway.get("/a")) == {"fwd": "stale", "fwd-status": 503, **expected}
        await origin.stop()
        assert ours(await gateway.get("/a")) == {"hit": True, **expected}


async def test_who_shared_a_fetch() -> None:
    """2.5, 2.6."""
    async with Origin() as origin, running(origin) as gateway:
        origin.answer("/a", headers=CACHED, body=b"x")
        gate = origin.hold("/a")
        asking = [asyncio.create_task(gateway.get("/a")) for _ in range(3)]
        await gateway.waiting(3)
        gate.release()
        told = [ours(got) for got in await asyncio.gather(*asking)]
        assert [each["stored"] for each in told] == [True] * 3
        assert sorted(each.get("collapsed", False) for each in told) == [False, True, True]
        assert origin.count() == 1


async def test_the_key_is_for_debugging() -> None:
    """2.7, 6: for whoever may see the entries, the same key as there."""
    async with Origin() as origin, running(origin, ALL) as gateway:
        origin.answer("/a", body=b"x")
        for _ in range(2):
            key = ours(await gateway.get("/a", {"Cachegate-Token": TOKEN}))["key"]
            await gateway.settled()
        assert [entry["key"] for entry in (await gateway.admin("GET", "/entries")).json["entries"]] == [key]


@pytest.mark.parametrize("headers", [{}, {"Cachegate-Token": "wrong"}, {"Authorization": f"Bearer {TOKEN}"}])
async def test_the_key_is_not_for_everybody(headers: dict[str, str]) -> None:
    """2.7, 6."""
    behind = {**ALL, "listen": {"trusted_proxies": ["127.0.0.1/32"]}}  # a proxy is trusted, not all who come by it
    async with Origin() as origin, running(origin, behind) as gateway:
        origin.answer("/a", body=b"x")
        for _ in range(2):
            assert "key" not in ours(await gateway.get("/a", headers))
            await gateway.settled()


@pytest.mark.parametrize("line", ["GET /a HTTP/1.1\r\nHost: a@b\r\n\r\n", "GET /a HTTP/1.1\r\nX Y: 1\r\n\r\n"])
async def test_a_malformed_request_has_no_status_in_a_cache(line: str) -> None:
    """2: made here, not by the origin."""
    async with Origin() as origin, running(origin) as gateway, raw(gateway.port) as client:
        await client.send(line.encode())
        got = await client.response()
        assert (got.status, got.header("cache-status")) == (400, None)
        assert origin.count() == 0


async def test_a_refusal_of_ours_names_its_reason() -> None:
    """Contract, "Response headers" and "Rules": each refusal has its reason word, the same in Cache-Status; it is
    neither a hit nor was it forwarded."""
    async with Origin() as origin, running(origin) as gateway:
        got = await gateway.get("/a", {"Cache-Control": "only-if-cached"})
        assert (got.status, ours(got), origin.count()) == (504, {"detail": "only-if-cached"}, 0)


@pytest.mark.parametrize("said", ['"unterminated', "foo;;bar", "a b c", "", "a, ", "=1", "é"])
async def test_what_cannot_be_read_does_not_make_ours_unreadable(said: str) -> None:
    """2; RFC 9651 4.2: one error voids the whole field."""
    async with Origin() as origin, running(origin) as gateway:
        origin.answer("/a", headers=[*CACHED, ("Cache-Status", said)], body=b"x")
        for verdict in ("MISS", "HIT"):
            got = await gateway.get("/a")
            assert got.verdict == verdict
            (only,) = http_sf.parse((got.header("cache-status") or "").encode(), tltype="list")
            assert str(only[0]) == "cachegate"
            await gateway.settled()
