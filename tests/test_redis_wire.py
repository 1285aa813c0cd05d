"""Commands at once on one connection: whose answer is whose, whatever comes between."""

import asyncio

import pytest
from redis.asyncio import Redis
from redis.exceptions import BusyLoadingError, ResponseError

from proxy.redis.address import Address, Mode
from proxy.redis.dial import dial, hang_up
from proxy.redis.wire import exchange
from tests.support.redis_says import PATIENCE, bulk, speaking
from tests.support.redis_servers import redis_server


async def test_each_gets_its_own_and_an_error_is_one_of_them() -> None:
    async with redis_server() as redis:
        client = dial(Address.parse(redis.url), Mode.SINGLE, PATIENCE)
        assert isinstance(client, Redis)
        try:
            words = [("SET", "a", 7, "PX", 60_000), ("GET", "a"), ("LPUSH", "a", b"\x00\r\n"), ("HSET", "h", "f", 1.5)]
            answers = await exchange(client, [*words, ("HGETALL", "h"), ("GET", "b")])
        finally:
            await hang_up(client)
    assert (answers[1], answers[3], answers[4], answers[5]) == (b"7", 1, {b"f": b"1.5"}, None)
    assert isinstance(answers[2], ResponseError)


@pytest.mark.parametrize("fails", [1, 2, 9])
async def test_what_is_left_over_by_a_failure_is_nobodys_answer(fails: int) -> None:
    left = fails

    def say(command: list[bytes], owed: list[bytes]) -> bytes:
        nonlocal left
        if command[1] == b"first" and left:
            left -= 1
            return b"-LOADING not yet\r\n"
        return bulk(command[1])

    async with speaking(say) as client:
        commands = [("GET", "first"), ("GET", "second"), ("GET", "third")]
        if fails <= 1:  # it asks once more by itself
            assert await exchange(client, commands) == [b"first", b"second", b"third"]
        else:
            with pytest.raises(BusyLoadingError):
                await exchange(client, commands)
        assert await exchange(client, [("GET", "fourth")]) == [b"fourth"]


async def test_who_does_not_wait_leaves_nothing_behind() -> None:
    silent = True

    def say(command: list[bytes], owed: list[bytes]) -> bytes:
        return b"" if silent and command[1] == b"late" else bulk(command[1])

    async with speaking(say) as client:
        waiting = asyncio.create_task(exchange(client, [("GET", "early"), ("GET", "late")]))
        await asyncio.sleep(0.1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        silent = False
        assert await exchange(client, [("GET", "next")]) == [b"next"]


async def test_an_answer_that_makes_no_sense_leaves_nothing_behind() -> None:
    def senseless(answer: object) -> object:
        raise ValueError("no sense")

    def say(command: list[bytes], owed: list[bytes]) -> bytes:  # the second answer comes late, with the next one
        owed.append(bulk(command[1]))
        if command[1] == b"second":
            return b""
        said = b"".join(owed)
        owed.clear()
        return said

    async with speaking(say) as client:
        client.set_response_callback("STRLEN", senseless)
        with pytest.raises(ValueError, match="no sense"):
            await exchange(client, [("STRLEN", "first"), ("GET", "second")])
        assert await exchange(client, [("GET", "third")]) == [b"third"]
