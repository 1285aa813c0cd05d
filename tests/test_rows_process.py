"""The program in a process of its own: one fetch for a crowd, kill -9 in the middle of fills, sweeps by the clock,
drain under load, what the log tells, settings from the environment, a Redis that is switched off (rows 9, 13, 17, 18,
23, 34, 37, 72, 73, 78, 105, 109)."""

import asyncio
import os
import re
import shutil
import signal
from contextlib import suppress
from pathlib import Path
from time import time
from typing import Any

import pytest

from proxy.store.file import FileStore
from tests.support.gateway import TOKEN, Got
from tests.support.origin import Origin
from tests.support.process import Process, serving
from tests.support.rawtcp import Broken, raw

ALL: dict[str, Any] = {"rules": [{"name": "all", "pattern": "*", "ttl": 60}]}
FIELDS = [
    "time",
    "method",
    "host",
    "path",
    "query",
    "status",
    "bytes",
    "seconds",
    "verdict",
    "tier",
    "reason",
    "rule",
    "key",
    "origin_ttl",
    "stored",
    "content_type",
    "upstream_seconds",
    "client",
    "request_id",
]


async def many(gateway: Process, *targets: str) -> list[Got]:
    return await asyncio.gather(*(gateway.get(target) for target in targets))


async def test_200_concurrent_cold_requests_are_one_fetch() -> None:
    """The answer waits until every one of them is inside, as the gateway itself counts them."""
    async with Origin() as origin, serving(origin, ALL) as gateway:
        origin.answer("/slow", body=b"slow")
        gate = origin.hold("/slow")
        crowd = asyncio.ensure_future(many(gateway, *["/slow"] * 200))
        async with asyncio.timeout(20):
            while (await gateway.stats())["inFlight"] < 200:
                await asyncio.sleep(0.01)
        gate.release()
        answers = await crowd
        assert {(got.status, got.verdict, got.body) for got in answers} == {(200, "MISS", b"slow")}
        assert origin.count("/slow") == 1
        assert (await gateway.stats())["coalesced"] == 199


@pytest.mark.slow
async def test_killed_during_fills_it_starts_again_and_no_answer_is_a_wrong_one(tmp_path: Path) -> None:
    """Each body names its path from the first byte to the last, so that a torn or foreign one shows."""
    paths = [f"/{number}" for number in range(40)]

    def body(path: str) -> bytes:
        return f"{path}|".encode() * 20_000

    async with Origin() as origin:
        for path in paths:
            origin.answer(path, body=body(path))
        for life in range(3):
            async with serving(origin, ALL, directory=tmp_path) as gateway:
                for got, path in zip(await many(gateway, *paths[: 10 * life]), paths, strict=False):
                    assert got.body == body(path)
                filling = asyncio.gather(*(gateway.get(path) for path in paths), return_exceptions=True)
                await origin.arrived(n=12 * (life + 1))
                await gateway.kill()
                await filling
        async with serving(origin, ALL, directory=tmp_path) as gateway:
            answers = await many(gateway, *paths)
            assert [got.body for got in answers] == [body(path) for path in paths]
            assert any(got.tier == "file" for got in answers)
            assert (await gateway.stats())["file"]["errors"] == 0
    assert list((tmp_path / ".cachegate" / "answers" / "tmp").iterdir()) == []


