"""The one client of a process, against real servers: its states, how long anybody waits, what goes out together."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from proxy.redis.address import Address, Mode
from proxy.redis.breaker import ERRORS, FIRST_PAUSE, Breaker, pause
from proxy.redis.budget import one_budget
from proxy.redis.dial import Patience
from proxy.redis.errors import Away, Refused, Slow
from proxy.redis.pipelines import LARGE
from proxy.redis.server import Script, Server, State
from tests.support.faults import FaultProxy, Refuse, Stall
from tests.support.redis_servers import redis_server

PATIENT = Patience(connect=5.0, read=5.0)


@dataclass
class Heard:
    """A server and the changes that it told."""

    server: Server
    changes: list[tuple[State, str]] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def until(self, state: State) -> str:
        async with asyncio.timeout(20):
            while self.server.state is not state:
                self.news.clear()
                await self.news.wait()
        return self.server.reason


@asynccontextmanager
async def linked(
    url: str, patience: Patience = PATIENT, *, reach: bool = True, clock: Callable[[], float] = time.monotonic
) -> AsyncIterator[Heard]:
    changes: list[tuple[State, str]] = []
    news = asyncio.Event()

    def changed(state: State, reason: str) -> None:
        changes.append((state, reason))
        news.set()

    heard = Heard(Server(Address.parse(url), patience, changed, clock=clock), changes, news)
    heard.server.start()
    try:
        if reach:
            assert await heard.server.looked(20), heard.server.reason
        yield heard
    finally:
        await heard.server.close()


async def test_commands_of_one_turn_go_together_and_errors_stay_apart() -> None:
    async with redis_server() as redis, linked(redis.url) as heard:
        call = heard.server.call
        async with redis.monitor() as monitored:
            answers = await asyncio.gather(
                call("SET", "n", 1, "PX", 60_000, write=True),
                call("GET", "n"),
                call("LPUSH", "n", "x", write=True),
                *(call("GET", f"k{number}") for number in range(100)),
                return_exceptions=True,
            )
            await monitored.caught_up()
        assert answers[1] == b"1"
        assert isinstance(answers[2], Refused)
        assert answers[2].word == "WRONGTYPE"
        assert answers[3:] == [None] * 100
        assert len([line for line in monitored if line.startswith(("SET", "GET", "LPUSH"))]) == 103
        assert heard.changes == [(State.READY, "")]
        assert heard.server.mode is Mode.SINGLE


@pytest.mark.slow
async def test_several_are_waited_for_once_and_large_ones_go_alone() -> None:
    async with redis_server() as redis, linked(redis.url) as heard:
        large = heard.server.call("SET", "large", bytes(LARGE), "PX", 60_000, write=True)
        said, done = await asyncio.gather(heard.server.calls(("GET", "a"), ("LPOP", "large"), ("PING",)), large)
        assert (said[0], done) == (None, True)
        assert said[2] in (True, b"PONG")
        refused = (await heard.server.calls(("LPOP", "large")))[0]
        assert isinstance(refused, Refused)
        with one_budget(0.1) as budget:
            redis.stop()
            with pytest.raises(Slow):
                await heard.server.calls(*[("GET", "a")] * 10)
            assert budget.left == 0.0


async def test_a_script_is_sent_whole_once() -> None:
    script = Script("return {KEYS[1], ARGV[1]}")
    async with redis_server() as redis, linked(redis.url) as heard:
        async with redis.monitor() as monitored:
            for number in range(3):
                assert await heard.server.script(script, ["a"], number) == [b"a", str(number).encode()]
            await monitored.caught_up()
        assert [line.partition(" ")[0] for line in monitored if line.startswith("EVAL")] == [
            "EVALSHA",
            "EVAL",
            "EVALSHA",
            "EVALSHA",
        ]


async def test_the_servers_clock() -> None:
    async with redis_server() as redis, linked(redis.url) as heard:
        seconds, micros = await redis.command("TIME")
        ours = heard.server.now()
        assert ours is not None
        assert abs(ours - (int(seconds) * 1_000_000 + int(micros))) < 5_000_000


async def test_a_server_that_is_not_there_is_found_when_it_comes() -> None:
    async with redis_server() as redis:
        await redis.kill()
        async with linked(redis.url, reach=False) as heard:
            assert not await heard.server.looked(20)
            assert heard.server.state is State.CLOSED
            with pytest.raises(Away):
                await heard.server.call("PING")
            await redis.start()
            await heard.until(State.READY)
            assert await heard.server.call("PING")


async def test_killed_and_started_again() -> None:
    async with redis_server() as redis, linked(redis.url) as heard:
        await redis.kill()
        for _ in range(ERRORS):
            with pytest.raises(Away):
                await heard.server.call("PING")
        await heard.until(State.CLOSED)
        await redis.start()
        await heard.until(State.READY)
        assert [state for state, _ in heard.changes] == [State.READY, State.CLOSED, State.READY]


async def test_a_restart_between_two_commands_is_not_noticed() -> None:
    async with redis_server() as redis, linked(redis.url) as heard:
        assert await heard.server.call("PING")
        await redis.kill()
        await redis.start()
        assert await heard.server.call("PING")
        assert heard.changes == [(State.READY, "")]


async def test_nobody_waits_longer_than_his_budget_and_nobody_after_the_first_timeout() -> None:
    async with redis_server() as redis, linked(redis.url, Patience(connect=5, read=5)) as heard:
        redis.stop()
        began = time.monotonic()
        with one_budget(0.05) as budget:
            with pytest.raises(Slow):
                await heard.server.call("GET", "a")
            assert budget.left == 0.0
            asked = heard.server.call("GET", "a")
            with pytest.raises(Slow):
                await asked
        assert time.monotonic() - began < 4  # and not the five seconds of the server's own patience
        redis.cont()


async def test_one_timeout_closes_a_server_that_had_no_success_lately() -> None:
    short = Patience(connect=0.3, read=0.3)
    async with (
        redis_server() as redis,
        FaultProxy(redis.port) as between,
        linked(f"redis://127.0.0.1:{between.port}", short) as heard,
    ):
        await asyncio.sleep(0.3)  # the breaker's QUIET: it is this silence that the rule is about
        await between.become(Stall())
        with pytest.raises(Slow):
            await heard.server.call("GET", "a")
        assert await heard.until(State.CLOSED) == "no answer in time"


async def test_full_takes_no_writes_and_goes_on_to_be_read() -> None:
    async with redis_server("maxmemory-policy noeviction") as redis, linked(redis.url) as heard:
        assert await heard.server.call("SET", "a", "b", "PX", 600_000, write=True)
        await redis.command("CONFIG", "SET", "maxmemory", 1)
        with pytest.raises(Refused) as refused:
            await heard.server.call("SET", "c", "d", "PX", 600_000, write=True)
        assert refused.value.word == "OOM"
        assert heard.server.state is State.DEGRADED
        assert await heard.server.call("GET", "a") == b"b"
        await redis.command("CONFIG", "SET", "maxmemory", 0)
        async with asyncio.timeout(20):
            while heard.server.state is not State.READY:
                if heard.server.writable:
                    await heard.server.call("SET", "c", "d", "PX", 600_000, write=True)
                await asyncio.sleep(0.01)
        assert [state for state, _ in heard.changes] == [State.READY, State.DEGRADED, State.READY]


async def test_many_writes_that_are_refused_together_are_one_try_in_vain() -> None:
    """Else a moment without writes under load is half a minute without them."""
    now = time.monotonic()
    async with (
        redis_server("maxmemory-policy noeviction") as redis,
        linked(redis.url, clock=lambda: now) as heard,
    ):
        await redis.command("CONFIG", "SET", "maxmemory", 1)
        writes = [heard.server.call("SET", f"k{number}", "v", "PX", 1000, write=True) for number in range(200)]
        said = await asyncio.gather(*writes, return_exceptions=True)
        assert all(isinstance(each, Refused) for each in said)
        await redis.command("CONFIG", "SET", "maxmemory", 0)
        now += FIRST_PAUSE
        assert await heard.server.call("SET", "k", "v", "PX", 1000, write=True)


async def test_a_wrong_password_is_told_and_never_shown() -> None:
    async with (
        redis_server(password="right-one") as redis,
        linked(f"redis://:wr0ng-one@127.0.0.1:{redis.port}", reach=False) as heard,
    ):
        assert not await heard.server.looked(20)
        assert "password is refused" in heard.server.reason
        assert "wr0ng" not in repr(heard.changes)


async def test_no_tls_at_the_other_end() -> None:
    async with redis_server() as redis, linked(f"rediss://127.0.0.1:{redis.port}", Patience(), reach=False) as heard:
        assert not await heard.server.looked(20)
        assert heard.server.state is State.CLOSED
        assert heard.server.reason


async def test_a_refused_connection() -> None:
    async with redis_server() as redis, FaultProxy(redis.port) as between:
        await between.become(Refuse())
        async with linked(f"redis://127.0.0.1:{between.port}", reach=False) as heard:
            assert not await heard.server.looked(20)


def test_when_the_breaker_opens() -> None:
    now = 100.0
    breaker = Breaker(lambda: now)
    breaker.worked()
    assert [breaker.failed(timeout=False) for _ in range(ERRORS)] == [False] * (ERRORS - 1) + [True]
    breaker.worked()
    assert not breaker.failed(timeout=True)
    now += 0.25
    assert breaker.failed(timeout=True)
    breaker.worked()
    assert not breaker.failed(timeout=False)


def test_pauses_have_full_jitter() -> None:
    assert [pause(tries, lambda: 1.0) for tries in (1, 2, 3, 6, 60)] == [1.0, 2.0, 4.0, 30.0, 30.0]
    assert pause(5, lambda: 0.0) == 0.0
