"""A request that is nothing but a plain head, read by us: for the front what aiohttp's requests are, at a tenth of
their price."""

import asyncio
from typing import Final

from aiohttp import web
from aiohttp.http import HttpVersion11
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import RequestHandler

from proxy.message import Fields, Pair


class _None(dict[str, str]):
    """No fields, as aiohttp's requests show them."""

    def getall(self, name: str, default: tuple[str, ...]) -> tuple[str, ...]:
        return default


_NONE: Final = _None()


class Plain:
    """Whoever reads one has seen to it that nothing stands in the head that is about its framing, its connection or
    another protocol: no Connection but keep-alive, Content-Length, Transfer-Encoding, Expect, Upgrade. In this sense it
    has no `headers`. `began` by the timer of those who look at heads."""

    __slots__ = ("began", "fields", "method", "protocol", "raw_path", "remote", "secure")

    version = HttpVersion11
    keep_alive = True
    headers = _NONE
    content = EMPTY_PAYLOAD
    content_length: int | None = None
    body_exists = False

    def __init__(
        self,
        protocol: RequestHandler,
        method: str,
        raw_path: str,
        fields: Fields,
        remote: str,
        *,
        secure: bool,
        began: float,
    ) -> None:
        self.protocol = protocol
        self.method = method
        self.raw_path = raw_path
        self.fields = fields
        self.remote = remote
        self.secure = secure
        self.began = began

    @property
    def raw_headers(self) -> tuple[Pair, ...]:
        return self.fields.pairs

    @property
    def transport(self) -> asyncio.Transport | None:
        return self.protocol.transport


Raw = web.BaseRequest | Plain
