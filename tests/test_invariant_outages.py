"""A Redis or a disk that is lost, hangs, is slow, full or damaged fails no request, is waited for once, and takes no
good answer away (invariant 9); neither does an origin that fails."""

import asyncio
import os
import re
import resource
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.disks import full, hanging_disk, read_only, small_disk
from tests.support.faults import Delay, FaultProxy
from tests.support.gateway import Got
from tests.support.origin import FIN, RST, STALL, Origin
from tests.support.process import PATIENCE, Process, instances, serving
from tests.support.rawtcp import raw
from tests.support.redis_servers import redis_server
from tests.support.trouble import TROUBLES, Trouble

pytestmark = pytest.mark.slow

ALL: dict[str, Any] = {"rules": [{"name": "all", "pattern": "*", "ttl": 3600}], "log": {"access": False}}
ONLY = {"Cache-Control": "only-if-cached"}
KNOWN = [f"/known/{number}" for number in range(12)]
COLD = [f"/cold/{number}" for number in range(12)]
HASH = re.compile("[0-9a-f]{64}")
LARGE = "/large"  # a body that goes to a file while it comes


def body(path: str) -> bytes:
    return f"{path}|".encode() * (600_000 if path == LARGE else 100)


def scripted(origin: Origin) -> None:
    for path in (*KNOWN, *COLD, LARGE):
        origin.answer(path, body=body(path))
    origin.answer("/changed", body=b"done")


async def all_of(gateway: Process, paths: list[str], fields: dict[str, str] | None = None) -> list[Got]:
    return await asyncio.gather(*(gateway.get(path, fields) for path in paths))


def right(answers: list[Got], paths: list[str]) -> None:
    wrong = [
        (path, got) for path, got in zip(paths, answers, strict=True) if (got.status, got.body) != (200, body(path))
    ]
    assert wrong == []


# -- Redis -------------------------------------------------------------------------------------------------------------

NEAR_OFF: dict[str, Any] = {**ALL, "memory": {"max_entries": 0}, "file": {"enabled": False}}


@asynccontextmanager
async def behind_a_network(origin: Origin, settings: dict[str, Any]) -> AsyncIterator[tuple[Process, Trouble]]:
    async with redis_server() as redis, FaultProxy(redis.port) as network:
        url = redis.url.replace(str(redis.port), str(network.port))
        async with instances(1, origin, settings, url) as (gateway,):
            yield gateway, Trouble(redis, network)


async def test_a_redis_that_hangs_is_asked_once_by_who_is_there_and_not_at_all_by_who_comes() -> None:
    """It gets what it is sent, and its replies are held back to the end: all are answered meanwhile. What it was sent
    says how often it was waited for: those who had begun asked what lies there, and after that for no lease, which they
    would have waited for too. What is put there is put behind their backs."""
    async with Origin() as origin, behind_a_network(origin, NEAR_OFF) as (gateway, trouble):
        scripted(origin)
        right(await all_of(gateway, KNOWN), KNOWN)
        await trouble.redis.until(lambda found: len(found) == len(KNOWN), "KEYS", "proxy:cache:e:*")
        known = await trouble.redis.command("KEYS", "proxy:cache:e:*")
        async with trouble.redis.monitor() as seen:
            await trouble.network.become(Delay(3600))
            passed = trouble.network.to_client
            right(await all_of(gateway, COLD), COLD)
            await gateway.logged("is away, serving from memory and files")
            for path in KNOWN:
                right([await gateway.get(path)], [path])
            assert trouble.network.to_client == passed
        lookups = [command for command in seen if command.startswith("HGETALL")]
        asked = {name for command in lookups for name in HASH.findall(command)}
        assert (len(asked), asked & set(HASH.findall(str(known)))) == (len(COLD), set())
        assert [command for command in seen if command.startswith("SET proxy:cache:l:")] == []


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) for name in TROUBLES])
async def test_what_lay_in_redis_lies_there_after_its_trouble(name: str) -> None:
    async with Origin() as origin, behind_a_network(origin, NEAR_OFF) as (gateway, trouble):
        scripted(origin)
        right(await all_of(gateway, KNOWN), KNOWN)
        await trouble.redis.until(lambda found: len(found) == len(KNOWN), "KEYS", "proxy:cache:e:*")
        await trouble.begin(name)
        for paths in (KNOWN, COLD, KNOWN):
            right(await all_of(gateway, paths), paths)
        await trouble.end(name)
        await gateway.connected()
        if name != "killed":  # it kept nothing
            right(await all_of(gateway, KNOWN, ONLY), KNOWN)
        right(await all_of(gateway, COLD), COLD)
        assert "Traceback" not in gateway.log


