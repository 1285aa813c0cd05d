"""What a gateway notes of what its parts do: it is counted, told to those who listen, and logged."""

import logging

from proxy import building
from proxy.entry import Entry
from proxy.invalidation.records import Purge
from proxy.observe.counters import Counters
from proxy.observe.events import Events, Kind
from proxy.outcome import Tier
from proxy.rules import MAIN
from proxy.settings.model import Settings
from proxy.upstream.breaker import Change

_log = logging.getLogger("cachegate")

NAMES = 10  # of a purge that its event tells


class Noting:
    """`counters` and `events` are those of one worker."""

    def __init__(self, settings: Settings, counters: Counters, events: Events) -> None:
        self._counters = counters
        self._events = events
        self.change(settings)

    def change(self, settings: Settings) -> None:
        """What an upstream call costs, by these settings."""
        self._counters.groups.costs, self._prices = building.costs(settings), building.prices(settings)

    def stored(self, entry: Entry) -> None:
        """An answer was stored: what it says that it cost is what hits save."""
        if (price := self._prices.get(entry.rule)) is not None:
            money = price.of(entry.fields, entry.body.data)
            if money is not None:
                self._counters.groups.price(entry.rule, money)
        if self._events.wants(Kind.STORE):
            told = {"url": entry.parts.url, "rule": entry.rule, "key": entry.key, "bytes": entry.body.size}
            self._events.tell(Kind.STORE, told)

    def purged(self, purge: Purge) -> None:
        """A purge that was made here holds."""
        self._counters.purged(purge.kind.value)
        tell_purge(self._events, purge)

    def heard(self, purge: Purge) -> None:
        """A purge that another instance made holds here."""
        tell_purge(self._events, purge)

    def tier(self, tier: Tier, state: str, reason: str) -> None:
        """A tier came, went, or works by halves."""
        self._events.tell(Kind.TIER, {"tier": tier.value, "state": state, "reason": reason})

    def breaker(self, name: str, change: Change) -> None:
        """The breaker of the service of this name has another state."""
        name = name or MAIN
        level, open_for = logging.INFO, ""
        if change.cause is not None:
            self._counters.opened(name, change.cause)
            level, open_for = logging.WARNING, f" for {change.seconds:.1f} s"
        told = {"upstream": name, "state": change.state.value, "cause": change.cause or "", "reason": change.why}
        self._events.tell(Kind.BREAKER, told)
        _log.log(level, "upstream %s: the breaker is %s%s: %s", name, change.state.value, open_for, change.why)


def tell_purge(events: Events, purge: Purge) -> None:
    """Of whichever instance. One without an id is nobody's: what was missed cannot be known, and all is gone here."""
    told = {
        "id": purge.id,
        "instance": purge.origin,
        "kind": purge.kind.value,
        "names": list(purge.names[:NAMES]),
        "soft": purge.soft,
    }
    events.tell(Kind.PURGE, told)
