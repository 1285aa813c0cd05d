"""What was purged and acknowledged does not come back (invariant 3): fills are held at each of their steps by the
origin, promotions by the network, and purged on the same worker, another one, or another instance; instances are cut
off, and killed as soon as they have acknowledged."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from tests.support.faults import RST, Delay, FaultProxy, Pass, Refuse, Stall
from tests.support.gateway import TOKEN, Got
from tests.support.origin import Gate, Origin, Recorded, render
from tests.support.process import PATIENCE, Process, instances, serving
from tests.support.rawtcp import raw
from tests.support.redis_servers import redis_server

OLD, NEW = b"oldold", b"newnew"
NAMED = ("url", "key", "tag", "pattern", "rule", "namespace")  # "all" by itself: it would hide that others do nothing
HEAD = b'HTTP/1.1 200 OK\r\nETag: "old"\r\nContent-Length: 6\r\n\r\n'
CHUNKED = b'HTTP/1.1 200 OK\r\nETag: "old"\r\nTransfer-Encoding: chunked\r\n\r\n6\r\noldold\r\n'
REVALIDATE = {"Cache-Control": "no-cache", "Cachegate-Token": TOKEN}


@dataclass(frozen=True)
class Step:
    """Where a fill stands still: what the origin has said, and says when it goes on. `seen`: what the client of the
    fill has then; `asked`: by what, of something stored, the fill is made."""

    before: bytes
    after: bytes | Callable[[Recorded], bytes]
    seen: bytes = b""
    asked: str = ""


def confirmed(request: Recorded) -> bytes:
    """A worker that has not been told of the stored one by its neighbour asks without a condition."""
    return HEAD + OLD if request.header("if-none-match") is None else b'HTTP/1.1 304 No\r\nETag: "old"\r\n\r\n'


STEPS = {
    "before-the-head": Step(b"", HEAD + OLD),
    "after-the-head": Step(HEAD, OLD, b"\r\n\r\n"),
    "in-mid-body": Step(HEAD + OLD[:3], OLD[3:], OLD[:3]),
    "before-the-last-byte": Step(HEAD + OLD[:5], OLD[5:], OLD[:5]),
    "before-the-last-chunk": Step(CHUNKED, b"0\r\n\r\n", OLD),
    "before-a-304": Step(b"", confirmed, asked="revalidate"),
    "behind-the-client": Step(b"", HEAD + OLD, OLD, asked="refresh"),
}


@dataclass(frozen=True)
class Turn:
    """One kind of purge, and the paths that are purged by it alone."""

    kind: str
    soft: bool = False

    @property
    def name(self) -> str:
        return f"{self.kind}-{'soft' if self.soft else 'hard'}"

    def paths(self, names: Iterable[str]) -> list[str]:
        return [f"/{self.name}/{name}" for name in names]

    @property
    def rule(self) -> dict[str, Any]:
        own = {"name": self.name, "pattern": f"/{self.name}/*", "tags": [self.name], "namespace": self.name}
        return {**own, "ttl": 3600, "stale_while_revalidate": 0 if self.soft else 3600}

    async def purge(self, gateway: Process, keys: dict[str, str], paths: list[str]) -> set[int]:
        """Purge these paths, each by itself where the kind names one; the receipts' status."""
        asked = [{**what, "soft": self.soft} for what in self._named(keys, paths)]
        got = await asyncio.gather(*(gateway.admin("POST", "/purge", what) for what in asked))
        return {each.status for each in got}

    async def purged(self, gateway: Process, paths: list[str]) -> None:
        """As `purge`, until the receipts say that all instances have applied it, however slow the way to them is."""
        for what in self._named({}, paths):
            receipt = (await gateway.admin("POST", "/purge", {**what, "soft": self.soft})).json
            async with asyncio.timeout(30):
                while set(receipt["instances"].values()) != {"applied"}:
                    receipt = (await gateway.admin("GET", f"/purges/{receipt['id']}")).json

    def _named(self, keys: dict[str, str], paths: list[str]) -> list[dict[str, Any]]:
        match self.kind:
            case "url":
                return [{"url": path} for path in paths]
            case "key":
                return [{"key": keys[path]} for path in paths]
            case "pattern":
                return [{"pattern": f"/{self.name}/*"}]
            case "all":
                return [{"all": True}]
            case kind:
                return [{kind: self.name}]


