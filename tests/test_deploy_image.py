"""The image: its recipe, the gateway as the first process of a container, and, where there is buildah, the image,
built and run as nobody special from files that it cannot write to (rows 111, 116)."""

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.programs import free_port
from proxy.version import VERSION
from tests.support.gateway import TOKEN
from tests.support.image import (
    DOCKERFILE,
    FINAL,
    SPACES,
    base_image,
    container_environment,
    execute,
    instructions,
    locked_down,
    missing,
    told,
    wheelhouse,
)
from tests.support.origin import Origin
from tests.support.process import PATIENCE, REPOSITORY, children, environment, launched

MADE = "localhost/cachegate-tried"
apart = pytest.mark.skipif(
    not shutil.which("unshare") or subprocess.run([*SPACES, "true"], capture_output=True, check=False).returncode != 0,
    reason="needs namespaces: Linux, root, util-linux",
)


# -- the recipe --------------------------------------------------------------------------------------------------------


def test_the_image_runs_as_nobody_special_and_holds_no_tools() -> None:
    assert instructions("ARG")[0] == "BASE=python:3.12-slim"
    assert [line.split()[0] for line in instructions("FROM")] == ["${BASE}", "${BASE}"]
    assert instructions("USER", FINAL) == ["10001:10001"]  # by number: Kubernetes looks at it
    assert instructions("COPY", FINAL) == ["--from=build /opt/cachegate /opt/cachegate"]
    assert "apt-get" not in DOCKERFILE
    assert [json.loads(line) for line in instructions("ENTRYPOINT", FINAL)] == [["cachegate"]]
    assert instructions("STOPSIGNAL", FINAL) == ["SIGTERM"]


def test_the_image_installs_what_the_lock_says() -> None:
    installs = [
        step for line in instructions("RUN") for step in line.split("&&") if re.search(r"\bpip\b.*\binstall ", step)
    ]
    assert len(installs) == 2
    assert [step for step in installs if "--require-hashes" not in step and "--no-deps --no-index" not in step] == []


def test_what_is_copied_is_let_through_and_nothing_else_is() -> None:
    copied = {word for line in instructions("COPY") if "--from" not in line for word in line.split()[:-1]}
    let_through = re.findall(r"^!(.*)$", (REPOSITORY / ".dockerignore").read_text(), re.MULTILINE)
    assert copied == set(let_through)
    assert all((REPOSITORY / name).exists() for name in copied)


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    if not hadolint.exists():
        pytest.skip("hadolint is not installed: `make .venv/.deploy`")
    done = subprocess.run([hadolint, "Dockerfile"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


# -- the first process of a container ----------------------------------------------------------------------------------


@apart
@pytest.mark.slow
async def test_as_first_process_it_minds_signals_and_buries_its_workers(tmp_path: Path) -> None:
    """The kernel keeps from a first process every signal that it has not asked for, and gives it all orphans."""
    async with Origin() as origin:
        origin.answer("/a", body=b"yes")
        words = ("-m", "proxy", "serve", "--upstream", origin.url, "--port", "0", "--workers", "2")
        env = environment({"ADMIN_TOKEN": TOKEN, "CACHEGATE__LISTEN__DRAIN_DELAY": "0"})
        async with launched(tmp_path, *SPACES, "--mount-proc", sys.executable, *words, env=env) as gateway:
            (first,) = children(gateway.pid)
            workers = children(first)
            assert len(workers) == 2
            os.kill(workers[0], signal.SIGKILL)
            async with asyncio.timeout(PATIENCE):
                while len(children(first)) != 2 or workers[0] in children(first):
                    await asyncio.sleep(0.02)
            assert (await gateway.get("/a")).status == 200
            os.kill(first, signal.SIGTERM)
            assert await gateway.ended() == 0


# -- the image itself --------------------------------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """Where the files of an image lie that was built just now, out of this tree."""
    if lacking := missing("buildah", "debootstrap"):
        pytest.skip(f"not installed: {', '.join(lacking)}")
    if os.getuid() != 0:
        pytest.skip("wants root, to build without a daemon")
    told(*make_image(base_image(), wheelhouse(tmp_path)))
    container = told("buildah", "from", MADE)
    yield Path(told("buildah", "mount", container))
    told("buildah", "rm", container)
    told("buildah", "rmi", "--force", MADE, f"{MADE}:{VERSION}")


def make_image(base: str, wheels: Path) -> list[str]:
    given = f"--volume {wheels}:/wheels:ro --build-arg PIP_NO_INDEX=1 --build-arg PIP_FIND_LINKS=/wheels"
    return ["make", "image", f"BASE={base}", f"NAME={MADE}", f"ARGS={given}"]


@apart
@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_the_image_answers_from_files_that_nobody_can_write_to(root: Path, tmp_path: Path) -> None:
    inspected = json.loads(told("buildah", "inspect", "--type", "image", MADE))["Docker"]["config"]
    labels = {name.rpartition(".")[2]: value for name, value in inspected["Labels"].items()}
    assert (labels["version"], len(labels["revision"])) == (VERSION, 40)
    assert (inspected["User"], inspected["StopSignal"]) == ("10001:10001", "SIGTERM")
    assert inspected["Healthcheck"]["Test"] == ["CMD", "cachegate", "health", "--live"]
    assert list(root.glob("opt/cachegate/lib/python*/site-packages/pip*")) == []

    cache = tmp_path / "cache"
    cache.mkdir()
    os.chown(cache, 0, 10001)
    cache.chmod(0o2777)  # as the kubelet hands over a volume with an fsGroup
    tmp_path.chmod(0o755)
    env = container_environment(PORT=str(free_port()), CACHEGATE__LISTEN__DRAIN_DELAY="0")
    command = locked_down(root, cache, "cachegate", "serve", "--demo")
    async with launched(tmp_path, *command, env=env) as gateway:
        assert await gateway.verdicts("/users/7", "/users/7") == ["MISS", "HIT"]
        (first,) = children(gateway.pid)
        status = Path(f"/proc/{first}/status").read_text()
        assert re.search(r"^Uid:\s+10001\s+10001\s+10001\s+10001$", status, re.MULTILINE)
        assert re.search(r"^NSpid:\s+\d+\s+1$", status, re.MULTILINE)
        assert set(re.findall(r"^Cap\w+:\s+(\w+)$", status, re.MULTILINE)) == {"0" * 16}
        health = json.loads(instructions("HEALTHCHECK", FINAL)[0].partition("CMD ")[2])
        assert execute(first, *health, env=env).returncode == 0
        assert execute(first, "cachegate", "stats", env=env).returncode == 0  # it finds the token that was made
        assert "Read-only" in execute(first, "python", "-c", "open('/app/x', 'w')", env=env).stderr
        assert execute(first, "python", "-m", "pip", "--version", env=env).returncode != 0
        os.kill(first, signal.SIGTERM)
        assert await gateway.ended() == 0
    assert "draining" in (tmp_path / "gateway.log").read_text()
    assert {path.stat().st_uid for path in cache.iterdir()} == {10001}
