"""Why a request is answered as it is: `GET /explain?url=…&method=…`, or POST with headers and a body."""

from base64 import b64decode
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from aiohttp.http import HttpVersion, HttpVersion11

from proxy.errors import BadRequest
from proxy.message import Pair, Reply, Request, Upload
from proxy.policy.fields import IS_TOKEN
from proxy.server.admin.asked_url import placed
from proxy.server.admin.pages import AdminError, Ask, Page, json_reply
from proxy.server.admin.rights import Level
from proxy.server.requests import Reading
from proxy.settings.problems import found

Document = dict[str, Any]
Check = Callable[[bytes], None]  # BadRequest for a head that no connection takes
_KNOWN = ("url", "method", "headers", "body", "body_base64", "client")


@dataclass(frozen=True, slots=True)
class Question:
    """A request to explain, as a head at the door (`requests.Asked`), and its content, None for none."""

    method: str
    raw_path: str
    raw_headers: tuple[Pair, ...]
    remote: str
    secure: bool
    content: bytes | None = None
    version: HttpVersion = HttpVersion11

    def read(self, reading: Reading, check: Check, now: float) -> Request:
        """As the door reads it, and its connections `check` it. AdminError for what the door refuses as malformed."""
        try:
            check(self._head())
            return reading.for_site(reading(self, now, self._upload))
        except BadRequest as refused:
            text = f"{str(refused).removesuffix('.')}; the door answers {refused.status}."
            raise AdminError(400, refused.why.word, text, {"status": refused.status}) from None

    def _head(self) -> bytes:
        fields = b"".join([b"%b: %b\r\n" % pair for pair in self.raw_headers])
        return f"{self.method} {self.raw_path} HTTP/1.1\r\n".encode("latin-1") + fields + b"\r\n"

    def _upload(self) -> Upload | None:
        return None if self.content is None else Upload(_once(self.content), len(self.content))


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content


def explain_pages(explain: Callable[[Question], Awaitable[Document]]) -> tuple[Page, ...]:
    """Both ways to ask; a bare path is meant for the Host by which the page is asked for."""

    async def by_query(ask: Ask) -> Reply:
        return json_reply(await explain(asked(ask.query, ask.request)))

    async def by_body(ask: Ask) -> Reply:
        said = await ask.json()
        if not isinstance(said, dict):
            raise AdminError(400, "bad-explain", "Wanted a JSON object with a url.")
        return json_reply(await explain(asked(said, ask.request)))

    return Page("GET", "/explain", Level.TOKEN, by_query, _KNOWN), Page("POST", "/explain", Level.TOKEN, by_body)


def asked(said: Mapping[str, Any], page: Request) -> Question:
    """What is asked about. AdminError says what is wrong with it."""
    for name in said:
        if name not in _KNOWN:
            raise AdminError(400, "bad-explain", f"{str(name)[:80]}: unknown; known are {', '.join(_KNOWN)}.")
    texts = {name: said.get(name, "") for name in ("url", "method", "body_base64", "client")}
    for name, text in texts.items():
        if not isinstance(text, str):
            raise AdminError(400, "bad-explain", f"{name}: wanted text, found {found(text)}.")
    secure, host, target = _place(texts["url"], page)
    pairs, content = _pairs(said.get("headers", {})), _content(said)
    names = {name.lower() for name, _ in pairs}
    if b"host" not in names:
        pairs = ((b"Host", host.encode()), *pairs)
    if content is not None and not names & {b"content-length", b"transfer-encoding"}:
        pairs = (*pairs, (b"Content-Length", b"%d" % len(content)))
    method = texts["method"] or ("GET" if content is None else "POST")
    if not IS_TOKEN(method):
        raise AdminError(400, "bad-method", f"method: {method[:80]!r} is none.")
    return Question(method, target, pairs, _client(said) or page.client, secure, content)


def _place(url: str, page: Request) -> tuple[bool, str, str]:
    """Whether it is https, the host and the target, each as it would be sent."""
    try:
        scheme, host, target = placed(url)
    except ValueError as error:
        raise AdminError(400, "bad-url", str(error)) from None
    return (scheme or page.scheme) == "https", host or page.host, target


def _client(said: Mapping[str, Any]) -> str:
    """The address that is named, "" for none."""
    client: str = said.get("client", "")
    try:
        if "client" in said:
            ip_address(client)
    except ValueError:
        raise AdminError(400, "bad-client", f"client: wanted an IP address, found {found(client)}.") from None
    return client


def _pairs(headers: object) -> tuple[Pair, ...]:
    """From an object of names and values (or lists of them), or from pairs."""
    listed: Sequence[Any]
    if isinstance(headers, dict):
        listed = [
            (name, one) for name, value in headers.items() for one in (value if isinstance(value, list) else [value])
        ]
    elif isinstance(headers, list):
        listed = headers
    else:
        raise AdminError(400, "bad-headers", "headers: wanted an object of names and values.")
    pairs = []
    for each in listed:
        if not isinstance(each, list | tuple) or len(each) != 2 or not all(isinstance(text, str) for text in each):
            raise AdminError(400, "bad-headers", "headers: a name and its value are texts.")
        name, value = each
        if not IS_TOKEN(name) or set(value) & set("\r\n\0"):
            raise AdminError(400, "bad-headers", f"headers: {name[:80]!r} and its value are no header.")
        pairs.append((name.encode(), value.strip(" \t").encode("utf-8")))
    return tuple(pairs)


def _content(said: Mapping[str, Any]) -> bytes | None:
    body, encoded = said.get("body"), said.get("body_base64")
    if body is not None and encoded is not None:
        raise AdminError(400, "bad-body", "Wanted one of body and body_base64, found both.")
    if body is not None and not isinstance(body, str):
        raise AdminError(400, "bad-body", f"body: wanted text, found {found(body)}; bytes go into body_base64.")
    try:
        content = (body or "").encode() if encoded is None else b64decode(encoded, validate=True)
    except ValueError:
        raise AdminError(400, "bad-body", "body_base64: this is not base64.") from None
    return content or None
