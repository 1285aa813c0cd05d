"""Reading logs of others and our own: what each form tells, and that a line which tells nothing is named and passed
over (row 202, "Bad input")."""

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest

from proxy.insight.logs_har import har
from proxy.insight.logs_read import read
from proxy.insight.seen import Ours, Seen, Unreadable
from proxy.message import Fields
from proxy.observe.logs import Format, LineWriter
from proxy.outcome import Outcome, Tier, Verdict
from proxy.reasons import Why
from proxy.server.access_log import AccessLog, Redaction
from tests.test_access_log import REPLY, REQUEST

AT = 971211336.0  # 10/Oct/2000:13:55:36 -0700
COMBINED = (
    '203.0.113.9 - - [10/Oct/2000:13:55:36 -0700] "GET /a?b=c HTTP/1.1" 200 2326 "http://x.example/" "Agent (1.0)"'
)


def told(tmp_path: Path, *lines: str | bytes, fields: dict[str, str] | None = None) -> list[Seen | Unreadable]:
    file = tmp_path / "access.log"
    file.write_bytes(b"".join((line if isinstance(line, bytes) else line.encode()) + b"\n" for line in lines))
    return list(read(str(file), fields or {}))


def one(tmp_path: Path, line: str, fields: dict[str, str] | None = None) -> Seen:
    (found,) = told(tmp_path, line, fields=fields)
    assert isinstance(found, Seen), found
    return found


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (COMBINED, {}),
        (COMBINED + ' "-"', {}),
        (COMBINED.replace("Agent (1.0)", "okhttp"), {}),
        (COMBINED + ' api.example.com 0.125', {"host": "api.example.com", "took": 0.125}),
        (COMBINED + ' "api.example.com:8080" "0.100, 0.025"', {"host": "api.example.com:8080", "took": 0.125}),
        (COMBINED + ' rt=0.125 uct="0.000" host="API.example.com"', {"host": "api.example.com", "took": 0.125}),
        (COMBINED + ' "max-age=60, public"', {"answer": Fields.of(("Cache-Control", "max-age=60, public"))}),
        ("api.example.com:80 " + COMBINED, {"host": "api.example.com"}),
        (COMBINED.rpartition(' "http')[0], {}),
        (COMBINED.replace("2326", "-"), {"size": 0}),
        (COMBINED.replace("/a?b=c", "http://up.example/a?b=c"), {"host": "up.example"}),
        (COMBINED.replace("Agent", 'say \\"hi\\"'), {}),
        (COMBINED.replace("/a?b=c", "/ä"), {"target": "/%C3%A4"}),
    ],
)  # fmt: skip
def test_the_combined_format_and_what_is_put_around_it(tmp_path: Path, line: str, expected: dict[str, Any]) -> None:
    plain: dict[str, Any] = {"time": AT, "method": "GET", "host": "", "target": "/a?b=c", "status": 200, "size": 2326}
    assert one(tmp_path, line) == Seen(**plain | expected)


MESSAGES: dict[Format, str] = {
    "json": '{"time": "2023-11-14T22:13:20Z", "level": "info", "logger": "cachegate", "message": "cachegate listens"}',
    "text": "2023-11-14T22:13:20.000Z info cachegate listens",
}


@pytest.mark.parametrize("form", ["json", "text"])
def test_our_own_lines_as_our_own_program_writes_them(tmp_path: Path, form: Format) -> None:
    stream = io.BytesIO()
    writer = LineWriter(stream)
    log = AccessLog(writer, form, Redaction(()))
    log.write(REQUEST, REPLY, 5, 0.25)
    answer = Outcome(Verdict.MISS, Why.URI_MISS, "", "abc.12", stored_why=Why.NO_STORE, upstream_seconds=0.5)
    log.write(REQUEST, type(REPLY)(404, "", Fields(), b"", answer), 7, 0.25)
    writer.close()
    ours = Ours(Verdict.HIT, "fresh", "users", "abc", 60.0)
    hit = Seen(1700000000.123, "GET", "a.example", "/x?b=c", 200, 5, 0.123457, ours=ours)
    ours = Ours(Verdict.MISS, "no-store", "", "abc.12")
    miss = Seen(1700000000.123, "GET", "a.example", "/x?b=c", 404, 7, 0.5, ours=ours)
    assert told(tmp_path, MESSAGES[form], *stream.getvalue().splitlines()) == [hit, miss]
    assert REPLY.outcome.tier is Tier.MEMORY


