"""deploy/systemd: systemd takes the unit, the gateway takes what the unit gives it, and does without what is denied."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.cli import program
from proxy.settings.load import load
from proxy.settings.sources import PREFIX
from proxy.settings.spellings import ENVIRONMENT
from tests.support.gateway import TOKEN
from tests.support.origin import Origin
from tests.support.process import REPOSITORY, children, environment, launched

PLACE = REPOSITORY / "deploy" / "systemd"
UNIT = (PLACE / "cachegate.service").read_text()
COMMAND = "/opt/cachegate/bin/cachegate"
needs_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd on this machine")
needs_strace = pytest.mark.skipif(not shutil.which("strace"), reason="there is no strace on this machine")
_SET_MDWE, _NO_EXEC_GAIN = 65, 1  # prctl(2): PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN; Linux 6.3


def said(name: str) -> list[str]:
    """What the unit says to this, each time that it does."""
    return re.findall(rf"^{name}=(.*)$", UNIT, re.MULTILINE)


def analyzed(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *words], capture_output=True, text=True, timeout=60, check=False)


# -- what systemd says of it -------------------------------------------------------------------------------------------


@needs_systemd
def test_systemd_knows_every_word_of_the_unit(tmp_path: Path) -> None:
    here = tmp_path / "cachegate.service"
    here.write_text(UNIT.replace(COMMAND, sys.executable))  # it wants a program that is there
    done = analyzed("verify", "--man=no", here)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_systemd
def test_little_is_left_to_whoever_breaks_in() -> None:
    """The exposure that systemd makes out, 0 to 10: of what counts, the network is what a gateway is for."""
    done = analyzed("security", "--offline=true", "--no-pager", "--threshold=15", PLACE / "cachegate.service")
    assert done.returncode == 0, done.stdout


@pytest.mark.skipif(not shutil.which("systemd-sysusers"), reason="there is no systemd-sysusers on this machine")
@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files to others")
def test_its_user_and_its_directory_are_made(tmp_path: Path) -> None:
    (tmp_path / "etc" / "cachegate").mkdir(parents=True)
    (tmp_path / "etc" / "cachegate" / "cachegate.yaml").write_text("{}")
    for program_name, file in (("systemd-sysusers", "sysusers"), ("systemd-tmpfiles", "tmpfiles")):
        words = [program_name, f"--root={tmp_path}", *(["--create"] if file == "tmpfiles" else [])]
        done = subprocess.run([*words, PLACE / f"cachegate.{file}"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    users = (tmp_path / "etc" / "passwd").read_text()
    (user,) = re.findall(r"^cachegate:x:(\d+):(\d+):.*:/usr/sbin/nologin$", users, re.MULTILINE)
    made = {path.name: path for path in (tmp_path / "etc" / "cachegate").iterdir()}
    assert made.keys() == {"environment", "cachegate.yaml"}
    for path, mode in ((tmp_path / "etc" / "cachegate", 0o750), *((path, 0o640) for path in made.values())):
        found = path.stat()
        assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (0, int(user[1]), mode)


# -- what the gateway says to it ---------------------------------------------------------------------------------------


def test_the_settings_know_what_the_unit_sets(tmp_path: Path) -> None:
    given = dict(pair.split("=", 1) for pair in said("Environment"))
    assert [name for name in given if name not in ENVIRONMENT and not name.startswith(PREFIX)] == []
    settings = load(config=None, flags={}, sets=(), environ=given, cwd=tmp_path, require_upstream=False).settings
    assert str(settings.file.dir) == f"/var/cache/{said('CacheDirectory')[0]}"
    assert str(settings.admin.token_file.parent) == f"/var/lib/{said('StateDirectory')[0]}"
    assert float(said("TimeoutStopSec")[0]) > settings.listen.drain + settings.listen.drain_delay + 5


@pytest.mark.parametrize("line", [*said("ExecStartPre"), *said("ExecStart")])
def test_its_commands_are_commands_of_the_gateway(line: str) -> None:
    path, *words = line.split()
    assert path == COMMAND
    with program.make_context("cachegate", words) as ctx:
        name, command, rest = program.resolve_command(ctx, [*ctx._protected_args, *ctx.args])
        assert command is not None
        command.make_context(name, rest, parent=ctx).close()


async def test_a_wrong_setting_ends_in_the_way_that_is_not_tried_again(tmp_path: Path) -> None:
    (tmp_path / "cachegate.yaml").write_text("colour: red\n")
    words = [sys.executable, "-m", "proxy", "check", "cachegate.yaml"]
    done = subprocess.run(words, cwd=tmp_path, env=environment({}), capture_output=True, timeout=60, check=False)
    assert [str(done.returncode)] == said("RestartPreventExitStatus")


# -- what is denied ----------------------------------------------------------------------------------------------------


def allowed() -> set[str]:
    """The system calls that the unit's filter lets through."""
    kept: set[str] = set()
    for line in said("SystemCallFilter"):
        named = set(members(line.lstrip("~").split()))
        kept = kept - named if line.startswith("~") else kept | named
    return kept


