"""Every kind of command that we send, tried once on keys of our own that are cleaned up: what `doctor redis` shows."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from proxy.redis.dial import Client
from proxy.redis.errors import Away, RedisError, Refused, translated
from proxy.redis.keys import Names

_LIFE = 60_000  # milliseconds after which what a trial could not clean up goes by itself


@dataclass(frozen=True, slots=True)
class Tried:
    """One thing that was tried. `without` says what the gateway does when it is denied, "" when it was not."""

    name: str
    done: bool
    said: str
    without: str = ""


@dataclass(frozen=True, slots=True)
class _Step:
    name: str
    words: tuple[Any, ...]
    wanted: Callable[[Any], bool]
    without: str


async def try_all(client: Client, names: Names) -> AsyncIterator[Tried]:
    """Each command in turn; Away ends it, as a last `Tried` that was not done. What was written is taken away."""
    word = uuid4().hex[:12]
    key, stream = names.probe(word), names.probe(word) + "s"
    try:
        for step in _steps(key, stream):
            try:
                yield await _try(client, step)
            except Away as error:
                yield Tried(step.name, False, error.reason, step.without)
                return
        yield await _subscribe(client, names)
    finally:
        await _clean(client, key, stream)


def _steps(key: str, stream: str) -> tuple[_Step, ...]:
    keep, no_tier, no_link = "answers are kept here alone", "the Redis tier is off", "purges reach nobody else"
    return (
        _Step("ping", ("PING",), lambda said: said in (True, b"PONG"), no_tier),
        _Step("set", ("SET", key, b"\0\xff value", "PX", _LIFE), bool, keep),
        _Step("get", ("GETRANGE", key, 0, 99), lambda said: said == b"\0\xff value", no_tier),
        _Step("ttl", ("PTTL", key), lambda said: 0 < said <= _LIFE, "nothing: the gateway itself does not ask"),
        _Step("set if absent", ("SET", key, "x", "NX", "PX", _LIFE), lambda said: not said, "each instance fetches"),
        _Step("script", ("EVAL", "return redis.call('GET', KEYS[1])", 1, key), bool, "no lease, no fence, no journal"),
        _Step("hash", ("HSET", f"{key}h", "a", "b"), lambda said: said == 1, "no variants, no instances"),
        _Step("expire", ("PEXPIRE", f"{key}h", _LIFE), lambda said: said == 1, no_link),
        _Step("stream", ("XADD", stream, "MAXLEN", "~", 10, "*", "a", "b"), bool, no_link),
        _Step("stream read", ("XREAD", "COUNT", 1, "STREAMS", stream, "0-0"), bool, no_link),
        _Step("stream expires", ("PEXPIRE", stream, _LIFE), lambda said: said == 1, no_link),
        _Step("list", ("RPUSH", f"{key}l", "a"), lambda said: said == 1, "rate limits hold for each instance alone"),
        _Step("list expires", ("PEXPIRE", f"{key}l", _LIFE), lambda said: said == 1, "as above"),
        _Step("list ends", ("LPOP", f"{key}l"), lambda said: said == b"a", "as above"),
        _Step("time", ("TIME",), bool, "no fence"),
        _Step("delete", ("UNLINK", key), lambda said: said == 1, "what is purged stays until it expires"),
        _Step("scan", ("SCAN", 0, "MATCH", f"{key}*", "COUNT", 10), bool, "clear and counts do not work"),
        _Step("info", ("INFO", "server"), bool, "memory and keyspace are not shown"),
    )


async def _try(client: Client, step: _Step) -> Tried:
    try:
        said = await _run(client, step)
    except Refused as error:
        return Tried(step.name, False, error.reason, step.without)
    good = step.wanted(said)
    return Tried(step.name, good, "" if good else f"an answer that is none: {said!r:.60}", "" if good else step.without)


async def _run(client: Client, step: _Step) -> Any:
    try:
        return await client.execute_command(*step.words)
    except Exception as error:
        raise translated(error) from error


async def _subscribe(client: Client, names: Names) -> Tried:
    without = "who waits for another instance's fetch looks for it, instead of being told"
    listening = client.pubsub()
    try:
        async with asyncio.timeout(2.0):
            await listening.subscribe(names.landed)
            said = await listening.get_message(timeout=1.0)
        return Tried("subscribe", said is not None, "" if said else "no confirmation", "" if said else without)
    except Exception as error:
        return Tried("subscribe", False, translated(error).reason, without)
    finally:
        await listening.aclose()  # type: ignore[no-untyped-call]


async def _clean(client: Client, key: str, stream: str) -> None:
    for name in (key, f"{key}h", f"{key}l", stream):
        try:
            await client.execute_command("DEL", name)
        except Exception as error:
            if isinstance(translated(error), Away):
                return


__all__ = ["RedisError", "Tried", "try_all"]
