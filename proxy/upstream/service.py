"""Putting a service together from plain arguments."""

import ssl
import time
from collections.abc import Callable, Sequence

from proxy.upstream.attempt import USUAL, Timeouts
from proxy.upstream.client import OriginClient
from proxy.upstream.health import Check
from proxy.upstream.pool import ReplicaPool


def service(
    urls: Sequence[str],
    *,
    timeouts: Timeouts = USUAL,
    tls: ssl.SSLContext | None = None,
    max_connections: int = 100,
    max_in_flight: int = 64,
    max_queue: int = 128,
    retries: int = 1,
    health_check: Check | None = None,
    wall: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
) -> ReplicaPool:
    """The replicas behind `urls`, whose paths are the caller's business (they are part of each call's target).

    `max_connections` is per replica, `max_in_flight` and `max_queue` for all together. ConfigError for a URL that
    cannot be used. Health checks begin with `start`.
    """
    clients = [
        OriginClient(url, timeouts=timeouts, max_connections=max_connections, tls=tls, wall=wall, monotonic=monotonic)
        for url in urls
    ]
    return ReplicaPool(
        clients,
        max_in_flight=max_in_flight,
        max_queue=max_queue,
        retries=retries,
        health_check=health_check,
        monotonic=monotonic,
    )
