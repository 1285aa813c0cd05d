"""A store as an operator might write one: a dict, and nothing of ours but the words."""

from collections.abc import AsyncIterator

from proxy.entry import Entry, Select, Variant


class DictStore:
    """Keeps `limit` entries at most."""

    made: "list[DictStore]" = []  # noqa: RUF012

    def __init__(self, limit: int = 100) -> None:
        self.limit = limit
        self.entries: dict[str, Entry] = {}
        self.made.append(self)

    async def get(self, hash: str, select: Select) -> Entry | None:
        variants = {entry.variant: entry for entry in self.entries.values() if entry.hash == hash}
        if not variants:
            return None
        chosen = select(Variant(entry.variant, entry.vary, entry.received_at) for entry in variants.values())
        return None if chosen is None else variants[chosen]

    async def put(self, entry: Entry) -> bool:
        if entry.body.data is None or len(self.entries) >= self.limit:
            return False
        self.entries[entry.key] = entry
        return True

    async def delete(self, key: str) -> int:
        keys = [entry.key for entry in self.entries.values() if key in (entry.key, entry.hash)]
        for gone in keys:
            del self.entries[gone]
        return len(keys)

    async def scan(self) -> AsyncIterator[Entry]:
        for entry in tuple(self.entries.values()):
            yield entry

    async def clear(self) -> int:
        count = len(self.entries)
        self.entries.clear()
        return count

    async def close(self) -> None:
        pass
