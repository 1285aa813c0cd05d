"""On what it was measured: the machine, the commit, and the versions of all who took part."""

import platform
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version as installed
from pathlib import Path

from bench.peers import nginx, varnish
from bench.programs import Missing, found
from bench.redis import server
from proxy.version import VERSION

_REPOSITORY = Path(__file__).parent.parent
_NONE = "not installed"


@dataclass(frozen=True, slots=True)
class Machine:
    """`load` is the load average of the last minute before the run: other programs make figures noisy."""

    cpu: str
    cores: int
    kernel: str
    load: float


def machine() -> Machine:
    info = Path("/proc/cpuinfo").read_text()
    name = re.search(r"^model name\s*: (.*)$", info, re.MULTILINE)
    cores = info.count("\nprocessor") + info.startswith("processor")
    load = float(Path("/proc/loadavg").read_text().split()[0])
    return Machine(name[1] if name else platform.machine(), cores, platform.release(), load)


def commit() -> str:
    """Short, with `-dirty` where there is more than it holds; "unknown" outside of a repository."""
    command = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
    said = subprocess.run(command, cwd=_REPOSITORY, capture_output=True, text=True, check=False)
    return said.stdout.strip() or "unknown"


def versions() -> dict[str, str]:
    """By name; those that are missing too, as such."""
    asking: dict[str, Callable[[], str]] = {
        "Cachegate": lambda: VERSION,
        "Python": platform.python_version,
        "aiohttp": lambda: installed("aiohttp"),
        "nginx": nginx.version,
        "Varnish": varnish.version,
        "wrk": lambda: _said([found("wrk", "wrk"), "-v"], r"wrk (\S+)"),
        "Redis": lambda: _said([server(), "--version"], r"v=(\S+)"),
    }
    return {name: _or_none(ask) for name, ask in asking.items()}


def _or_none(ask: Callable[[], str]) -> str:
    try:
        return ask()
    except Missing:
        return _NONE


def _said(command: list[str], pattern: str) -> str:
    """Some of them tell their version and end with an error."""
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    match = re.search(pattern, said.stdout + said.stderr)
    return match[1] if match else "unknown"