async def test_what_was_told_to_the_client_outlives_a_kill(tmp_path: Path) -> None:
    async with Origin() as origin:
        origin.answer("/a", body=b"kept")
        async with serving(origin, ALL, directory=tmp_path) as gateway:
            await gateway.get("/a")
            async with asyncio.timeout(20):
                while not (await gateway.stats())["file"]["size"]:
                    await asyncio.sleep(0.005)
            assert (await gateway.admin("POST", "/purge", {"url": "/b"})).status == 200
            await gateway.kill()
        async with serving(origin, directory=tmp_path) as gateway:
            got = await gateway.get("/a")
            assert (got.verdict, got.tier, got.body, origin.count("/a")) == ("HIT", "file", b"kept", 1)
            assert (await gateway.admin("POST", "/purge", {"url": "/a"})).status == 200
            await gateway.kill()  # an acknowledged purge outlives it too
        async with serving(origin, directory=tmp_path) as gateway:
            assert await gateway.verdicts("/a") == ["MISS"]


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_damaged_journal_and_damaged_answers_are_told_once(workers: int, tmp_path: Path) -> None:
    """All of them misses, as nothing of it can be trusted; but not without a word."""
    flags, kept, paths = ("--workers", str(workers)), tmp_path / ".cachegate", ["/a", "/b", "/c"]
    async with Origin() as origin:
        for path in paths:
            origin.answer(path, body=b"kept")
        async with serving(origin, ALL, *flags, directory=tmp_path) as gateway:
            assert await gateway.verdicts(*paths) == ["MISS"] * 3
        assert "damaged" not in gateway.log
        (kept / "journal").write_text("garbage\n")
        async with serving(origin, ALL, *flags, directory=tmp_path) as gateway:
            assert await gateway.verdicts(*paths) == ["MISS"] * 3
        assert gateway.log.count(" .cachegate/journal is damaged or of another version: nothing that was stored") == 1

    shutil.rmtree(kept / "answers")
    async with Origin() as origin:
        for path in paths:
            origin.answer(path, body=b"kept")
        async with serving(origin, ALL, *flags, directory=tmp_path) as gateway:
            await gateway.verdicts(*paths)
        for file in (file for file in (kept / "answers").glob("?/??/*") if file.is_file()):
            was = file.stat()
            file.write_text("garbage")
            os.utime(file, ns=(was.st_atime_ns, was.st_mtime_ns))  # which tell until when it is kept
        async with serving(origin, ALL, *flags, directory=tmp_path) as gateway:
            assert await gateway.verdicts(*paths) == ["MISS"] * 3
            assert (await gateway.stats())["file"]["errors"] == 3
        told = gateway.log.count("a file of the file tier is damaged, or none of ours")
        assert 1 <= told <= workers


def is_large(path: Path) -> bool:
    try:
        return path.is_file() and path.stat().st_size >= 5000
    except FileNotFoundError:
        return False


async def test_the_sweep_comes_by_itself(tmp_path: Path) -> None:
    quick = {"cache": {"cleanup_interval": 0.1, "stale_if_error": 0}, "rules": [{"pattern": "*", "ttl": 1}]}
    async with Origin() as origin, serving(origin, quick, directory=tmp_path) as gateway:
        origin.answer("/a", body=b"x" * 5000)
        await gateway.get("/a")
        async with asyncio.timeout(20):
            while not (await gateway.stats())["file"]["size"]:
                await asyncio.sleep(0.01)
            while (stats := await gateway.stats())["memory"]["size"] or stats["file"]["size"]:
                await asyncio.sleep(0.05)
        assert stats["requests"] == 1  # nobody asked for it again
        answers = tmp_path / ".cachegate" / "answers"
        async with asyncio.timeout(20):  # the file goes after its place in the index
            while any(map(is_large, answers.rglob("*"))):
                await asyncio.sleep(0.05)


async def test_every_record_on_disk_has_an_end(tmp_path: Path) -> None:
    async with Origin() as origin:
        origin.answer("/plain", body=b"x")
        origin.answer("/tagged", headers=[("ETag", '"1"'), ("Cache-Control", "max-age=9999999999")], body=b"x")
        origin.answer("/long", headers=[("Cache-Control", "max-age=31536000, immutable")], body=b"x")
        async with serving(origin, ALL, directory=tmp_path) as gateway:
            await gateway.verdicts("/plain", "/tagged", "/long")
    store = FileStore(tmp_path / ".cachegate" / "answers", max_bytes=1 << 20, max_object=1 << 20, clock=time)
    await store.open()
    try:
        kept = {entry.parts.path: entry.keep_until - entry.received_at async for entry in store.scan()}
    finally:
        await store.close()
    assert set(kept) == {"/plain", "/tagged", "/long"}
    assert all(0 < seconds < float("inf") for seconds in kept.values()), kept


