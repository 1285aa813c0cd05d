"""Rules in shadow: what they would have answered from store, and whether that would have been right.

Nothing is served and no answer waits for it. Where the rule, were it on, would answer from store, that is counted, and
once the live answer has gone out, its digest is held against that of the one that would have been sent. Entries have no
bodies, are judged by the same functions as real ones, and leave as those would.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Protocol

from proxy.entry import Entry, Found, Position
from proxy.insight.bodiless import Ledger, Weight
from proxy.message import Fields, Framing, Head, Request
from proxy.observe.rule_counts import ShadowCounts
from proxy.outcome import Tier
from proxy.policy.keys import Keyed, derive
from proxy.policy.presenting import end_to_end
from proxy.policy.reuse import Choice, Serve, ServeStale, judge_reuse
from proxy.policy.storing import Keep, barred, entry_of, judge_size, judge_storing
from proxy.rules import Mode, Rule
from proxy.upstream.protocol import Answer, OnEnd

_RULES = 1000  # that were seen in shadow; past it (many reloads) all are made anew


class Log(Protocol):
    """What of the journal is needed here."""

    def position(self) -> Position: ...

    def ended(self, entry: Entry) -> float | None: ...


class Shadow:
    """`counts` are those of a rule by its name; `clock` is wall time in seconds."""

    def __init__(
        self, ledger: Ledger, journal: Log, counts: Callable[[str], ShadowCounts], clock: Callable[[], float]
    ) -> None:
        self._ledger = ledger
        self._journal = journal
        self._counts = counts
        self._clock = clock
        self._on: dict[int, tuple[Rule, Rule]] = {}  # by identity: the rule, and itself switched on

    def look(self, request: Request, rule: Rule, content: bytes | None) -> "Look | None":
        """What the rule would do; None where it would do nothing. `content` is that of the request, if it is in the
        key."""
        counts, on = self._counts(rule.name), self._switched_on(rule)
        keyed = derive(request, on, content) if barred(request, on) is None else None
        if not isinstance(keyed, Keyed):
            return None
        now, choice = self._clock(), Choice(request, on)
        found = self._find(keyed.hash, choice, now)
        decision = judge_reuse(request, found, on, now, others=choice.others)
        hit = isinstance(decision, Serve | ServeStale)
        refreshes = isinstance(decision, ServeStale) or (isinstance(decision, Serve) and decision.refresh)
        counts.would_hits += hit
        told = found.entry if hit and found is not None else None
        return Look(self, request, on, keyed, content, told, refreshes, self._journal.position(), counts)

    def _switched_on(self, rule: Rule) -> Rule:
        known = self._on.get(id(rule))
        if known is None:
            if len(self._on) >= _RULES:
                self._on.clear()
            known = self._on[id(rule)] = rule, replace(rule, mode=Mode.ON)
        return known[1]

    def _find(self, hash: str, choice: Choice, now: float) -> Found | None:
        """Purges end these entries as they end real ones; but those of POST, which go upstream all the same here and
        so end what their URL has, where the rule would have answered them from store."""
        entry = self._ledger.find(hash, choice, now)
        if entry is None:
            return None
        ended = self._journal.ended(entry) if entry.parts.method == "GET" else None
        return Found(entry, Tier.MEMORY, ended)

    def heard(self, look: "Look", head: Head, body: Weight) -> None:
        """The live answer has come whole."""
        entry = look.entry
        if entry is not None and _comparable(look.request, head, entry):
            look.counts.compared += 1
            look.counts.wrong += (head.status, body) != (entry.status, entry.body)
        if entry is None or look.refreshes:
            self._keep(look, head, body)

    def _keep(self, look: "Look", head: Head, body: Weight) -> None:
        now, rule = self._clock(), look.rule
        head = head.having(end_to_end(head))
        keep = judge_storing(look.request, head, rule, now)
        if not isinstance(keep, Keep) or judge_size(rule, body.size) is not None:
            return
        request, keyed, content = look.request, look.keyed, look.content
        entry, _ = entry_of(request, rule, keyed, head, keep, look.position, content=content, body=body)
        self._ledger.keep(entry, now)


@dataclass(frozen=True, slots=True)
class Look:
    """One request that a rule in shadow looked at. `entry` is what it would have been answered from, and with
    `refreshes` that would have been fetched anew behind."""

    shadow: Shadow
    request: Request
    rule: Rule
    keyed: Keyed
    content: bytes | None
    entry: Entry | None
    refreshes: bool
    position: Position
    counts: ShadowCounts

    def over(self, answer: Answer) -> Answer:
        """The live answer, which is digested as it passes."""
        return _Watched(answer, self)


class _Watched:
    """An answer that tells its digest when it has gone by whole."""

    def __init__(self, answer: Answer, look: Look) -> None:
        self._answer = answer
        self._look = look

    @property
    def head(self) -> Head:
        return self._answer.head

    @property
    def at_hand(self) -> bytes | None:
        return None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        digest, size = blake2b(digest_size=16), 0
        async for chunk in self._answer:
            digest.update(chunk)
            size += len(chunk)
            yield chunk
        if self.head.framing is not Framing.CLOSE:
            self._look.shadow.heard(self._look, self.head, Weight(size, digest.digest()))

    def when_ended(self, act: OnEnd) -> None:
        self._answer.when_ended(act)

    async def close(self) -> None:
        await self._answer.close()


def _comparable(request: Request, head: Head, entry: Entry) -> bool:
    """Whether the live answer is of the kind that would have been sent: whole, in the same coding, and no failure, in
    whose place the stored one may be better."""
    if request.method == "HEAD" or head.status in (206, 304, 412, 416) or head.status >= 500:
        return False
    return _coding(head.fields) == _coding(entry.fields)


def _coding(fields: Fields) -> str:
    return (fields.get("content-encoding") or "identity").lower()
