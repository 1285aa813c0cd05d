"""From a request and its rule to a call on the right service: fields made anew, path mapped, loop mark set."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from proxy.entry import Pairs
from proxy.errors import Fault, UpstreamError
from proxy.message import Request
from proxy.observe.figures import ServiceFigures
from proxy.policy.conditional import for_the_origin
from proxy.policy.forwarding import leaves_base, outgoing, upstream_target
from proxy.policy.vary import negotiates, preferred_coding
from proxy.rules import Rule
from proxy.upstream.fellows import News
from proxy.upstream.protocol import Answer, Call, Compartment, Connector, Informational, Link, Upstream

RETIRING = 0.5  # seconds between two looks at services that are being replaced


class Service(Upstream, Connector, Protocol):
    """An upstream that takes websockets too."""

    @property
    def busy(self) -> bool:
        """Whether any call is under way."""
        ...

    @property
    def figures(self) -> ServiceFigures:
        """How it stands now."""
        ...

    def start(self) -> None:
        """Begin what runs beside the calls; needs a running loop."""
        ...

    def learn(self, news: News) -> None:
        """Believe what another worker has found out."""
        ...


class Watch(Protocol):
    """Hears of every call: when it begins, and when its head has come or it failed, after how many seconds."""

    def began(self) -> None: ...

    def ended(self, fault: Fault | None, seconds: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Route:
    """One service and what is done to requests on their way to it. Workers mean the same one by the same `identity`."""

    service: Service
    base_path: str = ""
    strip_prefix: str = ""
    added: Pairs = ()
    preserve_host: bool = False
    forward_client_ip: bool = True
    identity: str = ""


class Routes:
    """The services by the names that rules use; "" is the main one. `via_name` marks what passed here; calls are
    withheld while memory is `full`, and stale answers stand in as they do where a breaker is open."""

    def __init__(
        self,
        routes: Mapping[str, Route],
        via_name: str,
        watch: Watch,
        timer: Callable[[], float] = time.perf_counter,
        full: Callable[[], bool] = lambda: False,
    ) -> None:
        self.by_name = routes
        self._via_name = via_name
        self._watch = watch
        self._timer = timer
        self._full = full

    @property
    def figures(self) -> Mapping[str, ServiceFigures]:
        """How each service stands."""
        return {name: route.service.figures for name, route in self.by_name.items()}

    def preflight(self, rule: Rule) -> None:
        """UpstreamError where a call would be refused at once, so that nothing need be prepared for one."""
        try:
            self._refuse_when_full()
            self.by_name[rule.upstream].service.preflight()
        except UpstreamError as error:
            self._watch.began()
            self._watch.ended(error.fault, 0.0)
            raise

    def leaves_base(self, request: Request, rule: Rule) -> bool:
        """Whether the request could get at the origin what lies outside of the part that its service is (`base_path`,
        `strip_prefix`)."""
        route = self.by_name[rule.upstream]
        return leaves_base(route.base_path, route.strip_prefix, request.target)

    async def send(self, request: Request, rule: Rule, target: str | None = None) -> Answer:
        """Pass a request on as it came, its own conditions and body included; `target`: as it is keyed. A HEAD of what
        has a key asks for the coding that its GET would ask for: both have to tell one length (RFC 9110 8.6, 9.3.2)."""
        alike = target is not None and request.method == "HEAD" and not for_the_origin(request)
        call = self._call(request, rule, target or request.target, extra=_coding(request, rule) if alike else ())
        return await self._fetch(rule, call, request.inform)

    async def fetch(
        self, request: Request, rule: Rule, target: str, *, drop: frozenset[str], extra: Pairs, behind: bool
    ) -> Answer:
        """Ask for what the cache wants: `target` as keyed, without the fields in `drop`, with our own in `extra`.
        `behind`: nobody waits for it, so no client's address goes with it."""
        call = self._call(request, rule, target, drop=drop, extra=(*extra, *_coding(request, rule)), behind=behind)
        return await self._fetch(rule, call, None if behind else request.inform)

    async def connect(self, request: Request, rule: Rule) -> Link | Answer:
        """Pass a websocket upgrade on."""
        self._refuse_when_full()
        return await self.by_name[rule.upstream].service.connect(self._call(request, rule, request.target))

    def start(self) -> None:
        for route in self.by_name.values():
            route.service.start()

    def learn(self, identity: str, news: News) -> None:
        """What another worker has found out about a service; one that has gone here, or is another now, hears nothing
        of it."""
        for route in self.by_name.values():
            if route.identity == identity:
                route.service.learn(news)

    async def retire(self, successor: "Routes") -> None:
        """Close what `successor` does not go on with, once nothing is under way there any more."""
        kept = [route.service for route in successor.by_name.values()]
        left = [route.service for route in self.by_name.values() if route.service not in kept]
        while any(service.busy for service in left):  # noqa: ASYNC110
            await asyncio.sleep(RETIRING)
        for service in left:
            await service.close()

    async def close(self) -> None:
        for route in self.by_name.values():
            await route.service.close()

    async def _fetch(self, rule: Rule, call: Call, inform: Informational | None) -> Answer:
        began = self._timer()
        self._watch.began()
        fault: Fault | None = Fault.RESET  # unless we learn better: a client that leaves ends the call
        try:
            self._refuse_when_full()
            answer = await self.by_name[rule.upstream].service.fetch(call, inform)
            fault = None
            return answer
        except UpstreamError as error:
            fault = error.fault
            raise
        finally:
            self._watch.ended(fault, self._timer() - began)

    def _refuse_when_full(self) -> None:
        if self._full():
            raise UpstreamError(Fault.OVER_MEMORY, "memory has no room for another answer now", retry_after=1)

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
        route = self.by_name[rule.upstream]
        fields = outgoing(
            request,
            via_name=self._via_name,
            added=route.added,
            forward_client_ip=route.forward_client_ip and not behind,
            drop=drop,
            extra=extra,
            rule=rule,
        )
        return Call(
            method=request.method,
            target=upstream_target(route.base_path, route.strip_prefix, target),
            fields=fields,
            body=request.body,
            host=request.host if route.preserve_host and rule.key.host else None,
            compartment=Compartment(rule.name, rule.concurrency) if rule.concurrency is not None else None,
        )


def _coding(request: Request, rule: Rule) -> Pairs:
    """The one coding that is asked for what may be kept, where the choice is ours."""
    if not negotiates(rule):
        return ()
    return (("Accept-Encoding", preferred_coding(request.fields.get("accept-encoding"))),)