@pytest.mark.parametrize(
    ("line", "fields", "expected"),
    [
        pytest.param(
            {"time": "2000-10-10T20:55:36Z", "request_method": "GET", "request_uri": "/a?b=c", "status": "200",
             "http_host": "x.example", "body_bytes_sent": "9", "request_time": "0.5"}, {}, {}, id="nginx",
        ),
        pytest.param(
            {"msec": "971211336.000", "request": "GET /a?b=c HTTP/1.1", "status": 200, "host": "X.example",
             "bytes_sent": 9, "upstream_response_time": "0.25, 0.25"}, {}, {}, id="a request line",
        ),
        pytest.param(
            {"ts": 971211336, "request": {"method": "GET", "uri": "/a?b=c", "host": "x.example"}, "status": 200,
             "size": 9, "duration": 0.5}, {}, {}, id="Caddy",
        ),
        pytest.param(
            {"timestamp": 971211336000, "method": "GET", "path": "/a", "query_string": "b=c", "host": "x.example:80",
             "status_code": 200, "bytes": 9, "seconds": 0.5}, {}, {}, id="milliseconds, a query by itself",
        ),
        pytest.param(
            {"w": {"at": 971211336}, "m": "GET", "u": "https://x.example/a?b=c", "s": 200, "n": 9, "d": 0.5},
            {"time": "w.at", "method": "m", "target": "u", "status": "s", "bytes": "n", "seconds": "d"}, {},
            id="names that are given",
        ),
        pytest.param(
            {"time": AT, "method": "GET", "uri": "/a?b=c", "status": 200, "host": "x.example", "bytes": 9,
             "seconds": 0.5, "cache_control": "no-store", "etag": '"1"'}, {},
            {"answer": Fields.of(("Cache-Control", "no-store")), "digest": '"1"'}, id="what the answer said",
        ),
        pytest.param(
            {"time": AT, "request": "GET /a?b=c HTTP/1.1", "status": 200, "host": "x.example", "bytes": 9,
             "seconds": 0.5, "http_user_agent": "x", "http_accept_language": "de", "http_x_user": "-",
             "http_cache_control": "no-cache"}, {},
            {"asked": Fields.of(("accept-language", "de"), ("cache-control", "no-cache"))}, id="what was asked, nginx",
        ),
        pytest.param(
            {"ts": AT, "request": {"method": "GET", "uri": "/a?b=c", "host": "x.example", "headers": {
             "Accept": ["a", "b"], "Connection": ["close"], "b d": ["e"]}}, "status": 200, "size": 9, "duration": 0.5},
            {},
            {"asked": Fields.of(("Accept", "a"), ("Accept", "b"))}, id="what was asked, Caddy",
        ),
    ],
)  # fmt: skip
def test_json_lines_of_others(
    tmp_path: Path, line: dict[str, Any], fields: dict[str, str], expected: dict[str, Any]
) -> None:
    plain: dict[str, Any] = {"time": AT, "method": "GET", "host": "x.example", "target": "/a?b=c", "status": 200}
    assert one(tmp_path, json.dumps(line), fields) == Seen(**plain | {"size": 9, "took": 0.5} | expected)


