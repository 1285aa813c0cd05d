"""Settings from every source, with all problems at once: flag > environment > `.env` > YAML > default."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from proxy.errors import ConfigError, Problem
from proxy.settings.checks import Finding, cautions, contradictions, milliseconds
from proxy.settings.dotenv import Variable, parse_dotenv
from proxy.settings.model import Settings
from proxy.settings.problems import Origin, Report, Steps, Text, nearest, spell
from proxy.settings.reader import MAX_BYTES, Node
from proxy.settings.shape import Data, effective
from proxy.settings.sources import (
    PREFIX,
    Given,
    Layer,
    Merged,
    data_layer,
    file_layer,
    flag_layer,
    merge,
    variable_layer,
    variable_origin,
)
from proxy.settings.spellings import ENVIRONMENT
from proxy.settings.wording import worded

CONFIG_FILE = "config/cachegate.yaml"
DOTENV = ".env"


@dataclass(frozen=True, slots=True)
class Loaded:
    """Valid settings. `sources` tells by path where each comes from: `environment CACHE_TTL`,
    `config/cachegate.yaml:12:5`, `flag --cache-ttl`, `default`; `rules[0]` where a rule stands. Warnings are
    problems that do not keep the gateway from running; `file` is the YAML file that was read."""

    settings: Settings
    sources: Mapping[str, str]
    warnings: tuple[Problem, ...] = ()
    file: Path | None = None


def load(
    *,
    config: str | Path | None,
    flags: Mapping[str, object],
    sets: Sequence[str],
    environ: Mapping[str, str],
    cwd: Path | None,
    data: Mapping[str, Any] | None = None,
    require_upstream: bool = True,
    also: Callable[[Settings], Iterable[Finding]] = lambda settings: (),
) -> Loaded:
    """Read, merge and check. `flags` are by YAML path; `sets` are `path=value`; `data` stands in the YAML file's
    place. Relative files are looked for in `cwd`; None looks for none. `also` finds what else is wrong. ConfigError
    carries every problem found."""
    report = Report()
    dotenv = _dotenv(cwd, environ, report)
    names = {**{name: str(given.value) for name, given in dotenv.items() if not given.wrong}, **environ}
    from_file = _file(config, names, cwd, report) if data is None else data_layer(data, report)
    layers: list[Layer] = [
        from_file or {},
        variable_layer(_from_dotenv(dotenv, report), report),
        variable_layer(_from_environment(environ), report),
        flag_layer(flags, sets, cwd, names, report),
    ]
    merged = merge(layers)
    settings = _validated(merged, report)
    if from_file is not None:  # a file that cannot be read may hold what would be missed here
        for find in (partial(contradictions, require_upstream=require_upstream), also):
            for steps, text in tuple(find(settings)):
                if not report.explains(steps):
                    report.problem(nearest(merged.places, steps), steps, text)
    for steps, text in cautions(settings):
        report.warn(nearest(merged.places, steps), steps, text)
    if report.problems:
        raise ConfigError(tuple(report.problems))
    path = _config_file(config, names, cwd) if data is None else None
    return Loaded(settings, _sources(settings, merged), tuple(report.warnings), path and (cwd or Path()) / path)


def _dotenv(cwd: Path | None, environ: Mapping[str, str], report: Report) -> dict[str, Variable]:
    path = cwd / DOTENV if cwd is not None else None
    if path is None or not _stands(path):
        return {}
    text = _text(path, DOTENV, report)
    variables, wrong = parse_dotenv(text or "", environ)
    for line, said in wrong:
        report.problem(Origin(f"{DOTENV}:{line}", DOTENV), (), said)
    return variables


def _text(path: Path, shown: str, report: Report) -> str | None:
    """The file's text; None when it cannot be read, which is reported."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
        return raw.decode("utf-8-sig")
    except FileNotFoundError:
        report.problem(Origin(shown, shown), (), "there is no such file")
    except OSError as error:
        report.problem(Origin(shown, shown), (), f"cannot be read: {error.strerror}")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        report.problem(Origin(f"{shown}:{line}", shown), (), "not UTF-8")
    return None


def _config_file(config: str | Path | None, names: Mapping[str, str], cwd: Path | None) -> Path | None:
    """The YAML file that was asked for, else the usual one where there is one."""
    asked = config if config is not None else names.get("CONFIG_FILE") or None
    if asked is not None:
        return Path(asked)
    return Path(CONFIG_FILE) if cwd is not None and _stands(cwd / CONFIG_FILE) else None


def _stands(path: Path) -> bool:
    """Whether there is a file; also when its directory may not be looked into, so that reading it tells why."""
    try:
        return path.is_file()
    except OSError:
        return True


