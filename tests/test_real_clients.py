"""Clients that people use, before a gateway in front of httpbin and datasette: curl, requests, httpx, a browser.

What they do by themselves must work through the gateway: keep connections, decode content, follow redirects, resume
downloads, wait for 100 (Continue), send in chunks, log in, keep cookies (RFC 9110 8.4, 10.1.1, 11, 14; RFC 9112 9).
"""

import asyncio
import base64
import gzip
import hashlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests

from tests.support.programs import PATIENCE, TOKEN, Program, datasette, gateway, httpbin

CURL = shutil.which("curl")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
BROWSER_FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --disable-dev-shm-usage --no-first-run --no-proxy-server "
    "--disable-background-networking --disable-component-update --disable-sync --dump-dom"
)
LENGTH = 100_000  # of the file that is downloaded in parts
ALPHABET = bytes(range(ord("a"), ord("z") + 1))

needs_curl = pytest.mark.skipif(CURL is None, reason="needs curl (Debian, Ubuntu: apt-get install curl)")
needs_browser = pytest.mark.skipif(BROWSER is None, reason="needs Chromium (Debian: apt-get install chromium)")


@pytest.fixture(autouse=True)
def no_other_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the tester's own network needs, the loopback is asked directly."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    with httpbin(tmp_path_factory.mktemp("httpbin")) as started:
        yield started


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    directory = tmp_path_factory.mktemp("datasette")
    with sqlite3.connect(directory / "library.db") as connection:
        connection.execute("create table books (id integer primary key, title)")
        connection.executemany("insert into books values (?, ?)", [(n, f"Title {n}") for n in range(1, 301)])
    connection.close()
    with datasette(directory, directory / "library.db") as started:
        yield started


