"""The access log: the fields of the contract in their order, in JSON and text, one line whatever a request holds, query
values kept out of it by name (row 105)."""

import io
import re
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import settings as settled
from hypothesis import strategies as st

from proxy.gateway import Gateway
from proxy.message import Fields, Reply, Request
from proxy.observe.counters import Bound, Counters
from proxy.observe.logs import Format, LineWriter
from proxy.outcome import Outcome, Tier, Verdict
from proxy.reasons import Why
from proxy.server.access_log import AccessLog, Books, Redaction
from proxy.settings import settings_from
from tests.support.door import door, reply
from tests.support.gateway import settings
from tests.support.rawtcp import raw

NAMES = [
    "time", "method", "host", "path", "query", "status", "bytes", "seconds", "verdict", "tier", "reason", "rule", "key",
    "origin_ttl", "stored", "content_type", "upstream_seconds", "client", "request_id",
]  # fmt: skip
REQUEST = Request("GET", "http", "a.example", "/x?b=c", Fields(), "10.0.0.9", 1700000000.1234, "id-1")
OUTCOME = Outcome(Verdict.HIT, Why.FRESH, "users", "abc", Tier.MEMORY, origin_ttl=60.0, upstream_seconds=0.12345678)
REPLY = Reply(200, "OK", Fields.of(("Content-Type", "text/html; charset=utf-8")), b"", OUTCOME)


async def test_lines_that_nobody_took_are_counted(tmp_path: Path) -> None:
    stream = io.BytesIO()
    writer = LineWriter(stream)
    stream.close()
    gateway = Gateway(settings_from(settings("http://127.0.0.1:9", tmp_path)), access=writer)
    writer.write(b"x")
    writer.close()
    counters, _ = await gateway.everywhere.take()
    assert counters.passed[Bound.LINES] == 1
    await gateway.close(at_once=True)


def line(form: Format, request: Request = REQUEST, answer: Reply = REPLY, hidden: tuple[str, ...] = ()) -> str:
    stream = io.BytesIO()
    writer = LineWriter(stream)
    AccessLog(writer, form, Redaction(hidden, b"key")).write(request, answer, 5, 0.0012345678)
    writer.close()
    text = stream.getvalue().decode()
    assert text.endswith("\n")
    assert len(text.splitlines()) == 1
    return text[:-1]


def test_json() -> None:
    told = orjson.loads(line("json"))
    assert list(told) == NAMES
    assert told == {
        "time": "2023-11-14T22:13:20.123Z",
        "method": "GET",
        "host": "a.example",
        "path": "/x",
        "query": "b=c",
        "status": 200,
        "bytes": 5,
        "seconds": 0.001235,
        "verdict": "HIT",
        "tier": "memory",
        "reason": "fresh",
        "rule": "users",
        "key": "abc",
        "origin_ttl": 60.0,
        "stored": False,
        "content_type": "text/html; charset=utf-8",
        "upstream_seconds": 0.123457,
        "client": "10.0.0.9",
        "request_id": "id-1",
    }


def test_text() -> None:
    told = line("text")
    assert re.findall(r"(\w+)=(?:\"(?:[^\"\\]|\\.)*\"|[^ ]*)", told) == NAMES
    assert 'path=/x query="b=c" status=200' in told
    assert 'content_type="text/html; charset=utf-8"' in told
    bare = Reply(404, "Not Found", Fields(), b"", Outcome(Verdict.BYPASS, Why.NO_RULE))
    assert "tier=- reason=no-rule rule=- key=- origin_ttl=- stored=false" in line("text", answer=bare)


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("target", ['/a%0a" b=c', "/\x85\xa0\xff", '/"\\"', "/a=b verdict=HIT", "/?\x1b[31m"])
def test_what_a_client_sends_stays_in_its_field(form: Format, target: str) -> None:
    request = Request("GET", "http", "a", target, Fields.of(("X", "y")), "c", 0.0, "i")
    told = line(form, request)
    assert told.count("verdict") == 1 + target.count("verdict")
    if form == "json":
        assert orjson.loads(told)["path"] == request.path
    else:
        assert re.findall(r"(\w+)=(?:\"(?:[^\"\\]|\\.)*\"|[^ ]*)", told) == NAMES


VISIBLE = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40)


@settled(max_examples=200, deadline=None)
@given(
    form=st.sampled_from(["json", "text"]),
    now=st.floats(0, 4e9),
    seconds=st.floats(0, 1000),
    client=VISIBLE,
    ids=st.lists(VISIBLE, min_size=1, max_size=3),
    path=VISIBLE,
)
def test_a_template_tells_what_a_line_of_its_own_would(
    form: Format, now: float, seconds: float, client: str, ids: list[str], path: str
) -> None:
    stream = io.BytesIO()
    writer = LineWriter(stream)
    log = AccessLog(writer, form, Redaction((), b"key"))
    request = replace(REQUEST, target=f"/{path}", client=client, received_at=now)
    template = log.template(request, REPLY, 5)
    for one in ids:
        log.write(replace(request, id=one), REPLY, 5, seconds)
        template.write(now, seconds, client, one.encode())
    writer.close()
    lines = stream.getvalue().decode().splitlines()
    assert len(lines) == 2 * len(ids)
    for plain, ready in zip(lines[::2], lines[1::2], strict=True):
        assert told(form, ready) == told(form, plain)


def told(form: Format, line: str) -> object:
    """A line with its seconds as a number: how many zeros stand behind them is all that may differ."""
    if form == "json":
        return list(orjson.loads(line).items())
    return re.sub(r"(?<= seconds=)\S+", lambda found: f"{float(found[0]):.6f}", line)


def test_named_query_values_are_told_as_keyed_hashes() -> None:
    redact = Redaction(["token", "key"], b"secret")
    told = redact("a=1&token=abc&TOKEN=x&to%6ben=abc;key=abc&token&token=")
    hashed = re.findall(r"hmac:([0-9a-f]{12})", told)
    assert re.sub("hmac:[0-9a-f]{12}", "H", told) == "a=1&token=H&TOKEN=x&to%6ben=H;key=H&token&token=H"
    assert len(set(hashed[:3])) == 1
    assert Redaction(["token"], b"another")("token=abc") != Redaction(["token"], b"secret")("token=abc")
    assert Redaction(["token"])("token=abc") != Redaction(["token"])("token=abc")
    assert "hush" not in line("json", Request("GET", "http", "a", "/?token=hush", Fields()), hidden=("token",))
    assert Redaction([])("token=abc") == "token=abc"


def test_the_reason_is_the_word_of_cache_status() -> None:
    skipped = Outcome(Verdict.MISS, Why.URI_MISS, stored_why=Why.SET_COOKIE)
    assert orjson.loads(line("json", answer=Reply(200, "OK", Fields(), b"", skipped)))["reason"] == "set-cookie"


async def test_each_request_is_counted_and_logged_once() -> None:
    stream, counters = io.BytesIO(), Counters()
    writer = LineWriter(stream)
    finished = Books(counters, AccessLog(writer, "json", Redaction(())))
    async with door(lambda request: reply(b"hello")) as d, raw(d.port) as client:
        for path in ("/1", "/2?x"):
            await client.get(path, "X-Request-Id: me")
        for ended in d.ended:
            finished(*ended)
    writer.close()
    first, second = map(orjson.loads, stream.getvalue().splitlines())
    assert (first["path"], first["query"], first["bytes"], first["request_id"]) == ("/1", None, 5, "me")
    assert (second["path"], second["query"], second["client"]) == ("/2", "x", "127.0.0.1")
    assert counters.requests == 2
