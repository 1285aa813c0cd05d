"""Who is at the other end: the peer, the proxies that are trusted to speak for others, and the client behind them."""

import ipaddress
import re
from collections.abc import Iterable
from functools import lru_cache

from proxy.message import Fields

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# No white space before it: of a long run of it every place would be tried.
_ELEMENT = re.compile(r'(?<![^\s;,])(for|proto)\s*=\s*("(?:[^"\\]|\\.)*"|[^\s;,"]+)', re.IGNORECASE)


def address(text: str) -> Address | None:
    """The address in `1.2.3.4`, `1.2.3.4:80`, `::1` or `[::1]:80`; IPv4 within IPv6 is IPv4. None for anything else."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


class TrustedProxies:
    """The networks of listen.trusted_proxies."""

    def __init__(self, networks: Iterable[Network] = ()) -> None:
        self._networks = tuple(networks)
        self._known = lru_cache(4096)(self._within)

    def __contains__(self, peer: str) -> bool:
        return bool(self._networks) and self._known(peer)

    def _within(self, peer: str) -> bool:
        found = address(peer)
        return found is not None and any(found in network for network in self._networks)

    def client(self, peer: str, fields: Fields) -> str:
        """The right-most hop that is not a trusted proxy; an entry that is no address ends the search before it."""
        client = peer
        for hop in reversed(self._hops(peer, fields)):
            if client not in self:
                break
            found = address(hop)
            if found is None:
                break
            client = str(found)
        return client

    def scheme(self, peer: str, fields: Fields, own: str) -> str:
        """The scheme that the nearest trusted proxy names, else our own."""
        if peer not in self:
            return own
        said = fields.get("x-forwarded-proto")
        if said is None:
            said = ",".join(_forwarded(fields, "proto"))
        nearest = said.rpartition(",")[2].strip().lower()
        return nearest if nearest in ("http", "https") else own

    def _hops(self, peer: str, fields: Fields) -> list[str]:
        # X-Forwarded-For before Forwarded: a proxy that keeps only one of them passes the other on as its client
        # made it up, and nearly all keep the first.
        if peer not in self:
            return []
        said = fields.get("x-forwarded-for")
        return said.split(",") if said is not None else _forwarded(fields, "for")


def _forwarded(fields: Fields, name: str) -> list[str]:
    """The values of one parameter of Forwarded, one for each hop that gave it (RFC 7239 4)."""
    said = fields.get("forwarded")
    if said is None:
        return []
    return [value.strip('"') for found, value in _ELEMENT.findall(said) if found.lower() == name]
