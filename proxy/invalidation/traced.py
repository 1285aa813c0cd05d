"""Purges as spans: those of operators always, as they are rare and asked for by hand; those that an unsafe request
causes where it is traced itself."""

from collections.abc import Iterable
from typing import Any

from proxy.invalidation.purge_requests import PurgeRequest
from proxy.invalidation.purges import Purger, Receipt
from proxy.invalidation.records import Purge
from proxy.observe.tracing import TraceSpan, Tracing


class TracedPurger(Purger):
    """A Purger that tells what it does."""

    def __init__(self, tracing: Tracing, *parts: Any, **named: Any) -> None:
        super().__init__(*parts, **named)
        self._tracing = tracing

    async def _apply(self, purge: Purge) -> Receipt:
        span = self._tracing.always(f"purge {purge.kind.value}")
        span.attributes = {
            "cachegate.purge.id": purge.id,
            "cachegate.purge.kind": purge.kind.value,
            "cachegate.purge.names": len(purge.names),
            "cachegate.purge.soft": purge.soft,
        }
        try:
            receipt = await super()._apply(purge)
            span.attributes |= {
                "cachegate.purge.matched": receipt.matched,
                "cachegate.purge.instances": len(receipt.instances),
                "cachegate.purge.complete": receipt.complete,
            }
            return receipt
        finally:
            self._tracing.end(span)

    async def invalidate(self, requests: Iterable[PurgeRequest]) -> tuple[int, ...]:
        if not isinstance(self._tracing.current, TraceSpan):
            return await super().invalidate(requests)
        wanted = tuple(requests)
        span = self._tracing.always("invalidate")
        span.attributes["cachegate.purge.names"] = sum(len(each.names) for each in wanted)
        try:
            return await super().invalidate(wanted)
        finally:
            self._tracing.end(span)
