"""The cache within a program (rows 128, 129): the tiers, the journal and the keys of a gateway, without its doors."""

import asyncio
import re
from collections.abc import Mapping
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest

from proxy import Cachegate
from proxy.embed import Health
from proxy.embed_keys import path_of
from proxy.embed_values import Warmed
from proxy.errors import CachegateError, ConfigError, StoreError
from proxy.warming_jobs import End
from tests.support.gateway import HOST, Clock
from tests.support.origin import Origin
from tests.support.process import PATIENCE, REPOSITORY, instances
from tests.support.redis_servers import redis_server

ALL = {"rules": [{"name": "all", "pattern": "*", "ttl": 60, "tags": ["all"]}]}
URL = f"http://{HOST}/a"


def settings(place: Path, **more: Any) -> Mapping[str, Any]:
    """With a directory of its own."""
    kept = {"file": {"dir": str(place)}, "admin": {"token_file": str(place / "admin.token")}}
    return {**ALL, **kept, **more}


# -- values ------------------------------------------------------------------------------------------------------------


async def test_what_was_set_is_there_until_its_time_is_over(tmp_path: Path) -> None:
    clock = Clock()
    async with Cachegate(settings(tmp_path), clock=clock) as cache:
        assert await cache.get("user:7") is None
        assert await cache.set("user:7", b"one", ttl=10)
        assert await cache.set("user:7", b"two", ttl="10s")
        assert await cache.get("user:7") == b"two"
        clock.advance(9.9)
        assert await cache.get("user:7") == b"two"
        clock.advance(0.2)
        assert await cache.get("user:7") is None


async def test_many_at_once(tmp_path: Path) -> None:
    values = {f"n:{number}": b"%d" % number for number in range(40)}
    async with Cachegate(settings(tmp_path)) as cache:
        assert await cache.set_many(values, ttl=10, tags=["n"]) == 40
        assert await cache.get_many([*values, "nothing"]) == values
        await cache.invalidate(tag="n")
        assert await cache.get_many(values) == {}


@pytest.mark.parametrize("name", ["user:7", "query?a=1&b=2", "é", "%C3%A9", "a b", "//x", "/", "naïve/ключ", "{}", "%"])
async def test_a_name_is_any_text_and_no_other(name: str, tmp_path: Path) -> None:
    async with Cachegate(settings(tmp_path)) as cache:
        await cache.set(name, name.encode())
        assert await cache.get(name) == name.encode()
        assert await cache.get(path_of(name) + "%") is None
        await cache.invalidate(pattern=name.replace("%", "%25"))
        assert await cache.get(name) is None


async def test_names_with_one_spelling_are_two() -> None:
    assert len({path_of(name) for name in ("é", "%C3%A9", "%c3%a9", "%25C3%25A9")}) == 4


@pytest.mark.parametrize(
    "way", [{"key": "user:7"}, {"pattern": "user:*"}, {"tag": "users"}, {"pattern": "*"}], ids=lambda way: str(way)
)
async def test_what_is_invalidated_is_gone(way: dict[str, str], tmp_path: Path) -> None:
    async with Cachegate(settings(tmp_path)) as cache:
        await cache.set("user:7", b"x", tags=["users"])
        receipt = await cache.invalidate(**way)
        assert receipt is not None
        assert (receipt.matched, receipt.complete, await cache.get("user:7")) == (1, True, None)
        await cache.set("user:7", b"y")
        assert await cache.get("user:7") == b"y"
        await cache.delete("user:7")
        assert await cache.get("user:7") is None


async def test_values_outlive_the_program_on_disk(tmp_path: Path) -> None:
    large = bytes(range(256)) * 8192  # more than memory takes of one
    async with Cachegate(settings(tmp_path)) as cache:
        await cache.set_many({"small": b"x", "large": large}, ttl="1h")
        await cache.set("gone", b"x", ttl="1h")
        await cache.delete("gone")
    async with Cachegate(settings(tmp_path)) as cache:
        assert await cache.get_many(["small", "large", "gone"]) == {"small": b"x", "large": large}


# -- beside gateways, and each other -----------------------------------------------------------------------------------


async def test_over_one_redis_a_gateway_and_a_program_have_the_same_answers(tmp_path: Path) -> None:
    async with redis_server() as redis, Origin() as origin, instances(1, origin, ALL, redis.url) as (gateway,):
        mine = settings(tmp_path, redis={"url": redis.url, "lazy_connect": False}, upstream={"url": origin.url})
        async with Cachegate(mine, fallback_to_memory=False) as cache:
            origin.answer("/a", body=b"from the origin")
            assert (await gateway.get("/a")).verdict == "MISS"
            async with asyncio.timeout(PATIENCE):  # the client has it before Redis does
                while (found := await cache.get(URL)) is None:
                    await asyncio.sleep(0.01)
            assert found == b"from the origin"
            assert await cache.set(f"http://{HOST}/b?y=1&x=2", b"set", tags=["mine"], content_type="text/plain")
            got = await gateway.get("/b?x=2&y=1")
            assert (got.verdict, got.tier, got.body) == ("HIT", "redis", b"set")
            assert (got.header("content-type"), origin.count()) == ("text/plain", 1)
            await cache.invalidate(tag="mine")
            assert (await gateway.get("/b?x=2&y=1")).verdict == "MISS"
            await gateway.admin("POST", "/purge", {"tag": "all"})
            async with asyncio.timeout(PATIENCE):
                while await cache.get(URL) is not None:
                    await asyncio.sleep(0.01)
            await cache.set("name", b"x")
            assert (await gateway.get("/name")).verdict == "MISS"


