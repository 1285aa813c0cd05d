"""Globs: row 1's property test, the whole language against a naive oracle, and patterns that blow others up."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.policy.globs import STEPS, compile_glob
from tests.fuzz.target import in_time


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


REPEATED = st.builds(str.__mul__, st.text("ab?", min_size=1, max_size=3), st.integers(1, 80))


@settings(deadline=None)
@given(
    st.lists(REPEATED | st.just("*"), min_size=1, max_size=5),
    st.sampled_from(["*", "*a", "*?b"]),
    st.lists(REPEATED, min_size=1, max_size=4),
)
def test_long_pieces_in_long_texts_agree_with_the_definition_too(
    pattern: list[str], end: str, texts: list[str]
) -> None:
    glob, text = f"*{''.join(pattern)}{end}", "".join(texts)
    assert compile_glob(glob).match(text) is naive(glob, text)


@pytest.mark.parametrize(
    ("pattern", "fits", "fails"),
    [
        ("*" + "a?" * 2000 + "b*", "a" * 4000 + "b", "a"),
        ("*" + "a?" * 2000 + "b*bc", "a" * 4000 + "bbc", "a" * 4000 + "bc"),
        ("*ab" + "?" * 4000 + "*", "ab" + "a" * 4000, "ab" + "a" * 3999),
        ("*a" + "?" * 4000 + "b*", "a" * 4001 + "b", "a"),
        ("*a?" + "a" * 4000 + "b*", "aba" + "a" * 4000 + "b", "a"),
        ("x*" + "?" * 3000 + "*y?z*", "y.z", "y.y"),
        ("*" + "é?" * 2000 + "*\n", "é." * 2000 + "\n", "é"),
    ],
)
def test_what_would_be_looked_for_at_each_place_anew(pattern: str, fits: str, fails: str) -> None:
    """The place is at the end, or there is none."""
    begin = pattern.partition("*")[0]
    for text, wanted in ((fits, True), (fails, False)):
        long = begin + fails[0] * STEPS + text
        assert compile_glob(pattern).match(long) is wanted


def test_a_long_piece_is_not_held_against_each_place_of_a_long_text() -> None:
    """That would be some 20,000 million steps."""
    glob = compile_glob("*" + "a?" * 32_000 + "b*")
    with in_time():
        assert not glob.match("a" * 300_000)


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
