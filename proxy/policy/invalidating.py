"""What a successful unsafe request makes invalid (RFC 9111 4.4, and a rule's `invalidates`), and what it leaves."""

from dataclasses import replace
from urllib.parse import SplitResult, urljoin, urlsplit

from proxy.message import Head, Request
from proxy.policy.paths import normal_path
from proxy.policy.tags import filled
from proxy.reasons import Why
from proxy.rules import Rule

# RFC 9110 9.2.1, and what the registry of methods (18.2) calls safe besides.
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "QUERY", "REPORT", "SEARCH"})
_PORTS = {"http": 80, "https": 443}


def unsafe(method: str) -> bool:
    """Whether a method may change things; an unknown one may (RFC 9111 4.4)."""
    return method not in SAFE_METHODS


def changes(request: Request, rule: Rule, why: Why) -> bool:
    """Whether a request that goes to the origin unkeyed, for `why`, may change things: its method is unsafe, and more
    than its size tells it from those that its rule looks up. A GraphQL operation that was not read may be a mutation.
    """
    if why is Why.BODY_TOO_LARGE and rule.key.body.kind != "graphql":
        return False
    return unsafe(request.method)


def invalidated_urls(request: Request, head: Head) -> tuple[tuple[str, str], ...]:
    """(host, target) of what the answer makes invalid: the target itself, and Location and Content-Location where
    they are of the same origin; () unless the method is unsafe and the answer no error (RFC 9111 4.4)."""
    if not unsafe(request.method) or not 200 <= head.status < 400:
        return ()
    own = (request.host, request.target)
    urls = {own: None}
    for name in ("location", "content-location"):
        for reference in head.fields.lines(name):
            target = _same_origin(request, reference)
            if target is not None:
                urls[request.host, target] = None
    return tuple(urls)


def answered_get(request: Request, head: Head) -> Request | None:
    """The GET that the answer to a POST may serve later too: the target's new representation, by the word of its
    Content-Location; None when it is no such answer (RFC 9110 9.3.3, 8.7)."""
    if request.method != "POST" or head.status != 200:
        return None
    located = [_same_origin(request, reference) for reference in head.fields.lines("content-location")]
    if located != [request.target]:
        return None
    return replace(request, method="GET", body=None)


def _same_origin(request: Request, reference: str) -> str | None:
    """The target of a URI reference when its origin is the request's own (RFC 9110 4.3.1), else None."""
    base = f"{request.scheme}://{request.host}{request.target}"
    try:
        url = urlsplit(urljoin(base, reference.strip(" \t")))
        if _origin(url) != _origin(urlsplit(base)) or url.hostname is None:
            return None
    except ValueError:
        return None
    path = url.path or "/"
    return f"{path}?{url.query}" if url.query else path


def _origin(url: SplitResult) -> tuple[str, str | None, int | None]:
    port = url.port
    return url.scheme, url.hostname, _PORTS.get(url.scheme) if port is None else port


# -- a rule's own word -------------------------------------------------------------------------------------------------


def rule_targets(rule: Rule, request: Request) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(patterns, tags) that the rule's `invalidates` makes of this request.

    Patterns are globs as they stand. A tag's places are filled as for storing, all but `{body.x}`: the content of an
    unsafe request is streamed. A tag with a place that has no value is left out.
    """
    patterns = [text for text in rule.invalidates if not text.startswith("tag:")]
    templates = [text.removeprefix("tag:") for text in rule.invalidates if text.startswith("tag:")]
    path = normal_path(request.path) or request.path
    return tuple(patterns), tuple(filter(None, filled(templates, request, path, request.query, None)))
