"""`cachegate suggest`: what could the rules leave out of their keys, and how long may answers live?"""

import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

import click
import yaml

from proxy.cli.client import Gateway, gateway, gateway_options
from proxy.cli.directory import directory_if_any
from proxy.cli.output import plural
from proxy.cli.reading import counted, field_option, log
from proxy.insight.samples import Sample
from proxy.insight.samples_log import ANYTHING, Gathered, gathered
from proxy.insight.suggesting import Suggestion, merged, suggestions
from proxy.rules import RuleTable
from proxy.settings.compile import compile_rules
from proxy.settings.load import load

_NO_DIGESTS = (
    "the log does not tell whether answers were the same (HAR does, and JSON lines with `etag` or `digest`): only what"
    " splits keys can be seen in it; `cachegate suggest` without a log asks the running gateway"
)


@click.command("suggest")
@click.argument("path", metavar="[LOG]", required=False)
@click.option("--rules", metavar="FILE", help="The settings whose rules the log is held against; else those it names.")
@field_option
@gateway_options
def command(
    path: str | None,
    rules: str | None,
    fields: tuple[str, ...],
    *,
    url: str | None,
    token: str | None,
    site: str | None,
    as_json: bool,
) -> None:
    """Suggest what rules could ignore, and lifetimes, from LOG or, without one, from the last answers that a running
    gateway has fetched. Printed as a YAML patch with the evidence in comments; nothing is changed.
    """
    if path is None:
        if rules is not None or fields:
            raise click.UsageError("--rules and --field go with a LOG")
        gate = gateway(url, token, site)
        samples = _live(gate)
        notes = [f"from the last {plural(len(samples), 'answer')} that {gate.url} has fetched"]
    else:
        table = ANYTHING if rules is None else _table(rules)
        with log(path, fields) as seen:
            found = gathered(seen, table)
        samples, notes = found.samples, list(_notes(found, path))
    told = suggestions(samples)
    click.echo(json.dumps(document(told), indent=2) if as_json else _text(told, notes))


def _table(file: str) -> RuleTable:
    loaded = load(config=file, flags={}, sets=(), environ=os.environ, cwd=directory_if_any(), require_upstream=False)
    return RuleTable(*compile_rules(loaded.settings))


def _live(gate: Gateway) -> list[Sample]:
    told = gate.ask("GET", "/suggest").json
    with gate.understood():
        return [Sample.from_json(each) for each in told["samples"]]


def document(found: Sequence[Suggestion]) -> dict[str, Any]:
    """The contract's form, and more beside it."""
    return {
        "suggestions": [
            {
                "kind": each.kind,
                "name": each.name,
                "rule": each.rule,
                "evidence": {"pairs": each.pairs, "bound": round(each.bound, 6), "text": each.text},
                "patch": each.patch,
            }
            for each in found
        ]
    }


def _notes(found: Gathered, path: str) -> Iterator[str]:
    yield f"from {plural(len(found.samples), 'answer')} in {plural(found.requests, 'request')} of {path}"
    if found.without == len(found.samples) and found.samples:
        yield _NO_DIGESTS
    if found.unreadable:
        first = found.named[0]
        yield f"{counted(found.unreadable, first)}; the first: {first.text}"


def _text(found: Sequence[Suggestion], notes: Sequence[str]) -> str:
    lines = [f"# {note}" for note in notes]
    patch = merged(found)
    lines += [f"# {each.rule}: {'' if each.patch else 'look at '}{each.text}" for each in found]
    if not patch:
        return "\n".join([*lines, "# nothing to change"])
    text: str = yaml.safe_dump(patch, sort_keys=False, allow_unicode=True)
    return "\n".join([*lines, "# to be added to what these rules say; nothing was changed", text.rstrip()])
