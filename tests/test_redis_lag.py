"""A loop that was too busy to hear the answer is no reason to give up a server that is well."""

import asyncio
import time

import pytest

from proxy.redis.address import Address
from proxy.redis.dial import Patience
from proxy.redis.errors import Slow
from proxy.redis.lag import heard
from proxy.redis.server import Server, State
from tests.support.redis_servers import redis_server


async def test_who_is_busy_himself_does_not_blame_the_server() -> None:
    changes: list[State] = []
    async with redis_server() as redis:
        server = Server(Address.parse(redis.url), Patience(0.1, 0.1), lambda state, reason: changes.append(state))
        server.start()
        try:
            assert await server.looked(20), server.reason
            for _ in range(5):
                call = asyncio.ensure_future(server.call("GET", "a"))
                await asyncio.sleep(0)  # it is sent in this turn of the loop and the next
                await asyncio.sleep(0)
                time.sleep(0.4)  # the loop's: nobody reads the answer meanwhile
                await asyncio.wait([call])
                call.exception()
            assert changes == [State.READY]

            redis.stop()
            async with asyncio.timeout(20):
                while server.state is State.READY:
                    with pytest.raises(Slow):
                        await server.call("GET", "a")
            assert changes == [State.READY, State.CLOSED]
        finally:
            await server.close()


async def test_an_answer_is_heard_that_came_while_we_were_busy() -> None:
    """It takes a few turns of the loop from the socket to who waits for it."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[str] = loop.create_future()

    def arrive(turns: int) -> None:
        if turns:
            loop.call_soon(arrive, turns - 1)
        else:
            answer.set_result("here")

    loop.call_soon(time.sleep, 0.3)
    loop.call_soon(arrive, 5)
    assert await heard([answer], 0.1) == ["here"]


async def test_what_does_not_come_is_not_waited_for() -> None:
    loop = asyncio.get_running_loop()
    first: asyncio.Future[str] = loop.create_future()
    first.set_result("here")
    others: list[asyncio.Future[str]] = [loop.create_future(), loop.create_future()]
    with pytest.raises(TimeoutError):
        await heard([first, *others], 0.02)
    assert all(isinstance(other.exception(), TimeoutError) for other in others)
