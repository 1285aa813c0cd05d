"""Jobs that fetch ahead, begun and followed by the admin pages."""

import asyncio
from typing import Any

from tests.support.gateway import HOST, Client


def url(path: str) -> str:
    return f"http://{HOST}{path}"


async def begun(gateway: Client, **what: Any) -> str:
    got = await gateway.admin("POST", "/warm", what)
    assert (got.status, got.json["state"]) == (202, "running"), got.body
    job_id: str = got.json["id"]
    return job_id


async def told(gateway: Client, job_id: str) -> Any:
    return (await gateway.admin("GET", f"/warm/{job_id}")).json


async def over(gateway: Client, job_id: str) -> Any:
    """The job, once it has ended."""
    async with asyncio.timeout(20):
        while (job := await told(gateway, job_id))["state"] == "running":
            await asyncio.sleep(0.005)
    return job


async def warmed(gateway: Client, **what: Any) -> Any:
    return await over(gateway, await begun(gateway, **what))


def counts(job: Any) -> tuple[int, int, int, int]:
    return job["total"], job["ok"], job["skipped"], job["failed"]
