"""Upstream addresses come from the configuration alone, redirects are passed on, and no stranger sees an admin page
(invariant 8), whatever he writes."""

from typing import Any

import pytest

from tests.support.gateway import running
from tests.support.origin import Origin
from tests.support.rawtcp import Broken, raw

PAGES = [
    "/cache/stats",
    "/cache/config",
    "/cache/entries",
    "/cache/metrics",
    "/cache/redis/health",
    "/cache/explain?url=/",
]


async def test_nothing_in_a_request_or_an_answer_is_an_address() -> None:
    """A trap listens; nobody may come to it."""
    async with (
        Origin() as trap,
        Origin() as origin,
        running(origin, {"rules": [{"pattern": "*", "ttl": 60}]}) as gateway,
    ):
        there = trap.authority
        host = f"Host: {there}"
        asked = [
            (f"http://{there}/a", "Host: a"),
            (f"//{there}/a", "Host: a"),
            (f"/@{there}/a", "Host: a"),
            (f"@{there}/a", "Host: a"),
            (f"http://a@{there}/a", "Host: a"),
            (f"http://{there}@a/a", "Host: a"),
            ("/a", host),
            (there, host),
            *[
                ("/a", "Host: a", f"{name}: {value}")
                for name in (
                    "X-Forwarded-Host",
                    "X-Host",
                    "X-Original-URL",
                    "X-Rewrite-URL",
                    "X-Upstream",
                    "Origin",
                    "Proxy",
                )
                for value in (there, f"http://{there}/a")
            ],
            ("/a", "Host: a", f"Forwarded: host={there}"),
            ("/a", "Host: a", f"Referer: http://{there}/a", f"Alt-Used: {there}"),
        ]
        links = [
            ("Location", f"http://{there}/a"),
            ("Content-Location", f"http://{there}/a"),
            ("Refresh", f"0;http://{there}/"),
        ]
        links += [("Link", f"<http://{there}/a>; rel=preload"), ("Alt-Svc", f'http/1.1="{there}"')]
        for status in (200, 201, 300, 301, 302, 303, 305, 307, 308, 401, 503):
            origin.answer(f"/{status}", status, links, b"x")
            asked.append((f"/{status}", "Host: a"))
        for target, *fields in asked:
            for method in ("GET", "POST", "CONNECT"):
                async with raw(gateway.port) as client:
                    await client.send("\r\n".join([f"{method} {target} HTTP/1.1", *fields, "", ""]).encode())
                    got = await client.response()
                if target == "/302" and method != "CONNECT":
                    assert (got.status, got.header("location")) == (302, f"http://{there}/a")
        await gateway.settled()
        assert trap.connections == 0
        assert origin.count() > 20
        assert {request.header("host") for request in origin.requests} == {origin.authority}


MARKS = [
    "X-Forwarded-For: 192.0.2.1",
    "Forwarded: for=192.0.2.1",
    "Via: 1.1 x",
    "X-Real-IP: 192.0.2.1",
    "X-Forwarded-Foo: 1",
]
STRANGERS: list[list[str]] = [
    ["Host: site.example"],
    ["Host: 127.0.0.1.site.example"],
    ["Host: localhost", "Origin: http://a"],
]
STRANGERS += [["Host: localhost", mark] for mark in MARKS]
# A proxy that passes on a client's Connection would take off what it added itself.
STRANGERS += [["Host: localhost", f"Connection: {mark.partition(':')[0]}", mark] for mark in MARKS]
STRANGERS += [["Host: localhost", f"Connection: close, {mark.partition(':')[0].lower()}", mark] for mark in MARKS]
STRANGERS += [
    ["Host: localhost", "Connection: Origin", "Origin: http://a"],
    ["Host: localhost", "Authorization: Bearer x"],
]


@pytest.mark.parametrize("token", ["test-token", "none"])
async def test_strangers_see_no_admin_page(token: str) -> None:
    """With `none` it is the more true: there the visitor from next to us may do everything."""
    settings: dict[str, Any] = {"admin": {"token": token}}
    async with Origin() as origin, running(origin, settings) as gateway:
        seen = []
        for page in PAGES:
            for fields in STRANGERS:
                if token == "none" and fields[-1].startswith("Authorization"):
                    continue
                for method in ("GET", "POST", "PURGE"):
                    async with raw(gateway.port) as client:
                        await client.send("\r\n".join([f"{method} {page} HTTP/1.1", *fields, "", ""]).encode())
                        try:
                            got = await client.response(method=method)
                        except Broken:
                            continue
                    if got.status not in (401, 403, 404):
                        seen.append((method, page, fields, got.status))
        assert [one for one in seen if one[0] != "PURGE" or token != "none"] == []
        assert all("site.example" in str(one[2]) for one in seen)  # a PURGE's Host is the site's
        assert origin.count() == 0
