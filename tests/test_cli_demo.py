"""The demo API: what its answers let a cache do, over a real socket (contract "Two commands")."""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from proxy.cli import demo


@pytest.fixture
async def api() -> AsyncIterator[aiohttp.ClientSession]:
    listening, url = demo.bind()
    async with demo.running(listening, delay=0.0), aiohttp.ClientSession(url) as session:
        yield session


@pytest.mark.parametrize(
    ("path", "status", "cache_control"),
    [
        ("/", 200, "max-age=60"),
        ("/users/7", 200, "max-age=60"),
        ("/users/101", 404, "max-age=10"),
        ("/hello", 200, "max-age=60"),
        ("/news", 200, "max-age=5, stale-while-revalidate=30"),
        ("/slow", 200, "max-age=60"),
        ("/stream", 200, "max-age=60"),
        ("/now", 200, "no-store"),
        ("/private", 200, "private, max-age=60"),
    ],
)
async def test_each_answer_says_what_a_cache_may_do(
    api: aiohttp.ClientSession, path: str, status: int, cache_control: str
) -> None:
    async with api.get(path) as response:
        await response.read()
        assert (response.status, response.headers["Cache-Control"]) == (status, cache_control)


async def test_answers_are_numbered_and_confirmed_by_their_etag(api: aiohttp.ClientSession) -> None:
    async with api.get("/users/7") as first:
        assert await first.json() == {"id": 7, "name": "User 7"}
    async with api.get("/users/7", headers={"If-None-Match": first.headers["ETag"]}) as second:
        assert second.status == 304
    assert int(second.headers["Demo-Answer"]) == int(first.headers["Demo-Answer"]) + 1


async def test_a_new_name_is_a_new_answer(api: aiohttp.ClientSession) -> None:
    async with api.get("/users/7") as before, api.put("/users/7", data="Ada") as put, api.get("/users/7") as after:
        assert put.status == 200
        assert (await after.json())["name"] == "Ada"
        assert before.headers["ETag"] != after.headers["ETag"]
    async with api.put("/users/7", data="") as refused:
        assert refused.status == 400


async def test_a_greeting_varies_by_language(api: aiohttp.ClientSession) -> None:
    async with api.get("/hello", headers={"Accept-Language": "fr-CH, de"}) as response:
        assert await response.json() == {"hello": "Bonjour"}
        assert response.headers["Vary"] == "Accept-Language"


async def test_every_second_shaky_answer_fails(api: aiohttp.ClientSession) -> None:
    statuses = []
    for _ in range(4):
        async with api.get("/shaky") as response:
            statuses.append(response.status)
    assert statuses == [200, 503, 200, 503]


async def test_the_stream_has_no_length_and_a_proven_end(api: aiohttp.ClientSession) -> None:
    async with api.get("/stream") as response:
        assert response.headers["Transfer-Encoding"] == "chunked"
        assert (await response.text()).splitlines()[-1] == "line 10 of 10"
