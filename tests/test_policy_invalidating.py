"""What unsafe requests make invalid: RFC 9111 4.4, RFC 9110 4.3.1, 9.2.1; row 51."""

from dataclasses import replace

import pytest

from proxy.policy.invalidating import answered_get, invalidated_urls, rule_targets, unsafe
from tests.support.asking import ask
from tests.support.judged import Told, answer, ruled

HOST = "api.example.com"
OWN = (HOST, "/a/b?x=1")


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        *((method, False) for method in ("GET", "HEAD", "OPTIONS", "TRACE")),
        *((method, False) for method in ("PROPFIND", "QUERY", "REPORT", "SEARCH")),  # RFC 9110 18.2, the registry
        *((method, True) for method in ("POST", "PUT", "PATCH", "DELETE", "PURGE", "FOO", "get", "")),
    ],
)
def test_unsafe(method: str, expected: bool) -> None:
    """RFC 9110 9.2.1; RFC 9111 4.4: an unknown method counts as unsafe."""
    assert unsafe(method) is expected


@pytest.mark.parametrize(
    ("method", "status", "expected"),
    [
        *(("PUT", status, True) for status in (200, 201, 204, 299, 302, 303, 399)),
        *(("PUT", status, False) for status in (100, 199, 400, 404, 412, 500, 503, 600)),
        ("FOO", 200, True),
        ("GET", 200, False),
        ("OPTIONS", 200, False),
    ],
)
def test_the_target(method: str, status: int, expected: bool) -> None:
    urls = invalidated_urls(ask("/a/b?x=1", method=method), answer(status=status))
    assert urls == ((OWN,) if expected else ())


@pytest.mark.parametrize(
    ("method", "status", "located", "serves"),
    [
        ("POST", 200, ["/a?q=1"], True),
        ("POST", 200, ["?q=1"], True),
        ("POST", 200, ["HTTP://API.example.com:80/a?q=1#here"], True),
        ("POST", 200, ["/x/../a?q=1"], True),
        ("POST", 200, ["https://api.example.com/a?q=1"], False),
        ("POST", 200, ["/a"], False),
        ("POST", 200, [], False),
        ("POST", 200, ["/a?q=1", "/a?q=1"], False),
        ("POST", 201, ["/a?q=1"], False),
        ("PUT", 200, ["/a?q=1"], False),
        ("GET", 200, ["/a?q=1"], False),
    ],
)
def test_a_post_that_answers_a_get(method: str, status: int, located: list[str], serves: bool) -> None:
    """RFC 9110 9.3.3, 8.7."""
    request = ask("/a?q=1", ("Accept", "a/b"), method=method, content=3)
    asked = answered_get(request, answer(*(("Content-Location", each) for each in located), status=status))
    assert (asked == replace(request, method="GET", body=None)) is serves
    assert serves or asked is None


@pytest.mark.parametrize("name", ["Location", "Content-Location"])
@pytest.mark.parametrize(
    ("value", "target"),
    [
        pytest.param("/c", "/c", id="an absolute path"),
        pytest.param("c?y=2#z", "/a/c?y=2", id="relative to the target, without its fragment"),
        pytest.param("../c", "/c", id="dot segments"),
        pytest.param("?y=2", "/a/b?y=2", id="a query alone"),
        pytest.param("http://api.example.com/c", "/c", id="the same origin"),
        pytest.param("HTTP://API.Example.COM:80/c", "/c", id="the same origin in other words"),
        pytest.param("http://api.example.com", "/", id="no path"),
        pytest.param("//api.example.com/c", "/c", id="no scheme"),
        pytest.param("https://api.example.com/c", None, id="another scheme"),
        pytest.param("http://api.example.com:81/c", None, id="another port"),
        pytest.param("http://api.example.com:0/c", None, id="port 0"),
        pytest.param("http://example.com/c", None, id="another host"),
        pytest.param("//evil.example/c", None, id="another host without a scheme"),
        pytest.param("http://api.example.com:x/c", None, id="no port"),
        pytest.param("http://[/c", None, id="no host"),
        pytest.param("mailto:a@b", None, id="no http"),
        pytest.param("/a/b?x=1", None, id="the target itself, once"),
    ],
)
def test_same_origin_references(name: str, value: str, target: str | None) -> None:
    """RFC 9111 4.4 MUST NOT: never another origin's."""
    urls = invalidated_urls(ask("/a/b?x=1", method="POST"), answer((name, value), status=201))
    assert urls == (OWN, *([(HOST, target)] if target is not None else []))


