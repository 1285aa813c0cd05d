"""The journal in lines: a file of them outlives the process (`invalidation.local`), and workers follow them in shared
memory (`invalidation.worker_log`). Each is checksummed and a whole step: between two of them everything fits together.

    {"journal", "epoch", "head", "floor"}     how a file begins; the records that stood then follow
    {"seq", "purge", "unsent"?}               a purge under its number; unsent: others have to be told
    {"read", "applied", "sent", "since"}      a record of the stream (`invalidation.chain.Ledger.read`)
    {"tie", "seq"?, "purge"?}                 the tie as it is from here on; and what was applied with that
"""

from collections.abc import Iterator
from typing import Any, NamedTuple
from zlib import crc32

import orjson

from proxy.invalidation.journal import Journal
from proxy.invalidation.records import Purge
from proxy.invalidation.tie import Tie

FORMAT = 1
CHUNK = 1000  # records that are written at once


class Kept(NamedTuple):
    """What lines make up."""

    journal: Journal
    tie: Tie


def line(content: dict[str, Any]) -> bytes:
    """One line, with its end."""
    raw = orjson.dumps(content)
    return b"%08x %b\n" % (crc32(raw), raw)


def unline(raw_line: bytes) -> dict[str, Any]:
    """Back from `line`, without its end; ValueError when it is damaged."""
    checksum, _, raw = raw_line.partition(b" ")
    if checksum != b"%08x" % crc32(raw):
        raise ValueError("damaged line")
    content: dict[str, Any] = orjson.loads(raw)
    return content


def record_line(seq: int, purge: Purge, *, unsent: bool = False) -> bytes:
    """The line of one purge."""
    return line({"seq": seq, "purge": purge} | ({"unsent": True} if unsent else {}))


def compact_copy(journal: Journal, tie: Tie | None = None) -> Iterator[bytes]:
    """A whole file, in chunks: the head line, then the fewest records that give the same answers. The tie is copied
    now, the journal must not change."""
    head = {"journal": FORMAT, "epoch": journal.epoch, "head": journal.head, "floor": journal.floor}
    start = line(head) + (line({"tie": tie.to_json()}) if tie is not None and (tie.courses or tie.unsent) else b"")

    def chunks() -> Iterator[bytes]:
        yield start
        records = journal.compacted()
        for first in range(0, len(records), CHUNK):
            yield b"".join(record_line(seq, purge) for seq, purge in records[first : first + CHUNK])

    return chunks()


def changed(kept: Kept, content: dict[str, Any]) -> Kept:
    """The same after one more line. KeyError, ValueError or TypeError, and it is half changed, for what is none."""
    if "tie" in content:
        kept = Kept(kept.journal, Tie.from_json(content["tie"]))
    for seq, raw in applied(content):
        purge = Purge.from_json(raw)
        kept.journal.apply(seq, purge)
        if "unsent" in content:
            kept.tie.owe(seq, purge)
    if "read" in content:
        if not type(content["read"]) is type(content["since"]) is int:
            raise TypeError("a record has a whole number")
        kept.tie.read(content["read"], content["since"], content["sent"])
    return kept


def applied(content: dict[str, Any]) -> list[tuple[int, dict[str, Any]]]:
    """The purges that a line tells of, by number, not parsed yet."""
    if "read" in content:
        found: list[tuple[int, dict[str, Any]]] = content["applied"]
        return found
    return [(content["seq"], content["purge"])] if "seq" in content else []


def restore(data: bytes, records: int = 100_000) -> Kept | None:
    """What a file holds; None when it is damaged. An unfinished last line was not acknowledged: it is left out."""
    *lines, _unfinished = data.split(b"\n")
    try:
        first, *rest = map(unline, lines)
        if first["journal"] != FORMAT:
            return None
        if not all(type(first[name]) is int for name in ("epoch", "head", "floor")):
            return None
        kept = Kept(Journal(first["epoch"], records, head=first["head"], floor=first["floor"]), Tie())
        latest = 0
        for content in rest:
            kept = changed(kept, content)
            for seq, _ in applied(content):
                if type(seq) is not int or seq < latest:
                    return None
                latest = seq
    except (ValueError, KeyError, TypeError, IndexError):
        return None
    return kept


def replay(data: bytes, records: int = 100_000) -> Journal | None:
    """The journal of a file; see `restore`."""
    kept = restore(data, records)
    return kept.journal if kept else None
