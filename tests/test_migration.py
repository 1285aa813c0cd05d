"""docs/migration.md maps lines of nginx and of Varnish to lines of ours: both are run, and asked the same.

Each row of a table whose second column is another program's has a course here: requests before an origin that is
scripted alike. With the lines of the row the other program and Cachegate answer alike, and without them the other one
does not: so it is those lines that are mapped.
"""

import asyncio
import re
import shlex
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.fronts import (
    BRIEF,
    FRESH,
    OURS,
    OVER,
    PROGRAMS,
    SOON,
    Site,
    confirming,
    fetches,
    missing,
    numbered,
    site,
)
from tests.support.origin import STALL, Recorded, render
from tests.support.pages import ROOT, told_in
from tests.support.process import program
from tests.support.rawtcp import RawAnswer

PAGE = (ROOT / "docs" / "migration.md").read_text()
Course = Callable[[Site], Awaitable[list[object]]]
COURSES: dict[str, Course] = {}
course = told_in(COURSES)
# What is kept is what a line says, not what Varnish keeps by itself for two minutes and ten seconds.
_BESIDE = {"Varnish": ("-p default_ttl=0 -p default_grace=0",), "nginx": ()}


@course("a header is part of the key")
async def tenants(at: Site) -> list[object]:
    at.origin.answer("/a", headers=FRESH, body=numbered())
    return [(await at.get("/a", f"X-Tenant: {name}")).body for name in ("one", "two", "one", "two")]


@course("keep what says nothing, for ten minutes")
async def lifetime(at: Site) -> list[object]:
    at.origin.answer("/a", body=numbered())
    at.origin.answer("/b", headers=[("Cache-Control", "private")], body=numbered())
    return [(await at.get(path)).body for path in ("/a", "/a", "/b", "/b")]


@course("ten minutes, whatever the origin says of time")
async def overridden(at: Site) -> list[object]:
    at.origin.answer("/a", headers=[("Cache-Control", "max-age=0")], body=numbered())
    return [(await at.get()).body for _ in range(3)]


@course("keep a 404 for a minute")
async def not_found(at: Site) -> list[object]:
    at.origin.answer("/a", 404, body=numbered())
    at.origin.answer("/b", 500, body=numbered())
    return [_said(await at.get(path)) for path in ("/a", "/a", "/b", "/b")]


@course("POST by its body")
async def posted(at: Site) -> list[object]:
    at.origin.answer("/a", body=numbered())
    return [(await at.ask("POST", "/a", body=body)).body for body in (b"one", b"two", b"one", b"two")]


@course("leave a path alone")
async def live(at: Site) -> list[object]:
    at.origin.otherwise(FRESH, numbered())
    return [(await at.get(path)).body for path in ("/live/1", "/live/1", "/a", "/a")]


@course("leave alone what carries a header")
async def left_alone(at: Site) -> list[object]:
    at.origin.answer("/a", headers=FRESH, body=numbered())
    return [(await at.get("/a", *fields)).body for fields in ((), ("X-Fresh: 1",), ())]


@course("leave a session's requests alone")
async def session(at: Site) -> list[object]:
    at.origin.answer("/a", headers=FRESH, body=numbered())
    asked = ("Theme: dark", "Cookie: session=1", "Cookie: a=b; session=1", "Cookie: theme=dark")
    return [(await at.get("/a", field)).body for field in asked]


@course("a reload of the browser fetches anew")
async def anew(at: Site) -> list[object]:
    at.origin.answer("/a", headers=FRESH, body=numbered())
    return [(await at.get("/a", *fields)).body for fields in ((), ("Cache-Control: no-cache",), ())]


@course("a stale copy when the origin fails")
async def failing(at: Site) -> list[object]:
    at.origin.answer("/a", 503, body=b"sorry")
    at.origin.answer("/a", headers=BRIEF, body=b"whole", times=1)
    seen = [_said(await at.get())]
    await asyncio.sleep(OVER)
    seen.append(_said(await at.get()))
    await at.origin.arrived("/a", 2)
    await at.origin.stop()
    return [*seen, *[_said(await at.get()) for _ in range(3)]]


@course("nobody waits while it is fetched anew")
async def updating(at: Site) -> list[object]:
    at.origin.answer("/a", headers=BRIEF, body=numbered())
    seen = [(await at.get()).body]
    await asyncio.sleep(OVER)
    gate = at.origin.hold("/a")
    try:
        async with asyncio.timeout(SOON):
            seen += [(await at.get()).body for _ in range(2)]
    except TimeoutError:
        return ["waits"]
    finally:
        gate.release()
    return seen


@course("one fetch for all who wait")
async def locked(at: Site) -> list[object]:
    return [await fetches(at, 20)]


@course("confirm what is over instead of fetching it")
async def confirmed(at: Site) -> list[object]:
    at.origin.instead = lambda request: confirming([*BRIEF, ("ETag", '"x"')])
    seen: list[object] = [(await at.get()).body]
    await asyncio.sleep(OVER)
    seen.append((await at.get()).body)
    return [*seen, *[request.header("if-none-match") for request in at.origin.requests]]


