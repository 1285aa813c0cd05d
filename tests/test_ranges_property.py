"""Whatever parts are asked for, in whatever order, while the origin changes its mind: every client gets the bytes of
one version, and those it asked for (RFC 9111 3.4, RFC 9110 15.3.7.3)."""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.gateway import Client, Clock, Got, running
from tests.support.origin import FIN, Origin, Recorded
from tests.support.ranged import Ranged

SIZE = 96
# No byte of a version is at the same place in another one.
VERSIONS = {f'"{number}"': bytes((at * 3 + number * 61) % 256 for at in range(SIZE)) for number in range(3)}


@dataclass(frozen=True)
class Round:
    """What comes to pass: the origin has this version from now on, and minds If-Range or is `careless`; so many seconds
    pass; its next answer may be `cut`; then these ranges are asked for at the same time, None for the whole, some with
    If-Range of the version `condition`."""

    etag: str
    careless: bool
    seconds: int
    cut: bool
    asked: tuple[str | None, ...]
    condition: str | None


# Few, so that parts meet, and seldom the whole, which ends them.
bounds = [
    "0-23",
    "0-47",
    "24-47",
    "23-48",
    "48-",
    "1-",
    "47-71",
    "0-0",
    "-24",
    "-1",
    "0-",
    "96-",
    "10-30,40-50",
    "-1,0-9",
]
ranges = st.sampled_from([*(f"bytes={each}" for each in bounds), None])
etags = st.sampled_from(sorted(VERSIONS))
rounds = st.builds(
    Round,
    etag=etags,
    careless=st.booleans(),
    seconds=st.sampled_from([0, 1, 61]),
    cut=st.sampled_from([False, False, True]),
    asked=st.lists(ranges, min_size=1, max_size=3).map(tuple),
    condition=st.one_of(st.none(), st.none(), etags),
)


def pieces(got: Got) -> list[tuple[int, int, bytes]]:
    """(start, end, bytes) of each part of a 206."""
    media = got.header("content-type") or ""
    if not media.startswith("multipart/byteranges"):
        found = re.fullmatch(rf"bytes ([0-9]+)-([0-9]+)/{SIZE}", got.header("content-range") or "")
        assert found is not None
        return [(int(found[1]), int(found[2]) + 1, got.body)]
    boundary = media.partition("boundary=")[2].encode()
    parts = []
    for part in got.body.removesuffix(b"\r\n--" + boundary + b"--\r\n").split(b"--" + boundary + b"\r\n")[1:]:
        head, _, content = part.partition(b"\r\n\r\n")
        bounds = re.search(rb"bytes ([0-9]+)-([0-9]+)/", head)
        assert bounds is not None
        start, end = int(bounds[1]), int(bounds[2]) + 1
        parts.append((start, end, content[: end - start]))
    return parts


def wanted(ranges: str) -> set[int]:
    """The positions that a valid set of ranges means."""
    found: set[int] = set()
    for each in ranges.removeprefix("bytes=").split(","):
        first, _, last = each.partition("-")
        if first:
            found |= set(range(int(first), min(int(last) + 1 if last else SIZE, SIZE)))
        else:
            found |= set(range(max(0, SIZE - int(last)), SIZE))
    return found


def check(got: Got, ranges: str | None) -> None:
    if got.status == 416:
        assert ranges is not None
        assert not wanted(ranges)
        return
    etag = got.header("etag")
    assert etag in VERSIONS
    if got.status == 200:
        assert got.body == VERSIONS[etag]
        return
    assert got.status == 206
    assert ranges is not None
    there = set()
    for start, end, content in pieces(got):
        assert content == VERSIONS[etag][start:end]
        there |= set(range(start, end))
    assert there == wanted(ranges)


async def ask(gateway: Client, ranges: str | None, condition: str | None, *, careful: bool) -> None:
    fields = {"Range": ranges} if ranges is not None else {}
    if ranges is not None and condition is not None:
        fields["If-Range"] = condition
    try:
        got = await gateway.get("/a", fields)
    except aiohttp.ClientPayloadError:
        return  # it was cut, and its client knows
    check(got, ranges)
    if got.status == 206 and condition is not None and careful:
        assert got.header("etag") == condition


async def story(told: list[Round], max_object: int, parts_only: bool) -> None:
    clock, file = Clock(), Ranged(VERSIONS['"0"'], etag='"0"', parts_only=parts_only)
    careful = True  # so far
    async with Origin() as origin, running(origin, {"memory": {"max_object": max_object}}, clock=clock) as gateway:
        origin.script("/a", file)
        for each in told:
            file.become(VERSIONS[each.etag], etag=each.etag)
            file.careless, careful = each.careless, careful and not each.careless
            clock.advance(each.seconds)
            if each.cut:
                origin.script("/a", half(file), FIN, times=1)
            await asyncio.gather(*(ask(gateway, wish, each.condition, careful=careful) for wish in each.asked))
            await gateway.settled()


def half(file: Ranged) -> Callable[[Recorded], bytes]:
    def said(request: Recorded) -> bytes:
        head, _, body = file(request).partition(b"\r\n\r\n")
        return head + b"\r\n\r\n" + body[: len(body) // 2]

    return said


def quiet(etag: str, asked: str, *, seconds: int = 0, careless: bool = False) -> Round:
    return Round(etag, careless, seconds, False, (f"bytes={asked}",), None)


GREW_OLD = [quiet('"0"', "0-23"), quiet('"1"', "0-23", seconds=61), quiet('"1"', "0-23")]
GREW = [quiet('"0"', "0-23"), quiet('"1"', "0-47", careless=True), quiet('"1"', "0-47")]


@settings(max_examples=80, deadline=None)
@example(GREW_OLD, SIZE, True)
@example(GREW, SIZE, True)
@given(st.lists(rounds, min_size=4, max_size=10), st.sampled_from([SIZE // 2, SIZE]), st.booleans())
def test_every_client_gets_one_version(told: list[Round], max_object: int, parts_only: bool) -> None:
    asyncio.run(story(told, max_object, parts_only))
