"""What lies in store: listed, and one by one under a key that may be shortened."""

import re
from collections.abc import Sequence
from typing import Protocol

from proxy.insight.inventory import WHOLE, Listing, Row
from proxy.insight.search import Search
from proxy.message import Reply
from proxy.server.admin.pages import AdminError, Ask, Page, json_reply
from proxy.server.admin.rights import Level
from proxy.settings.problems import found

MAX_LISTED = 1000
_WANTED = {"match": "a glob on the path", "url": "a part of a URL", "tag": "a tag", "rule": "the name of a rule"}
_KEY = re.compile(r"[0-9a-f]{8,64}(?:\.[0-9a-f]{1,16})?")


class Inventory(Protocol):
    """The stored entries of all tiers, purged ones left out."""

    async def listed(self, limit: int, search: Search) -> Listing:
        """At most `limit` entries of those that are looked for, and how many there are among those that were looked
        at. ValueError for a glob that is none."""
        ...

    async def named(self, key: str) -> Sequence[Row]:
        """The entries whose key begins with `key`; a few are enough to tell that it is ambiguous."""
        ...


def entry_pages(inventory: Inventory) -> tuple[Page, ...]:
    """`GET /entries?limit=&match=&url=&tag=&rule=` and `GET /entries/{key}`."""

    async def listing(ask: Ask) -> Reply:
        query = ask.query
        for name, what in _WANTED.items():
            if query.get(name) == "":
                raise AdminError(400, f"bad-{name}", f"{name}: wanted {what}, found ''.")
        search = Search(**{name: query[name] for name in _WANTED if name in query})
        try:
            rows, total, complete = await inventory.listed(_limit(query.get("limit", "100")), search)
        except ValueError as error:
            raise AdminError(400, "bad-match", str(error)) from None
        return json_reply({"entries": list(rows), "total": total, "complete": complete})

    async def one(ask: Ask) -> Reply:
        return json_reply(await resolve(inventory, ask.name))

    return Page("GET", "/entries", Level.TOKEN, listing, ("limit", *_WANTED)), Page(
        "GET", "/entries/{key}", Level.TOKEN, one
    )


async def resolve(inventory: Inventory, key: str) -> Row:
    """The one entry that a key, short or whole, names. AdminError when it is none, or more than one."""
    if not _KEY.fullmatch(key):
        raise AdminError(400, "bad-key", "A key has 8 to 64 hex digits, and perhaps '.' and a variant's.")
    rows = await inventory.named(key)
    exact = [entry for entry in rows if entry["key"] == key]
    if len(exact or rows) == 1:
        return (exact or rows)[0]
    if not rows:
        hint = "" if len(key) >= WHOLE else " A whole key is sure to be found."
        raise AdminError(404, "no-such-entry", f"Nothing was found under {key}.{hint}")
    raise AdminError(409, "ambiguous", f"{key} names several entries.", {"keys": [entry["key"] for entry in rows]})


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= MAX_LISTED):
        raise AdminError(400, "bad-limit", f"limit: wanted a number from 1 to {MAX_LISTED}, found {found(text)}.")
    return int(text)
