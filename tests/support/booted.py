"""Debian with systemd as its first process, without a container engine: namespaces and a control group of its own.

with booted(debian(place)) as machine:
    machine.run("systemctl start cachegate")

It shares the network with whoever runs the tests: 127.0.0.1 is the same on both sides, and what it starts wants ports
that are free. It may not set clocks, load modules or write to /proc/sys.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

SUITE = "bookworm"
PACKAGES = "systemd,systemd-sysv,dbus,python3,python3-venv,curl,procps"
ARCHIVE = "http://deb.debian.org/debian"
PROGRAMS = ("debootstrap", "unshare", "nsenter", "setpriv", "pivot_root", "mount")
PATIENCE = 120.0  # seconds for systemd to come up, and for each command in there
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_DENIED = "-sys_time,-sys_module,-sys_boot,-sys_rawio,-syslog,-mac_admin,-mac_override"

# A control group that is the root of what is in there; $1 is its name. Version 2, mounted for this alone.
_GROUPED = """
set -e
mount --make-rprivate /
mount -t cgroup2 cgroup2 /mnt
mkdir /mnt/$1
echo $$ > /mnt/$1/cgroup.procs
umount /mnt
shift
exec unshare --cgroup --pid --uts --ipc --mount --fork --kill-child "$@"
"""

# What a container engine does before it starts the first process; $1 is the directory of its files. The root is turned
# (pivot_root), not changed (chroot): else the kernel allows no user namespace in there, which PrivateUsers= wants.
_BOOTED = f"""
set -e
cd "$1"
mount --make-rprivate /
mount --bind . .
cd "$1"
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs tmpfs tmp
mount -t tmpfs -o mode=755 tmpfs dev
for device in null zero full random urandom tty; do : > dev/$device; mount --bind /dev/$device dev/$device; done
mkdir dev/pts dev/shm run/lock run/outside
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts
mount -t tmpfs tmpfs dev/shm
ln -s pts/ptmx dev/ptmx; ln -s /proc/self/fd dev/fd; ln -s fd/0 dev/stdin; ln -s fd/1 dev/stdout; ln -s fd/2 dev/stderr
pivot_root . run/outside
cd /
exec setpriv --bounding-set={_DENIED} sh -c 'umount -l /run/outside && exec env -i container=test {_PATH} /sbin/init'
"""

_SWEPT = """
mount --make-rprivate /
mount -t cgroup2 cgroup2 /mnt
for try in $(seq 100); do  # until the last process has left
    find /mnt/$1 -depth -type d -exec rmdir {} + 2>/dev/null
    [ -e /mnt/$1 ] || exit 0
    sleep 0.1
done
"""


@dataclass(frozen=True, slots=True)
class Machine:
    """One that is up. `root` is where its files lie, `first` its first process as it is numbered out here."""

    root: Path
    first: int

    def run(self, script: str, *, code: int = 0) -> str:
        """Lines of bash, run there by root: what they print. AssertionError where they end with another code."""
        done = self._run("bash", "-euo", "pipefail", "-c", script)
        assert done.returncode == code, f"{script}\nexit {done.returncode}\n{done.stdout}"
        return done.stdout

    def until(self, script: str) -> str:
        """The same again and again, until it ends with 0."""
        return self.run(f"until ({script}); do sleep 0.05; done 2>/dev/null")

    def _run(self, *words: str) -> subprocess.CompletedProcess[str]:
        into = (
            "nsenter",
            "--target",
            str(self.first),
            "--mount",
            "--pid",
            "--cgroup",
            "--uts",
            "--ipc",
            "--root",
            "--wd",
        )
        return subprocess.run(
            [*into, "env", "-i", _PATH, "TERM=dumb", "LANG=C.UTF-8", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
        )


def debian(place: Path) -> Path:
    """The files of one, made of Debian's packages. Skips the test where that cannot be."""
    if sys.platform != "linux" or os.getuid() != 0:
        pytest.skip("wants root on Linux, to start a systemd of its own")
    if missing := [program for program in PROGRAMS if not shutil.which(program)]:
        pytest.skip(f"not installed: {', '.join(missing)}")
    group = f"cachegate-{uuid4().hex[:8]}"
    tried = subprocess.run(_unshared(group, "true"), capture_output=True, text=True, check=False)
    _sweep(group)
    if tried.returncode:
        pytest.skip(f"no namespaces and no control group of its own here: {tried.stderr[-300:]}")
    words = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(place), ARCHIVE]
    made = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if made.returncode:
        pytest.skip(f"no Debian can be had here: {made.stdout[-300:]}")
    return place


@contextmanager
def booted(root: Path) -> Iterator[Machine]:
    """The machine, up, with no unit that failed; ended, with all that runs in it, at the end."""
    group = f"cachegate-{uuid4().hex[:8]}"
    process = subprocess.Popen(
        _unshared(group, "sh", "-c", _BOOTED, "sh", str(root)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        machine = Machine(root, _first(process))
        machine.until("[ -S /run/systemd/private ]")
        assert machine.run("systemctl is-system-running --wait") == "running\n"
        yield machine
    finally:
        process.kill()
        process.communicate()
        _sweep(group)


def _unshared(group: str, *command: str) -> list[str]:
    return ["unshare", "--mount", "sh", "-c", _GROUPED, "sh", group, *command]


def _first(process: "subprocess.Popen[str]") -> int:
    """The child that has become systemd; those before it mount things, and go."""
    while process.poll() is None:
        for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
            with suppress(OSError):
                if Path(f"/proc/{child}/comm").read_text() == "systemd\n":
                    return int(child)
        time.sleep(0.01)
    raise AssertionError(process.communicate()[1])


def _sweep(group: str) -> None:
    subprocess.run(["unshare", "--mount", "sh", "-c", _SWEPT, "sh", group], check=False)
