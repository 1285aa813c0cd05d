"""Load settings from text, as a working directory with a YAML file and a `.env` would give them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import dedent
from typing import Any

from proxy.errors import ConfigError
from proxy.settings.load import Loaded, load

FILE = "config/cachegate.yaml"


def read(
    directory: Path,
    yaml: str | None = None,
    *,
    dotenv: str | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
    sets: Sequence[str] = (),
    config: str | None = None,
    require_upstream: bool = False,
) -> Loaded:
    if yaml is not None:
        (directory / "config").mkdir(exist_ok=True)
        (directory / FILE).write_text(dedent(yaml).removeprefix("\n"))
    if dotenv is not None:
        (directory / ".env").write_text(dedent(dotenv).removeprefix("\n"))
    return load(
        config=config,
        flags=flags or {},
        sets=sets,
        environ=environ or {},
        cwd=directory,
        require_upstream=require_upstream,
    )


def problems(directory: Path, yaml: str | None = None, **sources: Any) -> list[str]:
    """Every problem as its line; empty when there is none."""
    try:
        read(directory, yaml, **sources)
    except ConfigError as error:
        return [str(problem) for problem in error.problems]
    return []
