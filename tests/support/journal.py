"""Entries and purges in one line each, and an oracle that keeps every record and tries them all."""

import math
from fnmatch import fnmatchcase

from proxy.entry import BytesBody, Entry, KeyParts, Pairs, Position, Scope
from proxy.invalidation.journal import Journal
from proxy.invalidation.records import Kind, Purge
from proxy.message import Fields

EPOCH = 7


def entry(
    url: str,
    seen: int = 0,
    *,
    tags: tuple[str, ...] = (),
    rule: str = "",
    namespace: str = "",
    vary: Pairs = (),
    epoch: int = EPOCH,
    method: str = "GET",
) -> Entry:
    """An answer for `http://host/path?query` (no host: its rule keeps it out of the key), fetched at head `seen`."""
    host, slash, rest = url.removeprefix("http://").partition("/") if url.startswith("http://") else ("", "", url)
    path, mark, query = (slash + rest).partition("?")
    parts = KeyParts(Scope("origin", namespace, "http", method, host), path, query if mark else None)
    return Entry(
        hash=parts.digest(),
        parts=parts,
        status=200,
        phrase="OK",
        fields=Fields(),
        requested_at=0.0,
        received_at=0.0,
        keep_until=math.inf,
        body=BytesBody(b""),
        vary=vary,
        rule=rule,
        tags=tags,
        position=Position(epoch, 0, seen),
    )


def purge(kind: Kind, *names: str, soft: bool = False, at: float = 0.0) -> Purge:
    return Purge("id", kind, names, soft, at, "a1b2")


def names_entry(record: Purge, stored: Entry) -> bool:
    """What the contract says a purge names, spelled out once more."""
    parts = stored.parts
    match record.kind:
        case Kind.ALL:
            return True
        case Kind.TAG:
            return any(name in stored.tags for name in record.names)
        case Kind.RULE:
            return stored.rule in record.names
        case Kind.NAMESPACE:
            return parts.namespace in record.names
        case Kind.KEY:
            return any(name in (stored.hash, f"{stored.hash}.{stored.variant}") for name in record.names)
        case Kind.URL:
            wanted = [name.split("|", 1) for name in record.names]
            return any(target == parts.target and (not host or parts.host in ("", host)) for host, target in wanted)
        case Kind.PATTERN:
            return any(_glob(name, parts) for name in record.names)


def _glob(pattern: str, parts: KeyParts) -> bool:
    if pattern.startswith("//"):
        host, _, path = pattern[2:].partition("/")
        return (not parts.host or fnmatchcase(parts.host, host.lower())) and fnmatchcase(parts.path, f"/{path}")
    return fnmatchcase(parts.path, pattern)


class Oracle:
    """Every record ever made, tried one by one."""

    def __init__(self) -> None:
        self.records: list[tuple[int, Purge]] = []

    def hits(self, stored: Entry) -> list[tuple[int, Purge]]:
        seen = stored.position.local
        return [(seq, record) for seq, record in self.records if seq > seen and names_entry(record, stored)]

    def ended(self, stored: Entry) -> float | None:
        ends = [record.at if record.soft else -math.inf for _, record in self.hits(stored)]
        return min(ends, default=None)

    def alive_before(self, stored: Entry, seq: int) -> bool:
        hard = [number for number, record in self.hits(stored) if not record.soft and number < seq]
        return stored.position.local < seq and not hard


def journal_of(*records: Purge, size: int = 100_000) -> Journal:
    """A journal in which these were purged, numbered from 1."""
    journal = Journal(EPOCH, size)
    for record in records:
        journal.append(record)
    return journal
