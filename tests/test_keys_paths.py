"""One normal form for targets: row 7, RFC 3986 6.2.2, and the fault class "key confusion"."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.policy.paths import normal_path, normal_query, normal_target, readings

UNRESERVED = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~"


@pytest.mark.parametrize(
    ("path", "normal"),
    [
        ("/", "/"),
        ("/a/b/", "/a/b/"),
        ("/%7euser/%41%2d%2E%5f", "/~user/A-._"),
        ("/a%2fb", "/a%2Fb"),
        ("/a%3bb%3fc%23d%25e", "/a%3Bb%3Fc%23d%25e"),
        ("/a%21b!c", "/a%21b!c"),
        ("/caf\xc3\xa9", "/caf%C3%A9"),
        ("/caf%c3%a9", "/caf%C3%A9"),
        ('/{id}|^"<>`[]', "/%7Bid%7D%7C%5E%22%3C%3E%60%5B%5D"),
        ("/a:b@c&d=e+f,g$h'(i)*", "/a:b@c&d=e+f,g$h'(i)*"),
        ("/...", "/..."),
        ("/.well-known/a..b/..c", "/.well-known/a..b/..c"),
        ("/u/https%3A%2F%2Fexample.com", "/u/https%3A%2F%2Fexample.com"),
        ("/%2541", "/%2541"),
    ],
)
def test_normal_paths(path: str, normal: str) -> None:
    assert normal_path(path) == normal
    assert normal_path(normal) == normal


@pytest.mark.parametrize(
    "path",
    [
        "",
        "*",
        "a",
        "http://host/a",
        "//",
        "//a",
        "/a//b",
        "/a//",
        "/.",
        "/..",
        "/a/./b",
        "/a/../b",
        "/a/..",
        "/%2e/a",
        "/a/%2E%2e/b",
        "/a/.%2e",
        "/a%2f..%2fb",
        "/a/..%2Fb",
        "/a%2F.",
        "/%252e%252e/a",
        "/%252E./a",
        "/a%252fb",
        "/a%255cb",
        "/a%2500",
        "/a\\b",
        "/a%5cb",
        "/a%5C..%5Cb",
        "/a%00",
        "/a%00.css",
        "/a;b",
        "/a;jsessionid=1/b",
        "/..;/a",
        "/%c0%ae%c0%ae/a",
        "/%c0%af",
        "/%e0%80%ae",
        "/%f0%80%80%ae",
        "/100%",
        "/%zz",
        "/%4",
        "/a b",
        "/a\tb",
        "/a\x00",
        "/a#b",
        "/a\u20ac",
    ],
)
def test_what_servers_read_in_two_ways_has_no_normal_form(path: str) -> None:
    assert normal_path(path) is None


@pytest.mark.parametrize(
    ("query", "normal"),
    [
        ("b=2&a=1", "a=1&b=2"),
        ("a=2&b=0&a=1", "a=2&a=1&b=0"),
        ("a&a=", "a&a="),
        ("a=&a", "a=&a"),
        ("%61=%7e&b=%2f", "a=~&b=%2F"),
        ("a=1+2&b=1%202&c=1%2B2", "a=1+2&b=1%202&c=1%2B2"),
        ("b=1;a=2", "b=1;a=2"),
        ("a=1?b=2", "a=1?b=2"),
        ("b=%26a=1", "b=%26a=1"),
        ("&&b=1&&a=1&", "a=1&b=1"),
        ("=x&=", "=x&="),
        ("", None),
        ("&", None),
        ("f[a]=1&f%5ba%5d=2", "f%5Ba%5D=1&f%5Ba%5D=2"),
        ("q=100%&p=%41%", "p=%41%&q=100%"),
        ("q=caf\xc3\xa9%", "q=caf%C3%A9%"),
        ("%41=1&a=1&A=2", "A=1&A=2&a=1"),
    ],
)
def test_normal_queries(query: str, normal: str | None) -> None:
    assert normal_query(query, sort=True) == normal
    assert normal is None or normal_query(normal, sort=True) == normal


def test_unsorted_queries_keep_their_order() -> None:
    assert normal_query("b=%7E&&a=1", sort=False) == "b=~&a=1"


@pytest.mark.parametrize(
    ("ignore", "only", "left"),
    [
        (("utm_*", "fbclid"), (), "Utm_z&id=7&q=x"),
        ((), ("id",), "id=7"),
        (("q",), ("id", "q"), "id=7"),
        (("*",), (), None),
        (("i?",), ("*",), "Utm_z&fbclid=3&q=x&utm_a=1&utm_b=2"),
    ],
)
def test_ignored_parameters_are_not_there_at_all(ignore: tuple[str, ...], only: tuple[str, ...], left: str) -> None:
    assert normal_query("utm_a=1&q=x&%75tm%5Fb=2&id=7&fbclid=3&Utm_z", True, ignore, only) == left


def test_ignored_names_are_compared_decoded() -> None:
    assert normal_query("m%C3%BCll=1&m\xc3\xbcll=2&a+b=3&a%20b=4&c=5", True, ("müll", "a b")) == "c=5"


def test_a_parameter_hidden_in_an_ignored_one_goes_with_it() -> None:
    """Parameter cloaking: an origin that parts at ";" never sees what the key did not."""
    assert normal_query("utm_x=1;callback=evil&id=1", True, ("utm_*",)) == "id=1"


def test_targets() -> None:
    assert normal_target("/a?", True) == normal_target("/a", True) == ("/a", None)
    assert normal_target("/a?b?c", True) == ("/a", "b?c")
    assert normal_target("/a?b c", True) is None
    assert normal_target("/a?b#c", True) is None
    assert normal_target("/../a?b", True) is None


def encoded(text: str, choices: list[int]) -> str:
    """`text` with some of its unreserved characters percent-encoded in either case."""
    out = []
    for at, char in enumerate(text):
        choice = choices[at % len(choices)] if choices and char in UNRESERVED else 0
        out.append((char, f"%{ord(char):02X}", f"%{ord(char):02x}")[choice])
    return "".join(out)


@given(
    st.lists(st.text(UNRESERVED + "!$&'()*+,=:@", min_size=1, max_size=6), min_size=1, max_size=4),
    st.lists(st.integers(0, 2), max_size=9),
)
def test_spellings_of_one_path_meet(segments: list[str], choices: list[int]) -> None:
    path = "/" + "/".join(segments)
    normal = normal_path(path)
    assert normal_path(encoded(path, choices)) == normal
    assert normal is None or normal == path


@given(st.text("/.%25eEfFcC;\\a0\xc0\xae?&=", max_size=14))
def test_what_has_a_normal_form_is_plain_and_stays_so(text: str) -> None:
    normal = normal_path("/" + text)
    if normal is not None:
        assert normal.isascii()
        assert normal_path(normal) == normal
        assert not {"", ".", ".."} & set(normal[1:].split("/")[:-1])
        assert readings("/" + text) == (normal,)
    else:
        assert all(reading.startswith("/") for reading in readings("/" + text))
    query = normal_query(text, sort=True)
    assert query is None or (query.isascii() and normal_query(query, sort=True) == query)


PARAMETER = st.tuples(st.text("ab", max_size=2), st.text("12%;=", max_size=3))


@given(st.lists(PARAMETER, max_size=5), st.randoms())
def test_order_of_names_does_not_matter_and_nothing_else_is_lost(pairs: list[tuple[str, str]], random: object) -> None:
    query = "&".join(f"{name}={value}" for name, value in pairs)
    normal = normal_query(query, sort=True) or ""
    by_name = {name: [v for n, v in pairs if n == name] for name, _ in pairs}
    seen: dict[str, list[str]] = {}
    for piece in filter(None, normal.split("&")):
        name, _, value = piece.partition("=")
        seen.setdefault(name, []).append(value)
    assert seen == by_name
    names = list(by_name)
    random.shuffle(names)  # type: ignore[attr-defined]
    other = "&".join(f"{name}={value}" for name in names for value in by_name[name])
    assert (normal_query(other, sort=True) or "") == normal
