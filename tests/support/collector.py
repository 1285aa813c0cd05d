"""A collector of OpenTelemetry that remembers what it was told.

async with Collector() as collector, serving(origin, collector.settings()) as gateway:
    await gateway.get("/a")
    request = await collector.span("GET users")
    assert request.attributes["cachegate.verdict"] == "MISS"
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from aiohttp import web
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span as WireSpan

PATIENCE = 20.0  # seconds after which a wait of a test is a failure of the test
KINDS = {1: "internal", 2: "server", 3: "client"}


@dataclass(frozen=True)
class Span:
    """One that came; ids are hexadecimal, `links` those of spans, times nanoseconds."""

    name: str
    kind: str
    trace: str
    id: str
    parent: str
    state: str
    began: int
    ended: int
    attributes: Mapping[str, Any]
    links: tuple[str, ...]
    failed: bool
    resource: Mapping[str, Any]

    @classmethod
    def of(cls, span: WireSpan, resource: Mapping[str, Any]) -> Self:
        return cls(
            span.name,
            KINDS[span.kind],
            span.trace_id.hex(),
            span.span_id.hex(),
            span.parent_span_id.hex(),
            span.trace_state,
            span.start_time_unix_nano,
            span.end_time_unix_nano,
            told(span.attributes),
            tuple(link.span_id.hex() for link in span.links),
            span.status.code == 2,
            resource,
        )


class Collector:
    """`status` is what it answers; while `hangs` it answers nothing."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.metrics: dict[str, Metric] = {}
        self.resources: list[Mapping[str, Any]] = []  # of figures
        self.headers: list[Mapping[str, str]] = []
        self.calls = 0
        self.status = 200
        self.hangs = False
        self.port = 0
        self._leaving = asyncio.Event()
        self._came = asyncio.Condition()
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def settings(self, **tracing: Any) -> dict[str, Any]:
        """That send everything here."""
        return {"observe": {"tracing": {"endpoint": self.url, **tracing}}}

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """On the same port as before."""
        app = web.Application(client_max_size=1 << 26)
        app.router.add_post("/v1/traces", self._traces)
        app.router.add_post("/v1/metrics", self._metrics)
        self._leaving.clear()
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Refuse connections from now on."""
        self._leaving.set()
        if self._runner is not None:
            await self._runner.cleanup()

    def answers(self) -> None:
        """Those too that it let hang until now."""
        self.hangs = False
        self._leaving.set()

    async def span(self, name: str, **attributes: Any) -> Span:
        """The one of this name, with these attributes ("__" for their dots), once it is here."""
        return (await self.those(name, 1, **attributes))[0]

    async def those(self, name: str, number: int, **attributes: Any) -> list[Span]:
        """So many, in the order in which they began."""
        wanted = {key.replace("__", "."): value for key, value in attributes.items()}

        def fitting() -> list[Span]:
            return [s for s in self.spans if s.name == name and wanted.items() <= s.attributes.items()]

        await self.until(lambda: len(fitting()) >= number)
        return sorted(fitting(), key=lambda span: span.began)

    async def until(self, holds: Callable[[], bool]) -> None:
        try:
            async with asyncio.timeout(PATIENCE), self._came:
                await self._came.wait_for(holds)
        except TimeoutError:
            raise AssertionError("\n".join(f"{span.name} {dict(span.attributes)}" for span in self.spans)) from None

    async def _traces(self, request: web.Request) -> web.Response:
        raw = await self._read(request)
        if self.status == 200:
            for of in ExportTraceServiceRequest.FromString(raw).resource_spans:
                resource = told(of.resource.attributes)
                self.spans += [Span.of(span, resource) for scope in of.scope_spans for span in scope.spans]
        return await self._answered()

    async def _metrics(self, request: web.Request) -> web.Response:
        raw = await self._read(request)
        if self.status == 200:
            for of in ExportMetricsServiceRequest.FromString(raw).resource_metrics:
                self.resources.append(told(of.resource.attributes))
                self.metrics |= {metric.name: metric for scope in of.scope_metrics for metric in scope.metrics}
        return await self._answered()

    async def _read(self, request: web.Request) -> bytes:
        self.calls += 1
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        raw = await request.read()
        if self.hangs:
            await self._leaving.wait()
        return raw

    async def _answered(self) -> web.Response:
        async with self._came:
            self._came.notify_all()
        return web.Response(status=self.status, content_type="application/x-protobuf")


def told(attributes: Any) -> dict[str, Any]:
    """Attributes as plain values."""

    def plain(value: AnyValue) -> Any:
        kind = value.WhichOneof("value")
        return None if kind is None else getattr(value, kind)

    return {pair.key: plain(pair.value) for pair in attributes}
