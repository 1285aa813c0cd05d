"""The counters as Prometheus series. Labels come only from the configuration and from closed vocabularies."""

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from proxy.observe.counters import Counters
from proxy.observe.figures import BREAKER_STATES, STATES, Figures, Pressure
from proxy.observe.latency import Histogram
from proxy.outcome import Tier
from proxy.policy.pressure import Level
from proxy.version import VERSION


def registry(counters: Counters, figures: Figures) -> CollectorRegistry:
    """Our series, for one scrape, with those of the process (memory, CPU, file descriptors) and of the interpreter."""
    own = CollectorRegistry(auto_describe=False)
    own.register(GatewayCollector(counters, figures))
    ProcessCollector(registry=own)
    PlatformCollector(registry=own)
    return own


class GatewayCollector(Collector):
    """The series of the contract as they are at one moment."""

    def __init__(self, counters: Counters, figures: Figures) -> None:
        self._counters = counters
        self._figures = figures

    def collect(self) -> Iterable[Metric]:
        figures = self._figures
        yield from _requests(self._counters)
        yield from _saved(self._counters)
        yield from _tiers(self._counters, figures)
        yield from _redis(figures)
        yield from _upstreams(self._counters, figures)
        yield from _pressure(self._counters, figures.pressure)
        yield _gauge("cachegate_in_flight", "Requests being answered", self._counters.in_flight)
        yield _gauge("cachegate_connections", "Open client connections", self._counters.connections)
        yield _gauge("cachegate_workers", "Processes that serve", figures.workers)
        yield _gauge("cachegate_journal_durable", "1 while purges outlive the instance", figures.durable)
        build = GaugeMetricFamily("cachegate_build_info", "What runs here", labels=["version"])
        build.add_metric([VERSION], 1)
        yield build


def _requests(counters: Counters) -> Iterator[Metric]:
    requests = CounterMetricFamily("cachegate_requests", "Requests by verdict and rule", labels=["verdict", "rule"])
    for name, rule in sorted(counters.rules.items()):
        for verdict, count in rule.verdicts.items():
            requests.add_metric([verdict.value, name], count)
    yield requests
    yield from _shadows(counters)
    reasons = {why.word: count for why, count in counters.reasons.items()}
    yield _counter("cachegate_reasons", "Requests by reason", "reason", reasons)
    yield CounterMetricFamily("cachegate_malformed", "Heads refused as malformed", value=counters.malformed)
    passed = {bound.value: count for bound, count in counters.passed.items()}
    yield _counter("cachegate_bounds_passed", "What was refused or dropped past a bound", "bound", passed)
    seconds = {verdict.value: histogram for verdict, histogram in counters.seconds.items()}
    yield _histograms("cachegate_request_seconds", "From the head to the last byte", "verdict", seconds)
    yield CounterMetricFamily("cachegate_coalesced", "Requests that shared another's fetch", value=counters.coalesced)
    yield _counter("cachegate_rate_limited", "Requests over a rule's rate limit", "rule", counters.rate_limited)
    yield _counter("cachegate_purges", "Purges by kind", "kind", counters.purges)


def _shadows(counters: Counters) -> Iterator[Metric]:
    """Of rules that are, or were, in shadow."""
    would = CounterMetricFamily("cachegate_shadow_would_hits", "Requests that would have been hits", labels=["rule"])
    compared = CounterMetricFamily("cachegate_shadow_compared", "Of those, held against the answer", labels=["rule"])
    wrong = CounterMetricFamily("cachegate_shadow_wrong", "Of those, another than the answer", labels=["rule"])
    for name, rule in sorted(counters.rules.items()):
        if rule.shadow is not None:
            would.add_metric([name], rule.shadow.would_hits)
            compared.add_metric([name], rule.shadow.compared)
            wrong.add_metric([name], rule.shadow.wrong)
    yield from (would, compared, wrong)


def _saved(counters: Counters) -> Iterator[Metric]:
    """What clients got without a call of the origin (`RuleCounts`)."""
    calls = CounterMetricFamily("cachegate_saved_calls", "Calls that were not made", labels=["rule"])
    size = CounterMetricFamily("cachegate_saved_bytes", "Bytes that no origin had to send", labels=["rule"])
    seconds = CounterMetricFamily("cachegate_saved_seconds", "Time that clients did not wait", labels=["rule"])
    money = CounterMetricFamily("cachegate_saved_money", "What these calls would have cost", labels=["rule"])
    for name, rule in sorted(counters.rules.items()):
        calls.add_metric([name], rule.calls_saved)
        size.add_metric([name], rule.bytes_saved)
        seconds.add_metric([name], rule.seconds_saved)
        money.add_metric([name], rule.money_saved)
    yield from (calls, size, seconds, money)


