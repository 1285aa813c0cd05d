"""How the commands speak to a running gateway: one request, one JSON answer, errors that say what to do."""

import asyncio
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import click
from yarl import URL

from proxy.cli.directory import directory_if_any
from proxy.errors import ConfigError
from proxy.server.admin.token import read_token
from proxy.settings.addresses import TOKEN_FORM
from proxy.settings.load import load
from proxy.settings.model import Settings
from proxy.settings.problems import found

_EXAMPLE = "http://127.0.0.1:4000"
_HERE = {"0.0.0.0": "127.0.0.1", "localhost": "127.0.0.1", "::": "::1"}  # noqa: S104 - where to listen, how to ask
PATIENCE = 60.0  # seconds for an answer, ...
PROMPT = 10.0  # ... and for one that says how the gateway is: who hangs so long is not well
CONNECT = 3.0  # seconds for a connection


class Unreachable(click.ClickException):
    """Nobody answers there, or not in time: the answer is "no" (exit 1)."""

    exit_code = 1


class Refused(click.ClickException):
    """The gateway answered, but not with what was asked for: a wrong token, place or argument is bad usage (exit 2)."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered; `json` is whatever JSON it was. `proxied`: it went through the gateway to a site behind it."""

    status: int
    json: Any
    proxied: bool = False


@dataclass(frozen=True, slots=True)
class Gateway:
    """A running gateway as its operator reaches it. `site`: the Host that a bare path is meant for, if named;
    `patience`: seconds for an answer."""

    url: str
    prefix: str
    token: str | None = None
    site: str | None = None
    patience: float = PATIENCE

    def ask(
        self,
        method: str,
        page: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        allowed: tuple[int, ...] = (),
    ) -> Answer:
        """One call of an admin page, such as "/stats". Unreachable without an answer, Refused for a status that is
        neither 2xx nor `allowed`, and for what no admin page says."""
        url = URL(self.url.rstrip("/") + self.prefix + page).with_query(query or {})
        try:
            answer = asyncio.run(_request(method, url, self.token, body, self.patience))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(_nobody(self.url, error)) from error
        if answer.proxied:
            text = (
                "the site behind the gateway answered: this is no admin page; name the admin port (admin.port) in --url"
            )
            raise Refused(f"{url}: {text}")
        if 200 <= answer.status < 300 or answer.status in allowed:
            if not isinstance(answer.json, dict):
                raise Refused(_STRANGER.format(url))
            return answer
        raise _refused(url, answer, with_token=self.token is not None)

    @contextmanager
    def understood(self) -> Iterator[None]:
        """Reads answers inside: Refused where they have not the form of an admin page's."""
        try:
            yield
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise Refused(_STRANGER.format(self.url)) from error


_STRANGER = "{} answered, but is no gateway's admin page; see --url"


async def _request(method: str, url: URL, token: str | None, body: object, patience: float) -> Answer:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    timeout = aiohttp.ClientTimeout(total=patience, sock_connect=min(CONNECT, patience))
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.request(method, url, headers=headers, json=body, allow_redirects=False) as response,
    ):
        raw = await response.read()
        document = _json(raw) if response.content_type == "application/json" else None
        return Answer(response.status, document, proxied="X-Cache" in response.headers)


def _json(raw: bytes) -> Any:
    """What the bytes say, None when they are no JSON."""
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None