async def test_a_drain_under_load_fails_no_request_it_has_taken() -> None:
    """Clients that keep their connections and ask on and on: each request whose connection was taken is answered whole,
    and the last answer on a connection says that it is the last."""
    async with Origin() as origin, serving(origin, {}, "--set", "listen.drain_delay=0.3") as gateway:
        origin.answer("/a", body=b"x" * 10_000)
        answered = 0

        async def client(number: int) -> None:
            nonlocal answered
            async with raw(gateway.port) as connection:
                while True:
                    try:
                        got = await connection.get(f"/a?{number}.{answered}")
                    except ConnectionError:
                        return
                    except Broken as broken:
                        if "b''" not in str(broken):  # closed between two requests, nothing half said
                            raise
                        return
                    assert (got.status, len(got.body), got.complete) == (200, 10_000, True)
                    answered += 1
                    if (got.header("connection") or "").lower() == "close":
                        return

        gate = origin.hold("/held")
        origin.answer("/held", body=b"late")
        held = asyncio.create_task(gateway.get("/held"))
        await origin.arrived("/held")
        clients = [asyncio.create_task(client(number)) for number in range(20)]
        await origin.until(lambda: origin.count() > 100)
        gateway.signal(signal.SIGTERM)
        await asyncio.gather(*clients)
        async with asyncio.timeout(20):  # until nobody new is let in
            while True:
                try:
                    async with raw(gateway.port):
                        await asyncio.sleep(0.01)
                except ConnectionError:
                    break
        await asyncio.sleep(0.3)  # one that waited for nobody would be gone by then
        gate.release()
        assert (await held).body == b"late"
        assert await gateway.ended() == 0
        assert answered > 100
        assert "Traceback" not in gateway.log


@pytest.mark.parametrize("workers", [1, 2])
async def test_told_again_while_it_closes_it_ends_well_all_the_same(workers: int) -> None:
    """However often it is told, by an impatient operator or by whoever signals all processes of a group."""
    settings = {"rules": [{"pattern": "*", "ttl": 60}], "listen": {"workers": workers, "drain_delay": 0}}
    async with Origin() as origin, serving(origin, settings) as gateway:
        origin.hold("/a")
        async with raw(gateway.port) as client:
            await client.send(b"GET /a HTTP/1.1\r\nHost: site.example\r\n\r\n")
            await origin.arrived("/a")
        gateway.signal(signal.SIGTERM)  # the client has left, and what it began is waited for
        with suppress(OSError):
            while True:
                async with raw(gateway.port):
                    await asyncio.sleep(0.01)
        ended = asyncio.create_task(gateway.ended())
        while not ended.done():
            with suppress(ProcessLookupError):
                gateway.signal(signal.SIGTERM)
            await asyncio.wait([ended], timeout=0.05)
        assert ended.result() == 0


async def test_the_access_log_says_what_the_answer_said() -> None:
    async with Origin() as origin, serving(origin, ALL, "--set", "log.redact_query=[token]") as gateway:
        origin.answer("/a", headers=[("Content-Type", "text/plain")], body=b"hello")
        told = [await gateway.get("/a?x=1&token=secret-word", {"X-Request-Id": f"id-{n}"}) for n in range(2)]
        told.append(await gateway.ask("PUT", "/a", {"X-Request-Id": "id-2"}, b"{}"))
        await gateway.logged("id-2")
        lines = gateway.access
        assert [list(line) for line in lines] == [FIELDS] * 3
        for line, got in zip(lines, told, strict=True):
            assert (line["verdict"], line["tier"], line["status"]) == (got.verdict, got.tier, got.status)
            assert (line["request_id"], line["bytes"]) == (got.header("x-request-id"), len(got.body))
            assert (line["host"], line["path"], line["client"]) == ("site.example", "/a", "127.0.0.1")
        miss, hit, put = lines
        assert (miss["reason"], miss["stored"], miss["upstream_seconds"] > 0) == ("uri-miss", True, True)
        assert (hit["reason"], hit["upstream_seconds"], hit["key"]) == ("fresh", None, miss["key"])
        assert (put["reason"], put["verdict"]) == (told[2].detail, "BYPASS")
        assert re.fullmatch(r"[0-9a-f]{64}", miss["key"])
        assert (await gateway.admin("GET", f"/entries/{miss['key'][:8]}")).json["key"] == miss["key"]
        assert "secret-word" not in gateway.log


