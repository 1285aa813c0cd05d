"""What stands in the query of an admin page: every page of the table is asked with a parameter that it does not take,
with each that it takes twice, and with a wrong value of it. A page, or a parameter, that is new wants its line here."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlencode

import pytest

from proxy.server.admin.pages import Page
from tests.support.gateway import Client, Got, running
from tests.support.origin import Origin
from tests.support.redis_servers import redis_server

# Of a page and a parameter: queries that say it wrongly.
GLOB = ({"pattern": ""},)  # every other text is a glob
WRONG: dict[tuple[str, str, str], tuple[dict[str, str], ...]] = {
    ("GET", "/stats", "window"): ({"window": "2h"}, {"window": ""}),
    ("GET", "/entries", "limit"): ({"limit": "x"}, {"limit": "-1"}, {"limit": ""}),
    ("GET", "/entries", "match"): ({"match": ""},),
    ("GET", "/entries", "url"): ({"url": ""},),
    ("GET", "/entries", "tag"): ({"tag": ""},),
    ("GET", "/entries", "rule"): ({"rule": ""},),
    ("GET", "/events", "types"): ({"types": "purge,nothing"},),
    ("GET", "/explain", "url"): ({"url": "http://["}, {"url": ""}),
    ("GET", "/explain", "method"): ({"url": "/a", "method": "G T"},),
    ("GET", "/explain", "headers"): ({"url": "/a", "headers": "x"},),
    ("GET", "/explain", "body"): ({"url": "/a", "body": "a", "body_base64": "YQ=="},),
    ("GET", "/explain", "body_base64"): ({"url": "/a", "body_base64": "!"},),
    ("GET", "/explain", "client"): ({"url": "/a", "client": "nobody"},),
    ("GET", "/ratelimit/{key}", "by"): ({"by": "x-user"}, {"by": ""}),
    ("GET", "/redis/info", "section"): ({"section": "nothing"}, {"section": ""}),
    ("DELETE", "", "pattern"): GLOB,
    ("DELETE", "/memory", "pattern"): GLOB,
    ("DELETE", "/file", "pattern"): GLOB,
    ("DELETE", "/redis", "pattern"): GLOB,
}
# What answers to whatever is asked behind "?": probes, and what browsers and scrapers ask for.
OPEN = {
    ("GET", "/live"), ("GET", "/ready"), ("GET", "/metrics"), ("GET", "/dashboard"), ("GET", "/dashboard/{file}"),
    ("GET", "/redis/health"), ("GET", "/redis/ping"), ("GET", "/redis/report"),
}  # fmt: skip


@asynccontextmanager
async def gateway(*, with_redis: bool) -> AsyncIterator[tuple[Client, list[Page]]]:
    """One that has every page, and its table."""
    async with Origin() as origin, redis_server() as redis:
        settings = {"redis": {"url": redis.url}} if with_redis else {}
        async with running(origin, settings) as started:
            if started.gateway.tiers.sharing is not None:
                await started.gateway.tiers.sharing.joined()
            yield started, started.gateway._doors._here.table


async def ask(gateway: Client, page: Page, query: str) -> Got:
    path = page.path.partition("/{")[0] + ("/name" if "{" in page.path else "")
    return await gateway.admin(page.method, f"{path}?{query}", {} if page.method == "POST" else None)


def refusal(got: Got) -> tuple[int, str, str]:
    told = got.json
    return got.status, told.get("error"), told.get("message", "")


@pytest.mark.parametrize("with_redis", [True, False], ids=["redis", "no-redis"])
async def test_no_page_takes_a_parameter_that_it_does_not_know_or_that_comes_twice(with_redis: bool) -> None:
    async with gateway(with_redis=with_redis) as (started, table):
        assert {(page.method, page.path) for page in table if page.takes is None} == OPEN
        for page in table:
            if page.takes is None:
                continue
            known = f"known are {', '.join(page.takes)}" if page.takes else "this page takes none"
            for query in ("unheard-of=1", urlencode([*((name, "1") for name in page.takes), ("unheard-of", "")])):
                got = await ask(started, page, query)
                assert refusal(got) == (400, "bad-query", f"unheard-of: unknown; {known}."), (page, query)
            for name in page.takes:
                got = await ask(started, page, f"{name}=1&{name}=1")
                assert refusal(got) == (400, "bad-query", f"{name}: given twice."), page


async def test_no_parameter_takes_a_value_that_is_none_of_its_own() -> None:
    async with gateway(with_redis=True) as (started, table):
        taken = {(page.method, page.path, name): page for page in table for name in page.takes or ()}
        assert taken.keys() == WRONG.keys()
        wrongly = []
        for parameter, queries in WRONG.items():
            for query in queries:
                told = refusal(await ask(started, taken[parameter], urlencode(query)))
                if (told[0], str(told[1])[:4], bool(told[2])) != (400, "bad-", True):
                    wrongly.append((parameter, query, told))
        assert not wrongly
