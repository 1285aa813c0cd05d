"""What in a request is bound to a person (RFC 9111 3.5, and cookies likewise)."""

from proxy.message import Request
from proxy.reasons import Why
from proxy.rules import Rule


def uncovered(request: Request, rule: Rule) -> Why | None:
    """What the request carries of a person that the rule neither puts into the key nor says to ignore. Such a request
    takes part only in what the origin's own word lets a shared cache give to anybody."""
    fields = request.fields
    if rule.key.credentials == "refuse":
        for name in rule.credential_headers:
            if name in fields:
                return Why.CREDENTIALS
    return Why.COOKIE if rule.key.cookies is None and "cookie" in fields else None
