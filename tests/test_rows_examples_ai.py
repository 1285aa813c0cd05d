"""config/examples/ai.yaml before an API that answers and streams as those of language models do (rows 126, 130)."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from io import BytesIO
from typing import Any

import aiohttp
import pytest

from tests.support.gateway import HOST, Got
from tests.support.origin import FIN, RST, Gate, Origin, Recorded, render
from tests.support.process import PATIENCE, REPOSITORY, Process, serving, session
from tests.support.rawtcp import raw

pytestmark = pytest.mark.slow

CHAT = "/v1/chat/completions"
ASKED: dict[str, Any] = {"model": "small", "messages": [{"role": "user", "content": "Hello"}]}
STREAMED: dict[str, Any] = {**ASKED, "stream": True, "stream_options": {"include_usage": True}}
KEY = {"Authorization": "Bearer a", "Content-Type": "application/json"}
PRICE = 0.000002  # a token, as the example says

EVENTS = [
    b'data: {"choices": [{"index": 0, "delta": {"content": "Hel"}}], "usage": null}\n\n',
    b'data: {"choices": [{"index": 0, "delta": {"content": "lo \xf0\x9f\x91\x8b"}}], "usage": null}\n\n',
    b'data: {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}}\n\n',
    b"data: [DONE]\n\n",
]
STREAM = b"".join(EVENTS)
WHOLE = b'{"choices": [{"message": {"content": "Hello"}}], "usage": {"total_tokens": 30}}'
HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def completed(request: Recorded) -> bytes:
    """A stream or a document, as the request wants it."""
    if json.loads(request.body).get("stream"):
        return HEAD + b"".join(map(chunk, EVENTS)) + chunk(b"")
    return render(request, 200, [("Content-Type", "application/json")], WHOLE, chunked=False, close=False)


@asynccontextmanager
async def before(origin: Origin) -> AsyncIterator[Process]:
    origin.script(CHAT, completed)  # type: ignore[arg-type]
    async with serving(origin, (REPOSITORY / "config" / "examples" / "ai.yaml").read_text()) as gateway:
        yield gateway


async def chat(gateway: Process, asked: Mapping[str, Any] = STREAMED, **headers: str) -> Got:
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    return await gateway.ask("POST", CHAT, {**KEY, **more}, BytesIO(json.dumps(asked).encode()))


async def stored(gateway: Process, number: int) -> None:
    """An answer is in the client's hands before it is in memory, and there before it is in a file and has been told."""
    async with asyncio.timeout(PATIENCE):
        while min((stats := await gateway.stats())["memory"]["size"], stats["file"]["size"]) < number:
            await asyncio.sleep(0.01)


@asynccontextmanager
async def listening(gateway: Process) -> AsyncIterator[asyncio.StreamReader]:
    """A client that reads the stream while it comes."""
    async with (
        session() as asking,
        asking.post(gateway.url + CHAT, headers={"Host": HOST, **KEY}, data=json.dumps(STREAMED)) as answer,
    ):
        yield answer.content  # type: ignore[misc]


# -- streams -----------------------------------------------------------------------------------------------------------


async def test_who_comes_late_hears_all_of_the_stream_under_way_and_it_is_replayed_byte_for_byte() -> None:
    gate = Gate()
    async with Origin() as origin, before(origin) as gateway:
        rest = b"".join(map(chunk, EVENTS[1:])) + chunk(b"")
        origin.script(CHAT, HEAD + chunk(EVENTS[0]), gate, rest)
        async with listening(gateway) as first:
            assert await first.readexactly(len(EVENTS[0])) == EVENTS[0]
            async with listening(gateway) as late:  # the origin is silent until the gate opens
                assert await late.readexactly(len(EVENTS[0])) == EVENTS[0]
                gate.release()
                assert await first.read() == await late.read() == b"".join(EVENTS[1:])
        await stored(gateway, 1)
        again = await chat(gateway)
        assert (again.verdict, again.body, again.header("content-type")) == (
            *("HIT", STREAM),
            "text/event-stream; charset=utf-8",
        )
        assert origin.count() == 1


async def test_fifty_who_ask_at_once_cost_one_call() -> None:
    async with Origin() as origin, before(origin) as gateway:
        gate = origin.hold(CHAT)
        asking = asyncio.gather(*(chat(gateway) for _ in range(50)))
        async with asyncio.timeout(PATIENCE):
            while (await gateway.stats())["inFlight"] < 50:
                await asyncio.sleep(0.01)
        gate.release()
        assert {(got.status, got.body) for got in await asking} == {(200, STREAM)}
        assert origin.count() == 1


async def test_a_stream_whose_listener_leaves_is_there_for_the_next() -> None:
    gate = Gate()
    async with Origin() as origin, before(origin) as gateway:
        origin.script(CHAT, HEAD + chunk(EVENTS[0]), gate, b"".join(map(chunk, EVENTS[1:])) + chunk(b""))
        async with listening(gateway) as first:
            await first.readexactly(len(EVENTS[0]))
        gate.release()
        await stored(gateway, 1)
        assert (await chat(gateway)).body == STREAM
        assert origin.count() == 1


