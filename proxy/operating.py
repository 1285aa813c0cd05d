"""Every page by which operators look into a gateway and change what it holds."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from proxy.configuration import Configuration
from proxy.ending import Ending
from proxy.everywhere import Everywhere
from proxy.observe.events import Events
from proxy.observe.figures import Take
from proxy.observe.history import Window
from proxy.server.admin.config import config_pages
from proxy.server.admin.dashboard import dashboard_pages
from proxy.server.admin.entries import entry_pages
from proxy.server.admin.events import events_page
from proxy.server.admin.explain import explain_pages
from proxy.server.admin.metrics import metrics_page
from proxy.server.admin.pages import Page
from proxy.server.admin.probes import Readiness, probe_pages
from proxy.server.admin.purge import purge_pages
from proxy.server.admin.ratelimit import rate_limit_page
from proxy.server.admin.redis import health_of, no_redis_pages, redis_pages, redis_report_page
from proxy.server.admin.stats import stats_page
from proxy.server.admin.suggest import suggest_page
from proxy.server.admin.warm import warm_pages
from proxy.settings.model import Settings
from proxy.sharing import Sharing
from proxy.story import Story
from proxy.warming import Warming
from proxy.warming_hot import Hottest


@dataclass(frozen=True, slots=True)
class Asked:
    """The parts of a gateway that its pages ask. `started` by the monotonic clock, in seconds."""

    settings: Settings
    started: float
    readiness: Readiness
    take: Take
    window: Callable[[int], Awaitable[Window | None]]
    events: Events
    sharing: Sharing | None
    everywhere: Everywhere
    story: Story
    ending: Ending
    warming: Warming
    hottest: Hottest
    configuration: Configuration


def pages(of: Asked) -> tuple[Page, ...]:
    """All of them, wherever they stand."""
    admin, ending, everywhere = of.settings.admin, of.ending, of.everywhere
    clear = partial(ending.clear, everywhere.clear)
    open_metrics = admin.metrics == "open" and admin.port is not None
    return (
        *probe_pages(of.readiness),
        stats_page(of.take, of.window, started=of.started),
        redis_report_page(health_of(of.sharing), of.take, started=of.started),
        events_page(of.events),
        metrics_page(of.take, open_to_all=open_metrics),
        *(redis_pages(of.sharing) if of.sharing is not None else no_redis_pages()),
        *entry_pages(everywhere),
        suggest_page(everywhere.samples),
        rate_limit_page(of.story.limiting.status),
        *explain_pages(everywhere.explain),
        *purge_pages(ending.purger, everywhere.receipt, everywhere, clear),
        *warm_pages(of.warming, of.hottest),
        *config_pages(of.configuration),
        *dashboard_pages(),
    )