@pytest.fixture(scope="module")
def front(api: Program, library: Program, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    settings = {
        "admin": {"prefix": "/_gateway"},
        "upstream": {"preserve_host": True},
        "upstreams": {"library": {"url": library.url, "preserve_host": True}},
        "rules": [
            {"name": "library", "pattern": ["/library*", "/-/*"], "upstream": "library", "ttl": 60, "override": True},
            {"name": "api", "pattern": "*", "ttl": 60},
        ],
    }
    with gateway(tmp_path_factory.mktemp("gateway"), api, settings) as started:
        yield started


def stored(front: Program, match: str) -> set[str]:
    """The paths of the answers in store."""
    asked = requests.get(
        f"{front.url}/_gateway/entries",
        {"match": match},
        headers={"Authorization": f"Bearer {TOKEN}"},
        timeout=PATIENCE,
    )
    return {entry["url"].partition(front.address)[2] for entry in asked.json()["entries"]}


# -- curl --------------------------------------------------------------------------------------------------------------


def curl(*arguments: str, content: bytes = b"") -> bytes:
    assert CURL is not None
    command = [CURL, "--disable", "--silent", "--show-error", "--max-time", "30", *arguments]
    done = subprocess.run(command, input=content, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def fields_of(head: bytes) -> dict[str, str]:
    lines = head.decode().splitlines()[1:]
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}


@needs_curl
def test_curl_sees_a_miss_then_a_hit(front: Program) -> None:
    head, _, body = curl("-i", f"{front.url}/xml").partition(b"\r\n\r\n")
    again, _, same = curl("-i", f"{front.url}/xml").partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert fields_of(head)["x-cache"] == "MISS"
    assert (fields_of(again)["x-cache"], fields_of(again)["x-cache-tier"]) == ("HIT", "memory")
    assert "age" in fields_of(again)
    assert same == body != b""


@needs_curl
def test_curl_asks_for_the_head_alone(front: Program) -> None:
    before = fields_of(curl("-I", f"{front.url}/robots.txt"))
    body = curl(f"{front.url}/robots.txt")
    after = fields_of(curl("-I", f"{front.url}/robots.txt"))
    assert (before["x-cache"], after["x-cache"]) == ("MISS", "HIT")
    assert before["content-length"] == after["content-length"] == str(len(body))


@needs_curl
@pytest.mark.parametrize("coding", ["gzip", "deflate", "brotli"])
def test_curl_decodes_what_was_stored_encoded(front: Program, coding: str) -> None:
    first, second = [curl("--compressed", f"{front.url}/{coding}") for _ in range(2)]
    assert first == second
    assert any(json.loads(first).get(name) for name in ("gzipped", "deflated", "brotli"))


@needs_curl
def test_curl_keeps_its_connection_over_hits_misses_and_errors(front: Program) -> None:
    urls = [f"{front.url}{path}" for path in ("/html", "/html", "/status/404", "/status/204", "/stream/3", "/bytes/0")]
    told = curl("--write-out", "%{num_connects} ", *[part for url in urls for part in ("-o", os.devnull, url)])
    assert told.split() == [b"1", b"0", b"0", b"0", b"0", b"0"]


@needs_curl
def test_curl_of_http_1_0(front: Program) -> None:
    for _ in range(2):
        head, _, body = curl("-i", "--http1.0", f"{front.url}/stream-bytes/5000?seed=1").partition(b"\r\n\r\n")
        assert b"transfer-encoding" not in head.lower()
        assert len(body) == 5000


@needs_curl
@pytest.mark.parametrize("is_stored", [False, True], ids=["not stored", "stored"])
def test_curl_resumes_a_download(front: Program, tmp_path: Path, is_stored: bool) -> None:
    target = f"{front.url}/range/{LENGTH + is_stored}"
    whole = (ALPHABET * LENGTH)[: LENGTH + is_stored]
    if is_stored:
        curl(target)
    file = tmp_path / "part"
    file.write_bytes(whole[:40_000])
    head = curl("-C", "-", "--dump-header", "-", "-o", str(file), target)
    assert head.startswith(b"HTTP/1.1 206 ")
    assert fields_of(head)["x-cache"] == ("HIT" if is_stored else "MISS")
    assert file.read_bytes() == whole


@needs_curl
def test_curl_asks_whether_its_copy_still_holds(front: Program, tmp_path: Path) -> None:
    url, tag = f"{front.url}/response-headers?ETag=%22v1%22", str(tmp_path / "etag")
    curl("--etag-save", tag, url)
    head, _, body = curl("-i", "--etag-compare", tag, url).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 304 ")
    assert (fields_of(head)["x-cache"], fields_of(head)["etag"], body) == ("HIT", '"v1"', b"")


def echoed(answer: bytes) -> bytes:
    """The content that httpbin says it got."""
    data: str = json.loads(answer)["data"]
    return base64.b64decode(data.partition("base64,")[2]) if data.startswith("data:") else data.encode()


@needs_curl
@pytest.mark.parametrize(
    "options",
    [(), ("-H", "Transfer-Encoding: chunked"), ("-H", "Expect:"), ("-H", "Expect: 100-continue")],
    ids=["length", "chunks", "at once", "after 100"],
)
def test_curl_uploads_a_file(front: Program, tmp_path: Path, options: tuple[str, ...]) -> None:
    content = hashlib.shake_256(b"upload").digest(3_000_000)
    file = tmp_path / "file"
    file.write_bytes(content)
    kind = ("-H", "Content-Type: application/octet-stream")
    assert echoed(curl(*kind, *options, "-T", str(file), f"{front.url}/put")) == content


@needs_curl
def test_curl_is_told_to_continue(front: Program, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    content = b"x" * 2000
    got = curl(
        "--trace-ascii", str(trace), "-H", "Expect: 100-continue", "-T", "-", f"{front.url}/put", content=content
    )
    assert echoed(got) == content
    assert "HTTP/1.1 100 Continue" in trace.read_text()
    assert "Done waiting for 100-continue" not in trace.read_text()


@needs_curl
@pytest.mark.parametrize("redirect", ["/redirect/3", "/absolute-redirect/3", "/relative-redirect/3"])
def test_curl_follows_redirects_back_to_the_gateway(front: Program, redirect: str) -> None:
    shown = curl("-L", "-o", os.devnull, "--write-out", "%{num_redirects} %{url_effective}", f"{front.url}{redirect}")
    assert shown.decode() == f"3 {front.url}/get"


# -- requests ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as made:
        yield made


def test_requests_decodes_and_hits(front: Program, session: requests.Session) -> None:
    first, second = [session.get(f"{front.url}/gzip?by=requests", timeout=PATIENCE) for _ in range(2)]
    assert (first.headers["X-Cache"], second.headers["X-Cache"]) == ("MISS", "HIT")
    assert second.headers["Content-Encoding"] == "gzip"
    assert first.json() == second.json()
    assert second.json()["gzipped"] is True
    raw = session.get(f"{front.url}/gzip?by=requests", stream=True, timeout=PATIENCE).raw.read(decode_content=False)
    assert json.loads(gzip.decompress(raw)) == first.json()


def test_requests_streams_a_page_of_unknown_length(front: Program, session: requests.Session) -> None:
    url = f"{front.url}/stream-bytes/60000?seed=2&chunk_size=1000"
    for verdict in ("MISS", "HIT"):
        with session.get(url, stream=True, timeout=PATIENCE) as answer:
            assert answer.headers["X-Cache"] == verdict
            assert sum(map(len, answer.iter_content(777))) == 60_000


def test_requests_sends_json_forms_files_and_generators(front: Program, session: requests.Session) -> None:
    def post(**what: Any) -> Any:
        return session.post(f"{front.url}/post", timeout=PATIENCE, **what).json()

    assert post(json={"a": [1, "ü"]})["json"] == {"a": [1, "ü"]}
    assert post(data={"a": "1", "b": ["2", "3"]})["form"] == {"a": "1", "b": ["2", "3"]}
    assert post(files={"f": ("name.txt", b"content")})["files"] == {"f": "content"}
    assert post(data=iter([b"in ", b"pieces"]))["data"] == "in pieces"


def test_requests_keeps_its_cookies_to_itself(front: Program, session: requests.Session) -> None:
    with requests.Session() as other:
        for person, name in ((session, "one"), (other, "two")):
            got = person.get(f"{front.url}/cookies/set?who={name}", timeout=PATIENCE)
            assert (got.url, got.json()) == (f"{front.url}/cookies", {"cookies": {"who": name}})
            assert [step.headers["X-Cache"] for step in (*got.history, got)] == ["MISS", "MISS"]
    assert requests.get(f"{front.url}/cookies", timeout=PATIENCE).json() == {"cookies": {}}


@pytest.mark.parametrize("scheme", ["basic", "digest"])
def test_requests_logs_in_and_nobody_else_is_let_in(front: Program, session: requests.Session, scheme: str) -> None:
    kinds: dict[str, tuple[str, Any]] = {
        "basic": ("/basic-auth/user/passwd", requests.auth.HTTPBasicAuth("user", "passwd")),
        "digest": ("/digest-auth/auth/user/passwd", requests.auth.HTTPDigestAuth("user", "passwd")),
    }
    path, auth = kinds[scheme]
    for _ in range(2):
        let_in = session.get(front.url + path, auth=auth, timeout=PATIENCE)
        assert (let_in.status_code, let_in.json()["authenticated"]) == (200, True)
        assert requests.get(front.url + path, timeout=PATIENCE).status_code == 401


# -- httpx -------------------------------------------------------------------------------------------------------------


def test_httpx_keeps_a_connection_and_decodes(front: Program) -> None:
    with httpx.Client(base_url=front.url, timeout=PATIENCE) as client:
        for verdict in ("MISS", "HIT"):
            got = client.get("/deflate", params={"by": "httpx"})
            assert (got.http_version, got.headers["X-Cache"]) == ("HTTP/1.1", verdict)
            assert got.json()["deflated"] is True
        assert client.head("/deflate", params={"by": "httpx"}).headers["X-Cache"] == "HIT"
        assert client.put("/put", content=iter([b"in ", b"pieces"])).json()["data"] == "in pieces"
        assert client.get("/redirect/2", follow_redirects=True).url == f"{front.url}/get"


async def test_a_hundred_of_httpx_at_once_get_one_answer(front: Program) -> None:
    async with httpx.AsyncClient(base_url=front.url, timeout=PATIENCE) as client:
        answers = await asyncio.gather(*[client.get("/uuid") for _ in range(100)])
    assert len({answer.json()["uuid"] for answer in answers}) == 1
    assert {answer.headers["X-Cache"] for answer in answers} <= {"MISS", "HIT"}


async def test_httpx_leaves_in_the_middle_and_the_next_gets_the_whole(front: Program) -> None:
    path = "/drip?duration=0.5&numbytes=10&delay=0"
    async with httpx.AsyncClient(base_url=front.url, timeout=PATIENCE) as client:
        async with client.stream("GET", path) as answer:
            await anext(answer.aiter_raw())
        assert (await client.get(path)).content == b"*" * 10


# -- a browser ---------------------------------------------------------------------------------------------------------


def dom(url: str, profile: Path) -> str:
    """The document as Chromium has it once it is loaded."""
    assert BROWSER is not None
    command = [BROWSER, *BROWSER_FLAGS.split(), f"--user-data-dir={profile}", url]
    env = {"PATH": os.environ["PATH"], "HOME": str(profile)}
    process = subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        return process.communicate(timeout=PATIENCE)[0].decode()
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)  # with the processes that it started itself
        except ProcessLookupError:
            pass
        process.wait()


@needs_browser
def test_a_browser_shows_a_page_and_what_belongs_to_it(front: Program, tmp_path: Path) -> None:
    shown = dom(f"{front.url}/library/books?_size=20", tmp_path)
    assert "<title>library: books: 300 rows</title>" in shown
    assert "Title 20<" in shown
    assert "dropdown-menu" in shown  # made by the page's script: it was loaded, and it ran
    assert {"/library/books?_size=20", "/-/static/table.js"} <= stored(front, "*")

    asked = requests.get(f"{front.url}/library/books?_size=20", timeout=PATIENCE)
    assert (asked.headers["X-Cache"], asked.headers["X-Cache-Tier"]) == ("HIT", "memory")
    fresh_profile = tmp_path / "second"
    assert dom(f"{front.url}/library/books?_size=20", fresh_profile) == shown