def members(names: list[str]) -> Iterator[str]:
    done = analyzed("syscall-filter", "--no-pager", *names)
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        if word := re.fullmatch(r"    (@?[\w-]+)", line):
            yield from members([word[1]]) if word[1].startswith("@") else [word[1]]


@needs_systemd
@needs_strace
@pytest.mark.slow
async def test_it_asks_for_no_system_call_that_is_denied(tmp_path: Path) -> None:
    """All that the gateway and its workers ask the kernel for, from start to end."""
    traced = tmp_path / "calls"
    traced.mkdir()
    async with Origin() as origin:
        origin.answer("/a", headers=[("Cache-Control", "max-age=60")], body=b"x" * 100_000)
        words = (sys.executable, "-m", "proxy", "serve", "--upstream", origin.url, "--port", "0", "--workers", "2")
        strace = ("strace", "-ff", "-qq", "-o", str(traced / "of"))
        async with launched(tmp_path, *strace, *words, env=environment({"ADMIN_TOKEN": TOKEN})) as gateway:
            assert await gateway.verdicts("/a", "/a") == ["MISS", "HIT"]
            assert (await gateway.admin("POST", "/purge", {"all": True})).status == 200
            os.kill(children(gateway.pid)[0], signal.SIGTERM)
            assert await gateway.ended() == 0
    lines = [line for file in traced.iterdir() for line in file.read_text(errors="replace").splitlines()]
    asked = {found[1] for line in lines if (found := re.match(r"(\w+)\(", line))}
    assert "openat" in asked
    assert asked - allowed() == set()


def confinable() -> bool:
    """Whether this kernel can be asked to; tried in a process of its own."""
    script = f"import ctypes; raise SystemExit(ctypes.CDLL(None).prctl({_SET_MDWE}, {_NO_EXEC_GAIN}, 0, 0, 0) != 0)"
    return sys.platform == "linux" and subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.skipif(not confinable(), reason="needs Linux 6.3")
async def test_it_needs_no_memory_that_is_written_and_run(tmp_path: Path) -> None:
    script = (
        f"import ctypes, os, sys; os.umask(0o077); ctypes.CDLL(None).prctl({_SET_MDWE}, {_NO_EXEC_GAIN}, 0, 0, 0);"
        " os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    )
    async with Origin() as origin:
        origin.answer("/a", headers=[("Cache-Control", "max-age=60")], body=b"yes")
        words = ("-m", "proxy", "serve", "--upstream", origin.url, "--port", "0")
        env = environment({"ADMIN_TOKEN": TOKEN, "CACHEGATE__LISTEN__DRAIN_DELAY": "0"})
        async with launched(tmp_path, sys.executable, "-c", script, *words, env=env) as gateway:
            assert await gateway.verdicts("/a", "/a") == ["MISS", "HIT"]
            assert await gateway.stop() == 0
