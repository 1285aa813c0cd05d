"""In a shared Redis and on disk we touch only our own prefix and directory, every key has an end, and values are data
(invariant 12): a whole life among things of others, some of which are made to look like ours. The commands that are
sent are in test_rows_redis_kinds."""

import asyncio
import pickle
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio

from tests.support.gateway import Client, Clock, running
from tests.support.origin import Origin
from tests.support.redis_servers import redis_server

RULES = {"rules": [{"name": "all", "pattern": "*", "ttl": 60}], "cache": {"keep": 0, "stale_if_error": 0}}
PATHS = [f"/{number}" for number in range(30)]
# names of others, near to ours or made to be taken for them in a glob
NAMES = [
    "session:1",
    "proxy:cache",
    "proxy:cachex:e:{1}",
    "proxy:other:e:{1}",
    "xproxy:cache:e:{1}",
    "*",
    "proxy?cache:e:1",
]


class Bomb:
    """Unpickled, it leaves a file."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> Any:
        return Path.touch, (self.place,)


async def life(gateway: Client, clock: Clock, tier: str) -> None:
    """Fill, purge in every way, outlive, sweep, clear."""
    for what in ({"url": "/1"}, {"pattern": "/2*"}, {"tag": "t"}, {"rule": "all"}, {"all": True}):
        await asyncio.gather(*map(gateway.get, PATHS))
        await gateway.settled()
        assert (await gateway.purge(**what)).status == 200
    await asyncio.gather(*map(gateway.get, PATHS))
    await gateway.settled()
    clock.advance(100)
    await gateway.gateway.sweep()
    await asyncio.gather(*map(gateway.get, PATHS))
    await gateway.settled()
    for page in (f"{tier}?pattern=/1*", tier, "/memory", ""):
        assert (await gateway.admin("DELETE", page)).status in (200, 202)


async def test_what_is_beside_ours_in_redis_stays_and_ours_has_an_end() -> None:
    clock = Clock()
    async with redis_server() as server, redis.asyncio.from_url(server.url) as beside, Origin() as origin:
        for name in NAMES:
            await beside.set(name, b"theirs")
        await beside.hset("proxy:cached", mapping={"a": "b"})
        await beside.xadd("proxy:cache-stream", {"a": "b"})
        kept = {name: await beside.dump(name) for name in await beside.keys("*")}
        origin.otherwise([("Vary", "Accept-Language"), ("Cache-Tag", "t")], lambda request: b"x" * 3000)
        async with running(origin, RULES | {"redis": {"url": server.url}}, clock=clock) as gateway:
            async with asyncio.timeout(20):
                while not (await gateway.stats())["redis"]["connected"]:
                    await asyncio.sleep(0.01)
            await asyncio.gather(*map(gateway.get, PATHS))
            await gateway.settled()
            ours = [name for name in await beside.keys("*") if name not in kept]
            assert len(ours) > len(PATHS)
            assert all(name.startswith(b"proxy:cache:") for name in ours)
            assert [name for name in ours if await beside.ttl(name) < 0] == []
            await life(gateway, clock, "/redis")
        assert {name: await beside.dump(name) for name in kept} == kept
        assert [name for name in await beside.keys("*") if name not in kept and await beside.ttl(name) < 0] == []


def spoil(ours: Path, theirs: Path, blown: Path) -> None:
    """What lies there now in place of our records is none: also a link does not make one of what would be one here."""
    records = sorted(file for file in (ours / "answers").rglob("?" * 64) if file.is_file())
    assert len(records) == len(PATHS)
    for number, record in enumerate(records):
        sound = record.read_bytes()
        record.unlink()
        if number % 3 == 0:
            (theirs / record.name).write_bytes(sound)
            record.symlink_to(theirs / record.name)
        elif number % 3 == 1:
            record.write_bytes(pickle.dumps(Bomb(blown)))
        else:
            record.symlink_to(theirs)


@pytest.mark.parametrize("restart", [False, True], ids=["while we run", "before a start"])
async def test_what_is_beside_ours_on_disk_stays_and_nothing_there_is_run(restart: bool, tmp_path: Path) -> None:
    clock, ours, theirs, blown = Clock(), tmp_path / "ours", tmp_path / "theirs", tmp_path / "blown"
    theirs.mkdir()
    ours.mkdir()
    (ours / "beside").write_bytes(b"theirs")
    async with Origin() as origin, AsyncExitStack() as lives:
        origin.otherwise([("Cache-Tag", "t")], lambda request: b"x" * 3000)
        gateway = await lives.enter_async_context(running(origin, RULES, directory=ours, clock=clock))
        await asyncio.gather(*map(gateway.get, PATHS))
        await gateway.settled()
        if restart:
            await lives.aclose()
        spoil(ours, theirs, blown)
        kept = {file: file.read_bytes() for file in theirs.iterdir()}
        if restart:
            gateway = await lives.enter_async_context(running(origin, RULES, directory=ours, clock=clock))
        assert (await gateway.admin("DELETE", "/memory")).status == 200
        again = await asyncio.gather(*map(gateway.get, PATHS))
        assert {(got.status, len(got.body)) for got in again} == {(200, 3000)}
        assert origin.count() == 2 * len(PATHS)
        await life(gateway, clock, "/file")
    assert {file: file.read_bytes() for file in theirs.iterdir()} == kept
    assert (ours / "beside").read_bytes() == b"theirs"
    assert not blown.exists()
