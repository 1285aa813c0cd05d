"""`cachegate explain`: why a request is answered from store, or is not."""

import json
import sys
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from yarl import URL

from proxy.cli.client import gateway, gateway_options
from proxy.cli.output import plain, plural, size, span, table
from proxy.outcome import Verdict

Document = Mapping[str, Any]
COLOURS = {"HIT": "green", "UPDATING": "green", "REVALIDATED": "green", "BYPASS": "magenta"}
SHORT = 16  # digits of a key that are shown


@click.command("explain")
@click.argument("page", metavar="URL")
@click.option("-X", "--request", "method", metavar="METHOD", help="The method; by default GET, with -d POST.")
@click.option("-H", "--header", "headers", metavar="'NAME: VALUE'", multiple=True, help="A header of the request.")
@click.option("-d", "--data", metavar="BODY", help="The request's body; @FILE reads it from a file, @- from stdin.")
@click.option("--client", metavar="ADDRESS", help="Whose request it is, for rate limits; by default yours.")
@click.option(
    "--expect",
    type=click.Choice([verdict.value for verdict in Verdict], case_sensitive=False),
    help="Exit 1 when the verdict is another one.",
)
@gateway_options
def command(
    page: str,
    *,
    method: str | None,
    headers: tuple[str, ...],
    data: str | None,
    client: str | None,
    expect: str | None,
    url: str | None,
    token: str | None,
    site: str | None,
    as_json: bool,
) -> int:
    """Say what would become of a request for URL, and why. Nothing is fetched, and nothing changes.

    A bare path is meant for the host of --url, or for the one that --site names.
    """
    said: dict[str, object] = {"url": page, "headers": [header_of(line) for line in headers]}
    gate = gateway(url, token, site)
    if site is not None and page.startswith("/"):
        said["url"] = f"{URL(gate.url).scheme}://{site}{page}"
    said |= {name: value for name, value in (("method", method), ("client", client)) if value is not None}
    if data is not None:
        said["body_base64"] = b64encode(_body(data)).decode()
    told = gate.ask("POST", "/explain", body=said).json
    with gate.understood():
        verdict, text = str(told["verdict"]), "\n".join(lines(told))
    click.echo(json.dumps(told, indent=2) if as_json else text)
    if expect is None or expect.upper() == verdict:
        return 0
    click.echo(f"expected {expect.upper()}, found {verdict} ({told['reason']})", err=True)
    return 1


def header_of(line: str) -> tuple[str, str]:
    """What -H says: ("Accept", "text/html"); BadParameter where it is no header."""
    name, colon, value = line.partition(":")
    if not colon or not name.strip():
        raise click.BadParameter(f"{line!r} is no header; for example -H 'Accept: text/html'", param_hint="-H")
    return name.strip(), value.strip()


def _body(data: str) -> bytes:
    if data == "@-":
        return sys.stdin.buffer.read()
    if not data.startswith("@"):
        return data.encode("utf-8", "surrogateescape")
    try:
        return Path(data[1:]).read_bytes()
    except OSError as error:
        raise click.BadParameter(plain(f"cannot read {data[1:]}: {error.strerror}"), param_hint="-d") from None


def lines(told: Document) -> Iterator[str]:
    """The trace for people, in the order in which the gateway asks its questions."""
    yield _verdict(told)
    yield f"  {told['method']} {told['url']}"
    yield from _section("rules", _rules(told))
    yield from _section("key", _key(told))
    yield from _section("tiers", _tiers(told))
    yield from _section("upstream", _upstream(told))
    yield from _section("workers", _workers(told))
    yield from _section("nearest", _nearest(told))
    for warning in told["warnings"]:
        yield f"{click.style('warning', fg='yellow')}: {warning}"
    if told["advice"]:
        yield f"{click.style('advice', bold=True)}: {told['advice']}"


def _section(name: str, body: Sequence[Sequence[str]]) -> Iterator[str]:
    if body:
        yield click.style(name, dim=True)
        yield table(body, indent=2, numeric=False)


def _verdict(told: Document) -> str:
    verdict = click.style(told["verdict"], fg=COLOURS.get(told["verdict"], "yellow"), bold=True)
    clause = f" ({told['clause']})" if told["clause"] else ""
    maybe = f"; or {' or '.join(told['maybe'])}, as the origin answers" if told["maybe"] else ""
    because = f", asked for because of {told['because']}" if told["because"] else ""
    behind = "; fetched anew behind" if told["refreshes"] else ""
    return f"{verdict} {told['reason']}{clause}{because}{maybe}{behind}"


