"""deploy/systemd for real: a Debian whose first process is systemd, the gateway installed in it by the lines of
docs/deploying.md, started, asked, reloaded, killed and stopped."""

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.booted import Machine, booted, debian
from tests.support.image import wheelhouse
from tests.support.origin import Origin
from tests.support.pages import ROOT, Block, blocks, typed
from tests.support.programs import free_port

WHERE = "/srv/cachegate"  # the reader's working directory in there
LINES = [block for block in blocks(ROOT / "docs" / "deploying.md") if block.section == "systemd"]
CONFIG = "/etc/cachegate/cachegate.yaml"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A fresh one, with the repository's files, a wheel in dist/ and all wheels of the lock: it asks no index."""
    place = tmp_path_factory.mktemp("machine")
    root = debian(place / "root")
    here = root / WHERE.lstrip("/")
    for name in ("config", "deploy", "requirements.lock"):
        copied = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        here.mkdir(parents=True, exist_ok=True)
        copied(ROOT / name, here / name)
    shutil.move(wheelhouse(place), here / "wheels")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-index", "--no-build-isolation", "-q"]
    subprocess.run([*command, "-w", here / "dist", _source(place)], check=True, timeout=120)
    (root / "etc" / "pip.conf").write_text(f"[global]\nno-index = true\nfind-links = {WHERE}/wheels\n")
    sudo = root / "usr" / "local" / "bin" / "sudo"
    sudo.write_text('#!/bin/sh\nexec env "$@"\n')
    sudo.chmod(0o755)
    try:
        with booted(root) as up:
            yield up
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _source(place: Path) -> Path:
    """A copy of what is packed: builders leave things beside it."""
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (place / "source").mkdir(exist_ok=True)
        shutil.copy(ROOT / name, place / "source")
    shutil.copytree(ROOT / "proxy", place / "source" / "proxy", ignore=shutil.ignore_patterns("__pycache__"))
    return place / "source"


def script(block: Block, port: int) -> str:
    """The lines of the page, where its API is at this port and nobody follows the journal for ever."""
    lines = [line.line.replace(":8080", f":{port}").replace(" -f", " --no-pager") for line in typed(block)]
    return "\n".join([f"cd {WHERE}", *lines])


def shown(machine: Machine, *names: str) -> list[str]:
    """What systemd says of the gateway."""
    return [machine.run(f"systemctl show cachegate --value -p {name}").strip() for name in names]


def journal(machine: Machine) -> str:
    return machine.run("journalctl -u cachegate --no-pager -o cat")


async def test_it_is_installed_started_asked_reloaded_killed_and_stopped(machine: Machine) -> None:
    install, look, ask = LINES
    port = free_port()

    def verdict() -> str:
        said = machine.run(f"curl -sSi --max-time 20 http://127.0.0.1:{port}/a")
        return next(line.split(": ")[1] for line in said.splitlines() if line.startswith("X-Cache: "))

    def listens(times: int) -> None:
        machine.until(f"[ $(journalctl -u cachegate --no-pager | grep -c 'cachegate listens on') = {times} ]")

    async with Origin() as origin:
        origin.answer("/a", headers=[("Cache-Control", "max-age=600")], body=b"yes")
        machine.run("mkdir -p /etc/cachegate")
        (machine.root / "etc/cachegate/environment").write_text(f"PORT={port}\nCACHEGATE__LISTEN__DRAIN_DELAY=0\n")

        machine.run(script(install, origin.port))
        listens(1)
        assert [await _apart(verdict) for _ in range(2)] == ["MISS", "HIT"]
        assert shown(machine, "ActiveState", "UnitFileState", "User") == ["active", "enabled", "cachegate"]
        assert "active (running)" in machine.run(script(look, origin.port))
        listens(2)
        assert await _apart(verdict) == "HIT"  # it was started again, and has kept what it had
        assert "purged tag user:7" in machine.run(script(ask, origin.port).replace(":4000", f":{port}"))

        # It has no right at all, is nobody that counts, and keeps its things to itself.
        (pid,) = shown(machine, "MainPID")
        status = dict(
            line.split(":\t", 1) for line in machine.run(f"cat /proc/{pid}/status").splitlines() if ":\t" in line
        )
        assert {name: int(status[f"Cap{name}"], 16) for name in ("Eff", "Prm", "Bnd", "Amb")} == dict.fromkeys(
            ("Eff", "Prm", "Bnd", "Amb"), 0
        )
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
        assert (
            machine.run("stat -c '%a %U' /var/cache/cachegate /var/lib/cachegate").split() == ["700", "cachegate"] * 2
        )

        # What is wrong changes nothing; what is right is taken, by reload, and by itself.
        machine.run(f"echo 'colour: red' > {CONFIG}; systemctl reload cachegate")
        machine.until("journalctl -u cachegate --no-pager | grep -q 'colour: unknown key'")
        assert await _apart(verdict) == "HIT"
        machine.run(f'echo \'rules: [{{pattern: "/a", mode: "off"}}]\' > {CONFIG}; systemctl reload cachegate')
        machine.until("journalctl -u cachegate --no-pager | grep -q 'reloaded: changed rules'")
        assert await _apart(verdict) == "BYPASS"
        machine.run(f"echo '{{}}' > {CONFIG}.new; mv {CONFIG}.new {CONFIG}")
        machine.until("[ $(journalctl -u cachegate --no-pager | grep -c 'reloaded: changed rules') = 2 ]")

        # Killed, it comes again by itself, with what it had; stopped, it ends well.
        machine.run(f"kill -9 {pid}")
        listens(3)
        assert await _apart(verdict) == "HIT"
        assert shown(machine, "NRestarts") == ["1"]
        machine.run("systemctl stop cachegate")
        assert shown(machine, "ActiveState", "Result", "ExecMainStatus") == ["inactive", "success", "0"]
        assert "draining" in journal(machine)
        assert origin.count("/a") == 2

        # What is wrong from the start is said once, and not tried again.
        machine.run(f"echo 'colour: red' > {CONFIG}; systemctl start cachegate")
        machine.until("[ $(systemctl show cachegate --value -p ActiveState) = failed ]")
        machine.run("sleep 3")  # past RestartSec
        assert shown(machine, "ActiveState", "NRestarts", "ExecMainStatus") == ["failed", "0", "2"]
        machine.run(typed(look)[0].line, code=2)  # `check && restart`: told, and left as it is
        machine.run(f"echo '{{}}' > {CONFIG}; echo REDIS_PORT=many >> /etc/cachegate/environment")
        assert "REDIS_PORT" in machine.run(typed(look)[0].line, code=2)  # the variables are looked at too


async def _apart(ask: Callable[[], str]) -> str:
    """In a thread: the origin answers in this one."""
    return await asyncio.to_thread(ask)
