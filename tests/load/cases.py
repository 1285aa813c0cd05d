"""How each scenario goes: what is asked for, what is done meanwhile, and the figures that its thresholds speak of."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import accumulate, count, takewhile
from statistics import fmean
from time import time

from tests.load.arena import MEMORY_LIMIT, Arena, arena, body
from tests.load.clients import PATIENCE, Answered, Connection, asked, connected
from tests.load.scaled import grown
from tests.load.scenarios import HOST, Scenario
from tests.load.watching import RedisUsage, Sample, figures, redis_usage, usage, watched

_ALONE = 1.0  # seconds, at most, that one client asks alone: the crowd is held against that
_PURGES = 10  # a second, at most


@dataclass(frozen=True, slots=True)
class Told:
    """One scenario: every answer (none where other processes asked), the figures, what happened meanwhile (Unix
    seconds), which bounds were broken, and what was taken of the machine. `excused`: figures that cannot be told here,
    and why."""

    scenario: Scenario
    answers: Sequence[Answered]
    figures: dict[str, float]
    marks: tuple[tuple[float, str], ...]
    samples: Sequence[Sample]
    excused: dict[str, str] = field(default_factory=dict)

    @property
    def broken(self) -> list[str]:
        return self.scenario.broken(self.figures, self.excused)


@dataclass(frozen=True, slots=True)
class _Course:
    """What came of it, with figures that this scenario alone has."""

    answers: list[Answered]
    own: dict[str, float]
    idle: Sequence[Answered] = ()
    marks: tuple[tuple[float, str], ...] = ()


async def played(scenario: Scenario) -> Told:
    """Everything that it started has ended then."""
    if scenario.workers:
        scaled = await grown(scenario)
        own = scaled.figures | figures(scaled.samples, MEMORY_LIMIT)
        return Told(scenario, (), own, scaled.marks, scaled.samples, scaled.excused)
    async with arena(scenario) as field, watched(field) as samples:
        course = await COURSES[scenario.name.partition("_1")[0]](field)
    own = _figures(scenario, course) | figures(samples, MEMORY_LIMIT)
    return Told(scenario, course.answers, own, course.marks, samples)


# -- the courses -------------------------------------------------------------------------------------------------------


async def _popular(field: Arena) -> _Course:
    """The paths are warm, but where some are popular and others not: there the first to come fetches."""
    scenario = field.scenario
    async with connected(field.ports, scenario.clients) as clients:
        if not scenario.skew:
            await _warm(field)
        idle = await _alone(field, clients, _targets(scenario, "idle" if scenario.skew else "paths"))
        answers = await asked(clients, _targets(scenario), scenario.seconds)
        own = {"connections": sum(client.is_open for client in clients), "calls_per_path": _calls(field)}
    return _Course(answers, own, idle)


async def _new(field: Arena) -> _Course:
    numbers = count()
    targets = (f"/miss/{number}" for number in numbers)
    async with connected(field.ports, field.scenario.clients) as clients:
        idle = await _alone(field, clients, targets)
        answers = await asked(clients, targets, field.scenario.seconds)
    return _Course(answers, {"calls_per_path": _calls(field)}, idle)


async def _stampede(field: Arena) -> _Course:
    """The upstream answers once all have asked."""
    answers: list[Answered] = []
    end = time() + field.scenario.seconds
    async with connected(field.ports, field.scenario.clients) as clients:
        for number in count():
            target = f"/slow/{number}"
            answers += await asyncio.gather(*(client.ask(target) for client in clients))
            if time() >= end:
                return _Course(answers, {"calls_per_path": _calls(field)})
    raise AssertionError("it has no other end")


async def _redis_share(field: Arena) -> _Course:
    """For half of the time one instance is asked for what is new, then the other for the same."""
    scenario, ports, half = field.scenario, field.ports, field.scenario.seconds / 2
    empty, (first, second, *_) = await _redis(field), [usage(gateway.pid).cpu for gateway in field.gateways]
    async with connected(ports[:1], scenario.clients) as clients:
        news = await asked(clients, (f"/new/{number}" for number in count()), half)
    full = await _all_kept(field)
    turned = time()
    async with connected(ports[1:], scenario.clients) as clients:
        again = await asked(clients, (each.target for each in news), half)
    over, keys = await _redis(field), max(full.keys - empty.keys, 1)
    own = {
        "calls_per_path": _calls(field),
        "redis_hits": sum(each.tier == b"redis" for each in again) / len(again),
        "redis_bytes_per_key": (full.memory - empty.memory) / keys,
        "body_bytes": fmean(len(body(each.target)) for each in news),
        "redis_us_miss": (full.cpu - empty.cpu) / len(news) * 1e6,
        "redis_us_hit": (over.cpu - full.cpu) / len(again) * 1e6,
        "gateway_us_miss": (usage(field.gateways[0].pid).cpu - first) / len(news) * 1e6,
        "gateway_us_hit": (usage(field.gateways[1].pid).cpu - second) / len(again) * 1e6,
    }
    return _Course([*news, *again], own, marks=((turned, "the other is asked"),))


async def _redis(field: Arena) -> RedisUsage:
    told = await redis_usage(field)
    assert told is not None
    return told


async def _all_kept(field: Arena) -> RedisUsage:
    """Nobody waits for what is stored in Redis: it is all there once nothing more comes."""
    before = await _redis(field)
    async with asyncio.timeout(PATIENCE):
        while True:
            await asyncio.sleep(0.2)
            after = await _redis(field)
            if after.keys == before.keys:
                return after
            before = after


async def _redis_kill(field: Arena) -> _Course:
    """A third of the time with Redis, a third without, and a third once all use it again, which is empty then."""
    scenario, redis, third = field.scenario, field.redis, field.scenario.seconds / 3
    assert redis is not None
    marks: list[tuple[float, str]] = []

    async def trouble() -> None:
        await asyncio.sleep(third)
        marks.append((time(), "Redis is killed"))
        await redis.kill()
        await asyncio.sleep(third)
        await redis.start()
        marks.append((time(), "is back"))
        await asyncio.gather(*(gateway.connected() for gateway in field.gateways))
        marks.append((time(), "is used again"))
        await asyncio.sleep(third)

    async with connected(field.ports, scenario.clients) as clients:
        await _warm(field)
        troubled = asyncio.create_task(trouble())
        answers = await asked(clients, takewhile(lambda _: not troubled.done(), _targets(scenario)), PATIENCE * 4)
        await troubled
    killed, _, back = (at for at, _ in marks)
    before = [each for each in answers if each.at + each.took < killed]
    after = [each for each in answers if each.at >= back]
    own = {"hits_before": _share(before), "hits_after": _share(after)}
    own["redis_after"] = sum(each.tier == b"redis" for each in after)
    return _Course(answers, own, marks=tuple(marks))


async def _purge(field: Arena) -> _Course:
    """A path is purged through each instance in turn; what is asked for after the 200 has to be made after the
    purge was sent, whoever answers."""
    scenario, done = field.scenario, list[tuple[float, float, str]]()

    async def purges() -> None:
        for number in count():
            target, gateway = f"/paths/{number % scenario.paths}", field.gateways[number % len(field.gateways)]
            sent = time()
            receipt = await gateway.purge(url=f"http://{HOST}{target}")
            if receipt.status == 200:
                done.append((sent, time(), target))
            await asyncio.sleep(1 / _PURGES)

    async with connected(field.ports, scenario.clients) as clients:
        await _warm(field)
        idle = await _alone(field, clients, _targets(scenario))
        purging = asyncio.create_task(purges())
        answers = await asked(clients, _targets(scenario), scenario.seconds)
        purging.cancel()
        with suppress(asyncio.CancelledError):
            await purging
    marks = tuple((at, "") for _, at, _ in done)
    return _Course(answers, {"stale": stale(answers, done), "purges": len(done)}, idle, marks)


COURSES: dict[str, Callable[[Arena], Awaitable[_Course]]] = {
    "hit": _popular,
    "miss": _new,
    "mixed": _popular,
    "stampede": _stampede,
    "redis_kill": _redis_kill,
    "redis_share": _redis_share,
    "purge": _purge,
    "connections": _popular,
}


# -- what is asked for -------------------------------------------------------------------------------------------------


def _targets(scenario: Scenario, under: str = "paths") -> Iterator[str]:
    """For ever, in every run the same."""
    chance = random.Random(8)
    weights = list(accumulate((rank + 1) ** -scenario.skew for rank in range(scenario.paths)))
    while True:
        for number in chance.choices(range(scenario.paths), cum_weights=weights, k=1000):
            yield f"/{under}/{number}"


async def _alone(field: Arena, clients: list[Connection], targets: Iterator[str]) -> list[Answered]:
    """The same traffic with nobody else there."""
    return await asked(clients[:1], targets, min(_ALONE, field.scenario.seconds / 4))


async def _warm(field: Arena) -> None:
    """Every instance has had all of it."""
    for port in field.ports:
        async with connected([port], 8) as clients:
            await asked(clients, (f"/paths/{number}" for number in range(field.scenario.paths)), 60)


# -- the figures -------------------------------------------------------------------------------------------------------


def _figures(scenario: Scenario, course: _Course) -> dict[str, float]:
    answers = course.answers
    took = sorted(each.took for each in answers)
    told = {
        "answers": float(len(answers)),
        "errors": sum(bool(each.error) for each in answers) / len(answers),
        "hits": _share(answers),
        "p50_ms": took[len(took) // 2] * 1000,
        "p99_ms": took[len(took) * 99 // 100] * 1000,
        "longest_ms": took[-1] * 1000,
        **course.own,
    }
    if course.idle:
        alone = fmean(each.took for each in course.idle)
        told |= {"idle_ms": alone * 1000, "slowdown": took[len(took) * 99 // 100] / (alone * scenario.clients)}
    return told


def _share(answers: Sequence[Answered]) -> float:
    """Of those that came from store. No answers are no hits."""
    return sum(each.hit for each in answers) / len(answers) if answers else 0.0


def _calls(field: Arena) -> float:
    """How often the upstream was asked for the path that it was asked for most."""
    return max(field.upstream.calls.values(), default=0)


def stale(answers: Sequence[Answered], purges: Sequence[tuple[float, float, str]]) -> int:
    """How many answers are older than a purge (sent, acknowledged, target) that was over when they were asked for."""
    by_target: dict[str, list[tuple[float, float]]] = {}
    for sent, over, target in purges:
        by_target.setdefault(target, []).append((sent, over))
    return sum(
        any(each.made < sent and each.at > over for sent, over in by_target.get(each.target, ()))
        for each in answers
        if not each.error
    )
