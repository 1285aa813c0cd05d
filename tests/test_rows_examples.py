"""The configurations under config/examples, each in front of an origin: what their rules and comments say is so (rows
21, 22, 127). What takes several instances is in test_rows_examples_many.py, completions in test_rows_examples_ai.py."""

import asyncio
from pathlib import Path
from typing import Any

from tests.support.gateway import TOKEN
from tests.support.origin import Origin
from tests.support.process import REPOSITORY, Process, serving

WEB = [("Cache-Control", "max-age=60"), ("Content-Type", "text/html")]


def example(name: str) -> str:
    return (REPOSITORY / "config" / "examples" / f"{name}.yaml").read_text()


async def ask_as(gateway: Process, target: str, **headers: str) -> tuple[str | None, bytes]:
    got = await gateway.get(target, {name.replace("_", "-"): value for name, value in headers.items()})
    return got.verdict, got.body


async def told(gateway: Process, rule: str, local: dict[str, str]) -> Any:
    """The statistics of a rule, without a token."""
    return (await gateway.ask("GET", "/cache/stats", local)).json["rules"][rule]


async def test_static() -> None:
    async with Origin() as origin, serving(origin, example("static")) as gateway:
        origin.answer("/static/app.css", headers=[("Content-Type", "text/css")], body=b"body {}")
        first = await gateway.get("/static/app.css?utm_source=mail", {"Cookie": "session=1"})
        second = await gateway.get("/static/app.css", {"Cookie": "session=2"})
        assert (first.verdict, second.verdict, second.body) == ("MISS", "HIT", b"body {}")
        assert "ttl=86" in (second.header("cache-status") or "")  # a day, or a second less
        assert origin.last.target == "/static/app.css"

        origin.answer("/api/content/7", body=lambda request: (request.header("accept-language") or "-").encode())
        origin.answer("/api/content/8", body=b"eight")
        assert await ask_as(gateway, "/api/content/7?b=2&a=1", accept_language="de") == ("MISS", b"de")
        assert await ask_as(gateway, "/api/content/7?a=1&b=2", accept_language="de") == ("HIT", b"de")
        assert await ask_as(gateway, "/api/content/7?a=1&b=2", accept_language="fr") == ("MISS", b"fr")
        await gateway.verdicts("/api/content/8", "/api/content/7")
        async with asyncio.timeout(20):  # an answer is in the client's hands before it is in memory
            while (await gateway.stats())["memory"]["size"] < 5:
                await asyncio.sleep(0.01)
        assert (await gateway.admin("POST", "/purge", {"tag": "content:7"})).json["matched"] == {"memory": 3}
        assert await gateway.verdicts("/api/content/7", "/api/content/8") == ["MISS", "HIT"]
        assert (await gateway.ask("PUT", "/api/content/7", data=b"new")).status == 200
        assert await gateway.verdicts("/api/content/7", "/api/content/8") == ["MISS", "MISS"]
        await origin.stop()
        assert (await gateway.get("/static/app.css")).verdict == "HIT"


async def test_bff() -> None:
    async with Origin() as origin, serving(origin, example("bff")) as gateway:
        private = [("Cache-Control", "private, max-age=60")]
        origin.answer("/me/orders", headers=private, body=lambda request: (request.header("cookie") or "-").encode())
        assert await ask_as(gateway, "/me/orders", cookie="session=a; theme=dark") == ("MISS", b"session=a; theme=dark")
        assert await ask_as(gateway, "/me/orders", cookie="theme=light; session=a") == ("HIT", b"session=a; theme=dark")
        assert await ask_as(gateway, "/me/orders", cookie="session=b") == ("MISS", b"session=b")
        origin.answer("/me", body=b"ok")
        assert (await gateway.ask("PUT", "/me", {"Cookie": "session=a"}, b"{}")).status == 200
        assert (await ask_as(gateway, "/me/orders", cookie="session=a"))[0] == "MISS"
        assert (await ask_as(gateway, "/me/orders"))[0] == "MISS"  # and nobody without a session has anybody's

        private = [("Cache-Control", "private")]
        origin.answer(
            "/account/orders", headers=private, body=lambda request: (request.header("x-user-id") or "-").encode()
        )
        for user, verdict in (("7", "MISS"), ("8", "MISS"), ("7", "HIT"), ("8", "HIT")):
            got = await gateway.get("/account/orders", {"X-User-Id": user, "Cookie": f"session={user}"})
            assert (got.verdict, got.body, got.header("cache-control")) == (verdict, user.encode(), "private, no-cache")
        origin.answer("/account/address", body=b"ok")
        assert (await gateway.ask("PUT", "/account/address", {"X-User-Id": "7"}, b"new")).status == 200
        assert (await ask_as(gateway, "/account/orders", x_user_id="7"))[0] == "MISS"
        assert (await ask_as(gateway, "/account/orders", x_user_id="8"))[0] == "HIT"
        assert await ask_as(gateway, "/account/orders") == ("BYPASS", b"-")  # who is nobody has nobody's orders
        assert (await gateway.admin("POST", "/purge", {"namespace": "people"})).json["matched"] == {"memory": 2}
        assert (await ask_as(gateway, "/account/orders", x_user_id="8"))[0] == "MISS"

        origin.answer("/auth/login", headers=[("Set-Cookie", "session=c"), *WEB], body=b"in")
        for method in ("POST", "GET", "GET"):
            got = await gateway.ask(method, "/auth/login")
            assert (got.verdict, got.detail, got.header("set-cookie")) == ("BYPASS", "rule-off", "session=c")
        tried = [(await gateway.ask("POST", "/auth/login")).status for _ in range(3)]
        assert tried == [200, 200, 429]  # 5 in 15 minutes

        origin.answer("/public/news", body=b"news")
        assert (await ask_as(gateway, "/public/news", cookie="session=a"))[0] == "MISS"
        assert (await ask_as(gateway, "/public/news", cookie="session=b"))[0] == "HIT"
        origin.answer("/else", headers=WEB, body=b"x")
        assert await gateway.verdicts("/else", "/else") == ["BYPASS", "BYPASS"]


