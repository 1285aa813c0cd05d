"""Who wants an answer fetched, and what a fetch can bring: the words between who shares fetches and who makes them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

from proxy.entry import Body, BytesBody, Entry, Found, Position
from proxy.errors import Fault, TruncatedError, UpstreamError
from proxy.fixed import fixed
from proxy.limiting import Turn
from proxy.message import Fields, Head, Reply, Request
from proxy.policy.fields import retry_after
from proxy.policy.identity import uncovered
from proxy.policy.keys import Keyed
from proxy.policy.reuse import Fetch, Serve
from proxy.policy.storing import Keep, Skip, entry_of
from proxy.recording import Abandoned, Recording
from proxy.recording_reader import Reader
from proxy.replying import Fate
from proxy.rules import Rule
from proxy.upstream.protocol import Answer


@fixed
class Start:
    """When a fetch began: what the journal held, the wall clock, and the fence that no later fetch is below."""

    position: Position
    began: float
    fence: int


Learn = Callable[[Reply, Found, Serve], None]


@fixed
class Visit:
    """A request on a cached route; `content` is its body where that is part of the key.

    `company` tells who may share a fetch. Requests that carry something bound to a person, which the key does not
    cover, never fly with the others, nor teach them anything: whether they may share an answer is decided by other
    clauses (RFC 9111 3.5).
    """

    request: Request
    rule: Rule
    keyed: Keyed
    content: bytes | None
    arrived: float
    turn: Turn | None = None  # where the rule has a limit
    learn: Learn | None = None  # hears how it was answered, where that was a fresh answer from store
    company: str = field(default="", init=False)

    def __post_init__(self) -> None:
        key = self.keyed.hash
        personal = uncovered(self.request, self.rule) is not None
        object.__setattr__(self, "company", f"{key}+personal" if personal else key)


@dataclass(slots=True, eq=False)
class Trip:
    """One visit's way upstream. `behind`: nobody waits for it; `left`: its client went away before the landing."""

    visit: Visit
    found: Found | None
    decision: Fetch
    behind: bool = False
    left: bool = False


@fixed
class Kept:
    """The answer may be shared: read it from the recording as it grows. `entry` has the body only where it had come
    whole with its head; `reader` is the owner's, there from the first byte on."""

    head: Head
    entry: Entry
    recording: Recording
    reader: Reader
    fate: Fate
    keep: Keep
    owner: Trip
    seconds: float


@dataclass(frozen=True, slots=True)
class Confirmed:
    """A 304 renewed the stored answer that `was`. `personal` is what it said to the owner alone; with a `skip` all of
    it is the owner's, and nothing of it is stored."""

    found: Found
    was: Entry
    personal: Fields
    skip: Skip | None
    owner: Trip
    seconds: float


@dataclass(frozen=True, slots=True)
class Skipped:
    """The answer may not be shared: it belongs to the trip that asked, everybody else only learns why."""

    head: Head
    skip: Skip
    owner: Trip
    answer: Answer
    seconds: float


@dataclass(frozen=True, slots=True)
class Failed:
    """No answer, or one that says that the origin is in trouble."""

    error: UpstreamError
    status: int | None = None  # what the origin said, if it spoke

    @classmethod
    def of(cls, head: Head) -> Self:
        """What those are told whose fetch somebody else made and who may not have its 5xx answer: when to come again
        is no secret of whoever asked."""
        fault = {503: Fault.UNAVAILABLE, 504: Fault.GATEWAY_TIMEOUT}.get(head.status, Fault.ERROR)
        wait = retry_after(head.fields, head.received_at)
        return cls(UpstreamError(fault, f"the origin answered {head.status}", retry_after=wait), head.status)

    @classmethod
    def unasked(cls) -> Self:
        """A 304 that nobody asked for."""
        return cls(UpstreamError(Fault.FRAMING, "the origin answered 304 to an unconditional request"))


@dataclass(frozen=True, slots=True)
class Arrived:
    """Another instance has fetched it meanwhile: it lies in the tiers, its body in memory."""

    found: Found


Landing = Kept | Confirmed | Skipped | Failed | Arrived


class ToItsEnd:
    """Around the writing of what an origin sends, and its storing: what is cut is cut for everyone who reads it, and
    when nobody does any more that is no error."""

    __slots__ = ("_recording",)

    def __init__(self, recording: Recording) -> None:
        self._recording = recording

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        match error:
            case None | Abandoned():
                pass
            case UpstreamError():
                self._recording.fail(TruncatedError(str(error)))
            case _:
                self._recording.fail(TruncatedError("the fetch was ended"))
        self._recording.discard()
        return isinstance(error, UpstreamError | Abandoned)


NOTHING = BytesBody(b"")


def made(
    visit: Visit, head: Head, keep: Keep, start: Start, count: Callable[[int], None], body: Body = NOTHING
) -> Entry:
    """What is stored of an answer that is kept, its `body` where it is there already. `count` hears how many tags are
    not."""
    entry, dropped = entry_of(
        visit.request,
        visit.rule,
        visit.keyed,
        head,
        keep,
        start.position,
        content=visit.content,
        body=body,
        fence=start.fence,
    )
    if dropped:
        count(dropped)
    return entry
