"""Hits from memory: heads that all differ, one head again and again, and the forms that an answer may take."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.arena import Arena, Contender, Start, gateway
from bench.figures import Figure, Line, at_most
from bench.heads import each_path, identical, varied
from bench.load import Load
from bench.origin import ETAG, Origin
from bench.pacer import saturated
from bench.peers import nginx, varnish
from bench.peers.cachegate import LANE_OFF, MEMORY, NAME, PIPELINE, cachegate, lane_or_missing
from bench.programs import Cores, Running

PLAIN = "plain hit"
_OTHERS: Mapping[str, Start] = {nginx.NAME: nginx.nginx, varnish.NAME: varnish.varnish}


def memory_hit(arena: Arena) -> Iterator[Line]:
    figures = _beside(arena, Load(varied()), {**_OTHERS, PIPELINE: pipeline})
    goals = (at_most(0.75, nginx.NAME), at_most(0.6, varnish.NAME))
    yield Line("memory_hit", "memory hit, varied heads", "µs", figures, goals)


def memory_hit_identical(arena: Arena) -> Iterator[Line]:
    figures = _beside(arena, Load(identical()), _OTHERS)
    yield Line("memory_hit_identical", "memory hit, one identical head", "µs", figures, (at_most(0.6, nginx.NAME),))


def _beside(arena: Arena, load: Load, others: Mapping[str, Start]) -> tuple[Figure, ...]:
    starts = {NAME: gateway(), **others}
    with ExitStack() as stack:
        return arena.contest([arena.enter(stack, name, start, load, each_path()) for name, start in starts.items()])


@contextmanager
def pipeline(directory: Path, on: Cores, origin: Origin) -> Iterator[Running]:
    """The gateway whose every hit takes the whole way. Missing while there is no shorter one."""
    lane_or_missing()
    with cachegate(directory, on, origin.url, {**MEMORY, "listen": LANE_OFF}) as running:
        yield running


def forms(arena: Arena) -> Iterator[Line]:
    """304, 206 and HEAD beside the plain hit of the same gateway."""
    loads = {
        "304": Load(varied(f"If-None-Match: {ETAG}"), status=304),
        "206": Load(varied("Range: bytes=0-499"), status=206),
        PLAIN: Load(varied()),
    }
    with ExitStack() as stack:
        us = arena.enter(stack, NAME, gateway(), loads[PLAIN], each_path())
        figures = arena.contest([Contender(name, us.server, load, us.absent) for name, load in loads.items()])
        plain = figures[-1]
        for figure, title in ((figures[0], "conditional hit (304)"), (figures[1], "range (206) from memory")):
            ours = Figure(NAME, figure.values, figure.problem)
            yield Line("forms", title, "µs", (ours, plain), (at_most(1.2, PLAIN),))
        assert us.server is not None
        yield Line("forms", "HEAD from memory", "µs", _heads(arena, us.server), (at_most(1.2, PLAIN),), _BY_OURS)


_BY_OURS = "load by the bench's own client: wrk waits for the body that a HEAD does not have"


def _heads(arena: Arena, server: Running) -> tuple[Figure, Figure]:
    rings = {NAME: varied(method="HEAD"), PLAIN: varied()}
    values: dict[str, list[float]] = {name: [] for name in rings}
    problems = dict.fromkeys(rings, "")
    for _ in range(arena.plan.rounds):
        for name, ring in rings.items():
            before = server.cpu()
            told = saturated(server.port, ring, arena.plan.seconds)
            values[name].append((server.cpu() - before) / len(told.latencies) * 1e6)
            problems[name] = problems[name] or told.problem
    ours, plain = (Figure(name, tuple(values[name]), problems[name]) for name in rings)
    return ours, plain