@pytest.mark.parametrize(
    "line",
    [
        'ts=971211336 method=GET path="/a?b=c" status=200 host=x.example bytes=9 duration=0.5',
        'ts=971211336 level=info msg="a \\"b\\"" method=GET uri=/a?b=c status=200 host=x.example size=9 seconds=.5 u=-',
        'msec=971211336.000  request="GET /a?b=c HTTP/1.1" status=200 http_host=x.example size=9 request_time=0.5 ',
    ],
)
def test_logfmt_of_others(tmp_path: Path, line: str) -> None:
    assert one(tmp_path, line) == Seen(AT, "GET", "x.example", "/a?b=c", 200, 9, 0.5)
    quoted = one(tmp_path, r'ts=1 method=GET uri="/a?b=\"c\\d\"" status=200')
    assert quoted.target == r'/a?b="c\d"'
    assert told(tmp_path, 'level=warn msg="no request"', "2000-10-10T20:55:36.000Z info ours") == []


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("garbage", "not of the combined format"),
        (COMBINED.replace("GET /a?b=c HTTP/1.1", r"\x16\x03\x01"), "is no request line"),
        (COMBINED.replace("/a?b=c", "a"), "'a' is no path"),
        (COMBINED.replace("Oct", "Okt"), "is no time like"),
        (COMBINED.replace("10/Oct", "31/Feb"), "is no time: day is out of range"),
        (COMBINED.replace(" 200 ", " 999 "), "'999' is no status"),
        ("{", "no JSON: "),
        ('{"a": 1}', "no method under any name that is known; see --field"),
        ('{"method": "GET", "uri": "/", "status": 200}', "no time under any name"),
        ('{"method": "GET", "uri": "/", "time": 1}', "no status under any name"),
        ('{"method": "G T", "uri": "/", "time": 1, "status": 200}', "'G T' is no method"),
        ('{"verdict": "HIT", "key": null}', "no query"),
        ("method=GET path=/a", "no time under any name"),
        ('method=GET "path"=/a', """no name=value: '"path"=/a'"""),
        ('method=GET path="/a', "no name=value"),
        ("verdict=HIT key=-", "no query"),
        (b"\xff\xfe\x00", "not of the combined format"),
        (b"x" * (1 << 20), "longer than 1 MiB"),
    ],
)
def test_what_tells_nothing_is_named_and_the_rest_goes_on(tmp_path: Path, line: str | bytes, why: str) -> None:
    found = told(tmp_path, COMBINED, line, COMBINED)
    assert [each.target for each in found if isinstance(each, Seen)] == ["/a?b=c"] * 2
    (named,) = [each for each in found if isinstance(each, Unreadable)]
    assert named.number == 2
    assert why in named.why


def test_requests_come_by_their_time_not_by_the_end_of_their_answers(tmp_path: Path) -> None:
    lines = [json.dumps({"time": at, "method": "GET", "uri": f"/{at}", "status": 200}) for at in (3, 1, 2, 5, 4)]
    assert [each.time for each in told(tmp_path, *lines) if isinstance(each, Seen)] == [1, 2, 3, 4, 5]


