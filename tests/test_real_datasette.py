"""In front of datasette over a real SQLite file (features rows 1, 5, 9, 13, 37, 54, 55; contract "Rules", "Purge").

Pages, JSON, CSV as it is streamed, redirects, errors and static files come through as they are; the second time from
memory, after a restart from the file. Every answer of datasette but a static file says `Vary: Cookie, Authorization`,
a few say `max-age=5`, which the rule overrides.
"""

import json
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.end_to_end import end_to_end, status_line
from tests.support.programs import TOKEN, Program, datasette, gateway
from tests.support.rawtcp import RawAnswer, raw

HOST = "library.example"  # datasette writes it into its links; the same at every start, as it is part of the keys
BOOKS, LOANS = 300, 8_000
SETTINGS: dict[str, Any] = {
    "upstream": {"preserve_host": True, "id": "library"},
    "rules": [
        {
            "pattern": "*",
            "ttl": 60,
            "override": True,
            "negative_ttl": {404: 60},
            "tags": ["database:{path[0]}", "page:{path[1]}"],
        }
    ],
}
# target, status, media type, and whether the rule's ttl covers it
PAGES = [
    ("/", 200, "text/html", True),
    ("/library", 200, "text/html", True),
    ("/library/books", 200, "text/html", True),
    ("/library/books?_sort_desc=year&author=Author+3", 200, "text/html", True),
    ("/library/books/7", 200, "text/html", True),
    ("/library/books.json", 200, "application/json", True),
    ("/library/books.json?_shape=array&_size=5", 200, "application/json", True),
    ("/library/books/7.json", 200, "application/json", True),
    ("/library.json?sql=select+count(*)+as+n+from+books", 200, "application/json", True),
    ("/library/books.csv", 200, "text/plain", True),
    ("/library/books.csv?_dl=1", 200, "text/csv", True),
    ("/library/loans.csv?_stream=on", 200, "text/plain", True),
    ("/-/static/app.css", 200, "text/css", True),
    ("/-/versions.json", 200, "application/json", True),
    ("/library/nothing", 404, "text/html", True),
    ("/library/books/", 302, "text/html", False),
    ("/library.json?sql=drop+table+books", 400, "application/json", False),
]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("library") / "library.db"
    with sqlite3.connect(path) as connection:
        connection.execute("create table books (id integer primary key, title, author, year integer, note)")
        connection.execute("create table loans (id integer primary key, book integer, reader)")
        connection.executemany(
            "insert into books values (?, ?, ?, ?, ?)",
            [(n, f"Title {n}", f"Author {n % 17}", 1900 + n % 100, 'ü, "€"\n' * (n % 3)) for n in range(1, BOOKS + 1)],
        )
        connection.executemany(
            "insert into loans values (?, ?, ?)", [(n, n % BOOKS + 1, f"Reader {n}") for n in range(1, LOANS + 1)]
        )
    connection.close()
    return path


