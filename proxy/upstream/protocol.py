"""The port to the origin: what the pipeline asks for and what it may get."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from proxy.errors import UpstreamError
from proxy.fixed import fixed
from proxy.message import Fields, Head, Upload


@dataclass(frozen=True, slots=True)
class Compartment:
    """A rule's part of a bulkhead: at most `limit` calls that bear this name are under way at a time."""

    name: str
    limit: int


@fixed
class Call:
    """One request to the origin. `target` is sent as it is (origin-form, ASCII); `fields` hold no Host, no framing.

    `host` is the Host to send when the client's is to be preserved, else None: the upstream's own authority.
    `compartment` is None where the service's own bounds are enough. `tried` hears the host and the port of each origin
    that is asked, before it is.
    """

    method: str
    target: str
    fields: Fields
    body: Upload | None = None
    host: str | None = None
    compartment: Compartment | None = None
    tried: Callable[[str, int], None] | None = None


class Answer(Protocol):
    """An answer whose head has come. Iterate its body once; the iteration ends only when the framing proved the end
    (or the framing is CLOSE), else it raises UpstreamError. Content is never decoded."""

    @property
    def head(self) -> Head: ...

    @property
    def at_hand(self) -> bytes | None:
        """All of its content, where it came with the head, its end is proven, and nothing of it was read."""
        ...

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    def when_ended(self, act: "OnEnd") -> None:
        """Call `act` once when the answer is over: read to its end or given up (None), or failed (the error)."""
        ...

    async def close(self) -> None:
        """Give up what was not read (its connection is not used again); idempotent, needed on every path."""
        ...


OnEnd = Callable[[UpstreamError | None], None]
Informational = Callable[[Head], None]


class Upstream(Protocol):
    """One service, whatever number of replicas stand behind it."""

    async def fetch(self, call: Call, on_informational: Informational | None = None) -> Answer:
        """Send and wait for the final head; UpstreamError when there is none."""
        ...

    def preflight(self) -> None:
        """UpstreamError where a call would be refused at once, so that nothing need be prepared for one."""
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Frame:
    """One websocket message; `code` only for close."""

    kind: Literal["text", "binary", "ping", "pong", "close"]
    data: bytes = b""
    code: int = 1000


@runtime_checkable
class Link(Protocol):
    """An open websocket to the origin, which has answered 101: `fields` are what the client's 101 is to say, beside
    the handshake."""

    fields: Fields

    @property
    def subprotocol(self) -> str | None: ...

    async def receive(self) -> Frame:
        """The next message; a close frame (1006 when the connection just ended) is the last."""
        ...

    async def send(self, frame: Frame) -> None:
        """UpstreamError when the origin is gone."""
        ...

    async def close(self) -> None: ...


class Connector(Protocol):
    """What a service offers beside `Upstream` when it takes websockets."""

    async def connect(self, call: Call) -> Link | Answer:
        """Ask for the upgrade: the open link, or the origin's answer when it declined. UpstreamError as in `fetch`."""
        ...
