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


async def anew(gateway: Process, target: str) -> tuple[int, str]:
    """Status and Retry-After, on a connection of its own: any worker may have it."""
    async with raw(gateway.port) as client:
        got = await client.get(target)
        return got.status, got.header("retry-after") or ""


async def one_opens_all(gateway: Process, target: str, failures: int) -> None:
    """One worker sees so many; then until nobody lets anything through, as far as can be told from outside."""
    async with raw(gateway.port) as client:
        for _ in range(failures):
            assert (await client.get(target)).header("retry-after") is None
    refusals = 0
    async with asyncio.timeout(30):
        while refusals < 20:
            status, retry_after = await anew(gateway, target)
            refusals = refusals + 1 if (status, bool(retry_after)) == (503, True) else 0


async def test_what_one_worker_finds_out_holds_on_all_and_is_told_once() -> None:
    workers, many, thresholds = 2, 20, {"consecutive": 20, "open_for": 60, "max_open": 60}
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
            await one_opens_all(gateway, "/a", many)
            await one_opens_all(gateway, "/b/a", many)
            for calls in (well.count("/a"), sick.count("/b/a")):
                assert many <= calls < many * workers  # some may be let through while the news are on their way
            assert gateway.log.count("the breaker is") == 2  # a line for each change
            stats = (await gateway.stats())["upstream"]
            assert (stats["breaker"], stats["cause"]) == ("open", "consecutive")
            metrics = (await gateway.admin("GET", "/metrics")).body.decode()
            for name in ("main", "b"):
                assert f'cachegate_breaker_state{{state="open",upstream="{name}"}} 1.0' in metrics
                assert f'cachegate_breaker_opened_total{{cause="consecutive",upstream="{name}"}} 1.0' in metrics
            code, out, _ = await gateway.command("health")
            assert code == 1
            assert "breaker open (consecutive)" in out

            before, beside = well.count("/a"), sick.count("/b/a")
            settings["upstream"]["breaker"] = {**thresholds, "consecutive": 4}
            gateway.configure(settings)
            assert (await gateway.admin("POST", "/reload")).json["changed"] == ["upstream.breaker.consecutive"]
            await one_opens_all(gateway, "/a", 4)
            assert well.count("/a") >= before + 4  # another threshold holds, and what was open is asked again
            assert (await anew(gateway, "/b/a"))[0] == 503
            assert sick.count("/b/a") == beside  # of the other nothing has changed


async def test_of_all_workers_one_probes_and_what_comes_of_it_holds_for_all() -> None:
    settings = {
        "cache": {"unmatched": "bypass"},  # each request is a call of its own
        "listen": {"workers": 3},
    }
    async with Origin() as origin:
        origin.answer("/bad", 503)
        upstream = {"url": origin.url, "breaker": {"consecutive": 2, "open_for": 0.5, "max_open": 0.5}}
        async with serving(origin, {**settings, "upstream": upstream}) as gateway:
            while origin.count("/bad") < 2 or gateway.log.count("the breaker is open") < 1:
                await anew(gateway, "/bad")
            for _ in range(2):  # all are asked, and who is asked the second time has heard what the first knew
                await gateway.stats()
            origin.answer("/a")
            gate = origin.hold("/a")
            sent: list[asyncio.Task[tuple[int, str]]] = []
            async with asyncio.timeout(30):
                # Long after the first of them probes, the time of the others is over too: one by one they ask.
                while gateway.log.count("the breaker is half-open") < 3:
                    sent.append(asyncio.create_task(anew(gateway, "/a")))
                    await asyncio.sleep(0.02)
            async with asyncio.timeout(30):
                while sum(not each.done() for each in sent) > 1 and origin.count("/a") == 1:
                    await asyncio.sleep(0.01)
            assert origin.count("/a") == 1
            gate.release()
            assert sorted(status for status, _ in await asyncio.gather(*sent))[:2] == [200, 503]
            assert [(await anew(gateway, "/a"))[0] for _ in range(20)] == [200] * 20
            assert gateway.log.count("the breaker is closed") == 1


async def test_a_replica_that_one_worker_finds_sick_is_left_alone_by_all() -> None:
    async with Origin() as well, Origin() as sick:
        for origin in (well, sick):
            origin.answer("/healthz", 204)
            origin.answer("/a")
        check = {"path": "/healthz", "interval": 0.5, "unhealthy": 1}
        settings = {"upstream": {"url": [well.url, sick.url], "health_check": check}, "listen": {"workers": 3}}
        async with serving(well, settings) as gateway:
            sick.answer("/healthz", 500)
            for _ in range(2):  # who is asked the second time has heard what the first knew
                async with asyncio.timeout(30):
                    while [each["up"] for each in (await gateway.stats())["upstream"]["replicas"]] != [True, False]:
                        await asyncio.sleep(0.01)
            before = sick.count("/a")
            assert {(await anew(gateway, "/a"))[0] for _ in range(30)} == {200}
            assert sick.count("/a") == before
            assert sick.of("/healthz")[-1].header("host") == sick.authority
            metrics = (await gateway.admin("GET", "/metrics")).body.decode()
            assert f'cachegate_replica_up{{replica="{sick.authority}",upstream="main"}} 0.0' in metrics
            code, out, _ = await gateway.command("health")
            assert (code, f"down: {sick.authority} (main)" in out) == (1, True)
            assert gateway.log.count("is unhealthy") == 1


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
