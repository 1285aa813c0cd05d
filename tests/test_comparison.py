"""docs/comparison.md says what nginx, Varnish and Cachegate do: each cell of its tables is tried on the program itself.

A cell is "yes" or "no", and that is how the program is with the shortest configuration there is; or "by" lines of
configuration, with which it is a yes, and without which it is a no; or "no, nor by" lines. The lines are the page's.
"""

import asyncio
import gzip
import itertools
import json
import re
from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from hashlib import sha1
from pathlib import Path

import pytest

from bench.results import PLACE
from bench.table import run_of
from tests.support.fronts import (
    BRIEF,
    FRESH,
    OURS,
    OVER,
    PROGRAMS,
    SOON,
    VERSIONS,
    Site,
    confirming,
    fetches,
    missing,
    numbered,
    site,
)
from tests.support.origin import FIN, Reader, Recorded, Writer, render
from tests.support.pages import ROOT, told_in
from tests.support.rawtcp import Broken, raw

PAGE = (ROOT / "docs" / "comparison.md").read_text()
Trial = Callable[[Site], Awaitable[bool]]
TRIALS: dict[str, Trial] = {}
shown = told_in(TRIALS)


@dataclass(frozen=True, slots=True)
class Cell:
    """What the page says of one program in one row."""

    row: str
    name: str
    text: str

    @property
    def says(self) -> bool:
        """Whether the program does it, with `lines` where there are any."""
        return not self.text.startswith("no")

    @property
    def lines(self) -> tuple[str, ...]:
        return tuple(re.findall(r"`([^`]+)`", self.text))


def cells() -> Iterator[Cell]:
    """Those of the tables of the page whose columns are the programs."""
    names: list[str] = []
    for line in PAGE.splitlines():
        words = [word.strip() for word in re.split(r"(?<!\\)\|", line)[1:-1]]
        if words and words[0] == "":
            names = words[1:] if words[1:] == [OURS, *PROGRAMS] else []
        elif words and names and not words[1].startswith("---"):
            yield from (Cell(words[0], name, text) for name, text in zip(names, words[1:], strict=True))


# What a shared cache must and may do


@shown("a hit says how old it is (`Age`)")
async def age(at: Site) -> bool:
    at.origin.answer("/a", headers=FRESH, body=numbered())
    first, second = await at.get(), await at.get()
    assert first.body == second.body
    return second.header("age") is not None


@shown("the `Age` that an answer came with counts")
async def age_of_the_origin(at: Site) -> bool:
    at.origin.answer("/a", headers=(*FRESH, ("Age", "700")), body=numbered())
    return (await at.get()).body != (await at.get()).body


@shown("`s-maxage` goes before `max-age`")
async def s_maxage(at: Site) -> bool:
    at.origin.answer("/a", headers=[("Cache-Control", "max-age=0, s-maxage=600")], body=numbered())
    return (await at.get()).body == (await at.get()).body


@shown("`no-store` and `private` are not kept")
async def unkept(at: Site) -> bool:
    for path, value in (("/a", "max-age=600, private"), ("/b", "max-age=600, no-store")):
        at.origin.answer(path, headers=[("Cache-Control", value)], body=numbered())
    return [(await at.get(path)).body for path in ("/a", "/a", "/b", "/b")] == [b"1", b"2", b"1", b"2"]


@shown("`no-cache` is kept, and confirmed at each use")
async def no_cache(at: Site) -> bool:
    at.origin.instead = lambda request: confirming([("Cache-Control", "no-cache"), ("ETag", '"x"')])
    same = [(await at.get()).body for _ in range(3)]
    return same == [b"whole"] * 3 and [r.header("if-none-match") for r in at.origin.requests] == [None, '"x"', '"x"']


@shown("nothing said of freshness, an old `Last-Modified`: kept for a while (RFC 9111 4.2.2)")
async def heuristic(at: Site) -> bool:
    at.origin.answer("/a", headers=[("Last-Modified", "Wed, 01 Jan 2020 00:00:00 GMT")], body=numbered())
    return (await at.get()).body == (await at.get()).body


