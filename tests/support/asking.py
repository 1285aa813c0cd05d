"""Requests in one line, for tests of the judgement."""

from collections.abc import AsyncIterator

from proxy.message import Fields, Request, Upload


def ask(
    target: str = "/",
    *fields: tuple[str, str],
    method: str = "GET",
    host: str = "api.example.com",
    scheme: str = "http",
    content: int | None = 0,
    client: str = "",
    id: str = "",
) -> Request:
    """A request; `content` bytes long, None for a length that is not known."""
    body = None if content == 0 else Upload(_nothing(), content)
    return Request(method, scheme, host, target, Fields.of(*fields), client=client, id=id, body=body)


async def _nothing() -> AsyncIterator[bytes]:
    yield b""
