"""Jobs that fetch answers before clients ask for them (contract, "warm")."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from proxy.errors import BadRequest
from proxy.invalidation.records import PathPattern
from proxy.message import Fields, Reply, Request
from proxy.server.admin.asked_url import check_warmed
from proxy.server.admin.explain import asked
from proxy.server.admin.pages import AdminError, Ask, Page, json_reply
from proxy.server.admin.rights import Level
from proxy.server.requests import TOKEN_FIELD, target_and_host
from proxy.settings.problems import found
from proxy.warming import Bounds
from proxy.warming_jobs import RUNNING, Jobs, Progress, Wanted

_WAYS = ("urls", "requests", "top", "pattern")

# What asks for a part of an answer, or for none, is the connection's own, or is said in another way.
_OURS = frozenset(
    {"connection", "content-length", "transfer-encoding", "te", "trailer", "upgrade", "expect", "keep-alive",
     "range", "if-range", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "cache-control",
     "pragma", "max-forwards", TOKEN_FIELD}
)  # fmt: skip


class Runner(Protocol):
    """Who runs the jobs."""

    @property
    def jobs(self) -> Jobs: ...

    @property
    def bounds(self) -> Bounds: ...

    async def begin(self, wanted: Sequence[Wanted]) -> Progress | None: ...

    async def cancel(self, id: str) -> bool: ...


Hottest = Callable[[int, str | None], Awaitable[Sequence[Wanted]]]


def warm_pages(runner: Runner, hottest: Hottest) -> tuple[Page, ...]:
    """`POST /warm`, `GET /warm`, `GET /warm/{id}` and `DELETE /warm/{id}`. `hottest` gives at most so many of what is
    asked for most, of all that fit a pattern where there is one."""

    async def begin(ask: Ask) -> Reply:
        document = await ask.json()
        kind, value = _way(document)
        most = runner.bounds.most
        match kind:
            case "top":
                wanted: Sequence[Wanted] = await hottest(_top(value, most), None)
            case "pattern":
                wanted = await hottest(most, _pattern(value))
            case _:
                wanted = _list(kind, value, most, ask.request)
        job = await runner.begin(wanted)
        if job is None:
            raise AdminError(503, "busy", f"{RUNNING} jobs are under way; ask again when one of them has ended.")
        return json_reply(job.to_json(), 202)

    async def all_of_them(ask: Ask) -> Reply:
        return json_reply({"jobs": [job.to_json() for job in await runner.jobs.all()]})

    async def one(ask: Ask) -> Reply:
        return json_reply((await _found(runner, ask.name)).to_json())

    async def cancel(ask: Ask) -> Reply:
        await _found(runner, ask.name)
        await runner.cancel(ask.name)
        return json_reply((await _found(runner, ask.name)).to_json())

    return (
        Page("POST", "/warm", Level.TOKEN, begin),
        Page("GET", "/warm", Level.TOKEN, all_of_them),
        Page("GET", "/warm/{id}", Level.TOKEN, one),
        Page("DELETE", "/warm/{id}", Level.TOKEN, cancel),
    )


async def _found(runner: Runner, id: str) -> Progress:
    job = await runner.jobs.find(id)
    if job is None:
        raise AdminError(404, "no-such-job", "There is no job of this id; they are kept for a while only.")
    return job


# -- what is wanted ----------------------------------------------------------------------------------------------------


def _bad(text: str) -> AdminError:
    return AdminError(400, "bad-warm", text)


def _way(document: object) -> tuple[str, Any]:
    """In which one way the document says what is wanted, and what it says."""
    ways = f"one of {', '.join(_WAYS)}"
    if not isinstance(document, dict):
        raise _bad(f"A JSON object with {ways} is wanted.")
    if unknown := sorted(document.keys() - set(_WAYS)):
        raise _bad(f"{unknown[0]}: not known here; {ways} is wanted.")
    if len(document) != 1:
        raise _bad(f"Exactly {ways} is wanted, {len(document)} were given.")
    return next(iter(document.items()))


def _top(value: object, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise _bad(f"top: a number from 1 to {most} (warm.max_urls) is wanted, found {found(value)}.")
    return value


def _pattern(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise _bad(f"pattern: a glob on the path is wanted, found {found(value)}.")
    try:
        PathPattern.parse(value)
    except ValueError as error:
        raise _bad(f"pattern: {error}.") from None
    return value


def _list(kind: str, value: object, most: int, page: Request) -> Sequence[Wanted]:
    if not isinstance(value, list) or not value:
        raise _bad(f"{kind}: a list of at least one is wanted, found {found(value)}.")
    if len(value) > most:
        raise AdminError(
            413, "too-many", f"{kind}: at most {most} in one job (warm.max_urls), {len(value)} were given."
        )
    wanted = []
    for number, each in enumerate(value):
        try:
            wanted.append(_wanted({"url": each} if kind == "urls" else each, page))
        except (AdminError, BadRequest, ValueError) as error:
            raise _bad(f"{kind}[{number}]: {error}") from None
    return wanted


def _wanted(said: object, page: Request) -> Wanted:
    """As the door would read it. AdminError, BadRequest or ValueError for what nobody can ask for."""
    if not isinstance(said, dict) or "url" not in said or said.keys() - {"url", "headers"}:
        raise ValueError('{"url": …, "headers": {…}} is wanted.')
    question = asked(said, page)
    fields = Fields(question.raw_headers)
    if ours := sorted({name for name, _ in fields} & _OURS):
        raise ValueError(f"headers: {ours[0]} cannot be said here.")
    scheme = "https" if question.secure else "http"
    target, host = target_and_host(question, fields, scheme)
    check_warmed(target)
    return Wanted(scheme, host, target, tuple(sorted(fields.without({"host"}))))
