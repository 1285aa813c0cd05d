"""A record that was read from Redis before, asked for again: what is the same, and what has to be looked for anew."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from proxy.entry import Entry, Found, Position, any_variant
from proxy.outcome import Tier
from proxy.store.near import FarHeld
from proxy.store.near_redis import NearRedis
from proxy.store.redis import RedisStore
from proxy.store.redis_again import LaidBody, Mark
from tests.support.entries import entry, language
from tests.support.redis_servers import redis_server
from tests.support.redis_stores import NAMES, Journal, redis_store


class Head(Journal):
    """A journal with a head, as memory and files hold entries against it."""

    head = 5


class Near:
    """A store's entries, asked for again."""

    def __init__(self, store: RedisStore, journal: Head) -> None:
        self.trusted, self.blind, self.taken = True, False, 0
        self.store, self.journal = store, journal
        self.near = NearRedis(
            store.again(), journal, trusted=lambda: self.trusted, blind=lambda: self.blind, taken=self._take
        )

    def _take(self) -> None:
        self.taken += 1

    async def held(self, wanted: Entry) -> FarHeld[Mark]:
        assert await self.store.put(wanted)
        found = await self.store.get(wanted.hash, any_variant)
        assert found is not None
        held = self.near.held(Found(found, Tier.REDIS))
        assert held is not None
        return held

    async def said(self, held: FarHeld[Mark]) -> Any:
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        assert self.near.ask(held.slot, 20.0, answer.set_result)
        return await answer


@pytest.mark.parametrize(
    "wanted",
    [
        entry("/a", b"hello"),
        entry("/a", b""),
        entry("/a", b"hello " * 2000),  # it lies packed
        replace(entry("/a", b"hello"), vary=language("de")),
        replace(entry("/a", b"hello " * 2000), vary=language("de")),
    ],
    ids=["plain", "empty", "packed", "variant", "packed variant"],
)
async def test_what_is_the_same_is_taken_with_its_content(wanted: Entry) -> None:
    journal = Head()
    async with redis_server() as redis, redis_store(redis.url, journal=journal) as store:
        near = Near(store, journal)
        held = await near.held(wanted)
        for number in range(1, 3):
            assert near.near.take(held.slot, await near.said(held)) == wanted.body.data
            assert near.taken == number
        assert held.nominated == {name for name, _ in wanted.vary}
        assert (held.kept, held.until) == (None, wanted.keep_until)


Change = Callable[[Near], object]
CHANGES: dict[str, Change] = {
    "a purge of anything": lambda near: setattr(near.journal, "head", 6),
    "cut off": lambda near: setattr(near.journal, "at", None),
    "another place in the journal": lambda near: setattr(near.journal, "place", lambda *at: Position(1, 2, 3)),
    "a place that nobody knows": lambda near: setattr(near.journal, "place", lambda *at: None),
    "blind": lambda near: setattr(near, "blind", True),
    "trouble": lambda near: setattr(near, "trusted", False),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
async def test_whatever_comes_while_it_is_asked_for(change: Change) -> None:
    journal = Head()
    async with redis_server() as redis, redis_store(redis.url, journal=journal) as store:
        near = Near(store, journal)
        held = await near.held(entry("/a", b"hello"))
        said = await near.said(held)
        change(near)
        assert near.near.take(held.slot, said) is None
        assert near.taken == 0


@pytest.mark.parametrize("change", [name for name in CHANGES if "place" not in name])
async def test_where_it_would_be_in_vain_nobody_is_asked(change: str) -> None:
    journal = Head()
    async with redis_server() as redis, redis_store(redis.url, journal=journal) as store:
        near = Near(store, journal)
        held = await near.held(entry("/a", b"hello"))
        CHANGES[change](near)
        assert not near.near.ask(held.slot, 20.0, print)


COMMANDS: dict[str, tuple[Any, ...]] = {
    "gone": ("DEL", "{record}"),
    "longer": ("APPEND", "{record}", "x"),
    "one byte of its body": ("SETRANGE", "{record}", 37, "x"),
    "its fence": ("SETRANGE", "{record}", 8, "another."),
    "a variant beside it": ("HSET", "{index}", "0123456789abcdef", "[1,[]]"),
    "no index": ("SET", "{index}", "x"),
}


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
async def test_what_is_not_what_it_was_is_not_taken(words: tuple[Any, ...]) -> None:
    journal = Head()
    async with redis_server() as redis, redis_store(redis.url, journal=journal) as store:
        near, wanted = Near(store, journal), entry("/a", b"hello")
        held = await near.held(wanted)
        places = {"record": NAMES.entry(wanted.key), "index": NAMES.index(wanted.hash)}
        await redis.command(*(word.format(**places) if isinstance(word, str) else word for word in words))
        assert near.near.take(held.slot, await near.said(held)) is None


async def test_a_plain_record_beside_a_variant_is_chosen_among_anew() -> None:
    journal = Head()
    async with redis_server() as redis, redis_store(redis.url, journal=journal) as store:
        near = Near(store, journal)
        held = await near.held(replace(entry("/a", b"hello"), vary=language("de")))
        assert await store.put(entry("/a", b"for all"))
        assert near.near.take(held.slot, await near.said(held)) is None


async def test_nothing_of_a_record_is_kept_where_nobody_asks_again() -> None:
    async with redis_server() as redis, redis_store(redis.url) as store:
        await store.put(entry("/a", b"hello"))
        found = await store.get(entry("/a").hash, any_variant)
        assert found is not None
        assert not isinstance(found.body, LaidBody)
        store.again()
        found = await store.get(entry("/a").hash, any_variant)
        assert found is not None
        assert isinstance(found.body, LaidBody)
        assert not isinstance(found.body.share(), LaidBody)


@pytest.mark.parametrize(
    "said",
    [
        [b"record", [b"x"]],
        [b"record", [[b"x"], b"y"]],
        [b"record", [1, 2]],
        [b"record", b"x"],
        [b"record", None],
        [None, []],
        [[b"record"], []],
        [1, []],
    ],
    ids=repr,
)
async def test_an_answer_out_of_shape_is_not_taken(said: Any) -> None:
    """A Redis that is not well, or no Redis."""
    journal = Head()
    async with redis_server() as redis, redis_store(redis.url, journal=journal) as store:
        near = Near(store, journal)
        held = await near.held(entry("/a", b"hello"))
        record, _ = await near.said(held)
        filled = [record if each == b"record" else each for each in said]
        assert near.near.take(held.slot, filled) is None
        assert near.near.take(held.slot, await near.said(held)) == b"hello"
