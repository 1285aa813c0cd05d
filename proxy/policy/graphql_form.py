"""GraphQL requests in normal form (GraphQL spec 2.1, GraphQL over HTTP 5): what its servers ignore is left out.

White space, commas and comments of the document go; block strings stay as they came. A request whose document is
not at hand or holds a mutation or a subscription is not safe to answer from store.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from proxy.policy.json_form import Inexact, Json, read_json, write_json


@dataclass(frozen=True, slots=True)
class Operation:
    """A request that was understood; `safe` when it only queries."""

    form: bytes
    safe: bool


_TOKEN = re.compile(
    r"(?P<ignored>[\ufeff\t\n\r ,]+|\#[^\n\r]*)"
    r"|(?P<punctuator>\.\.\.|[!$&():=@\[\]{|}])"
    r'|(?P<block>"""(?:[^"\\]|\\"""|\\(?!""")|"(?!""))*""")'
    r'|(?P<string>"(?!"")(?:[^"\\\n\r]|\\[^\n\r])*")'
    r"|(?P<name>[_A-Za-z][_0-9A-Za-z]*)"
    r"|(?P<number>-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?![_0-9A-Za-z.]))"
)
_UNSAFE = frozenset({"mutation", "subscription"})
_KINDS = _UNSAFE | {"query", "fragment"}
_OPEN, _CLOSE = frozenset("{(["), frozenset("})]")
_UNSAFE_WORD = re.compile(rb"mutation|subscription")


def graphql_request(raw: bytes, media: str, ignore: Sequence[str] = ()) -> Operation | None:
    """Understand a POST body of media type `media` (lower case): JSON with the document in "query", a list of such,
    or the bare document as application/graphql. None when it is none of these and names no unsafe operation."""
    try:
        if media == "application/graphql":
            text, kinds = strip_document(raw.decode("utf-8"))
            return Operation(text.encode(), _safe(kinds))
        value = read_json(raw)
        if not isinstance(value, list):
            one, safe = _request(value)
            return Operation(write_json(one, ignore), safe)
        batch = [_request(request) for request in value]
        return Operation(write_json([form for form, _ in batch], ignore), bool(batch) and all(s for _, s in batch))
    except (Inexact, UnicodeDecodeError):
        return Operation(b"", safe=False) if _UNSAFE_WORD.search(raw) else None


def strip_document(text: str) -> tuple[str, list[str]]:
    """The document without its ignored tokens, and the kind of each definition; raises Inexact."""
    out: list[str] = []
    kinds: list[str] = []
    after_word = False
    open_marks = 0
    between = True  # two definitions, at the outermost level
    for kind, piece in _tokens(text):
        if between:
            kinds.append("query" if piece == "{" else piece)
            between = False
        if piece in _OPEN:
            open_marks += 1
        elif piece in _CLOSE:
            open_marks -= 1
            between = open_marks == 0 and piece == "}"
        word = kind != "punctuator"
        if after_word and (word or piece == "..."):
            out.append(" ")
        out.append(piece)
        after_word = word
    if not between or not kinds or not _KINDS.issuperset(kinds):
        raise Inexact("not an executable document")
    return "".join(out), kinds


def _tokens(text: str) -> list[tuple[str, str]]:
    out = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            raise Inexact(f"not GraphQL at {at}")
        if match.lastgroup != "ignored":
            out.append((match.lastgroup, match[0]))
        at = match.end()
    return out


# Members that say nothing with these values.
_EMPTY: dict[str, tuple[Json, ...]] = {"operationName": (None,), "variables": (None, {}), "extensions": (None, {})}


def _request(value: Json) -> tuple[Json, bool]:
    """One request with its document stripped and what says nothing left out; and whether it is safe."""
    if not isinstance(value, dict):
        raise Inexact("not a GraphQL request")
    document = value.get("query")
    if not isinstance(document, str):
        return value, False  # a persisted operation: what it does is not told
    text, kinds = strip_document(document)
    kept: dict[str, Json] = {name: member for name, member in value.items() if member not in _EMPTY.get(name, ())}
    kept["query"] = text
    return kept, _safe(kinds)


def _safe(kinds: list[str]) -> bool:
    return _UNSAFE.isdisjoint(kinds)
