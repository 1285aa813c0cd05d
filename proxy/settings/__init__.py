"""What can be set, where it comes from, and what is wrong with it."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from proxy.errors import ConfigError
from proxy.settings.checks import contradictions
from proxy.settings.load import load
from proxy.settings.model import Settings
from proxy.settings.problems import nearest, noted

__all__ = ["Settings", "settings_from"]


def settings_from(value: Settings | Mapping[str, Any] | str | Path, *, require_upstream: bool = True) -> Settings:
    """Checked settings from what a Python program has at hand; ConfigError tells everything that is wrong.

    A mapping is the YAML file's content and stands alone; a path is read as by `--config`, with the environment and
    `.env` above it.
    """
    match value:
        case Settings():
            found = tuple(contradictions(value, require_upstream=require_upstream))
            if found:
                raise ConfigError(tuple(noted(nearest({}, steps), steps, text) for steps, text in found))
            return value
        case str() | Path():
            loaded = load(
                config=value, flags={}, sets=(), environ=os.environ, cwd=Path(), require_upstream=require_upstream
            )
            return loaded.settings
        case _:
            loaded = load(
                config=None, flags={}, sets=(), environ={}, cwd=None, data=value, require_upstream=require_upstream
            )
            return loaded.settings
