"""One answer of which parts are held, as it lies there and as it is handed out."""

import asyncio
from dataclasses import dataclass, replace
from typing import NamedTuple

from proxy.entry import Entry, Found
from proxy.errors import StoreError
from proxy.outcome import Tier
from proxy.policy.parts import Extents
from proxy.store.file_handle import BLOCK
from proxy.store.sheet import PartialBody, Sheet
from proxy.store.shelves import Node


class Held(Node):
    """One answer in parts. `entry` is that of the whole, as a 200, with a `PartialBody`; `size` is what it was counted
    for when it was measured last, in bytes."""

    __slots__ = ("body", "entry", "lock", "sheet", "size", "tier")

    def __init__(self, entry: Entry, total: int, sheet: Sheet, tier: Tier) -> None:
        self.sheet = sheet
        self.tier = tier
        self.lock = asyncio.Lock()  # what is on the sheet is never written again, so writers take turns
        self.body = PartialBody(sheet, total, Extents(), [])
        self.entry = replace(entry, body=self.body)
        self.measure()

    @property
    def key(self) -> str:
        return self.entry.key

    @property
    def hash(self) -> str:
        return self.entry.hash

    @property
    def received_at(self) -> float:
        return self.entry.received_at

    def measure(self) -> None:
        """In memory the whole sheet is taken, on disk what was written. Not while it lies on a shelf."""
        if self.tier is Tier.MEMORY:
            self.size = self.entry.size
        else:
            self.size = self.body.extents.size + BLOCK * len(self.body.extents.parts)

    def become(self, entry: Entry, extents: Extents) -> None:
        """New fields, and perhaps more bytes."""
        old, self.body = self.body, self.body.grown(extents)
        self.entry = replace(entry, body=self.body)
        old.close()


@dataclass(frozen=True, slots=True)
class Partly:
    """What was held at one moment. The body in `found` is not the caller's: `share` it."""

    held: Held
    found: Found
    extents: Extents

    @property
    def entry(self) -> Entry:
        return self.found.entry

    def taken(self) -> Found | None:
        """To be sent: its body is the caller's to close. None when it has ended meanwhile."""
        try:
            return replace(self.found, entry=replace(self.entry, body=self.entry.body.share()))
        except StoreError:
            return None


class InParts(NamedTuple):
    """An answer that is held in parts, with the bytes of its content that are there."""

    tier: Tier
    entry: Entry
    there: int