def _file(config: str | Path | None, names: Mapping[str, str], cwd: Path | None, report: Report) -> Layer | None:
    """What is in the YAML file; None when it cannot be used."""
    path = _config_file(config, names, cwd)
    if path is None:
        return {}
    shown = str(path)
    text = _text((cwd or Path()) / shown, shown, report)
    return None if text is None else file_layer(text, shown, names, report)


def _from_dotenv(variables: Mapping[str, Variable], report: Report) -> dict[str, Given]:
    given: dict[str, Given] = {}
    for name, variable in variables.items():
        if name not in ENVIRONMENT and not name.startswith(PREFIX):
            continue  # somebody else's
        at = f"{DOTENV}:{variable.line}"
        origin = variable_origin(name, f"{at} {name}", f"{name} ({at})")
        for text in variable.wrong:
            report.problem(origin, origin.names[0], text)
        if not variable.wrong:
            given[name] = Given(name, origin, Node(variable.value, origin))
    return given


def _from_environment(environ: Mapping[str, str]) -> dict[str, Given]:
    given: dict[str, Given] = {}
    for name, value in environ.items():
        if name in ENVIRONMENT or name.startswith(PREFIX):
            origin = variable_origin(name, f"environment {name}", f"{name} (environment)")
            given[name] = Given(name, origin, Node(Text(value), origin))
    return given


def _validated(merged: Merged, report: Report) -> Settings:
    """The settings, less what is wrong in them: that is reported, and taken out so that the rest can be checked too."""
    data = merged.data
    while True:
        try:
            settings = Settings.model_validate(data)
        except ValidationError as error:
            details = error.errors(include_url=False)
            for detail in details:
                steps = _given(data, _steps(detail))
                repeats = detail["type"] == "missing" or detail["input"] is None
                if not (repeats and report.explains(steps)):
                    report.problem(nearest(merged.places, steps), steps, worded(detail))
            rest = data
            for detail in details:
                rest = _without(rest, _steps(detail)[:-1] if detail["type"] == "missing" else _steps(detail))
            data = rest if rest != data else {}
        else:
            for steps, text in _likely_milliseconds(data, ()):
                report.warn(nearest(merged.places, steps), steps, text)
            return settings


def _steps(detail: ErrorDetails) -> Steps:
    """The path of an error, less what pydantic adds for unions and keys."""
    return tuple(step for step in detail["loc"] if isinstance(step, int) or (step != "[key]" and step[:1] != "<"))


def _given(data: Any, steps: Steps) -> Steps:
    """The path as the operator wrote it: one value that stands for a list of one has no [0]."""
    for n, step in enumerate(steps):
        if isinstance(step, int) and not isinstance(data, list):
            return steps[:n]
        data = data.get(step) if isinstance(data, dict) else data[step] if isinstance(step, int) else None
    return steps


def _without(data: Data, steps: Steps) -> Data:
    """A copy without the value at `steps`: the nearest thing that stands under a name goes. Of a rule that is none,
    an empty one stays, so that the others keep their numbers and are checked too."""
    if steps[0] == "rules" and len(steps) == 2:
        return {**data, "rules": [{} if n == steps[1] else rule for n, rule in enumerate(data["rules"])]}
    named = next((n for n in range(len(steps) - 1, -1, -1) if isinstance(steps[n], str)), 0)
    rest: Data = _dropped(data, steps[: named + 1])
    return rest


def _dropped(data: Any, steps: Steps) -> Any:
    step, *rest = steps
    if isinstance(data, dict):
        if not rest:
            return {key: value for key, value in data.items() if key != step}
        return {key: _dropped(value, tuple(rest)) if key == step else value for key, value in data.items()}
    if isinstance(data, list) and rest:
        return [_dropped(item, tuple(rest)) if n == step else item for n, item in enumerate(data)]
    return data


def _likely_milliseconds(data: Any, above: Steps) -> Iterator[tuple[Steps, str]]:
    """Bare numbers of ttl settings that look like milliseconds."""
    for step, value in data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ():
        steps = (*above, step)
        if step in ("ttl", "default_ttl") or above[-1:] == ("negative_ttl",):
            bare = float(value) if isinstance(value, int | float) or str(value).isdecimal() else 0.0
            if (meant := milliseconds(bare)) is not None:
                yield steps, f"{bare:.0f} seconds are {bare / 86_400:.0f} days: were {meant:g} seconds meant?"
        yield from _likely_milliseconds(value, steps)


def _sources(settings: Settings, merged: Merged) -> dict[str, str]:
    sources = {spell(steps): merged.sources.get(steps, "default") for steps, _ in effective(settings)}
    for n in range(len(settings.rules)):
        sources[f"rules[{n}]"] = nearest(merged.places, ("rules", n)).source
    if settings.redis.enabled and merged.data["redis"].get("enabled", "auto") in ("auto", None):
        given = next(steps for steps in merged.sources if steps[0] == "redis" and steps[-1] != "enabled")
        sources["redis.enabled"] = f"auto, by {spell(given)} ({merged.sources[given]})"
    return sources
