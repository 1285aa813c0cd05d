"""How clients of limited rules stand."""

from dataclasses import asdict
from typing import Protocol
from urllib.parse import unquote

from proxy.limiting import Status
from proxy.message import Reply
from proxy.server.admin.pages import AdminError, Ask, Page, json_reply
from proxy.server.admin.rights import Level
from proxy.settings.problems import found as quoted


class Look(Protocol):
    """As `limiting.Limiting.status`."""

    async def __call__(self, key: str, *, by_address_alone: bool = False) -> Status | None: ...


def rate_limit_page(look: Look) -> Page:
    """`GET /ratelimit/{key}`: nothing is used. The key is percent-encoded as a path segment; `?by=client_ip` asks about
    an address of who did not send the header that the rule goes by."""

    async def status(ask: Ask) -> Reply:
        by = ask.query.get("by")
        if by not in (None, "client_ip"):
            raise AdminError(400, "bad-by", f"by: wanted client_ip, or nothing; found {quoted(by)}.")
        key = unquote(ask.name, encoding="latin-1")
        found = await look(key, by_address_alone=by is not None)
        if found is None:
            text = "A key is <rule>:<client address or header value>, of a rule that has a rate_limit."
            raise AdminError(404, "no-such-limit", text)
        return json_reply({"key": key, **asdict(found)})

    return Page("GET", "/ratelimit/{key}", Level.TOKEN, status, ("by",))
