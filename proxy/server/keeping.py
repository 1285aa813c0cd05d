"""Whether a connection takes another request behind one that aiohttp has read, or what follows is in nobody's hands."""

from aiohttp import web

from proxy.message import Reply


def keeps(raw: web.BaseRequest, reply: Reply) -> bool:
    """Whether another request may follow. A body that is still to come could be anything: it is read off for a while
    and never taken for a request."""
    if not raw.keep_alive or not raw.content.is_eof() or _trailed(raw):
        return False
    return not ("Upgrade" in raw.headers and _left_over(raw, reply))


def spoilt(raw: web.BaseRequest) -> bool:
    """Whether what follows on its connection cannot be told from what it was."""
    return raw.content.exception() is not None or ("Upgrade" in raw.headers and _left_over(raw, None))


def _left_over(raw: web.BaseRequest, reply: Reply | None) -> bool:
    """Whether bytes have come, or may come while `reply` is sent, behind a head at which the parser stopped for another
    protocol that it names in Upgrade: they are in nobody's hands then, and must not be taken for requests (RFC 9110
    7.8). It reads Proxy-Connection as Connection."""
    options = (*raw.headers.getall("Connection", ()), *raw.headers.getall("Proxy-Connection", ()))
    if "upgrade" not in ",".join(options).lower():
        return False
    return getattr(raw.protocol, "behind_upgrade", True) or not (reply is None or isinstance(reply.body, bytes))


def _trailed(raw: web.BaseRequest) -> bool:
    """Whether trailers may have followed the body. aiohttp's parser makes the last of them the first field of the
    next request, whoever's that is (RFC 9110 6.5.1 MUST NOT): then there is no next one."""
    return "Transfer-Encoding" in raw.headers and not getattr(raw.protocol, "ended_bare", False)
