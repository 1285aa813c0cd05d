"""A Docker of the tests' own: a daemon in a network, a tree of processes and a directory of its own, so that it touches
no port, name or rule of the machine, and nothing outlives it. It reaches no registry: images are made of Debian's
packages, under the names that are asked for.

with docker() as engine:
    engine.load()                            # the images that docker-compose.yml and deploy/compose name
    engine.type("docker run --rm redis:7-alpine redis-server --version")
    engine.type("curl -i http://127.0.0.1:4000/")      # in the network of the daemon, where ports are published
"""

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from tempfile import mkdtemp
from time import monotonic, sleep
from typing import Any

import pytest

from tests.support.image import alone, base_image, missing, told, wheelhouse
from tests.support.process import REPOSITORY, children

STAND_INS = REPOSITORY / "tests" / "support" / "standins"
NEEDED = ("dockerd", "docker", "curl", "buildah", "debootstrap", "unshare", "nsenter", "ip", "iptables")
PATIENCE = 60.0  # seconds that the daemon has to begin, and what is waited for to come about
# What `docker-compose.yml` and what is laid over it ask a registry for, and the stage of the stand-ins that it is here.
IMAGES = {
    "python:3.12-slim": "python",
    "redis:7-alpine": "redis",
    "prom/prometheus:v3.5.0": "prometheus",
    "grafana/grafana:12.1.0": "grafana",
}
_OWN = (
    "setpriv",
    "--pdeathsig",
    "KILL",
    "unshare",
    "--net",
    "--mount",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount-proc",
)
_DAEMON = """
ip link set lo up
dockerd "$@" & wait "$!"
"""  # not by exec: the first process buries what containers leave behind
_SERVERS = (
    "apt-get update -qq && apt-get install -qq -y --no-install-recommends redis-server redis-tools prometheus busybox"
    " && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /usr/share/doc/* /usr/share/man/* /usr/share/locale/*"
    " /etc/redis /etc/prometheus"
)
SERVERS = f"localhost/cachegate-servers:{sha256(_SERVERS.encode()).hexdigest()[:12]}"  # another recipe, another image


class Docker:
    """A daemon that runs; `place` is a directory that goes with it."""

    def __init__(self, place: Path, pid: int) -> None:
        self.place = place
        self._pid = pid
        (place / "config").mkdir()
        (place / "config" / "config.json").write_text("{}")
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("DOCKER", "COMPOSE", "PIP_"))},
            "DOCKER_HOST": f"unix://{place}/d.sock",
            "DOCKER_CONFIG": str(place / "config"),
        }

    def type(
        self, line: str, *, cwd: Path | None = None, env: Mapping[str, str] | None = None, code: int | None = 0
    ) -> str:
        """What a line of shell prints, both ways; AssertionError where its exit code is another. None: any will do."""
        done = subprocess.run(
            self.words("bash", "-o", "pipefail", "-c", line),
            cwd=cwd or self.place,
            env={**self._environment, **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        assert code is None or done.returncode == code, f"{line}\nexit {done.returncode}\n{done.stdout}"
        return done.stdout

    def words(self, *command: str) -> list[str]:
        """The command as one that is run in the daemon's network."""
        return ["nsenter", "--net", "--target", str(self._pid), *command]

    def until(self, line: str, said: str, *, cwd: Path | None = None) -> str:
        """Type the line until it prints what `said` finds; AssertionError after PATIENCE."""
        deadline = monotonic() + PATIENCE
        while not re.search(said, told := self.type(line, cwd=cwd, code=None)):
            assert monotonic() < deadline, f"{line}\nnever said {said!r}, but\n{told}"
            sleep(0.2)
        return told

    def inspect(self, container: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = json.loads(self.type(f"docker inspect {container}"))
        return found[0]

    def load(self) -> None:
        """The images of `IMAGES`, of which the one of Python brings the wheels that the lock names."""
        for name, image in (("base", base_image()), ("servers", _servers())):
            archive = self.place / f"{name}.tar"
            told("buildah", "push", "--quiet", image, f"docker-archive:{archive}:stand-in/{name}:latest")
            self.type(f"docker load --quiet --input {archive}")
            archive.unlink()
        context = self.place / "standins"
        shutil.copytree(STAND_INS, context)
        wheelhouse(context)
        for image, stage in IMAGES.items():
            self.type(
                f"docker build --quiet --target {stage} --tag {image} .", cwd=context, env={"DOCKER_BUILDKIT": "0"}
            )

    def forget(self) -> None:
        """All containers, networks and volumes."""
        self.type("docker ps --all --quiet | xargs --no-run-if-empty docker rm --force --volumes", code=None)
        self.type("docker network prune --force && docker volume prune --force", code=None)


def _servers() -> str:
    """Debian with Redis, Prometheus and busybox, made once and kept; the test is skipped where it cannot be made."""
    base = base_image()
    with alone():
        known = subprocess.run(["buildah", "inspect", "--type", "image", SERVERS], capture_output=True, check=False)
        if known.returncode == 0:
            return SERVERS
        made = told("buildah", "from", base)
        try:
            run = ["buildah", "run", "--isolation", "chroot", made, "--", "sh", "-c", _SERVERS]
            done = subprocess.run(run, capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.skip(f"Debian's packages cannot be had here: {done.stderr[-300:]}")
            told("buildah", "commit", "--format", "docker", "--quiet", made, SERVERS)
        finally:
            told("buildah", "rm", made)
    return SERVERS


@contextmanager
def docker() -> Iterator[Docker]:
    """Begun, and ended with all that ran in it; the test is skipped where no daemon can be, with the reason."""
    if os.getuid() != 0:
        pytest.skip("wants root, for a daemon")
    if lacking := missing(*NEEDED):
        pytest.skip(f"not installed: {', '.join(lacking)}")
    if subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("there is no docker compose")
    place = Path(mkdtemp(prefix="cachegate-docker-"))
    with (place / "daemon.log").open("wb") as log:
        flags = ["--data-root", f"{place}/data", "--exec-root", f"{place}/exec", "--pidfile", f"{place}/d.pid"]
        words = [*_OWN, "sh", "-c", _DAEMON, "sh", *flags, "--host", f"unix://{place}/d.sock"]
        daemon = subprocess.Popen(words, stdout=log, stderr=log)
    try:
        yield _begun(place, daemon)
    finally:
        _end(daemon)
        subprocess.run(["rm", "-rf", place], check=False)


def _begun(place: Path, daemon: "subprocess.Popen[bytes]") -> Docker:
    ping = ["curl", "--silent", "--fail", "--unix-socket", f"{place}/d.sock", "http://docker/_ping"]
    deadline = monotonic() + PATIENCE
    while subprocess.run(ping, capture_output=True, check=False).returncode:
        if daemon.poll() is not None or monotonic() > deadline:
            pytest.skip(f"no daemon can be here: {(place / 'daemon.log').read_text()[-400:]}")
        sleep(0.1)
    (first,) = children(daemon.pid)
    engine = Docker(place, first)
    probe = engine.type("docker network create probe && docker network rm probe", code=None)
    if "rror" in probe:
        pytest.skip(f"no network can be made here: {probe[-300:]}")
    return engine


def _end(daemon: "subprocess.Popen[bytes]") -> None:
    """At once, and with it all that runs in it: nothing of this is kept."""
    with suppress(ValueError, OSError):  # it has ended by itself
        (first,) = children(daemon.pid)
        os.kill(first, signal.SIGKILL)  # the kernel ends the whole tree with its first process
    daemon.wait()
