"""Who may: the whole table of the contract's paragraph, and the token's file (row 72, contract "Endpoints")."""

import os
import stat
from pathlib import Path

import pytest

from proxy.errors import ConfigError
from proxy.message import Fields, Request
from proxy.server.admin.rights import FOREIGN, NO_RIGHT, NOT_FOUND, WRONG_TOKEN, Grant, Level, Refusal, Rights
from proxy.server.admin.token import admin_token, read_token

FULL, GLANCE = Grant.FULL, Grant.GLANCE
LOCAL = ("127.0.0.1", "127.0.0.1:4000")
RIGHT, WRONG = {"Authorization": "Bearer right"}, {"Authorization": "Bearer wrong"}
Who = tuple[str, str]  # peer, Host


def asked(host: str, fields: dict[str, str], scheme: str = "http") -> Request:
    return Request("GET", scheme, host, "/cache/x", Fields.of(*fields.items()))


# what is asked: (peer, Host), fields; what comes of it for an OPEN, a GLANCE and a TOKEN page; and for PURGE
WITH_TOKEN = [
    (LOCAL, {}, (FULL, GLANCE, NOT_FOUND), NO_RIGHT),
    (LOCAL, RIGHT, (FULL, FULL, FULL), FULL),
    (LOCAL, WRONG, (FULL, WRONG_TOKEN, WRONG_TOKEN), WRONG_TOKEN),
    (LOCAL, {"Authorization": "bearer  right"}, (FULL, FULL, FULL), FULL),
    (LOCAL, {"Authorization": "Bearer right extra"}, (FULL, WRONG_TOKEN, WRONG_TOKEN), WRONG_TOKEN),
    (LOCAL, {"Authorization": "Bearer rightx"}, (FULL, WRONG_TOKEN, WRONG_TOKEN), WRONG_TOKEN),
    (LOCAL, {"Authorization": "Bearer "}, (FULL, WRONG_TOKEN, WRONG_TOKEN), WRONG_TOKEN),
    (LOCAL, {"Authorization": "Basic cmlnaHQ="}, (FULL, GLANCE, NOT_FOUND), NO_RIGHT),
    (LOCAL, {"Authorization": "Bearer r\xefght"}, (FULL, WRONG_TOKEN, WRONG_TOKEN), WRONG_TOKEN),
    (("::1", "[::1]:4000"), {}, (FULL, GLANCE, NOT_FOUND), NO_RIGHT),
    (("::ffff:127.0.0.1", "localhost"), {}, (FULL, GLANCE, NOT_FOUND), NO_RIGHT),
    (("127.9.9.9", "127.1.2.3"), {}, (FULL, GLANCE, NOT_FOUND), NO_RIGHT),
    (("127.0.0.1", "localhost:4000"), {}, (FULL, GLANCE, NOT_FOUND), NO_RIGHT),
    # a name that was rebound to us, or none at all (a bare proxy_pass)
    (("127.0.0.1", "evil.example"), {}, (FULL, NOT_FOUND, NOT_FOUND), NO_RIGHT),
    (("127.0.0.1", "localhost.evil.example"), {}, (FULL, NOT_FOUND, NOT_FOUND), NO_RIGHT),
    (("127.0.0.1", "127.0.0.1.evil.example"), {}, (FULL, NOT_FOUND, NOT_FOUND), NO_RIGHT),
    (("127.0.0.1", ""), {}, (FULL, NOT_FOUND, NOT_FOUND), NO_RIGHT),
    (("127.0.0.1", "evil.example"), RIGHT, (FULL, FULL, FULL), FULL),
    # strangers
    (("10.0.0.9", "127.0.0.1"), {}, (FULL, NOT_FOUND, NOT_FOUND), NO_RIGHT),
    (("10.0.0.9", "127.0.0.1"), RIGHT, (FULL, FULL, FULL), FULL),
    (("10.0.0.9", "127.0.0.1"), WRONG, (FULL, WRONG_TOKEN, WRONG_TOKEN), WRONG_TOKEN),
    (("", "localhost"), {}, (FULL, NOT_FOUND, NOT_FOUND), NO_RIGHT),
    # forwarded by somebody on this machine
    *[
        (LOCAL, {name: "1.2.3.4"}, (FULL, NOT_FOUND, NOT_FOUND), NO_RIGHT)
        for name in (
            "Forwarded",
            "X-Forwarded-For",
            "X-Forwarded-Host",
            "x-forwarded-anything",
            "X-Real-IP",
            "Via",
            "X_Forwarded_For",
            "X_Real_IP",
        )
    ],
    (LOCAL, {"X-Forwarded-For": "1.2.3.4", **RIGHT}, (FULL, FULL, FULL), FULL),
    # from a page in a browser
    (LOCAL, {"Origin": "http://127.0.0.1:4000"}, (FULL, GLANCE, NOT_FOUND), NO_RIGHT),
    (LOCAL, {"Origin": "http://evil.example"}, (FULL, FOREIGN, NOT_FOUND), NO_RIGHT),
    (LOCAL, {"Origin": "http://127.0.0.1:3000"}, (FULL, FOREIGN, NOT_FOUND), NO_RIGHT),
    (LOCAL, {"Origin": "null"}, (FULL, FOREIGN, NOT_FOUND), NO_RIGHT),
    (LOCAL, {"Origin": "http://evil.example", **RIGHT}, (FULL, FOREIGN, FOREIGN), FOREIGN),
    (LOCAL, {"Origin": "http://evil.example", **WRONG}, (FULL, WRONG_TOKEN, WRONG_TOKEN), WRONG_TOKEN),
    (("10.0.0.9", "gate.example"), {"Origin": "https://gate.example", **RIGHT}, (FULL, FULL, FULL), FULL),
]
WITHOUT_TOKEN = [  # admin.token: none
    (LOCAL, {}, (FULL, FULL, FULL), FULL),
    (LOCAL, WRONG, (FULL, FULL, FULL), FULL),  # there is none to be wrong
    (("127.0.0.1", "site.example"), {}, (FULL, NOT_FOUND, NOT_FOUND), FULL),  # PURGE speaks of the site's Host
    (("10.0.0.9", "127.0.0.1"), {}, (FULL, NOT_FOUND, NOT_FOUND), NO_RIGHT),
    (LOCAL, {"X-Forwarded-For": "1.2.3.4"}, (FULL, NOT_FOUND, NOT_FOUND), NO_RIGHT),
    (LOCAL, {"Origin": "http://evil.example"}, (FULL, FOREIGN, FOREIGN), FOREIGN),
]


