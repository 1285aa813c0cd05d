"""A request's body as it comes in: bounded in size and in patience, its failures told in our words."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from aiohttp.http import HttpVersion11
from aiohttp.web_protocol import RequestPayloadError

from proxy.errors import BadRequest, ClientGone
from proxy.message import Upload
from proxy.policy.fields import members
from proxy.reasons import Why
from proxy.server.plain import Raw

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Uploads:
    """Bounds of uploads: `max_body` bytes, `idle` seconds between two parts, and `slowest` bytes a second on the
    whole once `idle` seconds have passed."""

    max_body: int = 100 * 1024 * 1024
    idle: float = 30.0
    slowest: float = 1000.0
    timer: Callable[[], float] = lambda: asyncio.get_running_loop().time()


class Intake:
    """Reads one body. `failure` is why it could not be read to its end, None as long as it could."""

    def __init__(self, raw: Raw, bounds: Uploads) -> None:
        self.failure: BadRequest | ClientGone | None = None
        self.bounds = bounds
        self._raw = raw
        self._expected = "Expect" in raw.headers and _invited(raw)

    @property
    def too_large(self) -> BadRequest | None:
        """The refusal of a body whose announced length is too much, before any of it is read."""
        length = self._raw.content_length
        return self._over() if length is not None and length > self.bounds.max_body else None

    def upload(self) -> Upload | None:
        """The body as the rest of the house reads it; None when there is none."""
        if not self._raw.body_exists:
            return None
        return Upload(self._chunks(), self._raw.content_length)

    def withdraw(self) -> None:
        """The final answer is on its way: an interim 100 may not follow it."""
        self._expected = False

    async def _chunks(self) -> AsyncIterator[bytes]:
        began, size = self.bounds.timer(), 0
        self._invite()
        while chunk := await self._part():
            size += len(chunk)
            if size > self.bounds.max_body:
                raise self._failed(self._over())
            seconds = self.bounds.timer() - began
            if seconds > self.bounds.idle and size < self.bounds.slowest * (seconds - self.bounds.idle):
                raise self._failed(BadRequest(408, Why.CLIENT_GONE, "The body came too slowly."))
            yield chunk

    async def _part(self) -> bytes:
        try:
            async with asyncio.timeout(self.bounds.idle):
                chunk = await self._raw.content.readany()
        except TimeoutError as error:
            raise self._failed(BadRequest(408, Why.CLIENT_GONE, "The body stopped coming.")) from error
        except RequestPayloadError as error:
            raise self._failed(BadRequest(400, Why.MALFORMED, "The body breaks its own framing.")) from error
        except (ConnectionError, RuntimeError, OSError) as error:
            raise self._failed(ClientGone("the client left while its body was read")) from error
        if self._raw.content.total_compressed_bytes is not None:
            # Inside another application, whose server decoded what the fields still call encoded.
            raise self._failed(BadRequest(415, Why.MALFORMED, "This server wants auto_decompress=False."))
        return chunk

    def _invite(self) -> None:
        """Ask for the body when the client waits to be asked, now that somebody wants it (RFC 9110 10.1.1)."""
        transport = self._raw.transport
        if self._expected and transport is not None and not transport.is_closing():
            transport.write(CONTINUE)
        self._expected = False

    def _over(self) -> BadRequest:
        return BadRequest(413, Why.TOO_LARGE, f"A body has at most {self.bounds.max_body} bytes here.")

    def _failed(self, failure: BadRequest | ClientGone) -> BadRequest | ClientGone:
        self.failure = failure
        return failure


def _invited(raw: Raw) -> bool:
    """Whether the client waits to be asked for its body."""
    expected = members(",".join(raw.headers.getall("Expect", ())).lower())
    return "100-continue" in expected and raw.version == HttpVersion11