def _tiers(counters: Counters, figures: Figures) -> Iterator[Metric]:
    lookups = CounterMetricFamily("cachegate_tier_lookups", "Lookups in a tier", labels=["tier", "result"])
    for tier, counts in counters.tiers.items():
        for result, count in (("hit", counts.hits), ("miss", counts.misses), ("error", counts.errors)):
            lookups.add_metric([tier.value, result], count)
    yield lookups
    seconds = {tier.value: counts.seconds for tier, counts in counters.tiers.items()}
    yield _histograms("cachegate_tier_seconds", "How long a tier's lookup took", "tier", seconds)
    entries = GaugeMetricFamily("cachegate_tier_entries", "Entries held", labels=["tier"])
    size = GaugeMetricFamily("cachegate_tier_bytes", "Bytes held", labels=["tier"])
    bound = GaugeMetricFamily("cachegate_tier_max_bytes", "What it may hold", labels=["tier"])
    up = GaugeMetricFamily("cachegate_tier_up", "1 while it works", labels=["tier"])
    evictions = CounterMetricFamily("cachegate_evictions", "Entries that had to make room", labels=["tier"])
    for tier, now in figures.tiers.items():
        entries.add_metric([tier.value], now.entries)
        size.add_metric([tier.value], now.bytes)
        evictions.add_metric([tier.value], now.evictions)
        up.add_metric([tier.value], not now.off)
        if tier is not Tier.REDIS:  # whose bound is that of the server, for all that is in it
            bound.add_metric([tier.value], now.max_bytes)
    yield from (entries, size, bound, up, evictions)


def _redis(figures: Figures) -> Iterator[Metric]:
    if figures.redis is not None:
        states = GaugeMetricFamily("cachegate_redis_state", "1 for the state it is in", labels=["state"])
        for state in STATES:
            states.add_metric([state], int(state == figures.redis.state))
        yield states
        yield _gauge("cachegate_redis_memory_bytes", "Memory that Redis uses", figures.redis.memory)
        most = "What Redis may use (maxmemory), 0 for no bound"
        yield _gauge("cachegate_redis_max_memory_bytes", most, figures.redis.max_memory)
        yield _gauge("cachegate_redis_latency_seconds", "How long Redis takes to answer", figures.redis.latency)
        linked = "1 while caught up with the purges of the other instances"
        yield _gauge("cachegate_redis_linked", linked, figures.redis.connected)


def _pressure(counters: Counters, now: Pressure) -> Iterator[Metric]:
    yield _gauge("cachegate_resident_bytes", "Memory of the processes that serve", now.used)
    yield _gauge("cachegate_memory_limit_bytes", "What they may take (memory.limit), 0 for no bound", now.limit)
    yield _gauge("cachegate_memory_room_bytes", "What the memory tier may hold now", now.room)
    states = GaugeMetricFamily("cachegate_memory_pressure", "1 for the state it is in", labels=["state"])
    for level in Level:
        states.add_metric([level.value], int(level is now.level))
    yield states
    yield CounterMetricFamily("cachegate_memory_shrinks", "Times memory came under pressure", value=counters.shrinks)


def _upstreams(counters: Counters, figures: Figures) -> Iterator[Metric]:
    calls = counters.upstream
    yield _counter("cachegate_upstream_requests", "Calls to the origins", "outcome", calls.outcomes)
    yield _counter("cachegate_upstream_withheld", "Calls that were not made", "reason", calls.withheld)
    yield _histograms("cachegate_upstream_seconds", "Until the head came", None, {"": calls.seconds})
    states = GaugeMetricFamily("cachegate_breaker_state", "1 for the state it is in", labels=["upstream", "state"])
    replicas = GaugeMetricFamily("cachegate_replica_up", "1 while it gets calls", labels=["upstream", "replica"])
    for upstream, service in figures.services.items():
        for state in BREAKER_STATES:
            states.add_metric([upstream, state], int(state == service.breaker))
        for replica in service.replicas:
            replicas.add_metric([upstream, replica.name], int(replica.up))
    yield from (states, replicas)
    opened = CounterMetricFamily("cachegate_breaker_opened", "How often, and by what", labels=["upstream", "cause"])
    for (upstream, cause), count in sorted(counters.openings.items()):
        opened.add_metric([upstream, cause], count)
    yield opened


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _counter(name: str, text: str, label: str, values: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(name, text, labels=[label])
    for word, count in sorted(values.items()):
        family.add_metric([word], count)
    return family


def _histograms(name: str, text: str, label: str | None, parts: Mapping[str, Histogram]) -> Metric:
    family = HistogramMetricFamily(name, text, labels=[] if label is None else [label])
    for word, histogram in parts.items():
        family.add_metric([] if label is None else [word], list(histogram.cumulative()), histogram.total)
    return family
