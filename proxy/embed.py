"""The cache as a library: the tiers, journal and rules of a gateway, without its doors.

async with Cachegate({"redis": {"url": "redis://localhost"}}, key_prefix="athena:") as cache:
    await cache.set("analysis:7", b"...", ttl="10m", tags=["analysis"])
    assert await cache.get("analysis:7") == b"..."
    await cache.invalidate(tag="analysis")
"""

import asyncio
import math
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from pydantic import TypeAdapter, ValidationError

from proxy.embed_keys import Keys, request_for, text
from proxy.embed_values import FOUND, Warmed, store, whole
from proxy.errors import CachegateError, ConfigError, Problem, StoreError
from proxy.gateway import Gateway
from proxy.invalidation.purge_requests import PurgeRequest, parse_purge
from proxy.invalidation.purges import Receipt
from proxy.invalidation.records import Kind
from proxy.limiting import Status
from proxy.message import Fields
from proxy.place import Common
from proxy.policy.tags import MAX_LENGTH
from proxy.server.admin.redis import health_of
from proxy.server.admin.stats import build
from proxy.server.admin.token import AdminToken
from proxy.settings import Settings, settings_from
from proxy.settings.addresses import KeyPrefix
from proxy.settings.values import seconds as read_seconds
from proxy.warming_jobs import RUNNING, Wanted

AT_ONCE = 16  # keys that are looked up together
_FIELD_VALUE = re.compile(r"[!-~](?:[ -~]*[!-~])?")  # RFC 9110 5.5, and no bytes beyond ASCII
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Health:
    """`mode`: "shared" with the others on Redis, "fallback" while it is away, "local" where there is none; `problems`
    tell what does not work, none of which fails a call."""

    healthy: bool
    mode: str
    problems: tuple[str, ...] = ()


