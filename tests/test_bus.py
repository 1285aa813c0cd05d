"""Messages between two processes of ours: answers find their questions, and nobody waits for one who does not read."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from proxy.errors import ConfigError, Problem
from proxy.server.bus import UNREAD, BusError, Duties, Ears, Link, connected


@asynccontextmanager
async def pair(duties: Duties | None = None, ears: Ears | None = None) -> AsyncIterator[tuple[Link, Link]]:
    """Two ends; the second does `duties` and has `ears`."""
    ours, theirs = socket.socketpair()
    one, other = await connected(ours, {}, {}), await connected(theirs, duties or {}, ears or {})
    try:
        yield one, other
    finally:
        for link in (one, other):
            link.close()
        async with asyncio.timeout(20):
            await asyncio.gather(one.closed.wait(), other.closed.wait())


async def test_answers_find_their_questions_in_any_order() -> None:
    gates = [asyncio.Event() for _ in range(3)]

    async def echo(number: int) -> int:
        await gates[number].wait()
        return number * 10

    async with pair({"echo": echo}) as (one, _):
        asked = [asyncio.create_task(one.call("echo", number)) for number in range(3)]
        for gate in reversed(gates):
            gate.set()
            await asyncio.sleep(0)
        assert await asyncio.gather(*asked) == [0, 10, 20]


async def test_large_and_many_messages_arrive_whole() -> None:
    heard: list[object] = []
    done = asyncio.Event()

    def hear(value: object) -> None:
        heard.append(value)
        if value == "end":
            done.set()

    async def back(data: bytes) -> bytes:
        return data[::-1]

    async with pair({"back": back}, {"hear": hear}) as (one, _):
        data = bytes(range(256)) * 20_000
        assert await one.call("back", data) == data[::-1]
        for number in range(5000):
            assert one.tell("hear", number)
        one.tell("hear", "end")
        async with asyncio.timeout(20):
            await done.wait()
    assert heard == [*range(5000), "end"]


async def test_what_goes_wrong_there_is_told_here() -> None:
    async def wrong() -> None:
        raise ConfigError((Problem("a.yaml:1", "is wrong"),))

    async def broken() -> None:
        raise RuntimeError("broken")

    async def unsayable() -> object:
        return lambda: None

    async with pair({"wrong": wrong, "broken": broken, "unsayable": unsayable}) as (one, _):
        with pytest.raises(ConfigError) as caught:
            await one.call("wrong")
        assert caught.value.problems == (Problem("a.yaml:1", "is wrong"),)
        with pytest.raises(BusError, match="RuntimeError: broken"):
            await one.call("broken")
        with pytest.raises(BusError, match="unsayable"):
            await one.call("unsayable")
        with pytest.raises(BusError, match="not here"):
            await one.call("unknown")


async def test_a_note_that_fails_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def yes() -> bool:
        return True

    async with pair({"yes": yes}, {"bad": lambda: 1 / 0}) as (one, _):
        one.tell("bad")
        one.tell("unknown")
        assert await one.call("yes")
    assert caplog.text.count("was not understood") == 2


async def test_no_answer_in_time_and_a_late_one_is_nobodys() -> None:
    gate = asyncio.Event()

    async def slow() -> str:
        await gate.wait()
        return "late"

    async def quick() -> str:
        return "quick"

    async with pair({"slow": slow, "quick": quick}) as (one, _):
        with pytest.raises(BusError, match=r"no answer within 0\.01 s"):
            await one.call("slow", within=0.01)
        gate.set()
        assert await one.call("quick") == "quick"


async def test_whoever_asks_one_that_goes_is_told_at_once() -> None:
    begun = asyncio.Event()
    over = asyncio.Event()

    async def forever() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            over.set()

    async with pair({"forever": forever}) as (one, other):
        asked = asyncio.create_task(one.call("forever"))
        await begun.wait()
        other.close()
        with pytest.raises(BusError, match="gone"):
            await asked
        assert not one.tell("hear", 1)
        with pytest.raises(BusError, match="does not read"):
            await one.call("forever")
        async with asyncio.timeout(20):
            await over.wait()  # nobody wants the answer any more


async def test_one_that_does_not_read_is_written_to_up_to_a_bound() -> None:
    ours, theirs = socket.socketpair()
    link = await connected(ours, {}, {})
    try:
        chunk, told = b"x" * (1 << 20), 0
        while link.tell("hear", chunk):
            told += 1
        assert UNREAD <= told << 20 <= UNREAD + (4 << 20)
    finally:
        theirs.close()
        async with asyncio.timeout(20):
            await link.closed.wait()