@pytest.mark.parametrize(
    ("token", "who", "fields", "pages", "purge"),
    [("right", *row) for row in WITH_TOKEN] + [(None, *row) for row in WITHOUT_TOKEN],
)
def test_who_may(
    token: str | None, who: Who, fields: dict[str, str], pages: tuple[object, ...], purge: Grant | Refusal
) -> None:
    rights, (peer, host) = Rights(token), who
    request = asked(host, fields)
    assert tuple(rights.page(request, peer, level) for level in (Level.OPEN, Level.GLANCE, Level.TOKEN)) == pages
    assert rights.purge(request, peer) == purge


@pytest.mark.parametrize(
    ("sent", "grant"), [("right", FULL), ("wrong", WRONG_TOKEN), ("", WRONG_TOKEN), (None, NO_RIGHT)]
)
def test_purge_takes_the_traffic_s_token_too(sent: str | None, grant: object) -> None:
    assert Rights("right").purge(asked("site.example", {}), "10.0.0.9", sent) == grant


def test_of_two_tokens_one_right_one_is_enough() -> None:
    request = asked("site.example", WRONG)
    assert Rights("right").purge(request, "10.0.0.9", "right") == FULL
    assert Rights("right").purge(request, "10.0.0.9", "wrong") == WRONG_TOKEN


def test_an_odd_token_is_only_wrong() -> None:
    assert not Rights("right").trusts("\udcff\xff")
    assert not Rights(None).trusts("")


# -- the token's file ---------------------------------------------------------------------------------------------


def test_a_token_is_made_once_and_kept(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "admin.token"
    made = admin_token(None, file)
    assert made.value is not None
    assert len(made.value) >= 32
    assert str(file) in made.place
    assert (stat.S_IMODE(file.stat().st_mode), stat.S_IMODE(file.parent.stat().st_mode)) == (0o600, 0o700)
    assert (admin_token(None, file).value, read_token(file)) == (made.value, made.value)
    assert [path.name for path in file.parent.iterdir()] == ["admin.token"]
    assert made.value not in repr(made)


def test_rights_are_narrowed_whatever_the_umask(tmp_path: Path) -> None:
    file, old = tmp_path / "admin.token", os.umask(0)
    try:
        admin_token(None, file)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    finally:
        os.umask(old)
    file.chmod(0o644)
    admin_token(None, file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_the_settings_come_first(tmp_path: Path) -> None:
    file = tmp_path / "admin.token"
    assert admin_token("given-token", file).value == "given-token"
    assert admin_token("none", file).value is None
    assert not file.exists()


@pytest.mark.parametrize("text", ["", "short", "with a space", "töken-token", "x" * 600])
def test_a_file_that_holds_no_token_is_an_error(tmp_path: Path, text: str) -> None:
    file = tmp_path / "admin.token"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"admin\.token"):
        admin_token(None, file)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("somebody-elses-secret")
    (tmp_path / "admin.token").symlink_to(tmp_path / "elsewhere")
    token = admin_token(None, tmp_path / "admin.token")
    assert token.value != "somebody-elses-secret"
    assert token.place.startswith("nowhere")
    assert token.place.endswith("set ADMIN_TOKEN and restart to have one")


def test_where_nothing_can_be_kept_the_gateway_still_starts(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    token = admin_token(None, tmp_path / "file" / "admin.token")
    assert token.value
    assert token.place.startswith("nowhere")
    assert token.place.endswith("set ADMIN_TOKEN and restart to have one")


@pytest.mark.parametrize(("fields", "granted"), [({}, GLANCE), (RIGHT, FULL), (WRONG, WRONG_TOKEN)])
def test_what_is_public_still_refuses_a_wrong_token(fields: dict[str, str], granted: Grant | Refusal) -> None:
    assert Rights("right").page(asked("gate.example", fields), "10.0.0.9", Level.PUBLIC) == granted
