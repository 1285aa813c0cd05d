"""Programs that run for real, each on a port and on a core of its own, and ended with the block."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Protocol

from bench.reading import cpu_seconds, tree, tree_memory

ADDRESS = "127.0.0.1"
PATIENCE = 30.0  # seconds that a program has to begin, and to end


class Missing(Exception):
    """What a case needs is not here; the text says what, and how to get it. The row says it then."""


@dataclass(frozen=True, slots=True)
class Cores:
    """Who runs where: the load, the origin and Redis on one core, what is measured on the others."""

    load: int
    server: tuple[int, ...]

    @property
    def first(self) -> tuple[int, ...]:
        """The one core of a server with one worker."""
        return self.server[:1]


def cores() -> Cores:
    """Load on the first core that this process may use, the server beside it; both on one where there is no other."""
    first, *others = sorted(os.sched_getaffinity(0))
    return Cores(first, tuple(others) or (first,))


@dataclass(frozen=True, slots=True)
class Running:
    """A program that listens on 127.0.0.1:`port`. `directory` is where it keeps its things."""

    port: int
    directory: Path
    process: "subprocess.Popen[bytes]"

    @property
    def url(self) -> str:
        return f"http://{ADDRESS}:{self.port}"

    @property
    def pid(self) -> int:
        return self.process.pid

    def cpu(self) -> float:
        """Seconds that it and all its processes have used so far."""
        return cpu_seconds(self.pid)

    def memory(self, name: str = "VmRSS") -> int:
        """Bytes of all its processes: see `tree_memory`."""
        return tree_memory(self.pid, name)

    def forget_peak(self) -> None:
        """From here on `VmHWM` tells the most since now (proc(5), clear_refs)."""
        for pid in tree(self.pid):
            Path(f"/proc/{pid}/clear_refs").write_text("5")


def found(program: str, package: str) -> str:
    """Its path. Missing with the Debian package that brings it."""
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")
    if path is None:
        raise Missing(f"{program} is not installed (apt-get install {package})")
    return path


def free_port() -> int:
    """One of 127.0.0.1 that nobody has now; another may by the time it is bound."""
    with closing(socket.create_server((ADDRESS, 0))) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def program(
    command: Sequence[str],
    *,
    port: int,
    directory: Path,
    on: Sequence[int],
    env: Mapping[str, str] | None = None,
) -> Iterator[Running]:
    """Run it on these cores until the block is left, once it takes connections. RuntimeError, with what it wrote, when
    it does not."""
    log = directory / "log"
    pinned = ["taskset", "--cpu-list", ",".join(map(str, on)), *command]
    with log.open("ab") as out:
        process = subprocess.Popen(pinned, cwd=directory, env=env or {**os.environ}, stdout=out, stderr=out)
    try:
        if not accepts(process, port):
            raise RuntimeError(f"{command[0]} did not begin:\n{log.read_text()}")
        yield Running(port, directory, process)
    finally:
        end(process)


class Process(Protocol):
    """What is used here of `subprocess.Popen`."""

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...

    def send_signal(self, sig: int, /) -> Any: ...

    def kill(self) -> Any: ...


def accepts(process: Process, port: int) -> bool:
    """Whether the program takes connections, within PATIENCE and before it ends."""
    deadline = monotonic() + PATIENCE
    while monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection((ADDRESS, port), timeout=1).close()
            return process.poll() is None
        except OSError:
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.01)
    return False


def end(process: Process) -> None:
    """By SIGTERM, which ends the program's own children too; by SIGKILL when that does not help."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
