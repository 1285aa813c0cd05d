"""From a request and its rule to a call on the right service: fields made anew, path mapped, loop mark set."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from proxy.entry import Pairs
from proxy.errors import CachegateError, Fault, UpstreamError
from proxy.hooks import hook
from proxy.message import Request
from proxy.observe.figures import ServiceFigures, ServiceGlance
from proxy.policy.conditional import for_the_origin
from proxy.policy.forwarding import leaves_base, outgoing, upstream_target
from proxy.policy.vary import negotiates, preferred_coding
from proxy.rules import Rule
from proxy.upstream.admission import TROUBLE
from proxy.upstream.fellows import News
from proxy.upstream.protocol import Answer, Call, Compartment, Connector, Informational, Link, Upstream

R = TypeVar("R")

RETIRING = 0.5  # seconds between two looks at services that are being replaced


class Service(Upstream, Connector, Protocol):
    """An upstream that takes websockets too."""

    @property
    def busy(self) -> bool:
        """Whether any call is under way."""
        ...

    @property
    def spare(self) -> bool:
        """Whether a call that is in no hurry takes nobody's place now."""
        ...

    @property
    def figures(self) -> ServiceFigures:
        """How it stands now."""
        ...

    def glance(self) -> ServiceGlance:
        """How it stands, where nothing may change for being asked about."""
        ...

    def start(self) -> None:
        """Begin what runs beside the calls; needs a running loop."""
        ...

    def learn(self, news: News) -> None:
        """Believe what another worker has found out."""
        ...


class Watch(Protocol):
    """Hears of every call: when it begins, and when it was `answered` or failed, after how many seconds. A head that a
    breaker takes for a failure is one. `left`: who asked has not waited for it. `over`: what was answered has come
    whole or was given up, or was cut. `retried`: what an origin was sent is sent again."""

    def began(self) -> None: ...

    def ended(self, fault: Fault | None, seconds: float) -> None: ...

    def left(self, seconds: float) -> None: ...

    def answered(self, seconds: float) -> None: ...

    def over(self, *, cut: bool) -> None: ...

    def retried(self) -> None: ...


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
            if self._full():
                raise _too_full()
            self._route(rule).service.preflight()
        except UpstreamError as error:
            self._watch.began()
            self._watch.ended(error.fault, 0.0)
            raise

    def glance(self, rule: Rule) -> tuple[ServiceGlance, Fault | None]:
        """How the rule's service stands, and why a call would be refused at once; nothing is counted."""
        now = self.by_name[rule.upstream].service.glance()
        if self._full():
            return now, Fault.OVER_MEMORY
        return now, Fault.BREAKER_OPEN if now.withheld is not None else None

    def target(self, rule: Rule, target: str) -> str:
        """What the rule's service is asked for where we are asked for `target`."""
        route = self.by_name[rule.upstream]
        return upstream_target(route.base_path, route.strip_prefix, target)

    def spare(self, rule: Rule) -> bool:
        """Whether a call for this rule that is in no hurry takes nobody's place now."""
        return self.by_name[rule.upstream].service.spare

    def leaves_base(self, request: Request, rule: Rule) -> bool:
        """Whether the request could get at the origin what lies outside of the part that its service is (`base_path`,
        `strip_prefix`)."""
        route = self.by_name.get(rule.upstream)
        if route is None or (not route.base_path and not route.strip_prefix):
            return False
        return leaves_base(route.base_path, route.strip_prefix, request.target)

    def send(self, request: Request, rule: Rule, target: str | None = None) -> Coroutine[Any, Any, Answer]:
        """Pass a request on as it came, its own conditions and body included; `target`: as it is keyed. A HEAD of what
        has a key asks for the coding that its GET would ask for: both have to tell one length (RFC 9110 8.6, 9.3.2)."""
        alike = target is not None and request.method == "HEAD" and not for_the_origin(request)
        call = self._call(request, rule, target or request.target, extra=_coding(request, rule) if alike else ())
        return self._fetch(rule, call, request.inform)

    def fetch(
        self, request: Request, rule: Rule, target: str, *, drop: frozenset[str], extra: Pairs, behind: bool
    ) -> Coroutine[Any, Any, Answer]:
        """Ask for what the cache wants: `target` as keyed, without the fields in `drop`, with our own in `extra`.
        `behind`: nobody waits for it, so no client's address goes with it."""
        call = self._call(request, rule, target, drop=drop, extra=(*extra, *_coding(request, rule)), behind=behind)
        return self._fetch(rule, call, None if behind else request.inform)

    async def connect(self, request: Request, rule: Rule) -> Link | Answer:
        """Pass a websocket upgrade on."""
        return await self._connect(rule, self._call(request, rule, request.target))

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

    def _route(self, rule: Rule) -> Route:
        """UpstreamError where there is none: within a program (`embed`) nobody need be asked."""
        route = self.by_name.get(rule.upstream)
        if route is None:
            raise UpstreamError(Fault.REFUSED, "no upstream is set")
        return route

    @hook
    def _fetch(self, rule: Rule, call: Call, inform: Informational | None) -> Coroutine[Any, Any, Answer]:
        """One exchange, from its beginning to the head of its answer, attempts that are made again included."""
        service = self._route(rule).service
        return self._told(lambda: service.fetch(call, inform), self._answered)

    @hook
    def _connect(self, rule: Rule, call: Call) -> Coroutine[Any, Any, Link | Answer]:
        """One exchange that may open a websocket, from its beginning to the head of its answer."""
        service = self._route(rule).service
        return self._told(lambda: service.connect(call), self._linked)

    async def _told(self, ask: Callable[[], Awaitable[R]], told: Callable[[R, float], None]) -> R:
        """Ask, and tell what became of it; `told` does so of an answer, and after how many seconds it came."""
        began = self._timer()
        self._watch.began()
        try:
            if self._full():
                raise _too_full()
            answer = await ask()
        except UpstreamError as error:
            self._watch.ended(error.fault, self._timer() - began)
            raise
        except BaseException as error:
            if isinstance(error, CachegateError) or not isinstance(error, Exception):
                self._watch.left(self._timer() - began)
            else:
                self._watch.ended(Fault.RESET, self._timer() - began)
            raise
        told(answer, self._timer() - began)
        return answer

    def _answered(self, answer: Answer, seconds: float) -> None:
        """Whether it was a good one is known at its end."""
        watch = self._watch
        if answer.head.status in TROUBLE:
            watch.ended(Fault.ERROR, seconds)
        else:
            watch.answered(seconds)
            answer.when_ended(lambda failure: watch.over(cut=failure is not None))

    def _linked(self, answer: Link | Answer, seconds: float) -> None:
        """A websocket has no end that would prove anything."""
        if isinstance(answer, Link):
            self._watch.ended(None, seconds)
        else:
            self._answered(answer, seconds)

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


def _too_full() -> UpstreamError:
    return UpstreamError(Fault.OVER_MEMORY, "memory has no room for another answer now", retry_after=1)


def _coding(request: Request, rule: Rule) -> Pairs:
    """The one coding that is asked for what may be kept, where the choice is ours."""
    if not negotiates(rule):
        return ()
    return (("Accept-Encoding", preferred_coding(request.fields.get("accept-encoding"))),)
