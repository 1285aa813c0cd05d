"""Three kinds of traffic, each with its origin and the rules that fit it: what replay and suggest are held against.

async with workload.recorded(tmp_path) as (gateway, origin): ...  # has run; gateway.access is its log
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.origin import Origin, Recorded, render
from tests.support.process import Process, serving

CLIENTS = 8


@dataclass(frozen=True)
class Asked:
    """One request of a workload."""

    target: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    data: bytes | None = None


@dataclass(frozen=True)
class Workload:
    """`settings` are those of the gateway; `noise` names the query parameter that no answer depends on, `matters` one
    that every answer depends on."""

    settings: Mapping[str, Any]
    requests: Callable[[random.Random, int], Sequence[Asked]]
    answer: Callable[[Recorded], bytes]
    noise: str
    matters: str

    @asynccontextmanager
    async def recorded(
        self, directory: Path, number: int, settings: Mapping[str, Any] | None = None
    ) -> AsyncIterator[Process]:
        """A gateway that has answered so many requests, and has logged each of them."""
        async with Origin() as origin:
            origin.instead = lambda request: self.answer  # once its body has come
            async with serving(origin, self.settings if settings is None else settings, directory=directory) as gateway:
                await ask(gateway, self.requests(random.Random(7), number))
                await gateway.logged('"verdict":', number)
                yield gateway


async def ask(gateway: Process, requests: Sequence[Asked]) -> None:
    """CLIENTS at a time, in order."""
    waiting = iter(requests)

    async def client() -> None:
        for asked in waiting:
            await gateway.ask(asked.method, asked.target, asked.headers, asked.data)

    await asyncio.gather(*(client() for _ in range(CLIENTS)))


def zipf(chance: random.Random, number: int, of: int, skew: float = 1.0) -> list[int]:
    """Numbers from 0, the smaller the more often."""
    return chance.choices(range(of), [1 / (rank + 1) ** skew for rank in range(of)], k=number)


def param(request: Recorded, name: str) -> str:
    for part in request.target.partition("?")[2].split("&"):
        key, _, value = part.partition("=")
        if key == name:
            return value
    return ""


# -- popular things, with a parameter of no meaning on every request ---------------------------------------------------


def _items(chance: random.Random, number: int) -> Sequence[Asked]:
    return [
        Asked(f"/items/{item}.json?page={chance.randrange(3)}&utm_id={chance.randrange(1 << 20)}")
        for item in zipf(chance, number, 300)
    ]


def _item(request: Recorded) -> bytes:
    body = f'{{"path": "{request.path}", "page": "{param(request, "page")}"}}'.encode() + b" " * (len(request.path) % 7)
    return render(request, 200, [("Content-Type", "application/json")], body, chunked=False, close=False)


POPULAR = Workload(
    {"rules": [{"name": "items", "pattern": "/items/*", "ttl": 1, "key": {"query": {"ignore": ["utm_id"]}}}]},
    _items,
    _item,
    noise="utm_id",
    matters="page",
)


# -- an API: lifetimes of the origin's and of rules, variants, revalidation, changes, what is never stored ----------

_LANGUAGES = ("de", "en", "fr")


def _calls(chance: random.Random, number: int) -> Sequence[Asked]:
    out = []
    for user in zipf(chance, number, 60, 0.8):
        kind, trace = chance.random(), f"trace={chance.randrange(1 << 20)}"
        fields = chance.randrange(2)
        if kind < 0.35:
            out.append(Asked(f"/api/users/{user}?fields={fields}&{trace}", headers={"x-user-id": str(user % 5)}))
        elif kind < 0.60:
            language = {"Accept-Language": chance.choice(_LANGUAGES)}
            out.append(Asked(f"/api/texts/{user}?fields={fields}&{trace}", headers=language))
        elif kind < 0.75:
            out.append(Asked(f"/api/validated/{user}?fields={fields}&{trace}"))
        elif kind < 0.85:
            out.append(Asked(f"/api/search?fields={fields}&{trace}", "POST", data=f"q={user % 7}".encode()))
        elif kind < 0.90:
            out.append(Asked(f"/api/private/{user}?fields={fields}&{trace}"))
        elif kind < 0.95:
            out.append(Asked(f"/off/{user}?fields={fields}&{trace}"))
        elif kind < 0.97:
            out.append(Asked(f"/api/users/{user}?{trace}", "PUT", {"x-user-id": "1"}, b"{}"))
        else:
            out.append(Asked(f"/plain/{user}?fields={fields}", "HEAD" if kind > 0.985 else "GET"))
    return out


def _call(request: Recorded) -> bytes:
    kind = request.path.split("/")[2] if request.path.startswith("/api/") else request.path.split("/")[1]
    said = f"{request.path} {param(request, 'fields')} {request.body.decode()}"
    headers = [("Content-Type", "text/plain")]
    status = 200
    if kind == "texts":
        headers += [("Cache-Control", "max-age=1"), ("Vary", "Accept-Language")]
        said += request.header("accept-language") or ""
    elif kind == "validated":
        headers += [("Cache-Control", "max-age=0"), ("ETag", '"1"')]
        status = 304 if request.header("if-none-match") else 200
    elif kind == "private":
        headers += [("Cache-Control", "no-store")]
    elif kind == "plain":
        headers += [("Cache-Control", "max-age=2")]
    elif kind == "users":
        said += request.header("x-user-id") or ""
    return render(request, status, headers, b"" if status == 304 else said.encode(), chunked=False, close=False)


API = Workload(
    {
        "rules": [
            {
                "name": "users",
                "pattern": "/api/users/*",
                "ttl": 2,
                "conditions": {"headers": {"x-user-id": "*"}},
                "key": {"query": {"ignore": ["trace"]}},
                "invalidates": ["/api/users/*"],
            },
            {
                "name": "search",
                "pattern": "/api/search",
                "methods": ["POST"],
                "ttl": 1,
                "key": {"query": {"ignore": ["trace"]}},
            },
            {"name": "off", "pattern": "/off/*", "mode": "off"},
            {
                "name": "api",
                "pattern": "/api/*",
                "ttl": 1,
                "stale_while_revalidate": 1,
                "key": {"query": {"ignore": ["trace"]}},
            },
        ]
    },
    _calls,
    _call,
    noise="trace",
    matters="fields",
)


# -- a crawler among readers, and a memory that has not room for both --------------------------------------------------


def _pages(chance: random.Random, number: int) -> Sequence[Asked]:
    crawled = iter(range(number))
    out = []
    for page in zipf(chance, number, 400, 0.9):
        crawls = chance.random() < 0.4
        page = 10_000 + next(crawled) if crawls else page
        session = f"&session={chance.randrange(1 << 16)}" if not crawls and chance.random() < 0.2 else ""
        out.append(Asked(f"/pages/{page}?size={page % 3}{session}"))
    return out


def _page(request: Recorded) -> bytes:
    body = f"{request.path} {param(request, 'size')} ".encode() * (1 + int(param(request, "size") or 0)) * 20
    return render(request, 200, [("Content-Type", "text/plain")], body, chunked=False, close=False)


SCAN = Workload(
    {
        "rules": [{"name": "pages", "pattern": "/pages/*", "ttl": 60, "key": {"query": {"ignore": ["session"]}}}],
        "memory": {"max_entries": 120},
        "file": {"enabled": False},
    },
    _pages,
    _page,
    noise="session",
    matters="size",
)

WORKLOADS = {"popular": POPULAR, "api": API, "scan": SCAN}
