"""One record of the journal, and which entries it names, whenever they were fetched. Pure."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from proxy.entry import Entry
from proxy.policy.globs import Glob, compile_glob
from proxy.policy.paths import path_glob


class Kind(StrEnum):
    """What a purge names."""

    URL = "url"
    KEY = "key"
    PATTERN = "pattern"
    TAG = "tag"
    RULE = "rule"
    NAMESPACE = "namespace"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Purge:
    """One record. `names`: for url `url_name` texts, for key `<h>` or `<h>.<variant>`, for all nothing."""

    id: str
    kind: Kind
    names: tuple[str, ...]
    soft: bool
    at: float  # wall-clock seconds when it was applied: a soft purge ends lifetimes then
    origin: str  # the instance that took it
    stream: int = 0  # its id in the Redis stream, 0 while it has none

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """Back from what orjson made of one; ValueError, KeyError or TypeError when it is none."""
        return cls(**content | {"kind": Kind(content["kind"]), "names": tuple(content["names"])})


SOME_HOST = "/"  # can be no host: stands for a host that an entry's key leaves out


def url_name(host: str, target: str) -> str:
    """A url as purges name it: host as in `KeyParts` ("" for every host), `path?query` as it is keyed."""
    return f"{host}|{target}"


def url_names(entry: Entry) -> tuple[str, str]:
    """The url names that mean this entry; one whose key has no host is that of every host."""
    parts = entry.parts
    return url_name("", parts.target), url_name(parts.host or SOME_HOST, parts.target)


def anywhere(name: str) -> str:
    """The url name under which entries without a host find the purge of `name`."""
    return url_name(SOME_HOST, name.partition("|")[2])


@dataclass(frozen=True, slots=True)
class PathPattern:
    """A glob on the path, whatever the query; `//host/path` limits the host. Without one, or when the entry's rule
    keeps the host out of the key, every host fits."""

    host: Glob | None
    path: Glob

    @classmethod
    def parse(cls, text: str) -> Self:
        if not text.startswith("//"):
            return cls(None, path_glob(text))
        host, slash, path = text[2:].partition("/")
        return cls(compile_glob(host.lower()), path_glob(slash + path if slash else "*"))

    def match(self, host: str, path: str) -> bool:
        return (self.host is None or not host or self.host.match(host.lower())) and self.path.match(path)


class Matcher:
    """Whether entries are what one purge names, whenever they were fetched."""

    __slots__ = ("_kind", "_names", "_patterns")

    def __init__(self, purge: Purge) -> None:
        self._kind = purge.kind
        self._names = frozenset(purge.names)
        self._patterns = [PathPattern.parse(name) for name in purge.names] if purge.kind is Kind.PATTERN else []
        if purge.kind is Kind.URL:
            self._names |= {anywhere(name) for name in purge.names}

    def __call__(self, entry: Entry) -> bool:
        parts = entry.parts
        match self._kind:
            case Kind.ALL:
                return True
            case Kind.PATTERN:
                return any(pattern.match(parts.host, parts.path) for pattern in self._patterns)
            case Kind.URL:
                return not self._names.isdisjoint(url_names(entry))
            case Kind.KEY:
                return entry.hash in self._names or entry.key in self._names
            case Kind.TAG:
                return not self._names.isdisjoint(entry.tags)
            case Kind.RULE:
                return entry.rule in self._names
            case Kind.NAMESPACE:
                return parts.namespace in self._names


def matches(purge: Purge, entry: Entry) -> bool:
    """Whether the entry is what the purge names, whenever it was fetched."""
    return Matcher(purge)(entry)