@shown("nothing said at all: not kept")
async def silent(at: Site) -> bool:
    at.origin.answer("/a", body=numbered())
    return (await at.get()).body != (await at.get()).body


@shown("what a request with `Authorization` got is not given to others")
async def authorization(at: Site) -> bool:
    at.origin.answer("/a", headers=FRESH, body=numbered())
    return (await at.get("/a", "Authorization: Bearer one")).body != (await at.get("/a")).body


@shown("it is where the origin says `public`")
async def authorized_public(at: Site) -> bool:
    at.origin.answer("/a", headers=[("Cache-Control", "public, max-age=600")], body=numbered())
    return (await at.get("/a", "Authorization: Bearer one")).body == (await at.get("/a")).body


@shown("an answer with `Set-Cookie` is not kept")
async def set_cookie(at: Site) -> bool:
    at.origin.answer("/a", headers=(*FRESH, ("Set-Cookie", "a=b")), body=numbered())
    return (await at.get()).body != (await at.get()).body


@shown("a request with a `Cookie` is answered from store where the origin said how long")
async def cookie(at: Site) -> bool:
    at.origin.answer("/a", headers=FRESH, body=numbered())
    return (await at.get("/a", "Cookie: theme=dark")).body == (await at.get("/a", "Cookie: theme=light")).body


@shown("variants by the origin's `Vary`, side by side")
async def vary(at: Site) -> bool:
    at.origin.answer("/a", headers=(*FRESH, ("Vary", "Accept-Language")), body=numbered())
    said = [(await at.get("/a", f"Accept-Language: {word}")).body for word in ("de", "fr", "de", "fr")]
    return said == [b"1", b"2", b"1", b"2"]


@shown("`Vary: *` is not kept")
async def vary_star(at: Site) -> bool:
    at.origin.answer("/a", headers=(*FRESH, ("Vary", "*")), body=numbered())
    return (await at.get()).body != (await at.get()).body


@shown("browsers' spellings of `Accept-Encoding` share a variant")
async def accept_encoding(at: Site) -> bool:
    packed = gzip.compress(b"x" * 1000)
    headers = (*FRESH, ("Vary", "Accept-Encoding"), ("Content-Encoding", "gzip"))
    at.origin.answer("/a", headers=headers, body=packed)
    for value in ("gzip, deflate", "gzip,deflate", "deflate, gzip"):
        assert (await at.get("/a", f"Accept-Encoding: {value}")).body == packed
    return at.origin.count("/a") == 1


@shown("a client's `If-None-Match` gets 304 from store")
async def not_modified(at: Site) -> bool:
    at.origin.answer("/a", headers=(*FRESH, ("ETag", '"x"')), body=b"whole")
    await at.get()
    return (await at.get("/a", 'If-None-Match: "x"')).status == 304 and at.origin.count() == 1


@shown("what is over is confirmed by a conditional request")
async def revalidated(at: Site) -> bool:
    at.origin.instead = lambda request: confirming([*BRIEF, ("ETag", '"x"')])
    await at.get()
    await asyncio.sleep(OVER)
    assert (await at.get()).body == b"whole"
    return (await at.origin.arrived("/a", 2)).header("if-none-match") == '"x"'


@shown("a 304 renews the stored fields (RFC 9111 4.3.4)")
async def renewed_fields(at: Site) -> bool:
    old = [("ETag", '"x"'), *BRIEF, ("Content-Location", "/old")]
    at.origin.instead = lambda request: confirming(old, [("ETag", '"x"'), *FRESH, ("Content-Location", "/new")])
    await at.get()
    await asyncio.sleep(OVER)
    try:
        async with asyncio.timeout(SOON):  # some confirm it behind the answer
            while (await at.get()).header("content-location") != "/new":
                await asyncio.sleep(0.02)
    except TimeoutError:
        return False
    return True


@shown("a range is cut from the stored answer")
async def cut(at: Site) -> bool:
    at.origin.answer("/a", headers=(*FRESH, ("Accept-Ranges", "bytes")), body=b"0123456789")
    await at.get()
    part = await at.get("/a", "Range: bytes=2-4")
    return (part.status, part.body, at.origin.count()) == (206, b"234", 1)


