"""One request and its answer on one connection; neither body is ever held whole."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from functools import lru_cache

from proxy.errors import ClientGone, Fault, UpstreamError
from proxy.message import Head, Upload
from proxy.upstream.attempt import AttemptFailed, Patience, Stage
from proxy.upstream.connection import Connection
from proxy.upstream.protocol import Call, Informational, OnEnd

# Their end is nobody's promise, so no total time binds them; the silence between bytes still does.
STREAMS = ("text/event-stream", "application/x-ndjson", "multipart/x-mixed-replace")


@lru_cache(maxsize=512)
def _streams(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() in STREAMS


Sender = asyncio.Task[None]


async def ask(
    connection: Connection,
    call: Call,
    message: bytes,
    patience: Patience,
    clock: Callable[[], float],
    on_informational: Informational | None = None,
) -> "StreamedAnswer":
    """Send the request and wait for the final head. On any error the connection is gone.

    AttemptFailed when the origin gave no head; ClientGone (or what else the upload raised) when the request's own body
    broke off: the origin then sees a request that was cut, never one that looks whole.
    """
    requested_at = clock()
    sender: Sender | None = None
    connection.begin(call.method, message)
    try:
        if call.body is not None:
            sender = connection.loop.create_task(_upload(connection, call.body, patience.timeouts.read))
        while True:
            if sender is not None:
                await _sent(connection, sender)
            limit = patience.timeouts.first_byte
            head = await patience.wait(connection.head, limit, Fault.FIRST_BYTE_TIMEOUT, Stage.SENT)
            if head.status >= 200 or head.status == 101:
                break
            if on_informational is not None:
                on_informational(head)
    except BaseException:
        connection.abort()
        if sender is not None:
            await _stop(sender)
        raise
    return StreamedAnswer(head.at(requested_at, clock()), connection, sender, patience)


async def _upload(connection: Connection, body: Upload, stall: float) -> None:
    """Send a request body under its own framing, as fast as the origin takes it."""
    left = body.length
    async for chunk in body:
        if left is not None and len(chunk) > left:
            raise ClientGone("the request body is longer than its Content-Length")
        if left is not None:
            left -= len(chunk)
            connection.write(chunk)
        elif chunk:
            connection.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        if not connection.alive:
            return  # what the origin said before it left is the answer, or its failure
        try:
            async with asyncio.timeout(stall):
                await connection.drain()
        except TimeoutError:
            text = f"the upstream took nothing of the request body for {stall:g} s"
            raise AttemptFailed(Fault.READ_TIMEOUT, text, Stage.SENT) from None
    if left:
        raise ClientGone("the request body ended before its Content-Length")
    if left is None:
        connection.write(b"0\r\n\r\n")


async def _sent(connection: Connection, sender: Sender) -> None:
    """The first-byte time begins when the upload has ended; the origin may answer earlier. What broke the upload off is
    raised here."""
    while not connection.heard and not sender.done():
        heard = connection.event()
        try:
            await asyncio.wait({sender, heard}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            heard.cancel()
    if sender.done() and not connection.heard:
        sender.result()


async def _stop(sender: Sender) -> None:
    """End an upload whose request is over; what it would still raise concerns nobody any more."""
    sender.cancel()
    await asyncio.wait({sender})
    with contextlib.suppress(asyncio.CancelledError):
        sender.exception()


class StreamedAnswer:
    """An `Answer` whose body is read from its connection while it is iterated."""

    __slots__ = (
        "_ended",
        "_failure",
        "_on_end",
        "_patience",
        "_sender",
        "at_hand",
        "connection",
        "endless",
        "head",
        "waited",
        "whole",
    )

    def __init__(self, head: Head, connection: Connection, sender: Sender | None, patience: Patience) -> None:
        self.head = head
        self.connection = connection
        self._sender = sender
        self._patience = patience
        self.waited = patience.spent  # seconds from the request's last byte to the whole head
        self.at_hand: bytes | None = None  # a body that had come whole with its head
        self._ended = False
        self.whole = False  # all of it had come when it was over, read or not
        self._failure: UpstreamError | None = None
        self._on_end: list[OnEnd] = []
        self.endless = _streams(head.fields.get("content-type") or "")
        if self.endless:
            patience.lift_total()
        if sender is not None:
            sender.add_done_callback(self._upload_ended)

    @property
    def read_timeout(self) -> float:
        return self._patience.timeouts.read

    def settle(self) -> None:
        """Give the connection back at once when the whole answer is here already."""
        if self.connection.done and (self._sender is None or self._sender.done()):
            self.at_hand = self.connection.take()
            self._end(None)

    def when_ended(self, act: OnEnd) -> None:
        """As the port says."""
        if self._ended:
            act(None)
        else:
            self._on_end.append(act)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        chunk, self.at_hand = self.at_hand or b"", None
        if not self._ended:
            chunk = self.connection.take() or await self._more()
        if chunk:
            return chunk
        if self._failure is not None:
            raise self._failure
        raise StopAsyncIteration

    async def _more(self) -> bytes:
        read = self._patience.timeouts.read
        try:
            chunk = await self._patience.wait(self.connection.body, read, Fault.READ_TIMEOUT, Stage.ANSWER)
        except UpstreamError as e:
            self._end(e)
            raise
        if not chunk:
            self._end(None)
        return chunk

    async def close(self) -> None:
        if not self._ended:
            self._end(None)
            self._failure = AttemptFailed(Fault.RESET, "the answer was given up", Stage.ANSWER)

    def _end(self, failure: UpstreamError | None) -> None:
        self._ended, self._failure = True, failure
        self.whole = failure is None and self.connection.done
        if self._sender is not None and not self._sender.done():
            self._sender.cancel()
            self.connection.abort()  # half a request was sent: nothing can follow it
        for act in self._on_end:
            act(failure)

    def _upload_ended(self, sender: Sender) -> None:
        if not sender.cancelled() and sender.exception() is not None:
            self.connection.abort()
