"""Figures of several processes as those of one instance (contract, "Stats")."""

import pickle
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Fault
from proxy.observe.counters import Bound, Counters
from proxy.observe.figures import FILES, STATES, Figures, RedisFigures, ReplicaFigures, ServiceFigures, TierFigures
from proxy.observe.groups import MAX_RULES, OTHER_RULES
from proxy.observe.merging import _STATES, merged
from proxy.outcome import Outcome, Tier, Verdict
from proxy.reasons import Why
from proxy.server.admin.stats import build

outcomes = st.builds(
    Outcome,
    verdict=st.sampled_from(Verdict),
    reason=st.sampled_from([Why.NO_RULE, Why.URI_MISS, Why.RATE_LIMITED]),
    rule=st.sampled_from(["", "users", "posts"]),
    collapsed=st.booleans(),
    upstream_seconds=st.none() | st.just(0.25),
)
SECONDS = [2**-10, 0.5, 2.0]  # powers of two: their sum is the same in every order
requests = st.lists(st.tuples(outcomes, st.sampled_from(SECONDS), st.integers(0, 1000), st.integers(0, 2)))


@given(requests)
def test_it_does_not_matter_which_worker_counted(requests: list[tuple[Outcome, float, int, int]]) -> None:
    """But for what a call would have taken, which each worker estimates from its own calls."""
    parts, whole = [Counters() for _ in range(3)], Counters()
    for outcome, seconds, sent, worker in requests:
        for counters in (parts[worker], whole):
            counters.finish(outcome, seconds, sent)
            counters.purged("tag")
            counters.malformed += 1
            counters.shrinks += 1
            counters.add_passed(Bound.HEAD, sent)
            counters.upstream.began()
            counters.upstream.ended(Fault.RESET if sent % 2 else None, seconds)
            counters.tiers[Tier.FILE].hits += 1
            counters.tiers[Tier.MEMORY].seconds.observe(seconds)
    together = [build(each, Figures(), 1.0, names=True) for each in (Counters.merged(parts), whole)]
    for document in together:
        for rule in document["rules"].values():  # type: ignore[attr-defined]
            del rule["secondsSaved"]
    assert sorted(together[0].pop("reasons").items()) == sorted(together[1].pop("reasons").items())  # type: ignore[attr-defined]
    assert together[0] == together[1]
    one, other = Counters.merged(parts), whole
    assert (one.purges, one.tiers[Tier.MEMORY].seconds.buckets) == (
        other.purges,
        other.tiers[Tier.MEMORY].seconds.buckets,
    )
    assert (one.rate_limited, one.coalesced) == (other.rate_limited, other.coalesced)


def test_counters_travel_between_processes() -> None:
    counters = Counters({"users": 0.5})
    counters.finish(Outcome(Verdict.HIT, Why.FRESH, "users"), 0.1, 10)
    back = pickle.loads(pickle.dumps(counters))
    assert build(back, Figures(), 1.0, names=True) == build(counters, Figures(), 1.0, names=True)
    assert Counters.merged([Counters(), back]).groups.costs == {"users": 0.5}


def test_what_has_gone_keeps_its_past_and_has_no_present() -> None:
    counters = Counters()
    counters.finish(Outcome(Verdict.HIT, Why.FRESH), 0.1, 10)
    counters.in_flight = counters.connections = counters.upstream.in_flight = 3
    counters.forget_present()
    assert (counters.requests, counters.in_flight, counters.connections, counters.upstream.in_flight) == (1, 0, 0, 0)


def test_rules_stay_bounded() -> None:
    parts = [Counters(), Counters()]
    for number in range(MAX_RULES):
        parts[0].finish(Outcome(Verdict.HIT, Why.FRESH, f"a{number}"), 0.1, 10)
        parts[1].finish(Outcome(Verdict.HIT, Why.FRESH, f"b{number}"), 0.1, 10)
    whole = Counters.merged(parts)
    assert len(whole.rules) == MAX_RULES + 1
    assert whole.rules[OTHER_RULES].hits == MAX_RULES
    assert sum(rule.hits for rule in whole.rules.values()) == whole.requests


def test_memory_adds_up_and_the_file_tier_is_counted_once() -> None:
    workers = [
        Figures({Tier.MEMORY: TierFigures(2, 100, 500, 1), Tier.FILE: TierFigures(max_bytes=1000)}, ("a",)),
        Figures({Tier.MEMORY: TierFigures(3, 50, 500, 0), Tier.FILE: TierFigures(max_bytes=1000, off="full")}),
    ]
    parent = Figures({Tier.FILE: TierFigures(7, 700, 1000, 4)}, tuple(f"f{n}" for n in range(FILES)), workers=0)
    whole = merged([*workers, parent])
    assert whole.tiers == {
        Tier.MEMORY: TierFigures(5, 150, 1000, 1),
        Tier.FILE: TierFigures(7, 700, 1000, 4, "full"),
    }
    assert (whole.workers, len(whole.files), whole.files[0], whole.redis) == (2, FILES, "a", None)


def test_the_worst_state_is_told() -> None:
    here = {"main": ServiceFigures(), "b": ServiceFigures("open", "error_rate")}
    there = {"main": ServiceFigures("half-open", "consecutive"), "b": ServiceFigures()}
    assert merged([Figures(services=here), Figures(services=there)]).services == {
        "main": ServiceFigures("half-open", "consecutive"),
        "b": ServiceFigures("open", "error_rate"),
    }
    near = ServiceFigures(replicas=(ReplicaFigures("a:1", True, 1, 10, 2), ReplicaFigures("b:1")))
    far = ServiceFigures(replicas=(ReplicaFigures("a:1", False, 2, 5, 1), ReplicaFigures("b:1")))
    assert merged([Figures(services={"main": each}) for each in (near, far)]).services["main"].replicas == (
        ReplicaFigures("a:1", False, 3, 15, 3),
        ReplicaFigures("b:1"),
    )
    well = RedisFigures("ready", True, "", 0.001, 10, 2000, {"db0": "keys=10"}, 1, 0, 4000)
    ill = RedisFigures("closed", False, "no answer in time", 0.2, 9, 1000, {}, 2)
    assert merged([Figures(redis=well), Figures(), Figures(redis=ill)]).redis == RedisFigures(
        "closed", False, "no answer in time", 0.2, 10, 2000, {"db0": "keys=10"}, 3, 0, 4000
    )
    assert [merged([Figures(), Figures(durable=each)]).durable for each in (True, False)] == [True, False]


@pytest.mark.parametrize(("better", "worse"), list(pairwise(_STATES)))
def test_every_state_has_its_place(better: str, worse: str) -> None:
    assert set(_STATES) == set(STATES)
    figures = merged([Figures(redis=RedisFigures(worse, True)), Figures(redis=RedisFigures(better, True))])
    assert figures.redis is not None
    assert figures.redis.state == worse
