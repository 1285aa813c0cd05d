"""Calls of the origins as spans; each tells its origin where it stands in its trace."""

from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, TypeVar

from proxy.errors import UpstreamError
from proxy.message import Request
from proxy.observe.tracing import Current, Kind, TraceSpan, Tracing, method, named
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
        span = self._begin(call.method, call.target, rule)
        call = replace(call, fields=carrying(call.fields, span.context))
        return await self._ended(span, super()._fetch(rule, call, inform), lambda answer: answer.head.status)

    async def connect(self, request: Request, rule: Rule) -> Link | Answer:
        span = self._begin(request.method, request.target, rule)
        request = replace(request, fields=carrying(request.fields, span.context))
        return await self._ended(span, super().connect(request, rule), _status)

    def _begin(self, asked: str, target: str, rule: Rule) -> Current:
        span = self._tracing.begin(named(asked), Kind.CLIENT)
        if isinstance(span, TraceSpan):
            service = rule.upstream or MAIN
            span.attributes = {
                "http.request.method": method(asked),
                "url.path": target.partition("?")[0],
                "peer.service": service,
                "cachegate.upstream": service,
            }
        return span

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


def _failed(span: Current, word: str) -> None:
    if isinstance(span, TraceSpan):
        span.error = word


def _status(answer: Link | Answer) -> int:
    return 101 if isinstance(answer, Link) else answer.head.status
