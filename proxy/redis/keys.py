"""The names of all that lies in Redis. No other module spells a key.

`<h>` in braces is the cluster's hash tag: whatever belongs to one answer lies in one slot, and so does what belongs to
the journal. Every key gets a TTL when it is written; those that are renewed for as long as an instance runs are marked.

    {prefix}e:{<h>}              an answer without Vary: one record (`store.codec`)
    {prefix}e:{<h>}.<variant>    one of its variants
    {prefix}v:{<h>}              their index: a hash of variant id -> names, values and time, and their highest fence
    {prefix}l:{<h>}[.<company>]  the lease of who fetches it, or what was learnt by the last who did
    {prefix}w:{<h>}[.<company>]  somebody waits for that lease
    {prefix}landed               the channel on which who waits is woken
    {prefix}j:{journal}          the stream of purges; renewed
    {prefix}i:{journal}          the instances: a hash of name -> last sign of life; renewed
    {prefix}h:{hot}              what is asked for most: a sorted set; renewed
    {prefix}m:{<hour>}           what all instances have counted in an hour, minute by minute (`redis.minutes`)
    {prefix}rate_limit:{<c>}     what a client has used of a rule's limit (`limits.redis_lua`), <c> a digest of both
    {prefix}p:{<word>}           what `doctor` tries things out with
"""

import re
from dataclasses import dataclass
from typing import NamedTuple

_ENTRY = re.compile(r"e:\{([0-9a-f]{64})\}(?:\.([0-9a-f]{16}))?")


class EntryKey(NamedTuple):
    """Whose record a key holds; `variant` is "" for an answer without Vary."""

    hash: str
    variant: str

    @property
    def name(self) -> str:
        """`<h>` or `<h>.<variant>`, as in `Entry.key`."""
        return f"{self.hash}.{self.variant}" if self.variant else self.hash


@dataclass(frozen=True, slots=True)
class Names:
    """The keys under one prefix, which has no glob characters and no braces."""

    prefix: str

    def entry(self, name: str) -> str:
        """The record of `<h>` or `<h>.<variant>`."""
        tag, dot, variant = name.partition(".")
        return f"{self.prefix}e:{{{tag}}}{dot}{variant}"

    def index(self, hash: str) -> str:
        return f"{self.prefix}v:{{{hash}}}"

    def lease(self, name: str) -> str:
        """Of `<h>`, or of `<h>.<company>`: of those alone who may share a fetch."""
        tag, dot, company = name.partition(".")
        return f"{self.prefix}l:{{{tag}}}{dot}{company}"

    def waiting(self, name: str) -> str:
        """As for `lease`."""
        tag, dot, company = name.partition(".")
        return f"{self.prefix}w:{{{tag}}}{dot}{company}"

    @property
    def landed(self) -> str:
        return f"{self.prefix}landed"

    @property
    def stream(self) -> str:
        return f"{self.prefix}j:{{journal}}"

    @property
    def instances(self) -> str:
        return f"{self.prefix}i:{{journal}}"

    @property
    def hot(self) -> str:
        return f"{self.prefix}h:{{hot}}"

    def hour(self, number: int) -> str:
        """The history of an hour, by its number since the epoch."""
        return f"{self.prefix}m:{{{number}}}"

    def rate_limit(self, digest: str) -> str:
        return f"{self.prefix}rate_limit:{{{digest}}}"

    def probe(self, word: str) -> str:
        return f"{self.prefix}p:{{{word}}}"

    @property
    def entries(self) -> str:
        """The SCAN pattern of all records."""
        return f"{self.prefix}e:*"

    def entries_beginning(self, start: str) -> str:
        """The SCAN pattern of the records whose hash begins with these hex digits."""
        return f"{self.prefix}e:{{{start}*"

    @property
    def answers(self) -> str:
        """The SCAN pattern of all records and indexes."""
        return f"{self.prefix}[ev]:*"

    def parse_entry(self, key: bytes) -> EntryKey | None:
        """Whose record this key holds; None for any other key."""
        text = key.decode("latin-1")
        found = _ENTRY.fullmatch(text.removeprefix(self.prefix)) if text.startswith(self.prefix) else None
        return EntryKey(found[1], found[2] or "") if found else None