@course("parts of what is large")
async def sliced(at: Site) -> list[object]:
    whole = bytes(range(256)) * 8192  # 2 MiB

    def part(request: Recorded) -> bytes:
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", request.header("range") or "")
        fields = [("ETag", '"x"'), ("Accept-Ranges", "bytes"), *FRESH]
        if asked is None:
            return render(request, 200, fields, whole, chunked=False, close=False)
        first, last = int(asked[1]), min(int(asked[2]), len(whole) - 1)
        fields.append(("Content-Range", f"bytes {first}-{last}/{len(whole)}"))
        return render(request, 206, fields, whole[first : last + 1], chunked=False, close=False)

    at.origin.instead = lambda request: part
    got = await at.get("/a", "Range: bytes=1200000-1200099")
    return [got.status, got.header("content-range"), got.body, at.origin.last.header("range") is not None]


@course("a word for what became of it")
async def word(at: Site) -> list[object]:
    at.origin.answer("/a", headers=FRESH, body=b"x")
    return [(await at.get()).header("x-cache") for _ in range(3)]


@course("and more words, when it was over")
async def words(at: Site) -> list[object]:
    at.origin.answer("/a", headers=BRIEF, body=b"x")
    at.origin.answer("/b", 503, body=b"sorry")
    at.origin.answer("/b", headers=BRIEF, body=b"x", times=1)
    whole = confirming([*BRIEF, ("ETag", '"x"')])
    at.origin.instead = lambda request: whole if request.path == "/c" else None
    first = [(await at.get(path)).header("x-cache") for path in ("/a", "/b", "/c")]
    await asyncio.sleep(OVER)
    return [*first, *[(await at.get(path)).header("x-cache") for path in ("/a", "/b", "/c")]]


@course("three requests a minute")
async def limited(at: Site) -> list[object]:
    at.origin.answer("/a", body=b"x")
    return [(await at.get()).status for _ in range(5)]


@course("a header for the origin")
async def api_key(at: Site) -> list[object]:
    at.origin.answer("/a", body=b"x")
    await at.get("/a", "X-Api-Key: of the client")
    return [at.origin.last.lines("x-api-key")]


@course("the client's `Host` for the origin")
async def host(at: Site) -> list[object]:
    at.origin.answer("/a", body=b"x")
    await at.get()
    return [at.origin.last.header("host")]


@course("give up after a second of silence")
async def silence(at: Site) -> list[object]:
    at.origin.script("/a", STALL)
    try:
        async with asyncio.timeout(OVER * 2):
            return [(await at.get()).status]
    except TimeoutError:
        return ["waits"]


@course("keep an answer with `Set-Cookie`")
async def set_cookie(at: Site) -> list[object]:
    fields = [("Cache-Control", "public, max-age=600"), ("Set-Cookie", "a=b")]
    at.origin.answer("/a", headers=fields, body=numbered())
    got = [await at.get() for _ in range(2)]
    return [(each.body, each.header("set-cookie")) for each in got]


@course("tell clients something else")
async def told(at: Site) -> list[object]:
    at.origin.answer("/a", headers=FRESH, body=numbered())
    got = [await at.get() for _ in range(2)]
    return [(each.body, each.header("cache-control")) for each in got]


@course("a parameter that does not matter")
async def ignored(at: Site) -> list[object]:
    at.origin.answer("/a", headers=FRESH, body=numbered())
    return [(await at.get(f"/a?x={x}")).body for x in ("1", "1&utm_source=mail", "2", "2&utm_source=news")]


@course("parameters in any order")
async def order(at: Site) -> list[object]:
    at.origin.answer("/a", headers=FRESH, body=numbered())
    return [(await at.get(f"/a?{query}")).body for query in ("x=1&y=2", "y=2&x=1", "x=2&y=1")]


@course("cookies do not matter")
async def cookies(at: Site) -> list[object]:
    at.origin.answer("/a", headers=FRESH, body=numbered())
    return [(await at.get("/a", f"Cookie: a={n}")).body for n in range(3)]


@course("purge a URL")
async def purged(at: Site) -> list[object]:
    return await _purged(at, "/users/1")


@course("purge by pattern")
async def banned(at: Site) -> list[object]:
    return await _purged(at, "/", "X-Pattern: ^/users/")


@course("purge by tag")
async def tagged(at: Site) -> list[object]:
    return await _purged(at, "/", "X-Tag: users")


@course("purge by tag, and serve it until it is fetched anew")
async def softly(at: Site) -> list[object]:
    return await _purged(at, "/", "X-Tag: users", stale=True)


