"""Conditions, the client's and ours: RFC 9110 13.1, 13.2, 15.4.5; RFC 9111 4.3.1, 4.3.2."""

import pytest

from proxy.message import Fields
from proxy.policy.conditional import (
    CLIENT_CONDITIONS,
    ORIGIN_CONDITIONS,
    client_condition,
    for_the_origin,
    not_modified_fields,
    validators,
)
from tests.support.judged import Told, cc, date, get, stored

TAG = ("ETag", '"a"')
WEAK = ("ETag", 'W/"a"')
MODIFIED = ("Last-Modified", date(-100))
SINCE = "If-Modified-Since"


def match(value: str) -> Told:
    return "If-None-Match", value


@pytest.mark.parametrize(
    ("asked", "told", "expected"),
    [
        pytest.param([match('"a"')], [TAG], 304, id="13.1.2 the same tag"),
        pytest.param([match('"b"')], [TAG], None, id="13.1.2 another tag"),
        pytest.param([match('"b", W/"a"')], [TAG], 304, id="13.1.2 a list, weak comparison"),
        pytest.param([match('"b"'), match('"a"')], [TAG], 304, id="13.1.2 a list over two lines"),
        pytest.param([match('"a"')], [WEAK], 304, id="13.1.2 weak here"),
        pytest.param([match("*")], [TAG], 304, id="13.1.2 star"),
        pytest.param([match(" * ")], [], 304, id="13.1.2 star needs no tag"),
        pytest.param([match('*, "b"')], [TAG], None, id="13.1.2 star in a list is invalid"),
        pytest.param([match("a")], [TAG], None, id="13.1.2 an unquoted tag is none"),
        pytest.param([match('"a"')], [("ETag", "a")], None, id="13.1.2 an unquoted tag here neither"),
        pytest.param([match('"a"')], [], None, id="13.1.2 no tag here"),
        pytest.param([(SINCE, date(-100))], [MODIFIED], 304, id="13.1.3 the same date"),
        pytest.param([(SINCE, date(-99))], [MODIFIED], 304, id="13.1.3 a later date"),
        pytest.param([(SINCE, date(-101))], [MODIFIED], None, id="13.1.3 an earlier date"),
        pytest.param([(SINCE, "never")], [MODIFIED], None, id="13.1.3 an invalid date is ignored"),
        pytest.param([(SINCE, date()), (SINCE, date())], [MODIFIED], None, id="13.1.3 more than one is ignored"),
        pytest.param([(SINCE, date())], [], None, id="13.1.3 no date here"),
        pytest.param([(SINCE, date())], [("Date", date(-5))], 304, id="9111-4.3.2 Date stands in"),
        pytest.param([(SINCE, date(-9))], [("Date", date(-5))], None, id="9111-4.3.2 Date stands in, later"),
        pytest.param([match('"b"'), (SINCE, date())], [TAG, MODIFIED], None, id="13.2.2 tags before dates"),
        pytest.param([match("junk"), (SINCE, date())], [TAG, MODIFIED], None, id="13.1.3 also when they are junk"),
        pytest.param([match('"a"'), (SINCE, date(-999))], [TAG, MODIFIED], 304, id="13.2.2 tags before dates, hit"),
        pytest.param([("If-Match", '"b"')], [TAG], None, id="9111-4.3.2 If-Match is not for caches"),
        pytest.param([("If-Unmodified-Since", date(-999))], [MODIFIED], None, id="9111-4.3.2 nor its kin"),
        pytest.param([], [TAG, MODIFIED], None, id="no condition"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_client_condition(asked: list[Told], told: list[Told], expected: int | None, method: str) -> None:
    assert client_condition(get(*asked, method=method), 200, Fields.of(*told)) == expected


@pytest.mark.parametrize(
    ("status", "method", "expected"),
    [
        pytest.param(200, "GET", 304, id="200"),
        pytest.param(203, "GET", 304, id="another success"),
        pytest.param(404, "GET", None, id="13.2.1 not where the answer is an error"),
        pytest.param(300, "GET", None, id="13.2.1 nor a redirect"),
        pytest.param(200, "POST", None, id="13.1.2 nor to another method"),
    ],
)
def test_conditions_count_only_for_a_success(status: int, method: str, expected: int | None) -> None:
    assert client_condition(get(match('"a"'), method=method), status, Fields.of(TAG)) == expected


@pytest.mark.parametrize(
    ("asked", "method", "expected"),
    [
        pytest.param(("If-Match", "*"), "GET", True, id="9111-4.3.2 If-Match"),
        pytest.param(("If-Unmodified-Since", "never"), "HEAD", True, id="9111-4.3.2 If-Unmodified-Since"),
        pytest.param(match("*"), "GET", False, id="13.1.2 304 is ours to say"),
        pytest.param(match('"a"'), "HEAD", False, id="13.1.2 to HEAD too"),
        pytest.param(match('"a"'), "POST", True, id="13.1.2 412 is not"),
        pytest.param((SINCE, date()), "POST", False, id="13.1.3 ignored with other methods"),
        pytest.param(("If-Range", '"a"'), "GET", False, id="13.1.5 ours to evaluate"),
    ],
)
def test_conditions_that_only_the_origin_may_evaluate(asked: Told, method: str, expected: bool) -> None:
    assert for_the_origin(get(asked, method=method)) is expected


def test_a_304_leaves_out_the_representations_metadata() -> None:
    """RFC 9110 15.4.5: what must be there stays, and so does all that is not about the content."""
    stays = Fields.of(
        ("Date", date()),
        ("Content-Location", "/a"),
        TAG,
        ("Vary", "Accept"),
        cc("max-age=1"),
        ("Expires", date(1)),
        ("Content-Security-Policy", "x"),
        ("Access-Control-Allow-Origin", "*"),
    )
    goes = (("Content-Type", "a/b"), ("Content-Length", "5"), ("Content-Encoding", "gzip"), MODIFIED)
    assert not_modified_fields(stays.plus(*goes, ("Content-Language", "de"))) == stays


def test_a_304_keeps_last_modified_where_there_is_no_tag() -> None:
    assert "last-modified" in not_modified_fields(Fields.of(MODIFIED))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param([TAG], [("If-None-Match", '"a"')], id="4.3.1 the entity tag"),
        pytest.param([WEAK], [("If-None-Match", 'W/"a"')], id="4.3.1 a weak one"),
        pytest.param([MODIFIED], [(SINCE, date(-100))], id="4.3.1 the date"),
        pytest.param([TAG, MODIFIED], [("If-None-Match", '"a"'), (SINCE, date(-100))], id="4.3.1 both"),
        pytest.param([("ETag", "*")], [], id="a star would match everything"),
        pytest.param([("ETag", "a")], [], id="no tag"),
        pytest.param([TAG, ("ETag", '"b"')], [], id="two tags are none"),
        pytest.param([("Last-Modified", "then")], [], id="no date"),
        pytest.param([], [], id="nothing"),
    ],
)
def test_validators(fields: list[Told], expected: list[Told]) -> None:
    assert list(validators(stored(*fields))) == expected


@pytest.mark.parametrize(("status", "method"), [(404, "GET"), (300, "GET"), (200, "POST")])
def test_only_a_success_to_a_get_is_renewed(status: int, method: str) -> None:
    """RFC 9110 13.2.1; a condition on a POST would be answered 412."""
    assert validators(stored(TAG, status=status, method=method)) == ()


def test_what_is_taken_off_and_what_is_sent_on() -> None:
    assert {"if-none-match", "if-modified-since"} == CLIENT_CONDITIONS
    assert {"if-match", "if-unmodified-since"} == ORIGIN_CONDITIONS
