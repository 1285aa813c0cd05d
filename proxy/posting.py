"""What the answer to a POST leaves in store for a later GET (RFC 9110 9.3.3, 9111 4).

The POST is unsafe: first it ends what is stored of its target, so what is kept of its answer has to stand behind its
own records in the journal, and behind no other that could have ended it. That is proven in two steps. The head of the
journal is noted, and it is asked about all that came up to there since the POST began; and the records that follow
that head have to be the POST's own, one by one. Else the answer is passed on and not kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from proxy.entry import Entry, Position
from proxy.fetching import Fetching
from proxy.landing import Kept, Start, Trip, Visit
from proxy.message import Reply, Request
from proxy.outcome import Outcome
from proxy.passes import Pass
from proxy.policy.invalidating import answered_get
from proxy.policy.keys import Keyed, derive
from proxy.policy.presenting import end_to_end
from proxy.policy.reuse import Fetch
from proxy.policy.storing import Skip, barred, judge_posted
from proxy.reasons import Why
from proxy.replying import Replying
from proxy.rules import Rule, RuleTable
from proxy.tasks import Tasks
from proxy.upstream.protocol import Answer


class Log(Protocol):
    """What of the journal is needed here."""

    def position(self) -> Position: ...

    def ended(self, entry: Entry) -> float | None: ...


@dataclass(frozen=True, slots=True)
class Offer:
    """An answer that may be kept, and a position in the journal up to which nothing has ended it."""

    kept: Kept
    answer: Answer
    seen: Position


class Posting:
    """Offers answers to POST for later GETs, and keeps them once their own purges hold."""

    def __init__(self, fetching: Fetching, log: Log, tasks: Tasks, replying: Replying) -> None:
        self._fetching = fetching
        self._log = log
        self._tasks = tasks
        self._reply = replying

    def begin(self, request: Request) -> Start | None:
        """To be called before a request is sent; None for one whose answer serves no other."""
        return self._fetching.begin() if request.method == "POST" else None

    def offer(
        self, request: Request, rule: Rule, answer: Answer, start: Start | None, table: RuleTable
    ) -> Offer | None:
        """Whether the answer may serve a later GET, by that one's own rule; to be asked before it ends anything. A GET
        that goes to another service than the POST under its `rule` is another thing."""
        asked = answered_get(request, answer.head) if start is not None else None
        if asked is None or start is None:
            return None
        ruled = table.match(asked)
        keyed = derive(asked, ruled) if barred(asked, ruled) is None and ruled.upstream == rule.upstream else None
        if not isinstance(keyed, Keyed):
            return None
        head = answer.head.having(end_to_end(answer.head))
        keep = judge_posted(asked, head, ruled, head.received_at)
        if isinstance(keep, Skip):
            return None
        trip = Trip(Visit(asked, ruled, keyed, None, start.began), None, Fetch(Why.METHOD))
        kept = self._fetching.recorded(trip, head, keep, start, head.received_at - start.began)
        seen = self._log.position()  # first: other processes append too, and what they do from here on is looked at
        if kept is None or self._log.ended(kept.entry) is not None:
            return None
        return Offer(kept, answer, seen)

    def keep(
        self, request: Request, rule: Rule, offer: Offer | None, own: Sequence[int], outcome: Outcome
    ) -> Reply | None:
        """The reply to the POST from what is kept of it, once its `own` records hold; None: pass the answer on."""
        position = _behind(offer.seen, own) if offer is not None else None
        if offer is None or position is None:
            return None
        kept = replace(offer.kept, entry=replace(offer.kept.entry, position=position))
        if not self._tasks.spawn(self._fetching.keep(offer.answer, kept, kept.owner, Pass(kept.entry.fence)), "post"):
            return None
        outcome.stored, outcome.ttl, outcome.origin_ttl = True, kept.keep.lifetime, kept.keep.origin_ttl
        outcome.upstream_status = kept.head.status
        told = replace(kept.entry, fields=kept.head.fields)
        return self._reply.recorded(request, rule, told, kept.reader, kept.fate, outcome, None)


def _behind(seen: Position, own: Sequence[int]) -> Position | None:
    """The position behind the records `own`; None unless they are the very next after `seen`."""
    head = seen.local + len(own)
    return seen._replace(local=head) if list(own) == list(range(seen.local + 1, head + 1)) else None
