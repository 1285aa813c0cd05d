"""What keeps a gateway from starting is found by `check`, at the start and on a reload alike, all at once and each with
its place (contract "Command line"): TLS files, the operator's store, the token's file, our own address."""

import signal
from pathlib import Path
from typing import Any

import pytest
import trustme

from proxy.cli import main
from proxy.errors import ConfigError
from proxy.obstacles import obstacles
from proxy.settings.load import load
from tests.support.origin import Origin
from tests.support.process import serving
from tests.test_cli import run

HERE = "tests.support.own_store"
STORE = f"file: {{store: '{HERE}:DictStore', options: {{limit: 5}}}}\n"
AWAY = "upstream: {url: 'http://127.0.0.1:9'}\n"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ADMIN_TOKEN", raising=False)
    issued = trustme.CA().issue_cert("localhost")
    Path("cert.pem").write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    Path("key.pem").write_bytes(issued.private_key_pem.bytes())
    Path("other.pem").write_bytes(trustme.CA().issue_cert("localhost").private_key_pem.bytes())
    Path("nonsense.pem").write_text("nonsense")


def found(yaml: str, **flags: Any) -> list[str]:
    """Each problem as its line."""
    Path("c.yaml").write_text(yaml)
    try:
        load(config="c.yaml", flags=flags, sets=(), environ={}, cwd=Path(), require_upstream=False, also=obstacles)
    except ConfigError as error:
        return [str(problem) for problem in error.problems]
    return []


@pytest.mark.parametrize(
    "yaml",
    [
        "listen: {tls_cert: cert.pem, tls_key: key.pem}\n",
        "upstreams: {a: {url: 'https://a', ca_file: cert.pem, client_cert: cert.pem, client_key: key.pem}}\n",
        STORE,
        STORE.replace("DictStore", "Nothing").replace("{store", "{enabled: false, store"),
        "upstream: {url: 'http://127.0.0.1:4001'}\n",
        "upstream: {url: 'http://api.example:4000'}\n",
        "upstream: {url: 'http://127.0.0.1:4000'}\nlisten: {port: 0}\n",
    ],
)
def test_what_stands_in_nobodys_way(yaml: str) -> None:
    assert found(yaml) == []


@pytest.mark.parametrize(
    ("yaml", "place", "said"),
    [
        ("listen: {tls_cert: none.pem, tls_key: key.pem}\n", "c.yaml:1:20", "listen.tls_cert: none.pem: "),
        ("listen: {tls_cert: cert.pem, tls_key: none.pem}\n", "c.yaml:1:20", "listen.tls_cert: "),
        ("listen: {tls_cert: cert.pem, tls_key: other.pem}\n", "c.yaml:1:20", "listen.tls_cert: cert.pem: "),
        ("upstream: {url: 'https://a', ca_file: none.pem}\n", "c.yaml:1:39", "upstream.ca_file: none.pem: No such"),
        ("upstreams: {a: {url: 'https://a', ca_file: nonsense.pem}}\n", "c.yaml:1:44", "upstreams.a.ca_file: nonsense"),
        ("upstream: {url: 'https://a', client_cert: cert.pem, client_key: other.pem}\n", "c.yaml:1:65", "upstream.cl"),
        (STORE.replace("own_store", "no_store"), "c.yaml:1:15", "file.store: 'tests.support.no_store' cannot be impor"),
        (STORE.replace("DictStore", "Nothing"), "c.yaml:1:15", f"file.store: '{HERE}' has no class 'Nothing'"),
        (STORE.replace("DictStore", "Entry"), "c.yaml:1:15", "file.store: 'tests.support.own_store:Entry' is no store"),
        (STORE.replace(":DictStore", ""), "c.yaml:1:15", f"file.store: '{HERE}' names no class"),
        (
            STORE.replace("limit", "limits"),
            "c.yaml:1:15",
            f"file.store: '{HERE}:DictStore' cannot be made with file.op",
        ),
        ("upstream: {url: 'http://localhost:4000/base'}\n", "c.yaml:1:17", "upstream.url: http://localhost:4000/base"),
        ("upstream: {url: 'http://0.0.0.0:4000'}\n", "c.yaml:1:17", "upstream.url: http://0.0.0.0:4000 is the"),
        ("upstreams: {a: {url: ['http://x', 'http://[::1]:4000']}}\n", "c.yaml:1:22", "upstreams.a.url: http://[::1]:"),
        ("upstream: {url: 'https://Gate.example'}\nlisten: {host: gate.EXAMPLE, port: 443}\n", "c.yaml:1:17", "upst"),
        ("upstream: {url: 'http://127.0.0.1:4001'}\nadmin: {port: 4001}\n", "c.yaml:1:17", "upstream.url: "),
    ],
)
def test_what_does(yaml: str, place: str, said: str) -> None:
    (line,) = found(yaml)
    assert line.startswith(f"{place}: {said}")


