"""The series of the metrics page as OTLP has them: the same names, labels and numbers, counted once.

OpenTelemetry's instruments are not used: its SDK would count a second time, and has no histogram that is observed.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    Sum,
)
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.samples import Sample

# How a name ends tells its unit, as Prometheus wants it; OTLP tells it apart (UCUM).
_UNITS = {"seconds": "s", "bytes": "By"}
_SINCE_START = AggregationTemporality.CUMULATIVE


def figures(families: Iterable[Family], began: int, now: int) -> list[Metric]:
    """`began` is when counting began; both in nanoseconds of wall clock."""
    return [_metric(family, began, now) for family in families if family.samples]


def _metric(family: Family, began: int, now: int) -> Metric:
    unit = next((_UNITS[word] for word in family.name.split("_") if word in _UNITS), "")
    data: Sum | Gauge | Histogram
    match family.type:
        case "histogram":
            name, data = family.name, Histogram(_histograms(family.samples, began, now), _SINCE_START)
        case "counter":
            name = f"{family.name}_total"
            data = Sum(_points(family.samples, began, now), _SINCE_START, is_monotonic=True)
        case _:
            name, data = family.name, Gauge(_points(family.samples, 0, now))
    return Metric(name, family.documentation, unit, data)


def _points(samples: Sequence[Sample], began: int, now: int) -> list[NumberDataPoint]:
    # "+": a gauge that says yes or no does so in numbers
    return [NumberDataPoint(sample.labels, began, now, +sample.value) for sample in samples]


def _histograms(samples: Sequence[Sample], began: int, now: int) -> list[HistogramDataPoint]:
    """One for each set of labels. Prometheus counts in each bucket what is in those below it too."""
    parts: dict[tuple[tuple[str, str], ...], list[Sample]] = {}
    for sample in samples:
        labels = tuple((name, value) for name, value in sample.labels.items() if name != "le")
        parts.setdefault(labels, []).append(sample)
    return [_histogram(dict(labels), part, began, now) for labels, part in parts.items()]


def _histogram(labels: dict[str, str], samples: Sequence[Sample], began: int, now: int) -> HistogramDataPoint:
    buckets = [(sample.labels["le"], int(sample.value)) for sample in samples if "le" in sample.labels]
    below = [0, *(count for _, count in buckets)]
    return HistogramDataPoint(
        labels,
        began,
        now,
        count=below[-1],
        sum=next(sample.value for sample in samples if sample.name.endswith("_sum")),
        bucket_counts=[upto - before for before, upto in pairwise(below)],
        explicit_bounds=[float(bound) for bound, _ in buckets if bound != "+Inf"],
        min=None,  # type: ignore[arg-type]  # nobody knows them any more, which OTLP allows
        max=None,  # type: ignore[arg-type]
    )
