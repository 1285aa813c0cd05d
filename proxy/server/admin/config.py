"""The settings that hold, and reading them again."""

from collections.abc import Mapping
from typing import Protocol

from proxy.errors import ConfigError
from proxy.message import Reply
from proxy.server.admin.pages import AdminError, Ask, Page, json_reply
from proxy.server.admin.rights import Level


class Configuration(Protocol):
    """The settings of the running gateway."""

    def shown(self) -> Mapping[str, object]:
        """Each setting with the value that holds and where it comes from, and which settings wait for a restart;
        secrets are left out."""
        ...

    async def reload(self) -> Mapping[str, object]:
        """Read everything again and let it hold; what changed, and what only a restart can change. ConfigError with
        every problem, and then the old settings go on to hold."""
        ...


def config_pages(configuration: Configuration) -> tuple[Page, ...]:
    """`GET /config` and `POST /reload`."""

    async def config(ask: Ask) -> Reply:
        return json_reply(configuration.shown())

    async def reload(ask: Ask) -> Reply:
        try:
            return json_reply({"reloaded": True, **await configuration.reload()})
        except ConfigError as error:
            problems = [{"place": problem.place, "message": problem.text} for problem in error.problems]
            text = "The settings are wrong; the old ones go on to hold."
            raise AdminError(422, "bad-configuration", text, {"problems": problems}) from None

    return Page("GET", "/config", Level.TOKEN, config), Page("POST", "/reload", Level.TOKEN, reload)
