"""A service of several replicas: which one is asked, what may be sent a second time (RFC 9110 9.2.2; reliability.md,
retries), and how many calls may be under way (invariant 10). Counted at the origins."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from proxy.errors import BadRequest, ClientGone, Fault, UpstreamError
from proxy.message import Fields, Upload
from proxy.reasons import Why
from proxy.upstream.admission import Admission, Stay
from proxy.upstream.attempt import AttemptFailed, Stage, Timeouts
from proxy.upstream.breaker import Breaker, Change, State, Thresholds
from proxy.upstream.bulkhead import Bulkhead
from proxy.upstream.client import OriginClient
from proxy.upstream.dial import Address, Dialer
from proxy.upstream.fellows import Checked, News
from proxy.upstream.health import Check, HealthCheck
from proxy.upstream.pool import ReplicaPool
from proxy.upstream.protocol import Answer, Call, Compartment
from proxy.upstream.replicas import Balance, Replica
from proxy.upstream.service import service
from tests.support.origin import FIN, RST, STALL, Origin


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def get(target: str = "/", method: str = "GET", **more: Any) -> Call:
    return Call(method, target, Fields(), **more)


async def read(answer: Answer) -> bytes:
    return b"".join([chunk async for chunk in answer])


async def ask(pool: ReplicaPool, call: Call | None = None) -> int | Fault:
    try:
        answer = await pool.fetch(call or get())
        await read(answer)
    except UpstreamError as e:
        return e.fault
    return answer.head.status


@asynccontextmanager
async def replicas(number: int, **options: Any) -> AsyncIterator[tuple[ReplicaPool, list[Origin]]]:
    async with AsyncExitStack() as stack:
        origins = [await stack.enter_async_context(Origin()) for _ in range(number)]
        for origin in origins:
            origin.answer("/", body=b"ok")
        pool = service([origin.url for origin in origins], **options)
        yield pool, origins
        await pool.close()


def counts(origins: Sequence[Origin]) -> list[int]:
    return [origin.count() for origin in origins]


# a second attempt


async def kept_then_closed(pool: ReplicaPool, origin: Origin) -> None:
    """One answered call, whose connection is kept and will be reset as soon as it is used again."""
    origin.answer("/", body=b"first", times=1)
    origin.script("/", RST, times=1)
    assert await ask(pool) == 200


def three_bytes() -> Upload:
    async def source() -> AsyncIterator[bytes]:
        yield b"abc"

    return Upload(source(), 3)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE", "DELETE", "PUT"])
async def test_a_gone_kept_connection_is_made_good_once(method: str) -> None:
    async with replicas(1) as (pool, [origin]):
        await kept_then_closed(pool, origin)
        assert await ask(pool, get(method=method)) == 200
        assert (origin.count(), origin.connections) == (3, 2)
        assert (pool.counts.requests, pool.counts.retries, pool.counts.errors) == (2, 1, 0)


async def test_the_second_attempt_trusts_no_kept_connection() -> None:
    async with replicas(1) as (pool, [origin]):
        gate = origin.hold("/")
        kept = [asyncio.ensure_future(ask(pool)) for _ in range(3)]
        await origin.arrived("/", 3)
        gate.release()
        await asyncio.gather(*kept)
        origin.script("/", RST, times=2)
        assert await ask(pool) == Fault.RESET  # two attempts are all
        assert (origin.count(), origin.connections) == (5, 4)


@pytest.mark.parametrize(("at_hand", "status"), [(True, 200), (False, Fault.RESET)])
async def test_a_body_is_sent_again_only_when_it_is_at_hand(at_hand: bool, status: int | Fault) -> None:
    async with replicas(1) as (pool, [origin]):
        await kept_then_closed(pool, origin)
        upload = three_bytes()
        if at_hand:
            assert await upload.peek(10) == b"abc"
        assert await ask(pool, get(method="PUT", body=upload)) == status
        assert [r.body for r in origin.requests[1:]] == [b"abc"] * (2 if at_hand else 1)


@pytest.mark.parametrize("method", ["POST", "PATCH", "LOCK"])
async def test_what_is_not_idempotent_is_never_sent_twice(method: str) -> None:
    async with replicas(2) as (pool, origins):
        for origin in origins:
            origin.script("/", RST)
        upload = three_bytes()
        await upload.peek(10)
        assert await ask(pool, get(method=method, body=upload)) == Fault.RESET
        assert sorted(counts(origins)) == [0, 1]
        assert pool.counts.retries == 0


async def test_it_takes_no_connection_that_was_idle_for_long() -> None:
    clock = Clock()
    async with replicas(1, monotonic=clock) as (pool, [origin]):
        await ask(pool)
        clock.now += 0.5
        await ask(pool, get(method="POST"))
        assert origin.connections == 1
        clock.now += 1.5
        await ask(pool, get(method="POST"))
        assert origin.connections == 2
        await ask(pool)
        await ask(pool)
        assert origin.connections == 2


@pytest.mark.parametrize(
    ("steps", "fault"),
    [
        ((STALL,), Fault.FIRST_BYTE_TIMEOUT),
        ((b"HTTP/1.1 2", FIN), Fault.RESET),
        ((b"HTTP/1.1 103 Early Hints\r\n\r\n", RST), Fault.RESET),
        ((b"nonsense\r\n\r\n", STALL), Fault.FRAMING),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na", FIN), Fault.RESET),
    ],
)
async def test_no_second_attempt_after_a_byte_or_a_timeout(steps: Any, fault: Fault) -> None:
    async with replicas(2, timeouts=Timeouts(first_byte=0.05)) as (pool, origins):
        for origin in origins:
            origin.script("/", *steps)
        assert await ask(pool) == fault
        assert sorted(counts(origins)) == [0, 1]
        assert (pool.counts.errors, pool.counts.retries, pool.counts.in_flight) == (1, 0, 0)
        assert pool.counts.faults == {fault: 1}


@pytest.mark.parametrize("end", [FIN, RST])
async def test_a_new_connection_that_ends_without_a_byte_is_made_good_once(end: Any) -> None:
    async with replicas(1) as (pool, [origin]):
        origin.script("/", end, times=1)
        assert await ask(pool) == 200
        assert (origin.count(), origin.connections, pool.counts.retries) == (2, 2, 1)
        origin.script("/", end, times=1)
        kept = pool.counts.requests
        assert await ask(pool, get(method="PATCH")) == Fault.RESET
        assert (origin.count(), pool.counts.requests - kept) == (3, 1)


async def test_a_reset_before_the_answer_is_tried_elsewhere_first() -> None:
    async with replicas(2, retry_budget=1.0) as (pool, origins):
        for origin in origins:
            origin.script("/", FIN, times=1)
        assert await ask(pool) == Fault.RESET  # both do so: two attempts are all
        assert counts(origins) == [1, 1]
        origins[0].script("/", FIN)
        origins[1].answer("/", body=b"ok")
        assert [await ask(pool) for _ in range(4)] == [200] * 4
    async with replicas(1) as (pool, [origin]):
        origin.script("/", FIN)
        assert await ask(pool) == Fault.RESET
        assert origin.count() == 2


async def test_retries_can_be_switched_off() -> None:
    async with replicas(1, retries=0) as (pool, [origin]):
        await kept_then_closed(pool, origin)
        assert await ask(pool) == Fault.RESET


async def test_a_5xx_is_an_answer() -> None:
    async with replicas(2) as (pool, origins):
        for origin in origins:
            origin.answer("/", 503)
        assert await ask(pool) == 503
        assert sum(counts(origins)) == 1
        assert (pool.counts.requests, pool.counts.errors) == (1, 0)


# which replica


async def test_ties_go_round() -> None:
    async with replicas(3) as (pool, origins):
        for _ in range(9):
            await ask(pool)
        assert counts(origins) == [3, 3, 3]


async def test_the_least_busy_is_asked() -> None:
    async with replicas(2) as (pool, origins):
        gates = [origin.hold("/slow") for origin in origins]
        slow = asyncio.ensure_future(ask(pool, get("/slow")))
        while not any(counts(origins)):
            await asyncio.sleep(0.001)
        busy = origins[0] if origins[0].count() else origins[1]
        for _ in range(5):
            await ask(pool)
        assert busy.count() == 1
        assert sum(state.in_flight for state in pool.states()) == 1
        for gate in gates:
            gate.release()
        assert await slow == 404
        assert sum(state.in_flight for state in pool.states()) == 0


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_one_of_two_is_down(method: str) -> None:
    clock = Clock()
    async with replicas(2, monotonic=clock) as (pool, [down, up]):
        await down.stop()
        assert [await ask(pool, get(method=method)) for _ in range(6)] == [200] * 6
        assert [state.up for state in pool.states()] == [False, True]
        assert pool.counts.retries == 1  # left out after the first
        clock.now += 1.0
        assert [await ask(pool, get(method=method)) for _ in range(6)] == [200] * 6
        assert pool.counts.retries == 2
        clock.now += 1.9  # the second break is twice as long
        assert [state.up for state in pool.states()] == [False, True]
        await down.start()
        clock.now += 0.1
        assert [await ask(pool, get(method=method)) for _ in range(6)] == [200] * 6
        assert [state.up for state in pool.states()] == [True, True]
        assert (down.count(), up.count()) == (3, 15)


async def test_all_are_down() -> None:
    async with replicas(2) as (pool, origins):
        for origin in origins:
            await origin.stop()
        assert [await ask(pool) for _ in range(3)] == [Fault.REFUSED] * 3
        for origin in origins:
            await origin.start()
        assert await ask(pool) == 200  # it is never believed for good


def test_breaks_double_up_to_half_a_minute_and_end_with_success() -> None:
    replica = Replica(OriginClient("http://a.example"))
    now, breaks = 0.0, []
    for _ in range(8):
        replica.unreachable(now)
        replica.unreachable(now)  # another call of the same outage
        breaks.append(replica.out_until - now)
        now = replica.out_until
    assert breaks == [1, 2, 4, 8, 16, 30, 30, 30]
    replica.reached()
    replica.unreachable(now)
    assert replica.out_until - now == 1


@pytest.mark.parametrize(
    ("in_flight", "chosen"), [((2, 1, 3), {1}), ((0, 1, 1), {0}), ((3, 3, 2), {2}), ((1, 1, 2), {0, 1})]
)
def test_the_least_in_flight_wins(in_flight: tuple[int, ...], chosen: set[int]) -> None:
    some = [Replica(OriginClient(f"http://{n}.example"), in_flight=n) for n in in_flight]
    balance = Balance(some)
    assert {some.index(balance.choose(0.0)) for _ in range(6)} == chosen


def test_when_none_can_take_calls_the_longest_rested_is_asked() -> None:
    some = [Replica(OriginClient(f"http://{name}.example")) for name in "abc"]
    for when, replica in zip((5.0, 4.6, 4.8), some, strict=True):
        replica.unreachable(when)
    balance = Balance(some)
    assert balance.choose(5.1) is some[1]
    assert balance.choose(5.1, [some[1]]) is some[2]
    some[2].healthy = False
    assert balance.choose(5.1, [some[1]]) is some[0]


async def test_health_checks_leave_out_the_sick_and_take_back_the_cured() -> None:
    check = Check("/health", interval=0.005, healthy=2, unhealthy=2)
    async with replicas(2, health_check=check) as (pool, [sick, well]):
        well.answer("/health", 204)
        sick.answer("/health", 503)
        pool.start()
        await until(lambda: [state.up for state in pool.states()] == [False, True])
        before = well.count("/")
        for _ in range(4):
            await ask(pool)
        assert (sick.count("/"), well.count("/") - before) == (0, 4)
        sick.answer("/health", 200)
        await until(lambda: all(state.up for state in pool.states()))


class Others:
    """The other workers, whose turn it is or not; `meanwhile` happens while they are asked."""

    def __init__(self, *, ours: bool, meanwhile: Callable[[], object] = lambda: None) -> None:
        self.wishes = 0
        self.given_back = 0
        self.told: list[News] = []
        self._ours = ours
        self._meanwhile = meanwhile

    async def turn(self, what: str, seconds: float) -> bool:
        self.wishes += 1
        await asyncio.sleep(0)
        self._meanwhile()
        return self._ours

    def over(self, what: str) -> None:
        self.given_back += 1

    def tell(self, news: News) -> None:
        self.told.append(news)


async def test_after_the_first_check_others_ask_and_are_believed() -> None:
    others, check = Others(ours=False), Check("/health", interval=0.005, healthy=1, unhealthy=2)
    async with replicas(2, health_check=check, fellows=others) as (pool, [sick, well]):
        for origin in (sick, well):
            origin.answer("/health", 204)
        pool.start()
        await until(lambda: others.wishes >= 10)
        assert (sick.count("/health"), well.count("/health")) == (1, 1)
        assert {*others.told} == {Checked(sick.authority, True), Checked(well.authority, True)}
        for good, up in ((False, True), (True, True), (False, True), (False, False), (True, True)):
            pool.learn(Checked(sick.authority, good))
            assert [state.up for state in pool.states()] == [up, True]


async def test_a_silent_check_is_a_bad_one_and_all_out_is_the_least_bad(caplog: pytest.LogCaptureFixture) -> None:
    check = Check("/health", interval=0.005, healthy=1, unhealthy=2, added=(("X-Key", "k"),), patience=0.05)
    async with replicas(1, health_check=check) as (pool, [origin]):
        origin.script("/health", STALL)
        with caplog.at_level("INFO", "cachegate"):
            pool.start()
            await until(lambda: [state.up for state in pool.states()] == [False])
            assert origin.last.header("x-key") == "k"
            assert await ask(pool) == 200  # there is no better one
            origin.answer("/health")
            await until(lambda: [state.up for state in pool.states()] == [True])
        name = origin.authority
        assert caplog.messages == [f"upstream {name} is unhealthy", f"upstream {name} is healthy again"]


async def test_a_replica_that_is_busy_is_not_sick() -> None:
    async with replicas(1, max_connections=1) as (pool, [origin]):
        check = HealthCheck(pool.replicas, Check("/health"))
        origin.answer("/health", 204)
        gate = origin.hold("/")
        call = asyncio.ensure_future(ask(pool))
        await origin.arrived("/")
        assert await check.ask(pool.replicas[0]) is None
        gate.release()
        assert await call == 200
        assert await check.ask(pool.replicas[0]) is True
        origin.answer("/health", 500)
        assert await check.ask(pool.replicas[0]) is False


async def until(holds: Any) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.001)


# how many at a time


async def test_the_bulkhead_bounds_calls_and_their_queue() -> None:
    async with replicas(1, max_in_flight=2, max_queue=1) as (pool, [origin]):
        gate = origin.hold("/")
        first = [asyncio.ensure_future(ask(pool)) for _ in range(3)]
        await origin.arrived("/", 2)
        with pytest.raises(UpstreamError) as caught:
            await pool.fetch(get())
        assert (caught.value.fault, caught.value.fault.status, caught.value.retry_after) == (Fault.BUSY, 503, 1)
        assert (origin.count(), pool.counts.in_flight) == (2, 3)
        gate.release()
        assert await asyncio.gather(*first) == [200] * 3
        assert (origin.count(), pool.counts.in_flight) == (3, 0)


async def test_a_place_is_held_until_the_body_is_read_or_given_up() -> None:
    async with replicas(1, max_in_flight=1) as (pool, [origin]):
        origin.script("/part", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", STALL)
        answer = await pool.fetch(get("/part"))
        second = asyncio.ensure_future(ask(pool))
        await asyncio.sleep(0)
        assert pool.counts.in_flight == 2
        assert origin.count("/") == 0
        await answer.close()
        assert await second == 200
        assert (pool.counts.in_flight, pool.counts.errors) == (0, 0)  # who leaves counts for nothing


async def test_streams_without_end_give_their_place_back() -> None:
    async with replicas(1, max_in_flight=1) as (pool, [origin]):
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        origin.script("/events", head + b"1\r\nx\r\n", STALL)
        answer = await pool.fetch(get("/events"))
        assert await ask(pool) == 200
        assert pool.counts.in_flight == 1
        await answer.close()
        assert pool.counts.in_flight == 0


async def test_a_waiting_call_that_is_cancelled_leaves_no_trace() -> None:
    bulkhead = Bulkhead(1, 5, 30)
    await bulkhead.enter()
    order: list[int] = []

    async def enter(number: int) -> None:
        await bulkhead.enter()
        order.append(number)

    waiting = [asyncio.ensure_future(enter(n)) for n in range(4)]
    await asyncio.sleep(0)
    waiting[1].cancel()
    bulkhead.leave()
    waiting[0].cancel()  # after the place was handed to it, before it knew
    await asyncio.gather(*waiting[:2], return_exceptions=True)
    await waiting[2]
    assert (bulkhead.inside, bulkhead.waiting, order) == (1, 1, [2])
    bulkhead.leave()
    await waiting[3]
    bulkhead.leave()
    assert (bulkhead.inside, bulkhead.waiting, order) == (0, 0, [2, 3])


async def test_one_who_gave_up_is_passed_over() -> None:
    bulkhead = Bulkhead(1, 5, 30)
    await bulkhead.enter()
    waiting = [asyncio.ensure_future(bulkhead.enter()) for _ in range(2)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    bulkhead.leave()  # before the first knows that it was cancelled
    assert [type(end) for end in await asyncio.gather(*waiting, return_exceptions=True)] == [
        asyncio.CancelledError,
        type(None),
    ]
    assert (bulkhead.inside, bulkhead.waiting) == (1, 0)


async def test_another_limit_holds_for_those_who_wait_and_none_is_thrown_out() -> None:
    bulkhead = Bulkhead(1, 5, 30)
    await bulkhead.enter()
    waiting = [asyncio.ensure_future(bulkhead.enter()) for _ in range(4)]
    await asyncio.sleep(0)
    bulkhead.resize(3)
    assert (bulkhead.inside, bulkhead.waiting) == (3, 2)
    bulkhead.resize(1)
    bulkhead.leave()
    bulkhead.leave()
    assert (bulkhead.inside, bulkhead.waiting) == (1, 2)
    bulkhead.leave()
    assert (bulkhead.inside, bulkhead.waiting) == (1, 1)
    bulkhead.leave()
    await asyncio.gather(*waiting)
    bulkhead.leave()
    assert (bulkhead.inside, bulkhead.waiting) == (0, 0)


async def test_the_compartments_of_rules_are_bounded_and_forgotten_when_empty() -> None:
    """And nothing of either bulkhead is kept by those who were refused, or left while they waited."""
    async with replicas(1, max_in_flight=2, max_queue=1) as (pool, [origin]):
        gate = origin.hold("/")
        slow = get(compartment=Compartment("slow", 1))
        inside = asyncio.ensure_future(ask(pool, slow))
        await origin.arrived("/")
        waiting = asyncio.ensure_future(ask(pool, slow))
        await asyncio.sleep(0)
        assert await ask(pool, slow) == Fault.BUSY
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        other = asyncio.ensure_future(ask(pool))
        await origin.arrived("/", 2)
        queued = asyncio.ensure_future(ask(pool, get(compartment=Compartment("other", 1))))
        await asyncio.sleep(0)
        assert await ask(pool, get(compartment=Compartment("third", 1))) == Fault.BUSY
        queued.cancel()
        await asyncio.gather(queued, return_exceptions=True)
        gate.release()
        assert await asyncio.gather(inside, other) == [200, 200]
        admission = pool._admission
        assert (admission.bulkhead.inside, admission.bulkhead.waiting, admission._compartments) == (0, 0, {})


@pytest.mark.parametrize(
    ("error", "counts"),
    [
        (UpstreamError(Fault.TLS, "no trust"), True),
        (AttemptFailed(Fault.FRAMING, "two lengths", Stage.ANSWER), True),
        (ZeroDivisionError(), True),  # whatever goes wrong on the way, nobody got an answer
        (UpstreamError(Fault.BUSY, "no connection"), False),
        (ClientGone("it left"), False),
        (BadRequest(413, Why.TOO_LARGE, "too large"), False),
        (asyncio.CancelledError(), False),
    ],
)
async def test_whose_fault_it_is_that_there_is_no_answer(error: BaseException, counts: bool) -> None:
    admission = Admission(Breaker(Thresholds(consecutive=1)), limit=1, queue=0)
    stay = await admission.enter(None)
    stay.unanswered(error)
    assert (admission.breaker.state(0.0) is State.OPEN, admission.bulkhead.inside) == (counts, 0)


def opened(others: Others, clock: Clock) -> Admission:
    """A breaker that has been open for long enough."""
    admission = Admission(Breaker(Thresholds(consecutive=1)), limit=1, fellows=others, monotonic=clock)
    permit = admission.breaker.admit(clock())
    assert permit is not None
    admission.breaker.failed(permit, clock(), "status 503")
    clock.now += 5.0
    return admission


@pytest.mark.parametrize(
    ("end", "state"),
    [
        (lambda stay: stay.heard(200, 0.0, settles=False), State.CLOSED),
        (lambda stay: stay.heard(503, 0.0, settles=False), State.OPEN),
        (lambda stay: stay.unanswered(ClientGone("left")), State.HALF_OPEN),
    ],
)
async def test_a_probe_gives_its_turn_back_however_it_ends(end: Callable[[Stay], None], state: State) -> None:
    others, clock = Others(ours=True), Clock()
    admission = opened(others, clock)
    stay = await admission.enter(None)
    assert (others.wishes, others.given_back) == (1, 0)
    end(stay)
    stay.over(None, whole=False)
    assert (admission.breaker.state(clock()), others.given_back, admission.bulkhead.inside) == (state, 1, 0)


async def test_who_is_not_to_probe_is_refused_and_keeps_no_place() -> None:
    others, clock = Others(ours=False), Clock()
    admission = opened(others, clock)
    for wishes in (1, 1, 2):
        with pytest.raises(UpstreamError) as caught:
            await admission.enter(Compartment("slow", 1))
        assert (caught.value.fault, caught.value.retry_after, others.wishes) == (Fault.BREAKER_OPEN, 1, wishes)
        clock.now += 0.5
    assert admission.bulkhead.inside == 0


async def test_what_others_find_out_while_a_turn_is_awaited_holds() -> None:
    clock = Clock()
    others = Others(ours=True, meanwhile=lambda: admission.breaker.learn(change, clock()))
    admission, change = opened(others, clock), Change(State.OPEN, "no", openings=2)
    with pytest.raises(UpstreamError):
        await admission.enter(None)
    assert (others.given_back, admission.bulkhead.inside) == (1, 0)
    clock.now += 10.0
    change = Change(State.CLOSED, "well")
    (await admission.enter(None)).over(None, whole=True)
    assert (others.wishes, others.given_back, admission.bulkhead.inside) == (2, 2, 0)


async def test_a_client_that_leaves_while_a_turn_is_awaited_leaves_no_trace() -> None:
    others, clock = Others(ours=True), Clock()
    admission = opened(others, clock)
    entering = asyncio.ensure_future(admission.enter(None))
    await asyncio.sleep(0)
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    assert (others.wishes, others.given_back, admission.bulkhead.inside) == (1, 1, 0)
    assert admission.breaker.withheld(clock()) is None


async def test_nobody_waits_forever() -> None:
    bulkhead = Bulkhead(1, 5, 0.02)
    await bulkhead.enter()
    with pytest.raises(UpstreamError) as caught:
        await bulkhead.enter()
    assert caught.value.fault is Fault.BUSY
    assert (bulkhead.inside, bulkhead.waiting) == (1, 0)


async def test_a_cancelled_call_gives_everything_back() -> None:
    async with replicas(1, max_in_flight=1) as (pool, [origin]):
        gate = origin.hold("/")
        call = asyncio.ensure_future(ask(pool))
        await origin.arrived("/")
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        gate.release()
        assert await ask(pool) == 200
        assert (pool.counts.in_flight, pool.counts.errors) == (0, 0)
        assert [state.in_flight for state in pool.states()] == [0]


async def test_names_are_looked_up_again_after_half_a_minute() -> None:
    clock = Clock()
    asked: list[str] = []

    async def look_up(host: str, port: int) -> Sequence[Address]:
        asked.append(host)
        await asyncio.sleep(0)
        if len(asked) == 3:
            raise socket.gaierror(socket.EAI_AGAIN, "try again")
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port))]

    async with Origin() as origin:
        dialer = Dialer("name.example", origin.port, None, 3.0, clock, look_up)
        for connection in await asyncio.gather(*(dialer.dial() for _ in range(5))):
            connection.abort()
        clock.now += 29.9
        (await dialer.dial()).abort()
        assert len(asked) == 1
        clock.now += 0.2
        (await dialer.dial()).abort()
        assert len(asked) == 2
        clock.now += 31
        with pytest.raises(AttemptFailed) as caught:  # a failure is not remembered
            await dialer.dial()
        assert (caught.value.fault, caught.value.stage) == (Fault.DNS, Stage.CONNECT)
        (await dialer.dial()).abort()
        assert len(asked) == 4


async def test_names_are_looked_up_and_both_families_tried() -> None:
    async with Origin() as origin:
        addresses = {info[4][0] for info in socket.getaddrinfo("localhost", origin.port)}
        assert "127.0.0.1" in addresses  # where "::1" comes first, it is refused, and the next one is taken
        pool = service([f"http://localhost:{origin.port}"])
        assert await ask(pool) == 404
        assert origin.last.header("host") == f"localhost:{origin.port}"
        await pool.close()