async def test_cdn() -> None:
    async with Origin() as origin, serving(origin, example("cdn")) as gateway:
        origin.answer("/img/a.jpg", headers=[("Cache-Control", "max-age=60")], body=b"jpg")
        origin.answer("/img/mine.jpg", headers=[("Cache-Control", "private")], body=b"mine")
        origin.answer("/blog/first", headers=[("Cache-Control", "max-age=5"), ("ETag", '"1"')], body=b"blog")
        assert await gateway.verdicts("/img/a.jpg?w=200&ref=mail", "/img/a.jpg?w=200", "/img/a.jpg?w=300") == [
            *("MISS", "HIT", "MISS"),
        ]
        assert origin.of("/img/a.jpg")[0].header("host") == "site.example"
        assert origin.of("/img/a.jpg")[0].target == "/img/a.jpg?w=200"
        assert "ttl=604" in ((await gateway.get("/img/a.jpg?w=200")).header("cache-status") or "")
        assert await gateway.verdicts("/img/mine.jpg", "/img/mine.jpg") == ["MISS", "MISS"]

        first = await gateway.get("/blog/first?utm_campaign=x", {"Cookie": "a=1"})
        again = await gateway.get("/blog/first", {"Cookie": "a=2"})
        assert [(got.verdict, got.header("cache-control")) for got in (first, again)] == [
            ("MISS", "no-cache"),
            ("HIT", "no-cache"),
        ]
        assert (await gateway.get("/blog/first", {"If-None-Match": '"1"'})).status == 304


async def test_cdn_of_versioned_assets_variants_and_large_files() -> None:
    video = bytes(range(256)) * (16 << 10)  # 4 MiB: too large for memory
    async with Origin() as origin, serving(origin, example("cdn")) as gateway:
        origin.answer("/assets/app.3f2a.css", headers=[("Cache-Control", "max-age=60")], body=b"css")
        assert await gateway.verdicts("/assets/app.3f2a.css?ref=a", "/assets/app.3f2a.css?ref=b") == ["MISS", "HIT"]
        asset = await gateway.get("/assets/app.3f2a.css", {"Cache-Control": "max-age=0"})
        assert (asset.verdict, asset.header("cache-control")) == ("HIT", "public, max-age=31536000, immutable")

        accept = {"webp": "image/webp,image/*", "jpeg": "image/*"}
        origin.answer(
            "/img/b",
            headers=[("Vary", "Accept")],
            body=lambda request: b"webp" if "webp" in (request.header("accept") or "") else b"jpeg",
        )
        for verdict in ("MISS", "HIT"):
            for kind, accepted in accept.items():
                assert await ask_as(gateway, "/img/b", accept=accepted) == (verdict, kind.encode())

        origin.answer("/video/a.mp4", headers=[("ETag", '"1"'), ("Content-Type", "video/mp4")], body=video)
        assert (await gateway.get("/video/a.mp4")).body == video
        async with asyncio.timeout(20):
            while (await gateway.stats())["file"]["bytes"] < len(video):
                await asyncio.sleep(0.01)
        part = await gateway.get("/video/a.mp4", {"Range": "bytes=1000-1999"})
        assert (part.status, part.verdict, part.tier, part.body) == (206, "HIT", "file", video[1000:2000])
        assert part.header("content-range") == f"bytes 1000-1999/{len(video)}"
        assert origin.count("/video/a.mp4") == 1


