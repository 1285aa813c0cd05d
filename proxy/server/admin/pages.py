"""The admin pages as a table: method and path to what answers, each with the right that it asks for."""

import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

import orjson

from proxy.message import Fields, Reply, Request
from proxy.outcome import Outcome, Verdict
from proxy.policy.own_answers import own_answer, phrase
from proxy.reasons import Why
from proxy.server.admin.rights import Grant, Level, Refusal, Rights

_log = logging.getLogger(__name__)
MAX_BODY = 1024 * 1024  # bytes of an admin request's body


class AdminError(Exception):
    """An answer other than the one that was asked for: `{"error": word, "message": …}` and what `more` adds."""

    def __init__(self, status: int, word: str, message: str, more: Mapping[str, object] | None = None) -> None:
        self.status = status
        self.word = word
        self.more = more or {}
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Ask:
    """One request for a page. `name` is what stands for `{…}` in the page's path."""

    request: Request
    grant: Grant
    name: str = ""

    @property
    def query(self) -> dict[str, str]:
        """Its parameters. AdminError for more than any page has, and for one that comes twice: nobody could tell which
        is meant."""
        try:
            pairs = parse_qsl(self.request.query or "", keep_blank_values=True, max_num_fields=100)
        except ValueError:
            raise AdminError(400, "bad-query", "There are too many parameters.") from None
        if (twice := _twice(pairs)) is not None:
            raise AdminError(400, "bad-query", f"{twice[:80]}: given twice.")
        return dict(pairs)

    def check(self, takes: tuple[str, ...]) -> None:
        """AdminError for a parameter that is none of those that a page takes."""
        if unknown := sorted(self.query.keys() - set(takes)):
            known = f"known are {', '.join(takes)}" if takes else "this page takes none"
            raise AdminError(400, "bad-query", f"{unknown[0][:80]}: unknown; {known}.")

    async def json(self) -> object:
        """The body's JSON. AdminError for one that is none, too large, or says one name of an object twice."""
        body = b"" if self.request.body is None else await self.request.body.peek(MAX_BODY)
        if body is None:
            raise AdminError(413, "too-large", f"A body has at most {MAX_BODY} bytes here.")
        try:
            document = orjson.loads(body)
            _check_names(body)
        except orjson.JSONDecodeError as error:
            raise AdminError(400, "bad-json", f"The body is not JSON: {error}.") from None
        except RecursionError:
            raise AdminError(400, "bad-json", "The body is nested too deep.") from None
        return document


def _twice(pairs: Iterable[tuple[str, object]]) -> str | None:
    """The first name that was there before."""
    seen: set[str] = set()
    return next((name for name, _ in pairs if name in seen or seen.add(name)), None)  # type: ignore[func-returns-value]


def _check_names(body: bytes) -> None:
    """AdminError for a name that an object of this JSON says twice, of which orjson takes the last."""

    def pairs(found: list[tuple[str, object]]) -> None:
        if (twice := _twice(found)) is not None:
            raise AdminError(400, "bad-json", f"{twice[:80]}: given twice.")

    json.loads(body.decode(), object_pairs_hook=pairs)


@dataclass(frozen=True, slots=True)
class Page:
    """`path` is under the admin prefix, and may end in `/{…}` for one segment. `takes`: the parameters of its query,
    each once; any other is refused, as it would be without effect. None: nobody reads what whoever asks puts there."""

    method: str
    path: str
    level: Level
    answer: Callable[[Ask], Awaitable[Reply]]
    takes: tuple[str, ...] | None = ()


def json_reply(document: object, status: int = 200, fields: tuple[tuple[str, str], ...] = ()) -> Reply:
    """JSON for the operator alone: never stored, and no browser takes it for anything else."""
    body = orjson.dumps(document, option=orjson.OPT_NON_STR_KEYS)
    head = Fields.of(
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
        *fields,
    )
    return Reply(status, phrase(status), head, body, Outcome(Verdict.BYPASS, Why.NO_RULE))


