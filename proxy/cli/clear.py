"""`cachegate clear`: empty the tiers of a running gateway."""

import json
from collections.abc import Mapping
from typing import Any

import click

from proxy.cli.client import gateway, gateway_options
from proxy.cli.consent import ask_first

TIERS = ("memory", "redis", "file")


@click.command("clear")
@click.option("--tier", type=click.Choice(TIERS), help="Only this one, of this instance; by default all of them.")
@click.option("--pattern", help='Only what lies under a glob on the path, such as "*/users/*".')
@click.option("--yes", is_flag=True, help="Do not ask.")
@gateway_options
def command(
    tier: str | None,
    pattern: str | None,
    yes: bool,
    url: str | None,
    token: str | None,
    site: str | None,
    as_json: bool,
) -> None:
    """Empty the tiers, or the part of them that a pattern names."""
    what = f"{'every' if tier is None else 'the ' + tier} tier{'' if pattern is None else f' of {pattern}'}"
    gate = gateway(url, token, site)
    if not yes:
        ask_first(f"clearing {what}", lambda: f"Clear {what} of {gate.url}?")
    page = "" if tier is None else f"/{tier}"
    answer = gate.ask("DELETE", page, query={} if pattern is None else {"pattern": pattern})
    with gate.understood():
        text = _told(what, answer.json)
    click.echo(json.dumps(answer.json) if as_json else text)


def _told(what: str, done: Mapping[str, Any]) -> str:
    if "cleared" in done:
        pending = [name for name, state in done.get("instances", {}).items() if state != "applied"]
        told = f"; not applied yet by {', '.join(pending) or 'others'}: purge {done['id']}" if "id" in done else ""
        return f"cleared {what}: {done['cleared']:,} entries{told}"
    if not isinstance(done["id"], str):
        raise TypeError
    return f"clearing {what}; it goes on as {done['id']}"
