"""`cachegate clear`: empty the tiers of a running gateway."""

import json
from collections.abc import Mapping
from typing import Any

import click

from proxy.cli.client import Gateway, gateway, gateway_options
from proxy.cli.consent import ask_first
from proxy.cli.purge import matched, pattern_on_site

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
    """Empty the tiers, or the part of them that a pattern names: on every host, or on the one that --site names."""
    what = f"{'every' if tier is None else 'the ' + tier} tier{'' if pattern is None else f' of {pattern}'}"
    gate = gateway(url, token, site)
    wanted = None if pattern is None else pattern_on_site(pattern, site)
    if not yes:
        with gate.understood():
            ask_first(f"clearing {what}", lambda: f"Clear {what} of {gate.url}{_there(gate, tier, wanted)}. Go on?")
    page = "" if tier is None else f"/{tier}"
    answer = gate.ask("DELETE", page, query={} if wanted is None else {"pattern": wanted})
    with gate.understood():
        text = _told(what, answer.json)
    click.echo(json.dumps(answer.json) if as_json else text)


def _there(gate: Gateway, tier: str | None, pattern: str | None) -> str:
    """How much would go, tier by tier: of a pattern what memory has of it, since only that is counted at once."""
    if pattern is not None:
        trial = gate.ask("POST", "/purge", body={"pattern": pattern, "dry_run": True}).json
        return f": {matched(trial)}" if tier in (None, "memory") else ""
    stats = gate.ask("GET", "/stats").json
    sizes = {"memory": stats["memory"]["size"], "file": stats["file"]["size"]}
    if stats["redis"]["enabled"]:
        sizes["redis"] = stats["redis"]["size"]
    return ": " + ", ".join(f"{sizes[name]:,} in {name}" for name in TIERS if name in sizes and tier in (None, name))


def _told(what: str, done: Mapping[str, Any]) -> str:
    if "cleared" in done:
        pending = [name for name, state in done.get("instances", {}).items() if state != "applied"]
        told = f"; not applied yet by {', '.join(pending) or 'others'}: purge {done['id']}" if "id" in done else ""
        return f"cleared {what}: {done['cleared']:,} entries{told}"
    if not isinstance(done["id"], str):
        raise TypeError
    return f"clearing {what}; it goes on as {done['id']}"