@pytest.mark.parametrize("end", [FIN, RST], ids=["ended", "reset"])
async def test_a_stream_that_was_cut_is_cut_for_the_client_and_kept_nowhere(end: Any) -> None:
    async with Origin() as origin, before(origin) as gateway:
        origin.script(CHAT, HEAD + chunk(EVENTS[0]) + chunk(EVENTS[1]), end, times=1)
        with pytest.raises(aiohttp.ClientPayloadError):
            await chat(gateway)
        got = await chat(gateway)
        assert (got.verdict, got.body, origin.count()) == ("MISS", STREAM, 2)


@pytest.mark.parametrize(
    "last",
    [b"", b'event: error\ndata: {"error": {"type": "overloaded_error"}}\n\n'],
    ids=["without [DONE]", "with an error event"],
)
async def test_a_stream_that_ends_in_order_is_kept_whatever_it_says_until_it_is_purged(last: bytes) -> None:
    """As docs/examples.md warns: what its events mean is not read."""
    async with Origin() as origin, before(origin) as gateway:
        origin.script(CHAT, HEAD + chunk(EVENTS[0]) + (chunk(last) if last else b"") + chunk(b""), times=1)
        got = [await chat(gateway) for _ in range(2)]
        assert [(each.verdict, each.body) for each in got] == [("MISS", EVENTS[0] + last), ("HIT", EVENTS[0] + last)]
        await gateway.admin("POST", "/purge", {"tag": "model:small"})
        assert ((again := await chat(gateway)).verdict, again.body) == ("MISS", STREAM)


@pytest.mark.parametrize("status", [400, 401, 429, 500, 503, 529])
async def test_an_error_is_never_kept(status: int) -> None:
    async with Origin() as origin, before(origin) as gateway:
        said = b'{"error": {"message": "no"}}'
        origin.answer(CHAT, status, [("Content-Type", "application/json"), ("Retry-After", "1")], said, times=1)
        assert ((failed := await chat(gateway)).status, failed.body) == (status, said)
        assert ((got := await chat(gateway)).verdict, got.body) == ("MISS", STREAM)


# -- keys --------------------------------------------------------------------------------------------------------------


async def test_what_is_the_same_question_and_what_is_another() -> None:
    same: list[dict[str, Any]] = [
        dict(reversed(STREAMED.items())),
        {**STREAMED, "user": "7"},
        {**STREAMED, "metadata": {"trace": "x"}, "safety_identifier": "y"},
    ]
    others: list[dict[str, Any]] = [
        {**STREAMED, "stream": False},
        {**STREAMED, "temperature": 0.5},
        {**STREAMED, "model": "large"},
        {**STREAMED, "messages": [{"role": "user", "content": "hello"}]},
    ]
    async with Origin() as origin, before(origin) as gateway:
        first = await chat(gateway)
        assert first.verdict == "MISS"
        await stored(gateway, 1)
        assert [((got := await chat(gateway, each)).verdict, got.body) for each in same] == [("HIT", STREAM)] * 3
        assert [(await chat(gateway, each)).verdict for each in others] == ["MISS"] * 4
        assert origin.count() == 5


@pytest.mark.parametrize(
    "name",
    [
        *("openai-organization", "openai-project", "openai-beta"),
        *("x-goog-user-project", "x-api-key", "api-key", "ocp-apim-subscription-key"),
    ],
)
async def test_what_chooses_the_answer_or_who_pays_is_another_question(name: str) -> None:
    async with Origin() as origin, before(origin) as gateway:
        got = [await chat(gateway, **{name: value}) for value in ("a", "b", "a")]
        assert [each.verdict for each in got] == ["MISS", "MISS", "HIT"]
        assert [request.header(name) for request in origin.requests] == ["a", "b"]


async def test_tenants_are_apart_and_none_has_anothers_answers() -> None:
    async with Origin() as origin, before(origin) as gateway:
        origin.answer(CHAT, body=lambda request: (request.header("authorization") or "-").encode())
        keys = ("Bearer a", "Bearer b", "Bearer a", "Bearer b")
        got = [await chat(gateway, Authorization=key) for key in keys]
        assert [(each.verdict, each.body.decode()) for each in got] == list(
            zip(("MISS", "MISS", "HIT", "HIT"), keys, strict=True)
        )
        nobody = await gateway.ask("POST", CHAT, {"Content-Type": "application/json"}, json.dumps(STREAMED).encode())
        assert (nobody.verdict, nobody.body) == ("MISS", b"-")


