"""Reads of many who ask at once, on one connection: whose answer is whose, whatever comes between."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from redis.asyncio import Redis

from proxy.redis.budget import one_budget, spending
from proxy.redis.errors import Away, RedisError, Refused, Slow
from proxy.redis.reads import Hearing, Reads
from proxy.redis.wire import Words, packed
from tests.support.redis_says import Say, bulk, speaking

LONG = 20.0  # seconds, more than any test takes


@dataclass
class Asking:
    """Reads, and how it went."""

    client: Redis
    patience: float
    worked: list[float] = field(default_factory=list)
    failed: list[RedisError] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)

    def __post_init__(self) -> None:
        hearing = Hearing(self.worked.append, self.failed.append, self.refused.append)
        self.reads = Reads(self.client.connection_pool, self.patience, hearing)

    def ask(self, *commands: Words, seconds: float = LONG) -> "asyncio.Future[list[Any] | RedisError]":
        answer: asyncio.Future[list[Any] | RedisError] = asyncio.get_running_loop().create_future()
        self.reads.ask(packed(commands), len(commands), seconds, answer.set_result)
        return answer

    async def get(self, *names: str) -> list[Any]:
        """What is said of each name, all asked for in one turn."""
        return await asyncio.gather(*(self.ask(("GET", name)) for name in names))


@asynccontextmanager
async def asking(say: Say, patience: float = LONG) -> AsyncIterator[Asking]:
    async with speaking(say) as client:
        asks = Asking(client, patience)
        try:
            yield asks
        finally:
            await asks.reads.close(Away("over"))


def echo(command: list[bytes], owed: list[bytes]) -> bytes:
    return bulk(command[1])


def saying(*answers: bytes | None) -> tuple[list[bytes], Say]:
    """What was asked, and a server that says these one after the other, then the name that it is asked for."""
    left, asked = list(answers), list[bytes]()

    def say(command: list[bytes], owed: list[bytes]) -> bytes | None:
        asked.append(command[1])
        return left.pop(0) if left else bulk(command[1])

    return asked, say


async def test_each_gets_its_own_in_the_order_of_the_asking() -> None:
    async with asking(echo) as asks:
        names = [str(number) for number in range(200)]
        assert await asks.get(*names) == [[name.encode()] for name in names]
        several = asks.ask(("GET", "a"), ("GET", "b"), ("GET", "c"))
        assert (await several, await asks.ask(("GET", "d"))) == ([b"a", b"b", b"c"], [b"d"])
        assert not asks.failed
        assert not asks.reads.waited_for


async def test_an_error_is_one_of_the_answers_and_spoils_no_other() -> None:
    _, say = saying(b"-WRONGTYPE of another kind\r\n", b"-LOADING not yet\r\n")
    async with asking(say) as asks:
        half, others = asks.ask(("GET", "a"), ("GET", "b")), asks.get("c", "d")
        assert await others == [[b"c"], [b"d"]]
        assert isinstance(await half, Away)  # one of its answers is none
    _, say = saying(b"-WRONGTYPE of another kind\r\n")
    async with asking(say) as asks:
        said = await asks.ask(("GET", "a"), ("GET", "b"))
        assert isinstance(said, list)
        assert isinstance(said[0], Refused)
        assert (said[0].word, said[1], asks.refused) == ("WRONGTYPE", b"b", [said[0]])


async def test_who_does_not_wait_keeps_the_place_of_the_late_answer() -> None:
    late = asyncio.Event()

    def say(command: list[bytes], owed: list[bytes]) -> bytes:
        owed.append(bulk(command[1]))
        if not late.is_set():
            return b""
        said = b"".join(owed)
        owed.clear()
        return said

    async with asking(say) as asks:
        patient, hasty = asks.ask(("GET", "patient")), asks.ask(("GET", "hasty"), seconds=0.02)
        assert isinstance(await hasty, Slow)
        assert not patient.done()
        late.set()
        assert await asks.get("next", "last") == [[b"next"], [b"last"]]
        assert await patient == [b"patient"]
        assert not asks.failed


async def test_a_silence_ends_the_connection_and_what_it_says_later_is_nobodys() -> None:
    def say(command: list[bytes], owed: list[bytes]) -> bytes:
        owed.append(bulk(command[1]))
        return b"" if command[1] in (b"a", b"b") else b"".join(owed)

    async with asking(say, patience=0.2) as asks:
        assert [isinstance(said, Slow) for said in await asks.get("a", "b")] == [True, True]
        assert [type(failure) for failure in asks.failed] == [Slow]
        assert await asks.get("c") == [[b"c"]]


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ([None], [[b"a"], [b"b"]]),
        ([b"$1\r\nx", None], [[b"a"], [b"b"]]),
        ([b"%nonsense\r\n"], [[b"a"], [b"b"]]),
        ([bulk(b"a"), None], [[b"a"], [b"b"]]),
    ],
    ids=["before an answer", "within one", "nonsense", "between two"],
)
async def test_what_a_broken_connection_owed_is_asked_once_more(
    answers: Sequence[bytes | None], said: list[Any]
) -> None:
    _, say = saying(*answers)
    async with asking(say) as asks:
        assert await asks.get("a", "b") == said
        assert not asks.failed


async def test_half_of_an_answer_is_not_the_beginning_of_the_next() -> None:
    _, say = saying(bulk(b"half"), None)
    async with asking(say) as asks:
        assert await asks.ask(("GET", "a"), ("GET", "b")) == [b"a", b"b"]


async def test_it_is_asked_once_more_and_not_for_ever() -> None:
    asked, say = saying(None, None)
    async with asking(say) as asks:
        (said,) = await asks.get("a")
        assert isinstance(said, Away)
        assert (asked, len(asks.failed)) == ([b"a", b"a"], 1)
        assert await asks.get("b") == [[b"b"]]


async def test_an_answer_that_nobody_asked_for_is_given_to_nobody() -> None:
    _, say = saying(bulk(b"a") + bulk(b"stray"))
    async with asking(say) as asks:
        assert await asks.get("a") == [[b"a"]]
        assert await asks.get("b", "c") == [[b"b"], [b"c"]]


async def test_a_server_that_is_away_is_one_failure_for_all_that_wait() -> None:
    async with asking(echo) as asks:
        asks.client.connection_pool.connection_kwargs["port"] = 1
        assert [type(said) for said in await asks.get("a", "b")] == [Away, Away]
        assert len(asks.failed) == 1


async def test_who_is_told_goes_on_with_nobodys_budget() -> None:
    async with asking(echo) as asks:
        left: list[float] = []

        def told(said: list[Any] | RedisError) -> None:
            with spending(1.0) as seconds:
                left.append(seconds)

        with one_budget(0.0):  # whoever comes first has the connection made
            asks.reads.ask(packed([("GET", "a")]), 1, LONG, told)
        await asks.get("b")
        assert left == [1.0]


async def test_closing_tells_those_who_wait() -> None:
    _, say = saying(b"")
    async with asking(say) as asks:
        waiting = asks.ask(("GET", "a"))
        await asks.reads.close(Away("over"))
        said = await waiting
        assert isinstance(said, Away)
        assert said.reason == "over"
        assert not asks.reads.waited_for
