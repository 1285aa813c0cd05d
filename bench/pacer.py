"""A load at a fixed rate, which wrk does not know, or as fast as it is answered, on plain sockets and epoll.

It is an open loop: a request is due by the clock, whether those before it were answered or not, and its latency counts
from then on. Waiting for a free connection counts, and so does whatever keeps this process from sending in time, for
all that are measured alike. At high rates it asks the clock without rest, which wants a core of its own.
"""

import gc
import select
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from time import perf_counter

from bench.load import CONNECTIONS
from bench.programs import ADDRESS

Note = Callable[[int, bytes], object]
_END = b"\r\n\r\n"
_LENGTH = b"ontent-Length: "
_FOREVER = 3600.0  # seconds
_SHORT = 0.0003  # seconds: not worth sleeping for. Longer waits leave the core to the origin and to Redis
_LATEST = 2.0  # seconds after the last is due that its answer may come


@dataclass(frozen=True, slots=True)
class Paced:
    """Latencies in seconds, in rising order, of every answer. `late`: the slowest percent was sent so long after it was
    due, though there was a connection for it. `rate` is of the answers that came until the load was over."""

    latencies: tuple[float, ...]
    late: float
    rate: float
    problem: str = ""


@dataclass(slots=True)
class _Wire:
    """One connection: which request is under way on it, due since when, and what of the answer has come."""

    socket: socket.socket
    number: int = 0
    due: float = 0.0
    bodiless: bool = False
    got: bytes = b""


@dataclass(slots=True)
class _Course:
    note: Note | None
    latencies: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    wrong: int = 0
    in_time: int = 0


def paced(
    port: int,
    heads: Sequence[bytes],
    rate: float,
    seconds: float,
    connections: int = 256,
    note: Note | None = None,
) -> Paced:
    """So many requests a second, evenly, for so long. `note` as in `each_once`."""
    return _run(port, cycle(heads), 1 / rate, seconds, connections, note)


def saturated(port: int, heads: Sequence[bytes], seconds: float, connections: int = CONNECTIONS) -> Paced:
    """Each connection asks again as soon as it is answered."""
    return _run(port, cycle(heads), 0.0, seconds, connections)


def each_once(
    port: int, heads: Iterable[bytes], connections: int = CONNECTIONS, note: Note = lambda number, answer: None
) -> Paced:
    """All of these, as fast as they are answered. `note` is told the number of each and the whole answer to it."""
    return _run(port, iter(heads), 0.0, _FOREVER, connections, note)


def _run(
    port: int, heads: Iterator[bytes], gap: float, seconds: float, connections: int, note: Note | None = None
) -> Paced:
    wires = [_Wire(_connected(port)) for _ in range(connections)]
    gc.disable()  # a pause of ours is none of theirs
    try:
        course = _course({wire.socket.fileno(): wire for wire in wires}, heads, gap, seconds, note)
    except OSError as error:
        return Paced((), 0.0, 0.0, f"invalid: {error}")
    finally:
        gc.enable()
        for wire in wires:
            wire.socket.close()
    course.late.sort()
    late = course.late[len(course.late) * 99 // 100] if course.late else 0.0
    problem = f"invalid: {course.wrong} answers were not 200" if course.wrong else ""
    return Paced(tuple(sorted(course.latencies)), late, course.in_time / seconds, problem)


def _course(wires: dict[int, _Wire], heads: Iterator[bytes], gap: float, seconds: float, note: Note | None) -> _Course:
    course, idle, behind, number = _Course(note=note), list(wires.values()), False, 0
    with select.epoll() as poll:
        for descriptor in wires:
            poll.register(descriptor, select.EPOLLIN)
        start = due = perf_counter()
        end = start + seconds
        while True:
            now = perf_counter()
            while due <= now < end and idle:
                head = next(heads, None)
                if head is None:
                    end = now
                    break
                wire = idle.pop()
                wire.due, wire.bodiless = due if gap else now, head.startswith(b"HEAD ")
                wire.socket.send(head)
                wire.number, number = number, number + 1
                if not behind:
                    course.late.append(now - wire.due)
                due = due + gap if gap else now
            behind = due <= now and not idle  # it waits for the server, and what it sends next is late by that
            if now >= end and (len(idle) == len(wires) or now > end + _LATEST):
                return course
            rest = (due if idle else end + _LATEST) - now
            if rest > _SHORT:
                select.select([poll], [], [], rest - _SHORT)
            for descriptor, _ in poll.poll(0):
                if _taken(wires[descriptor], course, end):
                    idle.append(wires[descriptor])


def _taken(wire: _Wire, course: _Course, end: float) -> bool:
    """Whether its answer is whole now."""
    more = wire.socket.recv(65536)
    if not more:
        raise ConnectionError("the server closed a connection")
    wire.got += more
    head = wire.got.find(_END)
    if head < 0:
        return False
    at = wire.got.find(_LENGTH) + len(_LENGTH)
    body = 0 if wire.bodiless else int(wire.got[at : wire.got.index(b"\r", at)])
    if len(wire.got) < head + len(_END) + body:
        return False
    now = perf_counter()
    course.latencies.append(now - wire.due)
    course.in_time += now <= end
    course.wrong += not wire.got.startswith(b"HTTP/1.1 200 ")
    if course.note is not None:
        course.note(wire.number, wire.got)
    wire.got = b""
    return True


def _connected(port: int) -> socket.socket:
    made = socket.create_connection((ADDRESS, port))
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    made.setblocking(False)
    return made