@shown("of a large thing only the part that is asked for is fetched, and kept")
async def parts(at: Site) -> bool:
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
    async with asyncio.timeout(SOON):
        for asked in itertools.count():  # a part is stored behind its answer
            answer = await at.get("/a", "Range: bytes=1200000-1200099")
            assert (answer.status, answer.body) == (206, whole[1200000:1200100])
            if at.origin.count() <= asked:
                return all(request.header("range") for request in at.origin.requests)
    return False


@shown("HEAD is answered from a stored GET")
async def head(at: Site) -> bool:
    at.origin.answer("/a", headers=FRESH, body=b"whole")
    await at.get()
    assert (await at.ask("HEAD", "/a")).status == 200
    return at.origin.count() == 1


@shown("a client's `Cache-Control: no-cache` has it fetched anew")
async def asked_anew(at: Site) -> bool:
    at.origin.answer("/a", headers=FRESH, body=numbered())
    return (await at.get()).body != (await at.get("/a", "Cache-Control: no-cache")).body


@shown("`only-if-cached` gets 504 and costs no fetch")
async def only_if_cached(at: Site) -> bool:
    at.origin.answer("/a", headers=FRESH, body=b"x")
    return (await at.get("/a", "Cache-Control: only-if-cached")).status == 504 and not at.origin.count()


@shown("`min-fresh` is heeded")
async def min_fresh(at: Site) -> bool:
    at.origin.answer("/a", headers=FRESH, body=numbered())
    return (await at.get()).body != (await at.get("/a", "Cache-Control: min-fresh=3600")).body


@shown("PUT, POST or DELETE that succeeds ends what is stored of its URL (RFC 9111 4.4)")
async def unsafe(at: Site) -> bool:
    at.origin.answer("/a", headers=FRESH, body=numbered())
    first = (await at.get()).body
    await at.ask("DELETE", "/a")
    return (await at.get()).body not in (first, b"")


@shown("half an answer is never kept")
async def half(at: Site) -> bool:
    at.origin.answer("/a", headers=FRESH, body=b"0123456789")
    at.origin.script(
        "/a", b"HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: 10\r\n\r\n01234", FIN, times=1
    )
    try:
        first = await at.get()
        assert not first.complete or first.status == 503  # where nothing of it was sent yet
    except Broken:
        pass
    again = await at.get()
    return again.complete and again.body == b"0123456789"


# Keys


@shown("POST is answered from store, by its body")
async def post(at: Site) -> bool:
    at.origin.answer("/a", headers=FRESH, body=lambda request: request.method.encode() + request.body)
    said = [(await at.ask("POST", "/a", body=body)).body for body in (b"one", b"two", b"one", b"two")]
    assert said == [b"POSTone", b"POSTtwo"] * 2
    return at.origin.count() == 2


@shown("JSON that means the same is one key")
async def canonical(at: Site) -> bool:
    at.origin.answer("/a", headers=FRESH, body=numbered())
    kind = "Content-Type: application/json"
    said = [(await at.ask("POST", "/a", kind, body=body)).body for body in (b'{"a":1,"b":2}', b'{ "b": 2, "a": 1 }')]
    return said[0] == said[1]


@shown("the order of query parameters does not matter")
async def order(at: Site) -> bool:
    at.origin.answer("/a", headers=FRESH, body=numbered())
    return (await at.get("/a?x=1&y=2")).body == (await at.get("/a?y=2&x=1")).body


@shown("a parameter that does not matter (`utm_source`) is no part of the key")
async def ignored(at: Site) -> bool:
    at.origin.answer("/a", headers=FRESH, body=numbered())
    said = [(await at.get(f"/a?x=1{more}")).body for more in ("", "&utm_source=mail")]
    return said[0] == said[1] != (await at.get("/a?x=2")).body


# Crowds and trouble


@shown("50 who miss at once cost one fetch")
async def crowd(at: Site) -> bool:
    return await fetches(at, 50) == 1