async def test_two_in_one_program_are_apart_and_one_over_redis(tmp_path: Path) -> None:
    async with redis_server() as redis:
        shared = {"url": redis.url, "lazy_connect": False}
        one, two = (settings(tmp_path / name, redis=shared) for name in ("one", "two"))
        async with (
            Cachegate(one) as here,
            Cachegate(two) as there,
            Cachegate(settings(tmp_path / "three", redis=shared), key_prefix="athena:") as apart,
        ):
            await here.set("k", b"v", ttl=60)
            assert (await there.get("k"), await apart.get("k")) == (b"v", None)
            receipt = await there.invalidate(key="k")
            assert receipt is not None
            assert (receipt.complete, await here.get("k")) == (True, None)
            assert (await here.health()) == Health(True, "shared")


async def test_without_redis_memory_stands_in_or_does_not(tmp_path: Path) -> None:
    async with redis_server() as redis:
        shared = {"url": redis.url, "lazy_connect": False}
        async with (
            Cachegate(settings(tmp_path / "one", redis=shared)) as goes_on,
            Cachegate(settings(tmp_path / "two", redis=shared), fallback_to_memory=False) as refuses,
        ):
            await goes_on.set("k", b"v")
            await refuses.set("k", b"v")
            await redis.kill()
            assert await goes_on.get("k") == b"v"
            await goes_on.set("new", b"w")
            assert await goes_on.get("new") == b"w"
            async with asyncio.timeout(PATIENCE):
                while (health := await goes_on.health()).healthy or health.mode != "fallback":
                    await goes_on.get("nothing")
                while (await refuses.health()).mode != "fallback":
                    await goes_on.get("nothing")
            assert any(problem.startswith("redis") for problem in health.problems)
            with pytest.raises(StoreError, match="redis is away"):
                await refuses.get("k")
            assert not (await refuses.health()).healthy  # what asks how it stands is answered


# -- what rules say ----------------------------------------------------------------------------------------------------


async def test_rules_hold_for_urls(tmp_path: Path) -> None:
    rules = [
        {"name": "off", "pattern": "/off", "mode": "off"},
        {"name": "small", "pattern": "/small", "ttl": 60, "conditions": {"maxSize": 3}},
        {"name": "deaf", "pattern": "/deaf", "ttl": 60, "tags": ["t:{path[0]}"]},
    ]
    deaf = {"client_directives": "ignore", "unmatched": "bypass"}
    async with (
        Origin() as origin,
        Cachegate(settings(tmp_path, rules=rules, cache=deaf, upstream={"url": origin.url})) as cache,
    ):
        told = [await cache.set(f"http://{HOST}/{path}", b"four") for path in ("off", "small", "none", "deaf")]
        assert told == [False, False, False, True]
        assert (await cache.get(f"http://{HOST}/deaf?utm=1"), origin.count()) == (None, 0)
        await cache.invalidate(tag="t:deaf")
        assert await cache.get(f"http://{HOST}/deaf") is None


async def test_warm_fetches_what_is_not_there(tmp_path: Path) -> None:
    async with Origin() as origin, Cachegate(settings(tmp_path, upstream={"url": origin.url})) as cache:
        origin.answer("/a", body=b"a")
        origin.answer("/b", status=500)
        await cache.set(f"http://{HOST}/c", b"c")
        urls = [URL, URL, f"http://{HOST}/b", f"http://{HOST}/c"]
        assert await cache.warm(urls) == Warmed(ok=1, failed=1, skipped=1)
        assert (await cache.get(URL), origin.count("/a"), origin.count("/c")) == (b"a", 1, 0)


async def test_warm_is_a_job_that_ends_with_whoever_waits_for_it(tmp_path: Path) -> None:
    one_at_a_time = settings(tmp_path, warm={"concurrency": 1})
    async with Origin() as origin, Cachegate({**one_at_a_time, "upstream": {"url": origin.url}}) as cache:
        origin.answer("/a", body=b"a")
        gate = origin.hold("/a")
        warming = asyncio.create_task(cache.warm([URL, f"http://{HOST}/b"]))
        await origin.arrived("/a")
        jobs = cache._parts()[0].warming.jobs
        assert [job.ended for job in await jobs.all()] == [None]
        warming.cancel()
        await asyncio.wait([warming])
        gate.release()
        async with asyncio.timeout(20):
            while (job := (await jobs.all())[0]).ended is None:
                await asyncio.sleep(0.01)
        assert (job.ended, job.ok, job.total, origin.count("/b")) == (End.CANCELLED, 1, 2, 0)


