"""What is told to a collector of OpenTelemetry, by OTLP over HTTP. All that knows OpenTelemetry's own types is here.

It is imported only where an endpoint is set: it is in the extra `otel`. Spans are sent by a thread of the SDK; those
that find BOUND others waiting are dropped here, before the SDK would drop some and tell nobody how many.
"""

import asyncio
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from uuid import uuid4

from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics.export import MetricExportResult, MetricsData, ResourceMetrics, ScopeMetrics
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState
from prometheus_client.metrics_core import Metric as Family

from proxy.observe.otlp_figures import figures
from proxy.observe.tracing import Kind, TraceSpan
from proxy.policy.trace_context import TraceContext
from proxy.version import VERSION

_log = logging.getLogger("cachegate")

BOUND = 4096  # spans that wait, some 2 KB each
AGAIN = BOUND // 2  # that wait when it is told that none is dropped any more
BATCH = 64  # spans that are sent together: to encode them holds up everybody for three milliseconds
DELAY = 1.0  # seconds that a span waits for others
PATIENCE = 5.0  # seconds for a collector, tries that fail included
STATE = 512  # characters of tracestate
TOLD = 200  # characters of what is wrong with a collector
FLUSH = 2.0  # seconds that the end of the process waits for what is left

_KINDS = {Kind.SERVER: SpanKind.SERVER, Kind.CLIENT: SpanKind.CLIENT, Kind.INTERNAL: SpanKind.INTERNAL}
_SCOPE = InstrumentationScope("cachegate", VERSION)
_FINE, _FAILED = Status(), StatusCode.ERROR
_NO_STATE = TraceState()


class Collector:
    """The way to one collector. `said` stands beside what every resource says: which gateway this is, and which
    worker."""

    def __init__(self, endpoint: str, headers: Mapping[str, str], service: str, said: Mapping[str, str | int]) -> None:
        own = {"service.name": service, "service.version": VERSION, "service.instance.id": str(uuid4())}
        self._resource = Resource.create({**own, "host.name": socket.gethostname(), "process.pid": os.getpid(), **said})
        self._began = time.time_ns()
        _hear_out()
        self._spans = OTLPSpanExporter(
            f"{endpoint}/v1/traces", headers=dict(headers), timeout=PATIENCE, compression=Compression.Gzip
        )
        self._figures = OTLPMetricExporter(
            f"{endpoint}/v1/metrics", headers=dict(headers), timeout=PATIENCE, compression=Compression.Gzip
        )
        self._watched = Watched(self._spans, Reach(endpoint, "traces"))
        self._reach = Reach(endpoint, "figures")
        self._batches = BatchSpanProcessor(
            self._watched,
            max_queue_size=BOUND,
            schedule_delay_millis=DELAY * 1000,
            max_export_batch_size=BATCH,
        )
        self._taken_in = 0  # spans that were given to the SDK
        self._dropped = 0
        self._full_since: int | None = None  # how many were dropped before those that are being dropped now

    def record(self, span: TraceSpan) -> None:
        """Have it sent; it is not waited for. Where too many wait it is dropped and counted."""
        waiting = self._taken_in - self._watched.handed
        if waiting >= BOUND:
            if self._full_since is None:
                self._full_since = self._dropped
                _log.warning("spans are dropped: %d wait for the collector", waiting)
            self._dropped += 1
            return
        if self._full_since is not None and waiting <= AGAIN:
            self._relieved()
        self._taken_in += 1
        self._batches.on_end(self._readable(span))

    @property
    def lost(self) -> int:
        """Spans that were dropped, as too many waited, or not taken by the collector."""
        return self._dropped + self._watched.refused

    async def send(self, families: Iterable[Family]) -> None:
        """The figures as they are now; returns when they are there, or given up."""
        metrics = figures(families, self._began, time.time_ns())
        scope = ScopeMetrics(_SCOPE, metrics, "")
        data = MetricsData([ResourceMetrics(self._resource, [scope], "")])
        await _apart(lambda: self._export(data), PATIENCE + 1)

    @property
    def taken(self) -> bool:
        """Whether the last figures were."""
        return self._reach.reached

    async def close(self) -> None:
        """Send what waits, within FLUSH seconds; what a collector does not take by then is lost."""
        await _apart(self._batches.shutdown, FLUSH if self._watched.reach.reached else 0.0)
        self._watched.reach.over = self._reach.over = True
        if self._full_since is not None:
            self._relieved()
        self._spans.shutdown()  # type: ignore[no-untyped-call]
        self._figures.shutdown()

    def _relieved(self) -> None:
        before, self._full_since = self._full_since or 0, None
        _log.info("no more spans are dropped; %d were", self._dropped - before)

    def _export(self, data: MetricsData) -> None:
        self._reach.tried(lambda: self._figures.export(data) is MetricExportResult.SUCCESS)

    def _readable(self, span: TraceSpan) -> ReadableSpan:
        return ReadableSpan(
            span.name,
            _context(span.context),
            None if span.parent is None else _context(span.parent, remote=span.kind is Kind.SERVER),
            self._resource,
            span.attributes if span.error is None else {**span.attributes, "error.type": span.error},
            (),
            [Link(_context(link)) for link in span.links],
            _KINDS[span.kind],
            status=_FINE if span.error is None else Status(_FAILED),
            start_time=span.began,
            end_time=span.ended,
            instrumentation_scope=_SCOPE,
        )


