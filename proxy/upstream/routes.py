"""From a request and its rule to a call on the right service: fields made anew, path mapped, loop mark set."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from proxy.entry import Pairs
from proxy.message import Request
from proxy.policy.forwarding import negotiated_encoding, outgoing, upstream_target
from proxy.rules import Rule
from proxy.upstream.protocol import Answer, Call, Connector, Link, Upstream


class Service(Upstream, Connector):
    """An upstream that takes websockets too."""


@dataclass(frozen=True, slots=True)
class Route:
    """One service and what is done to requests on their way to it."""

    service: Service
    base_path: str = ""
    strip_prefix: str = ""
    added: Pairs = ()
    preserve_host: bool = False
    forward_client_ip: bool = True


class Routes:
    """The services by the names that rules use; "" is the main one."""

    def __init__(self, routes: Mapping[str, Route], via_name: str) -> None:
        self._routes = routes
        self._via_name = via_name

    async def send(self, request: Request, rule: Rule) -> Answer:
        """Pass a request on as it came: its target, its body, its own conditions."""
        return await self._route(rule).service.fetch(self._call(request, rule, request.target))

    async def fetch(
        self, request: Request, rule: Rule, target: str, *, drop: frozenset[str], extra: Pairs, behind: bool
    ) -> Answer:
        """Ask for what the cache wants: `target` as keyed, without the fields in `drop`, with our own in `extra`.
        `behind`: nobody waits for it, so no client's address goes with it."""
        if rule.normalise_encoding and "accept-encoding" not in rule.key.headers:
            encoding = negotiated_encoding(request.fields.get("accept-encoding"))
            drop, extra = drop | {"accept-encoding"}, (*extra, ("Accept-Encoding", encoding))
        call = self._call(request, rule, target, drop=drop, extra=extra, behind=behind)
        return await self._route(rule).service.fetch(call)

    async def connect(self, request: Request, rule: Rule) -> Link | Answer:
        """Pass a websocket upgrade on."""
        return await self._route(rule).service.connect(self._call(request, rule, request.target))

    def _route(self, rule: Rule) -> Route:
        return self._routes[rule.upstream]

    def _call(
        self,
        request: Request,
        rule: Rule,
        target: str,
        *,
        drop: frozenset[str] = frozenset(),
        extra: Pairs = (),
        behind: bool = False,
    ) -> Call:
        route = self._route(rule)
        fields = outgoing(
            replace(request, client="") if behind else request,
            via_name=self._via_name,
            added=route.added,
            forward_client_ip=route.forward_client_ip and not behind,
            drop=drop,
            extra=extra,
        )
        return Call(
            method=request.method,
            target=upstream_target(route.base_path, route.strip_prefix, target),
            fields=fields,
            body=request.body,
            host=request.host if route.preserve_host else None,
        )

    async def close(self) -> None:
        for route in self._routes.values():
            await route.service.close()
