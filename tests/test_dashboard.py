"""The dashboard as files: what is sent to whom, under which policy, and that none of it is anybody's data (row 103)."""

import re
from hashlib import sha256
from importlib.resources import files
from pathlib import Path

import pytest

from proxy.reasons import Why
from proxy.server.admin.dashboard import POLICY, TYPES
from tests.support.gateway import TOKEN, Client, running
from tests.support.origin import Origin

HERE = Path(str(files("proxy.server.admin"))) / "dashboard"
OURS = sorted(path for path in HERE.iterdir() if not path.name.startswith("uPlot"))
PAGE = {"Host": "localhost"}
RULES = {"rules": [{"name": "users", "pattern": "/users/*", "ttl": 60}]}
# uPlot 1.6.32 as its author released it: https://registry.npmjs.org/uplot/-/uplot-1.6.32.tgz
VENDORED = {
    "uPlot.iife.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    "uPlot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
    "uPlot.LICENSE.txt": "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd",
}
# What would make markup or code of text, or keep something beyond the page's life.
FORBIDDEN = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|DOMParser|srcdoc|localStorage"
    r"|sessionStorage|indexedDB|\.cookie|EventSource|https?://(?!www\.rfc-editor\.org/|site\.example|\$)"
)


async def test_the_page_and_all_that_it_is_made_of_are_sent_under_the_policy() -> None:
    async with Origin() as origin, running(origin, RULES) as gateway:
        for name in ("", *(f"/{path.name}" for path in HERE.iterdir()), "/reasons.json"):
            got = await gateway.get(f"/cache/dashboard{name}", PAGE)
            assert (got.status, len(got.body) > 0) == (200, True), name
            assert got.header("content-type") == TYPES[name.rpartition(".")[2] or "html"]
            assert got.header("content-security-policy") == POLICY
            assert got.header("x-content-type-options") == "nosniff"
            assert got.header("referrer-policy") == "no-referrer"
            assert got.header("cache-control") == "no-cache"
            again = await gateway.get(f"/cache/dashboard{name}", {**PAGE, "If-None-Match": got.header("etag") or ""})
            assert (again.status, again.body, again.header("etag")) == (304, b"", got.header("etag"))
            other = await gateway.get(f"/cache/dashboard{name}", {**PAGE, "If-None-Match": '"another"'})
            assert other.body == got.body
            head = await gateway.ask("HEAD", f"/cache/dashboard{name}", PAGE)
            assert (head.status, head.body, head.header("content-length")) == (200, b"", str(len(got.body)))


def test_the_policy_lets_nothing_in_but_our_own_files() -> None:
    said = dict(part.split(" ", 1) for part in POLICY.split("; "))
    assert said == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "connect-src": "'self'",
        "img-src": "'self' data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }


WHO = [
    pytest.param({}, 200, id="local"),
    pytest.param({"Host": "evil.example"}, 404, id="a name that was rebound to us"),
    pytest.param({"X-Forwarded-For": "192.0.2.1"}, 404, id="forwarded for somebody"),
    pytest.param({"Via": "1.1 proxy"}, 404, id="through a proxy"),
    pytest.param({"Authorization": "Bearer wrong"}, 401, id="a wrong token"),
    pytest.param({"Host": "evil.example", "Authorization": f"Bearer {TOKEN}"}, 200, id="the token"),
    pytest.param({"Origin": "http://evil.example"}, 403, id="a page of another origin"),
]


@pytest.mark.parametrize(("fields", "status"), WHO)
async def test_who_gets_the_shell(fields: dict[str, str], status: int) -> None:
    async with Origin() as origin, running(origin, RULES) as gateway:
        for page in ("/cache/dashboard", "/cache/dashboard/app.js", "/cache/dashboard/reasons.json"):
            assert (await gateway.get(page, {**PAGE, **fields})).status == status


@pytest.mark.parametrize("name", ["", "nothing.js", "__init__.py", "..", "%2e%2e", "..%2fpages.py", "app.js/x"])
async def test_nothing_else_is_sent(name: str) -> None:
    async with Origin() as origin, running(origin, RULES) as gateway:
        assert (await gateway.get(f"/cache/dashboard/{name}", PAGE)).status == 404
        assert origin.requests == []


async def shell(gateway: Client) -> bytes:
    names = ["", "/reasons.json", *(f"/{path.name}" for path in OURS)]
    return b"".join([(await gateway.get(f"/cache/dashboard{name}", PAGE)).body for name in names])


async def test_the_shell_holds_nobody_s_data() -> None:
    async with Origin() as origin, running(origin, RULES) as gateway:
        origin.answer("/users/7", body=b"x")
        before = await shell(gateway)
        assert (await gateway.get("/users/7")).verdict == "MISS"
        assert await shell(gateway) == before
        assert TOKEN.encode() not in before
        assert origin.url.encode() not in before


async def test_it_stands_under_the_prefix_and_on_the_port_that_are_set() -> None:
    async with Origin() as origin:
        origin.answer("/cache/dashboard", body=b"the site")
        async with running(origin, {"admin": {"prefix": "/ops/gate"}}) as gateway:
            assert b"<!doctype html>" in (await gateway.get("/ops/gate/dashboard", PAGE)).body
            assert (await gateway.get("/cache/dashboard", PAGE)).body == b"the site"


def test_every_file_is_of_a_kind_that_is_sent_and_asks_for_nothing_by_a_whole_path() -> None:
    assert [path.name for path in HERE.iterdir() if path.name.rpartition(".")[2] not in TYPES] == []
    html = (HERE / "index.html").read_text()
    named = re.findall(r'(?:src|href)="([^"#]+)"', html)
    assert named
    assert [name for name in named if not (name.startswith("dashboard/") and (HERE / name[10:]).is_file())] == []
    for path in HERE.glob("*.js"):
        if path in OURS:
            imported = re.findall(r'from "([^"]+)"', path.read_text())
            assert [name for name in imported if not (name.startswith("./") and (HERE / name[2:]).is_file())] == []


def test_lines_fit_the_screen() -> None:
    long = [(path.name, line) for path in OURS for line in path.read_text().splitlines() if len(line) > 120]
    assert [found for found in long if found[0].endswith((".js", ".html"))] == []


def test_text_never_becomes_markup_and_nothing_is_kept() -> None:
    found = [(path.name, told) for path in OURS for told in FORBIDDEN.findall(path.read_text()) if path.suffix == ".js"]
    assert found == []
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style| on\w+=| style=", (HERE / "index.html").read_text())


@pytest.mark.parametrize("name", VENDORED)
def test_what_is_vendored_is_as_it_was_released(name: str) -> None:
    assert sha256((HERE / name).read_bytes()).hexdigest() == VENDORED[name]
    assert b"v1.6.32" in (HERE / "uPlot.iife.min.js").read_bytes()[:80]


async def test_every_reason_has_its_words() -> None:
    async with Origin() as origin, running(origin, RULES) as gateway:
        told = (await gateway.get("/cache/dashboard/reasons.json", PAGE)).json
    assert told == {why.word: {"clause": why.clause, "means": why.means, "advice": why.advice} for why in Why}
    assert [why.word for why in Why if not why.means] == []
