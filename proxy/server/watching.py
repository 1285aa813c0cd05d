"""Notices that the configuration file has another content."""

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

from watchfiles import awatch

from proxy.settings.reader import MAX_BYTES

_DEBOUNCE = 200  # ms that changes are gathered for: editors write in several steps


async def changes(file: Path) -> AsyncIterator[None]:
    """One item for each new content of the file.

    Its directory is watched, and where it points to: an editor replaces the file, and Kubernetes swaps a ConfigMap
    by a symbolic link beside it, so that the file itself sees nothing.
    """
    seen = digest(file)
    async for _ in awatch(*_directories(file), watch_filter=None, debounce=_DEBOUNCE, recursive=False):
        now = digest(file)
        if now is not None and now != seen:
            seen = now
            yield


def digest(file: Path) -> bytes | None:
    """A digest of what is in the file, as far as it would be read; None while there is none, or nothing in it: who
    writes it in place has emptied it before. A pipe gives its content only once."""
    try:
        if not file.is_file():
            return None
        with file.open("rb") as opened:
            content = opened.read(MAX_BYTES + 1)
    except OSError:
        return None
    return hashlib.sha256(content).digest() if content else None


def _directories(file: Path) -> set[Path]:
    return {file.parent, file.resolve().parent}
