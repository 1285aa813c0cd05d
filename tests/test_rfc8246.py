"""Over the wire: immutable answers (RFC 8246 2, 2.1)."""

import pytest

from tests.support.gateway import TOKEN, Clock, running
from tests.support.judged import cc
from tests.support.origin import Origin

TRUSTED = {"Cachegate-Token": TOKEN}  # whose reloads are heard


@pytest.mark.parametrize(
    ("said", "asked", "later", "verdict"),
    [
        pytest.param("immutable", "max-age=0", 1, "HIT", id="2.1 a reload is answered from store"),
        pytest.param("immutable=9", "max-age=0", 1, "HIT", id="2 arguments MUST be ignored"),
        pytest.param("immutable, immutable", "max-age=0", 1, "HIT", id="2 many are one"),
        pytest.param("foo", "max-age=0", 1, "REVALIDATED", id="2.1 without it, it is validated"),
        pytest.param("immutable", "no-cache", 1, "REVALIDATED", id="2.1 no-cache is a signal"),
        pytest.param("immutable", "max-age=0", 61, "REVALIDATED", id="2 when stale, as without it"),
        pytest.param("foo", "immutable, max-age=0", 1, "REVALIDATED", id="2 in a request it has no effect"),
    ],
)
@pytest.mark.parametrize("name", ["Cache-Control", "CDN-Cache-Control"])
async def test_immutable(name: str, said: str, asked: str, later: float, verdict: str) -> None:
    clock = Clock()
    async with Origin() as origin, running(origin, clock=clock) as gateway:
        origin.answer("/a", headers=[(name, f"max-age=60, {said}"), ("ETag", '"a"')], body=b"x", times=1)
        origin.answer("/a", 304, [("ETag", '"a"')])
        await gateway.get("/a")
        await gateway.settled()
        clock.advance(later)
        got = await gateway.get("/a", {"Cache-Control": asked, **TRUSTED})
        assert (got.status, got.body, got.verdict) == (200, b"x", verdict)


async def test_the_clients_own_condition_is_answered_without_the_origin() -> None:
    """RFC 8246 2.1: a 304 or a 200, by what the client sent."""
    async with Origin() as origin, running(origin) as gateway:
        origin.answer("/a", headers=[cc("max-age=60, immutable"), ("ETag", '"a"')], body=b"x")
        await gateway.get("/a")
        await gateway.settled()
        reload = {"Cache-Control": "max-age=0", **TRUSTED}
        assert (await gateway.get("/a", reload | {"If-None-Match": '"a"'})).status == 304
        assert (await gateway.get("/a", reload | {"If-None-Match": '"b"'})).status == 200
        assert origin.count("/a") == 1
