"""The settings that hold, and reading them again."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from pydantic import BaseModel

from proxy.settings.load import Loaded
from proxy.settings.show import as_data, show

_log = logging.getLogger("cachegate")

# What holds from the next request on; everything else is read at start alone.
_LIVE = ("rules", "cache", "upstream", "upstreams", "log.level", "limits.key_body", "limits.tags", "flight.wait")
_AT_START = ("cache.cleanup_interval", "cache.warmup")
_Section = TypeVar("_Section", bound=BaseModel)


class Configuration:
    """`source` reads the settings anew (it may block), None where there is nothing to read; `apply` lets them hold,
    less what only a restart can change. `renew` reads anew what settings merely name, such as certificates.

    One of several workers reloads `through` its parent, which lets all of them `take` what it has read; one `tells`
    the log."""

    def __init__(
        self,
        loaded: Loaded,
        source: Callable[[], Loaded] | None,
        apply: Callable[[Loaded], None],
        *,
        through: Callable[[], Awaitable[Mapping[str, object]]] | None = None,
        tells: bool = True,
    ) -> None:
        self.renew: Callable[[], None] = lambda: None
        self._started = loaded
        self._read = loaded  # the last that was taken, with what waits for a restart
        self._source = source
        self._apply = apply
        self._turn = asyncio.Lock()
        self._through = through
        self._tells = tells

    def shown(self) -> Mapping[str, object]:
        """The settings that hold now, where each comes from, and which others wait for a restart."""
        return {**show(_holding(self._started, self._read)), "restart": self._waiting(self._read)}

    async def reload(self) -> Mapping[str, object]:
        """Read everything again and let it hold: the paths that changed, and those that need a restart to hold.
        ConfigError with every problem, and then the old settings go on to hold."""
        if self._through is not None:
            return await self._through()
        if self._source is None:
            return {"changed": [], "restart": []}
        async with self._turn:
            return self.take(await asyncio.to_thread(self._source))

    def take(self, loaded: Loaded) -> Mapping[str, object]:
        """As `reload`, for what was read elsewhere."""
        changed, waiting = sorted(_different(self._read, loaded)), self._waiting(loaded)
        if not any(_within(path, ("listen.tls_cert", "listen.tls_key")) for path in waiting):
            self.renew()
        self._apply(_holding(self._started, loaded))
        self._read = loaded
        if self._tells:
            self._tell(loaded, changed, waiting)
        return {"changed": changed, "restart": waiting}

    def _waiting(self, loaded: Loaded) -> list[str]:
        return sorted(path for path in _different(self._started, loaded) if not is_live(path))

    def _tell(self, loaded: Loaded, changed: list[str], waiting: list[str]) -> None:
        for warning in loaded.warnings:
            _log.warning("%s", warning)
        wait = f"; a restart is needed for {', '.join(waiting)}" if waiting else ""
        _log.log(
            logging.WARNING if waiting else logging.INFO,
            "reloaded: changed %s%s",
            ", ".join(changed) or "nothing",
            wait,
        )


def is_live(path: str) -> bool:
    """Whether a reload is enough for this setting."""
    if _within(path, _AT_START):
        return False
    return _within(path, _LIVE)


def _within(path: str, roots: tuple[str, ...]) -> bool:
    return any(path == root or path.startswith((f"{root}.", f"{root}[")) for root in roots)


def _holding(started: Loaded, read: Loaded) -> Loaded:
    """What was read last as far as a reload reaches, the rest as at the start."""
    sources = {path: source for path, source in read.sources.items() if is_live(path)}
    kept = {path: source for path, source in started.sources.items() if not is_live(path)}
    return replace(read, settings=_mixed(started.settings, read.settings), sources={**kept, **sources})


def _mixed(started: _Section, read: _Section, above: str = "") -> _Section:
    chosen: dict[str, Any] = {}
    for name in type(started).model_fields:
        path, old, new = f"{above}{name}", getattr(started, name), getattr(read, name)
        if isinstance(old, BaseModel) and isinstance(new, BaseModel):
            chosen[name] = _mixed(old, new, f"{path}.")
        else:
            chosen[name] = new if is_live(path) else old
    return started.model_copy(update=chosen)


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
