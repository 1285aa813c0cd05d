"""The loops that a process can run in (docs/decisions/0015)."""

import asyncio
from typing import get_args

import pytest

from proxy.eventloop import EventLoop, run
from tests.support.origin import Origin
from tests.support.process import serving

LOOPS = get_args(EventLoop)


@pytest.mark.parametrize("loop", LOOPS)
def test_work_runs_in_the_loop_that_was_named(loop: EventLoop) -> None:
    async def which() -> str:
        return type(asyncio.get_running_loop()).__module__.partition(".")[0]

    assert run(which(), loop) == loop


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("loop", LOOPS)
async def test_the_program_answers_in_each_of_them(loop: EventLoop, workers: int) -> None:
    async with Origin() as origin, serving(origin, {"listen": {"loop": loop, "workers": workers}}) as gateway:
        origin.answer("/a", headers=[("Cache-Control", "max-age=60")], body=b"x")
        assert await gateway.verdicts("/a") == ["MISS"]
        shown = (await gateway.admin("GET", "/config")).json
        assert shown["settings"]["listen"]["loop"] == loop
        assert "HIT" in await gateway.verdicts(*["/a"] * 20)  # it lies in the memory of one of them
