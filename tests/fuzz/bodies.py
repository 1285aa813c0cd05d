"""Bodies that enter a key: JSON (RFC 8259, 8785) and GraphQL. One line of ignored paths, then the body."""

import json
from decimal import Decimal
from typing import Any

from graphql import GraphQLSyntaxError, Lexer, OperationDefinitionNode, OperationType, Source, TokenKind, parse

from proxy.policy.graphql_form import graphql_request, strip_document
from proxy.policy.json_form import Inexact, canonical_json
from tests.fuzz.target import Feed, Target

SEEDS = (
    (
        b'user,metadata.*\n{"numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],'
        b'"string": "\\u20ac$\\u000F\\u000aA\'\\u0042\\u0022\\u005c\\\\\\"\\/", "literals": [null, true, false]}'
    ),  # 3.2.2
    b'a.*.b\n{"\\u20ac": 1, "\\r": 2, "\\ufb33": 3, "1": 4, "\\ud83d\\ude00": 5, "\\u0080": 6, "\\u00f6": 7}',  # 3.2.3
    b'\n{"query": "query Q { a }", "operationName": null, "variables": {}}',
    b"\n[1e400, -0, 1e-7, 123456789012345678901234567890, 0.1e1]",
    b'\n{ a(t: """\n b \\""" """, s: "\\"#") ...F } # c\nfragment F on T { x }',
    b"\nmutation M($x: Int = -1.5e3) { m(x: $x) @d { id } } subscription { s }",
)
TOKENS = (
    b"{",
    b"}",
    b"[",
    b"]",
    b'"',
    b":",
    b"\\u",
    b"1e",
    b"-0",
    b"null",
    b'"""',
    b"#",
    b"...",
    b"query ",
    b"mutation{",
    b"$",
    b"{a}",
)
_JSON = "application/json"


def check(data: bytes) -> None:
    feed = Feed(data)
    ignore = tuple(path for path in feed.text().split(",") if path)
    body = feed.rest()
    _json(body, ignore)
    for media in (_JSON, "application/graphql"):
        graphql_request(body, media, ignore)
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return
    _graphql(text)


def _json(body: bytes, ignore: tuple[str, ...]) -> None:
    form = canonical_json(body)
    if form is not None:
        assert canonical_json(form) == form
        one, other = _read(body), _read(form)
        assert one is None or other is None or one == other
    less = canonical_json(body, ignore)
    assert (less is None) <= (form is None)
    assert less is None or canonical_json(less) == less


def _read(body: bytes) -> Any:
    """The document with exact numbers; None where Decimal could not hold one."""
    past = False

    def number(text: str) -> Decimal:
        nonlocal past
        exponent = text.lower().partition("e")[2]
        past |= len(exponent) > 9
        return Decimal(text) if not past else Decimal()

    found = json.loads(body, parse_int=number, parse_float=number)
    return None if past else found


def _graphql(text: str) -> None:
    try:
        form, kinds = strip_document(text)
    except Inexact:
        return
    assert strip_document(form) == (form, kinds)
    assert len(form) <= 2 * len(text)  # a space between each two tokens
    if len(text) > 2000:
        return  # the reference is slow
    try:
        assert _tokens(form) == _tokens(text)
        operations = {node.operation for node in parse(text).definitions if isinstance(node, OperationDefinitionNode)}
    except (GraphQLSyntaxError, RecursionError):
        return
    asked = graphql_request(text.encode(), "application/graphql")
    assert asked is not None
    assert asked.safe == (operations <= {OperationType.QUERY})


def _tokens(text: str) -> list[tuple[TokenKind, str | None]]:
    lexer = Lexer(Source(text))
    found: list[tuple[TokenKind, str | None]] = []
    while (token := lexer.advance()).kind is not TokenKind.EOF:
        found.append((token.kind, token.value))
    return found


TARGET = Target(check, SEEDS, TOKENS)
