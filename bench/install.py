"""The programs that a comparison needs, from Debian's packages: brought when they are missing and when that can be."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.programs import Missing, found

PROGRAMS = {"wrk": "wrk", "nginx": "nginx", "varnishd": "varnish"}  # and their packages
_POLICY = Path("/usr/sbin/policy-rc.d")  # what Debian asks before an installation starts a service


def absent() -> list[str]:
    """The packages of those that are not here."""
    missing = []
    for program, package in PROGRAMS.items():
        try:
            found(program, package)
        except Missing:
            missing.append(package)
    return missing


def installed() -> str:
    """Install what is missing, as root where there is apt-get, and say what was done or has to be done; "" when
    nothing was missing."""
    packages = absent()
    if not packages:
        return ""
    wanted = " ".join(packages)
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return f"not installed: {wanted}; on Debian and Ubuntu: sudo apt-get install {wanted}"
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with _no_services():
        for command in (["apt-get", "update"], ["apt-get", "install", "-y", "--no-install-recommends", *packages]):
            said = subprocess.run(command, env=quiet, capture_output=True, text=True, check=False)
            if said.returncode != 0:
                return f"not installed: {wanted}: `{' '.join(command)}` failed: {said.stderr.strip()[-300:]}"
    return f"installed: {wanted}"


@contextmanager
def _no_services() -> Iterator[None]:
    """Nothing that is installed meanwhile is started. A policy that the machine has already stays as it is."""
    if _POLICY.exists():
        yield
        return
    _POLICY.write_text("#!/bin/sh\nexit 101\n")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink()
