"""The doors of a gateway: who takes requests at the port of the traffic, and at that of the operators."""

from collections.abc import Callable, Sequence
from functools import partial

from proxy import building
from proxy.message import Request
from proxy.observe.counters import Counters
from proxy.observe.logs import LineWriter
from proxy.place import Common
from proxy.server.access_log import AccessLog, Redaction
from proxy.server.admin.explain import Question
from proxy.server.admin.pages import AdminError, Page, Pages
from proxy.server.admin.port import admin_front, aliases
from proxy.server.admin.purge import PurgeVerb
from proxy.server.admin.rights import Rights
from proxy.server.front import Doorway, Front
from proxy.server.http1 import check_head
from proxy.settings.model import Settings
from proxy.story import Story
from proxy.tracing import Parts


class Doors:
    """`front`, and `lane` beside it, take the traffic; `admin` is the operators' own, None where they have none.
    `access` is where access log lines go; `clock` is wall time in seconds."""

    def __init__(
        self,
        settings: Settings,
        common: Common,
        pages: Sequence[Page],
        verb: PurgeVerb,
        story: Story,
        counters: Counters,
        access: LineWriter | None,
        clock: Callable[[], float],
        parts: Parts,
    ) -> None:
        admin, rights = settings.admin, Rights(common.token.value)
        shared = admin.port is None
        self._clock = clock
        self._limits = building.door_limits(settings, 0)
        self._reading = building.reading(settings, rights.trusts)
        doorway = Doorway(common.name, self._reading, building.uploads(settings), settings.timeouts.send_idle)
        form = settings.log.format or "json"
        redact = Redaction(settings.log.redact_query, common.redaction)
        books = parts.books(counters, AccessLog(access, form, redact) if access and settings.log.access else None)
        prefix = admin.prefix if shared else None
        here = self._here = Pages(pages if shared else [], rights, prefix=prefix, purge=verb)
        self.front = Front(parts.answerer(story.pipeline), here, doorway, counters, books, clock=clock)
        self.lane = building.fast_lane(settings, story.at_once, doorway, here, books, clock, parts)
        self.admin: Front | None = None
        if not shared:
            alone = Pages(pages, rights, prefix=admin.prefix, purge=verb, aliases=aliases(admin.prefix), alone=True)
            self.admin = admin_front(alone, doorway)

    def pressed(self, pressed: bool) -> None:
        """Memory is short, or no more."""
        if self.lane is not None:
            self.lane.rest(pressed)

    def read(self, question: Question) -> Request:
        """The request that is asked about, as it would come in by the port of the traffic. AdminError where the
        gateway would answer by itself, with the `status` of what the door refuses."""
        longest = self._limits.target
        if (length := len(question.raw_path)) > longest:
            text = f"url: wanted at most {longest} characters of path and query (limits.request_line)"
            raise AdminError(400, "bad-url", f"{text}, found {length}; the door answers 414.", {"status": 414})
        request = question.read(self._reading, partial(check_head, limits=self._limits), self._clock())
        if request.method == "PURGE" or self._here.owns(request):
            raise AdminError(400, "not-proxied", "The gateway answers this itself: it is no request for a site.")
        return request
