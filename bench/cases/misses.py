"""Misses that are stored, in memory and on disk, and an answer that is too large to be kept."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing

from bench.arena import Arena, Contender, gateway
from bench.client import get
from bench.figures import Figure, Line, at_least, at_most
from bench.heads import counted
from bench.load import Load
from bench.origin import LARGE
from bench.peers import nginx, varnish
from bench.peers.cachegate import MEMORY, NAME, ROOMY
from bench.programs import ADDRESS, PATIENCE, Running

_MISS = Load(counted(), script="counting", asks=1)
_PIECE = 1 << 20
_TIMES = 8  # once takes 0.1 s of CPU, which the kernel tells in steps of 10 ms


def miss_memory(arena: Arena) -> Iterator[Line]:
    with ExitStack() as stack:
        starts = {NAME: gateway({**ROOMY, **MEMORY}), varnish.NAME: varnish.varnish}
        figures = arena.contest([arena.enter(stack, name, start, _MISS) for name, start in starts.items()])
    yield Line("miss_memory", "miss, stored in memory", "µs", figures, (at_most(0.8, varnish.NAME),))


def miss_file(arena: Arena) -> Iterator[Line]:
    with ExitStack() as stack:
        starts = {NAME: gateway({**ROOMY, "file": {"max_bytes": "8GiB"}}), nginx.NAME: nginx.nginx}
        figures = arena.contest([arena.enter(stack, name, start, _MISS) for name, start in starts.items()])
    yield Line("miss_file", "miss, stored in memory and file", "µs", figures, (at_most(1.2, nginx.NAME),))


def large(arena: Arena) -> Iterator[Line]:
    """100 MB that the origin forbids to keep, read as fast as they come."""
    with ExitStack() as stack:
        starts = {NAME: gateway(), nginx.NAME: nginx.nginx}
        contenders = [arena.enter(stack, name, start, _MISS) for name, start in starts.items()]
        speeds: dict[str, list[float]] = {name: [] for name in starts}
        grown: dict[str, list[float]] = {name: [] for name in starts}
        for _ in range(arena.plan.rounds):
            for each in contenders:
                if each.server is not None:
                    cpu, more = _passed(each.server)
                    speeds[each.name].append(LARGE / 1e6 / cpu)
                    grown[each.name].append(more / 1e6)
    goals = (at_least(0.5, nginx.NAME),)
    yield Line("large", "100 MB passed through", "MB/CPU s", _figures(contenders, speeds), goals)
    title = "memory that 100 MB take while they pass"
    yield Line("large", title, "MB", _figures(contenders, grown), (), "the most held meanwhile, less what was before")


def _figures(contenders: list[Contender], values: dict[str, list[float]]) -> tuple[Figure, ...]:
    return tuple(Figure(each.name, tuple(values[each.name]), each.absent) for each in contenders)


def _passed(server: Running) -> tuple[float, int]:
    """CPU seconds for each 100 MB, and bytes of memory that it grew by at most. RuntimeError when not all came."""
    server.forget_peak()
    before, cpu = server.memory(), server.cpu()
    for _ in range(_TIMES):
        _read(server.port)
    return (server.cpu() - cpu) / _TIMES, max(0, server.memory("VmHWM") - before)


def _read(port: int) -> None:
    left = LARGE
    with closing(socket.create_connection((ADDRESS, port), timeout=PATIENCE)) as asking:
        asking.sendall(get("/large"))
        space = bytearray(_PIECE)
        while left > 0 and (more := asking.recv_into(space)):
            left -= more
    if left > 0:
        raise RuntimeError(f"of 100 MB there came {LARGE - left} bytes: {bytes(space[:200])!r}")
