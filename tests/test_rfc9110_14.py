"""RFC 9110 14 (ranges) over the wire, from memory and from disk; the tables are in test_policy_ranges.

What of 15.3.7 (206) and 15.5.17 (416) belongs to a range's answer is shown here too.
"""

import re
from collections.abc import AsyncIterator

import pytest

from proxy.entry import Found
from proxy.errors import StoreError, TruncatedError
from proxy.message import Fields
from proxy.outcome import Outcome, Tier, Verdict
from proxy.reasons import Why
from proxy.recording import Recording
from proxy.replying import Fate, Replying
from proxy.rules import Rule
from tests.support.entries import entry
from tests.support.gateway import Client, Clock, Got, running
from tests.support.judged import get
from tests.support.origin import Origin

CACHED = [("Cache-Control", "max-age=60"), ("ETag", '"v1"'), ("Content-Type", "text/plain; charset=utf-8")]
DIGITS = b"0123456789" * 100
LARGE = bytes(range(251)) * 12_000  # 3 MB: more than memory takes, so that it lies on disk
PART = re.compile(rb"Content-Type: (?P<type>.*)\r\nContent-Range: bytes (?P<first>\d+)-(?P<last>\d+)/(?P<size>\d+)")


def parts_of(got: Got, content: bytes) -> list[tuple[int, int]]:
    """The first and last positions of the parts, each of which is what it says, byte for byte and framed strictly."""
    assert got.header("content-length") == str(len(got.body))
    assert got.header("content-range") is None
    media, _, boundary = (got.header("content-type") or "").partition("; boundary=")
    assert (media, re.fullmatch("[0-9a-f]{16,70}", boundary) is not None) == ("multipart/byteranges", True)
    opened = b"\r\n" + got.body
    first, *rest = opened.split(b"\r\n--" + boundary.encode())
    assert (first, rest.pop()) == (b"", b"--\r\n")
    found = []
    for part in rest:
        head, _, data = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        match = PART.fullmatch(head)
        assert match is not None, head
        start, end = int(match["first"]), int(match["last"]) + 1
        assert (match["type"], int(match["size"])) == (b"text/plain; charset=utf-8", len(content))
        assert data == content[start:end]
        found.append((start, end - 1))
    return found


async def filled(gateway: Client, origin: Origin, content: bytes) -> None:
    origin.answer("/a", headers=CACHED, body=content)
    assert (await gateway.get("/a")).body == content
    await gateway.settled()


@pytest.mark.parametrize("content", [DIGITS, LARGE], ids=["memory", "file"])
async def test_several_ranges_of_a_stored_answer(content: bytes) -> None:
    """14.2, 14.6, 15.3.7.2."""
    end = len(content) - 1
    async with Origin() as origin, running(origin) as gateway:
        await filled(gateway, origin, content)
        got = await gateway.get("/a", {"Range": "bytes=500-599,0-9,-10"})
        assert (got.status, got.verdict, got.tier) == (206, "HIT", "memory" if content is DIGITS else "file")
        assert parts_of(got, content) == [(500, 599), (0, 9), (end - 9, end)]
        assert got.header("etag") == '"v1"'
        again = await gateway.get("/a", {"Range": "bytes=500-599,0-9,-10"})
        assert again.header("content-type") != got.header("content-type")  # nobody can know the boundary before
        assert origin.count() == 1


@pytest.mark.parametrize("content", [DIGITS, LARGE], ids=["memory", "file"])
@pytest.mark.parametrize(
    ("value", "first", "last"),
    [
        pytest.param("5-9", 5, 9, id="14.1.2 both ends"),
        pytest.param("990-", 990, None, id="14.1.2 to the end"),
        pytest.param("-1", -1, None, id="14.1.2 the last byte"),
        pytest.param("0-" + "9" * 400, 0, None, id="14.1.2 large numerals"),
        pytest.param("5-7,8-9", 5, 9, id="15.3.7.2 one remains: no multipart"),
        pytest.param("5-9,99999999-", 5, 9, id="15.3.7.2 one is satisfiable: no multipart"),
    ],
)
async def test_one_range_of_a_stored_answer(content: bytes, value: str, first: int, last: int | None) -> None:
    """14.4, 15.3.7.1."""
    start, end = first % len(content), len(content) if last is None else last + 1
    async with Origin() as origin, running(origin) as gateway:
        await filled(gateway, origin, content)
        got = await gateway.get("/a", {"Range": f"bytes={value}"})
        assert (got.status, got.body, got.verdict) == (206, content[start:end], "HIT")
        assert got.header("content-range") == f"bytes {start}-{end - 1}/{len(content)}"
        assert got.header("content-length") == str(end - start)
        assert got.header("content-type") == "text/plain; charset=utf-8"


