"""docs/operations.md: the steps by hand, typed before two gateways over one Redis that need no container (row 115).
test_deploy_compose_run types the same lines before those of Compose."""

import asyncio

import pytest

from tests.support.gateway import TOKEN
from tests.support.origin import Origin
from tests.support.process import PATIENCE, Process, environment, instances
from tests.support.redis_servers import RedisServer, redis_server
from tests.test_deploy_compose_run import held_against, lines

SETTINGS = {"log": {"format": "json"}}
OF_CONTAINERS = ("make ", "docker inspect ")  # what is started, and that it is well: here by `instances`


@pytest.mark.slow
async def test_the_steps_do_what_their_comments_say() -> None:
    typed = []
    async with Origin() as origin, redis_server(persist=True) as redis:
        for number in (7, 8):
            origin.answer(f"/users/{number}", headers=[("Cache-Control", "max-age=60")], body=b"{}")
        async with instances(2, origin, SETTINGS, redis.url) as (first, second):
            for line in lines("docs/operations.md", "By hand"):
                if not line.startswith(OF_CONTAINERS):
                    held_against(line, await step(line, first, second, redis))
                    typed.append(line)
    assert len(typed) > 10


async def step(line: str, first: Process, second: Process, redis: RedisServer) -> str:
    """What comes of a line: its ports are those of the two, its containers what they stand for."""
    match line.split():
        case ["docker", "stop", "cachegate-redis", *_]:
            await redis.kill()
            async with asyncio.timeout(PATIENCE):
                while (await second.admin("GET", "/redis/health")).json["connected"]:
                    await asyncio.sleep(0.01)
            return "cachegate-redis"
        case ["docker", "start", "cachegate-redis", *_]:
            await redis.start()
            await first.connected()
            await second.connected()
            return "cachegate-redis"
        case ["docker", "logs", "cachegate", *_]:
            return first.log
    here = line.replace(":4000", f":{first.port}").replace(":4001", f":{second.port}")
    asked = await asyncio.create_subprocess_exec(
        *("bash", "-c", f"curl -sS {here.removeprefix('curl ')}"),
        env=environment({"ADMIN_TOKEN": TOKEN}),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await asked.communicate()
    return out.decode().replace("\r", "")
