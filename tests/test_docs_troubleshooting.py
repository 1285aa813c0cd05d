"""Every recipe of docs/troubleshooting.md: its fault is staged, what it shows is what is seen, its one command says
what the page says, and the mend mends it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from tests.support.disks import full, read_only, small_disk
from tests.support.pages import ROOT, blocks
from tests.support.process import PATIENCE, serving
from tests.support.redis_servers import redis_server
from tests.support.stage import CONFIG, Stage, stage

PAGE = ROOT / "docs" / "troubleshooting.md"
MINUTE = ("Cache-Control", "max-age=60")
Staged = Callable[[Stage], AbstractAsyncContextManager[None]]
RECIPES: dict[str, Staged] = {}


def recipe(heading: str) -> Callable[[Callable[[Stage], AsyncIterator[None]]], Staged]:
    """What stages the fault of this section. What happens between its blocks are `acts` of the scene."""

    def listed(staged: Callable[[Stage], AsyncIterator[None]]) -> Staged:
        RECIPES[heading] = asynccontextmanager(staged)
        return RECIPES[heading]

    return listed


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("heading", [*dict.fromkeys(block.section for block in blocks(PAGE))])
async def test_a_fault_is_seen_explained_and_mended(heading: str, tmp_path: Path) -> None:
    async with stage(tmp_path) as scene:
        scene.environment["UPSTREAM_URL"] = scene.origin.url
        async with RECIPES[heading](scene):
            for block in blocks(PAGE):
                if block.section == heading:
                    await scene.play(block)
            assert not scene.acts, "acts that the page never asks for"
            await scene.stop()


def test_every_recipe_has_its_section() -> None:
    assert {*RECIPES} == {block.section for block in blocks(PAGE)}


# -- always a miss -----------------------------------------------------------------------------------------------------


async def begin(scene: Stage, settings: str = "log: {level: info}\n") -> None:
    """Start the gateway with this file, which the mends of the page replace."""
    scene.write(CONFIG, settings)
    await scene.start("cachegate serve")


def says(scene: Stage, *headers: tuple[str, str], path: str = "/page", status: int = 200) -> Callable[[], None]:
    return lambda: scene.origin.answer(path, status, headers=headers, body=b"page\n")


@recipe("The answer sets a cookie")
async def _set_cookie(scene: Stage) -> AsyncIterator[None]:
    says(scene, ("Cache-Control", "public, max-age=60"), ("Set-Cookie", "seen=1"))()
    await begin(scene)
    yield


@recipe("A parameter is another one each time")
async def _parameter(scene: Stage) -> AsyncIterator[None]:
    says(scene, MINUTE, path="/list")()
    await begin(scene)
    yield


@recipe("The origin says Vary: *")
async def _vary_star(scene: Stage) -> AsyncIterator[None]:
    says(scene, MINUTE, ("Vary", "*"))()
    await begin(scene)
    scene.acts["the origin names its header"] = says(scene, MINUTE, ("Vary", "Accept-Language"))
    yield


@recipe("Requests carry credentials")
async def _credentials(scene: Stage) -> AsyncIterator[None]:
    says(scene, path="/account")()
    await begin(scene, 'rules:\n  - {name: account, pattern: "/account", ttl: 60}\n')
    yield


@recipe("No rule matches")
async def _no_rule(scene: Stage) -> AsyncIterator[None]:
    says(scene, path="/api/users/7")()
    await begin(scene, 'cache: {unmatched: bypass}\nrules:\n  - {name: users, pattern: "/users/*", ttl: 60}\n')
    yield


@recipe("The origin says no-store")
async def _no_store(scene: Stage) -> AsyncIterator[None]:
    says(scene, ("Cache-Control", "no-store"))()
    await begin(scene)
    scene.acts["the origin says how long"] = says(scene, MINUTE)
    yield


# -- Redis -------------------------------------------------------------------------------------------------------------


async def healthy(scene: Stage) -> None:
    """Wait until `cachegate health` has nothing to say."""
    async with asyncio.timeout(PATIENCE):
        while (await scene.run("cachegate health"))[0] != 0:
            await asyncio.sleep(0.05)


@recipe("Redis is down")
async def _redis_down(scene: Stage) -> AsyncIterator[None]:
    async with redis_server() as redis:
        scene.environment["REDIS_URL"] = redis.url
        await begin(scene)
        await scene.logged("redis: connected")
        await redis.kill()
        await scene.logged("is away, serving from memory and files", "curl http://127.0.0.1:4000/none/{n}")

        async def mended() -> None:
            await redis.start()
            await healthy(scene)

        scene.acts["Redis is started"] = mended
        yield


@recipe("Redis takes no writes")
async def _redis_read_only(scene: Stage) -> AsyncIterator[None]:
    async with redis_server() as redis:
        scene.environment["REDIS_URL"] = redis.url
        await begin(scene)
        await scene.logged("redis: connected")
        await redis.command("CONFIG", "SET", "maxmemory", "1", "maxmemory-policy", "noeviction")
        await scene.logged("takes no writes", "curl http://127.0.0.1:4000/none/{n}")

        async def mended() -> None:
            await redis.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru", "maxmemory", "256mb")
            await scene.logged("redis: connected", "curl http://127.0.0.1:4000/none/again/{n}", times=2)

        scene.acts["Redis has room, and evicts"] = mended
        yield


@recipe("Redis refuses the password")
async def _redis_password(scene: Stage) -> AsyncIterator[None]:
    async with redis_server(password="the-right-one") as redis:
        scene.environment["REDIS_PASSWORD"] = "another-one"
        scene.write(CONFIG, f"redis: {{host: 127.0.0.1, port: {redis.port}}}\n")
        await scene.start("cachegate serve")
        await scene.logged("is away, serving from memory and files", "curl http://127.0.0.1:4000/none/{n}")

        async def mended() -> None:
            scene.environment["REDIS_PASSWORD"] = "the-right-one"
            await scene.start("cachegate serve")
            await healthy(scene)

        scene.acts["started again with the right password"] = mended
        yield


# -- disk --------------------------------------------------------------------------------------------------------------


async def asked_until_off(scene: Stage) -> None:
    async with asyncio.timeout(PATIENCE):
        for number in range(10_000):
            await scene.run(f"curl http://127.0.0.1:4000/large/{number}")
            if (await scene.run("cachegate health"))[0] == 1:
                return


@recipe("The disk is full")
async def _disk_full(scene: Stage) -> AsyncIterator[None]:
    with small_disk(scene.directory / "cache") as disk:
        await begin(scene, "file: {dir: cache}\n")
        async with AsyncExitStack() as ballast:
            ballast.enter_context(full(disk))
            await asked_until_off(scene)

            async def mended() -> None:
                await ballast.aclose()
                async with asyncio.timeout(PATIENCE):
                    while (await scene.run("cachegate health"))[0] == 1:
                        await scene.run("curl http://127.0.0.1:4000/more")

            scene.acts["there is room again"] = mended
            yield
        await scene.stop()


@recipe("The disk is read-only")
async def _disk_read_only(scene: Stage) -> AsyncIterator[None]:
    place = scene.directory / "cache"
    place.mkdir(mode=0o700)
    async with AsyncExitStack() as mounted:
        mounted.enter_context(read_only(place))
        await begin(scene, "file: {dir: cache}\nadmin: {token: test-token}\n")

        async def mended() -> None:
            await scene.stop()
            await mounted.aclose()
            await scene.start("cachegate serve")

        scene.acts["mounted for writing, and started again"] = mended
        yield


# -- the upstream ------------------------------------------------------------------------------------------------------


@recipe("The upstream is the gateway itself")
async def _own_address(scene: Stage) -> AsyncIterator[None]:
    del scene.environment["UPSTREAM_URL"]
    scene.write(CONFIG, f'upstream: {{url: "{scene.url}"}}\n')
    yield


@recipe("Requests go round in a circle")
async def _circle(scene: Stage) -> AsyncIterator[None]:
    says(scene, MINUTE)()
    async with serving(scene.url) as other:
        scene.environment["UPSTREAM_URL"] = other.url
        await begin(scene)

        async def mended() -> None:
            scene.environment["UPSTREAM_URL"] = scene.origin.url
            await scene.start("cachegate serve")

        scene.acts["started again before the API"] = mended
        yield


@recipe("The breaker is open")
async def _breaker(scene: Stage) -> AsyncIterator[None]:
    for path in ("/page", "/"):
        says(scene, ("Cache-Control", "no-store"), path=path, status=500)()
    scene.environment["CACHEGATE__UPSTREAM__BREAKER__OPEN_FOR"] = "0.2"
    scene.environment["CACHEGATE__UPSTREAM__BREAKER__MAX_OPEN"] = "60"
    await begin(scene)
    await scene.logged("breaker", "curl http://127.0.0.1:4000/page?{n}")

    async def mended() -> None:
        says(scene, MINUTE)()
        await scene.until("curl http://127.0.0.1:4000/page?{n}")

    scene.acts["the API is well again"] = mended
    yield


@recipe("503 upstream-busy")
async def _busy(scene: Stage) -> AsyncIterator[None]:
    says(scene, MINUTE)()
    says(scene, MINUTE, path="/slow")()
    gate = scene.origin.hold("/slow")
    await begin(scene, "upstream: {max_in_flight: 1, max_queue: 0}\n")
    waiting = asyncio.create_task(scene.run("curl http://127.0.0.1:4000/slow"))
    try:
        await scene.origin.arrived("/slow")
        yield
    finally:
        gate.release()
        await waiting


@recipe("Answers are stale for too long")
async def _stale(scene: Stage) -> AsyncIterator[None]:
    scene.origin.answer("/page", headers=[("Cache-Control", "max-age=1")], body=b"old\n", times=1)
    says(scene, status=500)()
    await begin(scene, 'rules:\n  - {name: pages, pattern: "/page", stale_if_error: 1d}\n')
    await scene.until("curl -i http://127.0.0.1:4000/page | grep STALE")
    yield


# -- purges and pages --------------------------------------------------------------------------------------------------


@recipe("A purge does not reach it")
async def _purge(scene: Stage) -> AsyncIterator[None]:
    says(scene, MINUTE, path="/list")()
    await begin(scene)
    yield


@recipe("404 on the admin pages")
async def _no_page(scene: Stage) -> AsyncIterator[None]:
    await begin(scene)
    yield


@recipe("401, the token is wrong")
async def _wrong_token(scene: Stage) -> AsyncIterator[None]:
    scene.environment["ADMIN_TOKEN"] = "the-token-of-before"
    (scene.directory / ".cachegate" / "admin.token").unlink()
    yield


# -- the process -------------------------------------------------------------------------------------------------------


@recipe("The start is slow")
async def _warm(scene: Stage) -> AsyncIterator[None]:
    says(scene, MINUTE)()
    await begin(scene)
    await scene.run("curl http://127.0.0.1:4000/page")
    await scene.stop()
    await scene.start("cachegate serve --enable-cache-warmup")
    await scene.logged("warmed up")
    yield


@recipe("Memory grows")
async def _memory(scene: Stage) -> AsyncIterator[None]:
    await begin(scene, "memory: {limit: 32MiB}\n")
    yield
