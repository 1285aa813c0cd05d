"""Each worker's part of what the settings allow the whole instance."""

from typing import TypeVar

from proxy.settings.model import Settings
from proxy.settings.sections import Section, UpstreamSettings

S = TypeVar("S", bound=Section)

_UPSTREAM = ("max_connections", "max_in_flight", "max_queue")


def divided(settings: Settings, number: int, of: int) -> Settings:
    """The settings of worker `number` (from 0) of `of`. The parts add up to the whole, but that none is below 1 where
    the whole is not 0. What bounds one thing (an object, a head, a wait) stays as it is, and so
    do the bounds of jobs, which `warming_jobs` divides among the workers that have one."""
    if of == 1:
        return settings
    return settings.model_copy(
        update={
            "memory": _section(settings.memory, ("max_entries", "max_bytes", "limit"), number, of),
            "limits": _section(settings.limits, ("connections",), number, of),
            "observe": _section(settings.observe, ("samples",), number, of),
            "redis": _section(settings.redis, ("pool",), number, of),
            "upstream": _upstream(settings.upstream, number, of),
            "upstreams": {name: _upstream(section, number, of) for name, section in settings.upstreams.items()},
            "rules": tuple(_section(rule, ("concurrency",), number, of) for rule in settings.rules),
        }
    )


def _upstream(section: UpstreamSettings, number: int, of: int) -> UpstreamSettings:
    return _section(section, _UPSTREAM, number, of)


def _section(section: S, names: tuple[str, ...], number: int, of: int) -> S:
    whole = {name: getattr(section, name) for name in names}
    return section.model_copy(update={name: part(value, number, of) for name, value in whole.items() if value})


def part(whole: int, number: int, of: int) -> int:
    """The share of a whole that is not 0; those who come first get what does not divide."""
    return max(1, whole // of + (number < whole % of))
