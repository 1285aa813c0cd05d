"""Opening connections: names are looked up again every 30 s, addresses raced (RFC 8305), every failure named."""

import asyncio
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence

import aiohappyeyeballs

from proxy.errors import Fault
from proxy.upstream.attempt import AttemptFailed, Stage
from proxy.upstream.connection import Connection

DNS_TTL = 30.0  # seconds
RACE_DELAY = 0.25  # seconds before the next address is tried beside the first (RFC 8305 section 8)

Address = tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int]]
Lookup = Callable[[str, int], Awaitable[Sequence[Address]]]


async def system_lookup(host: str, port: int) -> Sequence[Address]:
    """What the system's resolver says."""
    loop = asyncio.get_running_loop()
    return await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)  # type: ignore[return-value]


class Dialer:
    """Opens connections to one host and port, over TLS when there is a context."""

    def __init__(
        self,
        host: str,
        port: int,
        tls: ssl.SSLContext | None,
        timeout: float,
        clock: Callable[[], float] = time.monotonic,
        lookup: Lookup = system_lookup,
    ) -> None:
        self._host = host
        self._port = port
        self._tls = tls
        self._timeout = timeout
        self._clock = clock
        self._look_up = lookup
        self._known: Sequence[Address] = ()
        self._known_until = 0.0
        self._lookup: asyncio.Future[Sequence[Address]] | None = None

    async def dial(self) -> Connection:
        """An open connection within `timeout` seconds; AttemptFailed(CONNECT) otherwise."""
        late = _failed(Fault.DNS, "its name could not be looked up in time")
        try:
            async with asyncio.timeout(self._timeout):
                addresses = await self._addresses()
                late = _failed(Fault.CONNECT_TIMEOUT, f"no connection within {self._timeout:g} s")
                return await self._open(addresses)
        except socket.gaierror as e:
            raise _failed(Fault.DNS, f"its name cannot be looked up: {e.strerror}") from e
        except ssl.SSLError as e:
            raise _failed(Fault.TLS, f"TLS failed: {_tls_reason(e)}") from e
        except TimeoutError:  # ours, or the system's ETIMEDOUT
            raise late from None
        except OSError as e:
            text = e.strerror or "connection failed"
            raise _failed(Fault.REFUSED, text if e.errno is None else f"{text} (errno {e.errno})") from e

    async def _open(self, addresses: Sequence[Address]) -> Connection:
        sock = await aiohappyeyeballs.start_connection(addresses, happy_eyeballs_delay=RACE_DELAY)
        name = self._host if self._tls is not None else None
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(
                lambda: Connection(loop), sock=sock, ssl=self._tls, server_hostname=name
            )
        except ConnectionError as e:
            if self._tls is None:
                raise
            raise _failed(Fault.TLS, "the connection ended during the TLS handshake") from e
        return connection

    async def _addresses(self) -> Sequence[Address]:
        """Known for 30 s; one lookup at a time, which outlives the request that began it."""
        if self._clock() >= self._known_until:
            if self._lookup is None:
                self._lookup = asyncio.ensure_future(self._look_up(self._host, self._port))
                self._lookup.add_done_callback(self._looked_up)
            return await asyncio.shield(self._lookup)
        return self._known

    def _looked_up(self, lookup: asyncio.Future[Sequence[Address]]) -> None:
        self._lookup = None
        if not lookup.cancelled() and lookup.exception() is None:
            self._known, self._known_until = lookup.result(), self._clock() + DNS_TTL

    def close(self) -> None:
        if self._lookup is not None:
            self._lookup.cancel()


def _failed(fault: Fault, text: str) -> AttemptFailed:
    return AttemptFailed(fault, f"the upstream cannot be reached: {text}", Stage.CONNECT)


def _tls_reason(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate was not accepted ({error.verify_message})"
    return (error.reason or "unknown").lower().replace("_", " ")
