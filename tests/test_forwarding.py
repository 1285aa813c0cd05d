"""What goes through and what stays behind: RFC 9110 7.6, 12.5.3, RFC 7239, invariant 6, http-caching "Fields"."""

from dataclasses import replace

import pytest

from proxy.message import Fields
from proxy.policy.forwarding import (
    has_loop,
    hops_left,
    leaves_base,
    outgoing,
    received,
    response_fields,
    upstream_target,
)
from proxy.policy.vary import preferred_coding
from proxy.rules import KeySpec, Mode, Rule
from tests.support.asking import ask


def names(fields: Fields) -> list[str]:
    return [name for name, _ in fields]


def sent(*fields: tuple[str, str], rule: Rule | None = None, **more: object) -> Fields:
    request = ask("/", *fields, client="192.0.2.7", **more)  # type: ignore[arg-type]
    return outgoing(request, via_name="cachegate-1", rule=rule)


OURS = ["via", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarded"]


def test_end_to_end_fields_pass_as_they_came() -> None:
    lines = [("ACCEPT", "a/b"), ("X-A", " 1"), ("x-a", "2\xff"), ("Cookie", "c"), ("Authorization", "x"), ("x-a", "")]
    assert sent(*lines).pairs[: len(lines)] == Fields.of(*lines).pairs
    assert names(sent(*lines))[len(lines) :] == OURS
    assert "proxy-authorization" in sent(("Proxy-Authorization", "x"))


HOP_BY_HOP = ["Connection", "Keep-Alive", "Proxy-Connection", "TE", "Trailer", "Transfer-Encoding", "Upgrade"]


@pytest.mark.parametrize(
    "name",
    [*HOP_BY_HOP, "HTTP2-Settings", "Host", "Content-Length", "Expect", "Cachegate-Token", "X-Named", "x-also"],
)
def test_what_is_for_this_connection_stays_behind(name: str) -> None:
    fields = sent(("Connection", "close, X-NAMED"), ("connection", " x-Also "), (name, "1"), ("X-Stays", "1"))
    assert names(fields) == ["x-stays", *OURS]


@pytest.mark.parametrize(
    "name",
    ["Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Forwarded-Prefix",
     "X-Real-IP", "X-Original-URL", "X-Rewrite-URL", "X-Host", "Front-End-Https", "True-Client-IP", "SCRIPT_NAME",
     "X-Forwarded", "X-Forwarded-Whatever", "X_Forwarded_User", "X-Forwarded_By", "Proxy", "X-Original-Method"],
)  # fmt: skip
def test_claims_of_the_client_never_pass(name: str) -> None:
    assert "evil" not in repr(sent((name, "evil")))


@pytest.mark.parametrize(
    "name",
    ["X_Forwarded_For", "x_forwarded-host", "CONTENT_LENGTH", "Transfer_Encoding", "X_Real_IP", "Accept_Language",
     "Accept_Encoding", "If_None_Match", "User_Agent", "X_User_Id"],
)  # fmt: skip
def test_nor_do_they_in_the_spelling_of_cgi(name: str) -> None:
    rule = Rule(key=KeySpec(headers=("x-user-id",)))
    assert "evil" not in repr(sent((name, "evil"), rule=rule))


def test_other_underscores_pass() -> None:
    assert sent(("device_id", "1"), ("x_user_id", "2")).get("device_id") == "1"


def test_what_we_say_of_the_client() -> None:
    fields = sent(host="shop.example:8080", scheme="https")
    assert fields.get("x-forwarded-for") == "192.0.2.7"
    assert fields.get("x-forwarded-proto") == "https"
    assert fields.get("x-forwarded-host") == "shop.example:8080"
    assert fields.get("forwarded") == 'for=192.0.2.7;host="shop.example:8080";proto=https'
    assert outgoing(ask(client="2001:db8::1"), via_name="v").get("forwarded") == (
        'for="[2001:db8::1]";host=api.example.com;proto=http'
    )
    assert outgoing(ask(client="@unix"), via_name="v").get("forwarded") == "for=unknown;host=api.example.com;proto=http"


def test_the_address_can_be_kept_back() -> None:
    for fields in (
        outgoing(ask(client="192.0.2.7"), via_name="v", forward_client_ip=False),
        outgoing(ask(client=""), via_name="v"),
    ):
        assert "x-forwarded-for" not in fields
        assert fields.get("forwarded") == "host=api.example.com;proto=http"


def test_a_host_that_is_not_keyed_is_not_told() -> None:
    fields = sent(("X-Forwarded-Host", "evil"), rule=Rule(key=KeySpec(host=False)))
    assert "x-forwarded-host" not in fields
    assert fields.get("forwarded") == "for=192.0.2.7;proto=http"


@pytest.mark.parametrize("trusted", [True, False])
@pytest.mark.parametrize("mode", list(Mode))
def test_a_trusted_proxy_may_say_more_where_nothing_is_kept(mode: Mode, trusted: bool) -> None:
    """Who signs users in before us says who they are; on a cached route that is for the key to name."""
    said = [(name, "ann") for name in ("X-Forwarded-User", "X_Forwarded_User", "X-Forwarded-For", "X-Real-IP")]
    request = replace(ask("/", *said), trusted=trusted)
    fields = outgoing(request, via_name="cachegate-1", rule=Rule(mode=mode))
    believed = trusted and mode in (Mode.OFF, Mode.BYPASS)
    assert [pair for pair in fields.pairs if b"ann" in pair[1]] == [(b"X-Forwarded-User", b"ann")] * believed


def test_a_claim_that_is_keyed_passes() -> None:
    rule = Rule(key=KeySpec(headers=("x-forwarded-user",)))
    assert sent(("X-Forwarded-User", "ann"), ("X_Forwarded_User", "bob"), rule=rule).lines("x-forwarded-user") == (
        "ann",
    )
    assert "bob" not in repr(sent(("X_Forwarded_User", "bob"), rule=rule))
    assert sent(("X-Real-IP", "1"), rule=Rule(key=KeySpec(headers=("x-real-ip",)))).get("x-real-ip") == "1"
    assert sent(("X-Original-URL", "/a"), rule=Rule(request_headers=(("x-original-url", "*"),))).get("x-original-url")
    made = sent(("X-Forwarded-Host", "evil"), rule=Rule(key=KeySpec(headers=("x-forwarded-host",))))
    assert made.get("x-forwarded-host") == "api.example.com"


def test_via_grows_and_tells_loops() -> None:
    fields = sent(("Via", "1.0 fred, 1.1 p.example (x)"), ("VIA", "2 q"))
    assert fields.lines("via") == ("1.0 fred, 1.1 p.example (x)", "2 q", "1.1 cachegate-1")
    assert has_loop(fields, "cachegate-1")
    assert has_loop(fields, "Fred")
    assert not has_loop(fields, "cachegate-2")
    assert not has_loop(fields, "1.1")
    assert not has_loop(Fields.of(("Via", ",, ,1.1")), "1.1")
    assert not has_loop(Fields(), "cachegate-1")


def test_the_operators_fields_and_ours_replace_the_clients() -> None:
    fields = outgoing(
        ask("/", ("X-Api-Key", "client"), ("If-None-Match", '"c"'), ("Range", "bytes=0-1"), ("Accept-Encoding", "br")),
        via_name="v",
        added=(("x-api-key", "ours"), ("X-Forwarded-Host", "fixed")),
        extra=(("If-None-Match", '"stored"'), ("Accept-Encoding", "gzip")),
        drop=frozenset({"range"}),
    )
    assert [fields.lines(name) for name in ("x-api-key", "if-none-match", "accept-encoding", "range")] == [
        ("ours",),
        ('"stored"',),
        ("gzip",),
        (),
    ]
    assert fields.lines("x-forwarded-host") == ("fixed",)


def test_the_same_names_are_read_anew_for_another_rule_connection_and_client() -> None:
    """What passes is remembered by names, so that each of what else it depends on has to tell."""
    fields = [("X-Real-IP", "1"), ("X-Trace", "2"), ("Connection", "close"), ("X-Forwarded-User", "bob")]
    keyed = Rule(key=KeySpec(headers=("x-real-ip",)))
    for _ in range(2):
        assert sent(*fields).get("x-trace") == "2"
        assert sent(*fields).get("x-real-ip") is None
        assert sent(*fields, rule=keyed).get("x-real-ip") == "1"
        assert sent(*fields[:2], ("Connection", "x-trace"), fields[3]).get("x-trace") is None
        believed = replace(ask("/", *fields), trusted=True)
        assert outgoing(believed, via_name="v", rule=Rule(mode=Mode.BYPASS)).get("x-forwarded-user") == "bob"
        assert sent(*fields).get("x-forwarded-user") is None
        dropped = outgoing(ask("/", *fields), via_name="cachegate-1", drop=frozenset({"x-trace"}))
        assert dropped.get("x-trace") is None
        assert sent(*fields, scheme="http").get("x-forwarded-proto") == "http"
        assert sent(*fields, scheme="https").get("x-forwarded-proto") == "https"
        assert outgoing(ask("/", *fields), via_name="another").get("via") == "1.1 another"
        assert sent(*fields, host="other.example").get("forwarded") == "for=192.0.2.7;host=other.example;proto=http"
        assert sent(*fields).get("via") == "1.1 cachegate-1"


def test_request_ids_are_passed_on_or_made() -> None:
    assert sent(("X-Request-ID", "theirs"), id="theirs").lines("x-request-id") == ("theirs",)
    assert sent(id="made").lines("x-request-id") == ("made",)
    assert "x-request-id" not in sent()


@pytest.mark.parametrize(
    ("method", "value", "left", "told"),
    [("OPTIONS", "3", 3, "2"), ("TRACE", "0", 0, "0"), ("OPTIONS", "x", None, "x"), ("GET", "3", None, "3"),
     ("TRACE", "9" * 5000, 2**31, str(2**31 - 1)), ("OPTIONS", "004", 4, "3"), ("OPTIONS", None, None, None)],
)  # fmt: skip
def test_max_forwards(method: str, value: str | None, left: int | None, told: str | None) -> None:
    request = ask("/", *([("Max-Forwards", value)] if value is not None else []), method=method)
    assert hops_left(request) == left
    assert outgoing(request, via_name="v").get("max-forwards") == told


def test_answers_pass_end_to_end_fields_byte_for_byte() -> None:
    lines = [("Server", "x"), ("set-COOKIE", "a=1"), ("Set-Cookie", "b=2"), ("ETag", '"\xff"'), ("X-Pad", ""),
             ("Content-Length", "3"), ("Via", "1.1 o"), ("X_Y", "1")]  # fmt: skip
    hop = [(name, "x-named") for name in HOP_BY_HOP]
    more = [("X-Named", "1"), ("Proxy-Authenticate", "Basic"), ("Proxy-Authentication-Info", "x")]
    assert response_fields(Fields.of(*lines, *hop, *more)).pairs == Fields.of(*lines).pairs


def test_what_connection_names_is_gone_for_everybody_past_the_door() -> None:
    """Else a request could be keyed by a field that is then taken off before the origin sees it."""
    fields = Fields.of(("Connection", "close, X-User-Id, Upgrade, Host"), ("X-User-Id", "1"), ("Upgrade", "websocket"))
    assert names(received(fields.plus(("Host", "h")))) == ["connection", "upgrade", "host"]
    plain = Fields.of(("Connection", "Keep-Alive"), ("X", "1"))
    assert received(plain) is plain
    assert received(Fields()) == Fields()


def test_what_tells_who_asks_is_never_taken_off_by_who_asks() -> None:
    """Else a stranger whom a proxy lets in with a Connection of his own would seem to come from next to us; and what
    is keyed is sent."""
    witnesses = ("Via", "X-Forwarded-For", "x-forwarded-other", "Forwarded", "X-Real-IP", "Origin")
    for name in witnesses:
        asked = Fields.of(("Connection", f"close, {name}, X-Named"), (name, "1"), ("X-Named", "1"))
        assert names(received(asked)) == ["connection", name.lower()]
    rule = Rule(key=KeySpec(headers=("x-forwarded-other",)))
    assert sent(("Connection", "X-Forwarded-Other"), ("X-Forwarded-Other", "1"), rule=rule).get("x-forwarded-other")


@pytest.mark.parametrize(
    ("base", "strip", "target", "told"),
    [
        ("", "", "/a?b", "/a?b"),
        ("/", "", "/a", "/a"),
        ("/v1", "", "/a?b", "/v1/a?b"),
        ("/v1/", "", "/", "/v1/"),
        ("", "/api", "/api/a?b", "/a?b"),
        ("", "/api/", "/api/a", "/a"),
        ("", "/api", "/api", "/"),
        ("", "/api", "/api?x", "/?x"),
        ("", "/api", "/apix/a", "/apix/a"),
        ("", "/api", "/a/api", "/a/api"),
        ("/v1", "/api", "/api//a/../b%2f", "/v1//a/../b%2f"),
        ("/v1", "/api", "*", "*"),
    ],
)
def test_targets_upstream(base: str, strip: str, target: str, told: str) -> None:
    assert upstream_target(base, strip, target) == told


OUT = [
    "/../x",
    "/a/../../x",
    "/./../x",
    "//../x",
    "/a//../../x",
    "/%2e%2e/x",
    "/.%2E/x",
    "/%252e%252e/x",
    "/..",
    "/%2e.",
]
OUT += [
    "/..%2fx",
    "/..%5Cx",
    "/..\\x",
    "/a%2f..%2f..%2fx",
    "/a%2Fb/../../x",
    "/a\\b/../../x",
    "/..;a=b/x",
    "/a;/..;/..",
    "/..%00/x",
]
OUT += ["/%c0%ae%c0%ae/x", "/%E0%80%AE./x", "/..%c0%afx", "/..%252fx", "/%2e%2e%3bx/", "/..%00/", "/a/%2e%2e%2f%2e%2e/"]
IN = [
    "/",
    "/a/../x",
    "/a/..",
    "/...",
    "/..a",
    "/a..",
    "/a/b/../../x",
    "/a%2e%2e",
    "/%zz",
    "/a/%2e%2e/x",
    "/?/../../x",
    "/.a/..",
]


@pytest.mark.parametrize(("base", "strip"), [("/base", ""), ("/base/", "/x"), ("", "/api")])
def test_no_spelling_leaves_the_base(base: str, strip: str) -> None:
    assert [target for target in OUT if not leaves_base(base, strip, target)] == []
    assert [target for target in IN if leaves_base(base, strip, target)] == []
    assert leaves_base(base, "/api", "/api/../x")  # once the prefix is off
    assert not leaves_base("/", "", "/../x")  # there is nothing outside of it
    assert not leaves_base(base, strip, "*")


@pytest.mark.parametrize(
    ("value", "coding"),
    [
        (None, "identity"),
        ("", "identity"),
        ("gzip", "gzip"),
        ("x-gzip", "gzip"),
        ("GZIP;Q=0.5", "gzip"),
        ("gzip, deflate, br", "br"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("br;q=0.5, gzip;q=0.8", "gzip"),
        ("zstd;q=0, br;q=0.000, gzip", "gzip"),
        ("gzip;q=0.5, identity", "identity"),
        ("gzip;q=0.5, identity;q=0.4", "gzip"),
        ("identity, gzip", "gzip"),
        ("identity;q=0", "identity"),
        ("deflate", "identity"),
        ("*", "zstd"),
        ("*;q=0", "identity"),
        ("br;q=0, *;q=0.1", "zstd"),
        ("gzip;q=2", "identity"),
        ("gzip;q=nan", "identity"),
        ("gzip;level=9", "identity"),
    ],
)
def test_one_coding_by_the_clients_preference(value: str | None, coding: str) -> None:
    assert preferred_coding(value) == coding