@shown("who waits for that fetch reads along")
async def along(at: Site) -> bool:
    async def second_half(request: Recorded, reader: Reader, writer: Writer) -> None:
        length = b"Content-Length: 2000000\r\n\r\n"
        writer.write(b"HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\n" + length + b"1" * 1_000_000)
        await going_on.wait()
        writer.write(b"2" * 1_000_000)

    going_on = asyncio.Event()
    at.origin.script("/a", second_half)
    request = b"GET /a HTTP/1.1\r\nHost: api.example.com\r\n\r\n"
    try:
        async with raw(at.front.port) as first, raw(at.front.port) as second:
            await first.send(request)
            assert (await first.head()).startswith(b"HTTP/1.1 200")
            await second.send(request)
            async with asyncio.timeout(SOON):
                await second.head()
                await second.reader.readexactly(10000)
    except TimeoutError:
        return False
    finally:
        going_on.set()
    return at.origin.count() == 1


@shown("an origin that is down: what is over is served for a while")
async def down(at: Site) -> bool:
    at.origin.answer("/a", headers=BRIEF, body=b"whole")
    await at.get()
    await asyncio.sleep(OVER)
    await at.origin.stop()
    said = [await at.get() for _ in range(3)]  # the first may be what finds it out
    return [each.body for each in said] == [b"whole"] * 3


@shown("an origin that answers 500: the same")
async def failing(at: Site) -> bool:
    return await _through_failures(at, "max-age=1")


@shown("the origin's own `stale-if-error`, where it is down")
async def stale_if_down(at: Site) -> bool:
    at.origin.answer("/a", headers=[("Cache-Control", "max-age=1, stale-if-error=600")], body=b"whole")
    await at.get()
    await asyncio.sleep(OVER)
    await at.origin.stop()
    return [(await at.get()).body for _ in range(3)] == [b"whole"] * 3


@shown("the origin's own `stale-if-error`, where it answers 500")
async def stale_if_failing(at: Site) -> bool:
    return await _through_failures(at, "max-age=1, stale-if-error=600")


@shown("the origin's `stale-while-revalidate`: nobody waits for the fetch")
async def stale_while_revalidate(at: Site) -> bool:
    at.origin.answer("/a", headers=[("Cache-Control", "max-age=1, stale-while-revalidate=600")], body=numbered())
    await at.get()
    await asyncio.sleep(OVER)
    gate = at.origin.hold("/a")
    try:
        async with asyncio.timeout(SOON):
            stale = (await at.get()).body
    except TimeoutError:
        return False
    finally:
        gate.release()
    await at.origin.arrived("/a", 2)
    return stale == b"1"


@shown("what is stored outlives a restart")
async def restarted(at: Site) -> bool:
    at.origin.answer("/a", headers=FRESH, body=numbered())
    first = (await at.get()).body
    await at.restart()
    return (await at.get()).body == first


@shown("two machines are one cache, and fetch once")
async def shared(at: Site) -> bool:
    at.origin.answer("/a", headers=FRESH, body=numbered())
    other = await at.another()
    return (await at.get()).body == (await at.get(on=other)).body


@shown("requests of a client are limited, here to three a minute")
async def limited(at: Site) -> bool:
    at.origin.answer("/a", body=b"x")
    return [(await at.get()).status for _ in range(4)] == [200, 200, 200, 429]


# Purges, and what it says


@shown("purge of a URL, all its variants")
async def purge(at: Site) -> bool:
    at.origin.answer("/a", headers=(*FRESH, ("Vary", "Accept-Language")), body=numbered())
    for word in ("de", "fr"):
        await at.get("/a", f"Accept-Language: {word}")
    await at.purge("/a")
    return [(await at.get("/a", f"Accept-Language: {word}")).body for word in ("de", "fr")] == [b"3", b"4"]


@shown("purge by pattern")
async def pattern(at: Site) -> bool:
    return await _purged(at, {"pattern": "/users/*"}, "X-Pattern: ^/users/")


@shown("purge by tag (`xkey`, `Surrogate-Key`)")
async def tag(at: Site) -> bool:
    return await _purged(at, {"tag": "users"}, "X-Tag: users")


