"""The pages of the quarantine: messages by cause, the filtered list, one message, and what the broker refused."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any

import structlog
from msgspec import Meta
from quart import Blueprint, Response, request

from appliance.broker.refusals import BrokerRefusal, RefusalCause
from appliance.errors import Invalid
from appliance.ingest.quarantine.store import HeldReach, HeldReason, MessageStatus, QuarantinedMessage
from appliance.local_time import HOUR
from appliance.reading import HELD_REASONS, Reason
from appliance.web.access.auth import ADMINS, READERS, allow, viewer
from appliance.web.openapi.describe import parse_query
from appliance.web.page import charts, csv, cursor
from appliance.web.page.address import Address
from appliance.web.page.labels import REASONS, ReasonLabel
from appliance.web.page.paths import number_of_path
from appliance.web.page.renderer import PageRenderer
from appliance.web.quarantine import export, payload
from appliance.web.quarantine.actions import QuarantineActions, QuarantineFilter, Trend
from appliance.web.quarantine.labels import BROKER_REFUSALS, status_label
from appliance.web.quarantine.schemas import MessageId, MessageStatusFilter

PAGE = "quarantine"
PAGE_ROWS = 50
TIME_RANGES: Mapping[str, tuple[int, int, str]] = {
    "1h": (120, 30, "last hour"),
    "24h": (HOUR, 24, "last 24 hours"),
    "7d": (6 * HOUR, 28, "last 7 days"),
}
"""The time ranges of the counts by cause: a step of the trend in seconds, the number of steps, and the label."""
DONE = {"dismissed": "Dismissed. The messages can still be viewed until they expire."}

log = structlog.get_logger(__name__)


class PageQuery(QuarantineFilter, frozen=True, kw_only=True):
    """The query of the page."""

    status: MessageStatusFilter = MessageStatusFilter.HELD
    span: Annotated[str, Meta(pattern="^(1h|24h|7d)$")] = "24h"
    cursor: Annotated[str, Meta(max_length=100)] = ""


@dataclass(frozen=True, slots=True)
class CauseRow:
    """One reason: the exact number of refused messages with their trend, and the rows that are held."""

    reason: Reason
    label: ReasonLabel
    replayable: bool
    refused: int
    columns: list[charts.Column]
    trend: str
    """The trend in words."""
    held: int
    oldest: float | None


@dataclass(frozen=True, slots=True)
class Causes:
    """All causes over a time range, and how far back held messages reach."""

    span: str
    rows: Sequence[CauseRow]
    reach: HeldReach

    @property
    def label(self) -> str:
        """The label of the time range."""
        return TIME_RANGES[self.span][2]

    @property
    def evicted(self) -> str | None:
        """How many held messages were evicted, in words; None if none was."""
        return eviction_label(self.reach)


@dataclass(frozen=True, slots=True)
class MessageRow:
    """A message of the list."""

    event: QuarantinedMessage
    label: ReasonLabel
    status: str
    preview: str
    received_at: float


@dataclass(frozen=True, slots=True)
class RefusalGroup:
    """Refusals of the broker for one cause, the latest first."""

    cause: RefusalCause
    label: ReasonLabel
    times: int
    refusals: list[BrokerRefusal]


def blueprint(renderer: PageRenderer, actions: QuarantineActions, *, own_broker: bool) -> Blueprint:
    """Return the routes of the pages; those of decisions are in :mod:`appliance.web.quarantine.decisions`."""
    routes = Blueprint(PAGE, __name__)
    _add_list(routes, renderer, actions)
    _add_message(routes, renderer, actions)
    _add_broker_refusals(routes, renderer, actions, own_broker=own_broker)
    return routes


def _add_list(routes: Blueprint, renderer: PageRenderer, actions: QuarantineActions) -> None:
    @routes.get("/quarantine")
    @allow(READERS)
    async def page() -> Response:
        try:
            asked, fault = parse_query(request.args, PageQuery), None
        except Invalid as error:  # the page shows the error beside the list, which stays usable
            asked, fault = PageQuery(), error
        return await _list(renderer, actions, asked, fault)


def _add_message(routes: Blueprint, renderer: PageRenderer, actions: QuarantineActions) -> None:
    @routes.get("/quarantine/<int:message_id>")
    @allow(READERS)
    async def message(message_id: int) -> Response:
        event = await actions.message(number_of_path(message_id, "quarantined message"))
        return await renderer.page(
            "quarantine/message.html",
            event=event,
            label=REASONS[event.reason],
            state=status_label(event),
            replayable=event.reason in HELD_REASONS,
            dump=payload.dump(event.payload, event.reason, event.detail),
            may_decide=viewer().role in ADMINS and event.status is MessageStatus.HELD,
            back=Address("/quarantine"),
        )

    @routes.get("/quarantine/<int:message_id>/payload")
    @allow(READERS)
    async def download(message_id: int) -> Response:
        event = await actions.message(number_of_path(message_id, "quarantined message"))
        name = {"Content-Disposition": f'attachment; filename="message-{event.event_id}.bin"'}
        data = payload.masked(event.payload)
        return Response(data, headers=name, content_type="application/octet-stream")


def _add_broker_refusals(
    routes: Blueprint, renderer: PageRenderer, actions: QuarantineActions, *, own_broker: bool
) -> None:
    @routes.get("/quarantine/door")
    @allow(READERS)
    async def broker_refusals() -> Response:
        groups = list(_grouped(actions.broker_refusals(request.args.get("device") or None)))
        return await renderer.page("quarantine/broker-refusals.html", groups=groups, own_broker=own_broker)


async def _list(
    renderer: PageRenderer, actions: QuarantineActions, asked: PageQuery, fault: Invalid | None
) -> Response:
    selection, fault = _selected(actions, asked, fault)
    if fault is None and csv.asked_for():
        return export.answer(actions.export(selection, asked.status.status), renderer.platform.clock.now())
    before = cursor.read(asked.cursor, MessageId)
    newest = await actions.newest(selection.tenant_id)
    events, behind = await actions.messages(selection, status=asked.status.status, before=before, limit=PAGE_ROWS)
    held, reach = await actions.overview(selection.tenant_id)
    step, steps, _ = TIME_RANGES[asked.span]
    trend = await actions.trend(selection.tenant_id, step, steps)
    return await renderer.page(
        "quarantine/list.html",
        status=HTTPStatus.OK if fault is None else HTTPStatus.BAD_REQUEST,
        live_page=live_page(
            Address.of_request(), None if asked.cursor else max([newest, *(event.event_id for event in events[:1])])
        ),
        live=False,
        news=None,
        done=DONE,
        asked=asked,
        fault=fault,
        rows=[_row(event) for event in events],
        next=cursor.write(behind),
        counted=Causes(asked.span, causes_of(held, trend), reach),
        reasons=[(reason.value, REASONS[reason].title) for reason in Reason],
        offers=await actions.offers() if not asked.cursor else [],
        jobs=await actions.jobs(3),
        may_decide=viewer().role in ADMINS,
    )


def live_page(address: Address, newest: int | None) -> str:
    """Return the name of the page's live parts: its own query, and the newest message at the time of the page.

    ``newest`` None: a later page of the list, which does not count new messages because it would not show them.
    """
    return f"{PAGE}/{address.having(after=newest).query}"


def _selected(actions: QuarantineActions, asked: PageQuery, fault: Invalid | None) -> tuple[Any, Invalid | None]:
    try:
        return actions.selection(asked), fault
    except Invalid as error:
        return actions.selection(QuarantineFilter()), error


def _row(event: QuarantinedMessage) -> MessageRow:
    preview, received_at = payload.preview(event.payload), event.ingested_at.timestamp()
    return MessageRow(event, REASONS[event.reason], status_label(event), preview, received_at)


def causes_of(held: Sequence[HeldReason], trend: Trend) -> list[CauseRow]:
    """Return a row for every reason that occurs, the most refused first."""
    rows = {cause.reason: cause for cause in held}
    found = []
    for reason in sorted(rows.keys() | trend.keys()):
        cause = rows.get(reason)
        series = trend.get(reason, [0] * 2)
        total, highest = sum(series), max(series)
        found.append(
            CauseRow(
                reason=reason,
                label=REASONS[reason],
                replayable=reason in HELD_REASONS,
                refused=total,
                columns=charts.columns([float(value) for value in series], max(highest, 1)),
                trend=f"{total:,} message{'s' if total != 1 else ''}, at most {highest} in one step",
                held=0 if cause is None else cause.held,
                oldest=None if cause is None or cause.oldest is None else cause.oldest.timestamp(),
            )
        )
    return sorted(found, key=lambda row: (-row.refused, -row.held, row.reason))


def eviction_label(reach: HeldReach) -> str | None:
    """Return how many held messages were evicted, in words; None if none was."""
    if reach.complete_since is None or not reach.evicted:
        return None
    messages = "message was" if reach.evicted == 1 else "messages were"
    return f"{reach.evicted:,} {messages} evicted for lack of space or by age."


def _grouped(refusals: Sequence[BrokerRefusal]) -> Iterator[RefusalGroup]:
    """Yield groups of refusals by cause, the most frequent first."""
    by_cause: dict[RefusalCause, list[BrokerRefusal]] = {}
    for refused in refusals:
        by_cause.setdefault(refused.cause, []).append(refused)
    groups = [
        RefusalGroup(cause, BROKER_REFUSALS[cause], sum(one.times for one in some), some)
        for cause, some in by_cause.items()
    ]
    yield from sorted(groups, key=lambda group: (-group.times, group.cause))