@pytest.fixture(scope="module")
def origin(database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    with datasette(tmp_path_factory.mktemp("datasette"), database) as started:
        yield started


@pytest.fixture(scope="module")
def front(origin: Program, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    with gateway(tmp_path_factory.mktemp("gateway"), origin, SETTINGS) as started:
        yield started


async def get(program: Program, target: str, *fields: str, method: str = "GET") -> RawAnswer:
    async with raw(program.port) as connection:
        return await connection.get(target, *fields, method=method, host=HOST)


async def verdict(program: Program, target: str, *fields: str) -> tuple[str | None, str | None]:
    got = await get(program, target, *fields)
    return got.header("x-cache"), got.header("x-cache-tier")


async def purge(program: Program, **what: Any) -> Any:
    content = json.dumps(what).encode()
    head = f"POST /cache/purge HTTP/1.1\r\nHost: {program.address}\r\nAuthorization: Bearer {TOKEN}\r\n"
    async with raw(program.port) as connection:
        await connection.send(head.encode() + b"Content-Length: %d\r\n\r\n" % len(content) + content)
        answer = await connection.response()
    assert answer.status == 200, answer.body
    return json.loads(answer.body)


def assert_same(got: RawAnswer, direct: RawAnswer) -> None:
    assert got.complete
    assert status_line(got) == status_line(direct)
    assert end_to_end(got, direct) == end_to_end(direct, direct)
    assert timeless(got) == timeless(direct)


def timeless(answer: RawAnswer) -> bytes:
    """The content without the milliseconds that datasette says its queries took."""
    return re.sub(rb'(Queries took |"query_ms": )[0-9.]+', rb"\1", answer.body)


@pytest.mark.parametrize(("target", "status", "media_type", "covered"), PAGES, ids=[page[0] for page in PAGES])
async def test_every_kind_of_page(
    origin: Program, front: Program, target: str, status: int, media_type: str, covered: bool
) -> None:
    await purge(front, url=target)
    direct, first, second = [await get(program, target) for program in (origin, front, front)]
    assert (direct.status, (direct.header("content-type") or "").partition(";")[0]) == (status, media_type)
    assert_same(first, direct)
    assert_same(second, direct)
    assert first.header("x-cache") == "MISS"
    if covered:
        assert (second.header("x-cache"), second.header("x-cache-tier")) == ("HIT", "memory")
        assert (second.body, second.header("date")) == (first.body, first.header("date"))
        assert second.header("content-length") == str(len(second.body))
    else:
        assert second.header("x-cache") == "MISS"


async def test_the_order_of_a_querys_parameters_does_not_matter(front: Program) -> None:
    first = await get(front, "/library/books.json?_size=3&_shape=array&year=1950")
    second = await get(front, "/library/books.json?year=1950&_shape=array&_size=3")
    assert (first.header("x-cache"), second.header("x-cache")) == ("MISS", "HIT")
    assert [book["id"] for book in json.loads(second.body)] == [50, 150, 250]


async def test_head_and_ranges_are_cut_from_the_stored_page(front: Program) -> None:
    whole = await get(front, "/library/loans.csv?_stream=on&_dl=1")
    assert whole.body.count(b"\n") == LOANS + 1
    head = await get(front, "/library/loans.csv?_stream=on&_dl=1", method="HEAD")
    assert (head.header("x-cache"), head.header("content-length")) == ("HIT", str(len(whole.body)))
    part = await get(front, "/library/loans.csv?_stream=on&_dl=1", "Range: bytes=100000-100099")
    assert (part.status, part.body) == (206, whole.body[100_000:100_100])


async def test_who_carries_a_cookie_or_credentials_gets_nothing_of_anothers(front: Program) -> None:
    target = "/library/books/8"
    assert await verdict(front, target) == ("MISS", None)
    assert await verdict(front, target) == ("HIT", "memory")
    for field in ("Cookie: ds_actor=one", "Cookie: ds_actor=two", "Authorization: Bearer one"):
        assert (await verdict(front, target, field))[0] != "HIT"
    assert await verdict(front, target) == ("HIT", "memory")


async def test_after_a_restart_the_file_answers(origin: Program, tmp_path: Path) -> None:
    covered = [target for target, _, _, covered in PAGES if covered]
    with gateway(tmp_path, origin, SETTINGS) as first:
        before = {target: await get(first, target) for target in covered}
    with gateway(tmp_path, origin, SETTINGS, port=first.port) as second:
        for target in covered:
            got = await get(second, target)
            assert (got.header("x-cache"), got.header("x-cache-tier")) == ("HIT", "file"), target
            assert_same(got, before[target])
            assert got.body == before[target].body
            assert await verdict(second, target) == ("HIT", "memory")


async def test_what_is_written_shows_once_it_is_purged(origin: Program, database: Path, tmp_path: Path) -> None:
    pages = ("/library/books/9", "/library/books/9.json", "/library.json?sql=select+title+from+books+where+id=9")
    with gateway(tmp_path, origin, SETTINGS) as front:
        for page in (*pages, "/-/static/app.css"):
            assert b"Changed" not in (await get(front, page)).body
        with sqlite3.connect(database) as connection:
            connection.execute("update books set title = 'Changed' where id = 9")
        connection.close()
        for page in pages:
            assert b"Changed" not in (await get(front, page)).body

        receipt = await purge(front, pattern="*/books/*")
        assert (receipt["kind"], receipt["matched"]["memory"]) == ("pattern", 2)
        changed = [b"Changed" in (await get(front, page)).body for page in pages]
        assert changed == [True, True, False]

        receipt = await purge(front, tag="database:library.json")
        assert receipt["matched"]["memory"] == 1
        assert b"Changed" in (await get(front, pages[2])).body
        assert await verdict(front, "/-/static/app.css") == ("HIT", "memory")


async def test_the_origins_own_five_seconds_hold_without_override(origin: Program, tmp_path: Path) -> None:
    rules = [{"pattern": "*", "ttl": 60}]
    with gateway(tmp_path, origin, {**SETTINGS, "rules": rules}) as front:
        for target, least, most in (("/library", 0, 5), ("/-/static/app.css", 6, 60)):
            status = (await get(front, target)).header("cache-status") or ""
            assert least <= int(status.partition("ttl=")[2].partition(";")[0]) <= most
