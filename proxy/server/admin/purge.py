"""Purging and clearing (contract, "Purge")."""

from functools import partial
from typing import Protocol

from proxy.invalidation.purge_requests import PurgeError, PurgeRequest, parse_purge
from proxy.invalidation.purges import Receipt
from proxy.invalidation.records import Kind, url_name
from proxy.message import Reply, Request
from proxy.outcome import Tier
from proxy.server.admin.clearing import Cleared, Clearing
from proxy.server.admin.entries import Inventory, resolve
from proxy.server.admin.pages import AdminError, Ask, Page, json_reply
from proxy.server.admin.rights import Level


class Purges(Protocol):
    """What applies purges."""

    async def purge(self, request: PurgeRequest) -> Receipt: ...


class Find(Protocol):
    """A receipt again, whichever worker gave it."""

    async def __call__(self, id: str) -> Receipt | None: ...


class Clear(Protocol):
    """Empties `tier` of this instance, or every tier of all instances when it is None; only what fits `pattern`, a
    glob on the path, when there is one. ValueError for a pattern that is no glob."""

    async def __call__(self, tier: Tier | None, pattern: str | None) -> Cleared: ...


class PurgeVerb:
    """`PURGE <any url>`: the same as {"url": …}, for the URL as it came."""

    def __init__(self, purges: Purges) -> None:
        self._purges = purges

    async def __call__(self, request: Request) -> Reply:
        named = PurgeRequest(Kind.URL, (url_name(request.host, request.target),))
        return _told(await self._purges.purge(named))


def purge_pages(purges: Purges, find: Find, inventory: Inventory, clear: Clear) -> tuple[Page, ...]:
    """Everything that makes stored answers go."""

    async def purge(ask: Ask) -> Reply:
        try:
            wanted = parse_purge(await ask.json())
            if wanted.short:
                found = await resolve(inventory, wanted.names[0])
                wanted = PurgeRequest(wanted.kind, (found["key"],), wanted.soft, wanted.dry_run)
            return _told(await purges.purge(wanted))
        except PurgeError as error:
            raise AdminError(400, "bad-purge", f"{error}.") from None

    async def receipt(ask: Ask) -> Reply:
        found = await find(ask.name)
        if found is None:
            raise AdminError(404, "no-such-purge", "There is no receipt of this id; they are kept for a while only.")
        return json_reply(found.to_json())

    def clearing(path: str, tier: Tier | None) -> Page:
        under_way = Clearing("every tier" if tier is None else f"the {tier.value} tier", partial(clear, tier))

        async def cleared(ask: Ask) -> Reply:
            try:
                return await under_way(ask)
            except ValueError as error:
                raise AdminError(400, "bad-pattern", str(error)) from None

        return Page("DELETE", path, Level.TOKEN, cleared, ("pattern",))

    return (
        Page("POST", "/purge", Level.TOKEN, purge),  # dry_run, say, goes into the body
        Page("GET", "/purges/{id}", Level.TOKEN, receipt),
        clearing("", None),
        clearing("/memory", Tier.MEMORY),
        clearing("/file", Tier.FILE),
    )


def _told(receipt: Receipt) -> Reply:
    """200 when every live instance has applied it, 202 while some have not, or we are cut off and cannot know."""
    return json_reply(receipt.to_json(), 200 if receipt.complete else 202)
