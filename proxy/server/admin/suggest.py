"""The answers that were fetched last, by digests, for `cachegate suggest`."""

from collections.abc import Awaitable, Callable, Sequence

from proxy.insight.samples import Sample
from proxy.message import Reply
from proxy.server.admin.pages import Ask, Page, json_reply
from proxy.server.admin.rights import Level


def suggest_page(samples: Callable[[], Awaitable[Sequence[Sample]]]) -> Page:
    """`GET /suggest`."""

    async def suggest(ask: Ask) -> Reply:
        return json_reply({"samples": [sample.as_json() for sample in await samples()]})

    return Page("GET", "/suggest", Level.TOKEN, suggest)