async def test_whatever_stands_in_redis_in_place_of_a_record_is_a_miss() -> None:
    async with Origin() as origin, behind_a_network(origin, NEAR_OFF) as (gateway, trouble):
        scripted(origin)
        right(await all_of(gateway, KNOWN), KNOWN)
        redis = trouble.redis
        await redis.until(lambda found: len(found) == len(KNOWN), "KEYS", "proxy:cache:e:*")
        names = sorted(await redis.command("KEYS", "proxy:cache:e:*"))
        for number, name in enumerate(names):
            record = await redis.command("GET", name)
            match number:
                case 0:
                    await redis.command("SET", name, b"", "KEEPTTL")
                case 1:
                    await redis.command("SET", name, os.urandom(len(record)), "KEEPTTL")
                case 2:
                    await redis.command("SET", name, record[:-1], "KEEPTTL")
                case 3:
                    await redis.command("SET", name, record + b"x", "KEEPTTL")
                case 4:
                    await redis.command("DEL", name)
                    await redis.command("RPUSH", name, record)
                case 5:
                    await redis.command("SET", name, await redis.command("GET", names[6]), "KEEPTTL")
                case _:
                    at = len(record) * (number - 6) // (len(names) - 6)
                    await redis.command("SETRANGE", name, at, bytes([record[at] ^ 1 << number % 8]))
        right(await all_of(gateway, KNOWN), KNOWN)
        right(await all_of(gateway, KNOWN), KNOWN)
        assert {origin.count(path) for path in KNOWN} == {2}
        right(await all_of(gateway, KNOWN, ONLY), KNOWN)


# -- disk --------------------------------------------------------------------------------------------------------------

FILE_ONLY: dict[str, Any] = {**ALL, "memory": {"max_entries": 0}, "file": {"dir": "cache"}}

Fault = Callable[[Process, Path], AbstractContextManager[None]]


@contextmanager
def no_room(gateway: Process, disk: Path) -> Iterator[None]:
    with full(disk):
        yield


@contextmanager
def no_growth(gateway: Process, disk: Path) -> Iterator[None]:
    """No file may grow (EFBIG), the log neither."""
    soft, hard = resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def no_writes(gateway: Process, disk: Path) -> Iterator[None]:
    with read_only(disk):
        yield


def records(disk: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in disk.glob("answers/?/??/*")}


