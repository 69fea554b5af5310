"""The live parts of the quarantine's pages: counts, the number of new messages, the progress of replays.

The list itself does not change: a person may be selecting rows. The page shows how many messages have arrived since,
and loads them on request. The name of a list's live page is its own query, so that it counts what it would show.
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
from appliance.web.live.parts import LivePart
from appliance.web.openapi.describe import parse_query
from appliance.web.page.address import Address
from appliance.web.page.frame import Frame
from appliance.web.page.labels import REASONS
from appliance.web.page.live_read import live_read
from appliance.web.page.renderer import PageRenderer
from appliance.web.quarantine.actions import MAX_NEWER, QuarantineActions
from appliance.web.quarantine.views import PAGE, TIME_RANGES, Causes, PageQuery, causes_of

MAX_JOBS = 20
"""The newest replays, whose progress is sent."""
SHARED_SECONDS = 0.9
"""Seconds for which viewers share one rendering, since each rendering queries Postgres."""
COUNTS_REUSE = 20
"""Counts are reused for this multiple of the time it took to count, so that they use 5 % of a core at most."""
MAX_CACHED = 64
"""Combinations of viewer, tenant and time range whose counts are cached."""

log = structlog.get_logger(__name__)


class ListQuery(PageQuery, frozen=True, kw_only=True):
    """The query that is the name of a list's live page."""

    tenant: str = ""
    after: int | None = None
    """The newest message at the time of the page; None: a later page of the list."""


@dataclass(frozen=True, slots=True)
class News:
    """Messages that have arrived since the page was loaded."""

    number: int
    more: bool
    """Whether there may be more: not all that arrived were examined."""


class LiveQuarantine:
    """The live parts of the list and of the replays."""

    def __init__(self, renderer: PageRenderer, actions: QuarantineActions) -> None:
        self._renderer = renderer
        self._actions = actions
        self._cached_causes: dict[tuple[bool, str | None, str], tuple[float, Causes]] = {}

    async def replays(self, seen_by: Viewer) -> list[LivePart]:
        """Return the progress of the newest replays. Raises NotNow while Postgres does not answer."""
        frame = self._renderer.frame(seen_by, path="/quarantine", live_page=PAGE)
        with live_read():
            parts = await self._jobs(frame)
        # the name of an operator's page does not contain the tenant whose navigation counts it shows
        return parts if seen_by.is_operator else [*parts, *await self._renderer.live_nav_counts(seen_by, None)]

    async def listed(self, seen_by: Viewer, which: str) -> list[LivePart]:
        """Return the parts of the list whose query is ``which``; none for an invalid query. Raises NotNow."""
        try:
            address = Address.of_query("/quarantine", which)
            asked = parse_query(MultiDict(address.pairs), ListQuery)
            selection = self._actions.live_selection(asked, seen_by, asked.tenant or None)
        except (Invalid, ValueError) as error:
            log.debug("live list with an invalid query", error=str(error))
            return []
        frame = self._renderer.frame(seen_by, path="/quarantine", live_page=f"{PAGE}/{which}")
        with live_read():
            parts = [
                LivePart("live-state", self._render("overview/live-state.html", frame)),
                *await self._news(frame, address.having(after=None), selection, asked),
                *await self._counts(frame, address.having(after=None), selection, asked),
                *await self._jobs(frame),
            ]
        return [*parts, *await self._renderer.live_nav_counts(seen_by, asked.tenant or None)]

    async def _counts(self, frame: Frame, address: Address, selection: Selection, asked: ListQuery) -> list[LivePart]:
        counted = await self._causes(frame.viewer, selection.tenant_id, asked.span)
        return [
            LivePart(
                "causes", self._render("quarantine/causes.html", frame, address=address, counted=counted), calm=True
            )
        ]

    async def _causes(self, seen_by: Viewer, tenant_id: str | None, span: str) -> Causes:
        key, began = (seen_by.is_operator, tenant_id, span), trio.current_time()
        known = self._cached_causes.get(key)
        if known is not None and began < known[0]:
            return known[1]
        step, steps, _ = TIME_RANGES[span]
        held, reach = await self._actions.overview(tenant_id, seen_by)
        rows = causes_of(held, await self._actions.trend(tenant_id, step, steps, seen_by))
        if len(self._cached_causes) >= MAX_CACHED:
            self._cached_causes.clear()
        causes = Causes(span, rows, reach)
        self._cached_causes[key] = (trio.current_time() + COUNTS_REUSE * (trio.current_time() - began), causes)
        return causes

    async def _news(self, frame: Frame, address: Address, selection: Selection, asked: ListQuery) -> list[LivePart]:
        if asked.after is None:
            return []
        number, looked_at = await self._actions.newer(
            frame.viewer, selection, status=asked.status.status, after=asked.after
        )
        news = News(number, more=looked_at >= MAX_NEWER)
        return [LivePart("news", self._render("quarantine/news.html", frame, address=address, news=news), calm=True)]

    async def _jobs(self, frame: Frame) -> list[LivePart]:
        jobs = await self._actions.latest_jobs(frame.viewer, MAX_JOBS)
        return [
            LivePart(
                f"replay-{job.replay_id}", self._render("quarantine/progress.html", frame, job=job, titles=titles(job))
            )
            for job in jobs
        ]

    def _render(self, name: str, frame: Frame, **values: object) -> str:
        return self._renderer.templates.render(name, frame=frame, live=True, **values)


def titles(job: Replay) -> Sequence[tuple[str, int]]:
    """Return why messages of a replay stay held: titles with counts, the most frequent first."""
    ordered = sorted(job.refused.items(), key=lambda item: (-item[1], item[0]))
    return [(REASONS[reason].title, count) for reason, count in ordered]


def install(renderer: PageRenderer, actions: QuarantineActions) -> None:
    """Register the live parts of the pages."""
    live = LiveQuarantine(renderer, actions)
    renderer.live_pages.add(PAGE, live.replays, shared_for=SHARED_SECONDS)
    renderer.live_pages.add_each(PAGE, live.listed, shared_for=SHARED_SECONDS)
