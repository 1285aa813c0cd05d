"""What many instances find hot (row 61)."""

from proxy.redis import hot
from proxy.redis.keys import Names
from tests.support.redis_servers import redis_server
from tests.test_redis_server import linked

NAMES = Names("t:")


async def test_the_hottest_of_all_instances_first_and_bounded() -> None:
    async with redis_server() as redis, linked(redis.url) as heard:
        await hot.tell(heard.server, NAMES, {"a": 1, "b": 1000, "never": 0})
        await hot.tell(heard.server, NAMES, {"a": 30, "c": 5})
        assert await hot.hottest(heard.server, NAMES, 10) == ["b", "a", "c"]
        assert await hot.hottest(heard.server, NAMES, 1) == ["b"]
        for start in range(0, hot.KEPT + 400, hot.COUNTED):
            kept = await hot.tell(heard.server, NAMES, {f"k{start + n}": 2 for n in range(hot.COUNTED)})
        assert kept == hot.KEPT
        assert (await hot.hottest(heard.server, NAMES, 2)) == ["b", "a"]
        assert await redis.command("TTL", NAMES.hot) > 0


async def test_nothing_hot_is_not_told() -> None:
    async with redis_server() as redis, linked(redis.url) as heard:
        assert await hot.tell(heard.server, NAMES, {}) == 0
        assert await hot.hottest(heard.server, NAMES, 5) == []
        assert await redis.command("EXISTS", NAMES.hot) == 0