TURNS = [Turn(kind, soft) for kind, soft in product((*NAMED, "all"), (False, True))]
RULES: dict[str, Any] = {"rules": [turn.rule for turn in TURNS], "cache": {"stale_if_error": 0}}


def said(body: bytes, etag: str) -> Any:
    def answer(request: Recorded) -> bytes:
        return render(request, 200, [("ETag", etag)], body, chunked=False, close=False)

    return answer


async def bodies(gateway: Process, paths: list[str]) -> list[bytes]:
    return [got.body for got in await asyncio.gather(*map(gateway.get, paths))]


async def keys_of(gateway: Process, paths: list[str]) -> dict[str, str]:
    """By which key each is stored; all of them have been asked for."""
    async with asyncio.timeout(PATIENCE):
        while True:
            entries = (await gateway.admin("GET", "/entries?limit=1000")).json["entries"]
            keys = {"/" + entry["url"].split("/", 3)[3]: entry["key"] for entry in entries}
            if keys.keys() >= set(paths):
                return keys
            await asyncio.sleep(0.01)


async def stored(gateway: Process, number: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while (await gateway.stats())["file"]["size"] < number:
            await asyncio.sleep(0.01)


# -- a fill under way --------------------------------------------------------------------------------------------------


@asynccontextmanager
async def held(gateway: Process, origin: Origin, path: str, step: Step) -> AsyncIterator[Gate]:
    """A client whose answer is being fetched, and stands still at this step; in the end he has got it."""
    gate = Gate()
    if step.asked:
        origin.answer(path, headers=[("ETag", '"old"')], body=OLD, times=1)
        assert (await gateway.get(path)).body == OLD
    if step.asked == "refresh":
        assert (await gateway.admin("POST", "/purge", {"url": path, "soft": True})).status == 200
    asked = origin.count(path)
    origin.script(path, step.before, gate, step.after, times=1)
    origin.answer(path, headers=[("ETag", '"new"')], body=NEW)
    fields = [f"{name}: {value}" for name, value in REVALIDATE.items()] if step.asked == "revalidate" else []
    async with raw(gateway.port) as client:
        request = "\r\n".join([f"GET {path} HTTP/1.1", "Host: site.example", *fields, "", ""])
        await client.send(request.encode())
        await origin.arrived(path, asked + 1)
        if step.seen:
            await client.reader.readuntil(step.seen)
        yield gate
        if not step.seen:
            assert (await client.response()).status == 200


SLOW = pytest.mark.slow
PLACES = ["itself", "another worker", "another instance"]
CASES = [
    pytest.param(place, soft, marks=SLOW if (soft and place != "itself") or place == "another worker" else ())
    for place in PLACES
    for soft in (False, True)
]


@asynccontextmanager
async def placed(origin: Origin, place: str) -> AsyncIterator[tuple[Process, Process]]:
    """The gateway that fetches, and the one that is told to purge."""
    async with AsyncExitStack() as stack:
        if place == "another instance":
            redis = await stack.enter_async_context(redis_server())
            one, other = await stack.enter_async_context(instances(2, origin, RULES, redis.url))
            yield one, other
        else:
            workers = 1 if place == "itself" else 3
            settings = {**RULES, "listen": {"workers": workers}}
            one = await stack.enter_async_context(serving(origin, settings))
            yield one, one


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("place", "soft"), CASES)
async def test_no_fill_undoes_a_purge_at_whichever_step_it_was(place: str, soft: bool) -> None:
    """All steps at once, with others who wait for the same answers; who asks after the receipt is answered anew."""
    async with Origin() as origin, placed(origin, place) as (fetching, purging):
        for turn in [turn for turn in TURNS if turn.soft == soft]:
            steps = {path: STEPS[path.rpartition("/")[2]] for path in turn.paths(STEPS)}
            if turn.soft:  # what goes on stale is refreshed behind the client, and a soft purge lets it go on
                steps = {path: step for path, step in steps.items() if step.asked != "refresh"}
            keys = await known(fetching, origin, list(steps)) if turn.kind == "key" else {}
            async with AsyncExitStack() as stack:
                gates = [
                    await stack.enter_async_context(held(fetching, origin, path, step)) for path, step in steps.items()
                ]
                waiting = [asyncio.create_task(fetching.get(path)) for path, step in steps.items() if not step.asked]
                assert await turn.purge(purging, keys, list(steps)) == {200}
                meanwhile = list(steps) if turn.kind in NAMED[::2] else []  # else the old one comes to an empty place
                after = [
                    asyncio.create_task(gateway.get(path)) for path in meanwhile for gateway in (fetching, purging)
                ]
                if place == "itself":  # those who find no head there yet wait for the next fetch; the others have it
                    await asyncio.gather(
                        *(after[i] for i, path in enumerate(each_twice(meanwhile)) if steps[path].before)
                    )
                for gate in gates:
                    gate.release()
                assert {got.body for got in await asyncio.gather(*after)} <= {NEW}, turn.name
                assert {got.body for got in await asyncio.gather(*waiting)} <= {OLD, NEW}
            for gateway in (fetching, purging, fetching):
                assert set(await bodies(gateway, list(steps))) == {NEW}, turn.name


