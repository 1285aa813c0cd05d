"""Tags: the contract's `tags:` templates and what origins send; the bound of reliability.md (limits.tags)."""

import pytest

from proxy.message import Fields, Request
from proxy.policy.keys import Keyed, derive
from proxy.policy.tags import MAX_LENGTH, Tags, tags_of, validate_template
from proxy.rules import KeySpec, Rule
from tests.support.asking import ask

BODY = b'{"model":"m-1","n":1e2,"on":true,"none":null,"user":{"id":"u"},"list":[{"x":"y"}],"empty":""}'


def tags(rule: Rule, request: Request, *head: tuple[str, str], body: bytes | None = None) -> Tags:
    keyed = derive(request, rule)
    assert isinstance(keyed, Keyed)
    return tags_of(rule, request, keyed, Fields.of(*head), body)


def filled(template: str, target: str = "/api/users/7?x=1", *fields: tuple[str, str], **more: str) -> tuple[str, ...]:
    return tags(Rule(tags=(template,)), ask(target, *fields, **more), body=BODY).kept


@pytest.mark.parametrize(
    ("template", "tag"),
    [
        ("users", "users"),
        ("user:{path[2]}", "user:7"),
        ("{path[0]}.{path[1]}", "api.users"),
        ("{path[3]}", None),
        ("{path[999]}", None),
        ("x:{query.x}", "x:1"),
        ("{query.y}", None),
        ("u:{header.x-user-id}", "u:42"),
        ("u:{header.X-User-Id}:{path[2]}", "u:42:7"),
        ("{header.absent}", None),
        ("{header.x-name}", "Jos\u00e9"),
        ("{host}/{path[0]}", "api.example.com/api"),
        ("{body.model}", "m-1"),
        ("{body.n}", "100"),
        ("{body.on}", "true"),
        ("{body.user.id}", "u"),
        ("{body.list.0.x}", "y"),
        ("{body.list.1.x}", None),
        ("{body.none}", None),
        ("{body.user}", None),
        ("{body.empty}", None),
        ("{body.model.x}", None),
        ("\\1{path[2]}\\g<0>", "\\17\\g<0>"),
    ],
)
def test_templates(template: str, tag: str | None) -> None:
    fields = (("X-User-Id", "42"), ("X-Name", "Jos\u00c3\u00a9"))
    assert filled(template, "/api/users/7?x=1", *fields) == (() if tag is None else (tag,))


def test_values_are_decoded_from_what_is_keyed() -> None:
    assert filled("{path[0]}", "/caf%c3%a9") == ("caf\u00e9",)
    assert filled("{query.a b}", "/?a+b=c+d%26") == ("c d&",)
    assert filled("{query.x}", "/?x=2&x=1") == ("2",)
    assert filled("{path[1]}", "/users/") == ()
    ignoring = Rule(tags=("{query.u}",), key=KeySpec(query_ignore=("u",)))
    assert tags(ignoring, ask("/?u=1")).kept == ()


def test_a_body_that_is_no_json_gives_no_tag() -> None:
    for body in (None, b"", b"{", b'{"model":"a","model":"b"}'):
        assert tags(Rule(tags=("{body.model}", "all")), ask("/"), body=body).kept == ("all",)


def test_what_the_origin_says() -> None:
    head = (
        ("Surrogate-Key", " a  b "),
        ("Cache-Tag", "c d , e,,"),
        ("xkey", "f g,h"),
        ("XKEY", "a i"),
    )
    assert tags(Rule(tags=("b", "z")), ask("/"), *head).kept == ("b", "z", "a", "c d", "e", "f", "g", "h", "i")
    assert tags(Rule(), ask("/"), ("Cache-Tag", "caf\u00c3\u00a9,\u00e9")).kept == ("caf\u00c3\u00a9", "\u00e9")
    assert tags(Rule(), ask("/"), ("Cache-Tag", "caf\u00c3\u00a9")).kept == ("caf\u00e9",)
    assert tags(Rule(), ask("/")) == Tags((), 0)


def test_tags_are_bounded_in_number_and_length() -> None:
    rule = Rule(tags=("mine",), max_tags=3)
    assert tags(rule, ask("/"), ("Surrogate-Key", "a b c d a")) == Tags(("mine", "a", "b"), 2)
    long = "x" * (MAX_LENGTH + 1)
    assert tags(rule, ask("/"), ("Surrogate-Key", f"a {long} {long[1:]}")) == Tags(("mine", "a", long[1:]), 1)


@pytest.mark.parametrize(
    "template", ["users", "a b", "u:{path[0]}", "{query.a.b}", "{header.x-a}", "{body.a.0}", "{host}"]
)
def test_good_templates(template: str) -> None:
    assert validate_template(template) is None


@pytest.mark.parametrize(
    ("template", "word"),
    [
        ("", "empty"),
        ("  ", "empty"),
        ("{pth[0]}", "unknown {pth[0]}"),
        ("{path}", "unknown"),
        ("{path[-1]}", "unknown"),
        ("{path[x]}", "unknown"),
        ("{query.}", "unknown"),
        ("{header.a b}", "unknown"),
        ("{}", "unknown"),
        ("{host", "brace"),
        ("a}", "brace"),
        ("{{host}}", "brace"),
        ("{header.Authorization}", "secret"),
        ("{header.cookie}", "secret"),
    ],
)
def test_bad_templates(template: str, word: str) -> None:
    problem = validate_template(template)
    assert problem is not None
    assert word in problem
