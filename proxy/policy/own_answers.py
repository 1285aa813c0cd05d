"""The answers we make ourselves: a short text that names its reason (RFC 9110 15)."""

from http import HTTPStatus

from proxy.entry import Pairs
from proxy.message import Fields, Reply
from proxy.outcome import Outcome, Verdict
from proxy.reasons import Why

# Where Python's list has none, or, before 3.13, an older one than RFC 9110 15.5.
_PHRASES = {
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
    499: "Client Closed Request",
}


def phrase(status: int) -> str:
    """The reason phrase of a status code, "" when it has none."""
    known = _PHRASES.get(status)
    if known is not None:
        return known
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def own_answer(
    status: int, why: Why, text: str, *, verdict: Verdict = Verdict.BYPASS, fields: Pairs = (), close: bool = False
) -> Reply:
    """An error in plain text. X-Cache, Cache-Status, Via and X-Request-Id are added where every reply gets them.

    It is never stored by others: some of these statuses may be kept by heuristics (RFC 9110 15.1).
    """
    body = f"{status} {phrase(status)} ({why.word})\n{text}\n".encode("utf-8", "replace")
    head = Fields.of(
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
        *fields,
    )
    return Reply(status, phrase(status), head, body, Outcome(verdict, why), close=close)
