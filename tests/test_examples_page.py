"""docs/examples.md: every example is started as the page says, and its lines print what stands under them (rows 22,
117, 136)."""

import asyncio
import re
import shutil
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from tests.support.process import PATIENCE, REPOSITORY, Process, environment, serving
from tests.support.redis_servers import redis_server

PAGE = (REPOSITORY / "docs" / "examples.md").read_text()
EXAMPLES = REPOSITORY / "config" / "examples"
UPSTREAM = EXAMPLES / "upstream.py"
SECTIONS = [text for text in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:] if "```console" in text]


def blocks(section: str, kind: str) -> str:
    return "".join(re.findall(rf"^```{kind}\n(.*?)^```", section, re.MULTILINE | re.DOTALL))


def lines(section: str) -> list[tuple[str, str]]:
    """The lines that are to be entered, each with what it prints."""
    return re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", blocks(section, "console"), re.MULTILINE)


def started(section: str) -> list[tuple[str, list[str]]]:
    """The gateways that a section starts: example and flags of each."""
    found = re.findall(r"^\.venv/bin/cachegate (.*?)--config config/examples/(\w+)\.yaml(.*)$", section, re.MULTILINE)
    return [(name, [*before.replace("serve", "").split(), *after.split()]) for before, name, after in found]


def test_each_example_has_its_section_and_its_place_in_the_table() -> None:
    names = {path.stem for path in EXAMPLES.glob("*.yaml")}
    assert {name for section in SECTIONS for name, _ in started(blocks(section, "sh"))} == names
    assert set(re.findall(r"^\| \[(\w+)\.yaml\]\(\.\./config/examples/\1\.yaml\)", PAGE, re.MULTILINE)) == names


@asynccontextmanager
async def upstream() -> AsyncIterator[str]:
    """The upstream of the examples, in a process of its own; its URL."""
    words = (sys.executable, str(UPSTREAM), "--port", "0", "--delay", "0.02")
    made = await asyncio.create_subprocess_exec(*words, env=environment({}), stdout=PIPE)
    assert made.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE):
            while not (found := re.search(rb"http://127\.0\.0\.1:\d+", await made.stdout.readline())):
                pass
        yield found[0].decode()
    finally:
        made.terminate()
        await made.communicate()


@asynccontextmanager
async def started_as_told(section: str) -> AsyncIterator[dict[str, Process]]:
    """The gateways of a section by the ports that the page gives them."""
    async with AsyncExitStack() as stack:
        alone = "--demo" in section
        url = "" if alone else await stack.enter_async_context(upstream())
        env = {"UPSTREAM_URL": url, "ACCOUNTS_URL": url} | ({"ADMIN_TOKEN": ""} if alone else {})
        if "REDIS_URL" in section:
            env["REDIS_URL"] = (await stack.enter_async_context(redis_server())).url
        gateways = {}
        for name, flags in started(blocks(section, "sh")):
            port = flags[flags.index("--port") + 1] if "--port" in flags else "4000"
            told = [*flags, "--port", "0", "--log-format", "json"]  # the last that is said of a setting holds
            text = (EXAMPLES / f"{name}.yaml").read_text()
            gateways[port] = await stack.enter_async_context(serving(url, text, *told, env=env))
        if "REDIS_URL" in section:
            for gateway in gateways.values():
                await gateway.connected()
        yield gateways


async def entered(line: str, gateways: dict[str, Process]) -> str:
    """What a line prints, with what it says on standard error. It is entered word for word but for the ports."""
    line = re.sub(r"127\.0\.0\.1:(\d+)", lambda port: f"127.0.0.1:{gateways[port[1]].port}", line)
    first = gateways["4000"]
    line = line.replace(".venv/bin/cachegate explain", f"{sys.executable} -m proxy explain --url {first.url}")
    words = ("bash", "-o", "pipefail", "-c", line)
    made = await asyncio.create_subprocess_exec(
        *words, cwd=first.directory, env=environment({}), stdout=PIPE, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await made.communicate()
    text = out.decode()
    return text if text.endswith("\n") or not text else f"{text}\n"


async def stored(gateways: dict[str, Process], asked: int, known: int) -> None:
    """Wait until all that was asked is in the logs, what was stored of it since `known` is found by every gateway, and
    what one has ended is ended on all: an answer is in the client's hands before that."""
    async with asyncio.timeout(PATIENCE):
        while len(access := [line for gateway in gateways.values() for line in gateway.access]) < asked:
            await asyncio.sleep(0.01)
        keys = {line["key"] for line in access[known:] if line["stored"]}
        for gateway in gateways.values():
            for key in keys:
                while not await holds(gateway, key):
                    await asyncio.sleep(0.01)
            while len(gateways) > 1 and (await gateway.admin("POST", "/purge", {"tag": "nobody's"})).status != 200:
                await asyncio.sleep(0.01)


async def holds(gateway: Process, key: str) -> bool:
    """Whether it finds an entry by its key, or several variants: asked with the token, and where there is none as who
    is on its machine."""
    local = await gateway.ask("GET", f"/cache/entries/{key}", {"Host": f"127.0.0.1:{gateway.port}"})
    return bool({local.status, (await gateway.admin("GET", f"/entries/{key}")).status} & {200, 409})


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("jq")), reason="there is no curl or no jq here")
@pytest.mark.parametrize("section", [pytest.param(text, id=text.partition("\n")[0]) for text in SECTIONS])
async def test_it_prints_what_the_page_says(section: str) -> None:
    asked = 0
    async with started_as_told(section) as gateways:
        for line, printed in lines(section):
            out = await entered(line, gateways)
            wanted = re.escape(printed).replace("…", ".*")
            assert re.fullmatch(wanted, out), f"$ {line}\n{out}"
            if "http://" in line and "/cache" not in line:
                asked += 1
                await stored(gateways, asked, asked - 1)
