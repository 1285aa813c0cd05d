"""The settings as options of a command, made from the one table of spellings."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import click

from proxy.settings.spellings import CONFIG, SPELLINGS, Spelling, flag_values

Function = Callable[..., Any]

REPEATABLE = "--upstream"  # given twice, it names replicas, as commas do


@dataclass(frozen=True, slots=True)
class Given:
    """What the command line says about the settings: `flags` by YAML path, `sets` as `path=value`."""

    config: str | None
    flags: dict[str, object]
    sets: tuple[str, ...]


def settings_options(command: Function) -> Function:
    """Adds --config, --set and every flag of the table; `given` reads what they were given."""
    options: list[Callable[[Function], Function]] = [
        click.option("--config", metavar=CONFIG.metavar, help=CONFIG.help),
        click.option("--set", "sets", multiple=True, metavar="PATH=VALUE", help="any setting by its YAML path"),
        *(_option(spelling, spelling.flag) for spelling in SPELLINGS if spelling.flag),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def _option(spelling: Spelling, flag: str) -> Callable[[Function], Function]:
    if spelling.is_bool:
        return click.option(flag, spelling.option, is_flag=True, help=spelling.help)
    return click.option(
        flag, spelling.option, metavar=spelling.metavar, help=spelling.help, multiple=flag == REPEATABLE
    )


def given(options: Mapping[str, Any]) -> Given:
    """What the options of `settings_options` were given, as the loader wants it."""
    single = {name: (",".join(value) or None) if isinstance(value, tuple) else value for name, value in options.items()}
    return Given(options["config"], flag_values(single), options["sets"])
