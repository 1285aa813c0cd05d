"""Cut off from the other instances: go on with the own tiers, or trust them no more (invariant 3; `redis.on_loss`)."""

import asyncio

import pytest

from tests.support.faults import HOST, FaultProxy, Pass, Stall
from tests.support.origin import Origin
from tests.support.process import PATIENCE, instances
from tests.support.redis_servers import redis_server

STRICT = {"rules": [{"pattern": "*", "ttl": 600}], "redis": {"on_loss": "strict"}}


@pytest.mark.slow
async def test_a_strict_instance_trusts_its_tiers_no_more_half_a_minute_after_it_was_cut_off() -> None:
    async with redis_server() as redis, FaultProxy(redis.port) as between, Origin() as origin:
        origin.answer("/a", body=b"old")
        own = f"redis://{HOST}:{between.port}"
        async with instances(2, origin, STRICT, own, redis.url) as (cut, linked):
            assert (await cut.get("/a")).verdict == "MISS"
            await between.become(Stall())
            origin.answer("/a", body=b"new")
            assert (await linked.admin("POST", "/purge", {"url": "/a"})).status == 202
            assert (await cut.get("/a")).body == b"old"  # it cannot know
            async with asyncio.timeout(30 + PATIENCE):
                while (got := await cut.get("/a")).verdict == "HIT":
                    await asyncio.sleep(0.1)
            assert got.body == b"new"
            assert "fwd=miss" in (got.header("cache-status") or "")
            assert "detail=cut-off" in (got.header("cache-status") or "")
            assert (await cut.get("/a")).verdict == "MISS"
            await between.become(Pass())
            await cut.connected()
            await cut.get("/a")  # what it had fetched meanwhile may have been before the purge, as far as it knows
            again = await cut.get("/a")
            assert (again.verdict, again.body) == ("HIT", b"new")
