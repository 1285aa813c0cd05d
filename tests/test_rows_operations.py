"""What an operator's day and a stranger's bytes do to the program in a process of its own: files that are no
configuration, a second signal, text that wants to be another line of the log, secrets in every output, a log that
nobody reads (rows 72, 73, 77, 105, 107)."""

import asyncio
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bench.programs import free_port
from tests.support.gateway import TOKEN
from tests.support.origin import Origin
from tests.support.process import HAS_PROC, Process, environment, program, serving, session, write
from tests.support.rawtcp import Broken, raw
from tests.test_cli_gateway import wait_until_ready

MIB = 1 << 20
RULES: dict[str, Any] = {"rules": [{"name": "all", "pattern": "*", "ttl": 60}]}

# -- files that are no configuration -----------------------------------------------------------------------------------

ALIASES = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 40)
)
MERGES = "a0: &a0 {x: 1, y: 2}\n" + "".join(
    f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 40)
)
BAD: dict[str, bytes] = {
    "a bomb of aliases": ALIASES.encode(),
    "a bomb of merges": MERGES.encode(),
    "nested deeply": b"[" * 500_000,
    "a tree without end": b"a: &a {b: *a}",
    "50 MB of one line": b"#" + b"x" * (50 * MIB),
    "50 MB of settings": b"rules:\n" + b"- {pattern: /a, ttl: 1}\n" * (2 * MIB),
    "cut off": b'{"rules": [{"name": "all", "pat',
    "zeros": bytes(4096),
    "no text": bytes(range(128, 256)) * 10,
    "a program": b"\x7fELF" + bytes(range(256)),
    "a tag that runs": b"rules: !!python/object/apply:os.system [exit]",
    "a number past all numbers": b"memory: {max_entries: 99999999999999999999999}",
    "lines of a log": b'rules:\n- pattern: "/a\\n2026-01-01T00:00:00Z error forged\\e[31m\\u2028x"',
}


@pytest.mark.slow
async def test_no_file_is_so_bad_that_anything_changes() -> None:
    """One after the other, by a gateway that answers all the time, and all with the same words as at a start."""
    async with Origin() as origin, serving(origin, RULES) as gateway:
        origin.answer("/a", body=b"kept")
        assert await gateway.verdicts("/a", "/a") == ["MISS", "HIT"]
        before = gateway.rss
        for name, content in BAD.items():
            replace(gateway, content)
            got = await gateway.admin("POST", "/reload")
            assert (got.status, got.json["error"]) == (422, "bad-configuration"), name
            assert any(problem["place"].startswith("cachegate.yaml") for problem in got.json["problems"]), name
            assert await gateway.verdicts("/a") == ["HIT"], name
        (gateway.directory / "cachegate.yaml").unlink()
        assert (await gateway.admin("POST", "/reload")).status == 422
        (gateway.directory / "cachegate.yaml").mkdir()
        assert (await gateway.admin("POST", "/reload")).status == 422
        (gateway.directory / "cachegate.yaml").rmdir()
        assert gateway.peak - before < 80 * MIB  # of the 100 that lie there, no more is read than settings may have
        assert (await gateway.admin("GET", "/config")).json["settings"]["rules"][0]["name"] == "all"
        gateway.configure({**RULES, "cache": {"keep": 77}})
        assert (await gateway.admin("POST", "/reload")).json["changed"] == ["cache.keep"]
        assert "Traceback" not in gateway.log
        assert one_line_each(gateway.log.encode()) == []


def replace(gateway: Process, content: bytes) -> None:
    beside = gateway.directory / "cachegate.yaml.new"
    beside.write_bytes(content)
    beside.replace(gateway.directory / "cachegate.yaml")


async def test_a_configmap_that_is_swapped_is_read_each_time(tmp_path: Path) -> None:
    """As Kubernetes does it: the file is a link into a folder that is a link, and that one is replaced."""
    write(tmp_path, RULES, "http://127.0.0.1:1")
    content = (tmp_path / "cachegate.yaml").read_text()
    (tmp_path / "cachegate.yaml").unlink()
    (tmp_path / "cachegate.yaml").symlink_to("..data/cachegate.yaml")

    def swap(version: int, text: str) -> None:
        (tmp_path / f"..{version}").mkdir()
        (tmp_path / f"..{version}" / "cachegate.yaml").write_text(text)
        (tmp_path / "..data_tmp").symlink_to(f"..{version}")
        (tmp_path / "..data_tmp").rename(tmp_path / "..data")

    swap(0, content)
    async with Origin() as origin, serving(origin, None, directory=tmp_path) as gateway:
        origin.answer("/a", body=b"x")
        for version in range(1, 4):
            swap(version, json.dumps({"upstream": {"url": origin.url}, "rules": [{"pattern": "*", "ttl": version}]}))
            await gateway.logged("reloaded: changed", version)
            assert (await gateway.get(f"/a?{version}")).body == b"x"
            assert (await gateway.admin("GET", "/config")).json["settings"]["rules"][0]["ttl"] == version
        swap(4, "rules: [")
        await gateway.logged("the old ones go on to hold")
        assert (await gateway.admin("GET", "/config")).json["settings"]["rules"][0]["ttl"] == 3


