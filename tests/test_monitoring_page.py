"""docs/monitoring.md says what is so: its commands run, its table is complete (rows 53, 80, 81, 84, 102)."""

import asyncio
import json
import re
from pathlib import Path

import pytest

from proxy.observe.events import QUEUED, SAMPLES, Kind
from proxy.observe.groups import MAX_GROUPS
from tests.support.gateway import TOKEN
from tests.support.origin import Origin
from tests.support.process import environment, serving
from tests.test_events import reading

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "monitoring.md").read_text()
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
ON_A_TERMINAL, WITHOUT_END = "cachegate monitor", "curl -N"
RULES = {"rules": [{"name": "all", "pattern": "*", "ttl": 60}]}
ONE_FAILURE = ("--set", "upstream.breaker.consecutive=1")  # opens the breaker


async def test_its_commands_run() -> None:
    ran = [line for line in COMMANDS if line != ON_A_TERMINAL and not line.startswith(WITHOUT_END)]
    assert len(ran) == 5
    async with Origin() as origin, serving(origin, RULES) as gateway:
        origin.answer("/a", body=b"x")
        await gateway.verdicts("/a", "/a")
        for line in ran:
            code, out, err = await gateway.command(*line.split()[1:])
            assert (code, err) == (0, ""), line
            if "--json" in line:
                assert all(json.loads(part) for part in (out.splitlines() if "monitor" in line else [out]))


async def test_its_curl_line_tells_what_happens() -> None:
    (line,) = [line for line in COMMANDS if line.startswith(WITHOUT_END)]
    async with Origin() as origin, serving(origin, RULES) as gateway:
        process = await asyncio.create_subprocess_shell(
            f"exec {line} --silent",
            env=environment({"ADMIN_TOKEN": TOKEN, "URL": gateway.url}),
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        try:
            async with asyncio.timeout(20):
                assert await process.stdout.readline() == b"retry: 2000\n"
                await gateway.admin("POST", "/purge", {"url": "/a"})
                await process.stdout.readuntil(b"event: purge\n")
        finally:
            process.kill()
            await process.wait()


async def test_its_table_names_every_type_and_what_each_says() -> None:
    rows = re.findall(r"^\| `(\w+)` \| .*? \| (.*?) \|$", PAGE, re.MULTILINE)
    assert [name for name, _ in rows] == list(Kind)
    fields = {name: set(re.findall(r"`(\w+)`", said)) for name, said in rows}
    async with Origin() as origin, serving(origin, RULES, *ONE_FAILURE) as gateway, reading(gateway) as events:
        await events.event("stats")
        origin.answer("/a", body=b"x")
        origin.answer("/broken", 500)
        acts = {
            "store": lambda: gateway.get("/a"),
            "purge": lambda: gateway.admin("POST", "/purge", {"url": "/b"}),
            "breaker": lambda: gateway.get("/broken"),
            "hit": lambda: gateway.get("/a"),
        }
        for kind, act in acts.items():
            await act()
            told = await events.event(kind)
            assert fields[kind] == told.keys() - {"at", "worker"}


@pytest.mark.parametrize(
    "said", [f"{MAX_GROUPS} groups have names", f"at most {SAMPLES} a second", f"more than {QUEUED} events waiting"]
)
def test_its_numbers_are_those_of_the_code(said: str) -> None:
    assert said in PAGE


def test_its_picture_asks_for_nothing_elsewhere() -> None:
    pictures = re.findall(r"!\[[^]]+\]\((.+?)\)", PAGE)
    assert pictures == ["pictures/monitor.svg"]
    svg = (DOCS / pictures[0]).read_text()
    assert set(re.findall(r"https?://[\w.:]+", svg)) == {
        "http://www.w3.org",  # names of what SVG is, ...
        "https://www.textualize.io",  # ... a comment of who drew it, ...
        "http://127.0.0.1:4000",  # ... and text
    }
    assert len(svg) < 100_000
