"""The admin pages on a port of their own."""

from proxy.landing import Visit
from proxy.message import Reply, Request
from proxy.observe.counters import Counters
from proxy.policy.own_answers import own_answer
from proxy.reasons import Why
from proxy.server.admin.pages import Pages
from proxy.server.front import Doorway, Front

ALIASES = {"/metrics": "/metrics", "/livez": "/live", "/readyz": "/ready", "/healthz": "/live"}
ALIASES |= {"/api/health/redis": "/redis/report"}


def aliases(prefix: str) -> dict[str, str]:
    """The paths that orchestrators and scrapers expect there, with the pages they mean."""
    return {path: prefix.rstrip("/") + page for path, page in ALIASES.items()}


class _NoSite:
    """Nothing but admin pages is behind this port."""

    async def answer(self, request: Request) -> Reply:
        return own_answer(404, Why.NO_RULE, "There is no such page.")

    async def receive(self, visit: Visit) -> Reply:
        return await self.answer(visit.request)

    async def upgrade(self, request: Request) -> Reply:
        return await self.answer(request)


def admin_front(pages: Pages, doorway: Doorway) -> Front:
    """A front of its own, whose requests and connections are counted nowhere: they are no traffic."""
    return Front(_NoSite(), pages, doorway, Counters(), lambda request, reply, sent, seconds, complete: None)
