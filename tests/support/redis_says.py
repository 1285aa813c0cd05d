"""A server of the Redis protocol that says what a test wants."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import hiredis
from redis.asyncio import Redis

from proxy.redis.address import Address, Mode
from proxy.redis.dial import Patience, dial, hang_up

PATIENCE = Patience(connect=5.0, read=5.0)
Say = Callable[[list[bytes], list[bytes]], bytes | None]  # a command, and what is owed on its connection; None: hang up


@asynccontextmanager
async def speaking(say: Say) -> AsyncIterator[Redis]:
    """A client of a server that says this to each command; of greetings it says that they are well."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        commands, owed = hiredis.Reader(), list[bytes]()
        while data := await reader.read(65536):
            commands.feed(data)
            while command := commands.gets():
                said = b"+OK\r\n" if command[0] in (b"CLIENT", b"SELECT") else say(command, owed)
                if said is None:
                    writer.transport.abort()
                    return
                writer.write(said)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = dial(Address.parse(f"redis://127.0.0.1:{port}/0"), Mode.SINGLE, PATIENCE)
    assert isinstance(client, Redis)
    try:
        yield client
    finally:
        await hang_up(client)
        server.close()


def bulk(text: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(text), text)
