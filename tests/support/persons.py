"""Many persons at one API, most of whose answers are for one of them alone; an oracle knows whose each byte is.

world = World(origin)                       # scripts the origin's answers
crowd = Crowd(ports, seed=1)
await crowd.walk(persons=50, steps=40)
assert not crowd.leaks
"""

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from random import Random
from time import monotonic
from typing import Any

import aiohttp

from tests.support.gateway import HOST
from tests.support.origin import Origin, Reader, Recorded, Writer

PLACES = 4  # resources of a kind
ALL = "all"  # owns what is the same for everybody
SILENT = ""

RULES: list[dict[str, Any]] = [
    {"name": "ruled", "pattern": "*/ruled-*", "ttl": 60},
    {"name": "keyed", "pattern": "*/keyed/*", "ttl": 60, "store_private": True, "key": {"headers": ["X-User-Id"]}},
    {"name": "by-credentials", "pattern": "*/by-credentials/*", "ttl": 60, "key": {"credentials": "key"}},
]


@dataclass(frozen=True, slots=True)
class Kind:
    """How a person is told from another, if at all, and what the origin says of its answers besides."""

    by: str | None  # the field that names the person; None: every answer is another one; "": all get the same
    control: str = "max-age=60"
    vary: str = ""
    extra: tuple[str, str] | None = None  # {} in it is the person


KINDS = {
    "public": Kind(SILENT, "public, max-age=60"),
    "plain": Kind(SILENT),
    "private": Kind("authorization", "private, max-age=60"),
    "bearer": Kind("authorization"),
    "api-key": Kind("x-api-key"),
    "cookie-private": Kind("cookie", "private, max-age=60"),
    "cookie-vary": Kind("cookie", vary="Cookie"),
    "bearer-vary": Kind("authorization", "public, max-age=60", vary="Authorization"),
    "ruled-bearer": Kind("authorization", ""),
    "ruled-api-key": Kind("x-api-key", ""),
    "ruled-cookie": Kind("cookie", ""),
    "keyed": Kind("x-user-id", "private, max-age=60"),
    "by-credentials": Kind("authorization"),
    "set-cookie": Kind(None, extra=("Set-Cookie", "s={}")),
    "no-store": Kind(None, "no-store"),
    "vary-star": Kind(None, vary="*"),
    "field": Kind(SILENT, 'private="x-own", max-age=60', extra=("X-Own", "{}")),
}


def content(owner: str, path: str) -> bytes:
    """What the origin sends; some of it is long enough for a spool, and slow enough to be left."""
    lines = 4000 if path.endswith("0") else 40
    return f"{owner} {path}\n".encode() * lines


class World:
    """The API. `asked` counts the origin's answers by kind."""

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.asked: Counter[str] = Counter()
        self._number = count()
        for kind in KINDS:
            for place in range(PLACES):
                origin.script(f"/{kind}/{place}", self._answer)

    async def _answer(self, request: Recorded, reader: Reader, writer: Writer) -> None:
        name = request.path.split("/")[1]
        kind = KINDS[name]
        self.asked[name] += 1
        owner = f"once-{next(self._number)}" if kind.by is None else ALL
        if kind.by:
            owner = re.sub(r"\A(?:Bearer |s=)", "", request.header(kind.by) or "nobody")
        body = content(owner, request.path)
        fields = [("ETag", f'"{owner}{request.path}"'), ("Content-Length", str(len(body)))]
        fields += [("Cache-Control", kind.control)] * bool(kind.control) + [("Vary", kind.vary)] * bool(kind.vary)
        if kind.extra is not None:
            person = re.sub(r"\ABearer ", "", request.header("authorization") or owner)
            fields.append((kind.extra[0], kind.extra[1].format(person)))
        head = "".join(f"{field}: {value}\r\n" for field, value in fields)
        writer.write(f"HTTP/1.1 200 OK\r\n{head}\r\n".encode())
        if request.method == "HEAD":
            return
        for start in range(0, len(body), 32768):
            writer.write(body[start : start + 32768])
            await writer.drain()
            await asyncio.sleep(0.002)  # so that others come while it is under way


