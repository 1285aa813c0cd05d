"""Putting a service together from plain arguments."""

import ssl
import time
from collections.abc import Callable, Sequence

from proxy.upstream.admission import Admission
from proxy.upstream.attempt import USUAL, Timeouts
from proxy.upstream.breaker import Breaker, Change, State, Thresholds
from proxy.upstream.client import OriginClient
from proxy.upstream.fellows import NOBODY, Fellows
from proxy.upstream.health import Check
from proxy.upstream.pool import ReplicaPool
from proxy.upstream.retry_budget import FREE, RetryBudget


def service(
    urls: Sequence[str],
    *,
    timeouts: Timeouts = USUAL,
    tls: ssl.SSLContext | None = None,
    max_connections: int = 100,
    max_in_flight: int = 64,
    max_queue: int = 128,
    retries: int = 1,
    retry_budget: float = 0.2,
    free_retries: int = FREE,
    breaker: Thresholds | None = None,
    on_change: Callable[[Change], None] = lambda change: None,
    health_check: Check | None = None,
    fellows: Fellows = NOBODY,
    retried: Callable[[], None] = lambda: None,
    wall: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
) -> ReplicaPool:
    """The replicas behind `urls`, whose paths are the caller's business (they are part of each call's target).

    `max_connections` is per replica, `max_in_flight` and `max_queue` for all together, and so are breaker and budget:
    they look back over the same window. `on_change` hears when the breaker opens and closes by what was found here, and
    so do `fellows`; `retried` of each attempt that was sent and is made again. ConfigError for a URL that cannot be
    used. Health checks begin with `start`.
    """
    thresholds = breaker or Thresholds()
    clients = [
        OriginClient(url, timeouts=timeouts, max_connections=max_connections, tls=tls, wall=wall, monotonic=monotonic)
        for url in urls
    ]
    admission = Admission(
        Breaker(thresholds, _telling(on_change, fellows)),
        limit=max_in_flight,
        queue=max_queue,
        patience=timeouts.first_byte,
        fellows=fellows,
        monotonic=monotonic,
    )
    return ReplicaPool(
        clients,
        admission,
        RetryBudget(retry_budget, thresholds.window, free_retries),
        retries=retries,
        health_check=health_check,
        fellows=fellows,
        retried=retried,
        monotonic=monotonic,
    )


def _telling(on_change: Callable[[Change], None], fellows: Fellows) -> Callable[[Change], None]:
    def changed(change: Change) -> None:
        on_change(change)
        if change.state is not State.HALF_OPEN:  # of that each has its own clock
            fellows.tell(change)

    return changed