def test_gzip_is_read_as_it_is_and_damage_ends_it(tmp_path: Path) -> None:
    file = tmp_path / "access.log.gz"
    whole = gzip.compress(b"".join(f"{COMBINED} {n}.5\n".encode() for n in range(5000)))
    file.write_bytes(whole)
    assert len(list(read(str(file), {}))) == 5000
    file.write_bytes(whole[: len(whole) // 2])
    found = list(read(str(file), {}))
    (named,) = [each for each in found if isinstance(each, Unreadable)]
    assert 0 < len(found) - 1 < 5000
    assert "the compressed data is damaged" in named.why


def test_how_far_it_has_read_is_told(tmp_path: Path) -> None:
    places: list[int] = []
    file = tmp_path / "access.log"
    file.write_text(f"{COMBINED}\n" * 5000)
    list(read(str(file), {}, places.append))
    assert places == sorted(places)
    assert 0 < places[-1] <= file.stat().st_size
    assert len(places) > 10


# -- HAR ---------------------------------------------------------------------------------------------------------------

ENTRY: dict[str, Any] = {
    "startedDateTime": "2000-10-10T20:55:36.000Z",
    "time": 500,
    "request": {
        "method": "POST",
        "url": "https://x.example/a?b=c",
        "headers": [{"name": ":authority", "value": "x.example"}, {"name": "X-User", "value": "7"}],
        "postData": {"mimeType": "application/json", "text": '{"q": 1}'},
    },
    "response": {
        "status": 200,
        "headers": [{"name": "Cache-Control", "value": "max-age=60"}],
        "content": {"size": 5, "text": "hello"},
        "bodySize": -1,
    },
}


def archive(*entries: Any, pages: Any = ()) -> bytes:
    return json.dumps({"log": {"version": "1.2", "pages": list(pages), "entries": list(entries)}}, indent=1).encode()


def test_har_tells_fields_bodies_and_digests(tmp_path: Path) -> None:
    found = one(tmp_path, archive(ENTRY, pages=[{"title": 'about "entries": ['}]).decode())
    seen = Seen(
        AT, "POST", "x.example", "/a?b=c", 200, 5, 0.5, "https",
        Fields.of(("X-User", "7")), Fields.of(("Cache-Control", "max-age=60")), b'{"q": 1}', found.digest,
    )  # fmt: skip
    assert found == seen
    assert len(found.digest) == 16


def test_an_entry_that_is_none_is_named_and_the_rest_goes_on() -> None:
    found = list(har(io.BytesIO(archive({"request": {}}, ENTRY, {**ENTRY, "startedDateTime": "soon"}))))
    assert [type(each).__name__ for each in found] == ["Unreadable", "Seen", "Unreadable"]
    assert [each.number for each in found if isinstance(each, Unreadable)] == [1, 3]


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (5, "wanted an object, found 5"),
        (None, "wanted an object, found null"),
        ({}, "an entry without 'request'"),
        ({**ENTRY, "response": "x"}, 'response: wanted an object, found "x"'),
        ({**ENTRY, "request": {**ENTRY["request"], "url": 7}}, "url: wanted text, found 7"),
        ({**ENTRY, "request": {**ENTRY["request"], "method": None}}, "method: wanted text, found null"),
        ({**ENTRY, "request": {**ENTRY["request"], "headers": [1]}}, "headers: wanted an object, found 1"),
        ({**ENTRY, "request": {**ENTRY["request"], "headers": True}}, "headers: wanted a list, found true"),
        ({**ENTRY, "time": "long"}, 'time: wanted a number, found "long"'),
        ({**ENTRY, "response": {**ENTRY["response"], "content": {"size": []}}}, None),
        (
            {**ENTRY, "response": {**ENTRY["response"], "bodySize": -1, "content": {"size": "x"}}},
            "a value of another type than HAR has there",
        ),
    ],
)
def test_what_is_wrong_with_an_entry_is_said_in_words_of_har(entry: Any, why: str | None) -> None:
    first, second = har(io.BytesIO(archive(ENTRY, entry)))
    assert isinstance(first, Seen)
    if why is None:
        assert isinstance(second, Seen)
    else:
        assert second == Unreadable(2, why, "entry")


class Trickle(io.BytesIO):
    """Gives a few bytes at a time, and remembers the most that it was asked for."""

    most = 0

    def read(self, number: int | None = -1) -> bytes:
        self.most = max(self.most, number or 0)
        return super().read(7)


def test_a_large_archive_is_never_held_as_a_whole() -> None:
    stream = Trickle(archive(*[ENTRY] * 40, pages=[{"title": "ü" * 50}]))
    assert [each.time for each in har(stream) if isinstance(each, Seen)] == [AT] * 40
    assert stream.most == 1 << 16
    cut = archive(ENTRY, ENTRY)[:-200]
    *_, last = har(io.BytesIO(cut))
    assert isinstance(last, Unreadable)
    assert "the document ends within an entry" in last.why
