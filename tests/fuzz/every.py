"""All targets, by name."""

from tests.fuzz import (
    bodies,
    directives,
    door,
    fields,
    journal,
    keys,
    paths,
    peers,
    ranges,
    records,
    settings,
    tags,
    vary,
    wire,
)

_MODULES = (fields, directives, ranges, vary, paths, keys, bodies, tags, peers, records, journal, settings, wire, door)
TARGETS = {module.__name__.rpartition(".")[2]: module.TARGET for module in _MODULES}
