"""A service: its replicas behind one breaker and bulkhead, and the one place where a second attempt is decided."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from proxy.errors import Fault, UpstreamError
from proxy.observe.figures import ReplicaFigures, ServiceFigures, ServiceGlance
from proxy.upstream.admission import Admission, Stay
from proxy.upstream.attempt import AttemptFailed, Stage
from proxy.upstream.breaker import Change
from proxy.upstream.client import OriginClient
from proxy.upstream.exchange import StreamedAnswer
from proxy.upstream.fellows import NOBODY, Checked, Fellows, News
from proxy.upstream.health import Check, HealthCheck
from proxy.upstream.protocol import Answer, Call, Informational, Link
from proxy.upstream.replicas import Balance, Replica
from proxy.upstream.retry_budget import RetryBudget
from proxy.upstream.tunnel import WebSocketLink, open_link
from proxy.upstream.wire import resendable

R = TypeVar("R", bound=StreamedAnswer | WebSocketLink)


@dataclass(slots=True)
class Counts:
    """Plain counters since the start. An error is a call without a whole answer; a 5xx is an answer."""

    requests: int = 0
    errors: int = 0
    retries: int = 0
    in_flight: int = 0
    faults: dict[Fault, int] = field(default_factory=dict)


class ReplicaPool:
    """An `Upstream` and a `Connector` over one or more replicas.

    A call's place in the bulkhead lasts until its answer is over; streams that end when they like, and websockets,
    give it back with their head and are bounded by the connections of their client, and of their rule. `admission` says
    which calls may be made, `budget` which of them a second time; `retried` hears of each that an origin may have got
    twice.
    """

    def __init__(
        self,
        clients: Sequence[OriginClient],
        admission: Admission,
        budget: RetryBudget,
        *,
        retries: int = 1,
        health_check: Check | None = None,
        fellows: Fellows = NOBODY,
        retried: Callable[[], None] = lambda: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.counts = Counts()
        self.replicas = tuple(Replica(client) for client in clients)
        self._balance = Balance(self.replicas)
        self._admission = admission
        self._budget = budget
        self._retries = retries
        self._retried = retried
        self._monotonic = monotonic
        self._health = HealthCheck(self.replicas, health_check, fellows) if health_check else None

    @property
    def busy(self) -> bool:
        """Whether any call is under way."""
        return self.counts.in_flight > 0

    @property
    def spare(self) -> bool:
        """As the port says."""
        return self._admission.bulkhead.spare

    @property
    def figures(self) -> ServiceFigures:
        """How it stands now; a replica that is alone, and not looked after, is the service itself."""
        now, breaker = self._monotonic(), self._admission.breaker
        told = self.states() if len(self.replicas) > 1 or self._health is not None else ()
        return ServiceFigures(breaker.state(now).value, breaker.cause(now) or "", told)

    def glance(self) -> ServiceGlance:
        """How it stands; unlike `figures` and `preflight` it changes nothing and counts nothing."""
        return self._admission.glance()

    def preflight(self) -> None:
        """As the port says: the breaker is open."""
        self._admission.preflight()

    def learn(self, news: News) -> None:
        """Believe what another worker has found out."""
        match news:
            case Change():
                self._admission.breaker.learn(news, self._monotonic())
            case Checked() if self._health is not None:
                self._health.learn(news)

    def start(self) -> None:
        """Begin the health checks, where there are any; needs a running loop. They end with `close`."""
        if self._health is not None:
            self._health.start()

    def fetch(self, call: Call, on_informational: Informational | None = None) -> Coroutine[Any, Any, Answer]:
        """As the port says. Followed by another attempt, `retries` times at most, only where `_again` allows it."""

        def attempt(replica: Replica, fresh: bool) -> Awaitable[StreamedAnswer]:
            return replica.client.fetch(call, on_informational, fresh=fresh)

        return self._counted(call, attempt)

    def connect(self, call: Call) -> Coroutine[Any, Any, Link | Answer]:
        """A websocket to one of the replicas, or the answer of the one that declined."""

        def attempt(replica: Replica, fresh: bool) -> Awaitable[StreamedAnswer | WebSocketLink]:
            return open_link(replica.client, call)

        return self._counted(call, attempt)

    async def _counted(self, call: Call, attempt: Callable[[Replica, bool], Awaitable[R]]) -> R:
        counts, admission = self.counts, self._admission
        counts.requests += 1
        counts.in_flight += 1
        try:
            stay = admission.at_once(call.compartment) or await admission.enter(call.compartment)
            try:
                replica, result = await self._attempts(call, attempt, stay)
            except BaseException as e:
                stay.unanswered(e)
                raise
        except BaseException as e:
            counts.in_flight -= 1
            if isinstance(e, UpstreamError):
                self._failed(e)
            raise
        self._follow(replica, result, stay)
        return result

    def _follow(self, replica: Replica, result: StreamedAnswer | WebSocketLink, stay: Stay) -> None:
        """Keep its place until the answer is over, and learn what became of it."""
        answer = result if isinstance(result, StreamedAnswer) else None
        endless = answer is None or answer.endless
        if endless:
            stay.give_back()
        stay.heard(answer.head.status if answer is not None else 101, result.waited, settles=endless)

        def over(failure: UpstreamError | None) -> None:
            self.counts.in_flight -= 1
            replica.in_flight -= 1
            stay.over(failure, whole=answer is not None and answer.whole)
            if failure is not None:
                replica.errors += 1
                self._failed(failure)

        result.when_ended(over)

    def _failed(self, failure: UpstreamError) -> None:
        self.counts.errors += 1
        self.counts.faults[failure.fault] = self.counts.faults.get(failure.fault, 0) + 1

    async def _attempts(
        self, call: Call, attempt: Callable[[Replica, bool], Awaitable[R]], stay: Stay
    ) -> tuple[Replica, R]:
        """The answer, and whose it is; that replica is busy with it."""
        self._budget.call(self._monotonic())
        tried: list[Replica] = []
        fresh = False
        while True:
            replica = self._balance.choose(self._monotonic(), tried)
            tried.append(replica)
            replica.requests += 1
            replica.in_flight += 1
            if call.tried is not None:
                call.tried(replica.client.authority.host, replica.client.authority.port)
            try:
                result = await attempt(replica, fresh)
            except BaseException as e:
                replica.in_flight -= 1
                if not isinstance(e, AttemptFailed):
                    raise
                replica.errors += 1
                if e.stage is Stage.CONNECT:
                    replica.unreachable(self._monotonic())
                if len(tried) > self._retries or not stay.may_repeat() or not self._again(e, call, tried):
                    raise
                self.counts.retries += 1
                if e.stage is not Stage.CONNECT:
                    self._retried()
                fresh = True
            else:
                replica.reached()
                return replica, result

    def _again(self, failure: AttemptFailed, call: Call, tried: Sequence[Replica]) -> bool:
        """Never after a byte of an answer, never after a timeout of one that was sent (RFC 9110 9.2.2). What may have
        reached an origin is sent again within the budget; one that nobody got is no load, and free."""
        elsewhere = len(tried) < len(self.replicas)
        match failure.stage:
            case Stage.CONNECT:
                return elsewhere
            case Stage.STALE | Stage.SENT:
                again = failure.fault is Fault.RESET and resendable(call)
                return again and self._budget.take(self._monotonic())
            case Stage.ANSWER:
                return False

    def states(self) -> tuple[ReplicaFigures, ...]:
        """What is known of each replica now."""
        now = self._monotonic()
        return tuple(
            ReplicaFigures(each.name, each.can_take(now), each.in_flight, each.requests, each.errors, each.checks)
            for each in self.replicas
        )

    async def close(self) -> None:
        if self._health is not None:
            await self._health.stop()
        await asyncio.gather(*(replica.client.close() for replica in self.replicas))