class Crowd:
    """Persons who ask the gateways at these ports, leave early, stall, and change things. `leaks` says what of
    another's came to whom; `answers` counts verdicts; `failed` what was no answer, and `on_failure` hears of it too:
    what, from which port, when it was asked (monotonic)."""

    def __init__(
        self, ports: Sequence[int], seed: int, on_failure: Callable[[str, int, float], None] = lambda *_: None
    ) -> None:
        self.ports = ports
        self.on_failure = on_failure
        self.leaks: list[str] = []
        self.answers: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self._random = Random(seed)
        self._seen: dict[str, str] = {}  # who got what is sent once

    async def walk(self, persons: int, steps: int, pause: float = 0.0) -> None:
        """Each person does so many steps, with so many seconds between two."""
        async with aiohttp.ClientSession(
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=30),
        ) as session:
            await asyncio.gather(*(self._person(session, f"user-{number}", steps, pause) for number in range(persons)))

    async def _person(self, session: aiohttp.ClientSession, own: str, steps: int, pause: float) -> None:
        for _ in range(steps):
            port, began = self._random.choice(self.ports), monotonic()
            status = 0
            with suppress(aiohttp.ClientError, TimeoutError):
                status = await self._step(session, own, port)
            if status == 0 or status >= 500:
                self.failed[what := str(status) if status else "broken"] += 1
                self.on_failure(what, port, began)
            await asyncio.sleep(pause)

    async def _step(self, session: aiohttp.ClientSession, own: str, port: int) -> int:
        """The status of the answer."""
        random = self._random
        name = random.choice(list(KINDS))
        path = f"/{name}/{random.randrange(PLACES)}"
        how = random.choices(["GET", "leave", "stall", "HEAD", "range", "known", "POST"], [10, 2, 1, 2, 2, 2, 0.3])[0]
        method = how if how in ("GET", "HEAD", "POST") else "GET"
        fields = {"Host": HOST, **_named(own, KINDS[name])}
        if how == "range":
            start = random.randrange(200)
            fields["Range"] = f"bytes={start}-{start + random.randrange(300)}"
        if how == "known":
            fields["If-None-Match"] = f'"{own}{path}"'
        url = f"http://127.0.0.1:{port}{path}"
        async with session.request(method, url, headers=fields) as answer:
            if answer.status >= 500 or method == "POST":
                return answer.status
            self.answers[answer.headers.get("X-Cache", "")] += 1
            body = b""
            if how == "leave":
                body = await answer.content.readany()
                answer.close()
            elif how == "stall":
                body = await answer.content.readany()
                await asyncio.sleep(0.05)
                body += await answer.read()
            else:
                body = await answer.read()
            self._judge(own, path, answer.status, answer.headers, body)
            return answer.status

    def _judge(self, own: str, path: str, status: int, fields: Mapping[str, str], body: bytes) -> None:
        kind = KINDS[path.split("/")[1]]
        tag = re.fullmatch(r'"([^/]*)(/.*)"', fields.get("ETag", f'"{own}{path}"'))
        owner = tag[1] if tag else ""
        if kind.by is None:
            if self._seen.setdefault(owner, own) != own and status != 304:
                self._leak(own, path, f"what {self._seen[owner]} got, {owner}")
        elif owner != (own if kind.by else ALL):
            self._leak(own, path, f"the fields of {owner}")
        if tag is None or tag[2] != path:
            self._leak(own, path, f"the fields of {fields.get('ETag')}")
        if fields.get("X-Own", own) != own:
            self._leak(own, path, f"X-Own: {fields['X-Own']}")
        whole = content(owner, path)
        first = 0
        if status == 206:
            first = int(fields["Content-Range"].split()[1].split("-")[0])
        if not whole.startswith(body, first):
            self._leak(own, path, f"other bytes: {body[:80]!r}")

    def _leak(self, own: str, path: str, what: str) -> None:
        self.leaks.append(f"{own} asked {path} and got {what}")


def _named(own: str, kind: Kind) -> dict[str, str]:
    """The fields by which one is known to this kind of resource; what is not personal is asked for with all of them."""
    fields = {"Authorization": f"Bearer {own}", "X-Api-Key": own, "Cookie": f"s={own}", "X-User-Id": own}
    if not kind.by:
        return fields if kind.extra else {}
    return {name: value for name, value in fields.items() if name.lower() == kind.by}
