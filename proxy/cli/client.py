"""How the commands speak to a running gateway: one request, one JSON answer, errors that say what to do."""

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import click
from yarl import URL

from proxy.errors import ConfigError
from proxy.server.admin.token import read_token
from proxy.settings.load import load
from proxy.settings.sections import AdminSettings

DEFAULT_URL = "http://127.0.0.1:4000"
TIMEOUT = aiohttp.ClientTimeout(total=60, sock_connect=3)


class Unreachable(click.ClickException):
    """Nobody answers there, or not in time: the answer is "no" (exit 1)."""

    exit_code = 1


class Refused(click.ClickException):
    """The gateway answered, but not with what was asked for: a wrong token, place or argument is bad usage (exit 2)."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Answer:
    """What an admin page said; `json` is whatever JSON it was."""

    status: int
    json: Any


@dataclass(frozen=True, slots=True)
class Gateway:
    """A running gateway as its operator reaches it. `site`: the Host that a bare path is meant for, if named."""

    url: str
    prefix: str
    token: str | None = None
    site: str | None = None

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
        neither 2xx nor `allowed`."""
        url = URL(self.url.rstrip("/") + self.prefix + page).with_query(query or {})
        try:
            answer = asyncio.run(_request(method, url, self.token, body))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(_nobody(self.url, error)) from error
        if 200 <= answer.status < 300 or answer.status in allowed:
            if not isinstance(answer.json, dict):
                raise Refused(f"{url} answered, but is no gateway's admin page; see --url")
            return answer
        raise _refused(url, answer, with_token=self.token is not None)


async def _request(method: str, url: URL, token: str | None, body: object) -> Answer:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with (
        aiohttp.ClientSession(timeout=TIMEOUT) as session,
        session.request(method, url, headers=headers, json=body, allow_redirects=False) as response,
    ):
        raw = await response.read()
        if response.content_type != "application/json" or not raw:
            return Answer(response.status, None)
        return Answer(response.status, await response.json())


def _nobody(url: str, error: BaseException) -> str:
    number = error.errno if isinstance(error, OSError) else None
    why = os.strerror(number) if number is not None and number > 0 else str(error) or "no answer in time"
    return f"no gateway answers at {url} ({why}); start one with `cachegate --upstream URL`, or name another by --url"


def _refused(url: URL, answer: Answer, *, with_token: bool) -> click.ClickException:
    said = answer.json if isinstance(answer.json, dict) else {}
    message = str(said.get("message") or f"status {answer.status}")
    match answer.status:
        case 401:
            message = "the token is wrong; give the gateway's own with --token or ADMIN_TOKEN"
        case 404 if not with_token:
            message = "not to be seen without the admin token; give it with --token or ADMIN_TOKEN"
        case 404 if not said:
            message = "no such page; with admin.port set, name that port in --url"
        case status if status >= 500:
            return Unreachable(f"{url}: {message}")
    return Refused(f"{url}: {message}")


def gateway_options(command: Callable[..., object]) -> Callable[..., object]:
    """The options that every client command takes; the verb gets them as `url`, `token`, `site` and `as_json`."""
    options = (
        click.option("--url", default=DEFAULT_URL, show_default=True, help="Where the gateway (or its admin port) is."),
        click.option("--token", envvar="ADMIN_TOKEN", help="Its admin token; else ADMIN_TOKEN, then the token file."),
        click.option("--site", metavar="HOST", help="The Host that a bare path is meant for."),
        click.option("--json", "as_json", is_flag=True, help="Print the JSON as it came."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def gateway(url: str, token: str | None, site: str | None) -> Gateway:
    """The gateway at `url`, with the token and the admin prefix of the settings that hold here."""
    if URL(url).scheme not in ("http", "https"):
        raise click.BadParameter(f"{url!r} is no URL; for example {DEFAULT_URL}", param_hint="--url")
    admin = _admin_settings()
    known = token or _known_token(admin)
    return Gateway(url, admin.prefix or "", None if known == "none" else known, site)


def _admin_settings() -> AdminSettings:
    try:
        here = load(config=None, flags={}, sets=(), environ=os.environ, cwd=Path.cwd(), require_upstream=False)
    except ConfigError as error:
        # what is wrong in the settings here says nothing about a gateway that runs
        click.echo(f"settings ignored: {error.problems[0]}", err=True)
        return AdminSettings()
    return here.settings.admin


def _known_token(admin: AdminSettings) -> str | None:
    return read_token(admin.token_file) if admin.token is None else admin.token.get_secret_value()
