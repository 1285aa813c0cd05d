"""Settings that change while it runs: by signal, by page and by the file itself, taken back when wrong, under load, and
the three steps from a plain proxy to a cache in production (rows 77, 79)."""

import asyncio
import re
import signal
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trustme

from bench.programs import free_port
from proxy.configuration import Configuration
from proxy.errors import ConfigError, Problem
from proxy.settings import settings_from
from proxy.settings.load import Loaded
from tests.support.gateway import TOKEN, Got
from tests.support.origin import Origin
from tests.support.process import Process, environment, serving, session, write
from tests.support.rawtcp import raw
from tests.test_cli_gateway import wait_until_ready

READ_AGAIN = "reloaded: changed"
KEPT = "the old ones go on to hold"


def with_ttl(ttl: int, **more: Any) -> dict[str, Any]:
    return {"rules": [{"name": "all", "pattern": "*", "ttl": ttl}], **more}


async def reload(gateway: Process, way: str, text: str, times: int = 1) -> None:
    """Have the file read again in one of the three ways, and wait for what the log says of it."""
    if way == "signal":
        gateway.signal(signal.SIGHUP)
    elif way == "page":
        await gateway.admin("POST", "/reload")
    await gateway.logged(text, times)


@pytest.mark.parametrize("way", ["signal", "page", "file"])
async def test_a_change_holds_and_a_mistake_changes_nothing(way: str) -> None:
    start = {"rules": [], "cache": {"unmatched": "bypass"}}
    async with Origin() as origin, serving(origin, start, "--log-level", "debug") as gateway:
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
        # The watching tells nothing of its own: "1 change detected", of the log that lies beside the file, without end.
        assert not re.search("changes? detected", gateway.log)


async def test_the_page_says_what_changed_and_what_waits_for_a_restart() -> None:
    async with Origin() as origin, serving(origin, with_ttl(60)) as gateway:
        gateway.configure(with_ttl(5, memory={"max_entries": 7}))
        got = (await gateway.admin("POST", "/reload")).json
        assert got == {"reloaded": True, "changed": ["memory.max_entries", "rules"], "restart": ["memory.max_entries"]}
        gateway.signal(signal.SIGHUP)
        assert (await gateway.stats())["version"]


@pytest.mark.parametrize("way", ["signal", "page", "file"])
async def test_what_waits_for_a_restart_does_not_seem_to_hold(way: str) -> None:
    """The page shows what holds, and it and the log name the rest, at each reload until the restart."""
    waits = {"memory": {"max_entries": 7}, "cache": {"cleanup_interval": 5, "keep": 120}, "admin": {"metrics": "token"}}
    waiting = ["cache.cleanup_interval", "log.redact_query", "memory.max_entries"]
    told = f"a restart is needed for {', '.join(waiting)}"
    async with Origin() as origin, serving(origin, with_ttl(60)) as gateway:

        async def shown() -> tuple[Any, ...]:
            got = (await gateway.admin("GET", "/config")).json
            settings = got["settings"]
            said = {name: got["sources"][name].partition(":")[0] for name in ("memory.max_entries", "cache.keep")}
            held = settings["memory"]["max_entries"], settings["cache"]["cleanup_interval"], settings["cache"]["keep"]
            return held, settings["rules"][0]["ttl"], said, got["restart"]

        old = {"memory.max_entries": "default", "cache.keep": "default"}
        assert await shown() == ((20000, 60, 3600), 60, old, [])
        for times in (1, 2):
            gateway.configure(with_ttl(3_600_000 + 1000 * times, **waits, log={"redact_query": ["token"]}))
            await reload(gateway, way, told, times)
            new = {**old, "cache.keep": "cachegate.yaml"}
            assert await shown() == ((20000, 60, 120), 3_600_000 + 1000 * times, new, waiting)
            assert gateway.log.count(told) == times
            assert gateway.log.count("seconds meant?") == times  # a warning
        gateway.configure(with_ttl(60))
        await reload(gateway, way, "reloaded: changed", 3)
        assert await shown() == ((20000, 60, 3600), 60, old, [])
        assert gateway.log.count("a restart is needed") == 2


