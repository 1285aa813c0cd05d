"""The API behind the gateways: what each path says is known to the byte, and it can be in a bad mood."""

import functools
import hashlib
from collections.abc import Callable
from enum import Enum
from random import Random

from tests.soak.versions import PATHS, Versions, content, fields
from tests.support.origin import Origin, Reader, Recorded, Said, Writer, render
from tests.support.persons import World

KEPT = 1000  # requests that the origin remembers
BIG = 2_500_000  # bytes of /big/<n>: too large for memory and Redis
JUNK = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: 5\r\n\r\njunk\n"


class Mood(Enum):
    WELL = "well"
    STORM = "storm"  # nothing but 5xx
    LIES = "lies"  # lengths that are not those of what follows


@functools.cache
def big(path: str) -> bytes:
    return f"{path} is long\n".encode() * (BIG // 15)


def cold(path: str) -> bytes:
    """What a key says that is asked for once."""
    return f"{path}\n".encode() * (20 + len(path) * 7 % 60)


class Api:
    """Persons' answers, versioned ones, cold ones, large ones, uploads. `mood` holds for all of them."""

    def __init__(self, origin: Origin, versions: Versions, seed: int) -> None:
        self.mood = Mood.WELL
        self.world = World(origin)
        self._origin = origin
        self._versions = versions
        self._random = Random(seed)
        self._says: dict[str, Callable[[Recorded], bytes]] = {
            "v": self._versioned,
            "cold": lambda request: self._plain(request, cold(request.path)),
            "big": lambda request: self._plain(request, big(request.path)),
            "upload": self._uploaded,
        }
        origin.instead = self._instead

    def _instead(self, request: Recorded) -> Said | None:
        if len(self._origin.requests) > KEPT:
            self._origin.requests.clear()
        if self.mood is Mood.STORM:
            status = self._random.choice((500, 502, 503, 504))
            return render(request, status, [("Cache-Control", "no-store")], b"storm\n", chunked=False, close=False)
        say = self._says.get(request.path.split("/")[1])
        if say is None:
            return None
        return say if self.mood is Mood.WELL else self._lie

    async def _lie(self, request: Recorded, reader: Reader, writer: Writer) -> None:
        """Less than was said, more than was said, or no end. Whoever keeps to the framing gets no wrong byte."""
        head, _, body = self._says[request.path.split("/")[1]](request).partition(b"\r\n\r\n")
        how = self._random.randrange(3)
        if how == 0:
            writer.write(head + b"\r\n\r\n" + body[: len(body) // 2])
        elif how == 1:
            writer.write(head + b"\r\n\r\n" + body + JUNK)
            return  # and the connection stays, for whoever would use it again
        else:
            lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"content-length")]
            chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            writer.write(b"\r\n".join([*lines, b"Transfer-Encoding: chunked"]) + b"\r\n\r\n" + chunk)
        await writer.drain()
        raise ConnectionAbortedError  # the origin ends the connection, in good order

    def _versioned(self, request: Recorded) -> bytes:
        path = request.path
        if path not in PATHS:
            return render(request, 404, [], b"", chunked=False, close=False)
        if request.method not in ("GET", "HEAD"):
            self._versions.change([path])
            return render(request, 200, [("Cache-Control", "no-store")], b"changed\n", chunked=False, close=False)
        version = self._versions.current[path]
        known = request.header("if-none-match") == f'"v{version}"'
        body = b"" if known else content(path, version)
        return render(request, 304 if known else 200, fields(path, version), body, chunked=False, close=False)

    def _plain(self, request: Recorded, body: bytes) -> bytes:
        said = [("ETag", '"1"'), ("Cache-Control", "max-age=60"), ("Surrogate-Key", "plain")]
        chunked = self.mood is Mood.WELL and len(request.path) % 2 == 0
        return render(request, 200, said, body, chunked=chunked, close=False)

    def _uploaded(self, request: Recorded) -> bytes:
        digest = hashlib.sha256(request.body).hexdigest().encode()
        return render(request, 200, [("Cache-Control", "no-store")], digest, chunked=False, close=False)
