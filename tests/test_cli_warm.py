"""`cachegate warm` against a gateway that runs: every source, what it tells, and its exit code (rows 60, 83)."""

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from proxy.cli import main
from tests.support.gateway import HOST, TOKEN
from tests.support.origin import Origin
from tests.support.process import PATIENCE, REPOSITORY, Process, environment, serving

SETTINGS: dict[str, Any] = {"rules": [{"name": "all", "pattern": "*", "ttl": 600}], "warm": {"rate": 0}}
SITE = ("--site", HOST)
PATHS = tuple(f"/page/{n}?q={n}" for n in range(5))


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    async with Origin() as started:
        started.otherwise([], lambda request: request.target.encode())
        yield started


def url(path: str) -> str:
    return f"http://{HOST}{path}"


async def warm(gateway: Process, *words: str) -> tuple[int, str, str]:
    return await gateway.command("warm", *words)


def report(stored: int, fresh: int = 0, failed: int = 0) -> str:
    return f"{stored:,} stored, {fresh:,} fresh already, {failed:,} failed"


def written(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


async def test_urls_and_then_they_are_fresh(origin: Origin) -> None:
    async with serving(origin, SETTINGS) as gateway:
        code, out, err = await warm(gateway, *PATHS, *SITE)
        assert (code, err) == (0, "")
        assert out.startswith("warmed 5 URLs in ")
        assert report(5) in out
        assert await gateway.verdicts(*PATHS) == ["HIT"] * 5
        code, out, _ = await warm(gateway, *map(url, PATHS), "--json")
        job = json.loads(out)
        assert code == 0
        assert {name: job[name] for name in ("state", "ended", "total", "done", "ok", "failed", "skipped")} == {
            "state": "done", "ended": "complete", "total": 5, "done": 5, "ok": 0, "failed": 0, "skipped": 5,
        }  # fmt: skip
        assert origin.count() == 5


async def test_every_other_source(origin: Origin, tmp_path: Path) -> None:
    line = '10.0.0.9 - - [10/Oct/2024:13:55:{:02} +0000] "{} {} HTTP/1.1" {} 5\n'
    log = [line.format(n, "GET", f"/log/{n % 3}", 200) for n in range(9)]
    log += [line.format(10, "POST", "/log/post", 200), line.format(11, "GET", "/log/none", 404), "nonsense\n"]
    sitemap = "<urlset><url><loc>{}</loc></url><url><loc>https://other.example/x</loc></url></urlset>"
    origin.answer("/sitemap.xml", body=sitemap.format(url("/mapped")).encode())
    listed = written(tmp_path / "urls", f"# pages\n{url('/a')}\n\n/b\n{url('/a')}\n")
    sources = [
        (("--urls", listed), 2, ["/a", "/b"], ""),
        (("--from-log", written(tmp_path / "access.log", "".join(log))), 3, ["/log/0", "/log/1", "/log/2"], ":12:"),
        (("--sitemap", written(tmp_path / "map.xml", sitemap.format(url("/filed")))), 1, ["/filed"], "other sites: 1"),
        (("--sitemap", "/sitemap.xml"), 1, ["/mapped"], "other sites: 1"),
    ]
    async with serving(origin, SETTINGS) as gateway:
        for words, number, paths, said in sources:
            code, out, err = await warm(gateway, *words, *SITE)
            assert (code, report(number) in out, said in err) == (0, True, True), (words, out, err)
            assert await gateway.verdicts(*paths) == ["HIT"] * len(paths)
        assert origin.count("/log/post") == origin.count("/log/none") == 0


async def test_clear_a_pattern_and_warm_it_as_documented(origin: Origin) -> None:
    """What was asked for comes back, whether it was purged or cleared; bare it is the hottest."""
    async with serving(origin, SETTINGS) as gateway:
        await gateway.verdicts("/api/a", "/api/b", "/api/b", "/else")
        assert (await gateway.command("clear", "--pattern", "/api/*", "--yes"))[0] == 0
        code, out, _ = await warm(gateway, "--pattern", "/api/*")
        assert (code, report(2) in out) == (0, True)
        assert await gateway.verdicts("/api/a", "/api/b") == ["HIT", "HIT"]
        await gateway.command("purge", "--all", "--yes")
        code, out, _ = await warm(gateway)
        assert (code, report(3) in out) == (0, True), out
        code, out, _ = await warm(gateway, "--top", "1")
        assert (code, report(0, 1) in out) == (0, True), out


async def test_headers_and_a_scheme(origin: Origin) -> None:
    rules = [{"name": "all", "pattern": "*", "ttl": 600, "key": {"headers": ["x-tenant"]}}]
    async with serving(origin, {**SETTINGS, "rules": rules}) as gateway:
        words = (f"https://{HOST}/a", "-H", "X-Tenant: one", "--scheme", "http")
        assert (await warm(gateway, *words))[0] == 0
        got = [(await gateway.get("/a", {"X-Tenant": name})).verdict for name in ("one", "two")]
        assert got == ["HIT", "MISS"]


async def test_what_fails_is_named_and_the_exit_code_says_so(origin: Origin) -> None:
    origin.answer("/mine", headers=[("Cache-Control", "private")], body=b"x")
    async with serving(origin, SETTINGS) as gateway:
        code, out, _ = await warm(gateway, "/good", "/mine", *SITE)
        assert code == 1
        assert report(1, 0, 1) in out
        assert f"  {url('/mine')}: private (status 200)" in out


@pytest.mark.slow
async def test_more_than_one_job_takes(origin: Origin, tmp_path: Path) -> None:
    many = written(tmp_path / "many", "\n".join(f"/{n}" for n in range(1010)))
    async with serving(origin, SETTINGS) as gateway:
        code, out, _ = await warm(gateway, "--urls", many, *SITE, "--json")
        assert (code, [json.loads(line)["ok"] for line in out.splitlines()]) == (0, [1000, 10])


@asynccontextmanager
async def warming(url: str, *words: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The command while it runs."""
    made = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "proxy", "warm", *words, "--url", url),
        env=environment({"ADMIN_TOKEN": TOKEN}), cwd=REPOSITORY, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield made
    finally:
        if made.returncode is None:
            made.kill()
            await made.wait()


async def stopped(made: asyncio.subprocess.Process) -> bool:
    async with asyncio.timeout(PATIENCE):
        said = (await made.communicate())[1].decode().strip()
    return (made.returncode, said) == (1, "stopped")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_who_stops_the_command_stops_the_job(origin: Origin, number: signal.Signals) -> None:
    gate = origin.hold("/0")
    async with serving(origin, {**SETTINGS, "warm": {"concurrency": 1, "rate": 0}}) as gateway:
        async with warming(gateway.url, *(f"/{n}" for n in range(50)), *SITE) as made:
            await origin.arrived("/0")
            made.send_signal(number)
            assert await stopped(made)
        gate.release()
        async with asyncio.timeout(PATIENCE):
            while (job := (await gateway.admin("GET", "/warm")).json["jobs"][0])["state"] != "done":
                await asyncio.sleep(0.01)
        assert (job["ended"], job["ok"], origin.count()) == ("cancelled", 1, 1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_job_is_stopped_also_before_it_is_known(number: signal.Signals) -> None:
    """The gateway has begun it, and its answer, which tells the id, is on its way."""
    async with Origin() as late:
        job = {"id": "w7", "state": "running", "done": 0, "total": 1}
        late.answer("/cache/warm", 202, [("Content-Type", "application/json")], json.dumps(job).encode())
        late.answer("/cache/warm/w7", 200, [("Content-Type", "application/json")], b"{}")
        gate = late.hold("/cache/warm")
        async with warming(late.url, "/a") as made:
            await late.arrived("/cache/warm")
            made.send_signal(number)
            await heard(made.pid, number)
            gate.release()
            assert await stopped(made)
        assert [(each.method, each.path) for each in late.requests] == [
            ("POST", "/cache/warm"),
            ("DELETE", "/cache/warm/w7"),
        ]


async def test_a_second_ctrl_c_waits_for_nobody() -> None:
    async with Origin() as silent:
        silent.hold("/cache/warm")
        async with warming(silent.url, "/a") as made:
            await silent.arrived("/cache/warm")
            made.send_signal(signal.SIGINT)
            await heard(made.pid, signal.SIGINT)
            made.send_signal(signal.SIGINT)
            assert await stopped(made)
        assert [each.method for each in silent.requests] == ["POST"]


async def heard(pid: int, number: signal.Signals) -> None:
    """Wait until the process has taken a signal."""
    status = Path(f"/proc/{pid}/status")
    async with asyncio.timeout(PATIENCE):
        while any(
            int(line.split()[1], 16) >> (number - 1) & 1
            for line in status.read_text().splitlines()
            if line.startswith(("SigPnd", "ShdPnd"))
        ):
            await asyncio.sleep(0.01)


async def test_on_a_terminal_a_bar_shows_how_far_it_is(origin: Origin) -> None:
    async with serving(origin, SETTINGS) as gateway:
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "proxy", "warm", *PATHS, *SITE, "--url", gateway.url]
        made = subprocess.Popen(
            command, cwd=gateway.directory, env=environment({"ADMIN_TOKEN": TOKEN, "TERM": "xterm"}), stderr=theirs,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(theirs)
        assert await asyncio.to_thread(made.wait, PATIENCE) == 0
        shown = os.read(ours, 65536).decode()
        os.close(ours)
        assert "warming" in shown
        assert "100%" in shown


async def test_a_wrong_token_and_too_many(origin: Origin) -> None:
    async with serving(origin, {**SETTINGS, "warm": {"max_urls": 3}}) as gateway:
        code, _, err = await warm(gateway, "/a", "--token", "not-the-token")
        assert (code, "the token is wrong" in err) == (2, True)
        code, _, err = await warm(gateway, *PATHS)
        assert (code, "at most 3 in one job (warm.max_urls), 5 were given" in err) == (2, True)
        assert origin.count() == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("/a", "--top", "3"), "in one way, not by URL and --top"),
        (("--top", "3", "-H", "A: b"), "--top asks as clients did"),
        (("--top", "0"), "0 is not in the range"),
        (("--urls", "nowhere"), "nowhere: No such file"),
        (("--urls", "no\x1b[31mwhere\u202e"), "no\ufffd[31mwhere\ufffd: No such file"),
        (("--from-log", "no\x1bwhere"), "no\ufffdwhere: No such file"),
        (("--sitemap", "no\x1bwhere.xml"), "no\ufffdwhere.xml: No such file"),
        (("--from-log", "nowhere"), "nowhere: No such file"),
        (("--sitemap", "nowhere.xml"), "nowhere.xml: No such file"),
        (("--urls", "/dev/null"), "--urls: there is no URL in it"),
        (("/a", "-H", "nonsense"), "'nonsense' is no header"),
    ],
)
def test_usage_that_cannot_be(words: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["warm", *words]) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("a.example/x", "wanted an absolute http(s) URL, or a path that begins with '/', found 'a.example/x'"),
        ("http://u:p@a/", "and no user, found 'http://***@a/'"),
        ("/a\x1b", "without control characters, found '/a\\x1b'"),
        ("/" + "a" * 8000, "it is too long"),
    ],
)
def test_a_line_that_is_no_url_is_named_before_anything_is_sent(
    line: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path / "urls", f"# those\n/a\n\n{line}\n")
    assert main(["warm", "--urls", file, "--url", "http://127.0.0.1:1"]) == 2
    err = capsys.readouterr().err
    assert f"{file}:4: url: " in err
    assert says in err


async def test_nobody_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert await asyncio.to_thread(main, ["warm", "/a", "--url", "http://127.0.0.1:1"]) == 1
    assert "no gateway answers at http://127.0.0.1:1" in capsys.readouterr().err
