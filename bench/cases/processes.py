"""Several workers beside one, and a gateway that is watched beside one that is not."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from bench.arena import Arena, gateway
from bench.figures import Figure, Line, at_least, at_most
from bench.heads import each_path, varied
from bench.load import Load
from bench.peers.cachegate import MEMORY, NAME, page

ONE, UNWATCHED = "one worker", "unwatched"
SCRAPE = 1.0  # seconds between two looks at the metrics; Prometheus looks every 15


def workers(arena: Arena) -> Iterator[Line]:
    """The same load on several workers and on one; four where there are cores for them."""
    for number, least in ((2, 1.8), (4, 3.2)):
        if number == 2 or len(arena.on.server) >= number:
            yield from _several(arena, number, least)


def _several(arena: Arena, number: int, least: float) -> Iterator[Line]:
    with ExitStack() as stack:
        several = arena.enter(stack, NAME, gateway(workers=number), Load(varied()), each_path())
        one = arena.enter(stack, ONE, gateway(), Load(varied()), each_path())
        measured = arena.measured([several, one])
    cpu = tuple(each.figure(lambda sample: sample.microseconds) for each in measured)
    rates = tuple(each.figure(lambda sample: sample.told.rate) for each in measured)
    if (cores := len(arena.on.server)) < number:
        scarce = f"wants a core for each worker beside that of the load; there is {cores}"
        rates = (Figure(NAME, problem=scarce), *rates[1:])
    title = f"memory hit with {number} workers"
    yield Line("workers", f"{title}, CPU", "µs", cpu, (at_most(1.1, ONE),))
    yield Line("workers", f"{title}, rate", "/s", rates, (at_least(least, ONE),))


def observed(arena: Arena) -> Iterator[Line]:
    """A JSON line for every request, and the metrics fetched every second."""
    watched = {**MEMORY, "log": {"access": True, "format": "json", "level": "info"}}
    with ExitStack() as stack:
        us = arena.enter(stack, NAME, gateway(watched), Load(varied()), each_path())
        plain = arena.enter(stack, UNWATCHED, gateway(), Load(varied()), each_path())
        assert us.server is not None
        port = us.server.port
        with repeated(lambda: page(port, "/metrics"), SCRAPE):
            figures = arena.contest([us, plain])
    title = "memory hit with JSON access log and metrics"
    yield Line("observed", title, "µs", figures, (at_most(1.15, UNWATCHED),))


@contextmanager
def repeated(look: Callable[[], object], every: float) -> Iterator[None]:
    """Look again and again meanwhile, so many seconds apart."""
    over = threading.Event()

    def looking() -> None:
        while not over.wait(every):
            look()

    thread = threading.Thread(target=looking)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