async def test_short_names_in_the_environment_and_in_dotenv(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("CACHE_TTL=60\nCACHE_MAX_SIZE=2\nCACHEABLE_METHODS=GET,POST\n")
    async with Origin() as origin, serving(origin, directory=tmp_path, env={"CACHE_MAX_SIZE": "3"}) as gateway:
        origin.answer("/a", body=lambda request: request.body)
        assert await gateway.verdicts("/a", "/a") == ["MISS", "HIT"]
        posts = [await gateway.ask("POST", "/a", data=body) for body in (b"1", b"1", b"2")]
        assert [(got.verdict, got.body) for got in posts] == [("MISS", b"1"), ("HIT", b"1"), ("MISS", b"2")]
        assert (await gateway.ask("PUT", "/a", data=b"1")).verdict == "BYPASS"
        await gateway.verdicts(*(f"/a?{n}" for n in range(5)))
        stats = await gateway.stats()
        assert stats["memory"]["size"] == 3
        assert "default" in stats["rules"]


@pytest.mark.parametrize("off", [{"REDIS_ENABLED": "false"}, {"ENABLE_REDIS": "false"}])
async def test_a_redis_that_is_switched_off_is_never_spoken_to(off: dict[str, str]) -> None:
    """A listener stands where Redis would; nobody comes."""
    async with Origin() as redis, Origin() as origin:
        env = {"REDIS_HOST": redis.host, "REDIS_PORT": str(redis.port), **off}
        async with serving(origin, ALL, env=env) as gateway:
            origin.answer("/a", body=b"x")
            assert await gateway.verdicts("/a", "/a") == ["MISS", "HIT"]
            stats = await gateway.stats()
            assert (stats["redis"]["enabled"], stats["redis"]["connected"]) == (False, False)
            assert (await gateway.admin("GET", "/redis/health")).json["status"] == "disabled"
            assert (await gateway.admin("DELETE", "/redis")).status == 503
        assert redis.connections == 0


async def test_no_password_is_in_the_log_or_on_a_page() -> None:
    secrets = ("--redis-password", "hunter-two", "--redis-username", "cachegate")
    added = ("--set", "upstream.headers={x-service-key: hunter-three}")
    async with Origin() as origin, serving(origin, {}, *secrets, *added, "--log-level", "debug") as gateway:
        origin.answer("/a", body=lambda request: (request.header("x-service-key") or "").encode())
        assert (await gateway.get("/a")).body == b"hunter-three"
        pages = [await gateway.admin("GET", page) for page in ("/config", "/stats", "/redis/health", "/metrics")]
        assert [page.status for page in pages] == [200, 200, 503, 200]  # there is no Redis here
        assert pages[0].json["settings"]["redis"]["username"] == "cachegate"
        said = gateway.log + "".join(page.body.decode() for page in pages)
        assert not re.search(f"hunter-(two|three)|{TOKEN}", said)


async def test_two_gateways_with_directories_of_their_own_share_nothing(tmp_path: Path) -> None:
    async with Origin() as origin:
        origin.answer("/a", body=b"x")
        (tmp_path / "prod").mkdir()
        (tmp_path / "staging").mkdir()
        async with (
            serving(origin, ALL, directory=tmp_path / "prod") as prod,
            serving(origin, ALL, directory=tmp_path / "staging") as staging,
        ):
            assert await prod.verdicts("/a", "/a") == ["MISS", "HIT"]
            assert await staging.verdicts("/a", "/a") == ["MISS", "HIT"]
            assert (await staging.admin("DELETE", "")).json == {"cleared": 1}
            assert await prod.verdicts("/a") == ["HIT"]
            assert await staging.verdicts("/a") == ["MISS"]


async def test_a_warm_start_has_in_memory_what_was_used_last_and_asks_nobody(tmp_path: Path) -> None:
    async with Origin() as origin:
        async with serving(origin, ALL, directory=tmp_path) as gateway:
            for number in range(40):
                origin.answer(f"/{number}", body=b"x" * 100)
            await many(gateway, *[f"/{number}" for number in range(40)])
            await gateway.admin("POST", "/purge", {"url": "/7"})
            async with asyncio.timeout(20):
                while (await gateway.stats())["file"]["size"] < 39:
                    await asyncio.sleep(0.01)
        asked = len(origin.requests)
        env = {"ENABLE_CACHE_WARMUP": "true"}
        async with serving(origin, None, directory=tmp_path, env=env) as gateway:
            assert (await gateway.stats())["memory"]["size"] == 39  # as soon as it is ready
            assert len(origin.requests) == asked
            got = await gateway.get("/3")
            assert (got.verdict, got.header("x-cache-tier")) == ("HIT", "memory")
            assert (await gateway.get("/7")).verdict == "MISS"
            await gateway.logged("warmed up: 39 answers")
