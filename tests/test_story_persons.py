"""What one client asks for himself changes nothing for the others: no-store in a request (RFC 9111 5.2.1.5), a 304 that
was told to somebody (3.5, 4.3.4), refreshes behind (RFC 5861 3) and stale answers for HEAD and Range (RFC 5861 4);
invariants 4, 6, 10."""

import asyncio
from pathlib import Path

import pytest

from tests.support.gateway import Clock, running
from tests.support.origin import Origin, Recorded

CACHED = [("Cache-Control", "max-age=60")]
SHORT = [("Cache-Control", "public, max-age=1"), ("ETag", '"a"')]
ANN = {"Authorization": "Bearer ann"}
MINE = ("X-User", "ann")


async def test_a_no_store_request_leads_nobody_and_holds_up_nobody() -> None:
    async with Origin() as origin, running(origin) as gateway:
        origin.answer("/a", headers=CACHED, body=b"x")
        gate = origin.hold("/a")
        alone = asyncio.ensure_future(gateway.get("/a", {"Cache-Control": "no-store"}))
        await origin.arrived("/a")
        others = asyncio.gather(*(gateway.get("/a") for _ in range(20)))
        await gateway.waiting(21)
        await origin.arrived("/a", 2)  # they wait for one of theirs
        gate.release()
        got = await alone
        assert (got.verdict, got.detail, got.body) == ("MISS", "request-no-store", b"x")
        assert {got.body for got in await others} == {b"x"}
        assert origin.count("/a") == 2


async def test_a_no_store_request_teaches_nothing() -> None:
    async with Origin() as origin, running(origin) as gateway:
        origin.answer("/a", headers=CACHED, body=b"x")
        await gateway.get("/a", {"Cache-Control": "no-store"})
        gate = origin.hold("/a")
        others = asyncio.gather(*(gateway.get("/a") for _ in range(20)))
        await gateway.waiting(20)
        gate.release()
        await others
        assert origin.count("/a") == 2


RENEWALS = [
    pytest.param(ANN, [("Cache-Control", "max-age=60")], "credentials", id="3.5 no permission"),
    pytest.param(ANN, [], "credentials", id="3.5 a 304 that says nothing permits nothing"),
    pytest.param({"X-Api-Key": "k"}, [("Cache-Control", "max-age=60")], "credentials", id="3.5 any credential"),
    pytest.param({"Cookie": "s=1"}, [], "cookie", id="a cookie wants the 304's own freshness"),
    pytest.param(ANN, [("Cache-Control", "public, max-age=60")], None, id="3.5 public"),
    pytest.param(ANN, [("Cache-Control", "s-maxage=60")], None, id="3.5 s-maxage"),
    pytest.param({"Cookie": "s=1"}, [("Cache-Control", "max-age=60")], None, id="a cookie, and freshness"),
    pytest.param({}, [("Cache-Control", "no-store")], "no-store", id="5.2.2.5 no-store"),
    pytest.param({}, [("Cache-Control", "private, max-age=60")], "private", id="5.2.2.7 private"),
    pytest.param({"Cache-Control": "no-store"}, CACHED, "request-no-store", id="5.2.1.5 the client's no-store"),
    pytest.param({}, [], None, id="4.3.4 a plain one"),
]


@pytest.mark.parametrize(("asked", "told", "why"), RENEWALS)
async def test_a_304_freshens_for_all_only_what_could_be_stored_for_all(
    tmp_path: Path, asked: dict[str, str], told: list[tuple[str, str]], why: str | None
) -> None:
    clock = Clock()
    async with Origin() as origin, running(origin, directory=tmp_path, clock=clock) as gateway:
        origin.answer("/a", headers=SHORT, body=b"x")
        await gateway.get("/a")
        clock.advance(2)
        origin.answer("/a", 304, headers=[*told, MINE, ("ETag", '"a"')])
        got = await gateway.get("/a", asked)
        assert (got.verdict, got.status, got.body) == ("REVALIDATED", 200, b"x")
        assert got.header("x-user") == "ann"  # told to whom it was told
        assert got.detail == (why or "revalidated")
        await gateway.settled()
        ended = not asked and why is not None  # what is said to everybody takes back the leave to keep it (9111 3.2)
        origin.answer("/a", 200 if ended else 304, headers=[*CACHED, ("ETag", '"a"')], body=b"x" if ended else b"")
        other = await gateway.get("/a")
        assert other.body == b"x"
        if why is None:
            assert (other.verdict, other.header("x-user")) == ("HIT", "ann")
        else:
            verdict = "MISS" if ended else "REVALIDATED"
            assert (other.verdict, other.header("x-user"), origin.count("/a")) == (verdict, None, 3)
            await gateway.settled()
            kept = [file for file in tmp_path.rglob("*") if file.is_file() and b"X-User" in file.read_bytes()]
            assert kept == []