@pytest.mark.parametrize("way", ["signal", "page", "file"])
async def test_a_reload_reads_the_certificate_again_or_changes_nothing(way: str, tmp_path: Path) -> None:
    authority, cert, key = trustme.CA(), tmp_path / "cert.pem", tmp_path / "key.pem"
    trusting, port, desk = ssl.create_default_context(), free_port(), free_port()
    authority.configure_trust(trusting)

    def configure(subject: str, ttl: int) -> None:
        made = authority.issue_cert("127.0.0.1", common_name=subject)
        key.write_bytes(made.private_key_pem.bytes())
        cert.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
        if subject == "broken":
            cert.write_text("nonsense")
        listen = {"port": port, "tls_cert": "cert.pem", "tls_key": "key.pem"}
        write(tmp_path, with_ttl(ttl, listen=listen, admin={"port": desk}), origin.url)

    async def presented() -> str:
        async with raw(port, tls=trusting) as client:
            subject = client.writer.get_extra_info("peercert")["subject"]
            return next(value for part in subject for kind, value in part if kind == "commonName")

    async def page(method: str, name: str) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with (
            session() as asking,
            asking.request(method, f"http://127.0.0.1:{desk}{name}", headers=headers) as got,
        ):
            document: dict[str, Any] = await got.json()
            return document

    async def read_again(told: str) -> None:
        if way == "signal":
            process.send_signal(signal.SIGHUP)
        elif way == "page":
            document = await page("POST", "/cache/reload")
            assert document.get("reloaded") is True or document["problems"][0]["place"].startswith("cachegate.yaml:1:")
            return
        async with asyncio.timeout(20):
            while told not in log.read_text():
                await asyncio.sleep(0.01)

    async with Origin() as origin:
        configure("one", 1)
        log = tmp_path / "gateway.log"
        with log.open("w") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "proxy", "serve", "--config", "cachegate.yaml", "--set", "listen.drain_delay=0"],
                cwd=tmp_path,
                env=environment({"ADMIN_TOKEN": TOKEN}),
                stdout=output,
                stderr=output,
            )
        try:
            await asyncio.to_thread(wait_until_ready, process, desk, log)
            assert await presented() == "one"
            configure("two", 2)
            await read_again("reloaded: changed rules")
            assert await presented() == "two"
            configure("broken", 3)
            await read_again(KEPT)
            assert await presented() == "two"
            assert (await page("GET", "/cache/config"))["settings"]["rules"][0]["ttl"] == 2
            process.terminate()
            assert await asyncio.to_thread(process.wait, 20) == 0
        finally:
            process.kill()
            process.wait()


async def test_nothing_is_applied_when_the_certificate_is_wrong_by_then() -> None:
    """It was right when it was looked at with the settings, and is not when it is taken."""
    start, later = (Loaded(settings_from({"memory": {"ttl": ttl}}, require_upstream=False), {}) for ttl in (1, 2))
    applied: list[Loaded] = []
    configuration = Configuration(start, lambda: later, applied.append)

    def broken() -> None:
        raise ConfigError((Problem("listen.tls_cert", "nonsense"),))

    configuration.renew = broken
    with pytest.raises(ConfigError, match="nonsense"):
        await configuration.reload()
    assert (applied, configuration.shown()["restart"]) == ([], [])
    configuration.renew = lambda: None
    assert await configuration.reload() == {"changed": ["memory.ttl"], "restart": ["memory.ttl"]}
    assert [loaded.settings.memory.ttl for loaded in applied] == [1]


@pytest.mark.parametrize("turns", [20, pytest.param(100, marks=pytest.mark.slow)])
async def test_reloads_under_load_fail_no_request(turns: int) -> None:
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
        for turn in range(1, turns + 1):
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
