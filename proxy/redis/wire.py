"""Many commands at once on one connection of the library's: packed by hiredis, and under the one deadline of whoever
asks. Its own pipelines look at every word of every command and set a timer for each reply, which costs more than Redis.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import hiredis
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ResponseError

Word = str | bytes | int | float
Words = tuple[Word, ...]
_packed: Callable[[Words], bytes] = hiredis.pack_command  # type: ignore[assignment] # of any length


def packed(commands: Sequence[Words]) -> bytes:
    """As they go out."""
    return b"".join([_packed(words) for words in commands])


async def exchange(client: Redis, commands: Sequence[Words]) -> list[Any]:
    """The answers in order, an error reply (ResponseError) as one of them; what the library raises when there are none.
    A connection that was lost is made once more, by the client's own policy. To be called within a deadline."""
    message = packed(commands)
    pool: Any = client.connection_pool
    connection: AbstractConnection = await pool.get_connection()
    try:
        once = partial(_once, client, connection, message, commands)
        answers: list[Any] = await connection.retry.call_with_retry(once, lambda error: connection.disconnect())
        return answers
    except BaseException:  # replies may be on their way that nobody asked for next time
        await connection.disconnect(nowait=True)
        raise
    finally:
        await pool.release(connection)


async def _once(client: Redis, connection: AbstractConnection, message: bytes, commands: Sequence[Words]) -> list[Any]:
    await connection.send_packed_command(message)
    answers: list[Any] = []
    for words in commands:
        try:
            answer = await connection.read_response(timeout=math.inf)
        except ResponseError as error:
            answers.append(error)
            continue
        shaped = client.response_callbacks.get(str(words[0]))
        answers.append(answer if shaped is None else shaped(answer))
    return answers
