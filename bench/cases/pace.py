"""How late the slowest percent is when nobody is at his limit, and beside an origin that takes its time."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from time import perf_counter

from bench.arena import Arena, Contender, gateway
from bench.client import asked
from bench.figures import Figure, Line, at_most, quantile
from bench.heads import each_path, varied
from bench.load import Load
from bench.pacer import Paced, paced
from bench.peers import nginx
from bench.peers.cachegate import MEMORY, NAME, cachegate
from bench.programs import ADDRESS, Running

_ENOUGH = 0.97  # of the rate: below that it is not kept up with
_SLOW = 2.0  # seconds that a language model takes for an answer
_ANSWER = b'HTTP/1.1 200 OK\r\nCache-Control: max-age=3600\r\nContent-Length: 21\r\n\r\n{"answer":"in words"}'


def p99(arena: Arena) -> Iterator[Line]:
    """At half of the rate that wrk gets out of nginx."""
    load = Load(varied())
    with ExitStack() as stack:
        starts = {NAME: gateway(), nginx.NAME: nginx.nginx}
        contenders = [arena.enter(stack, name, start, load, each_path()) for name, start in starts.items()]
        ours, theirs = contenders
        if theirs.server is None:
            absent = Figure(NAME, problem=f"the rate is half of nginx's: {theirs.absent}")
            yield Line("p99", "p99 at half of nginx's best rate", "ms", (absent,), (at_most(1.0, nginx.NAME),))
            return
        best, _ = arena.sample(theirs.server, load)
        rate = best.told.rate / 2
        late: list[float] = []
        figures = _paced(arena, [ours, theirs], rate, late)
    note = (
        f"{rate:.0f} requests a second, open loop; our own sender was late by {max(late) * 1000:.2g} ms at most (p99)"
    )
    yield Line("p99", "p99 at half of nginx's best rate", "ms", figures, (at_most(1.0, nginx.NAME),), note)


def _paced(arena: Arena, contenders: list[Contender], rate: float, late: list[float]) -> tuple[Figure, ...]:
    values: dict[str, list[float]] = {each.name: [] for each in contenders}
    problems = {each.name: each.absent for each in contenders}
    for _ in range(arena.plan.rounds):
        for each in contenders:
            if each.server is None or problems[each.name]:
                continue
            told = paced(each.server.port, varied(), rate, arena.plan.seconds)
            problems[each.name] = told.problem or _kept(told, rate)
            if told.latencies:
                values[each.name].append(quantile(told.latencies, 0.99) * 1000)
                late += [told.late] if not problems[each.name] else []
    late.append(0.0)
    return tuple(Figure(name, tuple(values[name]), problems[name]) for name in values)


def _kept(told: Paced, rate: float) -> str:
    return "" if told.rate >= rate * _ENOUGH else f"does not keep up: {told.rate:.0f} of {rate:.0f} answers a second"


# -- an origin that takes its time -------------------------------------------------------------------------------------


def slow_origin(arena: Arena) -> Iterator[Line]:
    """The first answer comes from a service that takes two seconds, as a language model does; then it is a hit."""
    with slow_service() as port, cachegate(arena.directory(), arena.on, f"http://{ADDRESS}:{port}", MEMORY) as server:
        first = _timed(server, varied()[:1])
        hits = paced(server.port, varied()[:1], 200.0, arena.plan.seconds, connections=8)
    yield Line("slow_origin", "first answer of an origin that takes 2 s", "ms", (Figure(NAME, (first,)),))
    figure = Figure(NAME, (quantile(hits.latencies, 0.99) * 1000,), hits.problem)
    note = "from the client's side, at 200 requests a second"
    yield Line("slow_origin", "p99 of hits before such an origin", "ms", (figure,), (at_most(10),), note)


def _timed(server: Running, heads: tuple[bytes, ...]) -> float:
    """Milliseconds."""
    start = perf_counter()
    asked(server.port, heads)
    return (perf_counter() - start) * 1000


@contextmanager
def slow_service() -> Iterator[int]:
    """Its port. It answers every request after two seconds, whatever it is."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(asyncio.start_server(_answer, ADDRESS, 0), loop).result()
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(asyncio.IncompleteReadError):
        while await reader.readuntil(b"\r\n\r\n"):
            await asyncio.sleep(_SLOW)
            writer.write(_ANSWER)
    writer.close()
