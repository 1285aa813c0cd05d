"""HTTPS upstreams: whose certificate is accepted, client certificates, and what is said when files are of no use."""

import asyncio
import ssl
from pathlib import Path

import pytest
import trustme

from proxy.errors import ConfigError, Fault, UpstreamError
from proxy.message import Fields
from proxy.upstream.client import OriginClient
from proxy.upstream.protocol import Call
from proxy.upstream.tls import tls_context
from tests.support.origin import Origin, Reader, Recorded, Writer, server_tls

CA = trustme.CA()
OTHER = trustme.CA()


@pytest.fixture
def ca_file(tmp_path: Path) -> Path:
    CA.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return tmp_path / "ca.pem"


async def ask(url: str, tls: ssl.SSLContext | None) -> bytes | UpstreamError:
    client = OriginClient(url, tls=tls)
    try:
        return b"".join([chunk async for chunk in await client.fetch(Call("GET", "/", Fields()))])
    except UpstreamError as e:
        return e
    finally:
        await client.close()


@pytest.mark.parametrize("case", ["system store", "own authority", "other authority", "other name", "unverified"])
async def test_whose_certificate_is_accepted(case: str, ca_file: Path) -> None:
    names = ("elsewhere.example",) if case == "other name" else ()
    issuer = OTHER if case == "other authority" else CA
    async with Origin(tls=server_tls(issuer, *names)) as origin:
        origin.answer("/", body=b"secret")
        match case:
            case "system store":
                got = await ask(origin.url, None)
            case "unverified":
                got = await ask(origin.url, tls_context(verify=False))
            case _:
                got = await ask(origin.url, tls_context(ca_file))
        if case in ("own authority", "unverified"):
            assert got == b"secret"
            assert origin.last.header("host") == origin.authority
        else:
            assert isinstance(got, UpstreamError)
            assert got.fault is Fault.TLS
            assert "certificate was not accepted" in str(got)
            assert origin.requests == []


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_client_certificates(version: ssl.TLSVersion, ca_file: Path, tmp_path: Path) -> None:
    ours = OTHER.issue_cert("cachegate.example")
    ours.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    ours.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    ours.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "both.pem"))
    server = server_tls(CA, clients=OTHER)
    server.minimum_version = server.maximum_version = version
    async with Origin(tls=server) as origin:
        origin.answer("/", body=b"hello")
        assert (
            await ask(origin.url, tls_context(ca_file, True, tmp_path / "cert.pem", tmp_path / "key.pem")) == b"hello"
        )
        assert await ask(origin.url, tls_context(ca_file, client_cert=tmp_path / "both.pem")) == b"hello"
        refused = await ask(origin.url, tls_context(ca_file))
        assert isinstance(refused, UpstreamError)
        assert refused.fault in (Fault.TLS, Fault.RESET)
        assert origin.count() == 2


@pytest.mark.parametrize("said", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b""])
async def test_what_does_not_speak_tls(ca_file: Path, said: bytes) -> None:
    def say(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        writer.close()

    async with await asyncio.start_server(say, "127.0.0.1", 0) as server:
        got = await ask(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}", tls_context(ca_file))
        assert isinstance(got, UpstreamError)
        assert got.fault is Fault.TLS


async def test_connections_are_kept_over_tls(ca_file: Path) -> None:
    async with Origin(tls=server_tls(CA)) as origin:
        origin.answer("/", body=b"x" * 300_000)
        client = OriginClient(origin.url, tls=tls_context(ca_file))
        for _ in range(3):
            answer = await client.fetch(Call("GET", "/", Fields()))
            assert len(b"".join([chunk async for chunk in answer])) == 300_000
        assert origin.connections == 1
        await client.close()


async def test_what_lies_unread_in_an_idle_connection_answers_nothing_over_tls_either(ca_file: Path) -> None:
    writers = []

    async def keep(request: Recorded, reader: Reader, writer: Writer) -> None:
        writers.append(writer)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na")

    async with Origin(tls=server_tls(CA)) as origin:
        origin.script("/a", keep)
        origin.answer("/b", body=b"b")
        client = OriginClient(origin.url, tls=tls_context(ca_file))
        await anext(aiter(await client.fetch(Call("GET", "/a", Fields()))))
        writers[0].write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")
        assert await anext(aiter(await client.fetch(Call("GET", "/b", Fields())))) == b"b"
        assert origin.connections == 2
        await client.close()


def test_files_that_are_of_no_use(tmp_path: Path) -> None:
    junk, missing = tmp_path / "junk.pem", tmp_path / "missing.pem"
    junk.write_text("no certificate")
    good = OTHER.issue_cert("cachegate.example")
    good.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    table = [
        ({"ca_file": junk}, "upstream.ca_file"),
        ({"ca_file": missing}, "upstream.ca_file"),
        ({"client_cert": missing}, "upstream.client_cert"),
        ({"client_cert": junk}, "upstream.client_cert"),
        ({"client_cert": tmp_path / "cert.pem"}, "upstream.client_cert"),
        ({"client_cert": tmp_path / "cert.pem", "client_key": missing}, "upstream.client_key"),
        ({"client_key": junk}, "upstream.client_key"),
    ]
    for arguments, place in table:
        with pytest.raises(ConfigError) as caught:
            tls_context(**arguments)  # type: ignore[arg-type]
        assert caught.value.problems[0].place == place
        assert len(caught.value.problems) == 1
