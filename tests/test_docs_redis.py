"""docs/redis.md: the rights that it names are enough for everything and no more, and it names every family of keys."""

import re
import shlex

import pytest
from redis.exceptions import NoPermissionError

from proxy.redis import keys
from tests.support.origin import Origin
from tests.support.pages import ROOT
from tests.support.process import instances, program
from tests.support.redis_servers import redis_server
from tests.test_rows_redis_kinds import ALL, scripted, story

PAGE = (ROOT / "docs" / "redis.md").read_text()
LIMITED = {
    "cache": {"warmup": True},
    "rules": [
        {"name": "few", "pattern": "/few/*", "ttl": 60, "rate_limit": {"limit": 2, "window": 60}},
        {"name": "many", "pattern": "/many/*", "ttl": 60, "rate_limit": {"limit": 2000, "window": 60}},
    ],
}
# Asked when the stream was lost or a key is not what it should be; and of what is hot, by the minute.
RARE = {"exists", "type", "xrange", "pexpire", "zadd", "zcard", "zscore", "zrevrange", "zremrangebyrank"}
DENIED = (("FLUSHALL",), ("KEYS", "*"), ("CONFIG", "GET", "maxmemory"), ("GET", "others"), ("PUBLISH", "others", "x"))


def rights() -> list[str]:
    found = re.search(r"^redis-cli (ACL SETUSER (?:.*\\\n)*.*)$", PAGE, re.MULTILINE)
    assert found is not None
    return shlex.split(found[1].replace("\\\n", " "))


async def test_the_rights_are_enough_and_no_more() -> None:
    async with redis_server() as redis, Origin() as origin:
        await redis.command(*rights())
        url = redis.url.replace("://", "://gateway:SECRET@")
        async with instances(2, scripted(origin), ALL, url) as (a, b):
            await story(a, b, origin, redis)
            code, out, _ = await program(a.directory, "doctor", "redis", "--redis-url", url)
            assert (code, "bad" in out) == (0, False), out
        async with instances(1, origin, LIMITED, url) as (a,):
            limited = [(await a.get(f"/{rule}/{n}")).status for rule in ("few", "many") for n in range(3)]
            assert limited == [404, 404, 429, 404, 404, 404]
            assert (await a.command("stats", "--window", "1h"))[0] == 0
        denied = [dict(zip(line[::2], line[1::2], strict=True)) for line in await redis.command("ACL", "LOG")]
        assert [line[b"object"] for line in denied] == []  # nothing that is denied was even tried
        asked = {name.removeprefix("cmdstat_") for name in await redis.command("INFO", "commandstats")}
        given = {word.removeprefix("+") for word in rights() if word.startswith("+") and "@" not in word}
        assert given - RARE <= asked
        async with redis.client(username="gateway", password="SECRET") as gateway:
            for words in DENIED:
                with pytest.raises(NoPermissionError):
                    await gateway.execute_command(*words)


def test_every_family_of_keys_is_named() -> None:
    named = set(re.findall(r"`(\w+):\{", PAGE))
    ours = set(re.findall(r"^    \{prefix\}(\w+):\{", keys.__doc__ or "", re.MULTILINE))
    assert ours - {"p"} == named  # what `doctor` tries things out with is gone when it has ended
