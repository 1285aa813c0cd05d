"""Commands in a process of their own, but without the half second in which Python imports the program: processes that
have imported it wait, for each that runs tests, and fork whoever is asked for.

    done = run(directory, {"ADMIN_TOKEN": TOKEN}, "stats", "--json")
    gateway = await start(directory, {"ADMIN_TOKEN": TOKEN}, log, "serve", "--port", "0")

What is forked has a directory, an environment, streams and an exit of its own. Two that wait take turns: what differs
from process to process, as the seed of hashes does, differs among those that are started one after the other. What is
read from the environment while the program is imported, as OpenSSL's variables are, wants a process made anew.
"""

import asyncio
import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from itertools import cycle
from pathlib import Path

from proxy.cli import VERBS, main
from proxy.importing import imported

REPOSITORY = Path(__file__).parent.parent.parent
Done = subprocess.CompletedProcess[str]


def run(directory: Path, env: Mapping[str, str], *words: str, stdin: str | int = "") -> Done:
    """`cachegate <words>` in this directory, with this environment and no other; `stdin` is text, or a descriptor."""
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        if isinstance(stdin, str):
            given.write(stdin.encode())
            given.seek(0)
            stdin = given.fileno()
        with open(_ask(directory, env, words, stdin, out.fileno(), err.fileno()), "rb") as telling:
            code = int(telling.read().split()[1])
        out.seek(0)
        err.seek(0)
        return Done(list(words), code, out.read().decode(), err.read().decode())


class Process:
    """One that runs, as asyncio tells of its subprocesses."""

    def __init__(self, pid: int, ended: "asyncio.Task[int]") -> None:
        self.pid = pid
        self._ended = ended

    @property
    def returncode(self) -> int | None:
        return self._ended.result() if self._ended.done() else None

    async def wait(self) -> int:
        return await asyncio.shield(self._ended)

    def send_signal(self, number: int) -> None:
        if not self._ended.done():
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


async def start(directory: Path, env: Mapping[str, str], output: int, *words: str) -> Process:
    """`cachegate <words>`, which goes on; what it says goes to the descriptor `output`."""
    loop = asyncio.get_running_loop()
    telling = asyncio.StreamReader()
    with open(os.devnull, "rb") as nothing:
        told = _ask(directory, env, words, nothing.fileno(), output, output)
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(telling), open(told, "rb"))  # noqa: SIM115
    pid = int(await telling.readline())

    async def ended() -> int:
        try:
            return int(await telling.read())
        finally:
            transport.close()

    return Process(pid, asyncio.create_task(ended()))


class Started:
    """One that runs, as `subprocess` tells of it, for whoever has no event loop."""

    def __init__(self, told: int) -> None:
        self._told = os.fdopen(told, "rb", buffering=0)
        self.returncode: int | None = None
        self.pid = int(self._line())

    def poll(self) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._told], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("cachegate", timeout or 0)
            self.returncode = int(self._line())
            self._told.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _line(self) -> bytes:
        return b"".join(iter(lambda: self._told.read(1).strip(), b""))


def begin(directory: Path, env: Mapping[str, str], output: int, *words: str) -> Started:
    """As `start`."""
    with open(os.devnull, "rb") as nothing:
        return Started(_ask(directory, env, words, nothing.fileno(), output, output))


def _ask(directory: Path, env: Mapping[str, str], words: tuple[str, ...], *streams: int) -> int:
    """Where it is told: the number of the process on a line, and its exit code when it has ended."""
    told, ended = os.pipe()
    try:
        next(_forkers()).ask(directory, env, words, [*streams, ended])
    finally:
        os.close(ended)
    return told


class Forker:
    """The process that waits, as it is seen from here; it ends with this one."""

    def __init__(self) -> None:
        self._asking, asked = socket.socketpair()
        self._turn = threading.Lock()
        command = [sys.executable, "-m", "tests.support.forked", str(asked.fileno())]
        env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"}
        self._process = subprocess.Popen(command, env=env, pass_fds=[asked.fileno()])
        asked.close()
        atexit.register(self.end)

    def ask(self, directory: Path, env: Mapping[str, str], words: tuple[str, ...], files: list[int]) -> None:
        """`files`: its streams, and where its exit code is to be told."""
        job = json.dumps([str(directory), dict(env), words]).encode() + b"\n"
        with self._turn:
            sent = socket.send_fds(self._asking, [job], files)
            self._asking.sendall(job[sent:])

    def end(self) -> None:
        self._asking.close()
        self._process.wait()


@cache
def _forkers() -> "cycle[Forker]":
    return cycle([Forker(), Forker()])


# -- in the process that waits -----------------------------------------------------------------------------------------


def _wait(asked: socket.socket) -> list[str]:
    """Comes back in each that is forked, with its words."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # who minds a command is nobody's child
    while True:
        job, files, _, _ = socket.recv_fds(asked, 1 << 16, 4)
        if not job:
            os._exit(0)  # whoever runs the tests has ended
        while not job.endswith(b"\n"):
            job += asked.recv(1 << 16)
        if os.fork() == 0:
            asked.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            return _forked(*json.loads(job), *files)
        for file in files:
            os.close(file)


def _forked(directory: str, env: dict[str, str], words: list[str], *files: int) -> list[str]:
    *streams, ended = files
    command = os.fork()
    if command:  # this one minds it
        for stream in streams:
            os.close(stream)
        os.write(ended, b"%d\n" % command)
        _, how = os.waitpid(command, 0)
        os.write(ended, b"%d" % os.waitstatus_to_exitcode(how))
        os._exit(0)
    os.close(ended)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(env)
    return words


if __name__ == "__main__":
    for verb in VERBS:
        imported(f"proxy.cli.{verb}")
    sys.exit(main(_wait(socket.socket(fileno=int(sys.argv[1])))))