@pytest.mark.parametrize("content", [DIGITS, LARGE], ids=["memory", "file"])
@pytest.mark.parametrize("value", ["bytes=3000000000-", "bytes=-0", "bytes=9999999-,8888888-8888889"])
async def test_a_range_outside_is_told_so(content: bytes, value: str) -> None:
    """14.2, 14.4, 15.5.17; 15.5: with words that say why, which nobody stores."""
    rules = [{"pattern": "*", "client_cache_control": "public, max-age=600"}]
    async with Origin() as origin, running(origin, {"rules": rules}) as gateway:
        await filled(gateway, origin, content)
        got = await gateway.get("/a", {"Range": value})
        assert (got.status, got.verdict, got.detail) == (416, "HIT", "memory" if content is DIGITS else "file")
        assert got.header("content-range") == f"bytes */{len(content)}"
        assert str(len(content)).encode() in got.body
        assert (got.header("cache-control"), got.header("etag"), got.header("age")) == ("no-store", None, None)
        assert (await gateway.get("/a")).header("cache-control") == "public, max-age=600"


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("lines=0-4", id="14.2 another unit"),
        pytest.param("bytes=4-0", id="14.1.1 invalid"),
        pytest.param("bytes=0-4,4-0", id="14.1.1 one of them invalid"),
        pytest.param("bytes=" + ",".join(f"{at}-{at}" for at in range(0, 999, 4)), id="17.15 too many"),
        pytest.param("bytes=" + ",".join(f"{at}-{at}" for at in range(900, 0, -90)) + ",0-0", id="17.15 out of order"),
    ],
)
async def test_what_is_no_range_for_us_is_ignored(value: str) -> None:
    async with Origin() as origin, running(origin) as gateway:
        await filled(gateway, origin, DIGITS)
        got = await gateway.get("/a", {"Range": value})
        assert (got.status, got.body, got.header("content-range")) == (200, DIGITS, None)


async def test_head_and_post_know_no_ranges() -> None:
    """14.2: the field is ignored; a HEAD tells what a GET without it would."""
    rules = [{"pattern": "*", "methods": ["GET", "POST"], "ttl": 60}]
    async with Origin() as origin, running(origin, {"rules": rules}) as gateway:
        await filled(gateway, origin, DIGITS)
        for value in ("bytes=0-4", "bytes=0-0,-1", "bytes=5000-"):
            got = await gateway.ask("HEAD", "/a", {"Range": value, "If-Range": '"v1"'})
            assert (got.status, got.verdict, got.header("content-range")) == (200, "HIT", None)
            assert (got.header("content-length"), got.header("content-type")) == ("1000", "text/plain; charset=utf-8")
        for verdict in ("MISS", "HIT"):
            got = await gateway.post("/a", b"q", {"Range": "bytes=0-4"})
            assert (got.status, got.body, got.verdict) == (200, DIGITS, verdict)
            await gateway.settled()


@pytest.mark.parametrize("status", [203, 404, 300])
async def test_only_a_200_has_ranges(status: int) -> None:
    """14.2."""
    async with Origin() as origin, running(origin) as gateway:
        origin.answer("/a", status, headers=CACHED, body=DIGITS)
        await gateway.get("/a")
        got = await gateway.get("/a", {"Range": "bytes=0-4,8-9"})
        assert (got.status, got.body, got.verdict) == (status, DIGITS, "HIT")


@pytest.mark.parametrize(("value", "status"), [("bytes=-5", 200), ("bytes=0-", 416), ("bytes=0-,-1", 200)])
async def test_ranges_of_nothing(value: str, status: int) -> None:
    """14.1.2, 14.2."""
    async with Origin() as origin, running(origin) as gateway:
        await filled(gateway, origin, b"")
        got = await gateway.get("/a", {"Range": value})
        assert (got.status, got.verdict) == (status, "HIT")


