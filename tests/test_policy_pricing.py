"""What an answer says that it cost (row 208)."""

import gzip
import zlib

import pytest

from proxy.message import Fields
from proxy.policy.pricing import LAST_LINES, MAX_BODY, Price

PRICE = Price(("usage", "total_tokens"), 0.5)
SAID = b'{"usage": {"total_tokens": 30}}'


@pytest.mark.parametrize(
    ("content", "coding", "money"),
    [
        (SAID, None, 15.0),
        (SAID, "identity", 15.0),
        (gzip.compress(SAID, mtime=0), "gzip", 15.0),
        (gzip.compress(SAID, mtime=0), "X-Gzip", 15.0),
        (zlib.compress(SAID), "deflate", 15.0),
        (SAID, "gzip", None),
        (gzip.compress(SAID, mtime=0)[:-9], "gzip", None),
        (SAID, "br", None),
        (None, None, None),
        (b"", None, None),
        (b'{"usage": {"total_tokens": 30}', None, None),
        (b'{"usage": {"total_tokens": "30"}}', None, None),
        (b'{"usage": {"total_tokens": true}}', None, None),
        (b'{"usage": {"total_tokens": -1}}', None, None),
        (b'{"usage": {"total_tokens": 1e999}}', None, None),
        (b'{"usage": {"total_tokens": null}}', None, None),
        (b'{"usage": {}}', None, None),
        (b'{"usage": 3}', None, None),
        (b'{"usage": [30]}', None, None),
        (b"[]", None, None),
        (SAID + b" " * MAX_BODY, None, None),
        (gzip.compress(SAID + b" " * MAX_BODY, mtime=0), "gzip", None),
    ],
)
def test_the_money_that_is_told(content: bytes | None, coding: str | None, money: float | None) -> None:
    fields = Fields.of(("Content-Type", "application/json; charset=utf-8"))
    if coding is not None:
        fields = fields.plus(("Content-Encoding", coding))
    assert PRICE.of(fields, content) == money


def test_an_element_of_a_list_and_what_is_no_json() -> None:
    content = b'{"items": [{"cost": 1.5}]}'
    price = Price(("items", "0", "cost"), 2.0)
    assert price.of(Fields.of(("Content-Type", "application/problem+json")), content) == 3.0
    assert price.of(Fields.of(("Content-Type", "text/plain")), content) is None
    assert price.of(Fields.of(), content) is None
    assert Price(("items", "1", "cost"), 2.0).of(Fields.of(("Content-Type", "a/json")), content) is None


@pytest.mark.parametrize(
    ("stream", "money"),
    [
        pytest.param(b'data: {"usage": null}\n\ndata: %b\n\ndata: [DONE]\n\n' % SAID, 15.0, id="the last that says it"),
        pytest.param(b'data: {"usage": {"total_tokens": 9}}\n\ndata: %b\n\n' % SAID, 15.0, id="not an earlier one"),
        pytest.param(b"event: end\r\ndata:%b\r\n\r\n" % SAID, 15.0, id="other ends of lines"),
        pytest.param(b"data: %b" % SAID, 15.0, id="without an end"),
        pytest.param(b": %b\n\n" % SAID, None, id="a comment"),
        pytest.param(SAID, None, id="no event"),
        pytest.param(b"data: %b\n" % SAID + b"\n" * LAST_LINES, None, id="too early"),
        pytest.param(b"data: [DONE]\n\n", None, id="nothing said"),
        pytest.param(b"", None, id="nothing"),
    ],
)
def test_a_stream_of_events_says_it_at_its_end(stream: bytes, money: float | None) -> None:
    fields = Fields.of(("Content-Type", "text/event-stream; charset=utf-8"))
    assert PRICE.of(fields, stream) == money
    assert PRICE.of(fields.plus(("Content-Encoding", "gzip")), gzip.compress(stream)) == money