async def test_those_who_wait_do_not_get_a_renewal_that_is_one_client_s_own() -> None:
    clock = Clock()
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        origin.answer("/a", headers=SHORT, body=b"x")
        await gateway.get("/a")
        clock.advance(2)
        users = iter(range(100))

        def told(_: Recorded) -> bytes:
            return b'HTTP/1.1 304 OK\r\nETag: "a"\r\nCache-Control: private\r\nX-User: %d\r\n\r\n' % next(users)

        origin.script("/a", told)  # type: ignore[arg-type]
        gate = origin.hold("/a")
        all_of_them = asyncio.gather(*(gateway.get("/a") for _ in range(5)))
        await gateway.waiting(5)
        gate.release()
        assert len({got.header("x-user") for got in await all_of_them}) == 5


@pytest.mark.parametrize(
    ("method", "asked"),
    [
        ("HEAD", {}),
        ("GET", {"Range": "bytes=0-0"}),
        ("GET", {"Cookie": "s=1"}),
        ("GET", {**ANN, "X-Api-Key": "k", "Cookie": "s=1"}),
        ("GET", {"Cache-Control": "no-store"}),
    ],
)
async def test_whoever_is_served_stale_a_refresh_for_all_begins(method: str, asked: dict[str, str]) -> None:
    clock = Clock()
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        window = [("Cache-Control", "public, max-age=1, stale-while-revalidate=60"), ("ETag", '"a"')]
        origin.answer("/a", headers=window, body=b"old", times=1)
        origin.answer("/a", headers=CACHED, body=lambda r: (r.header("authorization") or "all").encode())
        await gateway.get("/a")
        clock.advance(2)
        assert (await gateway.ask(method, "/a", asked)).verdict == "UPDATING"
        refresh = await origin.arrived("/a", 2)
        assert (refresh.method, refresh.header("if-none-match")) == ("GET", '"a"')
        for name in ("authorization", "x-api-key", "cookie", "range", "cache-control"):
            assert refresh.header(name) is None
        await gateway.settled()
        got = await gateway.get("/a")
        assert (got.verdict, got.body, origin.count("/a")) == ("HIT", b"all", 2)


async def test_a_refresh_brings_what_the_variant_is_chosen_by() -> None:
    clock = Clock()
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        window = "public, max-age=1, stale-while-revalidate=60"
        origin.answer(
            "/a",
            headers=[("Cache-Control", window), ("Vary", "Cookie")],
            body=lambda r: f"{r.header('cookie')} {origin.count('/a')}".encode(),
        )
        await gateway.get("/a", {"Cookie": "s=1"})
        clock.advance(2)
        assert (await gateway.get("/a", {"Cookie": "s=1", **ANN})).body == b"s=1 1"
        refresh = await origin.arrived("/a", 2)
        assert (refresh.header("cookie"), refresh.header("authorization")) == ("s=1", None)
        await gateway.settled()
        assert (await gateway.get("/a", {"Cookie": "s=1"})).body == b"s=1 2"


@pytest.mark.parametrize("trouble", ["refused", "503"])
async def test_stale_if_error_holds_for_what_is_never_shared_too(trouble: str) -> None:
    clock, patient = Clock(), {"upstream": {"breaker": {"consecutive": 100}}}
    async with Origin() as origin, running(origin, patient, clock=clock) as gateway:
        origin.answer("/a", headers=SHORT, body=b"0123456789")
        origin.answer(
            "/must", headers=[("Cache-Control", "max-age=1, must-revalidate"), ("ETag", '"a"')], body=b"0123456789"
        )
        for path in ("/a", "/must"):
            await gateway.get(path)
        clock.advance(2)
        for path in ("/a", "/must"):
            origin.answer(path, 503, headers=[("X-Trouble", "yes")], body=b"trouble")
        if trouble == "refused":
            await origin.stop()
        head = await gateway.ask("HEAD", "/a")
        assert (head.status, head.verdict, head.detail) == (200, "STALE", "stale-if-error")
        assert (head.header("content-length"), head.header("x-trouble")) == ("10", None)
        part = await gateway.get("/a", {"Range": "bytes=2-4"})
        assert (part.status, part.verdict, part.body) == (206, "STALE", b"234")
        mine = await gateway.ask("HEAD", "/a", {"If-None-Match": '"a"'})
        assert (mine.status, mine.verdict) == (304, "STALE")
        for method, asked in (("HEAD", {}), ("GET", {"Range": "bytes=2-4"}), ("GET", {"If-Match": '"a"'})):
            got = await gateway.ask(method, "/must", asked)
            assert (got.status, got.verdict) == (502 if trouble == "refused" else 503, "EXPIRED")
        mine = await gateway.get("/a", {"If-Match": '"a"'})  # the origin's to evaluate
        assert mine.status == (502 if trouble == "refused" else 503)
