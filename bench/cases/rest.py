"""What compression spares at rest, on JSON as APIs send it."""

import json
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import redis as redis_py

from bench.arena import Arena
from bench.client import asked, get
from bench.figures import Figure, Line, at_most
from bench.peers.cachegate import NAME, NO_FILES, cachegate
from bench.programs import ADDRESS, Missing
from bench.redis import redis

DOCUMENTS = 200
PLAIN = "uncompressed"
_WORDS = ("amber", "basket", "copper", "delta", "ember", "fjord", "glass", "harbor", "island", "jasper", "kettle",
          "lantern", "meadow", "north", "orchid", "paper", "quartz", "river", "silver", "timber")  # fmt: skip


def compression(arena: Arena) -> Iterator[Line]:
    """Bytes of all values in Redis, heads and keys of the records included, with `redis.compression` on and off."""
    title, goals = "a JSON corpus at rest in Redis", (at_most(0.6, PLAIN),)
    documents = corpus()
    try:
        with served(documents) as upstream:
            sizes = [_at_rest(arena, upstream, packed=packed) / 1000 for packed in (True, False)]
    except Missing as missing:
        yield Line("compression", title, "KB", (Figure(NAME, problem=str(missing)),), goals)
        return
    figures = (Figure(NAME, (sizes[0],)), Figure(PLAIN, (sizes[1],)))
    note = f"{len(documents)} documents of {sum(map(len, documents.values())) / 1000:.0f} KB"
    yield Line("compression", title, "KB", figures, goals, note)


def _at_rest(arena: Arena, upstream: str, *, packed: bool) -> int:
    with redis(arena.directory(), arena.on) as server:
        url = f"redis://{ADDRESS}:{server.port}/0"
        settings = {"file": NO_FILES, "redis": {"url": url, "compression": packed}}
        with (
            cachegate(arena.directory(), arena.on, upstream, settings) as us,
            redis_py.Redis(port=server.port) as client,
        ):
            asked(us.port, (get(f"/{n}") for n in range(DOCUMENTS)))
            names: list[Any] = []
            while len(names) < DOCUMENTS:  # they are stored behind the answers
                names = list(client.scan_iter("proxy:cache:e:*"))
            return sum(int(client.strlen(name)) for name in names)


def corpus() -> dict[str, bytes]:
    """By path: lists of users, orders and search results from 1 to 30 KB, with ids and times that do not repeat."""
    made = random.Random(5)
    return {f"/{n}": json.dumps(_document(made, made.randint(4, 100))).encode() for n in range(DOCUMENTS)}


def _document(made: random.Random, rows: int) -> dict[str, Any]:
    return {
        "total": made.randint(rows, 5000),
        "next": f"{made.getrandbits(96):x}",
        "items": [_row(made) for _ in range(rows)],
    }


def _row(made: random.Random) -> dict[str, Any]:
    return {
        "id": f"{made.getrandbits(128):032x}",
        "name": " ".join(made.choices(_WORDS, k=2)).title(),
        "email": f"{made.choice(_WORDS)}.{made.randint(1, 9999)}@example.com",
        "created_at": f"2026-{made.randint(1, 12):02}-{made.randint(1, 28):02}T{made.randint(0, 23):02}:00:00Z",
        "total": round(made.uniform(1, 900), 2),
        "tags": made.sample(_WORDS, 2),
        "active": made.random() < 0.8,
        "note": " ".join(made.choices(_WORDS, k=6)),
    }


@contextmanager
def served(documents: dict[str, bytes]) -> Iterator[str]:
    """The address of a service that has these, for an hour each."""

    class Service(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = documents[self.path]
            self.send_response(200)
            for name, value in (("Content-Type", "application/json"), ("Cache-Control", "max-age=3600")):
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer((ADDRESS, 0), Service) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://{ADDRESS}:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
