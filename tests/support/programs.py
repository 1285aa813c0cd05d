"""Programs that run for real, each a process of its own on a port of its own, and ended with the block.

with httpbin(tmp_path) as origin, gateway(tmp_path, origin, {"rules": [{"pattern": "*", "ttl": 60}]}) as front:
    asked = requests.get(f"{front.url}/get")
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from bench.programs import PATIENCE, Process, accepts, end, free_port
from tests.support import forked
from tests.support.origin import Origin

REPOSITORY = Path(__file__).parent.parent.parent
TOKEN = "test-token"
_DIRECTIVE = re.compile(r'\s*((?:"[^"]*"|[^;{}"])+(?:;|\{[^}]*\}))')
_OF_HTTP = re.compile(r"(?:limit_req_zone|map|proxy_cache_path|limit_conn_zone) ")
_NGINX = """{user} daemon off; pid {directory}/nginx.pid; error_log stderr;
events {{ }}
http {{
    access_log off; client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi; uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
    proxy_cache_path {directory}/cache keys_zone=one:1m;
    {outer}
    server {{
        {listen}
        location / {{ proxy_pass {upstream}; proxy_cache one; {inner} }}
    }}
}}
"""
_QUICK = "exec cc -O0 -w -fpic -shared -o %o %s"  # what is asked a few times need not be compiled well
_TRIES = 3  # a port that was free may be another's by the time it is bound


@dataclass(frozen=True)
class Program:
    """One that listens on 127.0.0.1:`port`. `directory` is where it runs and keeps its things."""

    port: int
    directory: Path
    process: Process

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"


@contextmanager
def httpbin(directory: Path) -> Iterator[Program]:
    """httpbin under gunicorn: HTTP/1.1 with kept connections, chunked both ways, fields as the program set them."""
    with _program("httpbin", directory, _gunicorn, env={"PYTHONWARNINGS": "ignore"}) as started:
        yield started


@contextmanager
def datasette(directory: Path, database: Path, *options: str) -> Iterator[Program]:
    """`datasette serve` over a SQLite file."""

    def command(port: int) -> list[str]:
        return [sys.executable, "-m", "datasette", "serve", str(database), "--port", str(port), *options]

    with _program("datasette", directory, command) as started:
        yield started


@contextmanager
def gateway(
    directory: Path, upstream: Program | Origin, settings: Mapping[str, Any] | None = None, *, port: int | None = None
) -> Iterator[Program]:
    """`cachegate serve` in front of `upstream`, with settings by YAML section. The same directory and `port` again
    are a restart. That it ends with 0 on SIGTERM is part of what it must do."""
    given = {
        "upstream": {"url": upstream.url},
        "admin": {"token": TOKEN},
        "listen": {"drain_delay": 0, "drain": 2},
    }
    for section, value in (settings or {}).items():
        given[section] = {**given[section], **value} if section in given else value
    config = directory / "cachegate.yaml"
    config.write_text(json.dumps(given))

    def command(port: int) -> list[str]:
        return ["cachegate", "serve", "--config", str(config), "--port", str(port)]

    with _program("gateway", directory, command, port=port) as started:
        yield started
        started.process.send_signal(signal.SIGTERM)
        assert started.process.wait(PATIENCE) == 0, _log(directory, "gateway").read_text()


@contextmanager
def nginx(directory: Path, upstream: str, lines: str = "", *, port: int | None = None) -> Iterator[Program]:
    """`nginx` with `proxy_cache`, as short as it can be written, and these directives: those of `http` are put there,
    `listen` takes the place of ours, all others go where `proxy_pass` is."""
    said = _DIRECTIVE.findall(lines)
    outer = [line for line in said if _OF_HTTP.match(line)]
    listens = [line for line in said if line.startswith("listen ")] or ["listen 80;"]
    inner = [line for line in said if line not in outer + listens]

    def command(port: int) -> list[str]:
        listen = re.sub(r"\d+", f"127.0.0.1:{port}", listens[0], count=1)
        given = {"directory": directory, "upstream": upstream, "listen": listen}
        given |= {"outer": " ".join(outer), "inner": " ".join(inner), "user": "user root;" if not os.geteuid() else ""}
        (directory / "nginx.conf").write_text(_NGINX.format(**given))
        return [located("nginx"), "-p", str(directory), "-c", str(directory / "nginx.conf"), "-e", "stderr"]

    with _program("nginx", directory, command, port=port) as started:
        yield started


@contextmanager
def varnish(directory: Path, upstream: str, lines: str = "", *, port: int | None = None) -> Iterator[Program]:
    """`varnishd` with the built-in VCL and these lines of VCL before it; options of its own begin with `-`."""
    options = [word for line in lines.splitlines() if line.startswith("-") for word in line.split()]
    own = [line for line in lines.splitlines() if not line.startswith("-")]
    host, _, number = upstream.removeprefix("http://").rpartition(":")
    backend = f'backend default {{ .host = "{host}"; .port = "{number}"; }}'
    (directory / "own.vcl").write_text("\n".join(["vcl 4.1;", "import std;", backend, *own, ""]))
    work = mkdtemp(prefix="varnish-")  # it lies in shared memory, and its path has to be short

    def command(port: int) -> list[str]:
        # no jail: its worker would be a user who may not look into this directory
        words = [
            "-j",
            "none",
            "-p",
            f"cc_command={_QUICK}",
            "-F",
            "-n",
            work,
            "-a",
            f"127.0.0.1:{port}",
            "-T",
            "none",
            "-s",
            "malloc,64m",
        ]
        return [located("varnishd"), *words, "-f", str(directory / "own.vcl"), *options]

    try:
        with _program("varnish", directory, command, port=port) as started:
            yield started
    finally:
        shutil.rmtree(work, ignore_errors=True)


def located(program: str) -> str:
    """Where it lies; "" where it is not installed. Debian has servers where only root looks."""
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin") or ""


def _gunicorn(port: int) -> list[str]:
    said = f"--worker-class gthread --threads 8 --graceful-timeout 1 --no-control-socket --bind 127.0.0.1:{port}"
    return [sys.executable, "-m", "gunicorn", *said.split(), "httpbin:app"]


@contextmanager
def _program(
    name: str,
    directory: Path,
    command: Callable[[int], Sequence[str]],
    *,
    port: int | None = None,
    env: Mapping[str, str] | None = None,
) -> Iterator[Program]:
    started = _begin(name, directory, command, port, {**_environment(directory), **(env or {})})
    try:
        yield started
    finally:
        end(started.process)


def _environment(home: Path) -> dict[str, str]:
    """Nothing of the tester's own settings; what a program writes to its home goes where it runs."""
    return {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"}


def _begin(
    name: str, directory: Path, command: Callable[[int], Sequence[str]], port: int | None, env: Mapping[str, str]
) -> Program:
    log = _log(directory, name)
    for _ in range(_TRIES):
        chosen = port or free_port()
        program, *words = command(chosen)
        process: Process
        with log.open("ab") as out:
            if program == "cachegate":
                process = forked.begin(directory, env, out.fileno(), *words)
            else:
                process = subprocess.Popen([program, *words], cwd=directory, env=env, stdout=out, stderr=out)
        if accepts(process, chosen):
            return Program(chosen, directory, process)
        end(process)
    raise AssertionError(f"{name} did not begin:\n{log.read_text()}")


def _log(directory: Path, name: str) -> Path:
    return directory / f"{name}.log"
