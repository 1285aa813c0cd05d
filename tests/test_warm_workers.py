"""Jobs of an instance of several workers: one list, whoever is asked, and the end of one whose worker died (row 62)."""

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.gateway import HOST
from tests.support.origin import Origin
from tests.support.process import PATIENCE, Process, children, serving

SETTINGS: dict[str, Any] = {
    "rules": [{"name": "all", "pattern": "*", "ttl": 600}],
    "listen": {"workers": 2},
    "warm": {"concurrency": 2, "rate": 0},
}
MANY = 12  # connections at once, so that each worker has some of them


def url(path: str) -> str:
    return f"http://{HOST}{path}"


async def begun(gateway: Process, **what: Any) -> str:
    got = await gateway.admin("POST", "/warm", what)
    assert got.status == 202, got.body
    job_id: str = got.json["id"]
    return job_id


async def told(gateway: Process, job_id: str) -> list[Any]:
    """What all who are asked tell of the job."""
    return [got.json for got in await asyncio.gather(*(gateway.admin("GET", f"/warm/{job_id}") for _ in range(MANY)))]


async def workers(gateway: Process) -> list[int]:
    """The processes under the instance's own."""
    return children(gateway.pid)


async def until(gateway: Process, job_id: str, holds: Callable[[Any], bool]) -> list[Any]:
    async with asyncio.timeout(PATIENCE):
        while not all(map(holds, answers := await told(gateway, job_id))):
            await asyncio.sleep(0.01)
    return answers


async def test_any_worker_tells_of_any_job_and_ends_it() -> None:
    """Each of seven is cancelled by whoever happens to be asked for it."""
    async with Origin() as origin, serving(origin, SETTINGS) as gateway:
        origin.otherwise([], lambda request: b"x")
        gates = {path: origin.hold(path) for path in ("/1", "/2")}
        jobs = [await begun(gateway, urls=[url(f"/{n}") for n in range(40)]) for _ in range(8)]
        await origin.arrived("/1")
        listed = await asyncio.gather(*(gateway.admin("GET", "/warm") for _ in range(MANY)))
        assert [{job["id"] for job in got.json["jobs"]} for got in listed] == [set(jobs)] * MANY
        await asyncio.gather(*(gateway.admin("DELETE", f"/warm/{job}") for job in jobs[:-1]))
        for gate in gates.values():
            gate.release()
        ended = [(await until(gateway, job, lambda answer: answer["state"] == "done"))[0] for job in jobs]
        assert [job["ended"] for job in ended] == ["cancelled"] * 7 + ["complete"]
        assert ended[-1]["ok"] + ended[-1]["skipped"] == 40
        got = await asyncio.gather(*(gateway.get("/7") for _ in range(MANY)))
        assert {answer.verdict for answer in got} == {"HIT"}


async def test_a_job_has_the_places_of_all_workers_and_two_jobs_have_no_more() -> None:
    """Those who come first hold what there is; as they leave, every job has its share."""
    async with Origin() as origin, serving(origin, SETTINGS | {"warm": {"concurrency": 4, "rate": 0}}) as gateway:
        origin.otherwise([], lambda request: b"x")
        gates = [origin.hold(f"/{n}") for n in range(4)]
        jobs = [await begun(gateway, urls=[url(f"/{n}") for n in range(40)])]
        async with asyncio.timeout(PATIENCE):
            for n in range(4):
                await origin.arrived(f"/{n}")
        jobs += [await begun(gateway, urls=[url(f"/{job}/{n}") for n in range(20)]) for job in "abc"]
        for gate in gates:
            gate.release()
        ended = [(await until(gateway, job, lambda answer: answer["state"] == "done"))[0] for job in jobs]
        assert [(job["ended"], job["ok"]) for job in ended] == [("complete", 40), *[("complete", 20)] * 3]


@pytest.mark.slow
async def test_what_is_hot_on_any_worker_comes_back() -> None:
    async with Origin() as origin, serving(origin, SETTINGS) as gateway:
        origin.otherwise([], lambda request: b"x")
        for path in ("/a", "/b", "/c"):
            await asyncio.gather(*(gateway.get(path) for _ in range(MANY)))
        await gateway.admin("POST", "/purge", {"all": True})
        for what, number in (({"pattern": "/[b]"}, 0), ({"pattern": "/?"}, 3), ({"top": 2}, 2)):
            job_id = await begun(gateway, **what)
            (job, *_) = await until(gateway, job_id, lambda answer: answer["state"] == "done")
            assert (job["total"], job["failed"]) == (number, 0)
        got = await asyncio.gather(*(gateway.get("/b") for _ in range(MANY)))
        assert {answer.verdict for answer in got} == {"HIT"}


@pytest.mark.slow
async def test_the_job_of_a_worker_that_dies_ends_and_says_why() -> None:
    async with Origin() as origin, serving(origin, SETTINGS) as gateway:
        origin.otherwise([], lambda request: b"x")
        gate = origin.hold("/1")
        job_id = await begun(gateway, urls=[url("/0"), url("/1"), url("/2")])
        await origin.arrived("/1")
        for pid in await workers(gateway):
            os.kill(pid, signal.SIGKILL)
        gate.release()
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    job = (await gateway.admin("GET", f"/warm/{job_id}")).json
                    break
                except OSError:
                    await asyncio.sleep(0.01)
        assert (job["state"], job["ended"]) == ("done", "worker-died")
