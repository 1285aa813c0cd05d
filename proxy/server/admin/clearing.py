"""Clearing, which may take longer than anybody waits: then it goes on behind its answer, once, whoever asks again."""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from proxy.invalidation.purges import Receipt
from proxy.message import Reply
from proxy.server.admin.pages import AdminError, Ask, json_reply

_log = logging.getLogger("cachegate")

AT_ONCE = 1.0  # seconds after which a clear goes on behind its answer
MOST = 8  # that go on at once


class Cleared(NamedTuple):
    """How many entries went, and the receipt of the purge where one makes the others go along."""

    entries: int
    receipt: Receipt | None = None


class Clearing:
    """One tier, or all of them. `clear` removes what fits a pattern, or everything for None; what it raises is the
    answer of whoever still waits, and else a line in the log."""

    def __init__(self, what: str, clear: Callable[[str | None], Awaitable[Cleared]]) -> None:
        self._what = what
        self._clear = clear
        self._under_way: dict[str | None, tuple[str, asyncio.Task[Cleared]]] = {}  # by pattern

    async def __call__(self, ask: Ask) -> Reply:
        """200 with the number; 202 with the purge's id and instances while some have not applied it; 202 with an id,
        that the log tells the end of, after AT_ONCE."""
        pattern = _pattern(ask)
        if pattern not in self._under_way and len(self._under_way) >= MOST:
            raise AdminError(503, "busy", f"{MOST} others are under way; ask again when one of them has ended.")
        name, task = self._under_way.get(pattern) or self._begin(pattern)
        done, _ = await asyncio.wait({task}, timeout=AT_ONCE)
        if not done:
            return json_reply({"id": name, "state": "running"}, 202)
        entries, receipt = task.result()
        if receipt is not None and not receipt.complete:
            return json_reply({"cleared": entries, "id": receipt.id, "instances": dict(receipt.instances)}, 202)
        return json_reply({"cleared": entries})

    def _begin(self, pattern: str | None) -> tuple[str, asyncio.Task[Cleared]]:
        name = secrets.token_hex(8)
        began = asyncio.get_running_loop().time()
        task = asyncio.ensure_future(self._clear(pattern))

        def ended(task: asyncio.Task[Cleared]) -> None:
            del self._under_way[pattern]
            if task.cancelled():
                return
            error = task.exception()  # seen, should nobody wait
            if asyncio.get_running_loop().time() - began < AT_ONCE:
                return
            if error is None:
                _log.info("cleared %s (%s): %d entries", self._what, name, task.result().entries)
            else:
                _log.error("clearing %s (%s) came to its end too early: %s", self._what, name, error)

        self._under_way[pattern] = name, task
        task.add_done_callback(ended)
        return name, task


def _pattern(ask: Ask) -> str | None:
    """The pattern of a request to clear, which is all that its page takes: one that is misspelt would otherwise empty
    everything. AdminError for one that is empty, which fits no path."""
    pattern = ask.query.get("pattern")
    if pattern == "":
        raise AdminError(400, "bad-pattern", "pattern: wanted a glob on the path, found ''.")
    return pattern
