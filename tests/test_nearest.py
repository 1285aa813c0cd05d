"""By what two keys differ, and how far the nearest is looked for (row 201)."""

from collections.abc import AsyncIterator, Sequence

import pytest

from proxy.entry import Entry, KeyParts, Scope
from proxy.insight.nearest import BATCH, NEAR_SECONDS, Search, Searching, cost, differences
from tests.support.journal import entry


def parts(path: str = "/a", query: str | None = None, **more: object) -> KeyParts:
    scope = Scope("up", "", "http", "GET", "a.example")._replace(
        **{n: v for n, v in more.items() if n in Scope._fields}
    )
    return KeyParts(scope, path, query, **{n: v for n, v in more.items() if n not in Scope._fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("one", "other", "differs"),
    [
        (parts(), parts(), {}),
        (parts(host="b"), parts(), {"host": ("b", "a.example")}),
        (parts(upstream="x", namespace="n"), parts(), {"upstream": ("x", "up"), "namespace": ("n", "")}),
        (parts(method="POST", body="json:1"), parts(), {"method": ("POST", "GET"), "body": ("json:1", None)}),
        (parts("/a/7/c"), parts("/a/8/c"), {"path[1]": ("7", "8")}),
        (parts("/a/b"), parts("/a"), {"path[1]": ("b", None)}),
        (parts(query="x=1&ts=2"), parts(query="x=1"), {"query.ts": ("2", None)}),
        (parts(query="x=1&x=2"), parts(query="x=2&x=1"), {"query.x": ("1&2", "2&1")}),
        (parts(query="x"), parts(query="x=1"), {"query.x": ("", "1")}),
        (parts(query="x=1&y=2"), parts(query="y=2&x=1"), {"query": ("x=1&y=2", "y=2&x=1")}),
        (parts(query=""), parts(), {"query": ("", None)}),
        (parts(selected=(("accept", "a"),)), parts(), {"header.accept": ("a", None)}),
        (parts(selected=(("cookie:c", "d1"),)), parts(selected=(("cookie:c", "d2"),)), {"cookie.c": ("d1", "d2")}),
        (parts(selected=(("credential:authorization", "d"),)), parts(), {"header.authorization": ("d", None)}),
    ],
)
def test_what_differs_has_the_names_of_rules(
    one: KeyParts, other: KeyParts, differs: dict[str, tuple[str | None, str | None]]
) -> None:
    assert differences(one, other) == differs
    assert differences(other, one) == {name: (there, here) for name, (here, there) in differs.items()}


def test_different_keys_always_differ_by_name() -> None:
    known = [parts(), parts(query=""), parts(query="a"), parts(query="a="), parts("/a/"), parts(body="raw:1")]
    assert all(bool(differences(one, other)) is (one != other) for one in known for other in known)


def test_the_same_path_goes_before_all_else() -> None:
    assert cost(["query.a", "query.b", "host"]) < cost(["path[1]"]) < cost(["path[1]", "query.a"])


async def nothing() -> AsyncIterator[Entry]:
    return
    yield


async def found(url: str, *stored: str, ticks: Sequence[float] = ()) -> Search:
    times = iter(ticks)
    searching = Searching(entry(url).parts, lambda name: "", lambda held: True, lambda: next(times, 0.0))
    return await searching.among([entry(each) for each in stored], nothing())


@pytest.mark.parametrize(
    ("stored", "nearest"),
    [
        (["http://a.example/x/1?a=1", "http://a.example/x/2?a=2"], "http://a.example/x/1?a=1"),
        (["http://a.example/x/2?a=2", "http://a.example/x/1?a=1&b=2"], "http://a.example/x/1?a=1&b=2"),
        (["http://a.example/x/2?a=2"], "http://a.example/x/2?a=2"),
        (["http://b.example/x/2?a=2"], None),  # neither its path nor its host
        (["http://a.example/y/2"], None),  # two segments
        (["http://a.example/x/1/2"], None),
        (["http://a.example/x/1?a=2"], None),  # it is what was asked for
        ([], None),
    ],
)
async def test_which_of_those_that_are_stored_is_the_nearest(stored: list[str], nearest: str | None) -> None:
    search = await found("http://a.example/x/1?a=2", *stored)
    assert (search.nearest and search.nearest.url, search.complete) == (nearest, True)


async def test_of_two_roots_neither_lies_beside_the_other() -> None:
    assert (await found("http://a.example/x", "http://a.example/y")).nearest is None


async def test_a_search_is_cut_when_its_time_is_over_and_says_so() -> None:
    many = [f"http://a.example/{n}/x" for n in range(10 * BATCH)]
    half = NEAR_SECONDS / 2
    late = await found("http://a.example/none", *many, ticks=[0.0, half, half, NEAR_SECONDS])
    assert (late.looked, late.complete) == (2 * BATCH - 1, False)
    assert (await found("http://a.example/none", *many)).looked == len(many)


async def test_it_ends_with_what_nothing_can_be_nearer_than() -> None:
    stored = [f"http://a.example/x?a={n}" for n in range(10)]
    search = await found("http://a.example/x?a=no", *stored)
    assert (search.looked, search.complete) == (1, True)
