"""What keeps settings that are right in themselves from serving here: files, tokens, stores and our own address.

`check`, the start and a reload ask the same, so that none of them passes what another refuses.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from urllib.parse import urlsplit

from proxy import building
from proxy.errors import ConfigError, Problem
from proxy.server.admin.token import unfit
from proxy.settings.checks import Finding
from proxy.settings.model import Settings
from proxy.settings.problems import spell
from proxy.settings.sections import UpstreamSettings
from proxy.store.loading import VERBS
from proxy.upstream.tls import tls_context

Address = tuple[str, int]

_WILDCARDS = frozenset({"0.0.0.0", "::"})  # noqa: S104
_LOCAL = _WILDCARDS | {"127.0.0.1", "localhost", "::1"}


def obstacles(settings: Settings) -> Iterator[Finding]:
    """Everything that would make a start with these settings fail, by path. It reads files and imports the operator's
    store, but makes and opens nothing."""
    yield from _failing(lambda: building.server_tls(settings))
    for place, upstream in _upstreams(settings):
        if any(url.startswith("https:") for url in upstream.url):
            yield from _upstream_tls(place, upstream)
    yield from _loops(settings, _own(settings))
    if settings.admin.token is None and (wrong := unfit(settings.admin.token_file)) is not None:
        yield ("admin", "token_file"), wrong
    if settings.observe.tracing.endpoint is not None:
        yield from _failing(building.otlp)
    if settings.file.on and settings.file.store is not None and (wrong := _own_store(settings)) is not None:
        yield ("file", "store"), wrong


def refuse_own_address(settings: Settings, own: Iterable[Address]) -> None:
    """ConfigError when an upstream is one of the addresses that the gateway has taken: each request would come back
    for ever."""
    found = tuple(_loops(settings, own))
    if found:
        raise ConfigError(tuple(Problem(spell(steps), text) for steps, text in found))


def _failing(make: Callable[[], object]) -> Iterator[Finding]:
    try:
        make()
    except ConfigError as error:
        for problem in error.problems:
            yield tuple(problem.place.split(".")), problem.text


def _upstreams(settings: Settings) -> Iterator[tuple[str, UpstreamSettings]]:
    yield "upstream", settings.upstream
    for name, upstream in settings.upstreams.items():
        yield f"upstreams.{name}", upstream


def _upstream_tls(place: str, upstream: UpstreamSettings) -> Iterator[Finding]:
    """Of the authorities and of our own certificate, each for itself."""
    yield from _failing(lambda: tls_context(upstream.ca_file, place=place))
    if upstream.client_cert is not None:
        yield from _failing(
            lambda: tls_context(client_cert=upstream.client_cert, client_key=upstream.client_key, place=place)
        )


def _own(settings: Settings) -> Iterator[Address]:
    """The addresses that will be taken, as far as the settings tell: a port of 0 is nobody's yet."""
    for host, port in ((settings.listen.host, settings.listen.port), (settings.admin.host, settings.admin.port)):
        if port:
            yield host, port


def _loops(settings: Settings, own: Iterable[Address]) -> Iterator[Finding]:
    taken = frozenset(own)
    for place, upstream in _upstreams(settings):
        for url in upstream.url:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
            if any(port == own_port and _same(host, own_host) for own_host, own_port in taken):
                yield (*place.split("."), "url"), f"{url} is the gateway's own address; name the API behind it"


def _same(one: str, other: str) -> bool:
    return one == other.lower() or (one in _LOCAL and other.lower() in _LOCAL)


def _own_store(settings: Settings) -> str | None:
    """What is wrong with the class that `file.store` names, as `load_store` would find it. It is not made: another
    one may be at work on the same data."""
    module_name, colon, class_name = (settings.file.store or "").partition(":")
    if not (module_name and colon and class_name):
        return f"{settings.file.store!r} names no class; write it as package.module:Class"
    try:
        made_by = getattr(import_module(module_name), class_name, None)
    except Exception as error:  # what a foreign module does when it is imported is anybody's guess
        return f"{module_name!r} cannot be imported: {error}"
    if not isinstance(made_by, type):
        return f"{module_name!r} has no class {class_name!r}"
    missing = [verb for verb in VERBS if not callable(getattr(made_by, verb, None))]
    if missing:
        return f"{settings.file.store!r} is no store: it has no {', '.join(missing)}; wanted are {', '.join(VERBS)}"
    try:
        inspect.signature(made_by).bind(**settings.file.options)
    except TypeError as error:
        return f"{settings.file.store!r} cannot be made with file.options: {error}"
    except ValueError:  # it is made by code that tells no signature
        pass
    return None