def test_a_token_file_that_holds_no_token() -> None:
    yaml = AWAY + "admin: {token_file: mine.token}\n"
    assert found(yaml) == []
    assert not Path("mine.token").exists()
    for text in ("", "short", "with a space"):
        Path("mine.token").write_text(text)
        (line,) = found(yaml)
        assert line.startswith(
            "c.yaml:2:21: admin.token_file: mine.token: a token has 8 to 512 visible ASCII characters"
        )
        assert found(yaml, **{"admin.token": "another-token"}) == []
    Path("mine.token").write_text("fit-enough\n")
    assert found(yaml) == []


def test_no_option_of_a_store_is_quoted() -> None:
    (line,) = found(STORE.replace("limit: 5", "hunter: hunter2, limit: 7"))
    assert "hunter2" not in line


EVERYTHING = """\
upstream:
  url: ["https://a", "https://127.0.0.1:4000"]
  ca_file: none.pem
  client_cert: nonsense.pem
listen: {tls_cert: none.pem, tls_key: key.pem}
file: {store: "no.such:Store"}
memory: {max_bytes: much}
rules: [{pattern: /a, upstream: nope}]
"""


def test_check_and_serve_tell_the_same_and_all_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    Path("c.yaml").write_text(EVERYTHING)
    assert main(["check", "c.yaml", "--admin-token", "short"]) == 2
    said = capsys.readouterr().err.splitlines()
    places = ["2:8", "3:12", "4:16", "5:20", "6:15", "7:21", "8:33"]
    wanted = ["--admin-token (flag)", *(f"c.yaml:{place}" for place in places)]
    assert sorted(line.partition(": ")[0] for line in said) == sorted(wanted)
    done = run("serve", "--config", "c.yaml", "--admin-token", "short")
    assert (done.returncode, done.stderr.splitlines(), done.stdout) == (2, said, "")


@pytest.mark.parametrize("way", ["page", "signal"])
async def test_a_reload_refuses_what_a_start_would(way: str) -> None:
    """The gateway's own address would answer every request with 508; nothing of such settings may hold."""
    async with Origin() as origin, serving(origin, {}) as gateway:
        origin.answer("/a", body=b"theirs")
        wrong = {"upstream": {"url": gateway.url}, "rules": [{"name": "new", "pattern": "*", "ttl": 60}]}
        gateway.configure({"file": {"store": "no.such:Store"}, **wrong})
        if way == "page":
            got = await gateway.admin("POST", "/reload")
            assert got.status == 422
            assert [problem["place"].partition(":")[0] for problem in got.json["problems"]] == ["cachegate.yaml"]
            gateway.configure(wrong)
            got = await gateway.admin("POST", "/reload")
            assert got.status == 422
            assert "own address" in got.json["problems"][0]["message"]
        else:
            gateway.signal(signal.SIGHUP)
            await gateway.logged("no.such")
        got = await gateway.get("/a")
        assert (got.status, got.body, "rule-" in got.detail) == (200, b"theirs", False)
        assert (await gateway.admin("GET", "/config")).json["settings"]["rules"] == []