class Reach:
    """Whether a collector takes what it is sent: one line in the log for each time that this changes."""

    def __init__(self, endpoint: str, what: str) -> None:
        self._endpoint = endpoint
        self._what = what
        self.reached = True
        self.over = False  # nobody is told any more

    def tried(self, send: Callable[[], bool]) -> bool:
        """Try to send; whether it was taken."""
        _SAID.first = ""
        reached = send()
        if reached is not self.reached and not self.over:
            self.reached = reached
            if reached:
                _log.info("the collector at %s takes %s again", self._endpoint, self._what)
            else:
                _log.warning("the collector at %s takes no %s: %s", self._endpoint, self._what, _SAID.first[:TOLD])
        return reached


class Watched(SpanExporter):
    """An exporter whose failures are told once. Spans that were `handed` to it wait no more; `refused` are those that
    the collector did not take. Both are written by the one thread that exports."""

    def __init__(self, spans: SpanExporter, reach: Reach) -> None:
        self.reach = reach
        self.handed = 0
        self.refused = 0
        self._spans = spans

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """In the thread of the SDK."""
        self.handed += len(spans)
        taken = self.reach.tried(lambda: self._spans.export(spans) is SpanExportResult.SUCCESS)
        if taken:
            return SpanExportResult.SUCCESS
        self.refused += len(spans)
        return SpanExportResult.FAILURE


class _Said(threading.local):
    """The first thing that OpenTelemetry has to say about a try, which this thread makes."""

    first = ""


_SAID = _Said()


class _Hearing(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        _SAID.first = _SAID.first or record.getMessage()


def _hear_out() -> None:
    """It would say so in the log, at each try."""
    theirs = logging.getLogger("opentelemetry")
    theirs.handlers, theirs.propagate = [_Hearing()], False


def _context(context: TraceContext, *, remote: bool = False) -> SpanContext:
    """Of what vendors say, no more is looked at than has to be passed on (W3C Trace Context 3.3.1.5): to read a whole
    head of it takes twenty milliseconds."""
    state = TraceState.from_header([context.state]) if 0 < len(context.state) <= STATE else _NO_STATE
    return SpanContext(context.trace, context.span, remote, TraceFlags(context.flags), state)


async def _apart(work: Callable[[], object], seconds: float) -> None:
    """Do it in a thread that nobody has to wait for at the end of the process; it is waited for so long."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def run() -> None:
        try:
            work()
        finally:
            if not loop.is_closed():
                loop.call_soon_threadsafe(done.set)

    threading.Thread(target=run, name="otlp", daemon=True).start()
    try:
        async with asyncio.timeout(seconds):
            await done.wait()
    except TimeoutError:
        pass
