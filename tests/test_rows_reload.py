"""Settings that change while it runs: by signal, by page and by the file itself, taken back when wrong, under load, and
the three steps from a plain proxy to a cache in production (rows 77, 79)."""

import asyncio
import signal
from typing import Any

import pytest

from tests.support.gateway import Got
from tests.support.origin import Origin
from tests.support.process import Process, serving

READ_AGAIN = "the settings were read again"
KEPT = "the old ones go on to hold"


def with_ttl(ttl: int, **more: Any) -> dict[str, Any]:
    return {"rules": [{"name": "all", "pattern": "*", "ttl": ttl}], **more}


async def reload(gateway: Process, way: str, text: str, times: int = 1) -> None:
    """Have the file read again in one of the three ways, and wait for what the log says of it."""
    if way == "signal":
        gateway.signal(signal.SIGHUP)
    elif way == "page":
        await gateway.admin("POST", "/reload")
        return
    await gateway.logged(text, times)


@pytest.mark.parametrize("way", ["signal", "page", "file"])
async def test_a_change_holds_and_a_mistake_changes_nothing(way: str) -> None:
    start = {"rules": [], "cache": {"unmatched": "bypass"}}
    async with Origin() as origin, serving(origin, start) as gateway:
        origin.answer("/a", body=b"x")
        assert await gateway.verdicts("/a", "/a") == ["BYPASS", "BYPASS"]
        gateway.configure(with_ttl(60, cache={"unmatched": "bypass"}))
        await reload(gateway, way, READ_AGAIN)
        assert await gateway.verdicts("/a", "/a") == ["MISS", "HIT"]

        gateway.configure({"rules": [{"patern": "*"}], "cache": {"unmatched": "never"}})
        if way == "page":
            got = await gateway.admin("POST", "/reload")
            assert (got.status, got.json["error"]) == (422, "bad-configuration")
            places = [problem["place"] for problem in got.json["problems"]]
            assert [place.partition(":")[0] for place in places] == ["cachegate.yaml"] * len(places)
            assert len(places) >= 2
        else:
            await reload(gateway, way, KEPT)
            assert "did you mean 'pattern'?" in gateway.log
        assert await gateway.verdicts("/a") == ["HIT"]
        assert (await gateway.admin("GET", "/config")).json["settings"]["rules"][0]["name"] == "all"

        gateway.configure(start)
        await reload(gateway, way, READ_AGAIN, 2)
        assert await gateway.verdicts("/a") == ["BYPASS"]


async def test_the_page_says_what_changed_and_what_waits_for_a_restart() -> None:
    async with Origin() as origin, serving(origin, with_ttl(60)) as gateway:
        gateway.configure(with_ttl(5, memory={"max_entries": 7}))
        got = (await gateway.admin("POST", "/reload")).json
        assert got == {"reloaded": True, "changed": ["memory.max_entries", "rules"], "restart": ["memory.max_entries"]}
        gateway.signal(signal.SIGHUP)
        assert (await gateway.stats())["version"]


async def test_twenty_reloads_under_load_fail_no_request() -> None:
    async with Origin() as origin, Origin() as other, serving(origin, with_ttl(1)) as gateway:
        for each in (origin, other):
            each.answer("/a", body=b"x" * 5000)
            each.answer("/fresh", body=b"y" * 5000)
            each.answer("/held", body=b"z" * 5000)
        gate = origin.hold(
            "/held"
        )  # this one is under way through all the reloads, and through changes of the upstream
        held = asyncio.create_task(gateway.get("/held"))
        await origin.arrived("/held")
        done: list[Got] = []
        stopping = asyncio.Event()

        async def client(number: int) -> None:
            while not stopping.is_set():
                done.append(await gateway.get("/a" if len(done) % 3 else f"/fresh?{number}.{len(done)}"))

        clients = [asyncio.create_task(client(number)) for number in range(16)]
        for turn in range(1, 21):
            upstream = {"url": (origin, other)[turn % 2].url, "id": "api"}
            gateway.configure(with_ttl(turn, upstream=upstream) if turn % 5 else {"rules": "wrong"})
            gateway.signal(signal.SIGHUP)
            seen = len(done)
            async with asyncio.timeout(20):
                while len(done) < seen + 20:  # traffic flows while it happens
                    await asyncio.sleep(0.001)
        stopping.set()
        await asyncio.gather(*clients)
        gate.release()
        done.append(await held)
        assert origin.count("/fresh") > 0
        assert other.count("/fresh") > 0
        assert {(got.status, len(got.body)) for got in done} == {(200, 5000)}
        assert (await gateway.stats())["requests"] == len(done)
        assert KEPT in gateway.log
        assert "Traceback" not in gateway.log


async def test_an_upstream_of_the_environment_is_not_moved_by_the_file() -> None:
    """UPSTREAM_URL beats YAML, at a reload as at the start."""
    async with Origin() as origin, Origin() as other, serving(origin, env={"UPSTREAM_URL": origin.url}) as gateway:
        origin.answer("/a", body=b"environment")
        other.answer("/a", body=b"file")
        gateway.configure({"upstream": {"url": other.url}})
        await gateway.admin("POST", "/reload")
        assert (await gateway.get("/a")).body == b"environment"


async def test_three_steps_from_a_plain_proxy_to_production() -> None:
    """Enable, rules, production: each step is an edit of the file while it runs, and each can be taken back."""
    plain: dict[str, Any] = {"cache": {"unmatched": "bypass"}}
    enabled: dict[str, Any] = {"cache": {"unmatched": "origin"}}
    ruled = enabled | {"rules": [{"name": "api", "pattern": "/api/*", "ttl": 60}]}
    production = enabled | {
        "rules": [
            {"name": "never", "pattern": "/api/live", "mode": "off"},
            {"name": "api", "pattern": "/api/*", "ttl": 60, "key": {"query": {"ignore": ["utm_*"]}}, "tags": ["api"]},
        ]
    }
    async with Origin() as origin, serving(origin, plain) as gateway:
        origin.answer("/told", headers=[("Cache-Control", "max-age=60")], body=b"x")
        origin.answer("/api/things", body=b"x")
        origin.answer("/api/live", body=b"x")
        every = ("/told", "/told", "/api/things", "/api/things", "/api/live", "/api/live", "/api/things?utm_source=x")

        async def step(settings: dict[str, Any]) -> list[str | None]:
            gateway.configure(settings)
            await gateway.admin("POST", "/reload")
            return await gateway.verdicts(*every)

        assert await gateway.verdicts(*every) == ["BYPASS"] * 7
        assert await step(enabled) == ["MISS", "HIT", "MISS", "MISS", "MISS", "MISS", "MISS"]
        assert await step(ruled) == ["HIT", "HIT", "MISS", "HIT", "MISS", "HIT", "MISS"]
        assert await step(production) == ["HIT", "HIT", "HIT", "HIT", "BYPASS", "BYPASS", "HIT"]
        assert (await gateway.admin("POST", "/purge", {"tag": "api"})).json["matched"] == {"memory": 0}
        assert await step(plain) == ["BYPASS"] * 7
