"""An upstream to try the examples with: users, a catalogue, a search, orders, files, GraphQL, and chat completions as
APIs for language models give them. Answers in JSON tell the how-manieth they are: a number that comes twice came from a
cache.

    .venv/bin/python config/examples/upstream.py [--port 8080] [--delay 0.2]
"""

import argparse
import asyncio
import json
from itertools import count
from typing import Any

from aiohttp import web

CHAT = "/v1/chat/completions"
WEBP, JPEG = b"RIFF....WEBP", b"\xff\xd8\xff\xe0 JPEG"


class Upstream:
    """Answers after `delay` seconds; between two words of a stream a tenth of that."""

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._numbers = count(1)
        self._names: dict[str, str] = {}

    def app(self) -> web.Application:
        app = web.Application()
        app.add_routes(
            [
                web.get("/api/users/{id}", self.user),
                web.put("/api/users/{id}", self.rename),
                web.get("/api/catalogue/{item}", self.item),
                web.post("/api/search", self.search),
                web.route("*", "/graphql", self.graphql),
                web.post("/auth/login", self.login),
                web.get("/account/orders", self.orders),
                web.put("/account/{what}", self.change),
                web.get("/me/basket", self.basket),
                web.get("/public/news", self.news),
                web.get("/assets/{name}", self.asset),
                web.get("/img/{name}", self.image),
                web.get("/video/{name}", self.video),
                web.post(CHAT, self.chat),
            ]
        )
        return app

    async def _json(self, said: dict[str, Any], status: int = 200, **headers: str) -> web.Response:
        await asyncio.sleep(self._delay)
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.json_response({**said, "answer": next(self._numbers)}, status=status, headers=fields)

    # gateway.yaml

    async def user(self, request: web.Request) -> web.Response:
        number = request.match_info["id"]
        return await self._json({"name": self._names.get(number, f"User {number}")})

    async def rename(self, request: web.Request) -> web.Response:
        name = self._names[request.match_info["id"]] = await request.text()
        return await self._json({"name": name})

    async def item(self, request: web.Request) -> web.Response:
        item = request.match_info["item"]
        return await self._json({"item": item}, status=200 if item in ("books", "tea") else 404)

    async def search(self, request: web.Request) -> web.Response:
        return await self._json({"found": (await request.json())["q"]})

    async def graphql(self, request: web.Request) -> web.Response:
        return await self._json({"data": {"me": None}})

    # bff.yaml

    async def login(self, request: web.Request) -> web.Response:
        return await self._json({"in": True}, Set_Cookie="session=s1; HttpOnly")

    async def orders(self, request: web.Request) -> web.Response:
        return await self._json({"orders of": request.headers.get("X-User-Id", "nobody")}, Cache_Control="private")

    async def change(self, request: web.Request) -> web.Response:
        return await self._json({request.match_info["what"]: await request.text()})

    async def basket(self, request: web.Request) -> web.Response:
        return await self._json({"basket of": request.cookies.get("session", "nobody")}, Cache_Control="private")

    async def news(self, request: web.Request) -> web.Response:
        return await self._json({"news": "none"})

    # cdn.yaml

    async def asset(self, request: web.Request) -> web.Response:
        return web.Response(text="body {}\n", headers={"Cache-Control": "max-age=60"}, content_type="text/css")

    async def image(self, request: web.Request) -> web.Response:
        webp = "image/webp" in request.headers.get("Accept", "")
        headers = {"Content-Type": "image/webp" if webp else "image/jpeg", "Vary": "Accept"}
        return web.Response(body=WEBP if webp else JPEG, headers=headers)

    async def video(self, request: web.Request) -> web.Response:
        return web.Response(body=bytes(range(256)) * (16 << 10), headers={"ETag": '"1"'}, content_type="video/mp4")

    # ai.yaml

    async def chat(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        words = f"You said: {asked['messages'][-1]['content']}".split(" ")
        usage = {"prompt_tokens": 10, "completion_tokens": len(words), "total_tokens": 10 + len(words)}
        head = {"id": f"chatcmpl-{next(self._numbers)}", "model": asked["model"]}
        await asyncio.sleep(self._delay)
        if not asked.get("stream"):
            message = {"role": "assistant", "content": " ".join(words)}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            return web.json_response({**head, "object": "chat.completion", "choices": [choice], "usage": usage})
        return await self._streamed(request, {**head, "object": "chat.completion.chunk"}, words, usage)

    async def _streamed(
        self, request: web.Request, head: dict[str, Any], words: list[str], usage: dict[str, int]
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
        await response.prepare(request)
        for n, word in enumerate(words):
            delta = {"content": word if n == 0 else f" {word}"}
            await response.write(event({**head, "choices": [{"index": 0, "delta": delta}], "usage": None}))
            await asyncio.sleep(self._delay / 10)
        await response.write(event({**head, "choices": [], "usage": usage}))
        await response.write(b"data: [DONE]\n\n")
        return response


def event(data: dict[str, Any]) -> bytes:
    return b"data: %b\n\n" % json.dumps(data).encode()


def main() -> None:
    options = argparse.ArgumentParser(description="An upstream to try config/examples with.")
    options.add_argument("--port", type=int, default=8080, help="on 127.0.0.1; 0 takes a free one")
    options.add_argument("--delay", type=float, default=0.2, help="seconds before an answer")
    given = options.parse_args()

    def told(text: str) -> None:
        print(text, flush=True)

    web.run_app(Upstream(given.delay).app(), host="127.0.0.1", port=given.port, print=told, access_log=None)


if __name__ == "__main__":
    main()
