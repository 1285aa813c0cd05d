"""Notices that the configuration file has another content."""

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

from watchfiles import awatch

_DEBOUNCE = 200  # ms that changes are gathered for: editors write in several steps


async def changes(file: Path) -> AsyncIterator[None]:
    """One item for each new content of the file.

    Its directory is watched, and where it points to: an editor replaces the file, and Kubernetes swaps a ConfigMap
    by a symbolic link beside it, so that the file itself sees nothing.
    """
    seen = _content(file)
    async for _ in awatch(*_directories(file), watch_filter=None, debounce=_DEBOUNCE, recursive=False):
        now = _content(file)
        if now is not None and now != seen:
            seen = now
            yield


def _directories(file: Path) -> set[Path]:
    return {file.parent, file.resolve().parent}


def _content(file: Path) -> bytes | None:
    """A digest of what is in the file; None while it is not there."""
    try:
        return hashlib.sha256(file.read_bytes()).digest()
    except OSError:
        return None
