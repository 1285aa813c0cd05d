"""What instances tell each other: one purge, or what they have read lately; and which entries a purge names. Pure."""

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from math import isfinite
from typing import Any, NamedTuple, Self

import orjson

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
        purge = cls(**content | {"kind": Kind(content["kind"]), "names": tuple(content["names"])})
        if not all(isinstance(text, str) for text in (purge.id, purge.origin, *purge.names)):
            raise TypeError("a purge names things by text")
        if purge.kind in (Kind.URL, Kind.KEY) and not all(purge.names):
            raise ValueError("no url and no key is empty")
        at = float(purge.at)
        if not isfinite(at):
            raise ValueError("a purge has a time")
        return replace(purge, soft=bool(purge.soft), at=at, stream=_number(purge.stream))


@dataclass(frozen=True, slots=True)
class Seed:
    """What an instance knows of an epoch that is over: after the record `base` came exactly `items`, each a number and
    the purges that it brought. An epoch of 0 is none: there is nothing to tell."""

    id: str
    of: int
    base: int = 0
    items: tuple[tuple[int, tuple[Purge, ...]], ...] = ()

    @property
    def numbers(self) -> set[int]:
        """The records of which whoever reads this knows all up to them."""
        return {self.base, *(number for number, _ in self.items)}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """Back from what orjson made of one; ValueError, KeyError or TypeError when it is none."""
        items = ((_number(number), tuple(map(Purge.from_json, purges))) for number, purges in content["items"])
        if not isinstance(content["id"], str):
            raise TypeError("a seed is named by text")
        return cls(content["id"], _number(content["of"]), _number(content["base"]), tuple(items))


def _number(found: Any) -> int:
    """A whole number that can be written again."""
    number = int(found)
    if abs(number) >= 1 << 63:
        raise ValueError("a number past 64 bits")
    return number


Told = Purge | Seed


def encode(told: Told) -> bytes:
    """One record's content as the stream and the file hold it."""
    return orjson.dumps({"seed" if isinstance(told, Seed) else "purge": told})


def decode(raw: bytes | dict[str, Any]) -> Told | None:
    """Back from `encode`; None for what a newer or foreign program wrote."""
    try:
        content = orjson.loads(raw) if isinstance(raw, bytes) else raw
        return Seed.from_json(content["seed"]) if "seed" in content else Purge.from_json(content["purge"])
    except (ValueError, KeyError, TypeError):
        return None


class Spread(NamedTuple):
    """What every instance has made of a purge: "applied" or "pending". `complete`: all that live have applied it."""

    instances: Mapping[str, str]
    complete: bool


class Appended(NamedTuple):
    """A purge that holds: its number, and, awaited, whether it will outlive the instance."""

    number: int
    kept: Awaitable[bool]


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
