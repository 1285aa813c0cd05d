"""What a running gateway tells Prometheus: the monitoring points (row 99), and what alerts wait for (row 104)."""

import asyncio
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.support.origin import Origin
from tests.support.process import PATIENCE, Process, instances, serving
from tests.support.redis_servers import redis_server

ALL = {"rules": [{"name": "all", "pattern": "*", "ttl": 60, "cost": 0.5}]}


async def scraped(gateway: Process) -> dict[str, float]:
    """The series that are not a histogram's, as they are written in a query."""
    text = (await gateway.admin("GET", "/metrics")).body.decode()
    return {
        sample.name + "".join(f" {name}={value}" for name, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_every_monitoring_point_is_a_series_and_a_figure_of_the_statistics() -> None:
    async with (
        redis_server("maxmemory 64mb") as redis,
        Origin() as origin,
        instances(1, origin, ALL, redis.url) as (gateway,),
    ):
        origin.answer("/a", body=b"hello")
        assert await gateway.verdicts("/a", "/a") == ["MISS", "HIT"]
        told, series = await gateway.stats(), await scraped(gateway)
        assert series["cachegate_redis_state state=ready"] == series["cachegate_redis_linked"] == 1
        assert told["redis"]["connected"] is True
        assert [series[f"cachegate_requests_total rule=all verdict={verdict}"] for verdict in ("HIT", "MISS")] == [1, 1]
        assert told["hitRate"] == 0.5
        assert series["cachegate_request_seconds_count verdict=HIT"] == 1
        assert told["responseTime"]["avg"] > 0
        assert series["cachegate_redis_memory_bytes"] == told["redis"]["memoryUsage"] > 0
        assert series["cachegate_redis_max_memory_bytes"] == 64 * 1024 * 1024
        assert series["cachegate_redis_latency_seconds"] > 0
        assert series["cachegate_tier_bytes tier=memory"] == told["memory"]["bytes"] > 0
        assert series["cachegate_tier_max_bytes tier=memory"] == told["memory"]["maxBytes"]
        assert series["cachegate_connections"] == told["activeSessions"] >= 1
        assert series["cachegate_evictions_total tier=memory"] == told["memory"]["evictions"] == 0
        assert series["cachegate_saved_calls_total rule=all"] == told["rules"]["all"]["callsSaved"] == 1
        assert series["cachegate_saved_money_total rule=all"] == told["rules"]["all"]["moneySaved"] == 0.5


async def test_what_alerts_wait_for_is_seen_when_it_happens(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file, where a directory was to be")
    kept = {"file": {"dir": "cache"}, "admin": {"token_file": "cache/admin.token"}}
    async with redis_server() as redis, Origin() as origin:
        settings = {**ALL, **kept, "redis": {"url": redis.url}}
        async with serving(origin, settings, directory=tmp_path) as gateway:
            await gateway.connected()
            series = await scraped(gateway)
            assert series["cachegate_tier_up tier=file"] == series["cachegate_journal_durable"] == 0
            assert series["cachegate_tier_up tier=memory"] == series["cachegate_tier_up tier=redis"] == 1
            await redis.kill()
            async with asyncio.timeout(PATIENCE):
                while (series := await scraped(gateway))["cachegate_redis_state state=ready"]:
                    await gateway.get("/a")
            assert series["cachegate_redis_linked"] == series["cachegate_tier_up tier=redis"] == 0
            await origin.stop()
            async with asyncio.timeout(PATIENCE):
                while (series := await scraped(gateway))["cachegate_breaker_state state=closed upstream=main"]:
                    await gateway.get("/cold")
            assert series["cachegate_upstream_requests_total outcome=upstream-refused"] >= 5
