"""What in a request is bound to a person (RFC 9111 3.5, and cookies likewise)."""

from dataclasses import replace

from proxy.entry import Pairs
from proxy.message import Fields, Request
from proxy.reasons import Why
from proxy.rules import Rule

SET_COOKIES = frozenset({"set-cookie", "set-cookie2"})  # the second of RFC 2965


def sets_cookies(fields: Fields) -> bool:
    """Whether an answer makes its client known to the origin from now on (RFC 6265)."""
    return fields.has_any(SET_COOKIES)


def uncovered(request: Request, rule: Rule) -> Why | None:
    """What the request carries of a person that the rule neither puts into the key nor says to ignore. Such a request
    takes part only in what the origin's own word lets a shared cache give to anybody."""
    fields = request.fields
    if rule.key.credentials == "refuse" and fields.has_any(rule.credential_headers):
        return Why.CREDENTIALS
    return Why.COOKIE if rule.key.cookies is None and "cookie" in fields else None


# What a client says to caches about its own answer, and no other's (RFC 9111 5.2.1, 5.4).
_WISHES = frozenset({"cache-control", "pragma"})


def for_everybody(request: Request, rule: Rule, vary: Pairs) -> Request:
    """The request that refreshes a stored answer behind its client's back: a GET where it was a HEAD, and nobody's in
    particular. Credentials and cookies that the rule does not cover stay behind, as do the client's wishes; what the
    key or the variant (`vary`) is made of goes along, since the answer takes that very place.
    """
    personal = set(_WISHES)
    if rule.key.credentials == "refuse":
        personal |= rule.credential_headers
    if rule.key.cookies is None:
        personal.add("cookie")
    personal.difference_update(rule.key.headers, *((name,) for name, _ in (*rule.request_headers, *vary)))
    method = "GET" if request.method == "HEAD" else request.method
    return replace(request, method=method, fields=request.fields.without(personal))
