"""The settings of a running gateway: shown without secrets, read again, and what that changes."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from proxy.settings.load import Loaded
from proxy.settings.show import as_data, show

# What holds from the next request on; everything else is read at start alone.
_LIVE = ("rules", "cache", "upstream", "upstreams", "log.level", "limits.key_body", "limits.tags", "flight.wait")
_AT_START = ("cache.cleanup_interval", "cache.warmup")


class Configuration:
    """`source` reads the settings anew (it may block), None where there is nothing to read; `apply` lets them hold."""

    def __init__(self, loaded: Loaded, source: Callable[[], Loaded] | None, apply: Callable[[Loaded], None]) -> None:
        self._loaded = loaded
        self._source = source
        self._apply = apply

    def shown(self) -> Mapping[str, object]:
        return show(self._loaded)

    async def reload(self) -> Mapping[str, object]:
        """Read everything again and let it hold: the paths that changed, and those that need a restart to hold.
        ConfigError with every problem, and then the old settings go on to hold."""
        if self._source is None:
            return {"changed": [], "restart": []}
        loaded = await asyncio.to_thread(self._source)
        changed = sorted(_different(self._loaded, loaded))
        self._apply(loaded)
        self._loaded = loaded
        return {"changed": changed, "restart": [path for path in changed if not is_live(path)]}


def is_live(path: str) -> bool:
    """Whether a reload is enough for this setting."""
    if _within(path, _AT_START):
        return False
    return _within(path, _LIVE)


def _within(path: str, roots: tuple[str, ...]) -> bool:
    return any(path == root or path.startswith(f"{root}.") for root in roots)


def _different(old: Loaded, new: Loaded) -> Iterator[str]:
    """The paths whose values differ, secrets among them; a value never leaves this function."""
    before = dict(_flat("", as_data(old.settings, reveal=True)))
    after = dict(_flat("", as_data(new.settings, reveal=True)))
    for path in before.keys() | after.keys():
        if before.get(path) != after.get(path):
            yield path


def _flat(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for name, child in value.items():
            yield from _flat(f"{path}.{name}" if path else str(name), child)
    else:
        yield path, value
