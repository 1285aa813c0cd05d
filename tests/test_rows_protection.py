"""The breaker of a gateway as it is run: over workers, over a reload, in log, figures and commands (row 95)."""

import asyncio
from typing import Any

from proxy.settings.load import Loaded
from proxy.settings.sections import Breaker
from tests.support.gateway import Clock, running
from tests.support.origin import Origin
from tests.support.process import Process, instances, serving
from tests.support.rawtcp import raw
from tests.support.redis_servers import redis_server

OPENS = "upstream main: the breaker is open"


async def anew(gateway: Process, target: str) -> tuple[int, str]:
    """Status and Retry-After, on a connection of its own: any worker may have it."""
    async with raw(gateway.port) as client:
        got = await client.get(target)
        return got.status, got.header("retry-after") or ""


async def all_open(gateway: Process, target: str, word: str, workers: int) -> None:
    async with asyncio.timeout(30):
        while gateway.log.count(word) < workers:
            await anew(gateway, target)


async def test_each_worker_withholds_and_the_instance_tells_the_worst() -> None:
    workers, thresholds = 2, {"consecutive": 3, "open_for": 60, "max_open": 60}
    async with Origin() as well, Origin() as sick:
        for origin in (well, sick):
            origin.answer("/a", 503)
            origin.answer("/b/a", 503)
        settings: dict[str, Any] = {
            "upstream": {"url": well.url, "breaker": thresholds},
            "upstreams": {"b": {"url": sick.url, "breaker": thresholds}},
            "rules": [{"pattern": "/b/*", "upstream": "b"}],
            "listen": {"workers": workers},
        }
        async with serving(well, settings) as gateway:
            await all_open(gateway, "/a", OPENS, workers)
            await all_open(gateway, "/b/a", "upstream b: the breaker is open", workers)
            assert (well.count("/a"), sick.count("/b/a")) == (3 * workers, 3 * workers)
            for _ in range(10):
                status, retry_after = await anew(gateway, "/a")
                assert status == 503
                assert 0 < int(retry_after) <= 60
            assert well.count("/a") == 3 * workers
            assert gateway.log.count("the breaker is") == 2 * workers  # a line for each change
            assert (await gateway.stats())["upstream"]["breaker"] == "open"
            metrics = (await gateway.admin("GET", "/metrics")).body.decode()
            for name in ("main", "b"):
                assert f'cachegate_breaker_state{{state="open",upstream="{name}"}} 1.0' in metrics
            code, out, _ = await gateway.command("health")
            assert code == 1
            assert "breaker open" in out

            settings["upstream"]["breaker"] = {**thresholds, "consecutive": 4}
            gateway.configure(settings)
            assert (await gateway.admin("POST", "/reload")).json["changed"] == ["upstream.breaker.consecutive"]
            await all_open(gateway, "/a", OPENS, 2 * workers)
            assert well.count("/a") == (3 + 4) * workers  # another threshold holds, and what was open is asked again
            assert (await anew(gateway, "/b/a"))[0] == 503
            assert sick.count("/b/a") == 3 * workers  # of the other nothing has changed


async def test_a_reload_leaves_what_did_not_change_as_it_is() -> None:
    clock = Clock()
    async with Origin() as one, Origin() as other:
        settings = {"rules": [{"pattern": "/b/*", "upstream": "b"}], "upstreams": {"b": {"url": other.url}}}
        for origin in (one, other):
            origin.answer("/a", 503)
            origin.answer("/b/a", 503)
        async with running(one, settings, monotonic=clock) as client:
            gateway = client.gateway
            for target in ("/a", "/b/a"):
                assert [(await client.get(target)).detail for _ in range(6)][-1] == "breaker-open"
            now = gateway.settings
            changed = now.upstreams["b"].model_copy(update={"breaker": Breaker(consecutive=1)})
            gateway.configuration.take(Loaded(now.model_copy(update={"upstreams": {"b": changed}}), {}))
            assert [(await client.get("/b/a")).detail == "breaker-open" for _ in range(2)] == [False, True]
            assert ((await client.get("/a")).detail, one.count("/a")) == ("breaker-open", 5)
            gateway.configuration.take(Loaded(now.model_copy(update={"upstreams": {}, "rules": ()}), {}))
            await client.settled()
            assert other.open == 0  # what nobody asks for any more is closed
            clock.advance(5)
            one.answer("/a")
            assert (await client.get("/a")).status == 200
            assert one.connections == 1  # connections go on as well


async def test_a_rules_limit_changes_for_those_who_wait() -> None:
    async with Origin() as origin:
        rules = [{"name": "slow", "pattern": "*", "concurrency": 1}]
        async with running(origin, {"rules": rules}) as client:
            gates = []
            for n in range(4):
                origin.answer(f"/{n}")
                gates.append(origin.hold(f"/{n}"))
            waiting = [asyncio.ensure_future(client.get(f"/{n}")) for n in range(3)]
            await origin.arrived(None, 1)
            now = client.gateway.settings
            wider = now.rules[0].model_copy(update={"concurrency": 4})
            client.gateway.configuration.take(Loaded(now.model_copy(update={"rules": (wider,)}), {}))
            waiting.append(asyncio.ensure_future(client.get("/3")))  # the next one brings the others with it
            await origin.arrived(None, 4)
            for gate in gates:
                gate.release()
            assert [got.status for got in await asyncio.gather(*waiting)] == [200] * 4


async def test_an_open_breaker_waits_for_no_other_instance() -> None:
    async with redis_server() as redis, Origin() as origin:
        upstream = {"url": origin.url, "breaker": {"open_for": 60, "max_open": 60}}
        settings = {"rules": [{"pattern": "*", "ttl": 60}], "upstream": upstream}
        async with instances(2, origin, settings, redis.url) as (fetching, withholding):
            origin.answer("/a", body=b"x")
            origin.answer("/bad", 503)
            for n in range(5):
                assert (await withholding.get(f"/bad?{n}")).status == 503
            gate = origin.hold("/a")
            first = asyncio.ensure_future(fetching.get("/a"))
            await origin.arrived("/a")
            async with asyncio.timeout(20):  # less than another's fetch is waited for
                assert (await withholding.get("/a")).detail == "breaker-open"
            gate.release()
            assert (await first).body == b"x"
            async with asyncio.timeout(20):  # what the other stores is found
                while (await withholding.get("/a")).verdict != "HIT":
                    await asyncio.sleep(0.01)
            assert origin.count("/a") == 1