def _rules(told: Document) -> list[list[str]]:
    rows = [[_tick(rule["matched"]), rule["name"], rule["why"]] for rule in told["rules"]]
    if not any(rule["matched"] for rule in told["rules"]):
        rows.append([_tick(True), "(no rule)", f"cache.unmatched: {told['mode']}"])
    elif told["mode"] != "on":
        rows[-1][2] += f"; its mode is {told['mode']}"
    if (limit := told["limit"]) is not None:
        left = "nobody counts now" if limit["remaining"] is None else f"{limit['remaining']} of {limit['limit']} left"
        rows.append([_tick(not limit["refuses"]), "rate limit", f"{left} for {told['client']}"])
    return rows


def _tick(yes: bool | None) -> str:
    """None: nobody knows."""
    if yes is None:
        return click.style("?", fg="yellow")
    return click.style("yes", fg="green") if yes else click.style("no", dim=True)


def _key(told: Document) -> list[list[str]]:
    key = told["key"]
    if key is None:
        return []
    parts = {**key["parts"], **key["parts"]["selected"]}
    rows = [[name, str(value)] for name, value in parts.items() if name != "selected" and value not in (None, "")]
    return [["hash", key["key"]], *rows]


def _tiers(told: Document) -> list[list[str]]:
    rows = [[_tick(tier["found"]), tier["tier"], _tier(tier)] for tier in told["tiers"]]
    if (parts := told["parts"]) is not None:
        rows.append(["", parts["tier"], f"in parts: {size(parts['there'])} of {size(parts['of'])}"])
    return rows


def _tier(tier: Document) -> str:
    if "trouble" in tier:
        return str(tier["trouble"])
    if tier["age"] is None:
        return f"{plural(tier['variants'], 'variant')}, of which none fits" if tier["variants"] else "nothing"
    ttl = tier["ttl"]
    told = f"{size(tier['size'])}, {span(tier['age'])} old"
    if tier["found"]:
        told += f", fresh for {span(ttl)}" if ttl > 0 else f", stale for {span(-ttl)}"
    return told if tier["purged"] is None else f"{told}; {_purged(tier['purged'])}"


def _purged(purged: Document) -> str:
    how = "ended by a soft purge" if purged["soft"] else "purged"
    if purged["kind"] == "forgotten":
        return f"{how}, or older than what is known of purges"
    which = f" (purge {purged['id']})" if purged["id"] else ""
    return f"{how} by {purged['kind']} {purged['name']}".rstrip() + which


def _upstream(told: Document) -> list[list[str]]:
    limited = told["limit"] is not None and told["reason"] == told["limit"]["refuses"]
    if told["verdict"] in ("HIT", "UPDATING") or limited or told["upstream"] is None:
        return []
    now, storing, fetch = told["upstream"], told["storing"], told["fetch"]
    rows = [["asked", f"{now['name']}: {told['method']} {now['target']}, breaker {now['breaker']}"]]
    if now["refuses"]:
        rows.append(["refused", str(now["refuses"])])
    if fetch is not None:
        where = (
            " in another process"
            if fetch["elsewhere"]
            else f", for which {plural(fetch['passengers'], 'request')} wait"
        )
        rows.append(["shared", f"a fetch is under way{where}"])
    if storing is not None:
        ttl = f" for {span(round(storing['ttl']))}" if storing["ttl"] else ""
        kept = f"would be stored{ttl}" if storing["stored"] else f"would not be stored: {storing['why']}"
        lately = f"; lately one could not: {storing['lately']}" if storing["lately"] else ""
        rows.append(["stored", f"{storing['assumed']} {kept}{lately}"])
    return rows


def _workers(told: Document) -> list[list[str]]:
    """Each has a memory of its own; of one alone there is nothing more to say."""
    workers = told["workers"]
    if len(workers) < 2:
        return []
    return [
        [f"{each['worker']}{'*' if each['worker'] == told['worker'] else ''}", each["verdict"], each["reason"]]
        for each in workers
    ]


def _nearest(told: Document) -> list[list[str]]:
    nearest, searched = told["nearest"], told["searched"]
    if nearest is None:
        cut = searched is not None and not searched["complete"]
        return [["none", f"among the first {searched['entries']:,} looked at"]] if cut and searched else []
    rows = [["stored", f"{nearest['url']} ({nearest['key'][:SHORT]})"]]
    rows += [
        [f"{name}", f"{_shown(nearest['here'][name])} here, {_shown(nearest['there'][name])} there"]
        for name in nearest["differs"]
    ]
    rows.insert(1, ["differs", f"only in {' and '.join(nearest['differs'])}"])
    return rows


def _shown(value: str | None) -> str:
    return "nothing" if value is None else repr(value)
