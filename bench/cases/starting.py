"""How long it takes from the command to the first answer."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from bench.arena import Arena
from bench.client import asked
from bench.figures import Figure, Line, at_most
from bench.heads import each_path
from bench.peers.cachegate import MEMORY, NAME, Settings, cachegate
from bench.programs import ADDRESS


def start(arena: Arena) -> Iterator[Line]:
    yield _line(arena, "start to first answer", MEMORY)
    with silence() as port:
        lost = {**MEMORY, "redis": {"url": f"redis://{ADDRESS}:{port}/0"}}
        yield _line(arena, "start to first answer, Redis silent", lost)


def _line(arena: Arena, title: str, settings: Settings) -> Line:
    seconds = []
    for _ in range(arena.plan.rounds):
        began = perf_counter()
        with cachegate(arena.directory(), arena.on, arena.origin.url, settings) as us:
            asked(us.port, each_path(paths=1))
            seconds.append(perf_counter() - began)
    return Line("start", title, "s", (Figure(NAME, tuple(seconds)),), (at_most(1.0),))


@contextmanager
def silence() -> Iterator[int]:
    """The port of a server that takes connections and never says a word, which is worse than one that refuses them."""
    with socket.create_server((ADDRESS, 0), backlog=128) as listening:
        yield int(listening.getsockname()[1])