# -- signals -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("again", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_ends_it_and_what_is_cut_looks_cut(again: signal.Signals) -> None:
    async with Origin() as origin, serving(origin, RULES, "--set", "listen.drain=600") as gateway:
        origin.answer("/held", body=b"never")
        origin.hold("/held")
        async with raw(gateway.port) as client:
            await client.send(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
            await origin.arrived("/held")
            gateway.signal(signal.SIGTERM)
            await gateway.logged("draining")
            gateway.signal(again)
            assert await gateway.ended() == 0
            with pytest.raises((Broken, ConnectionError)):
                await client.response()
        assert "Traceback" not in gateway.log


# -- text that wants to be another line --------------------------------------------------------------------------------

NASTY = [
    "\r\nX: forged",
    "\nforged",
    "\x1b[31mforged",
    "\x00",
    "\x85forged",
    "\u2028forged",
    "\x7f",
    '" verdict="HIT',
    "\u202e",
]


def one_line_each(log: bytes) -> list[bytes]:
    """What is in the log and is no line that we began, or could move a terminal's cursor."""
    lines = log.decode().removesuffix("\n").split("\n")
    begins = re.compile(r'\{"time":"|\{"|time=|\d{4}-\d\d-\d\dT[\d:.]+Z (?:debug|info|warning|error) |cachegate')
    wrong = [line for line in lines if not begins.match(line) or re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029]", line)]
    return [line.encode() for line in wrong]


@pytest.mark.parametrize("form", ["text", "json"])
async def test_nothing_that_is_sent_becomes_a_line_of_its_own(form: str) -> None:
    """In targets, methods, fields and user agents, in the origin's status lines and fields, in purges: at the level
    that tells most, each in a request of its own."""
    flags = ("--log-level", "debug", "--set", f"log.format={form}")
    async with Origin() as origin, serving(origin, RULES, *flags) as gateway:
        for number, text in enumerate(NASTY):
            sent = text.encode()
            for head in (
                b"GET /%b HTTP/1.1\r\nHost: a" % sent,
                b"GET /?%b HTTP/1.1\r\nHost: a" % sent,
                b"GE%bT / HTTP/1.1\r\nHost: a" % sent,
                b"GET / HTTP/1.1\r\nHost: a%b" % sent,
                b"GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: a%b\r\nReferer: b%b" % (sent, sent),
                b"GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: a%b\r\nX-Forwarded-For: %b" % (sent, sent),
                b"GET /%%0d%%0a%%1b%%85 HTTP/1.1\r\nHost: a\r\nCookie: %b" % sent,
                b"GET / HTTP/1.1%b\r\nHost: a" % sent,
            ):
                async with raw(gateway.port) as client:
                    await client.send(head + b"\r\nConnection: close\r\n\r\n")
                    await client.reader.read(-1)
            plain = re.sub("[\r\n\x00]", "", text).encode("latin-1", "replace").decode("latin-1")
            origin.answer(f"/{number}", headers=[("Content-Type", f"a/b{plain}"), ("Cache-Tag", plain)], body=b"x")
            await gateway.get(f"/{number}", {"User-Agent": f"a{plain}"} if plain.isprintable() else {})
            for body in ({"pattern": f"/{text}"}, {"tag": text}, {"url": f"/{text}"}, {text: "x"}):
                await gateway.admin("POST", "/purge", body)
            await gateway.admin("GET", f"/entries?pattern=%0d%0a%1b{number}")
        assert await gateway.stop() == 0
        assert "/%0d%0a%1b%85" in gateway.log
        assert one_line_each(gateway.log.encode()) == []
        if form == "json":
            assert gateway.lines


# -- secrets -----------------------------------------------------------------------------------------------------------

SECRET = "hunter22-hunter22"
PAGES = ("/stats", "/config", "/health", "/ready", "/redis/health", "/redis/ping", "/redis/info", "/rules", "/entries")


@pytest.mark.slow
async def test_no_output_of_a_gateway_shows_a_secret() -> None:
    """One is planted in each place that takes one; nobody answers where Redis should be, which is told a lot about."""
    settings = {
        **RULES,
        "upstream": {"headers": {"x-api-key": SECRET, "authorization": f"Bearer {SECRET}"}},
        "redis": {"connect_timeout": 0.05},
        "listen": {"workers": 2},
        "log": {"redact_query": ["token"]},
    }
    env = {"REDIS_URL": f"redis://user:{SECRET}@127.0.0.1:{free_port()}/0", "ADMIN_TOKEN": SECRET}
    said: list[str] = []
    async with Origin() as origin:
        settings["upstream"]["url"] = origin.url
        async with serving(origin, settings, "--log-level", "debug", env=env) as gateway:
            admin = {"Authorization": f"Bearer {SECRET}"}
            await gateway.get(f"/a?token={SECRET}", {"Authorization": f"Bearer {SECRET}"})
            await gateway.get("/a", {"Cookie": f"session={SECRET}", "Cachegate-Token": SECRET})
            for page in PAGES:
                for headers in (admin, {"Authorization": "Bearer wrong"}, {}):
                    got = await gateway.ask("GET", f"/cache{page}", headers)
                    said += [got.body.decode(), str(got.pairs)]
            assert json.loads((await gateway.ask("GET", "/cache/config", admin)).body)["settings"]["redis"]["url"]
            broken = {**settings, "redis": {"password": SECRET, "prot": 1}}
            gateway.configure(broken)
            got = await gateway.ask("POST", "/cache/reload", admin)
            assert got.status == 422
            said.append(got.body.decode())
            for words in (["stats"], ["purge", "--all", "--yes"]):
                said += (await gateway.command(*words, env=env))[1:]
            for words in (["doctor", "redis"], ["check", "--show"]):
                said += await apart(gateway.directory, words, env)
            said += command_lines(gateway.pid)
            assert await gateway.stop() == 0
            assert "redis" in gateway.log
            said.append(gateway.log)
    assert [text for text in said if SECRET in text] == []


async def apart(directory: Path, words: list[str], env: dict[str, str]) -> list[str]:
    """Output and errors of a command that asks no gateway."""
    _, *said = await program(directory, *words, "--config", "cachegate.yaml", env=env)
    return said


def command_lines(pid: int) -> list[str]:
    """Of the process and its children: everybody on the machine can read them."""
    if not HAS_PROC:
        return []
    found = [Path(f"/proc/{pid}/cmdline").read_text()]
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        found += command_lines(int(child))
    return found


WRONG_STARTS = {
    "userinfo of the upstream": (["--upstream", f"http://user:{SECRET}@127.0.0.1:1"], {}),
    "no scheme": (["--upstream", f"user:{SECRET}@127.0.0.1:1"], {}),
    "userinfo in the environment": ([], {"UPSTREAM_URL": f"http://user:{SECRET}@127.0.0.1"}),
    "a query of the upstream": (["--upstream", f"http://127.0.0.1/?api_key={SECRET}"], {}),
    "a Redis URL": (["--demo", "--redis-url", f"redis://:{SECRET}@[::1"], {}),
    "a Redis URL's port": (["--demo"], {"REDIS_URL": f"redis://:{SECRET}@127.0.0.1:port"}),
    "a Redis URL's scheme": (["--demo"], {"REDIS_URL": f"http://:{SECRET}@127.0.0.1"}),
    "a setting": (["--demo", "--set", f"redis.pasword={SECRET}"], {}),
    "a flag": (["--demo", f"--admin-tokne={SECRET}"], {}),
    "a token": (["--demo"], {"ADMIN_TOKEN": f"{SECRET} {SECRET}"}),
    "a prefixed name": (["--demo"], {"CACHEGATE__REDIS__PASWORD": SECRET}),
}


@pytest.mark.parametrize(("flags", "env"), WRONG_STARTS.values(), ids=list(WRONG_STARTS))
def test_no_start_that_fails_shows_a_secret(flags: list[str], env: dict[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "proxy", "serve", *flags, "--port", "0"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(env), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert SECRET not in done.stdout + done.stderr


# -- a log that nobody reads -------------------------------------------------------------------------------------------


@contextmanager
def written_nowhere(kind: str) -> Iterator[Any]:
    if kind == "a full disk":
        with Path("/dev/full").open("wb") as full:
            yield full
    else:
        yield subprocess.PIPE  # which is never read


@pytest.mark.parametrize("kind", ["a full disk", "a pipe that nobody reads"])
@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
async def test_requests_go_on_when_no_line_can_be_written(tmp_path: Path, kind: str, workers: int) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    port = free_port()
    async with Origin() as origin:
        origin.answer("/a", body=b"x")
        write(tmp_path, {**RULES, "listen": {"port": port, "workers": workers, "drain_delay": 0}}, origin.url)
        command = [sys.executable, "-m", "proxy", "serve", "--config", "cachegate.yaml", "--log-level", "debug"]
        with written_nowhere(kind) as nowhere:
            env = environment({"ADMIN_TOKEN": TOKEN})
            process = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=nowhere, stderr=nowhere)
        try:
            await asyncio.to_thread(wait_until_ready, process, port, tmp_path / "cachegate.yaml")
            async with session() as asking:
                for _ in range(20):  # 400 lines and more, where a pipe takes 100
                    assert set(await asyncio.gather(*(status(asking, port) for _ in range(20)))) == {200}
            process.terminate()
            assert await asyncio.to_thread(process.wait, 30) == 0
        finally:
            process.kill()
            process.wait()
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()


async def status(asking: Any, port: int) -> int:
    async with asking.get(f"http://127.0.0.1:{port}/a?{'x' * 500}") as got:
        await got.read()
        return int(got.status)