def each_twice(paths: Iterable[str]) -> list[str]:
    return [path for path in paths for _ in range(2)]


async def known(gateway: Process, origin: Origin, paths: list[str]) -> dict[str, str]:
    """The keys of these paths, which are then forgotten again."""
    for path in paths:
        origin.answer(path, body=b"first", times=1)
    await bodies(gateway, paths)
    keys = await keys_of(gateway, paths)
    for path in paths:
        assert (await gateway.admin("POST", "/purge", {"url": path})).status == 200
    return {path: keys[path] for path in paths}


# -- a promotion under way ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tier", ["redis", pytest.param("file", marks=SLOW)])
async def test_no_promotion_undoes_a_purge(tier: str) -> None:
    """What A finds in Redis is late, so is what it brings there from its files, and so it learns of B's purge while it
    brings old answers near. When B has its receipt, both have nothing old, in no tier."""
    turns = [Turn("pattern"), Turn("tag"), Turn("url")]
    async with redis_server() as redis, FaultProxy(redis.port) as network, Origin() as origin:
        own = redis.url.replace(str(redis.port), str(network.port))
        async with instances(2, origin, RULES, own, redis.url) as (a, b):
            for turn in turns:
                paths = turn.paths(map(str, range(10)))
                for path in paths:
                    origin.script(path, said(OLD, '"old"'))
                assert await bodies(a, paths) == [OLD] * 10
                await stored(a, 10)
                for forgotten in {"redis": ("memory", "file"), "file": ("memory", "redis")}[tier]:
                    assert (await a.admin("DELETE", f"/{forgotten}")).status == 200
                for path in paths:
                    origin.script(path, said(NEW, '"new"'))
                await network.become(Delay(0.1))
                sent = network.to_server
                found = asyncio.create_task(bodies(a, paths))
                await network.until(lambda sent=sent: network.to_server > sent + 500)
                await turn.purged(b, paths)
                assert set(await found) <= {OLD, NEW}
                await network.become(Pass())
                for gateway in (a, b):
                    assert set(await bodies(gateway, paths)) == {NEW}, turn.name
                for gateway, emptied in product((a, b), ("memory", "file")):
                    assert (await gateway.admin("DELETE", f"/{emptied}")).status == 200
                for gateway in (a, b):
                    assert set(await bodies(gateway, paths)) == {NEW}, turn.name
                assert (await b.admin("DELETE", "/file")).status == 200


