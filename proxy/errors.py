"""What can go wrong, by whose fault it is. Foreign exceptions are translated to these where they arise."""

from dataclasses import dataclass
from enum import StrEnum

from proxy.reasons import Why


class CachegateError(Exception):
    """Root of every error this package raises on purpose."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in the configuration: where it stands and what to do about it."""

    place: str
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


class ConfigError(CachegateError):
    """The operator's input is wrong; carries every problem found, not only the first."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        super().__init__("\n".join(map(str, problems)))


class BadRequest(CachegateError):
    """The client's request cannot be taken: answered with `status`, never sent upstream."""

    def __init__(self, status: int, why: Why, message: str) -> None:
        self.status = status
        self.why = why
        super().__init__(message)


class StoreError(CachegateError):
    """A tier cannot do what was asked now; a miss for the request, never a failure of it."""


class TruncatedError(CachegateError):
    """A body ended before its framing said so; what was read of it proves nothing."""


class Fault(StrEnum):
    """How an upstream call failed."""

    REFUSED = "upstream-refused"
    DNS = "upstream-dns"
    TLS = "upstream-tls"
    CONNECT_TIMEOUT = "upstream-connect-timeout"
    FIRST_BYTE_TIMEOUT = "upstream-first-byte-timeout"
    READ_TIMEOUT = "upstream-read-timeout"
    RESET = "upstream-reset"
    FRAMING = "upstream-framing"
    ERROR = "upstream-error"  # it answered 5xx; as an error to who shared somebody else's request
    UNAVAILABLE = "upstream-unavailable"
    GATEWAY_TIMEOUT = "upstream-gateway-timeout"
    BUSY = "upstream-busy"
    BREAKER_OPEN = "breaker-open"
    OVER_MEMORY = "over-memory"

    @property
    def status(self) -> int:
        """The status a client is told (RFC 9110 15.6)."""
        if self in _TIMEOUTS:
            return 504
        return 503 if self in _OURS else 502

    @property
    def why(self) -> Why:
        return Why(self.value)


_TIMEOUTS = frozenset({Fault.CONNECT_TIMEOUT, Fault.FIRST_BYTE_TIMEOUT, Fault.READ_TIMEOUT, Fault.GATEWAY_TIMEOUT})
WITHHELD = frozenset({Fault.BUSY, Fault.BREAKER_OPEN, Fault.OVER_MEMORY})  # calls that were never sent
_OURS = WITHHELD | {Fault.UNAVAILABLE}


class UpstreamError(CachegateError):
    """No proven answer from the upstream. `retry_after`: seconds after which another try makes sense."""

    def __init__(self, fault: Fault, message: str, *, retry_after: int | None = None) -> None:
        self.fault = fault
        self.retry_after = retry_after
        super().__init__(message)


class ClientGone(CachegateError):
    """The client left or broke its own framing while its body was being read."""
