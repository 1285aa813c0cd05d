"""Whether a call may be made now: breaker first, then its rule's bulkhead, then the service's, then the breaker again.

A breaker that is open answers before any queue; one that opened while a call waited answers it as soon as a place is
free, so that the queue empties at once. What is told to the breaker is what became of whole calls: one that a retry
has made good is a success.
"""

import time
from collections.abc import Callable
from math import ceil

from proxy.errors import WITHHELD, CachegateError, Fault, UpstreamError
from proxy.observe.figures import ServiceGlance
from proxy.upstream.breaker import SOON, Breaker
from proxy.upstream.bulkhead import Bulkhead
from proxy.upstream.fellows import NOBODY, Fellows
from proxy.upstream.protocol import Compartment

PROBE = "probe"  # what one worker does at a time

# Answers that say that the service is in trouble, whoever gets them (RFC 9110 15.6). 501 and 505 are about the request.
TROUBLE = frozenset({500, 502, 503, 504})


class Admission:
    """`queue` and `patience` (seconds) are those of the service's bulkhead, and of each rule's. Rules have one as long
    as calls of theirs are under way, which bounds how many there are."""

    def __init__(
        self,
        breaker: Breaker,
        *,
        limit: int = 64,
        queue: int = 128,
        patience: float = 30.0,
        fellows: Fellows = NOBODY,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.breaker = breaker
        self.fellows = fellows
        self.monotonic = monotonic
        self.bulkhead = Bulkhead(limit, queue, patience)
        self._queue = queue
        self._patience = patience
        self._compartments: dict[str, Bulkhead] = {}

    def preflight(self) -> None:
        """UpstreamError(BREAKER_OPEN) where no call would be let through now. (An error that is raised from a variable
        is in a circle with its frame; one that is raised for each refused request had better not be.)"""
        if not self.breaker.calm and (seconds := self.breaker.withheld(self.monotonic())) is not None:
            raise _refusal(seconds)

    def glance(self) -> ServiceGlance:
        """How it stands, for whoever calls nobody: nothing changes for being asked about."""
        state, seconds = self.breaker.glance(self.monotonic())
        return ServiceGlance(state.value, seconds, self.bulkhead.inside, self.bulkhead.waiting)

    def at_once(self, compartment: Compartment | None) -> "Stay | None":
        """As `enter`, where there is nothing to wait for; None: ask there."""
        if compartment is None and self.breaker.calm and self.bulkhead.take():
            return Stay(self, self.breaker.permit, None)
        return None

    async def enter(self, compartment: Compartment | None) -> "Stay":
        """Wait for a place; UpstreamError(BREAKER_OPEN or BUSY) when there is none."""
        self.preflight()
        name = await self._enter_own(compartment) if compartment is not None else None
        try:
            await self.bulkhead.enter()
        except BaseException:
            self.leave_own(name)
            raise
        permit: int | None = None
        try:
            permit = await self._admitted()  # the queue may have taken its time
        finally:
            if permit is None:
                self.bulkhead.leave()
                self.leave_own(name)
        if permit is None:
            raise _refusal(self.breaker.withheld(self.monotonic()) or SOON)
        return Stay(self, permit, name)

    async def _admitted(self) -> int | None:
        """The breaker's permit. Of all workers one probes at a time."""
        while (permit := self.breaker.admit(self.monotonic())) is not None and self.breaker.probes(permit):
            try:
                turn = await self.fellows.turn(PROBE, self.breaker.thresholds.probe)
            except BaseException:
                self.breaker.left(permit)
                self.fellows.over(PROBE)  # it may be ours by now
                raise
            if not turn:
                self.breaker.elsewhere(permit, self.monotonic())
                return None
            if self.breaker.holds(permit):
                return permit
            self.fellows.over(PROBE)  # it has opened or closed meanwhile
        return permit

    async def _enter_own(self, compartment: Compartment) -> str:
        name = compartment.name
        own = self._compartments.get(name)
        if own is None:
            own = Bulkhead(compartment.limit, self._queue, self._patience, f"rule {name}")
            self._compartments[name] = own
        own.resize(compartment.limit)
        try:
            await own.enter()
        finally:
            self._forget(name)
        return name

    def leave_own(self, name: str | None) -> None:
        """Give back the place in a rule's bulkhead; nothing without one."""
        if name is not None:
            self._compartments[name].leave()
            self._forget(name)

    def _forget(self, name: str) -> None:
        own = self._compartments.get(name)
        if own is not None and own.inside == own.waiting == 0:
            del self._compartments[name]


class Stay:
    """A call that was let in, until its answer is over. What becomes of it is told to the breaker once."""

    __slots__ = ("_admission", "_inside", "_own", "_permit", "_probe", "_slow", "_told")

    def __init__(self, admission: Admission, permit: int, own: str | None) -> None:
        self._admission = admission
        self._permit = permit
        self._probe = admission.breaker.probes(permit)
        self._own = own
        self._inside = True
        self._slow = False
        self._told = False

    def may_repeat(self) -> bool:
        """Whether another attempt may follow, as far as the breaker is concerned: it has not opened meanwhile."""
        return self._admission.breaker.holds(self._permit)

    def heard(self, status: int, seconds: float, *, settles: bool) -> None:
        """The head has come, `seconds` after the origin had all of the request. It is all that counts where it tells of
        trouble, where it `settles` the call, or where it is the answer to a probe: others wait for that."""
        self._slow = self._admission.breaker.is_slow(seconds)
        if status in TROUBLE:
            self._failed(f"status {status}")
        elif settles or self._admission.breaker.probes(self._permit):
            self._succeeded()

    def unanswered(self, error: BaseException) -> None:
        """It brought no head, and is over."""
        self._failed(_blame(error))
        self._end()

    def over(self, failure: UpstreamError | None, *, whole: bool) -> None:
        """The answer is over: read to its end, failed, or given up, which says nothing of the service."""
        if whole:
            self._succeeded()
        else:
            self._failed(_blame(failure) if failure is not None else None)
        self._end()

    def give_back(self) -> None:
        """Leave the service's bulkhead; the rule's place is kept until the answer is over."""
        if self._inside:
            self._inside = False
            self._admission.bulkhead.leave()

    def _end(self) -> None:
        self.give_back()
        if self._own is not None:
            self._admission.leave_own(self._own)
            self._own = None

    def _succeeded(self) -> None:
        if self._tells():
            self._admission.breaker.succeeded(self._permit, self._admission.monotonic(), slow=self._slow)
            self._probed()

    def _failed(self, cause: str | None) -> None:
        """Without a cause that is the service's it counts for nothing."""
        if not self._tells():
            return
        if cause is None:
            self._admission.breaker.left(self._permit)
        else:
            self._admission.breaker.failed(self._permit, self._admission.monotonic(), cause, slow=self._slow)
        self._probed()

    def _tells(self) -> bool:
        """Whether this is the first that is told of it. A probe that took so long that another one is under way has
        no turn to give back."""
        first, self._told = not self._told, True
        self._probe = self._probe and self._admission.breaker.holds(self._permit)
        return first

    def _probed(self) -> None:
        if self._probe:
            self._admission.fellows.over(PROBE)


def _refusal(seconds: float) -> UpstreamError:
    text = "the upstream has failed lately, and is not asked for a while"
    return UpstreamError(Fault.BREAKER_OPEN, text, retry_after=max(1, ceil(seconds)))


def _blame(error: BaseException) -> str | None:
    """What a call that ended so says against the service; None for what our own bounds and clients did."""
    if isinstance(error, UpstreamError):
        return None if error.fault in WITHHELD else error.fault.value
    if isinstance(error, CachegateError) or not isinstance(error, Exception):
        return None
    return type(error).__name__
