"""What a successful unsafe request makes invalid (RFC 9111 4.4, and a rule's `invalidates`)."""

import re
from urllib.parse import SplitResult, unquote, unquote_plus, urljoin, urlsplit

from proxy.message import Head, Request
from proxy.policy.paths import normal_path
from proxy.rules import Rule

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})  # RFC 9110 9.2.1
_PORTS = {"http": 80, "https": 443}


def unsafe(method: str) -> bool:
    """Whether a method may change things; an unknown one may (RFC 9111 4.4)."""
    return method not in SAFE_METHODS


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

_PLACE = re.compile(r"\{([^{}]*)\}")
_SEGMENT = re.compile(r"path\[([0-9]{1,3})\]")


def rule_targets(rule: Rule, request: Request) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(patterns, tags) that the rule's `invalidates` makes of this request.

    Patterns are globs as they stand. A tag's places are filled as for storing, all but `{body.x}`: the content of an
    unsafe request is streamed. A tag with a place that has no value is left out.
    """
    patterns = [text for text in rule.invalidates if not text.startswith("tag:")]
    templates = [text.removeprefix("tag:") for text in rule.invalidates if text.startswith("tag:")]
    tags = [tag for template in templates if (tag := _filled(template, request))]
    return tuple(patterns), tuple(tags)


def _filled(template: str, request: Request) -> str | None:
    values = [_value(place, request) for place in _PLACE.findall(template)]
    rest = iter(values)
    return _PLACE.sub(lambda _: next(rest) or "", template) if all(values) else None


def _value(place: str, request: Request) -> str | None:
    if place == "host":
        return request.host
    kind, _, name = place.partition(".")
    if kind == "header":
        return _text(request.fields.get(name.lower()))
    if kind == "query":
        return _parameter(request.query or "", name)
    segments = (normal_path(request.path) or request.path).split("/")[1:]
    index = _SEGMENT.fullmatch(place)
    return unquote(segments[int(index[1])]) if index is not None and int(index[1]) < len(segments) else None


def _parameter(query: str, wanted: str) -> str | None:
    for piece in query.split("&"):
        name, _, value = piece.partition("=")
        if unquote_plus(name) == wanted:
            return unquote_plus(value)
    return None


def _text(value: str | None) -> str | None:
    """A field's bytes as people write them: UTF-8 when they are that."""
    try:
        return value and value.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return value