async def test_another_answer_on_demand_and_by_purge() -> None:
    async with Origin() as origin, before(origin) as gateway:
        assert [(await chat(gateway)).verdict for _ in range(2)] == ["MISS", "HIT"]
        assert [(await chat(gateway, x_sample="2")).verdict for _ in range(2)] == ["MISS", "HIT"]
        assert (await chat(gateway)).verdict == "HIT"
        assert (await gateway.admin("POST", "/purge", {"tag": "model:small"})).json["matched"] == {"memory": 2}
        assert (await chat(gateway)).verdict == "MISS"


async def test_no_question_is_so_long_that_the_others_lose_their_answers() -> None:
    long = {**ASKED, "messages": [{"role": "user", "content": "x" * (2 << 20)}]}
    async with Origin() as origin, before(origin) as gateway:
        assert (await chat(gateway)).verdict == "MISS"
        assert [(await chat(gateway, long)).verdict for _ in range(2)] == ["MISS", "HIT"]
        async with raw(gateway.port) as client:
            await client.send(b"POST %b HTTP/1.1\r\nHost: a\r\nContent-Length: 20971521\r\n\r\n" % CHAT.encode())
            assert (await client.response()).status == 413  # of 20 MiB it is part of the key, past that it is refused
        assert (await chat(gateway)).verdict == "HIT"


# -- money and limits --------------------------------------------------------------------------------------------------


async def test_what_was_saved_is_told_in_money() -> None:
    async with Origin() as origin, before(origin) as gateway:
        await chat(gateway)
        await chat(gateway, ASKED)
        await stored(gateway, 2)
        for _ in range(3):
            assert (await chat(gateway)).verdict == "HIT"
        told = (await gateway.stats())["rules"]["chat"]
        assert (told["callsSaved"], told["bytesSaved"]) == (3, 3 * len(STREAM))
        assert told["moneySaved"] == pytest.approx(3 * (12 + 30) / 2 * PRICE)  # by the mean of what the answers said


async def test_a_limit_for_each_key_that_hits_do_not_use() -> None:
    async with Origin() as origin, before(origin) as gateway:
        asked = [await chat(gateway, {**ASKED, "seed": seed}) for seed in range(60)]
        assert {got.status for got in asked} == {200}
        assert (await chat(gateway, {**ASKED, "seed": 0})).verdict == "HIT"
        refused = await chat(gateway, {**ASKED, "seed": 60})
        assert (refused.status, refused.detail) == (429, "rate-limited")
        assert int(refused.header("retry-after") or 0) > 0
        assert (await chat(gateway, {**ASKED, "seed": 0})).verdict == "HIT"
        assert (await chat(gateway, {**ASKED, "seed": 60}, Authorization="Bearer b")).status == 200


SPELLED = ["/v1/chat/completions/", "/V1/chat/completions", "/v1/chat/completions%3fa"]


async def test_what_is_spelled_otherwise_has_a_limit_of_its_own_and_is_never_kept() -> None:
    async with Origin() as origin, before(origin) as gateway:
        origin.otherwise([("Cache-Control", "max-age=60"), ("Content-Type", "application/json")], lambda _: WHOLE)
        asked = [(method, path) for path in SPELLED for method in ("POST", "GET", "PUT", "HEAD", "OPTIONS") * 4]
        for method, path in asked:
            got = await gateway.ask(method, path, KEY, json.dumps(ASKED).encode() if method in ("POST", "PUT") else b"")
            assert (got.status, got.verdict) == (200, "BYPASS"), (method, path)
        assert len(asked) == origin.count() == 60
        refused = await gateway.ask("POST", SPELLED[0], KEY, json.dumps(ASKED).encode())
        assert (refused.status, refused.detail) == (429, "rate-limited")
        assert (await chat(gateway)).status == 200  # which counts by itself
        assert (await gateway.ask("GET", "/v1/models", {"Authorization": "Bearer b"})).status == 200


async def test_of_all_the_rest_so_many_calls_are_open_at_once() -> None:
    async with Origin() as origin, before(origin) as gateway:
        origin.answer("/v1/models", body=b"{}")
        gate = origin.hold("/v1/models")
        asking = [asyncio.create_task(gateway.ask("GET", "/v1/models", KEY)) for _ in range(40)]
        async with asyncio.timeout(PATIENCE):
            while (await gateway.stats())["inFlight"] < 40 or origin.count() < 32:
                await asyncio.sleep(0.01)
        assert origin.count() == 32
        gate.release()
        assert {got.status for got in await asyncio.gather(*asking)} == {200}


async def test_a_key_in_the_query_is_not_in_the_log() -> None:
    async with Origin() as origin, before(origin) as gateway:
        origin.otherwise([], lambda _: b"{}")
        for name in ("key", "api_key", "token", "access_token", "sig"):
            await gateway.ask("GET", f"/v1/models?{name}=sesame", KEY)
        async with asyncio.timeout(PATIENCE):
            while len(gateway.access) < 5:
                await asyncio.sleep(0.01)
        assert "sesame" not in gateway.log
        assert "key=" in gateway.log
