"""Globs: row 1's property test, the whole language against a naive oracle, and patterns that blow others up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.policy.globs import compile_glob


@pytest.mark.parametrize(
    ("pattern", "fits", "fails"),
    [
        ("*", ["", "/", "/a/b", "\n"], []),
        ("**", ["", "/a"], []),
        ("", [""], ["a"]),
        ("/a", ["/a"], ["/A", "/a/", "/ab", "a"]),
        ("/a/*", ["/a/", "/a/b", "/a/b/c"], ["/a", "/b/a/"]),
        ("*.css", [".css", "/x/y.css"], ["/x.css2", "/xcss"]),
        ("*/users/*", ["/api/users/7", "/users/7", "/users/"], ["/users", "/api/user/7"]),
        ("/a*z", ["/az", "/a/b/z"], ["/a", "/azb"]),
        ("aba*ba", ["ababa", "aba.ba"], ["aba", "abab"]),
        ("a*b*a", ["aba", "axbxa"], ["aa", "ab", "ba"]),
        ("a?c", ["abc", "a/c", "a\nc", "a?c"], ["ac", "abbc"]),
        ("?", ["a", "*"], ["", "ab"]),
        ("*?", ["a", "ab"], [""]),
        ("a*?b", ["axb", "aabb"], ["ab"]),
        ("/v?/*", ["/v1/", "/v2/x"], ["/v/x", "/v10/x"]),
        ("[ab].{c}\\d+^$", ["[ab].{c}\\d+^$"], ["a.c1"]),
        ("/É*", ["/É", "/Éa"], ["/é"]),
    ],
)
def test_language(pattern: str, fits: list[str], fails: list[str]) -> None:
    glob = compile_glob(pattern)
    assert [text for text in fits if not glob.match(text)] == []
    assert [text for text in fails if glob.match(text)] == []


def naive(pattern: str, text: str) -> bool:
    """The language by its definition, one cell of the table at a time."""
    row = [True] + [False] * len(text)
    for char in pattern:
        new = [row[0] and char == "*"]
        for at, seen in enumerate(text):
            new.append((new[at] or row[at + 1]) if char == "*" else row[at] and char in ("?", seen))
        row = new
    return row[-1]


@given(st.text("ab/?*", max_size=9), st.text("ab/?*", max_size=12))
def test_agrees_with_its_definition(pattern: str, text: str) -> None:
    assert compile_glob(pattern).match(text) is naive(pattern, text)


@given(st.text(max_size=20))
def test_every_text_without_wildcards_fits_only_itself(text: str) -> None:
    literal = text.replace("*", "").replace("?", "")
    assert compile_glob(literal).match(literal)
    assert not compile_glob(literal).match(literal + "x")


@pytest.mark.parametrize(
    "pattern", ["*a" * 60 + "b", "*?" * 60 + "b", "a*" * 60 + "?b", "*" * 500 + "b", "*a?a" * 40 + "b"]
)
def test_no_pattern_takes_exponential_time(pattern: str) -> None:
    assert not compile_glob(pattern).match("a" * 8000)


def test_compiling_is_remembered_and_compared_by_pattern() -> None:
    assert compile_glob("/x/*") is compile_glob("/x/*")
    assert compile_glob("/x/*") == compile_glob("/x/*") != compile_glob("/x/**")
