"""`cachegate check`: are the settings right, and do the rules what their tests say?"""

import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

import click
import yaml

from proxy.cli.directory import working_directory
from proxy.cli.options import given, settings_options
from proxy.cli.output import plural
from proxy.errors import ConfigError, Problem
from proxy.insight.rule_tests import Trial, run_rule_tests
from proxy.obstacles import obstacles
from proxy.settings.load import Loaded, load
from proxy.settings.show import HIDDEN, show

COMMENTS_AT = 44  # column
# Of the file alone it is no mistake: where it is served, a flag or the environment may well say it.
_UNNAMED = Problem("upstream.url", "not set here; `cachegate serve` wants it, by flag, environment or in the YAML")


@click.command("check")
@click.argument("file", required=False)
@click.option("--show", "with_settings", is_flag=True, help="Print every setting with its source; secrets as ***.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@settings_options
def command(file: str | None, with_settings: bool, as_json: bool, **options: Any) -> int:
    """Validate the settings, with FILE as the YAML file and the other files that they name, and run the rules' tests.

    Exit 0 when all is well, 1 when a test of a rule failed, 2 when a setting is wrong.
    """
    try:
        loaded = _loaded(file, options)
    except ConfigError as error:
        if not as_json:
            raise
        click.echo(json.dumps({"ok": False, "problems": _listed(error.problems)}, indent=2))
        return 2
    if not loaded.settings.upstream.url:
        loaded = replace(loaded, warnings=(*loaded.warnings, _UNNAMED))
    trials = tuple(run_rule_tests(loaded.settings, time.time()))
    if as_json:
        click.echo(json.dumps(_document(loaded, trials, with_settings), indent=2))
    else:
        _tell(loaded, trials, with_settings)
    return 1 if any(trial.wrong for trial in trials) else 0


def _loaded(file: str | None, options: dict[str, Any]) -> Loaded:
    said = given(options)
    if file is not None and said.config is not None:
        raise click.UsageError("name the file once: as FILE or by --config")
    return load(
        config=file or said.config,
        flags=said.flags,
        sets=said.sets,
        environ=os.environ,
        cwd=working_directory(),
        require_upstream=False,
        also=obstacles,
    )


def _listed(problems: Sequence[Problem]) -> list[dict[str, str]]:
    return [{"place": problem.place, "text": problem.text} for problem in problems]


def _document(loaded: Loaded, trials: Sequence[Trial], with_settings: bool) -> dict[str, Any]:
    return {
        "ok": not any(trial.wrong for trial in trials),
        "rules": len(loaded.settings.rules),
        "warnings": _listed(loaded.warnings),
        "tests": [asdict(trial) for trial in trials],
        **(show(loaded) if with_settings else {}),
    }


def _tell(loaded: Loaded, trials: Sequence[Trial], with_settings: bool) -> None:
    if with_settings:
        shown = show(loaded)
        click.echo("\n".join(_lines(shown["settings"], shown["sources"])))
    for warning in loaded.warnings:
        click.echo(f"{click.style('warning', fg='yellow')}: {warning}", err=True)
    failed = [trial for trial in trials if trial.wrong]
    for trial in failed:
        click.echo(
            "\n".join([f"{trial.place} ({trial.rule}): {trial.request}", *(f"  {text}" for text in trial.wrong)])
        )
    verdict = click.style("failed", fg="red") if failed else click.style("ok", fg="green")
    tests = f"{len(trials) - len(failed)} of {plural(len(trials), 'test')} passed" if trials else "no tests"
    click.echo(f"{verdict}: {plural(len(loaded.settings.rules), 'rule')}, {tests}", err=with_settings)


def _lines(data: dict[str, Any], sources: dict[str, str], path: str = "", indent: str = "") -> Iterator[str]:
    """The settings as YAML that loads again, the source of each in a comment."""
    for name, value in data.items():
        at = f"{path}.{name}" if path else name
        if at == "rules" and value:
            yield f"{name}:"
            for n, rule in enumerate(value):
                first, *others = _yaml([rule], flow=False).splitlines()
                yield _commented(f"  {first}", sources.get(f"rules[{n}]"))
                yield from (f"  {line}" for line in others)
        elif at == "admin.token" and value == HIDDEN:  # nobody's token: read again, one is made
            yield _commented(f"{indent}# {name}: {HIDDEN}", sources.get(at))
        elif isinstance(value, dict) and value and at not in sources:
            yield f"{indent}{name}:"
            yield from _lines(value, sources, at, f"{indent}  ")
        else:
            yield _commented(f"{indent}{name}: {_yaml(value, flow=True)}", sources.get(at))


def _yaml(value: object, *, flow: bool) -> str:
    text: str = yaml.safe_dump(value, default_flow_style=flow, sort_keys=False, width=10_000, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")


def _commented(line: str, source: str | None) -> str:
    return line if source is None else f"{line:<{COMMENTS_AT}}  " + click.style(f"# {source}", dim=source == "default")