class Cachegate:
    """One instance of the cache within a program, from `async with` to its end.

    `settings` as for `create_app`; `upstream.url` may be missing, and URLs are then stored and found but not fetched.
    `key_prefix` takes the place of `redis.key_prefix`. With `fallback_to_memory` off, calls raise StoreError while
    Redis is away, in the place of going on with memory and files. `file.dir` is for one instance alone: a second one
    there works without its file tier. ConfigError tells everything that is wrong with the settings.

    A key is a URL (`https://api.example.com/users/7`) or any other text, a name. A URL stands for the answer to a GET
    of it, by the rules of the settings: gateways on the same Redis, with the same prefix, upstream id and rule, give
    and take the same answers. Names are never answers to a request.

    Calls raise CachegateError for text that can be no key, pattern or tag to purge, TypeError for what is of another
    type than is wanted, and ValueError for other values that are none: a ttl, a tag to store, one text where several
    are wanted.
    """

    def __init__(
        self,
        settings: Settings | Mapping[str, Any] | str | Path,
        *,
        key_prefix: str | None = None,
        fallback_to_memory: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = _prefixed(settings_from(settings, require_upstream=False), key_prefix)
        if not fallback_to_memory and not self._settings.redis.enabled:
            raise ConfigError((Problem("fallback_to_memory", "False wants settings of Redis beside it"),))
        self._strict = not fallback_to_memory
        self._clock = clock
        self._open: tuple[Gateway, Keys] | None = None

    async def __aenter__(self) -> Self:
        """Take the cache directory and begin to reach Redis; it is waited for, for some seconds, where
        `redis.lazy_connect` is off or nothing may stand in for it."""
        if self._open is not None:
            raise CachegateError("this cache is open already")
        common = Common(f"cachegate-{secrets.token_hex(2)}", AdminToken(secrets.token_hex(), "nowhere"))
        gateway = Gateway(self._settings, clock=self._clock, common=common)
        self._open = gateway, Keys(lambda: gateway.story.pipeline.table, self._clock)
        await gateway.start()
        if gateway.tiers.sharing is not None and (self._strict or not self._settings.redis.lazy_connect):
            await gateway.tiers.sharing.joined()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        gateway, _ = self._parts()
        self._open = None
        await gateway.close()

    # -- values ----------------------------------------------------------------------------------------------------

    async def get(self, key: str) -> bytes | None:
        """What is stored under the key; None where nothing is, or nothing that is good for a plain 200."""
        gateway, keys = self._usable()
        began, visit = time.perf_counter(), keys.visit(key)
        if visit is None:
            return None
        reply = await gateway.story.pipeline.receive(visit)
        content = await whole(reply)
        gateway.counters.finish(reply.outcome, time.perf_counter() - began, len(content or b""))
        return content if reply.status == 200 and reply.outcome.verdict in FOUND else None

    async def get_many(self, keys: Iterable[str]) -> dict[str, bytes]:
        """Those that are there, by key."""
        wanted = _several("keys", keys)
        found = await _each(self.get, wanted)
        return {key: value for key, value in zip(wanted, found, strict=True) if value is not None}

    async def set(
        self,
        key: str,
        value: bytes,
        ttl: float | str = 60,
        tags: Iterable[str] = (),
        *,
        content_type: str = "application/octet-stream",
    ) -> bool:
        """Store it for `ttl` seconds (or "10m", "1h30m"), parts of a second rounded up, in every tier that takes it;
        whether one did. ValueError for a ttl, a tag or a field value that is none. `content_type` is what gateways
        tell of a URL."""
        gateway, keys = self._usable()
        if not isinstance(value, bytes | bytearray | memoryview):
            raise TypeError(f"value: wanted bytes, found {value!r:.80}")
        text("content_type", content_type)
        if not _FIELD_VALUE.fullmatch(content_type):  # it becomes a line of a head
            raise ValueError(f"content_type: wanted printable ASCII, found {content_type!r:.80}")
        value = bytes(value)
        fields = Fields.of(
            ("Cache-Control", f"max-age={_whole(ttl)}"),
            ("Content-Type", content_type),
            ("Content-Length", str(len(value))),
        )
        named = _tags(tags)
        visit = keys.visit(key)
        if visit is None:
            return False
        return await store(gateway, visit, fields, value, named)

    async def set_many(self, values: Mapping[str, bytes], ttl: float | str = 60, tags: Iterable[str] = ()) -> int:
        """As `set` of each; how many were stored."""
        named = _tags(tags)
        return sum(await _each(lambda item: self.set(item[0], item[1], ttl, named), list(values.items())))

    async def delete(self, key: str) -> None:
        """Forget it, on every instance."""
        gateway, keys = self._usable()
        visit = keys.visit(key)
        if visit is not None:
            await gateway.ending.purger.invalidate([PurgeRequest(Kind.KEY, (visit.keyed.hash,))])

    async def invalidate(
        self, *, key: str | None = None, pattern: str | None = None, tag: str | None = None
    ) -> Receipt | None:
        """Purge one of these, on every instance; the receipt says which have applied it. None for a key under which
        nothing can be. `pattern`: a glob on names and on the paths of URLs. TypeError for none of them, or several."""
        gateway, keys = self._usable()
        if [key, pattern, tag].count(None) != 2:
            raise TypeError("invalidate() takes exactly one of key, pattern and tag")
        if key is None:
            text("tag" if pattern is None else "pattern", tag if pattern is None else pattern)
            body = {"pattern": pattern} if tag is None else {"tag": tag}
            return await gateway.ending.purger.purge(parse_purge(body))
        visit = keys.visit(key)
        if visit is None:
            return None
        return await gateway.ending.purger.purge(PurgeRequest(Kind.KEY, (visit.keyed.hash,)))

    async def warm(self, urls: Iterable[str]) -> Warmed:
        """Have a job fetch what is not in store and fresh, at the pace of `warm`, and wait for it. ConfigError where
        nobody can be asked, CachegateError where more jobs are under way than there may be."""
        if not self._settings.upstream.url:
            raise ConfigError((Problem("upstream.url", "required to fetch what is not stored"),))
        gateway, _ = self._usable()
        requests = [request_for(url, Fields(), self._clock()) for url in _several("urls", urls)]
        wanted = [Wanted(request.scheme, request.host, request.target) for request in requests]
        job = await gateway.warming.run(wanted)
        if job is None:
            raise CachegateError(f"{RUNNING} jobs are under way; call again when one of them has ended")
        return Warmed.of(job)

    # -- how it stands ---------------------------------------------------------------------------------------------

    async def stats(self) -> dict[str, object]:
        """As `/cache/stats`; requests are those of `get`."""
        gateway, _ = self._parts()
        counters, figures = await gateway.take()
        return build(counters, figures, time.monotonic() - gateway.started, names=True)

    async def health(self) -> Health:
        """Whether everything works that the settings ask for."""
        gateway, _ = self._parts()
        said, _ = await health_of(gateway.tiers.sharing)()
        _, figures = await gateway.take()
        problems = [f"{tier.value}: {now.off}" for tier, now in figures.tiers.items() if now.off]
        if said["status"] not in ("healthy", "disabled") and not any(text.startswith("redis") for text in problems):
            problems.append(f"redis: {said.get('reason', said['status'])}")
        if not figures.durable:
            problems.append("journal: purges do not outlive this program")
        mode = "local" if said["status"] == "disabled" else "shared" if said["connected"] else "fallback"
        return Health(not problems, mode, tuple(problems))

    async def rate_limit_status(self, key: str) -> Status | None:
        """How a client of a limited rule stands, by `<rule>:<address or header value>`; nothing is used. None: there is
        no such rule, or it has no limit."""
        gateway, _ = self._parts()
        return await gateway.story.limiting.status(key)

    # -- within ----------------------------------------------------------------------------------------------------

    def _parts(self) -> tuple[Gateway, Keys]:
        if self._open is None:
            raise CachegateError("this cache is not open: it lives in `async with`")
        return self._open

    def _usable(self) -> tuple[Gateway, Keys]:
        """StoreError while Redis is away, where memory is not to stand in for it."""
        gateway, keys = self._parts()
        sharing = gateway.tiers.sharing
        if self._strict and sharing is not None and not (now := sharing.now()).connected:
            raise StoreError(f"redis is away: {now.reason or now.state}")
        return gateway, keys


def _prefixed(settings: Settings, prefix: str | None) -> Settings:
    if prefix is None:
        return settings
    try:
        read: str = TypeAdapter(KeyPrefix).validate_python(prefix)
    except ValidationError as error:
        raise ConfigError((Problem("key_prefix", error.errors()[0]["msg"]),)) from error
    return settings.model_copy(update={"redis": settings.redis.model_copy(update={"key_prefix": read})})


def _whole(ttl: float | str) -> int:
    whole = math.ceil(read_seconds(ttl))
    if whole < 1:
        raise ValueError(f"ttl: wanted more than 0 seconds, found {ttl!r}")
    return whole


def _several(name: str, given: Iterable[str]) -> list[str]:
    """Each once."""
    if isinstance(given, str):
        raise ValueError(f"{name}: wanted several texts, found one: {given!r:.80}")  # else each letter would be one
    if not isinstance(given, Iterable):
        raise TypeError(f"{name}: wanted several texts, found {given!r:.80}")
    several = list(given)
    for each in several:
        text(name, each)
    return list(dict.fromkeys(several))


def _tags(tags: Iterable[str]) -> tuple[str, ...]:
    named = tuple(_several("tags", tags))
    if any(not 1 <= len(tag) <= MAX_LENGTH for tag in named):
        raise ValueError(f"tags: wanted 1 to {MAX_LENGTH} characters each, found {named!r}")
    return named


async def _each(do: Callable[[Item], Awaitable[Result]], items: Sequence[Item]) -> list[Result]:
    """What it makes of each, AT_ONCE at a time."""
    done: list[Result] = []
    for start in range(0, len(items), AT_ONCE):
        done += await asyncio.gather(*map(do, items[start : start + AT_ONCE]))
    return done