@shown("a purge holds against the fetch that is under way")
async def purge_during_a_fetch(at: Site) -> bool:
    at.origin.answer("/a", headers=FRESH, body=numbered())
    gate = at.origin.hold("/a")
    first = asyncio.ensure_future(at.get())
    await at.origin.arrived("/a")
    try:
        async with asyncio.timeout(SOON):  # who does not know the method passes it on, to wait there too
            await at.purge("/a")
    except TimeoutError:
        pass
    gate.release()
    return (await at.get()).body != (await first).body


@shown("an answer says whether it was a hit")
async def word(at: Site) -> bool:
    at.origin.answer("/a", headers=FRESH, body=b"x")
    first, second = await at.get(), await at.get()
    return b"miss" in first.head.lower() and b"hit" in second.head.lower()


@shown("in the standard's words (`Cache-Status`, RFC 9211)")
async def cache_status(at: Site) -> bool:
    at.origin.answer("/a", headers=FRESH, body=b"x")
    await at.get()
    return bool(re.match(r"[\w-]+; ?hit\b", (await at.get()).header("cache-status") or ""))


@shown("and why it was not kept")
async def why(at: Site) -> bool:
    at.origin.answer("/a", headers=(*FRESH, ("Set-Cookie", "a=b")), body=b"x")
    return re.search(rb"set-cookie(?!: )", (await at.get()).head.lower()) is not None


# To clients


@shown("compresses for clients")
async def compressed(at: Site) -> bool:
    at.origin.answer("/a", headers=(*FRESH, ("Content-Type", "text/html")), body=b"x" * 5000)
    return (await at.get("/a", "Accept-Encoding: gzip")).header("content-encoding") == "gzip"


@shown("puts parts together (ESI)")
async def esi(at: Site) -> bool:
    at.origin.answer("/a", headers=FRESH, body=b'<p>one</p><esi:include src="/b"/>')
    at.origin.answer("/b", headers=FRESH, body=b"<p>two</p>")
    return (await at.get()).body == b"<p>one</p><p>two</p>"


@shown("HTTP/2")
async def http2(at: Site) -> bool:
    async with raw(at.front.port) as connection:
        await connection.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")
        try:
            async with asyncio.timeout(SOON):
                return (await connection.reader.readexactly(9))[3] == 4  # SETTINGS
        except (TimeoutError, asyncio.IncompleteReadError):
            return False


@shown("interim answers come through (103), and the answer after it is kept")
async def interim(at: Site) -> bool:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
    at.origin.script("/a", hints + b"HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: 1\r\n\r\nx")
    async with raw(at.front.port) as connection:
        await connection.send(b"GET /a HTTP/1.1\r\nHost: api.example.com\r\n\r\n")
        if b" 103 " not in await connection.head() or (await connection.response()).body != b"x":
            return False
    await at.get()
    return at.origin.count() == 1


@shown("websockets pass")
async def websocket(at: Site) -> bool:
    async def echo(request: Recorded, reader: Reader, writer: Writer) -> None:
        if (request.header("upgrade"), (request.header("connection") or "").lower()) != ("websocket", "upgrade"):
            writer.write(render(request, 426, (), b"", chunked=False, close=False))
            return
        asked = (request.header("sec-websocket-key") or "") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 1.3
        accept = b64encode(sha1(asked.encode()).digest()).decode()
        head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        writer.write(f"{head}Sec-WebSocket-Accept: {accept}\r\n\r\n".encode())
        sent = await reader.readexactly(8)  # two bytes of head, four of mask, two of text
        writer.write(b"\x81\x02" + bytes(a ^ b for a, b in zip(sent[6:], sent[2:], strict=False)))

    at.origin.script("/a", echo, early=True)
    fields = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    fields += "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    async with raw(at.front.port) as connection:
        await connection.send(f"GET /a HTTP/1.1\r\nHost: api.example.com\r\n{fields}\r\n".encode())
        if b" 101 " not in await connection.head():
            return False
        await connection.send(b"\x81\x82\0\0\0\0hi")  # a text message, masked by nothing
        return (await connection.reader.readexactly(4)).endswith(b"hi")


