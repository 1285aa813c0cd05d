"""One request's answer is never given to another (invariant 5): whoever can write to the disk or to Redis and puts each
record in the place of another, or a piece of one, gets a miss out of it and nothing else. Persons among each other are
in test_invariant_privacy."""

import asyncio
from pathlib import Path

import pytest
import redis.asyncio

from tests.support.gateway import running
from tests.support.origin import Origin
from tests.support.redis_servers import redis_server

RULES = {"rules": [{"name": "all", "pattern": "*", "ttl": 600}], "memory": {"max_entries": 0}}
PATHS = [f"/{number}" for number in range(12)]
LANGUAGES = [{"Accept-Language": name} for name in ("de", "fr", "en")]


def scripted(origin: Origin) -> None:
    """Each answer names the request that it is for; those with an even number vary by language."""
    for number, path in enumerate(PATHS):
        vary = [("Vary", "Accept-Language")] * (number % 2 == 0)
        origin.answer(path, headers=vary, body=lambda r: f"{r.path} {r.header('accept-language')}".encode() * 200)


def rotated(values: list[bytes]) -> list[bytes]:
    return values[1:] + values[:1]


def spliced(values: list[bytes]) -> list[bytes]:
    """Each with the end of its neighbour."""
    return [one[: len(one) // 2] + other[len(other) // 2 :] for one, other in zip(values, rotated(values), strict=True)]


@pytest.mark.parametrize("change", [rotated, spliced])
async def test_records_on_disk_in_each_others_places(change: object, tmp_path: Path) -> None:
    assert callable(change)
    async with Origin() as origin:
        scripted(origin)
        async with running(origin, RULES, directory=tmp_path) as gateway:
            await asyncio.gather(*(gateway.get(path, fields) for path in PATHS for fields in LANGUAGES))
            await gateway.settled()
            files = [each for each in sorted((tmp_path / "answers").rglob("?" * 64 + "*")) if each.is_file()]
            assert len(files) == 24
            for file, data in zip(files, change([file.read_bytes() for file in files]), strict=True):
                file.write_bytes(data)
            await everybody_gets_his_own(gateway, origin)


@pytest.mark.parametrize("change", [rotated, spliced])
async def test_records_in_redis_in_each_others_places(change: object, tmp_path: Path) -> None:
    assert callable(change)
    async with redis_server() as server, redis.asyncio.from_url(server.url) as beside, Origin() as origin:
        scripted(origin)
        settings = RULES | {"redis": {"url": server.url}, "file": {"enabled": False}}
        async with running(origin, settings, directory=tmp_path) as gateway:
            async with asyncio.timeout(20):
                while not (await gateway.stats())["redis"]["connected"]:
                    await asyncio.sleep(0.01)
            await asyncio.gather(*(gateway.get(path, fields) for path in PATHS for fields in LANGUAGES))
            await gateway.settled()
            keys = sorted(await beside.keys("proxy:cache:e:*"))
            assert len(keys) == 24
            for key, data in zip(keys, change([await beside.get(key) for key in keys]), strict=True):
                await beside.set(key, data, keepttl=True)
            await everybody_gets_his_own(gateway, origin)


async def everybody_gets_his_own(gateway: object, origin: Origin) -> None:
    for path in PATHS:
        for fields in LANGUAGES:
            got = await gateway.get(path, fields)  # type: ignore[attr-defined]
            said = set(got.body.decode().replace("/", "\n/").split("\n")) - {""}
            assert len(said) == 1
            wanted = fields["Accept-Language"] if int(path[1:]) % 2 == 0 else None
            assert said.pop().startswith(f"{path} {wanted or ''}")
