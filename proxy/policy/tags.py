"""The tags of an answer: what its rule's templates make of the request, and what the origin says it is about."""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple
from urllib.parse import unquote, unquote_plus

from proxy.message import Fields, Request
from proxy.policy.json_form import Inexact, Json, Number, read_json
from proxy.policy.keys import Keyed
from proxy.rules import CREDENTIAL_HEADERS, Rule

MAX_LENGTH = 256  # characters of one tag; a longer one is dropped

_PLACE = re.compile(r"\{([^{}]*)\}")
_KNOWN = re.compile(r"host|path\[([0-9]{1,3})\]|query\.(.+)|header\.([!#$%&'*+\-.^_`|~0-9A-Za-z]+)|body\.(.+)")
_SECRET = frozenset({"cookie", *CREDENTIAL_HEADERS})


class Tags(NamedTuple):
    """The tags that are kept, and how many were too many or too long."""

    kept: tuple[str, ...]
    dropped: int


def tags_of(rule: Rule, request: Request, keyed: Keyed, head_fields: Fields, body: bytes | None = None) -> Tags:
    """The rule's tags first, then the origin's from Surrogate-Key, Cache-Tag and xkey; each once, `rule.max_tags` at
    most. A template with a value that the request does not have gives no tag. `body` is the request's content."""
    if not rule.tags and not head_fields.has_any(_FROM_ORIGIN):
        return Tags((), 0)
    own = filled(rule.tags, request, keyed.parts.path, keyed.parts.query, body)
    wanted = dict.fromkeys([*own, *_origin_tags(head_fields)])
    kept = [tag for tag in wanted if len(tag) <= MAX_LENGTH][: rule.max_tags]
    return Tags(tuple(kept), len(wanted) - len(kept))


def validate_template(text: str) -> str | None:
    """What is wrong with a tag template, None when nothing is."""
    if not text.strip():
        return "a tag is empty"
    for name in _PLACE.findall(text):
        known = _KNOWN.fullmatch(name)
        if known is None:
            return f"unknown {{{name}}}; known are {{path[n]}}, {{query.x}}, {{header.x}}, {{body.x}} and {{host}}"
        if known[3] is not None and known[3].lower() in _SECRET:
            return f"{{{name}}} would show a secret in a tag"
    return "a brace without its pair" if re.search(r"[{}]", _PLACE.sub("", text)) else None


def filled(
    templates: Iterable[str], request: Request, path: str, query: str | None, body: bytes | None
) -> Iterator[str]:
    """The templates with their places filled; one with a place that has no value is left out. `path` and `query` are
    those of the key, `body` the request's content where there is any."""
    for template in templates:
        values = [_value(name, request, path, query, body) for name in _PLACE.findall(template)]
        if all(values):
            rest = iter(values)
            yield _PLACE.sub(lambda _, rest=rest: next(rest) or "", template)  # type: ignore[misc]


def _value(name: str, request: Request, path: str, query: str | None, body: bytes | None) -> str | None:
    """The value for one place, decoded; None or "" when there is none."""
    known = _KNOWN.fullmatch(name)
    if known is None:
        return None
    segment, parameter, header, member = known.groups()
    if segment is not None:
        segments = path.split("/")[1:]
        return unquote(segments[int(segment)]) if int(segment) < len(segments) else None
    if parameter is not None:
        return _parameter(query or "", parameter)
    if header is not None:
        value = request.fields.get(header.lower())
        return None if value is None else _text(value)
    return request.host if member is None else _member(body, member)


def _parameter(query: str, wanted: str) -> str | None:
    for piece in query.split("&"):
        name, _, value = piece.partition("=")
        if unquote_plus(name) == wanted:
            return unquote_plus(value)
    return None


def _member(body: bytes | None, path: str) -> str | None:
    """A string, number or boolean inside a JSON body, by its dotted path."""
    if not body:
        return None
    try:
        value: Json = read_json(body)
    except Inexact:
        return None
    for step in path.split("."):
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isascii() and step.isdigit() and len(step) < 7 and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | Number) else None


# Where origins say what an answer is about, and what parts the tags there.
_ORIGIN = {"surrogate-key": re.compile(r"\s+"), "cache-tag": re.compile(","), "xkey": re.compile(r"[\s,]+")}
_FROM_ORIGIN = frozenset(_ORIGIN)


def _origin_tags(fields: Fields) -> Iterator[str]:
    for name, parting in _ORIGIN.items():
        for line in fields.lines(name):
            yield from filter(None, map(str.strip, parting.split(_text(line))))


def _text(value: str) -> str:
    """A field's bytes as people write them: UTF-8 when they are that."""
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return value