def _nobody(url: str, error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        why = getattr(error.certificate_error, "verify_message", "") or error.certificate_error
        return f"the certificate of {url} is not trusted here ({why}); name its authority's file in SSL_CERT_FILE"
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        why = getattr(error.os_error, "reason", None) or error.os_error
        return f"no TLS with {url} ({why}); is it plain http:// there? see --url"
    number = error.errno if isinstance(error, OSError) else None
    why = os.strerror(number) if number is not None and number > 0 else str(error) or "no answer in time"
    return f"no gateway answers at {url} ({why}); start one with `cachegate --upstream URL`, or name another by --url"


# The last: one that nobody was told and that lies nowhere (the line at start says so) can only be replaced.
_OR_WHERE = (
    "or say by CACHE_DIR in which directory the gateway keeps it; if its log says that the token is nowhere, set "
    "ADMIN_TOKEN for the gateway and restart it"
)


def _refused(url: URL, answer: Answer, *, with_token: bool) -> click.ClickException:
    said = answer.json if isinstance(answer.json, dict) else {}
    message = str(said.get("message") or f"status {answer.status}")
    match answer.status:
        case 401:
            message = f"the token is wrong; give the gateway's own with --token or ADMIN_TOKEN, {_OR_WHERE}"
        case 404 if not with_token:
            message = f"not to be seen without the admin token; give it with --token or ADMIN_TOKEN, {_OR_WHERE}"
        case 404 if not said:
            message = "no such page; with admin.port set, name that port in --url"
        case status if status >= 500:
            return Unreachable(f"{url}: {message}")
    return Refused(f"{url}: {message}")


def gateway_options(command: Callable[..., object]) -> Callable[..., object]:
    """The options that every client command takes; the verb gets them as `url`, `token`, `site` and `as_json`."""
    options = (
        click.option(
            "--url",
            help="Where the gateway (or its admin port) is; default: as the settings here say,"
            f" {_EXAMPLE} where they say nothing.",
        ),
        click.option("--token", envvar="ADMIN_TOKEN", help="Its admin token; else ADMIN_TOKEN, then the token file."),
        click.option("--site", metavar="HOST", help="The Host that a bare path is meant for."),
        click.option("--json", "as_json", is_flag=True, help="Print the JSON as it came."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def gateway(url: str | None, token: str | None, site: str | None) -> Gateway:
    """The gateway at `url`, else where the settings that hold here put it; with their token and admin prefix."""
    settings = _settings_here()
    where = _default_url(settings) if url is None else _checked_url(url)
    known = token or _known_token(settings)
    if known is not None and known != "none" and not TOKEN_FORM.fullmatch(known):
        raise click.BadParameter(_unfit(known), param_hint="--token")
    return Gateway(where, settings.admin.prefix, None if known == "none" else known, site)


def _checked_url(url: str) -> str:
    try:
        parts = URL(url)
        more = parts.user or parts.password or parts.query_string or parts.fragment
        sound = parts.scheme in ("http", "https") and parts.host and parts.port and not more
    except ValueError:
        sound = False
    if not sound:
        raise click.BadParameter(f"{found(url, url=True)} is no URL; for example {_EXAMPLE}", param_hint="--url")
    return url


def _default_url(settings: Settings) -> str:
    """The admin port, which speaks plain HTTP, or else the port of the traffic."""
    listen, admin = settings.listen, settings.admin
    alone = admin.port is not None
    host, port = (admin.host, admin.port) if alone else (listen.host, listen.port)
    if not port:
        raise click.UsageError("the system chooses the gateway's port (0 in the settings here): name it in --url")
    scheme = "http" if alone or listen.tls_cert is None else "https"
    host = _HERE.get(host, host)
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def _settings_here() -> Settings:
    try:
        return load(
            config=None, flags={}, sets=(), environ=os.environ, cwd=directory_if_any(), require_upstream=False
        ).settings
    except ConfigError as error:
        # what is wrong in the settings here says nothing about a gateway that runs
        click.echo(f"settings ignored: {error.problems[0]}", err=True)
        return Settings()


def _unfit(token: str) -> str:
    """What is wrong with a token, without a letter of it."""
    found = f"{len(token)} characters" if not 8 <= len(token) <= 512 else "a space or a character that is none of them"
    return f"a token has 8 to 512 visible ASCII characters and no spaces; found {found}"


def _known_token(settings: Settings) -> str | None:
    admin = settings.admin
    return read_token(admin.token_file) if admin.token is None else admin.token.get_secret_value()
