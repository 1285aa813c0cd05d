"""The directory that a command was started in, which may be gone by then."""

from pathlib import Path

import click


def working_directory() -> Path:
    """Where relative files are looked for. UsageError where that was deleted meanwhile, or may not be read."""
    here = directory_if_any()
    if here is None:
        raise click.UsageError("the directory that this was started in is no longer there: go to another one")
    return here


def directory_if_any() -> Path | None:
    """The same for what can do without: None where it was deleted meanwhile, and no relative file is looked for."""
    try:
        return Path.cwd()
    except OSError:
        return None
