"""One port, one queue of connections for each worker, so that none of them wakes the others."""

import errno
import os
import socket
import sys
from collections.abc import Sequence

from proxy.server.listening import BACKLOG

Sockets = tuple[socket.socket, ...]
_BALANCES = sys.platform.startswith("linux")  # elsewhere the last socket bound gets every connection


def spread(bound: Sequence[socket.socket], workers: int) -> list[Sockets]:
    """A share of the port for each worker, from sockets that `listening.bind` has bound alone, and so found free.

    Each gets sockets of its own (SO_REUSEPORT), the first those that were given; where the system does not balance,
    or does not let us, all share the given ones.
    """
    shares = [tuple(bound)]
    for _ in range(workers - 1):
        share = _another(bound) if _BALANCES else None
        shares.append(_copies(bound) if share is None else share)
    return shares


def _another(bound: Sequence[socket.socket]) -> Sockets | None:
    made: list[socket.socket] = []
    for sock in bound:
        try:
            # Set only now that the port is ours: one that is taken was refused when it was bound without.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            made.append(_bound_like(sock))
        except OSError as error:
            for other in made:
                other.close()
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise
            return None
    return tuple(made)


def _bound_like(sock: socket.socket) -> socket.socket:
    other = socket.socket(sock.family, sock.type)
    try:
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            other.setsockopt(socket.SOL_SOCKET, option, 1)
        if sock.family == socket.AF_INET6:
            other.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        other.bind(sock.getsockname())
        other.listen(BACKLOG)
        other.setblocking(False)
    except OSError:
        other.close()
        raise
    return other


def _copies(bound: Sequence[socket.socket]) -> Sockets:
    return tuple(socket.socket(fileno=os.dup(sock.fileno())) for sock in bound)
