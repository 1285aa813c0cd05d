"""One connection that asks and waits: to fill a cache, to look at an answer, and to replay a day of one client."""

import socket
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass

from bench.programs import ADDRESS, PATIENCE

_MOST = 1 << 20


@dataclass(frozen=True, slots=True)
class Answer:
    """`size` is all of its bytes, the head included. Names of fields are in lower case."""

    status: int
    fields: dict[str, str]
    body: bytes
    size: int


class Connection:
    """To a port of this machine. It knows bodies by their Content-Length alone: nobody here sends others."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection((ADDRESS, port), timeout=PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, head: bytes) -> Answer:
        """Send a whole head and read the answer. OSError when the connection fails, or ends too soon."""
        self._socket.sendall(head)
        got = b""
        while (end := got.find(b"\r\n\r\n")) < 0:
            got += self._more()
        status, fields = _parsed(got[:end])
        bodiless = head.startswith(b"HEAD ") or status in (204, 304)
        whole = end + 4 + (0 if bodiless else int(fields.get("content-length", 0)))
        while len(got) < whole:
            got += self._more()
        return Answer(status, fields, got[end + 4 : whole], whole)

    def _more(self) -> bytes:
        more = self._socket.recv(_MOST)
        if not more:
            raise ConnectionError("the connection ended before the answer did")
        return more

    def close(self) -> None:
        self._socket.close()


def get(path: str, *lines: str, host: str = ADDRESS) -> bytes:
    """A plain head, for pages rather than for measuring."""
    return "\r\n".join((f"GET {path} HTTP/1.1", f"Host: {host}", *lines, "", "")).encode()


def asked(port: int, heads: Iterable[bytes]) -> list[Answer]:
    """The answers to these, one after the other on one connection."""
    with closing(Connection(port)) as connection:
        return [connection.ask(head) for head in heads]


def _parsed(head: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return int(first.split(" ", 2)[1]), {name.lower(): value.strip() for name, _, value in pairs}