async def _purged(at: Site, target: str, *fields: str, stale: bool = False) -> list[object]:
    more = (("Cache-Control", "max-age=600, stale-while-revalidate=600" if stale else "max-age=600"),)
    for path, tags in (("/users/1", "users"), ("/users/2", "users"), ("/items/1", "items")):
        at.origin.answer(path, headers=(*more, ("xkey", tags)), body=numbered())
    seen: list[object] = [(await at.get(path)).body for path in ("/users/1", "/items/1")]
    if at.name == OURS:
        for command in at.commands:
            code, out, error = await program(at.directory, *shlex.split(command)[1:], "--yes", "--url", at.front.url)
            assert code == 0, out + error
    else:
        await at.purge(target, *fields)
    seen += [(await at.get(path)).body for path in ("/users/1", "/items/1")]
    if stale:
        try:
            async with asyncio.timeout(SOON):
                await at.origin.until(lambda: at.origin.count("/users/1") == 2)
        except TimeoutError:
            return [*seen, "never fetched anew"]
    return seen


def _said(answer: RawAnswer) -> object:
    return answer.status, answer.body


# The page


@dataclass(frozen=True, slots=True)
class Row:
    """What is mapped to what, by whose table."""

    what: str
    name: str
    theirs: tuple[str, ...]
    ours: tuple[str, ...]


def rows() -> Iterator[Row]:
    name = ""
    for line in PAGE.splitlines():
        words = [word.strip() for word in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(words) == 3 and words[1] in PROGRAMS:
            name = words[1]
        elif len(words) == 3 and name and not words[0].startswith("---"):
            theirs, ours = (tuple(re.findall(r"`([^`]+)`", word)) for word in words[1:])
            yield Row(words[0], name, theirs, ours)
        elif not words:
            name = ""


ROWS = list(rows())


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.name}-{COURSES[row.what].__name__}")
async def test_a_line_of_theirs_and_of_ours_do_the_same(row: Row, tmp_path: Path) -> None:
    if why := missing(row.name, *row.theirs):
        pytest.skip(why)
    beside, seen = _BESIDE[row.name], {}
    for case, name, lines in (
        ("with", row.name, beside + row.theirs),
        ("without", row.name, beside),
        ("ours", OURS, row.ours),
    ):
        (tmp_path / case).mkdir()
        async with site(name, tmp_path / case, *lines) as at:
            seen[case] = await COURSES[row.what](at)
    assert seen["ours"] == seen["with"], row
    assert seen["without"] != seen["with"], f"it goes without {row.theirs}"


@pytest.mark.slow
async def test_what_nginx_shares_and_we_do_not(tmp_path: Path) -> None:
    """The two differences that the page names below nginx's table."""
    if why := missing("nginx"):
        pytest.skip(why)
    kept = {}
    lines = {
        "nginx": "proxy_ignore_headers Cache-Control; proxy_cache_valid 200 10m;",
        OURS: "{ttl: 600, override: true}",
    }
    for name, said in lines.items():
        (tmp_path / name).mkdir()
        async with site(name, tmp_path / name, said) as at:
            for path, value in (("/private", "private"), ("/no-store", "no-store"), ("/person", "max-age=600")):
                at.origin.answer(path, headers=[("Cache-Control", value)], body=numbered())
            for path in ("/private", "/no-store", "/person"):
                first, second = await at.get(path, "Authorization: Bearer one"), await at.get(path)
                kept[name, path] = first.body == second.body
    assert [kept["nginx", path] for path in ("/private", "/no-store", "/person")] == [True] * 3
    assert [kept[OURS, path] for path in ("/private", "/no-store", "/person")] == [False] * 3


@pytest.mark.slow
async def test_words_of_both(tmp_path: Path) -> None:
    """BYPASS of both; while it is fetched anew nginx says STALE to the first, and UPDATING from then on as we do."""
    if why := missing("nginx"):
        pytest.skip(why)
    nginx = "add_header X-Cache $upstream_cache_status; proxy_cache_bypass $http_x_fresh; proxy_no_cache $http_x_fresh;"
    nginx += " proxy_cache_use_stale updating; proxy_cache_background_update on;"
    rules = """rules: [{pattern: "*", conditions: {headers: {x-fresh: "*"}}, mode: off},
                       {pattern: "*", ttl: 1, stale_while_revalidate: 60}]"""
    for name, said, expected in (("nginx", nginx, "STALE"), (OURS, rules, "UPDATING")):
        (tmp_path / name).mkdir()
        async with site(name, tmp_path / name, said) as at:
            at.origin.answer("/a", headers=BRIEF, body=b"x")
            assert (await at.get("/a", "X-Fresh: 1")).header("x-cache") == "BYPASS"
            assert (await at.get()).header("x-cache") == "MISS"
            await asyncio.sleep(OVER)
            gate = at.origin.hold("/a")
            assert [(await at.get()).header("x-cache") for _ in range(2)] == [expected, "UPDATING"]
            gate.release()


def test_every_course_is_of_a_row_and_every_row_has_one() -> None:
    assert {row.what for row in ROWS} == {*COURSES}
    assert {name: sum(row.name == name for row in ROWS) >= 15 for name in PROGRAMS} == dict.fromkeys(PROGRAMS, True)
