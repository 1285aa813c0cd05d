"""Liveness and readiness, as an orchestrator asks for them."""

from dataclasses import dataclass

from proxy.message import Reply
from proxy.server.admin.pages import Ask, Page, json_reply
from proxy.server.admin.rights import Level


@dataclass(slots=True)
class Readiness:
    """Whether traffic should come here; draining ends it for good."""

    started: bool = False
    draining: bool = False

    @property
    def status(self) -> str:
        if self.draining:
            return "draining"
        return "ready" if self.started else "starting"


def probe_pages(readiness: Readiness) -> tuple[Page, ...]:
    """`live` is 200 as long as it can be asked; `ready` is 503 before the start and from the drain on. Redis has no
    say in either: without it the gateway serves."""

    async def live(ask: Ask) -> Reply:
        return json_reply({"status": "live"})

    async def ready(ask: Ask) -> Reply:
        status = readiness.status
        return json_reply({"status": status}, 200 if status == "ready" else 503)

    return Page("GET", "/live", Level.OPEN, live, None), Page("GET", "/ready", Level.OPEN, ready, None)