async def test_cdn_whose_origin_is_down() -> None:
    async with Origin() as origin, serving(origin, example("cdn")) as gateway:
        origin.answer("/img/a.jpg", body=b"jpg")
        assert (await gateway.get("/img/a.jpg")).verdict == "MISS"
        assert (await gateway.admin("POST", "/purge", {"tag": "media", "soft": True})).status == 200
        await origin.stop()
        assert await ask_as(gateway, "/img/a.jpg") == ("STALE", b"jpg")


async def test_development(tmp_path: Path) -> None:
    async with Origin() as origin:
        origin.answer("/api/things", body=b"x")
        origin.answer("/api/none", 404, body=b"no")
        origin.answer("/experimental/a", body=b"x")
        trusting = {"ADMIN_TOKEN": "", "REDIS_URL": "redis://127.0.0.1:1"}  # no token, and a Redis of something else
        async with serving(origin, example("development"), directory=tmp_path, env=trusting) as gateway:
            assert await gateway.verdicts("/api/things", "/api/things") == ["MISS", "HIT"]
            assert "stored" in ((await gateway.get("/api/none")).header("cache-status") or "")
            assert await gateway.verdicts("/experimental/a", "/experimental/a") == ["BYPASS", "BYPASS"]
            local = {"Host": f"127.0.0.1:{gateway.port}"}
            async with asyncio.timeout(20):
                while not (trial := await told(gateway, "trial", local))["compared"]:
                    await asyncio.sleep(0.01)
            assert (trial["wouldHits"], trial["compared"], trial["wrong"]) == (1, 1, 0)
            explained = (await gateway.ask("GET", "/cache/explain?url=/experimental/a", local)).json
            assert (explained["verdict"], explained["reason"], explained["rule"]) == ("BYPASS", "shadow", "trial")
            assert (await gateway.ask("DELETE", "/cache", local)).json == {"cleared": 2}
            assert (await gateway.ask("DELETE", "/cache", local | {"X-Forwarded-For": "1.2.3.4"})).status == 404
            assert "admin.token: whoever reaches the gateway from this machine" in gateway.log
            assert not gateway.log.startswith("{")
            await gateway.verdicts("/api/things")
            assert (await gateway.ask("GET", "/cache/stats", local)).json["file"]["size"] == 0
        async with serving(origin, directory=tmp_path, env=trusting) as gateway:
            assert await gateway.verdicts("/api/things") == ["MISS"]  # a restart forgets everything


async def test_gateway() -> None:
    async with Origin() as origin, Origin() as accounts:
        env = {"ACCOUNTS_URL": accounts.url, "REDIS_ENABLED": "false"}
        async with serving(origin, example("gateway"), env=env) as gateway:
            accounts.answer("/api/users/7", body=lambda request: (request.header("x-user-id") or "-").encode())
            for user, verdict in (("7", "MISS"), ("8", "MISS"), ("7", "HIT"), ("8", "HIT")):
                assert await ask_as(gateway, "/api/users/7", x_user_id=user) == (verdict, user.encode())
            assert (await gateway.admin("POST", "/purge", {"tag": "user:7"})).json["matched"] == {"memory": 2}
            assert (await ask_as(gateway, "/api/users/7", x_user_id="7"))[0] == "MISS"
            assert (origin.count(), accounts.count()) == (0, 3)

            origin.answer("/api/catalogue/books", body=b"books")
            assert await gateway.verdicts("/api/catalogue/books", "/api/catalogue/books") == ["MISS", "HIT"]
            assert await gateway.verdicts("/api/catalogue/none", "/api/catalogue/none") == ["MISS", "HIT"]  # a 404

            origin.answer("/api/search", body=lambda request: request.body)
            kind = {"Content-Type": "application/json"}
            asked = [b'{"q": "tea", "page": 1}', b'{"page":1,"q":"tea"}', b'{"q": "tea", "page": 2}']
            answers = [await gateway.ask("POST", "/api/search", kind, body) for body in asked]
            assert [(got.verdict, got.body) for got in answers] == [
                ("MISS", asked[0]),
                ("HIT", asked[0]),
                ("MISS", asked[2]),
            ]
            settings = (await gateway.admin("GET", "/config")).json["settings"]
            assert settings["redis"]["key_prefix"] == "api-proxy:cache:"
            assert TOKEN not in gateway.log
