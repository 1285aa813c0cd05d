"""The image's recipe, and a container without a daemon: a file system of its own that nobody can write to, processes
of its own, no rights, as Docker and Kubernetes lock it down.

async with launched(place, *locked_down(root, cache, "cachegate", "serve"), env=container_environment()) as gateway:
    (first,) = children(gateway.pid)       # in there, the first process
    execute(first, "cachegate", "health", env=container_environment())
"""

import fcntl
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import gettempdir

import pytest

from tests.support.process import REPOSITORY

DOCKERFILE = (REPOSITORY / "Dockerfile").read_text().replace("\\\n", " ")
FINAL = DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :]
BASE = "localhost/debian-python"
SPACES = ("unshare", "--mount", "--pid", "--fork", "--kill-child")

# What a runtime does before it starts the program; $1 is the image's root, $2 the directory of the volume.
_LOCKED = """
set -e
root=$1 cache=$2; shift 2
mount --bind "$root" "$root"
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/tmp"
mount --bind "$cache" "$root/var/cache/cachegate"
mount -o remount,bind,ro "$root"
cd /
exec chroot "$root" sh -c 'cd /app && exec setpriv --reuid 10001 --regid 10001 --clear-groups --no-new-privs \
    --bounding-set=-all --inh-caps=-all "$@"' sh "$@"
"""


def instructions(name: str, recipe: str = DOCKERFILE) -> list[str]:
    return re.findall(rf"^{name} (.*)$", recipe, re.MULTILINE)


def locked_down(root: Path, cache: Path, *command: str) -> list[str]:
    """What runs the command in the image whose files lie under `root`, with `cache` as its volume; root's to run."""
    return [*SPACES, "sh", "-c", _LOCKED, "sh", str(root), str(cache), *command]


def execute(pid: int, *words: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command in the container of this process, as `docker exec` does."""
    command = ("nsenter", "--target", str(pid), "--mount", "--pid", "--root", "--wd", *words)
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)


def image_environment() -> dict[str, str]:
    """What the image itself sets, but for paths."""
    pairs = [word.split("=", 1) for line in instructions("ENV", FINAL) for word in line.split()]
    return {name: value for name, value in pairs if name not in ("PATH", "PYTHONUNBUFFERED")}


def container_environment(**more: str) -> dict[str, str]:
    """That of a process in a container of the image, which was given `more`."""
    path = "/opt/cachegate/bin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {**image_environment(), "PATH": path, "PYTHONUNBUFFERED": "1", **more}


# -- made here ---------------------------------------------------------------------------------------------------------


@contextmanager
def alone() -> Iterator[None]:
    """One at a time of all who make images on this machine: what one has made the next one finds."""
    with (Path(gettempdir()) / "cachegate-images.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def base_image() -> str:
    """Debian with its own Python, made once and kept; the test is skipped, with the reason, where it cannot be made."""
    with alone():
        known = subprocess.run(["buildah", "inspect", "--type", "image", BASE], capture_output=True, check=False)
        if known.returncode:
            command = [REPOSITORY / "deploy/image/debian-base"]
            made = subprocess.run(command, capture_output=True, text=True, check=False)
            if made.returncode:
                pytest.skip(f"no base can be made here: {made.stderr[-300:]}")
    return BASE


def wheelhouse(place: Path) -> Path:
    """All that the lock names, for whichever Python the base has: what it would leave out is not left out here."""
    lock = (REPOSITORY / "requirements.lock").read_text()
    (place / "all.lock").write_text(re.sub(r" ; [^\\]+", " ", lock))
    python = "3.11"  # that of the base
    command = ["-m", "pip", "download", "-q", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
    done = subprocess.run(
        [sys.executable, *command, "--python-version", python, "-r", place / "all.lock", "-d", place / "wheels"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"no wheels can be had here: {done.stderr[-300:]}")
    return place / "wheels"


def told(*command: str) -> str:
    """What it prints; AssertionError where it fails."""
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def missing(*programs: str) -> list[str]:
    return [name for name in programs if not shutil.which(name)]