async def _through_failures(at: Site, cache_control: str) -> bool:
    """Whether a copy is served on while the origin answers 500, also once what was fetched behind it has come."""
    at.origin.answer("/a", 500, body=b"sorry")
    at.origin.answer("/a", headers=[("Cache-Control", cache_control)], body=b"whole", times=1)
    await at.get()
    await asyncio.sleep(OVER)
    said = [(await at.get()).body]
    await at.origin.arrived("/a", 2)
    async with asyncio.timeout(SOON * 4):
        while len(said) < 20 and said[-1] == b"whole":  # a while longer than an answer is on its way
            await asyncio.sleep(0.02)
            said.append((await at.get()).body)
    return {*said} == {b"whole"}


async def _purged(at: Site, what: dict[str, str], said: str) -> bool:
    """Whether what is named is fetched anew, and its neighbour is not."""
    at.origin.answer("/users/1", headers=(*FRESH, ("xkey", "users")), body=numbered())
    at.origin.answer("/items/1", headers=(*FRESH, ("xkey", "items")), body=numbered())
    before = [(await at.get(path)).body for path in ("/users/1", "/items/1")]
    if at.name == OURS:
        assert (await at.admin("/purge", what)).status == 200
    else:
        await at.purge("/", said)
    after = [(await at.get(path)).body for path in ("/users/1", "/items/1")]
    return (before, after) == ([b"1", b"1"], [b"2", b"1"])


# The page

CELLS = list(cells())


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"{cell.name}-{TRIALS[cell.row].__name__}")
async def test_a_cell_is_what_the_program_does(cell: Cell, tmp_path: Path) -> None:
    if why := missing(cell.name, *cell.lines):
        pytest.skip(why)
    async with site(cell.name, tmp_path, *cell.lines) as at:
        assert await TRIALS[cell.row](at) is cell.says, cell
    if cell.lines:
        (tmp_path / "plain").mkdir()
        async with site(cell.name, tmp_path / "plain") as at:
            assert not await TRIALS[cell.row](at), f"it needs no lines: {cell}"


def test_the_page_has_every_trial_in_its_order() -> None:
    assert [cell.row for cell in CELLS if cell.name == OURS] == list(TRIALS)
    assert {cell.row for cell in CELLS if cell.says} == {*TRIALS}, "a trial that nobody passes shows nothing"


def test_the_page_names_the_versions_that_were_run() -> None:
    assert f"## Tried: {' and '.join(f'{name} {version}' for name, version in VERSIONS.items())}\n" in PAGE


def test_a_cell_says_it_in_one_of_four_ways() -> None:
    said = {re.sub(r"\s*\(.*", "", re.sub(r"`.*", "`", cell.text)) for cell in CELLS}
    assert said == {"yes", "no", "by `", "no, nor by `"}


def test_who_is_quicker_is_what_was_measured() -> None:
    """Every line of the last whole run in which somebody else has a figure; no figure is copied to the page."""
    section = PAGE.partition("## Who is quicker\n")[2].partition("\n## ")[0]
    told = dict(re.findall(r"^\| (.+?) \| ((?:\w+, )+\w+) \|$", section, re.MULTILINE))
    measured = {}
    for line in run_of(json.loads((PLACE / "latest.json").read_text())).lines:
        figures = {each.who: each.median for each in line.figures if each.valid and each.who in (OURS, *PROGRAMS)}
        if len(figures) > 1:
            measured[line.title] = ", ".join(sorted(figures, key=figures.__getitem__, reverse=line.unit == "MB/CPU s"))
    assert told == measured
    # and what the page says of it in words, below
    first = {title: names.partition(",")[0] for title, names in measured.items()}
    assert {who for title, who in first.items() if title.startswith("memory hit")} == {OURS}
    assert {who for title, who in first.items() if title.startswith(("file hit", "p99")) or "file" in title} == {
        "nginx"
    }
    assert first["miss, stored in memory"] == "Varnish"
