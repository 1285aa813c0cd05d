"""Small records are written many in one go, off the event loop: what comes alone waits for nobody, no job suffers from
another, and what waits is bounded."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import pytest

from proxy.errors import StoreError
from proxy.store.file_batches import MOST, MOST_BYTES, WAITING, WAITING_BYTES, Batches, Job, Waiting
from proxy.store.file_dir import Directory

P = ParamSpec("P")
R = TypeVar("R")


class Counted(Directory):
    """Counts how often somebody goes to a thread."""

    hops = 0

    async def run(self, job: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        self.hops += 1
        return await super().run(job, *args, **kwargs)


class World:
    def __init__(self, dir: Path) -> None:
        self.directory = Counted(dir, spool_max=0)
        self.tasks: list[asyncio.Task[None]] = []
        self.batches = Batches(self.directory, lambda work: self.tasks.append(asyncio.create_task(work)))
        self.done: list[object] = []
        self.told: list[Exception | None] = []

    def add(self, number: object, size: int = 0) -> None:
        self.batches.add(Job(lambda: self.done.append(number), self.told.append, size))

    async def settled(self) -> None:
        while not all(task.done() for task in self.tasks):
            await asyncio.wait(self.tasks)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    yield made
    await made.settled()
    await asyncio.to_thread(made.directory.release)


async def test_what_comes_while_some_are_done_is_done_together(world: World) -> None:
    go_on, begun = threading.Event(), threading.Event()

    def stand_still() -> None:
        begun.set()
        go_on.wait()

    world.batches.add(Job(stand_still, world.told.append))
    await asyncio.to_thread(begun.wait)
    for number in range(MOST):
        world.add(number)
    go_on.set()
    await world.settled()
    assert world.done == list(range(MOST))
    assert world.told == [None] * (1 + MOST)
    assert world.directory.hops == 2


async def test_what_comes_alone_waits_for_nobody(world: World) -> None:
    for number in range(3):
        world.add(number)
        await world.settled()
        assert world.told == [None] * (1 + number)
    assert world.directory.hops == 3


@pytest.mark.parametrize(
    ("sizes", "hops"),
    [
        ([0] * MOST, 1),
        ([0] * (MOST + 1), 2),
        ([MOST_BYTES // 2] * 2, 1),
        ([MOST_BYTES // 2] * 3, 2),
        ([MOST_BYTES * 3, 0], 2),
        ([0, MOST_BYTES * 3], 1),
    ],
)
async def test_no_go_is_long(world: World, sizes: list[int], hops: int) -> None:
    for number, size in enumerate(sizes):
        world.add(number, size)
    await world.settled()
    assert (world.done, world.directory.hops) == (list(range(len(sizes))), hops)


async def test_all_is_done_off_the_loop_and_told_in_it(world: World) -> None:
    threads: list[int] = []
    world.batches.add(Job(lambda: threads.append(threading.get_ident()), lambda error: world.told.append(error)))
    world.batches.add(Job(lambda: None, lambda error: threads.append(threading.get_ident())))
    await world.settled()
    assert threads[0] != threads[1] == threading.get_ident()


async def test_one_that_fails_fails_alone(world: World) -> None:
    wrong = [StoreError("the disk is full"), ValueError("not foreseen")]

    def fail(error: Exception) -> None:
        raise error

    for error in wrong:
        world.batches.add(Job(lambda error=error: fail(error), world.told.append))  # type: ignore[misc]
        world.add("after")
    await world.settled()
    assert world.told == [wrong[0], None, wrong[1], None]
    assert world.done == ["after"] * 2
    with pytest.raises(ValueError, match="not foreseen"):
        await world.batches.run(lambda: fail(wrong[1]))


@pytest.mark.parametrize(
    ("held", "more"),
    [
        ([0] * WAITING, 0),
        ([WAITING_BYTES - 1, 1], 1),
        ([WAITING_BYTES + 1], 1),  # larger by itself than all that may wait: it goes when nothing does
    ],
)
def test_what_waits_is_bounded(held: list[int], more: int) -> None:
    waiting = Waiting()
    for size in held:
        waiting.add(size)
    with pytest.raises(StoreError, match="more waits"):
        waiting.add(more)
    waiting.over(held[0])
    waiting.add(more)


async def test_it_is_done_also_when_who_waits_leaves(world: World) -> None:
    waiting = asyncio.create_task(world.batches.run(lambda: world.done.append("left")))
    await asyncio.sleep(0)
    world.add("with it")
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await world.settled()
    assert world.done == ["left", "with it"]
    assert world.told == [None]


async def test_once_the_directory_is_given_back_everybody_is_told(world: World) -> None:
    await asyncio.to_thread(world.directory.release)
    for number in range(3):
        world.add(number)
    await world.settled()
    assert [str(error) for error in world.told] == ["the file tier is closed"] * 3
    assert world.done == []