async def test_warm_leaves_an_upstream_alone_that_is_in_trouble(tmp_path: Path) -> None:
    """What was not asked for has failed: nobody is told that it could be found."""
    breaker = {"consecutive": 1, "open_for": 60}
    async with Origin() as origin:
        troubled = settings(tmp_path, warm={"concurrency": 1}, upstream={"url": origin.url, "breaker": breaker})
        async with Cachegate(troubled) as cache:
            await origin.stop()
            assert await cache.warm([f"http://{HOST}/{number}" for number in range(20)]) == Warmed(failed=20)


async def test_it_tells_how_it_stands(tmp_path: Path) -> None:
    limited = [{"name": "few", "pattern": "*", "ttl": 60, "rate_limit": {"limit": 3, "window": 60}}]
    async with Cachegate(settings(tmp_path, rules=limited)) as cache:
        await cache.set("k", b"v")
        await cache.get_many(["k", "nothing"])
        told: Any = await cache.stats()
        assert (told["requests"], told["hitRate"], told["memory"]["size"]) == (2, 0.5, 1)
        assert await cache.health() == Health(True, "local")
        status = await cache.rate_limit_status("few:127.0.0.1")
        assert status is not None
        assert (status.remaining, await cache.rate_limit_status("nobody:1")) == (3, None)


async def test_a_second_one_in_the_same_directory_goes_on_without_it(tmp_path: Path) -> None:
    async with Cachegate(settings(tmp_path)), Cachegate(settings(tmp_path)) as second:
        assert await second.set("k", b"v")
        health = await second.health()
        assert [health.healthy, *(problem.partition(":")[0] for problem in health.problems)] == [
            False,
            "file",
            "journal",
        ]


# -- misuse ------------------------------------------------------------------------------------------------------------


async def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    closed = Cachegate(settings(tmp_path))
    with pytest.raises(CachegateError, match="async with"):
        await closed.get("k")
    with pytest.raises(ConfigError, match="fallback_to_memory"):
        Cachegate({}, fallback_to_memory=False)
    with pytest.raises(ConfigError, match="key_prefix"):
        Cachegate({}, key_prefix="{x}")
    async with closed as cache:
        with pytest.raises(CachegateError, match="open already"):
            await cache.__aenter__()
        with pytest.raises(TypeError, match="exactly one"):
            await cache.invalidate()
        for ttl in (0, -1, "soon"):
            with pytest.raises(ValueError, match=r"wants|wanted"):
                await cache.set("k", b"v", ttl=ttl)
        with pytest.raises(ValueError, match="tags"):
            await cache.set("k", b"v", tags="abc")
        for content_type in (
            "",
            " text/plain",
            "text/plain\r\nSet-Cookie: a=b",
            "t\N{LATIN SMALL LETTER E WITH ACUTE}xt",
        ):
            with pytest.raises(ValueError, match="content_type: wanted printable ASCII"):
                await cache.set("k", b"v", content_type=content_type)
        with pytest.raises(ConfigError, match=r"upstream\.url"):
            await cache.warm([URL])
        for key in ("", "k" * 8193, "\ud800", "http://", "http://x:99999/"):
            with pytest.raises(CachegateError):
                await cache.get(key)


async def test_what_is_of_another_type_is_named(tmp_path: Path) -> None:
    wrong: Any = None
    async with Cachegate(settings(tmp_path)) as cache:
        for call, said in (
            (lambda: cache.set("b", "text"), "value: wanted bytes, found 'text'"),
            (lambda: cache.set("b", 7), "value: wanted bytes, found 7"),
            (lambda: cache.set_many({"b": "text"}), "value: wanted bytes, found 'text'"),
            (lambda: cache.set("b", b"", tags=[7]), "tags: wanted text, found 7"),
            (lambda: cache.set("b", b"", tags=wrong), "tags: wanted several texts, found None"),
            (lambda: cache.get(wrong), "key: wanted text, found None"),
            (lambda: cache.get(b"b"), "key: wanted text, found b'b'"),
            (lambda: cache.delete(wrong), "key: wanted text, found None"),
            (lambda: cache.invalidate(key=7), "key: wanted text, found 7"),
            (lambda: cache.invalidate(pattern=7), "pattern: wanted text, found 7"),
            (lambda: cache.invalidate(tag=7), "tag: wanted text, found 7"),
            (lambda: cache.set("b", b"", content_type=wrong), "content_type: wanted text, found None"),
            (lambda: cache.get_many(["a", wrong]), "keys: wanted text, found None"),
            (lambda: cache.get_many(wrong), "keys: wanted several texts, found None"),
        ):
            with pytest.raises(TypeError, match=re.escape(said)):
                await call()
        with pytest.raises(ValueError, match="keys: wanted several texts, found one: 'abc'"):
            await cache.get_many("abc")
        assert await cache.set("b", bytearray(b"v"))
        assert await cache.get("b") == b"v"


async def test_the_documented_example_does_what_it_says(tmp_path: Path) -> None:
    text = (REPOSITORY / "docs" / "embedding.md").read_text()
    (example,) = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    said: dict[str, Any] = {}
    exec(compile(example, "docs/embedding.md", "exec"), said)
    with chdir(tmp_path):
        await said["main"]()
