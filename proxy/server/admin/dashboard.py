"""The dashboard: a shell of HTML, script and style that holds no data and asks the other pages for it.

Everything it is made of lies in `dashboard/` and is sent as it lies there; the words of the reasons are ours. Paths in
it are relative, so that it stands under any prefix, and behind a proxy that rewrites it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files

import orjson

from proxy.message import Fields, Reply
from proxy.outcome import Outcome, Verdict
from proxy.policy.conditional import client_condition, not_modified_fields
from proxy.policy.own_answers import phrase
from proxy.reasons import Why
from proxy.server.admin.pages import AdminError, Ask, Page
from proxy.server.admin.rights import Level

SHELL = "index.html"
TYPES = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "json": "application/json",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
}
# Nothing but our own files, and no text that becomes markup: what is shown comes from strangers.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)


@dataclass(frozen=True, slots=True)
class Asset:
    """One file of the page as it is sent; `fields` are those of its 200."""

    body: bytes
    fields: Fields

    @classmethod
    def of(cls, name: str, body: bytes) -> "Asset":
        return cls(
            body,
            Fields.of(
                ("Content-Type", TYPES[name.rpartition(".")[2]]),
                ("Content-Length", str(len(body))),
                ("ETag", f'"{sha256(body).hexdigest()[:32]}"'),
                ("Cache-Control", "no-cache"),
                ("Content-Security-Policy", POLICY),
                ("X-Content-Type-Options", "nosniff"),
                ("Referrer-Policy", "no-referrer"),
                ("Cross-Origin-Opener-Policy", "same-origin"),
                ("Cross-Origin-Resource-Policy", "same-origin"),
            ),
        )

    def answer(self, ask: Ask) -> Reply:
        """Whole, or 304 for who has it."""
        outcome = Outcome(Verdict.BYPASS, Why.NO_RULE)
        if client_condition(ask.request, 200, self.fields) is not None:
            return Reply(304, phrase(304), not_modified_fields(self.fields), b"", outcome)
        return Reply(200, phrase(200), self.fields, self.body, outcome)


def dashboard_pages() -> tuple[Page, ...]:
    """`GET /dashboard`, and `GET /dashboard/{file}` for what it is made of."""
    assets = _assets()

    async def shell(ask: Ask) -> Reply:
        return assets[SHELL].answer(ask)

    async def asset(ask: Ask) -> Reply:
        found = assets.get(ask.name)
        if found is None:
            raise AdminError(404, "not-found", "There is no such page.")
        return found.answer(ask)

    return (
        Page("GET", "/dashboard", Level.GLANCE, shell, None),
        Page("GET", "/dashboard/{file}", Level.GLANCE, asset, None),
    )


def _assets() -> Mapping[str, Asset]:
    """By name; files of kinds that are not sent are left out."""
    found = {
        each.name: each.read_bytes()
        for each in files("proxy.server.admin").joinpath("dashboard").iterdir()
        if each.name.rpartition(".")[2] in TYPES
    }
    found["reasons.json"] = orjson.dumps(
        {why.word: {"clause": why.clause, "means": why.means, "advice": why.advice} for why in Why}
    )
    return {name: Asset.of(name, body) for name, body in found.items()}