def test_both_and_more_than_one() -> None:
    fields: list[Told] = [("Content-Location", "/c"), ("Location", "/d"), ("Location", "/e"), ("Location", "/c")]
    urls = invalidated_urls(ask("/a/b?x=1", method="POST"), answer(*fields, status=201))
    assert {target for _, target in urls} == {"/a/b?x=1", "/c", "/d", "/e"}


def test_https_has_its_own_port() -> None:
    request = ask("/a", method="PUT", scheme="https")
    assert len(invalidated_urls(request, answer(("Location", "https://api.example.com:443/c")))) == 2
    assert len(invalidated_urls(request, answer(("Location", "http://api.example.com:443/c")))) == 1


def test_no_host_no_references() -> None:
    request = ask("/a", method="PUT", host="")
    assert invalidated_urls(request, answer(("Location", "/c"))) == (("", "/a"),)


def test_a_port_of_its_own() -> None:
    request = ask("/a", method="PUT", host="h:8080")
    assert invalidated_urls(request, answer(("Location", "http://h:8080/c"))) == (("h:8080", "/a"), ("h:8080", "/c"))
    assert invalidated_urls(request, answer(("Location", "http://h/c"))) == (("h:8080", "/a"),)


@pytest.mark.parametrize(
    ("template", "patterns", "tags"),
    [
        pytest.param("*/users/*", ("*/users/*",), (), id="a pattern as it stands"),
        pytest.param("tag:users", (), ("users",), id="a tag"),
        pytest.param("tag:user:{path[2]}", (), ("user:7 8",), id="a segment, decoded"),
        pytest.param("tag:{query.x}", (), ("1 2",), id="a parameter, decoded"),
        pytest.param("tag:{header.X-Id}-{host}", (), ("ü-api.example.com",), id="a header, the host"),
        pytest.param("tag:{path[3]}", (), (), id="no such segment"),
        pytest.param("tag:{nothing}", (), (), id="no such place"),
        pytest.param("tag:{query.none}", (), (), id="no such parameter"),
        pytest.param("tag:{header.none}", (), (), id="no such header"),
        pytest.param("tag:{body.id}", (), (), id="the content is streamed"),
        pytest.param("tag:", (), (), id="nothing"),
    ],
)
def test_rule_targets(template: str, patterns: tuple[str, ...], tags: tuple[str, ...]) -> None:
    request = ask("/api/users/7%208?x=1+2", ("x-id", "ü".encode().decode("latin-1")), method="PUT")
    assert rule_targets(ruled(invalidates=(template,)), request) == (patterns, tags)


@pytest.mark.parametrize(
    ("target", "tag"),
    [
        pytest.param("/%75sers/7", "users", id="the segment as it is keyed"),
        pytest.param("/\xc3\xbc/7", "ü", id="bytes that should have been encoded"),
        pytest.param("/a;b/7", "a;b", id="a path without a normal form, as it came"),
    ],
)
def test_the_path_of_a_tag(target: str, tag: str) -> None:
    rule = ruled(invalidates=("tag:{path[0]}", "tag:{query.x}"))
    assert rule_targets(rule, ask(target, method="PUT")) == ((), (tag,))


def test_rule_targets_together() -> None:
    rule = ruled(invalidates=("/a", "tag:b", "/c", "tag:d"))
    assert rule_targets(rule, ask("/", method="PUT")) == (("/a", "/c"), ("b", "d"))
    assert rule_targets(ruled(), ask("/", method="PUT")) == ((), ())
