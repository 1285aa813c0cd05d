"""The page that Prometheus scrapes."""

from prometheus_client.exposition import choose_encoder

from proxy.message import Fields, Reply
from proxy.observe.collector import registry
from proxy.observe.figures import Take
from proxy.outcome import Outcome, Verdict
from proxy.reasons import Why
from proxy.server.admin.pages import Ask, Page
from proxy.server.admin.rights import Level


def metrics_page(take: Take, *, open_to_all: bool = False) -> Page:
    """Text or OpenMetrics, as the scraper prefers. `open_to_all` is for the admin port (`admin.metrics: open`)."""

    async def metrics(ask: Ask) -> Reply:
        encode, content_type = choose_encoder(ask.request.fields.get("accept") or "")
        body = encode(registry(*await take()))
        fields = Fields.of(
            ("Content-Type", content_type), ("Content-Length", str(len(body))), ("Cache-Control", "no-store")
        )
        return Reply(200, "OK", fields, body, Outcome(Verdict.BYPASS, Why.NO_RULE))

    return Page("GET", "/metrics", Level.PUBLIC if open_to_all else Level.GLANCE, metrics, None)
