"""What changes by itself on the pages of the Quarantine: counts, how many messages are new, the progress of replays.

The list itself stays as it is: somebody may be picking rows. It says how many messages have come in since, and shows
them when it is told to. The name of a list's live page is its own query, so that what is counted is what is shown.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import structlog
import trio
from werkzeug.datastructures import MultiDict

from appliance.errors import Invalid
from appliance.ingest.quarantine.replays import Replay
from appliance.ingest.quarantine.store import Selection
from appliance.web.access.auth import Viewer
from appliance.web.live.parts import LivePart, NotNow
from appliance.web.openapi.describe import parse_query
from appliance.web.page.address import Address
from appliance.web.page.failures import POSTGRES_AWAY
from appliance.web.page.frame import Frame
from appliance.web.page.labels import REASONS
from appliance.web.page.renderer import PageRenderer
from appliance.web.quarantine.actions import NEWER, QuarantineActions
from appliance.web.quarantine.views import PAGE, SPANS, Causes, PageQuery, causes_of

JOBS = 20
"""Newest replays whose progress is sent."""
SECONDS = 0.9
"""Of one rendering: each asks Postgres."""
PATIENCE = 1.0
"""Seconds that an update waits for Postgres: it must not look like a lost connection."""
SHARE = 20
"""So many times as long as it took to count, the counts are good enough: it takes a twentieth of a core at most."""
MAX_COUNTED = 64
"""Views whose counts are kept."""

log = structlog.get_logger(__name__)


class ListQuery(PageQuery, frozen=True, kw_only=True):
    """What the name of a list's live page says."""

    tenant: str = ""
    after: int | None = None
    """The newest message when the page was made; None: a later page of the list."""


@dataclass(frozen=True, slots=True)
class News:
    """Messages that have come in since the page was loaded."""

    number: int
    more: bool
    """Whether there may be more: not all that came in were looked at."""


class LiveQuarantine:
    """The live parts of the list and of the replays."""

    def __init__(self, renderer: PageRenderer, actions: QuarantineActions) -> None:
        self._renderer = renderer
        self._actions = actions
        self._counted: dict[tuple[bool, str | None, str], tuple[float, Causes]] = {}

    async def replays(self, seen_by: Viewer) -> list[LivePart]:
        """The progress of the newest replays."""
        frame = self._renderer.frame(seen_by, path="/quarantine", live_page=PAGE)
        try:
            with trio.fail_after(PATIENCE):
                parts = await self._jobs(frame)
                # whose numbers an operator's page shows, its name does not tell
                return parts if seen_by.is_operator else [*parts, *await self._renderer.live_nav_counts(seen_by, None)]
        except POSTGRES_AWAY as error:
            raise NotNow(str(error)) from error

    async def listed(self, seen_by: Viewer, which: str) -> list[LivePart]:
        """The same, with counts and news, of the list whose query is ``which``; nothing of one that cannot be."""
        try:
            address = Address.of_query("/quarantine", which)
            asked = parse_query(MultiDict(address.pairs), ListQuery)
            selection = self._actions.live_selection(asked, seen_by, asked.tenant or None)
        except (Invalid, ValueError) as error:
            log.debug("live list that cannot be", error=str(error))
            return []
        frame = self._renderer.frame(seen_by, path="/quarantine", live_page=f"{PAGE}/{which}")
        try:
            with trio.fail_after(PATIENCE):
                return [
                    LivePart("live-state", self._render("overview/live-state.html", frame)),
                    *await self._news(frame, address.having(after=None), selection, asked),
                    *await self._counts(frame, address.having(after=None), selection, asked),
                    *await self._jobs(frame),
                    *await self._renderer.live_nav_counts(seen_by, asked.tenant or None),
                ]
        except POSTGRES_AWAY as error:
            raise NotNow(str(error)) from error

    async def _counts(self, frame: Frame, address: Address, selection: Selection, asked: ListQuery) -> list[LivePart]:
        counted = await self._causes(frame.viewer, selection.tenant_id, asked.span)
        return [
            LivePart(
                "causes", self._render("quarantine/causes.html", frame, address=address, counted=counted), calm=True
            )
        ]

    async def _causes(self, seen_by: Viewer, tenant_id: str | None, span: str) -> Causes:
        key, began = (seen_by.is_operator, tenant_id, span), trio.current_time()
        known = self._counted.get(key)
        if known is not None and began < known[0]:
            return known[1]
        step, steps, _ = SPANS[span]
        held, reach = await self._actions.overview(tenant_id, seen_by)
        rows = causes_of(held, await self._actions.trend(tenant_id, step, steps, seen_by))
        if len(self._counted) >= MAX_COUNTED:
            self._counted.clear()
        causes = Causes(span, rows, reach)
        self._counted[key] = (trio.current_time() + SHARE * (trio.current_time() - began), causes)
        return causes

    async def _news(self, frame: Frame, address: Address, selection: Selection, asked: ListQuery) -> list[LivePart]:
        if asked.after is None:
            return []
        number, looked_at = await self._actions.newer(
            frame.viewer, selection, status=asked.status.status, after=asked.after
        )
        news = News(number, more=looked_at >= NEWER)
        return [LivePart("news", self._render("quarantine/news.html", frame, address=address, news=news), calm=True)]

    async def _jobs(self, frame: Frame) -> list[LivePart]:
        jobs = await self._actions.latest_jobs(frame.viewer, JOBS)
        return [
            LivePart(
                f"replay-{job.replay_id}", self._render("quarantine/progress.html", frame, job=job, titles=titles(job))
            )
            for job in jobs
        ]

    def _render(self, name: str, frame: Frame, **values: object) -> str:
        return self._renderer.templates.render(name, frame=frame, live=True, **values)


def titles(job: Replay) -> Sequence[tuple[str, int]]:
    """Why messages of a replay stay held, in words, the most frequent first."""
    ordered = sorted(job.refused.items(), key=lambda item: (-item[1], item[0]))
    return [(REASONS[reason].title, count) for reason, count in ordered]


def go_live(renderer: PageRenderer, actions: QuarantineActions) -> None:
    """Make the pages live."""
    live = LiveQuarantine(renderer, actions)
    renderer.live_pages.add(PAGE, live.replays, shared_for=SECONDS)
    renderer.live_pages.add_each(PAGE, live.listed, shared_for=SECONDS)
