"""What a worker's process is given when it is started: its sockets and its ends of what the parent shares."""

import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn, Self

from proxy.eventloop import EventLoop
from proxy.importing import imported

ORPHANED = 5.0  # seconds that a worker gets to end by itself once its parent has gone

_BEGIN = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from proxy.server.seat import sit; sit(*sys.argv[2:])"
)


@dataclass(frozen=True, slots=True)
class Seat:
    """Place `number` of `of`. Descriptors: `bus` is the link to the parent, `ring` the memory of the journal, `life`
    a pipe that ends when the parent does."""

    number: int
    of: int
    public: tuple[socket.socket, ...]
    admin: tuple[socket.socket, ...]
    bus: socket.socket
    ring: int
    life: int
    loop: EventLoop

    @property
    def descriptors(self) -> list[int]:
        """All that the process has to inherit, under the same numbers."""
        return [*(sock.fileno() for sock in (*self.public, *self.admin, self.bus)), self.ring, self.life]

    def command(self, work: str) -> list[str]:
        """What starts a process that calls `work` ("module:function") with this seat."""
        told = {
            "number": self.number,
            "of": self.of,
            "public": [sock.fileno() for sock in self.public],
            "admin": [sock.fileno() for sock in self.admin],
            "bus": self.bus.fileno(),
            "ring": self.ring,
            "life": self.life,
            "loop": self.loop,
        }
        return [sys.executable, "-c", _BEGIN, json.dumps(sys.path), work, json.dumps(told)]

    @classmethod
    def of_process(cls, text: str) -> Self:
        """In the new process, from the last word of its command."""
        told = json.loads(text)
        return cls(
            told["number"],
            told["of"],
            _sockets(told["public"]),
            _sockets(told["admin"]),
            _sockets([told["bus"]])[0],
            told["ring"],
            told["life"],
            told["loop"],
        )


def sit(work: str, text: str) -> NoReturn:
    """Be the worker. Of signals only SIGTERM is for us: a terminal sends the others to the parent too, which passes
    on what they mean."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    seat = Seat.of_process(text)
    threading.Thread(target=_outlive, args=(seat.life,), name="parent", daemon=True).start()
    module, _, function = work.partition(":")
    sys.exit(getattr(imported(module), function)(seat))


def _outlive(life: int) -> None:
    """End a process whose parent has gone, also when its event loop is stuck."""
    os.read(life, 1)
    time.sleep(ORPHANED)
    os._exit(1)


def _sockets(descriptors: Sequence[int]) -> tuple[socket.socket, ...]:
    return tuple(socket.socket(fileno=descriptor) for descriptor in descriptors)