# -- who could not hear it ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["mended", pytest.param("Redis restarted empty", marks=SLOW)])
@pytest.mark.parametrize("kinds", [NAMED, pytest.param(("all",), marks=SLOW)], ids=["named", "all"])
async def test_who_was_cut_off_obeys_before_it_says_that_it_is_back(kinds: tuple[str, ...], how: str) -> None:
    """B has old answers in each tier and one more on its way while A purges."""
    async with redis_server() as redis, FaultProxy(redis.port) as network, Origin() as origin:
        own = redis.url.replace(str(redis.port), str(network.port))
        turns = [Turn(kind) for kind in kinds]
        paths = [path for turn in turns for path in turn.paths("12")]
        late = [path for turn in turns for path in turn.paths(["late"])]
        async with instances(2, origin, RULES, redis.url, own) as (a, b):
            keys = await known(a, origin, paths + late)
            for path in paths + late:
                origin.script(path, said(OLD, '"old"'))
            assert await bodies(b, paths) == [OLD] * len(paths)
            await stored(b, len(paths))
            gates = [origin.hold(path) for path in late]
            under_way = asyncio.create_task(bodies(b, late))
            for path in late:
                await origin.arrived(path, 2)
            await network.become(Refuse())
            network.cut(RST)
            await b.logged("cut off from the other instances")
            purged = await asyncio.gather(*(turn.purge(a, keys, turn.paths(["1", "2", "late"])) for turn in turns))
            assert set[int]().union(*purged) <= {200, 202}  # B is waited for, until it counts as gone
            if how == "Redis restarted empty":
                await redis.kill()
                await redis.start()
                await a.connected()
            for gate in gates:
                gate.release()
            assert await under_way == [OLD] * len(late)
            assert await bodies(b, paths) == [OLD] * len(paths)  # it cannot know
            for path in paths + late:
                origin.script(path, said(NEW, '"new"'))
            await network.become(Delay(0.2))  # so that it is some time on its way to B
            while not (await b.admin("GET", "/redis/health")).json["connected"]:
                await asyncio.sleep(0.01)
            for gateway in (b, a, b):
                assert set(await bodies(gateway, paths + late)) == {NEW}


@pytest.mark.slow
async def test_no_worker_of_a_strict_instance_trusts_its_tiers_when_it_was_cut_off_for_long() -> None:
    settings = {**RULES, "redis": {"on_loss": "strict"}, "listen": {"workers": 2}}
    path = "/url-hard/a"
    async with redis_server() as redis, FaultProxy(redis.port) as network, Origin() as origin:
        own = redis.url.replace(str(redis.port), str(network.port))
        async with instances(2, origin, settings, own, redis.url) as (cut, linked):
            origin.script(path, said(OLD, '"old"'))
            assert set(await bodies(cut, [path] * 20)) == {OLD}
            await network.become(Stall())
            origin.script(path, said(NEW, '"new"'))
            assert (await linked.admin("POST", "/purge", {"url": path})).status == 202
            assert set(await bodies(cut, [path] * 20)) == {OLD}  # it cannot know
            async with asyncio.timeout(30 + PATIENCE):
                while any(got.verdict == "HIT" for got in await many(cut, path)):
                    await asyncio.sleep(0.1)
            for _ in range(3):
                assert {(got.verdict, got.body) for got in await many(cut, path)} == {("MISS", NEW)}


async def many(gateway: Process, path: str) -> list[Got]:
    return await asyncio.gather(*(gateway.get(path) for _ in range(20)))


# -- and who was killed ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kinds", [NAMED, pytest.param(("all",), marks=SLOW)], ids=["named", "all"])
async def test_a_receipt_outlives_kill_9_in_the_middle_of_a_fill(kinds: tuple[str, ...], tmp_path: Path) -> None:
    async with Origin() as origin:
        turns = [Turn(kind, soft) for kind in kinds for soft in ((False,) if kind == "all" else (False, True))]
        paths = [path for turn in turns for path in turn.paths("12")]
        for path in paths:
            origin.script(path, said(OLD, '"old"'))
        async with serving(origin, RULES, directory=tmp_path) as gateway:
            assert await bodies(gateway, paths) == [OLD] * len(paths)
            await stored(gateway, len(paths))
            keys = await keys_of(gateway, paths)
            gate = origin.hold("/late")
            under_way = asyncio.create_task(gateway.get("/late"))
            await origin.arrived("/late")
            for turn in turns:
                assert await turn.purge(gateway, keys, turn.paths("12")) == {200}
            await gateway.kill()
            gate.release()
            await asyncio.gather(under_way, return_exceptions=True)
        for path in paths:
            origin.script(path, said(NEW, '"new"'))
        async with serving(origin, None, directory=tmp_path) as gateway:
            for _ in range(2):
                assert await bodies(gateway, paths) == [NEW] * len(paths)
