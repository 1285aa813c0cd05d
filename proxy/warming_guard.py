"""When warming would be in the way of clients' requests."""

from collections.abc import Callable

from proxy.flying import Flying
from proxy.landing import Visit
from proxy.message import Request
from proxy.policy.keys import Keyed, Refused, derive
from proxy.policy.pressure import Level
from proxy.policy.storing import barred
from proxy.reasons import Why
from proxy.rules import Rule
from proxy.upstream.routes import Routes
from proxy.warming_jobs import End


class ForClients:
    """What `warming_one` asks before each fetch. `fresh` tells what is at hand, without a trace; `level` is how memory
    stands, `draining` whether the gateway is about to end."""

    def __init__(
        self,
        rule: Callable[[Request], Rule],
        routes: Callable[[], Routes],
        flying: Flying,
        fresh: Callable[[Request], bool],
        level: Callable[[], Level],
        draining: Callable[[], bool],
    ) -> None:
        self._rule = rule
        self._routes = routes
        self._flying = flying
        self._fresh = fresh
        self._level = level
        self._draining = draining

    def refuses(self, request: Request) -> Why | None:
        rule = self._rule(request)
        if (why := barred(request, rule)) is not None:
            return why
        keyed = derive(request, rule)
        return keyed.why if isinstance(keyed, Refused) else None

    def fresh(self, request: Request) -> bool:
        return self._fresh(request)

    def heeds(self, request: Request) -> bool:
        rule = self._rule(request)
        counted = rule.rate_limit is not None and rule.rate_limit.hits == "count"
        return rule.client_directives != "ignore" and not counted

    def under_way(self, request: Request) -> bool:
        rule = self._rule(request)
        keyed = derive(request, rule)
        if not isinstance(keyed, Keyed):
            return False
        return self._flying.under_way(Visit(request, rule, keyed, None, request.received_at)) is not None

    def forbids(self, request: Request) -> End | None:
        if self._draining():
            return End.DRAINING
        if self._level() is not Level.CALM:
            return End.OVER_MEMORY
        _, fault = self._routes().glance(self._rule(request))
        return None if fault is None else End(fault.value)

    def room(self, request: Request) -> bool:
        return self._routes().spare(self._rule(request))