def error_reply(status: int, word: str, message: str, more: Mapping[str, object] | None = None) -> Reply:
    fields = (("WWW-Authenticate", 'Bearer realm="cachegate"'),) if status == 401 else ()
    return json_reply({"error": word, "message": message, **(more or {})}, status, fields)


class Pages:
    """Answers admin requests. `prefix` as configured ("/cache"), None where no page stands on this port;
    `aliases` are whole paths outside the prefix, for a port of our own: path to the page's path.

    `purge` answers PURGE once it is allowed; it stands on every port, since the URL is the site's.
    """

    def __init__(
        self,
        pages: Iterable[Page],
        rights: Rights,
        *,
        prefix: str | None,
        purge: Callable[[Request], Awaitable[Reply]],
        aliases: Mapping[str, str] | None = None,
        alone: bool = False,
    ) -> None:
        self._exact: dict[str, dict[str, Page]] = {}
        self._below: dict[str, dict[str, Page]] = {}  # pages that end in /{…}, by what stands before it
        for page in pages:
            base, brace, _ = page.path.partition("/{")
            (self._below if brace else self._exact).setdefault(base, {})[page.method] = page
        self._rights = rights
        self._prefix = None if prefix is None else prefix.rstrip("/")
        self._purge = purge
        self._aliases = aliases or {}
        self._alone = alone

    @property
    def table(self) -> list[Page]:
        """All of them."""
        return [page for held in (self._exact, self._below) for methods in held.values() for page in methods.values()]

    def owns(self, request: Request) -> bool:
        """Whether the request is for us: on a port of our own, every one is."""
        if self._alone:
            return True
        if self._prefix is None or request.method == "PURGE":
            return False
        path = request.path
        return path == self._prefix or path.startswith(f"{self._prefix}/")

    async def answer(self, request: Request, peer: str) -> Reply:
        """The page, or why not; who may not see a page is not told whether it exists."""
        methods, name = self._find(request.path)
        page = methods.get("GET" if request.method == "HEAD" else request.method)
        grant = self._rights.page(request, peer, page.level if page else Level.TOKEN)
        if isinstance(grant, Refusal):
            return error_reply(grant.status, grant.word, grant.message)
        if page is None:
            return _no_page(methods)
        return await _answered(page.answer, Ask(request, grant, name), page.takes)

    async def purge(self, request: Request, peer: str, token: str | None) -> Reply:
        """PURGE of the request's own URL; `token` is its Cachegate-Token."""
        grant = self._rights.purge(request, peer, token)
        if isinstance(grant, Refusal):
            fields = (("WWW-Authenticate", 'Bearer realm="cachegate"'),) if grant.status == 401 else ()
            return own_answer(grant.status, Why.FORBIDDEN, grant.message, fields=fields)
        return await _answered(lambda ask: self._purge(ask.request), Ask(request, grant))

    def _find(self, path: str) -> tuple[dict[str, Page], str]:
        """The pages at a path by their methods, and the name at its end."""
        path = self._aliases.get(path, path)
        if self._prefix is None or not path.startswith(self._prefix):
            return {}, ""
        path = path[len(self._prefix) :]
        if path in self._exact:
            return self._exact[path], ""
        base, _, name = path.rpartition("/")
        return (self._below.get(base, {}), name) if name else ({}, "")


async def _answered(answer: Callable[[Ask], Awaitable[Reply]], ask: Ask, takes: tuple[str, ...] | None = None) -> Reply:
    try:
        if takes is not None:
            ask.check(takes)
        return await answer(ask)
    except AdminError as error:
        return error_reply(error.status, error.word, str(error), error.more)
    except Exception:
        _log.exception("the admin page %s failed", ask.request.path)
        return error_reply(500, "internal", "This is our fault; the log says more.")


def _no_page(methods: Mapping[str, Page]) -> Reply:
    if not methods:
        return error_reply(404, "not-found", "There is no such page.")
    allowed = sorted({*methods, *(["HEAD"] if "GET" in methods else [])})
    reply = error_reply(405, "method-not-allowed", f"This page takes {', '.join(allowed)}.")
    reply.fields = reply.fields.plus(("Allow", ", ".join(allowed)))
    return reply