async def test_the_fields_of_a_part() -> None:
    """15.3.7: all that a 200 would have, but what tells of another content; after If-Range no metadata again."""
    kept = {
        "Date": "Sun, 06 Nov 1994 08:49:37 GMT",
        "Cache-Control": "max-age=9999999999",
        "ETag": '"v1"',
        "Expires": "Sun, 06 Nov 2094 08:49:37 GMT",
        "Content-Location": "/b",
        "Vary": "Accept",
        "Last-Modified": "Sun, 06 Nov 1994 07:49:37 GMT",
        "X-Other": "1",
    }
    metadata = {
        "Content-Type": "a/b",
        "Content-Language": "da",
        "Content-Encoding": "x",
        "Repr-Digest": "sha-256=:AA==:",
    }
    other = {"Content-Digest": "sha-256=:AA==:", "Content-MD5": "AA==", "Content-Range": "bytes 0-9/10"}
    async with Origin() as origin, running(origin) as gateway:
        origin.answer("/a", headers=[*kept.items(), *metadata.items(), *other.items()], body=DIGITS)
        await gateway.get("/a")
        for asked, has_metadata in (({}, True), ({"If-Range": '"v1"'}, False)):
            got = await gateway.get("/a", {"Range": "bytes=0-4", **asked})
            assert got.status == 206
            told = kept if has_metadata else {**kept, "Last-Modified": None}  # the ETag joins parts
            assert {name: got.header(name) for name in kept} == told
            assert {name: got.header(name) for name in metadata} == (
                metadata if has_metadata else dict.fromkeys(metadata)
            )
            assert (got.header("content-range"), got.header("content-length")) == ("bytes 0-4/1000", "5")
            assert [got.header(name) for name in ("content-digest", "content-md5")] == [None, None]
            both = await gateway.get("/a", {"Range": "bytes=0-4,8-9", **asked})
            assert both.header("content-range") is None
            assert (both.header("content-type") or "").startswith("multipart/byteranges; boundary=")
            assert both.body.count(b"Content-Type: a/b\r\n") == 2


async def test_a_range_of_what_is_not_in_store_is_the_origins_to_answer() -> None:
    """14.2, 14.4, 15.3.7: the unit, the parts and If-Range pass byte for byte, nothing of it is taken for the whole."""
    async with Origin() as origin, running(origin) as gateway:
        fields = [*CACHED, ("Content-Range", "lines 1-2/9")]
        origin.answer("/a", 206, headers=fields, body=b"ab", times=2)
        origin.answer("/a", headers=CACHED, body=DIGITS)
        asked = {"Range": "lines=1-2, 7-", "If-Range": "W/what"}
        for _ in range(2):
            got = await gateway.get("/a", asked)
            assert (got.status, got.body, got.verdict) == (206, b"ab", "MISS")
            assert got.header("content-range") == "lines 1-2/9"
            assert {name: origin.last.header(name) for name in asked} == asked
        assert (await gateway.get("/a")).body == DIGITS


async def test_a_range_of_what_is_stale_is_cut_from_what_the_origin_confirms() -> None:
    """14.2, RFC 9111 4.3.1: the whole is revalidated by its own validators; cut is what is there afterwards."""
    clock = Clock()
    large = {"Range": "bytes=5-9"}
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        await filled(gateway, origin, DIGITS)
        origin.answer("/a", 304, headers=CACHED, times=1)
        origin.answer("/a", headers=[*CACHED[:1], ("ETag", '"v2"')], body=b"abcdefghijkl", times=1)
        origin.answer("/a", 503)
        for status, body, size, verdict in (
            (206, b"56789", 1000, "REVALIDATED"),
            (206, b"fghij", 12, "EXPIRED"),
            (206, b"fghij", 12, "STALE"),
        ):
            clock.advance(61)
            got = await gateway.get("/a", large)
            assert (got.status, got.body, got.verdict) == (status, body, verdict)
            assert got.header("content-range") == f"bytes 5-9/{size}"
            assert origin.last.header("range") is None
            await gateway.settled()


async def test_a_range_of_what_cannot_be_kept_any_more_is_the_origins_to_answer() -> None:
    """14.2: nobody gets a whole again and again who asked for a part."""
    clock = Clock()
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        await filled(gateway, origin, DIGITS)
        origin.answer("/a", headers=[("Cache-Control", "private")], body=DIGITS, times=1)
        origin.answer("/a", 206, headers=[("Content-Range", "bytes 5-9/1000")], body=b"56789")
        clock.advance(61)
        assert (await gateway.get("/a", {"Range": "bytes=5-9"})).status == 200
        assert (await gateway.get("/a", {"Range": "bytes=5-9"})).status == 206
        assert origin.last.header("range") == "bytes=5-9"


