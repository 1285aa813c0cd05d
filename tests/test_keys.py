"""Keys: rows 3, 4, 7, 19, 110, 137; invariants 5 and 6; "distinct requests never collide and equivalent ones always
meet"."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.entry import KeyParts, Scope
from proxy.message import Request
from proxy.policy.keys import KeyDeriver, Keyed, Refused, derive, needs_body, url_forms
from proxy.policy.memo import Memo
from proxy.reasons import Why
from proxy.rules import BodyKey, KeySpec, Mode, Rule, RuleTable
from tests.support.asking import ask

UNMATCHED = Rule(mode=Mode.ORIGIN, key=KeySpec(normal=False))
POST = frozenset({"POST"})


def keyed(request: Request, rule: Rule | None = None, body: bytes | None = None) -> Keyed:
    result = derive(request, rule or Rule(), body)
    assert isinstance(result, Keyed), result
    return result


def hash_of(request: Request, rule: Rule | None = None, body: bytes | None = None) -> str:
    return keyed(request, rule, body).hash


def posted(body: bytes, kind: str = "raw", media: str | None = "application/json", *more: tuple[str, str]) -> str:
    """The key of a POST with this content."""
    rule = Rule(methods=POST, key=KeySpec(body=BodyKey(kind)))  # type: ignore[arg-type]
    fields = [("Content-Type", media)] if media is not None else []
    return hash_of(ask("/s", *fields, *more, method="POST", content=len(body)), rule, body)


def refused(request: Request, rule: Rule | None = None, body: bytes | None = None) -> Why | None:
    result = derive(request, rule or Rule(), body)
    return result.why if isinstance(result, Refused) else None


def test_what_is_keyed_is_what_is_sent() -> None:
    found = keyed(ask("/%61?utm_x=1&b=%7e&a=2&"), Rule(key=KeySpec(query_ignore=("utm_*",))))
    assert found.target == found.parts.target == "/a?a=2&b=~"
    assert found.hash == found.parts.digest()
    assert keyed(ask("/a?")).target == "/a"


def test_unmatched_traffic_is_keyed_and_sent_as_it_came() -> None:
    for target in ("/%61?b&a", "/a/../b//c;d=%2e", "/a?", "/a", "/100%?%", "*"):
        found = keyed(ask(target), UNMATCHED)
        assert (found.target, found.parts.target) == (target, target)
    assert hash_of(ask("/a?"), UNMATCHED) != hash_of(ask("/a"), UNMATCHED)


EACH_ITS_OWN = {
    "upstream": (ask(), Rule(upstream_id="other")),
    "namespace": (ask(), Rule(namespace="mobile")),
    "scheme": (ask(scheme="https"), Rule()),
    "method": (ask(method="POST"), Rule(methods=POST)),
    "host": (ask(host="other.example.com"), Rule()),
    "port": (ask(host="api.example.com:81"), Rule()),
    "no host": (ask(), Rule(key=KeySpec(host=False))),
    "path": (ask("/a"), Rule()),
    "query": (ask("/?a"), Rule()),
    "value": (ask("/?a="), Rule()),
    "slash": (ask("/%2f"), Rule()),
    "header": (ask("/", ("X-A", "1")), Rule(key=KeySpec(headers=("x-a",)))),
    "condition": (ask("/", ("X-B", "1")), Rule(request_headers=(("x-b", "*"),))),
    "empty header": (ask("/", ("X-A", "")), Rule(key=KeySpec(headers=("x-a",)))),
    "cookie": (ask("/", ("Cookie", "a=1")), Rule(key=KeySpec(cookies=("a",)))),
    "credentials": (ask("/", ("X-Api-Key", "1")), Rule(key=KeySpec(credentials="key"))),
}


def test_every_part_tells_entries_apart() -> None:
    hashes = {"plain": hash_of(ask())} | {name: hash_of(*case) for name, case in EACH_ITS_OWN.items()}
    assert len(set(hashes.values())) == len(hashes)


def test_equivalent_requests_meet() -> None:
    plain = hash_of(ask("/a/~b?x=1&y=2"))
    assert plain == hash_of(ask("/a/%7eb?y=2&x=%31"))
    assert plain == hash_of(ask("/a/~b?x=1&y=2", method="HEAD"))
    assert plain == hash_of(ask("/a/~b?x=1&y=2", ("X-Other", "1"), ("Cookie", "a=1")))
    assert hash_of(ask(host="a"), rule := Rule(key=KeySpec(host=False))) == hash_of(ask(host="b"), rule)


def test_two_users_never_share() -> None:
    rule = Rule(request_headers=(("x-user-id", "*"),))
    assert len({hash_of(ask("/me", ("X-User-Id", user)), rule) for user in ("1", "2", "1,2", "")}) == 4
    joined = hash_of(ask("/me", ("X-User-Id", "1"), ("x-user-id", "2")), rule)
    assert joined not in {hash_of(ask("/me", ("X-User-Id", user)), rule) for user in ("1", "2")}


def test_header_names_are_a_set() -> None:
    request = ask("/", ("X-A", "1"), ("X-B", "2"))
    one = Rule(key=KeySpec(headers=("x-b", "x-a")))
    other = Rule(key=KeySpec(headers=("X-A",)), request_headers=(("x-a", "*"), ("x-b", "?")))
    assert keyed(request, one).parts.selected == keyed(request, other).parts.selected == (("x-a", "1"), ("x-b", "2"))


def test_no_secret_is_in_the_parts() -> None:
    fields = [("Authorization", "Bearer hush"), ("X-Api-Key", "hush"), ("Cookie", "sid=hush; x=hush")]
    rules = [
        Rule(key=KeySpec(credentials="key", cookies=("sid",))),
        Rule(key=KeySpec(headers=("authorization", "cookie"))),
        Rule(request_headers=(("x-api-key", "*"),)),
    ]
    for rule in rules:
        found = keyed(ask("/", *fields), rule)
        assert found.parts.selected
        assert "hush" not in repr(found)
        assert found.hash != hash_of(ask("/", *[(name, value.replace("hush", "hash")) for name, value in fields]), rule)


def test_ignored_and_refused_credentials_are_not_keyed() -> None:
    for word in ("refuse", "ignore"):
        rule = Rule(key=KeySpec(credentials=word))  # type: ignore[arg-type]
        assert hash_of(ask("/", ("Authorization", "x")), rule) == hash_of(ask("/"), rule)


# -- cookies -----------------------------------------------------------------------------------------------------------

TENANT = Rule(key=KeySpec(cookies=("tenant",)))


def with_cookie(*lines: str) -> str:
    return hash_of(ask("/", *(("Cookie", line) for line in lines)), TENANT)


def test_only_named_cookies_count() -> None:
    assert with_cookie("tenant=a") == with_cookie("x=1; tenant=a;y=2") == with_cookie('q="1";  tenant=a')
    assert with_cookie() == with_cookie("x=1") == with_cookie("Tenant=a")
    assert len({with_cookie(line) for line in ("tenant=a", "tenant=b", "tenant=", "tenant=a; tenant=b", "")}) == 5
    assert with_cookie("tenant=a; tenant=b") != with_cookie("tenant=b; tenant=a")


@pytest.mark.parametrize(
    "line",
    [
        'x="; tenant=evil; y="',
        "x=a,tenant=evil",
        "x=a\\; tenant=evil",
        "$Version=1; tenant=evil",
        "x; tenant=evil",
        "=x; tenant=evil",
        "x=a b; tenant=evil",
        "tenant=evil;",
        "x=\xff; tenant=evil",
    ],
)
def test_a_cookie_hidden_in_another_gives_a_key_of_its_own(line: str) -> None:
    plain = {with_cookie(), with_cookie("tenant=evil"), with_cookie("x=1; tenant=evil")}
    assert with_cookie(line) not in plain
    assert with_cookie(line) != with_cookie(line + ";z=1")


def test_two_cookie_lines_are_keyed_whole() -> None:
    assert with_cookie("tenant=a", "tenant=b") not in {with_cookie("tenant=a"), with_cookie("tenant=a; tenant=b")}


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (ask("/a/../b"), Why.UNSAFE_TARGET),
        (ask("/a%00"), Why.UNSAFE_TARGET),
        (ask("/a;b"), Why.UNSAFE_TARGET),
        (ask("//a"), Why.UNSAFE_TARGET),
        (ask("*"), Why.UNSAFE_TARGET),
        (ask("/a?b#c"), Why.UNSAFE_TARGET),
        (ask(content=5), Why.CONTENT_IN_GET),
        (ask(content=None), Why.CONTENT_IN_GET),
        (ask(method="HEAD", content=5), Why.CONTENT_IN_GET),
        (ask(method="PUT"), Why.METHOD),
        (ask(method="POST"), Why.METHOD),
        (ask(method="get"), Why.METHOD),
        (ask("/", ("X-HTTP-Method-Override", "DELETE")), Why.METHOD_OVERRIDE),
        (ask("/", ("x-http-method", "PUT")), Why.METHOD_OVERRIDE),
        (ask("/", ("X-Method-Override", "GET"), ("X-Method-Override", "PUT")), Why.METHOD_OVERRIDE),
        (ask("/", ("X_HTTP_Method_Override", "GET")), Why.METHOD_OVERRIDE),
        (ask("/", ("X_Api-Key", "1")), Why.CREDENTIALS),
        (ask("/", ("api_key", "1")), Why.CREDENTIALS),
        (ask("/", ("X-HTTP-Method-Override", "GET")), None),
        (ask("/", ("x_other", "1"), ("X-Api-Key", "1")), None),
    ],
)
def test_refusals(request_: Request, why: Why | None) -> None:
    rule = Rule()
    for _ in range(2):  # and once it is remembered
        assert refused(request_, rule) is why
    if why is not Why.UNSAFE_TARGET:
        assert refused(request_, UNMATCHED) is why


def test_credentials_in_disguise_are_fine_where_none_count() -> None:
    assert refused(ask("/", ("api_key", "1")), Rule(key=KeySpec(credentials="ignore"))) is None


def test_an_empty_body_on_get_is_no_content() -> None:
    request = replace(ask(content=1), body=None)
    assert hash_of(request) == hash_of(ask())


# -- content -----------------------------------------------------------------------------------------------------------


def test_raw_content_and_all_that_says_how_to_read_it() -> None:
    hashes = [
        posted(b"a"),
        posted(b"b"),
        posted(b""),
        posted(b"a", "raw", None),
        posted(b"a", "raw", ""),
        posted(b"a", "raw", "text/plain"),
        posted(b"a", "raw", "application/json", ("Content-Encoding", "gzip")),
        posted(b"a", "none"),
    ]
    assert len(set(hashes)) == len(hashes)
    assert posted(b"a") == posted(b"a")


def test_json_content_meets_in_any_form() -> None:
    plain = posted(b'{"a":1,"b":[true,null]}', "json")
    assert plain == posted(b' { "b" : [ true , null ] , "\\u0061" : 1.0e0 }', "json", "Application/Json;charset=UTF-8")
    assert plain != posted(b'{"a":1,"b":[null,true]}', "json")
    assert plain != posted(b'{"a":1,"b":[true,null]}', "raw")
    assert plain != posted(b'{"a":1,"b":[true,null]}', "json", "application/vnd.api+json")
    assert plain != posted(b'{"a":1,"b":[true,null]}', "json", "application/json; profile=x")


@pytest.mark.parametrize(
    ("one", "other", "media", "more"),
    [
        (b"{a:1}", b"{a: 1}", "application/json", ()),
        (b'{"a":1,"a":2}', b'{"a":1, "a":2}', "application/json", ()),
        (b"1", b"1.0", "application/json; charset=utf-16", ()),
        (b"1", b"1.0", "application/json", (("Content-Encoding", "gzip"),)),
    ],
)
def test_json_that_cannot_be_exact_is_keyed_raw(
    one: bytes, other: bytes, media: str, more: tuple[tuple[str, str], ...]
) -> None:
    assert posted(one, "json", media, *more) != posted(other, "json", media, *more)
    assert posted(one, "json", media, *more) == posted(one, "raw", media, *more)


def test_graphql_content() -> None:
    plain = posted(b'{"query":"{ a, b }"}', "graphql")
    assert plain == posted(b'{"variables":null,"query":"{\\n a\\n b # c\\n}"}', "graphql")
    assert plain != posted(b'{"query":"{ a }"}', "graphql")
    assert plain != posted(b'{"query":"{ a b }"}', "json")
    rule = Rule(methods=POST, key=KeySpec(body=BodyKey("graphql")))
    request = ask("/", ("Content-Type", "application/json"), method="POST", content=1)
    assert refused(request, rule, b'{"query":"mutation { a }"}') is Why.METHOD
    packed = ask("/", ("Content-Encoding", "gzip"), method="POST", content=1)
    assert refused(packed, rule, b"\x1f\x8b") is Why.METHOD


def test_who_needs_the_content() -> None:
    raw, none = Rule(key=KeySpec(body=BodyKey("raw"))), Rule()
    assert [needs_body(ask(method=method), raw) for method in ("GET", "HEAD", "POST")] == [False, False, True]
    assert not needs_body(ask(method="POST"), none)


# -- purge by url ------------------------------------------------------------------------------------------------------


def test_the_forms_of_a_url() -> None:
    table = RuleTable(
        [
            Rule(patterns=("/a/*",), methods=POST),
            Rule(patterns=("/a/*",), host="api.example.com", key=KeySpec(query_ignore=("u*",))),
            Rule(patterns=("/a/*",), host="other", key=KeySpec(query_sort=False)),
            Rule(patterns=("/b",), key=KeySpec(query_only=("x",))),
        ],
        UNMATCHED,
    )
    target = "/a/%62?z=1&u=2&c=3"
    sorted_, ignored, unsorted = "/a/b?c=3&u=2&z=1", "/a/b?c=3&z=1", "/a/b?z=1&u=2&c=3"
    assert url_forms(table, "api.example.com", target) == (target, sorted_, ignored)
    assert url_forms(table, "", target) == (target, sorted_, ignored, unsorted)
    assert url_forms(table, "x", "/other?b&a") == ("/other?b&a",)
    assert url_forms(table, "x", "/b?") == ("/b?", "/b")
    assert url_forms(table, "x", "/a/../b") == ("/a/../b",)


def test_every_stored_answer_is_under_one_of_the_forms() -> None:
    rules = [Rule(patterns=("/a*",), key=KeySpec(query_ignore=("u",))), Rule(key=KeySpec(query_sort=False))]
    table = RuleTable(rules, UNMATCHED)
    for target in ("/a?u=1&b=2&a=%31", "/b?u=1&b&a", "/c//d?x", "/a?"):
        for rule in (*rules, UNMATCHED):
            found = derive(ask(target), rule)
            if isinstance(found, Keyed) and (rule is UNMATCHED or rule in table.at(target.partition("?")[0])):
                assert found.target in url_forms(table, "api.example.com", target)


# -- memory ------------------------------------------------------------------------------------------------------------


def test_what_is_remembered_never_answers_for_another_rule_or_request() -> None:
    deriver = KeyDeriver()
    for _ in range(3):
        for rule in (Rule(), Rule(namespace="n"), Rule(key=KeySpec(headers=("x",))), UNMATCHED):
            for request in (
                ask("/a?b&a"),
                ask("/a?b&a", ("X", "1")),
                ask("/a?b&a", host="h"),
                ask("/a?b&a", scheme="https"),
            ):
                assert deriver.derive(request, rule) == KeyDeriver().derive(request, rule)


def test_what_is_asked_again_is_remembered() -> None:
    deriver, rule = KeyDeriver(), Rule(key=KeySpec(headers=("x",)))
    first = deriver.derive(ask("/a", ("X", "1")), rule)
    assert deriver.derive(ask("/a", ("X", "1")), rule) is first
    memo: Memo[str, int] = Memo(2)
    for number, key in enumerate("abcdefgh"):
        memo.put(key, number)
        assert memo.get("a") == 0  # in use, so it stays
    assert memo.get("b") is None
    assert len(memo) <= 4


def test_memory_is_bounded() -> None:
    deriver = KeyDeriver()
    rule = Rule(key=KeySpec(headers=("x",)))
    for number in range(3 * KeyDeriver._BOUND):
        deriver.derive(ask(f"/{number}"), rule)
    before = len(deriver._known)
    deriver.derive(ask("/" + "a" * KeyDeriver._LONG), rule)
    deriver.derive(ask("/", ("X", "a" * KeyDeriver._LONG)), rule)
    assert len(deriver._known) == before <= 2 * KeyDeriver._BOUND
    for number in range(KeyDeriver._RULES + 10):
        deriver.derive(ask("/"), Rule(name=str(number)))
    assert len(deriver._plans) <= KeyDeriver._RULES


# -- properties --------------------------------------------------------------------------------------------------------

TEXT = st.text("a1:0\n\xff", max_size=4)
PARTS = st.builds(
    KeyParts,
    scope=st.builds(Scope, TEXT, TEXT, TEXT, TEXT, TEXT),
    path=TEXT,
    query=st.none() | TEXT,
    body=TEXT,
    selected=st.lists(st.tuples(TEXT, TEXT), max_size=3).map(tuple),
)


@given(PARTS, PARTS)
def test_different_parts_never_have_the_same_bytes(one: KeyParts, other: KeyParts) -> None:
    assert (one.encode() == other.encode()) is (one == other)


@given(PARTS, st.data())
def test_moving_a_boundary_changes_the_bytes(parts: KeyParts, data: st.DataObject) -> None:
    """The classic confusion: the end of one part becomes the beginning of the next."""
    texts = [*parts.scope, parts.path]
    at = data.draw(st.integers(0, len(texts) - 2))
    both = texts[at] + texts[at + 1]
    cut = data.draw(st.integers(0, len(both)))
    texts[at], texts[at + 1] = both[:cut], both[cut:]
    moved = replace(parts, scope=Scope(*texts[:5]), path=texts[5])
    assert (moved.encode() == parts.encode()) is (moved == parts)


VALUE = st.text("1&=;%+ ~/\xe9", max_size=4)
NAMED = st.dictionaries(st.sampled_from(["a", "b", "A", "a[]"]), VALUE, max_size=4)


def spelled(values: dict[str, str], random: object) -> str:
    """The query in some order, each byte encoded or not where it may be."""
    pieces = []
    for name, value in values.items():
        text = ""
        for char in value:
            if char in "&%; +/" or ord(char) > 126:
                text += f"%{ord(char):02{'xX'[random.random() < 0.5]}}"  # type: ignore[attr-defined]
            else:
                text += f"%{ord(char):02x}" if char in "1~" and random.random() < 0.5 else char  # type: ignore[attr-defined]
        pieces.append(f"{name}={text}")
    random.shuffle(pieces)  # type: ignore[attr-defined]
    return "&".join(pieces)


@given(NAMED, NAMED, st.randoms(), st.randoms())
def test_requests_meet_exactly_when_they_mean_the_same(
    one: dict[str, str], other: dict[str, str], first: object, second: object
) -> None:
    rule = Rule()
    a, b = hash_of(ask(f"/x?{spelled(one, first)}"), rule), hash_of(ask(f"/x?{spelled(other, second)}"), rule)
    assert (a == b) is (one == other)
    assert a == hash_of(ask(f"/%78?{spelled(one, second)}"), rule)


@given(st.lists(st.tuples(st.sampled_from(["X-A", "X-B"]), TEXT.filter(str.isascii)), max_size=3), st.data())
def test_selected_headers_meet_exactly_when_equal(fields: list[tuple[str, str]], data: st.DataObject) -> None:
    rule = Rule(key=KeySpec(headers=("x-a", "x-b")))
    other = data.draw(st.permutations(fields))
    same = all(ask("/", *fields).fields.get(name) == ask("/", *other).fields.get(name) for name in ("x-a", "x-b"))
    assert (hash_of(ask("/", *fields), rule) == hash_of(ask("/", *other), rule)) is same
