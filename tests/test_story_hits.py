"""What memory answers needs nobody else: no task is made for it, and nothing is awaited (architecture, "The story")."""

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any

import pytest

from tests.support.gateway import HOST, Client, running
from tests.support.origin import Origin
from tests.support.rawtcp import RawAnswer, raw

CACHED = [("Cache-Control", "max-age=60"), ("ETag", '"e"'), ("Last-Modified", "Sat, 01 Nov 2025 00:00:00 GMT")]
BODY = bytes(range(256)) * 16
KINDS = {
    "hit": ("GET", "", 200),
    "head": ("HEAD", "", 200),
    "not-modified": ("GET", 'If-None-Match: "e"', 304),
    "not-modified-since": ("GET", "If-Modified-Since: Sat, 01 Nov 2025 00:00:00 GMT", 304),
    "range": ("GET", "Range: bytes=10-19", 206),
    "ranges": ("GET", "Range: bytes=0-9, 100-199", 206),
    "outside": ("GET", "Range: bytes=9999999-", 416),
}


class Stepped(Coroutine[Any, Any, Any]):
    """A coroutine that counts its steps: one more than the times at which it waited."""

    def __init__(self, inner: Coroutine[Any, Any, Any]) -> None:
        self.inner = inner
        self.steps = 0

    def send(self, value: Any) -> Any:
        self.steps += 1
        return self.inner.send(value)

    def throw(self, *error: Any) -> Any:
        return self.inner.throw(*error)

    def close(self) -> None:
        self.inner.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self.inner.__await__()


async def made_for(gateway: Client, method: str, field: str) -> tuple[RawAnswer, list[tuple[str, int]]]:
    """The answer to a request on a connection in use, the tasks that were made meanwhile, and their steps."""
    made: list[Stepped] = []

    def task(loop: asyncio.AbstractEventLoop, coro: Any, **named: Any) -> asyncio.Task[Any]:
        made.append(Stepped(coro))
        return asyncio.Task(made[-1], loop=loop, **named)

    loop = asyncio.get_running_loop()
    async with raw(gateway.port) as connection:
        await connection.get("/a", host=HOST)
        loop.set_task_factory(task)
        try:
            got = await connection.get("/a", *filter(None, [field]), method=method, host=HOST)
        finally:
            loop.set_task_factory(None)
    return got, [(each.inner.__qualname__, each.steps) for each in made]


RULES: dict[str, list[dict[str, Any]]] = {
    "unmatched": [],
    "rule": [{"pattern": "*", "ttl": 60}],
    "limited": [{"pattern": "*", "ttl": 60, "rate_limit": "search"}],
    "limited-but-hits": [{"pattern": "*", "rate_limit": {"limit": 1, "window": 60, "hits": "exempt"}}],
}


@pytest.mark.parametrize("lane", [True, False], ids=["lane", "no-lane"])
@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("kind", KINDS)
async def test_no_task_is_made_and_nothing_is_awaited(rules: str, kind: str, lane: bool) -> None:
    method, field, status = KINDS[kind]
    async with Origin() as origin, running(origin, {"rules": RULES[rules], "listen": {"fast_lane": lane}}) as gateway:
        origin.answer("/a", headers=CACHED, body=BODY)
        await gateway.get("/a")
        await gateway.settled()
        got, made = await made_for(gateway, method, field)
        assert (got.status, got.header("x-cache"), got.header("x-cache-tier")) == (status, "HIT", "memory")
        # aiohttp makes a task of every request; it runs from the head to the last byte in one step, and is the only one
        assert made == ([] if lane else [("RequestHandler._handle_request", 1)])
        assert origin.count() == 1


async def test_what_waits_would_be_seen() -> None:
    async with Origin() as origin, running(origin) as gateway:
        origin.answer("/a", body=BODY)
        _, made = await made_for(gateway, "GET", "")
        assert len(made) > 1
        assert made[0][1] > 1
