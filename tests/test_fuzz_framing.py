"""Whatever is sent, the origin sees the requests that stand there, and no other (invariant 7; RFC 9112 11.2).

Who else reads the bytes is h11, a parser that has nothing in common with the one at our door.
"""

import asyncio
import re
from collections.abc import Iterable
from contextlib import suppress
from itertools import pairwise
from random import Random

import pytest

from tests.support.framing import Reading, bent, read
from tests.support.origin import Origin
from tests.support.process import serving
from tests.support.rawtcp import raw

HASTY = {"cache": {"unmatched": "bypass"}, "timeouts": {"head": 1, "body_idle": 1, "keep_alive": 0.5}}
AT_ONCE = 100  # connections
MARK = re.compile(r"m\d{8}m")


async def told(port: int, pieces: Iterable[bytes]) -> bytes | None:
    """All that is said to one who says this and waits for the end; None when that was a reset, which loses some."""
    async with raw(port) as connection:
        with suppress(ConnectionError):
            for piece in pieces:
                await connection.send(piece)
        async with asyncio.timeout(30):
            said = await connection.reader.read(-1)
        return None if connection.reader.ending == "rst" else said


def cut(data: bytes, random: Random) -> list[bytes]:
    places = sorted([0, len(data), *(random.randrange(len(data)) for _ in range(random.choice((0, 0, 1, 2))))])
    return [data[start:end] for start, end in pairwise(places)]


def wrong(sent: bytes, seen: list[Reading], said: bytes | None) -> str | None:
    """What is wrong with what the origin saw of these bytes. Some of the requests may have been answered by us."""
    there = iter(read(sent))
    for own in seen:
        if not any(same(own, other) for other in there):
            return f"{own} does not stand there, or not in this place"
    if said is None:
        return None
    answers = len(re.findall(rb"^HTTP/1\.[01] [2-5]\d\d ", said, re.MULTILINE))
    if sum(own.whole for own in seen) > answers:
        return f"{seen} was passed on, and {answers} answers came"
    return None


def same(own: Reading, other: Reading) -> bool:
    bodies = own.body == other.body if own.whole else other.body.startswith(own.body)
    return (own.method, own.target) == (other.method, other.target) and bodies and own.whole <= other.whole


async def fuzz(seed: int, number: int) -> tuple[int, list[str]]:
    """How many requests reached the origin, and what was wrong."""
    random = Random(seed)
    sent = {mark: bent(random, mark.encode()) for mark in (f"m{number:08}m" for number in range(number))}
    pieces = {mark: cut(data, random) for mark, data in sent.items()}
    said: dict[str, bytes | None] = {}
    places = asyncio.Semaphore(AT_ONCE)

    async with Origin() as origin, serving(origin, HASTY, "--no-access-log") as gateway:

        async def ask(mark: str) -> None:
            async with places:
                said[mark] = await told(gateway.port, pieces[mark])

        await asyncio.gather(*map(ask, sent))
        assert (await gateway.get("/after")).status == 404
        assert "Traceback" not in gateway.log
    seen: dict[str, list[Reading]] = {mark: [] for mark in sent}
    faults = []
    for request in origin.requests[:-1]:
        found = MARK.search(request.raw.decode("latin-1"))
        if found is None or found[0] not in seen:
            faults.append(f"nobody sent {request.raw!r}")
        else:
            seen[found[0]].append(Reading(request.method, request.target, request.body, request.whole))
    for mark, requests in seen.items():
        fault = wrong(sent[mark], requests, said[mark])
        if fault is not None:
            faults.append(f"{sent[mark]!r}: {fault}")
    return len(origin.requests) - 1, faults


async def test_the_origin_sees_what_stands_there_and_nothing_else() -> None:
    passed, faults = await fuzz(seed=1, number=600)
    assert passed > 60
    assert not faults, "\n".join(faults[:20])


@pytest.mark.slow
async def test_it_does_so_twenty_thousand_times() -> None:
    passed, faults = await fuzz(seed=2, number=20_000)
    assert passed > 2500
    assert not faults, "\n".join(faults[:20])
