"""Calls of the origins as spans; each tells its origin where it stands in its trace."""

from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from proxy.errors import UpstreamError
from proxy.observe.tracing import Current, Kind, TraceSpan, Tracing, Value, method, named
from proxy.policy.trace_context import carrying
from proxy.rules import MAIN, Rule
from proxy.upstream.protocol import Answer, Call, Informational, Link
from proxy.upstream.routes import Routes

Result = TypeVar("Result")


class TracedRoutes(Routes):
    """Routes whose calls are spans, from the first byte that is sent to the head of the answer."""

    def __init__(self, tracing: Tracing, *parts: Any, **named: Any) -> None:
        super().__init__(*parts, **named)
        self._tracing = tracing

    async def _fetch(self, rule: Rule, call: Call, inform: Informational | None) -> Answer:
        span, call = self._begin(rule, call)
        return await self._ended(span, super()._fetch(rule, call, inform), lambda answer: answer.head.status)

    async def _connect(self, rule: Rule, call: Call) -> Link | Answer:
        span, call = self._begin(rule, call)
        return await self._ended(span, super()._connect(rule, call), _status)

    def _begin(self, rule: Rule, call: Call) -> tuple[Current, Call]:
        """The span of a call, and the call as it tells its origin of it."""
        span = self._tracing.begin(named(call.method), Kind.CLIENT)
        fields = carrying(call.fields, span.context)
        if not isinstance(span, TraceSpan):
            return span, replace(call, fields=fields)
        service = rule.upstream or MAIN
        span.attributes = {
            "http.request.method": method(call.method),
            "url.path": call.target.partition("?")[0],
            "peer.service": service,
            "cachegate.upstream": service,
        }
        return span, replace(call, fields=fields, tried=partial(_tried, span.attributes))

    async def _ended(
        self, span: Current, asking: Coroutine[Any, Any, Result], status_of: Callable[[Result], int]
    ) -> Result:
        try:
            answer = await asking
        except UpstreamError as error:
            _failed(span, error.fault.value)
            raise
        except BaseException:  # whoever asked is gone
            _failed(span, "cancelled")
            raise
        else:
            if isinstance(span, TraceSpan):
                status = status_of(answer)
                span.attributes["http.response.status_code"] = status
                span.error = str(status) if status >= 400 else None
            return answer
        finally:
            self._tracing.end(span)


def _tried(attributes: dict[str, Value], host: str, port: int) -> None:
    """The origin that was asked last, and how often one was asked again, by the semantic conventions for HTTP clients;
    of a call that was withheld there is none."""
    if "server.address" in attributes:
        again = attributes.get("http.request.resend_count", 0)
        attributes["http.request.resend_count"] = int(again) + 1
    attributes["server.address"], attributes["server.port"] = host, port


def _failed(span: Current, word: str) -> None:
    if isinstance(span, TraceSpan):
        span.error = word


def _status(answer: Link | Answer) -> int:
    return 101 if isinstance(answer, Link) else answer.head.status
