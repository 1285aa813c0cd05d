"""`cachegate purge`: forget stored answers, and show the receipt."""

import json
from collections.abc import Mapping
from typing import Any

import click
from yarl import URL

from proxy.cli.client import Answer, gateway, gateway_options
from proxy.cli.consent import ask_first
from proxy.cli.output import plain

Wanted = dict[str, object]
SPOKEN = {
    "url": "{}",
    "key": "key {}",
    "pattern": "pattern {}",
    "tag": "tag {}",
    "rule": "rule {}",
    "namespace": "namespace {}",
    "all": "everything",
}
PENDING = 202  # the status of a receipt while not every live instance is known to have applied it
NARROW = ("url", "key")  # a named URL, or less: nobody needs to be asked


@click.command("purge")
@click.argument("urls", metavar="[URL]...", nargs=-1)
@click.option("--key", help="One entry, by its key; its first 8 hex digits may do.")
@click.option("--pattern", help='What lies under a glob on the path, such as "*/users/*".')
@click.option("--tag", help="What carries the tag.")
@click.option("--rule", help="What the rule stored.")
@click.option("--namespace", help="What lies in the namespace.")
@click.option("--all", is_flag=True, help="Everything.")
@click.option("--soft", is_flag=True, help="End the lifetime only: a stale copy may still stand in.")
@click.option("--dry-run", is_flag=True, help="Only show what would go.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@gateway_options
def command(
    urls: tuple[str, ...],
    *,
    soft: bool,
    dry_run: bool,
    yes: bool,
    url: str | None,
    token: str | None,
    site: str | None,
    as_json: bool,
    **selectors: Any,
) -> None:
    """Forget stored answers: those of the URLs (every method, body and variant), or what one of the options names.

    A bare path, and a pattern that begins with one, means every host, or the one that --site names.
    """
    kind, values = chosen(urls, selectors)
    gate = gateway(url, token, site)

    def purge(value: object, *, dry: bool) -> Answer:
        wanted = value
        if kind == "url":
            wanted = _on_site(str(value), gate.url, site)
        elif kind == "pattern":
            wanted = pattern_on_site(str(value), site)
        return gate.ask("POST", "/purge", body={kind: wanted, "soft": soft, "dry_run": dry})

    if kind not in NARROW and not (yes or dry_run):
        name = _spoken(kind, values[0])
        with gate.understood():
            ask_first(
                f"purging {name}",
                lambda: f"Purge {name}: {matched(purge(values[0], dry=True).json)}. Go on?",
                or_else=" (or --dry-run to see what would go)",
            )
    for value in values:
        answer = purge(value, dry=dry_run)
        with gate.understood():
            text = told(_spoken(kind, value), answer.json, everywhere=answer.status != PENDING)
        click.echo(json.dumps(answer.json) if as_json else text)


def chosen(urls: tuple[str, ...], selectors: Mapping[str, Any]) -> tuple[str, tuple[object, ...]]:
    """What to purge by, and its values; UsageError unless exactly one way was named."""
    named = {name: value for name, value in selectors.items() if value}
    if bool(urls) + len(named) != 1:
        ways = ", ".join(f"--{name}" for name in SPOKEN if name != "url")
        raise click.UsageError(f"name what to purge, in one way: URLs, or one of {ways}")
    if urls:
        return "url", urls
    ((kind, value),) = named.items()
    return kind, (value,)


def _spoken(kind: str, value: object) -> str:
    return SPOKEN[kind].format(plain(str(value)))


def _on_site(url: str, gateway_url: str, site: str | None) -> str:
    return f"{URL(gateway_url).scheme}://{site}{url}" if site and url.startswith("/") else url


def pattern_on_site(pattern: str, site: str | None) -> str:
    """A pattern that is meant for one site; UsageError for one that no single site can be said for."""
    if site is None or pattern.startswith("//"):
        return pattern
    if not pattern.startswith("/"):
        raise click.UsageError(f"with --site a pattern begins with '/', for example '/{pattern.lstrip('*/')}'")
    return f"//{site}{pattern}"


def matched(receipt: Mapping[str, Any]) -> str:
    """How many entries a receipt counts: "12 entries in memory"; counting stops after a while."""
    counts = [f"{number:,} in {tier}" for tier, number in receipt["matched"].items()] or ["none"]
    return ("" if receipt["exact"] else "at least ") + ", ".join(counts)


def told(name: str, receipt: Mapping[str, Any], *, everywhere: bool = True) -> str:
    """A receipt for people. `everywhere`: every live instance is known to have applied it."""
    if receipt.get("dry_run"):
        lines = [f"would purge {name}: {matched(receipt)}", *(f"  {plain(url)}" for url in receipt.get("sample", ()))]
        return "\n".join(lines)
    instances: Mapping[str, str] = receipt["instances"]
    pending = [instance for instance, state in instances.items() if state != "applied"]
    how = "soft-purged" if receipt["soft"] else "purged"
    lines = [f"{how} {name}: {matched(receipt)}; receipt {receipt['id']}"]
    if pending or not everywhere:
        lines.append(f"  not yet applied by {', '.join(pending) or 'instances that cannot be reached now'}")
    if not receipt["durable"]:
        lines.append("  it is not on disk: should the gateway end now, it is forgotten")
    return "\n".join(lines)
