"""What the embedded cache does with a value: store it as an origin's answer, read one to its end."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Self

from proxy.entry import BytesBody
from proxy.errors import CachegateError
from proxy.gateway import Gateway
from proxy.landing import Visit, made
from proxy.message import Fields, Head, Reply
from proxy.observe.counters import Bound
from proxy.outcome import Verdict
from proxy.policy.storing import Keep, judge_storing
from proxy.server.replies import give_back
from proxy.warming_jobs import Progress

FOUND = frozenset({Verdict.HIT, Verdict.UPDATING})  # what was in store, and may be used


@dataclass(frozen=True, slots=True)
class Warmed:
    """How many URLs were fetched and are stored now, failed, or were in store and fresh already."""

    ok: int = 0
    failed: int = 0
    skipped: int = 0

    @classmethod
    def of(cls, job: Progress) -> Self:
        """What a job that ended early did not ask for has failed."""
        return cls(job.ok, job.failed + job.total - job.done, job.skipped)


async def store(gateway: Gateway, visit: Visit, fields: Fields, value: bytes, tags: Sequence[str]) -> bool:
    """As the answer of an origin that came now; whether a tier took it."""
    now = visit.arrived
    head = Head(200, "OK", fields, requested_at=now, received_at=now)
    keep = judge_storing(visit.request, head, visit.rule, now)
    if not isinstance(keep, Keep):
        return False
    dropped = partial(gateway.counters.add_passed, Bound.TAGS)
    entry = made(visit, head, keep, gateway.story.fetching.begin(), dropped, BytesBody(value))
    named = tuple(dict.fromkeys((*entry.tags, *tags)))
    most = visit.rule.max_tags
    if len(named) > most:
        dropped(len(named) - most)
    return bool(await gateway.tiers.shelf.put(replace(entry, tags=named[:most])))


async def whole(reply: Reply) -> bytes | None:
    """The body; None where its end did not come."""
    try:
        return b"".join([chunk async for chunk in _chunks(reply)])
    except CachegateError:
        return None


async def _chunks(reply: Reply) -> AsyncIterator[bytes]:
    if isinstance(reply.body, bytes):
        yield reply.body
        return
    try:
        async for chunk in reply.body:
            yield chunk
    finally:
        await give_back(reply)
