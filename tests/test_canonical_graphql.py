"""GraphQL requests in normal form: row 210, "GraphQL documents are normalised, mutations bypass"."""

import json

import pytest
from graphql import parse, print_ast, strip_ignored_characters
from graphql.error import GraphQLSyntaxError
from hypothesis import given
from hypothesis import strategies as st

from proxy.policy.graphql_form import Operation, graphql_request, strip_document
from proxy.policy.json_form import Inexact

JSON = "application/json"

DOCUMENTS = [
    "{a}",
    "{ a, b, ,c }",
    "{ a ...F ...on T { b } ... @x { c } }",
    """\ufeffquery Q($id: ID = 7, $n: [Int!]! = [1, 2]) @live(if: true) {\r\n  u(id: $id) { ...F  name @skip(if: $n) }
    }\r# a comment, with { marks }
    fragment F on User { age, friends(first: -1.5e3) { edges } }""",
    '{ a(text: "a # no, comment { \\" ") b(text: "") }',
    "query A { a } query B { b }",
    "{ a(o: {x: 1, y: [{}]}) ... on T { b } ...@include(if: $x) { c } ... F }",
    "subscription S { s } fragment X on Y { z }",
    "mutation($a: In = {b: 1}) { m(a: $a) { id } }",
    "{ enum(a: RED, b: null, c: 0) }",
]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_agrees_with_the_reference_on_ignored_characters(document: str) -> None:
    assert strip_document(document)[0] == strip_ignored_characters(document)


def test_block_strings_stay_as_they_came() -> None:
    document = '{ a(t: """\n  x # y,\n   \\""" "" z\n""")\n b(t: """""") }'
    stripped = strip_document(document)[0]
    assert stripped == '{a(t:"""\n  x # y,\n   \\""" "" z\n""")b(t:"""""")}'
    assert print_ast(parse(stripped)) == print_ast(parse(document))


TOKENS = [
    "{",
    "}",
    "(",
    ")",
    "a",
    "query",
    "...",
    ":",
    "$",
    "1",
    '"s"',
    '""',
    " ",
    ",",
    "\n",
    "#c\n",
    "@",
    "!",
    "[",
    "]",
]


@given(st.lists(st.sampled_from(TOKENS), max_size=12).map("".join))
def test_agrees_with_the_reference_on_whatever_it_parses(text: str) -> None:
    try:
        parse(text)
    except GraphQLSyntaxError:
        return
    assert strip_document(text)[0] == strip_ignored_characters(text)


@given(st.lists(st.sampled_from([*TOKENS, "mutation", "subscription", "fragment F on T"]), max_size=12).map(" ".join))
def test_no_unsafe_operation_is_taken_for_a_query(text: str) -> None:
    try:
        kinds = {getattr(node, "operation", None) for node in parse(text).definitions}
        mine = strip_document(text)[1]
    except (GraphQLSyntaxError, Inexact):
        return
    assert {"mutation", "subscription"} & {kind.value for kind in kinds if kind} == {"mutation", "subscription"} & set(
        mine
    )


@pytest.mark.parametrize(
    "document",
    ["", " # only a comment", "a", "{", "}", "{a}}", "{a} b", "type T { a: Int }", '{a(t: "x)}', '{a(t: """x)}', "{a;}",
     '"described" query { a }', "{a(n: 01)}", "{a(n: 1x)}", "{a(t: \"\n\")}", "{é}"],
)  # fmt: skip
def test_what_is_no_executable_document(document: str) -> None:
    with pytest.raises(Inexact):
        strip_document(document)


def test_a_long_open_string_takes_no_time() -> None:
    with pytest.raises(Inexact):
        strip_document('{a(t: """' + '\\"""' * 50_000)
    with pytest.raises(Inexact):
        strip_document('{a(t: "' + '\\"' * 50_000)


def request(value: object, media: str = JSON, ignore: tuple[str, ...] = ()) -> Operation | None:
    return graphql_request(value if isinstance(value, bytes) else json.dumps(value).encode(), media, ignore)


def test_what_says_nothing_does_not_split_the_key() -> None:
    plain = request({"query": "{ a }"})
    assert plain == Operation(b'{"query":"{a}"}', safe=True)
    assert plain == request({"query": "{\n  a,\n}", "operationName": None, "variables": {}, "extensions": None})
    assert plain == request({"variables": None, "query": "#\n{a}"})
    assert plain != request({"query": "{ a }", "variables": {"x": 1}})
    assert request({"query": "{a}", "variables": {"x": 1, "y": 2}}) == request(
        b'{"variables":{"y":2.0,"x":1e0},"query":"{ a }"}'
    )


def test_the_operation_name_counts() -> None:
    document = "query A {a} query B {b}"
    assert request({"query": document, "operationName": "A"}) != request({"query": document, "operationName": "B"})


def test_ignored_members_and_batches() -> None:
    value = {"query": "{a}", "extensions": {"trace": 1}}
    assert request(value, ignore=("extensions.trace",)) == request(
        {**value, "extensions": {"trace": 2}}, ignore=("extensions.trace",)
    )
    batch = request([{"query": "{ a }"}, {"query": "{ b }"}])
    assert batch == Operation(b'[{"query":"{a}"},{"query":"{b}"}]', safe=True)


def test_bare_documents() -> None:
    assert request(b"{ a, b }", "application/graphql") == Operation(b"{a b}", safe=True)
    assert request(b"mutation { a }", "application/graphql") == Operation(b"mutation{a}", safe=False)


@pytest.mark.parametrize(
    "body",
    [
        {"query": "mutation { a }"},
        {"query": "subscription { a }"},
        {"query": "query A {a} mutation B {b}", "operationName": "A"},
        {"query": "fragment F on T {a} mutation {b}"},
        [{"query": "{a}"}, {"query": "mutation {b}"}],
        b'{"query":"mut\\u0061tion { a }"}',
        {"extensions": {"persistedQuery": {"sha256Hash": "x"}}},
        {"query": None},
        {"id": 1},
        [],
        b'{"query":"mutation { a "}',
        b'{"query":"{a}","query":"mutation {b}"}',
        b"query=mutation+%7Ba%7D",
    ],
)
def test_what_may_change_something_is_not_safe(body: object) -> None:
    found = request(body)
    assert found is not None
    assert not found.safe


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b'"{a}"', b'{"query":"{"}', b'{"query":"type T {a: B}"}'])
def test_what_is_not_understood_is_left_to_its_bytes(body: bytes) -> None:
    assert request(body) is None