class Watched:
    """A body on some disk, which remembers what was read of it and is never held whole."""

    data = None
    size = 1 << 40

    def __init__(self) -> None:
        self.read_from: list[int] = []
        self.closed = 0

    async def read(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        assert end is not None
        while start < end:
            self.read_from.append(start)
            step = min(65536, end - start)
            yield bytes(step)
            start += step

    async def verify(self) -> None: ...

    def share(self) -> "Watched":
        return self

    def close(self) -> None:
        self.closed += 1


async def test_parts_are_read_one_after_the_other_as_the_client_takes_them() -> None:
    """17.15: a terabyte in two parts costs one chunk at a time."""
    body = Watched()
    found = Found(entry("/a", body, fields=Fields.of(("Cache-Control", "max-age=60"))), Tier.FILE)
    request = get(("Range", "bytes=1000000-900000000000,0-99"))
    reply = Replying("n").stored(request, Rule(), found, Outcome(Verdict.HIT, Why.FRESH), 0.0)
    assert (reply.status, isinstance(reply.body, bytes), body.read_from) == (206, False, [])
    length = int(reply.fields.get("content-length") or 0)
    assert 899_999_000_001 + 100 < length < 899_999_000_001 + 400
    assert not isinstance(reply.body, bytes)
    head, first, second = [await anext(reply.body) for _ in range(3)]
    assert head.startswith(b"--")
    assert (len(first), len(second), body.read_from) == (65536, 65536, [1_000_000, 1_065_536])
    await reply.body.aclose()  # type: ignore[attr-defined]
    assert body.closed


@pytest.mark.parametrize(
    ("value", "status", "expected"),
    [
        pytest.param("bytes=3-6", 206, b"3456", id="across what comes"),
        pytest.param("bytes=0-1", 206, b"01", id="the first bytes"),
        pytest.param("bytes=-2", 206, b"89", id="the last bytes"),
        pytest.param("bytes=9-", 206, b"9", id="to the end"),
        pytest.param("bytes=0-1,5-6", 200, b"0123456789", id="several: it is read but once"),
        pytest.param("bytes=10-", 416, None, id="outside"),
    ],
)
async def test_a_part_of_what_still_comes_in(value: str, status: int, expected: bytes | None) -> None:
    """14.2: as soon as it is here, and not later; who has it stops reading."""
    recording = Recording(memory=100, limit=100)
    kept = entry("/a", b"", fields=Fields.of(("Cache-Control", "max-age=60"), ("Content-Length", "10")))
    outcome = Outcome(Verdict.MISS, Why.URI_MISS, fwd="uri-miss")
    request = get(("Range", value))
    reply = Replying("n").recorded(request, Rule(), kept, recording.reader(), Fate(), outcome, None)
    for chunk in (b"0123", b"45", b"6789"):
        await recording.write(chunk)
    if "-2" in value or "9-" in value or status == 200:
        await recording.finish()
    assert reply.status == status
    if expected is None:
        assert isinstance(reply.body, bytes)
    else:
        assert not isinstance(reply.body, bytes)
        assert b"".join([chunk async for chunk in reply.body]) == expected
        assert reply.fields.get("content-length") == str(len(expected))
    assert recording.readers == 0


async def test_a_part_that_never_came_is_not_whole() -> None:
    """Invariant 2."""
    recording = Recording(memory=100, limit=100)
    kept = entry("/a", b"", fields=Fields.of(("Cache-Control", "max-age=60"), ("Content-Length", "10")))
    outcome = Outcome(Verdict.MISS, Why.URI_MISS, fwd="uri-miss")
    request = get(("Range", "bytes=3-6"))
    reply = Replying("n").recorded(request, Rule(), kept, recording.reader(), Fate(), outcome, None)
    await recording.write(b"01234")
    recording.fail(TruncatedError("gone"))
    assert not isinstance(reply.body, bytes)
    with pytest.raises(TruncatedError):
        await anext(reply.body)


async def test_parts_from_memory_are_there_at_once() -> None:
    """No task, nothing to await."""
    found = Found(entry("/a", DIGITS, fields=Fields.of(*CACHED)), Tier.MEMORY)
    for value in ("bytes=0-4", "bytes=0-4,8-9", "bytes=5000-"):
        reply = Replying("n").stored(get(("Range", value)), Rule(), found, Outcome(Verdict.HIT, Why.FRESH), 0.0)
        assert isinstance(reply.body, bytes)


class Damaged(Watched):
    """One whose second part cannot be read."""

    async def read(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        if self.read_from:
            raise StoreError("bit rot")
        async for chunk in super().read(start, end):
            yield chunk


async def test_parts_of_what_is_damaged_are_cut() -> None:
    """Invariant 2: no end of a body that looks valid."""
    body = Damaged()
    found = Found(entry("/a", body, fields=Fields.of(("Cache-Control", "max-age=60"))), Tier.FILE)
    request = get(("Range", "bytes=50-59,0-9"))
    reply = Replying("n").stored(request, Rule(), found, Outcome(Verdict.HIT, Why.FRESH), 0.0)
    assert not isinstance(reply.body, bytes)
    got = [await anext(reply.body) for _ in range(3)]
    assert (got[1], got[2].startswith(b"\r\n--")) == (bytes(10), True)
    with pytest.raises(TruncatedError):
        await anext(reply.body)
    assert body.closed == 1
