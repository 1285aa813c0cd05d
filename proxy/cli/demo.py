"""`cachegate demo`: a small API, slow on purpose, whose answers show what a cache in front of it may do with them."""

import asyncio
import json
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from hashlib import sha256
from itertools import count

import click
from aiohttp import web

Answering = Callable[[web.Request], Awaitable[web.StreamResponse]]

DELAY = 0.8
USERS = 100
INDEX = {
    "GET /users/7": "may be reused for a minute; has an ETag",
    "PUT /users/7": "changes the name, and so makes the stored copy invalid",
    "GET /hello": "one variant per Accept-Language",
    "GET /news": "fresh for 5 s, then served stale for 30 s while it is fetched anew",
    "GET /shaky": "fresh for 2 s; every second answer is a 503, for which the stale copy stands in",
    "GET /stream": "ten lines that come one by one",
    "GET /slow": "four times as slow",
    "GET /now": "no-store: never kept",
    "GET /private": "private: never shared",
}


class DemoApi:
    """Answers after `delay` seconds. Each is numbered (`Demo-Answer`): a number seen twice came from a cache."""

    def __init__(self, delay: float = DELAY) -> None:
        self._delay = delay
        self._answers = count(1)
        self._shaky = count(1)
        self._names = {number: f"User {number}" for number in range(1, USERS + 1)}

    def app(self) -> web.Application:
        app = web.Application()
        app.on_response_prepare.append(self._sign)
        app.add_routes(
            [
                web.get("/", self.index),
                web.get(r"/users/{id:\d+}", self.user),
                web.put(r"/users/{id:\d+}", self.rename),
                web.get("/hello", self.hello),
                web.get("/news", self.news),
                web.get("/shaky", self.shaky),
                web.get("/stream", self.stream),
                web.get("/slow", self.slow),
                web.get("/now", self.now),
                web.get("/private", self.private),
            ]
        )
        return app

    async def _sign(self, request: web.Request, response: web.StreamResponse) -> None:
        response.headers["Server"] = "cachegate-demo"
        response.headers["Demo-Answer"] = str(next(self._answers))

    async def index(self, request: web.Request) -> web.StreamResponse:
        return _json(request, INDEX, "max-age=60", indent=2)

    async def user(self, request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(self._delay)
        number = int(request.match_info["id"])
        if number not in self._names:
            return _json(request, {"error": f"there are users 1 to {USERS}"}, "max-age=10", status=404)
        return _json(request, {"id": number, "name": self._names[number]}, "max-age=60")

    async def rename(self, request: web.Request) -> web.StreamResponse:
        number = int(request.match_info["id"])
        name = (await request.text())[:100].strip()
        if number not in self._names or not name:
            return _json(request, {"error": "PUT a name as text to one of the users"}, "no-store", status=400)
        self._names[number] = name
        return _json(request, {"id": number, "name": name}, "no-store")

    async def hello(self, request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(self._delay)
        language = request.headers.get("Accept-Language", "en")[:2].lower()
        words = {"de": "Guten Tag", "fr": "Bonjour", "es": "Hola"}
        response = _json(request, {"hello": words.get(language, "Hello")}, "max-age=60")
        response.headers["Vary"] = "Accept-Language"
        return response

    async def news(self, request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(self._delay)
        return _json(request, {"printed": _clock()}, "max-age=5, stale-while-revalidate=30")

    async def shaky(self, request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(self._delay)
        if next(self._shaky) % 2 == 0:
            return _json(request, {"error": "this happens every second time"}, "no-store", status=503)
        return _json(request, {"standing": True}, "max-age=2, stale-if-error=60")

    async def stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/plain", "Cache-Control": "max-age=60"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        for line in range(1, 11):
            await asyncio.sleep(self._delay / 4)
            await response.write(f"line {line} of 10\n".encode())
        return response

    async def slow(self, request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(self._delay * 4)
        return _json(request, {"slow": True}, "max-age=60")

    async def now(self, request: web.Request) -> web.StreamResponse:
        return _json(request, {"now": _clock()}, "no-store")

    async def private(self, request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(self._delay)
        return _json(request, {"for": "your eyes only", "at": _clock()}, "private, max-age=60")


def _json(
    request: web.Request, value: object, cache_control: str, status: int = 200, indent: int | None = None
) -> web.StreamResponse:
    body = json.dumps(value, indent=indent).encode() + b"\n"
    tag = sha256(body).hexdigest()[:16]
    headers = {"Cache-Control": cache_control, "ETag": f'"{tag}"'}
    if status == 200 and any(known.value in (tag, "*") for known in request.if_none_match or ()):
        return web.Response(status=304, headers=headers)
    return web.Response(status=status, body=body, content_type="application/json", headers=headers)


def _clock() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def bind(port: int = 0) -> tuple[socket.socket, str]:
    """A listening socket on 127.0.0.1 (0: any free port) and its URL; OSError when the port is taken."""
    listening = socket.create_server(("127.0.0.1", port), backlog=1024)
    return listening, f"http://127.0.0.1:{listening.getsockname()[1]}"


@asynccontextmanager
async def running(listening: socket.socket, delay: float = DELAY) -> AsyncIterator[None]:
    """Answers on the socket for as long as the block lasts, then closes it."""
    runner = web.AppRunner(DemoApi(delay).app(), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.SockSite(runner, listening).start()
        yield
    finally:
        await runner.cleanup()


@click.command("demo")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=4080,
    show_default=True,
    help="Where on 127.0.0.1 to listen; 0 takes a free one.",
)
@click.option(
    "--delay", type=click.FloatRange(min=0), default=DELAY, show_default=True, help="Seconds before an answer."
)
def command(port: int, delay: float) -> None:
    """Run a small API, slow on purpose, to put the gateway in front of.

    `cachegate serve --demo` starts both at once.
    """
    try:
        listening, url = bind(port)
    except OSError as error:
        raise click.UsageError(f"cannot listen on 127.0.0.1:{port}: {error.strerror}; choose another --port") from error
    click.echo(f"demo API on {url} (try {url}/users/7); in front of it: cachegate --upstream {url}")
    asyncio.run(_until_stopped(listening, delay))


async def _until_stopped(listening: socket.socket, delay: float) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with running(listening, delay):
        await stopped.wait()