async def stored(gateway: Process, number: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while (await gateway.stats())["file"]["size"] < number:
            await asyncio.sleep(0.01)


async def stored_again(gateway: Process, path: str) -> None:
    """Ask until it is there."""
    async with asyncio.timeout(PATIENCE):
        while (await gateway.get(path, ONLY)).tier != "file":
            await gateway.get(path)
            await asyncio.sleep(0.05)


@asynccontextmanager
async def on_disk(origin: Origin, place: Path) -> AsyncIterator[Process]:
    """A gateway whose only tier lies in `place` / cache, with what is KNOWN in it."""
    scripted(origin)
    async with serving(origin, FILE_ONLY, directory=place) as gateway:
        right(await all_of(gateway, KNOWN), KNOWN)
        await stored(gateway, len(KNOWN))
        yield gateway


async def everything_is_answered(gateway: Process) -> None:
    for paths in (KNOWN, COLD, [LARGE], KNOWN, COLD):
        right(await all_of(gateway, paths), paths)
    got = await gateway.get(LARGE, {"Range": "bytes=1000000-1000009"})
    assert (got.status, got.body) in {(206, body(LARGE)[1_000_000:1_000_010]), (200, body(LARGE))}
    assert (await gateway.ask("POST", "/changed", data=b"x")).body == b"done"


@pytest.mark.parametrize("fault", [no_room, no_growth, no_writes])
async def test_a_disk_that_takes_nothing_still_gives_what_it_has(fault: Fault, tmp_path: Path) -> None:
    disk = tmp_path / "cache"
    with ExitStack() as disks:
        if fault is no_room:
            disks.enter_context(small_disk(disk))
        async with Origin() as origin, on_disk(origin, tmp_path) as gateway:
            before = records(disk)
            with fault(gateway, disk):
                await everything_is_answered(gateway)
                assert {origin.count(path) for path in KNOWN} == {1}
                assert records(disk) == before
            await stored_again(gateway, COLD[0])
            assert "Traceback" not in gateway.log


async def test_a_disk_that_hangs_holds_up_nobody(tmp_path: Path) -> None:
    """It stands still until all are answered, also those who ask for what was purged and cannot be deleted."""
    disk = tmp_path / "cache"
    with hanging_disk(disk) as hang:
        async with Origin() as origin, on_disk(origin, tmp_path) as gateway:
            before = records(disk)
            with hang():
                receipt = await gateway.admin("POST", "/purge", {"pattern": KNOWN[0]})
                assert (receipt.status, receipt.json["durable"]) == (200, False)  # it holds, and may not outlive us
                async with asyncio.timeout(20):  # less than a delete is given
                    right(await all_of(gateway, KNOWN), KNOWN)
                assert [origin.count(path) for path in KNOWN[:2]] == [2, 1]
                await everything_is_answered(gateway)
            await stored(gateway, len(before))
            assert len(before.keys() - records(disk).keys()) <= 1  # but what was purged
            await stored_again(gateway, COLD[0])


async def test_a_directory_that_goes_away_under_way_is_made_again(tmp_path: Path) -> None:
    async with Origin() as origin, on_disk(origin, tmp_path) as gateway:
        shutil.rmtree(tmp_path / "cache")
        await everything_is_answered(gateway)
        await stored_again(gateway, COLD[0])
        assert "Traceback" not in gateway.log


async def test_whatever_stands_on_disk_in_place_of_a_record_is_a_miss(tmp_path: Path) -> None:
    """Flipped bits from the first byte to the last, and what is no record at all."""
    async with Origin() as origin, on_disk(origin, tmp_path) as gateway:
        paths = sorted((tmp_path / "cache").glob("answers/?/??/*"))
        assert len(paths) == len(KNOWN)
        for number, path in enumerate(paths):
            record = bytearray(path.read_bytes())
            path.unlink()
            match number:
                case 0:
                    os.mkfifo(path)  # whoever opens it for reading waits for a writer
                case 1:
                    path.mkdir()
                case 2:
                    path.touch()
                case 3:
                    path.write_bytes(record[:-1])
                case 4:
                    path.write_bytes(paths[5].read_bytes())
                case _:
                    record[(len(record) - 1) * (number - 5) // (len(paths) - 6)] ^= 1 << number % 8
                    path.write_bytes(record)
        right(await all_of(gateway, KNOWN), KNOWN)
        assert {origin.count(path) for path in KNOWN} == {2}
        await stored(gateway, len(KNOWN))
        right(await all_of(gateway, KNOWN, ONLY), KNOWN)
        assert "Traceback" not in gateway.log


async def test_killed_in_the_middle_of_a_record_it_has_the_others_and_not_that_one(tmp_path: Path) -> None:
    async with Origin() as origin:
        async with on_disk(origin, tmp_path) as gateway:
            half = len(body(LARGE)) // 2
            head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body(LARGE))
            origin.script(LARGE, head + body(LARGE)[:half], STALL, times=1)
            async with raw(gateway.port) as client:
                await client.send(b"GET /large HTTP/1.1\r\nHost: site.example\r\n\r\n")
                async with asyncio.timeout(PATIENCE):
                    await client.head()
                    await client.reader.readexactly(half)
                assert [*(tmp_path / "cache" / "answers" / "tmp").iterdir()] != []
                await gateway.kill()
        async with serving(origin, None, directory=tmp_path) as gateway:
            assert [*(tmp_path / "cache" / "answers" / "tmp").iterdir()] == []
            right(await all_of(gateway, KNOWN, ONLY), KNOWN)
            assert (await gateway.get(LARGE, ONLY)).status == 504
            right(await all_of(gateway, [LARGE]), [LARGE])


async def test_of_two_in_one_directory_the_second_goes_without(tmp_path: Path) -> None:
    async with Origin() as origin, on_disk(origin, tmp_path) as first:
        beside = {**FILE_ONLY, "file": {"dir": str(tmp_path / "cache")}}
        before = records(tmp_path / "cache")
        async with serving(origin, beside) as second:
            await everything_is_answered(second)
            assert (await second.stats())["file"]["off"]
            assert records(tmp_path / "cache") == before
        right(await all_of(first, KNOWN, ONLY), KNOWN)


# -- the origin --------------------------------------------------------------------------------------------------------

PATIENT = {"consecutive": 10**6, "min_requests": 10**6}  # the breaker does not answer in the origin's place
FAILURES: dict[str, tuple[Any, ...]] = {
    "reset": (RST,),
    "ended": (FIN,),
    "garbage": (b"\x00\x01\x02\r\n\r\n", FIN),
    "500": (b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno",),
    "503 for a minute": (b"HTTP/1.1 503 No\r\nCache-Control: max-age=60\r\nContent-Length: 2\r\n\r\nno",),
    "two lengths": (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nno!", FIN),
    "cut": (b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nno", RST),
    "cut in a chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nno", FIN),
    "silent": (STALL,),
}


@pytest.mark.parametrize("within", [0, 300], ids=["not served stale", "served stale"])
async def test_no_failure_of_the_origin_ends_or_replaces_what_is_stored(within: int) -> None:
    """That it is there still is seen by the next request, which asks whether it is good, and by the answer to that."""
    upstream = {"breaker": PATIENT, "first_byte_timeout": 0.5}
    settings = {**ALL, "cache": {"stale_if_error": within}, "upstream": upstream}
    async with (
        Origin() as origin,
        serving(origin, {**settings, "upstream": {**upstream, "url": origin.url}}) as gateway,
    ):
        for name, steps in FAILURES.items():
            path = "/" + name.replace(" ", "-")
            origin.answer(path, headers=[("ETag", '"good"')], body=b"good", times=1)
            assert (await gateway.get(path)).body == b"good"
            assert (await gateway.admin("POST", "/purge", {"url": path, "soft": True})).status == 200
            origin.script(path, *steps)
            async with raw(gateway.port) as client:
                got = await client.get(path, host="site.example")
            assert got.body != b"no" or not got.complete or got.status >= 500, name
            if within and not name.startswith("cut"):
                assert (got.status, got.body) == (200, b"good"), name
            asked = origin.count(path)
            origin.answer(path, 304, headers=[("ETag", '"good"')])
            after = await gateway.get(path)
            assert (after.status, after.body) == (200, b"good"), name
            assert origin.of(path)[asked].header("if-none-match") == '"good"', name
