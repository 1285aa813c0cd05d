"""Who a request is counted as. Pure."""

from functools import lru_cache
from hashlib import sha256
from ipaddress import IPv6Address, ip_network

from proxy.message import Request
from proxy.rules import Rule

CLIENT_IP = "client_ip"
_PREFIX = 64  # bits of an IPv6 address that name a network: hosts choose the rest themselves (RFC 8981)


def client_of(request: Request, by: str) -> str:
    """Who asks: `client_ip:<address>`, or `<header>:<digest>` where `by` names a header that the request has once. Of
    two lines nobody knows which one the origin believes, and with each second one a client would be another."""
    lines = request.fields.lines(by) if by != CLIENT_IP else ()
    return by_header(by, lines[0]) if len(lines) == 1 and lines[0].strip() else by_address(request.client)


def by_header(name: str, value: str) -> str:
    """Whoever sends this value. It may be a credential, so that its digest alone is kept; credentials in another
    spelling are the same ones."""
    if name == "authorization":  # the scheme in any case, and any number of spaces (RFC 9110 11.1, 11.4)
        scheme, *rest = value.split(None, 1)
        value = " ".join((scheme.lower(), *rest)).rstrip()
    return f"{name}:{sha256(value.encode('latin-1', 'replace')).hexdigest()[:32]}"


def by_address(address: str) -> str:
    """Whoever asks from an IPv4 address, or from a /64 of IPv6; what is no address stands for itself."""
    return f"{CLIENT_IP}:{_network(address) if ':' in address else address}"


@lru_cache(4096)
def _network(address: str) -> str:
    try:
        found = IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    return str(found.ipv4_mapped or ip_network((int(found), _PREFIX), strict=False))


def counted_as(rule: Rule, client: str) -> str:
    """What a client of a rule is counted under. The names of rules are their upstreams' own, as keys of answers are."""
    return f"{client} {rule.upstream_id} {rule.name}"
