"""What people do with quarantined messages, from a page or through the API alike: list, replay and dismiss them.

A selection that names messages may come from an operator who sees all tenants: it is carried out tenant by tenant, so
that each tenant finds the decision in its own audit. A selection by reason, device or time always belongs to one
tenant, or to the messages of no known tenant.
"""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Annotated

import msgspec
import trio
from msgspec import Meta

from appliance import local_time
from appliance.broker.refusals import BrokerRefusal
from appliance.devices.topics import valid_id
from appliance.errors import Invalid
from appliance.ingest.quarantine import replays, store
from appliance.ingest.quarantine.replay_preview import Offer, ReplayPreview
from appliance.ingest.quarantine.replays import Replay
from appliance.ingest.quarantine.store import (
    MAX_IDS,
    OPERATOR,
    HeldReach,
    HeldReason,
    MessageStatus,
    QuarantinedMessage,
    ReasonTotals,
    Selection,
)
from appliance.reading import Reason
from appliance.web.access.auth import Viewer, viewer
from appliance.web.access.transactions import tenant_of, tenants_shown
from appliance.web.platform import Platform
from appliance.web.quarantine.port import QuarantinePort

LIST_PAYLOAD_BYTES = 160
"""Bytes of each payload in a list."""
PREVIEW_MESSAGES = 2000
"""Messages that a preview examines while a person waits for it."""
MAX_OFFER_TENANTS = 20
"""Tenants whose offers are shown to an operator of all tenants."""
OFFERS_TIMEOUT = 1.0
"""Seconds for which a page waits for offers; it shows those found until then."""
OFFERS_REUSE = 20
"""Offers are reused for this multiple of the time it took to find them, so that they use 5 % of a core at most."""
MAX_NEWER = 1000
"""New messages that an open page counts at most."""
EXPORT_PAGE_ROWS = 200
UNIT_SECONDS = {"m": 60, "h": 3600}
TIME = "RFC 3339, a date, or a time range that ends now, such as 90m, 24h, 7d. Without an offset: your time zone."

Moment = Annotated[str | None, Meta(description=TIME)]


class QuarantineFilter(msgspec.Struct, frozen=True, kw_only=True):
    """What narrows the list of messages."""

    reason: Annotated[tuple[Reason, ...], Meta(description="Any of these.")] = ()
    device: str | None = None
    site: Annotated[str | None, Meta(description="The site that the message names.")] = None
    since: Moment = None
    until: Moment = None
    unknown_tenant: Annotated[bool, Meta(description="For operators: only messages of no known tenant.")] = False


Trend = Mapping[Reason, Sequence[int]]
"""The exact number of refused messages by reason, one for each step."""


@dataclass(frozen=True, slots=True)
class TenantOffer:
    """Held messages of a tenant that could be replayed now."""

    tenant_id: str
    offer: Offer


class QuarantineActions:
    """The quarantine as the current viewer may see and change it."""

    def __init__(self, platform: Platform, port: QuarantinePort) -> None:
        self._port = port
        self._platform = platform
        self._access = platform.access
        self._offers: dict[str, tuple[float, Sequence[Offer]]] = {}

    def selection(self, asked: QuarantineFilter) -> Selection:
        """Return the selection of a filter for the current viewer. Raises Invalid, naming the parameter."""
        return _selection(asked, self._shown(unknown=asked.unknown_tenant), self._access.now(), viewer().zone)

    def live_selection(self, asked: QuarantineFilter, seen_by: Viewer, tenant: str | None) -> Selection:
        """Return the selection of a live page of ``seen_by``; operators choose a tenant, or None for all.

        Raises Invalid, naming the parameter.
        """
        if seen_by.is_operator and tenant and not valid_id(tenant):
            raise Invalid("There is no such tenant.", "tenant")
        shown = seen_by.tenant_id or tenant or None
        unknown = asked.unknown_tenant and seen_by.is_operator
        return _selection(asked, OPERATOR if unknown else shown, self._access.now(), seen_by.zone)

    async def newest(self, tenant_id: str | None) -> int:
        """Return the id of the newest message, or 0 without any."""
        async with self._access.reading() as connection:
            return await store.newest(connection, tenant_id)

    async def newer(
        self, seen_by: Viewer, selection: Selection, *, status: MessageStatus | None, after: int
    ) -> tuple[int, int]:
        """Return the number of matching messages after one, and of examined ones (MAX_NEWER at most)."""
        async with self._access.reading(seen_by) as connection:
            return await store.count_newer(connection, selection, status=status, after=after, most=MAX_NEWER)

    async def messages(
        self, selection: Selection, *, status: MessageStatus | None, before: int | None, limit: int
    ) -> tuple[list[QuarantinedMessage], int | None]:
        """Return a page of messages, newest first, and the position of the next page."""
        async with self._access.reading() as connection:
            events = await store.list_events(
                connection, selection, status=status, before=before, limit=limit + 1, payload_bytes=LIST_PAYLOAD_BYTES
            )
        return events[:limit], events[limit - 1].event_id if len(events) > limit else None

    def export(self, selection: Selection, status: MessageStatus | None) -> AsyncIterator[list[QuarantinedMessage]]:
        """Return all matching messages with their payloads, page by page; read while the response is sent."""
        return self._export(viewer(), selection, status)

    async def _export(
        self, seen_by: Viewer, selection: Selection, status: MessageStatus | None
    ) -> AsyncIterator[list[QuarantinedMessage]]:
        """Yield pages, each read in a transaction of its own."""
        before = None
        while True:
            async with self._access.reading(seen_by) as connection:
                events = await store.list_events(
                    connection, selection, status=status, before=before, limit=EXPORT_PAGE_ROWS
                )
            if events:
                yield events
            if len(events) < EXPORT_PAGE_ROWS:
                return
            before = events[-1].event_id

    async def message(self, event_id: int) -> QuarantinedMessage:
        """Return one message. Raises NotFound."""
        async with self._access.reading() as connection:
            return await store.get_event(connection, event_id, viewer().tenant_id)

    async def causes(self, selection: Selection) -> tuple[list[ReasonTotals], HeldReach]:
        """Return totals by reason, and how far back held messages reach."""
        async with self._access.reading() as connection:
            counted = await store.counts(connection, Selection(tenant_id=selection.tenant_id))
            return counted, await store.reach(connection, selection.tenant_id)

    async def overview(
        self, tenant_id: str | None, seen_by: Viewer | None = None
    ) -> tuple[list[HeldReason], HeldReach]:
        """Return held messages by reason, without exact counts, and how far back they reach."""
        async with self._access.reading(seen_by) as connection:
            held = await store.held_by_reason(connection, tenant_id)
            return held, store.reach_of(await store.totals(connection, tenant_id), held)

    async def trend(self, tenant_id: str | None, step: int, steps: int, seen_by: Viewer | None = None) -> Trend:
        """Return the exact counts of the last ``steps`` steps by the viewer's wall clock, the present one included."""
        zone = (seen_by or viewer()).zone
        edges = local_time.newest_edges(self._access.now().timestamp(), step, steps, zone)
        async with self._access.reading(seen_by) as connection:
            return await store.refused_by_step(connection, tenant_id, [_utc(edge) for edge in edges])

    async def offers(self) -> list[TenantOffer]:
        """Return held messages that could be replayed by now, of as many tenants as OFFERS_TIMEOUT allows."""
        shown = tenants_shown()
        if shown is not None:
            tenants = [shown]
        else:
            async with self._access.reading() as connection:
                tenants = await store.tenants_with_held(connection, MAX_OFFER_TENANTS)
        found: list[TenantOffer] = []
        with trio.move_on_after(OFFERS_TIMEOUT):
            for tenant_id in tenants:
                found += [TenantOffer(tenant_id, offer) for offer in await self._offers_of(tenant_id)]
        return found

    async def _offers_of(self, tenant_id: str) -> Sequence[Offer]:
        """Return the offers of a tenant. To examine all its held messages may be expensive, so offers are reused."""
        began = trio.current_time()
        known = self._offers.get(tenant_id)
        if known is not None and began < known[0]:
            return known[1]
        offers = await self._port.previewer.offers(tenant_id)
        good_until = trio.current_time() + OFFERS_REUSE * (trio.current_time() - began)
        if len(self._offers) >= 2 * MAX_OFFER_TENANTS:
            self._offers.clear()
        self._offers[tenant_id] = (good_until, offers)
        return offers

    def broker_refusals(self, device_id: str | None = None) -> Sequence[BrokerRefusal]:
        """Return what the broker refused lately, newest first."""
        return self._port.broker_refusals(tenants_shown(), device_id)

    async def chosen(self, asked: QuarantineFilter, ids: Sequence[int]) -> list[Selection]:
        """Return what a person has chosen, the messages ``ids`` or all that match, as one selection for each tenant.

        Raises Invalid if the tenant is not given, NotFound if a message does not exist.
        """
        if len(ids) > MAX_IDS:
            raise Invalid(f"At most {MAX_IDS} messages can be named one by one.", "id")
        if not ids:
            owner = OPERATOR if self._is_unknown(unknown=asked.unknown_tenant) else tenant_of()
            return [_selection(asked, owner, self._access.now(), viewer().zone)]
        shown = self._shown(unknown=asked.unknown_tenant)
        if shown is not None:
            return [Selection(tenant_id=shown, ids=tuple(ids))]
        async with self._access.reading() as connection:
            return await store.by_owner(connection, ids)

    async def preview(self, selection: Selection) -> ReplayPreview:
        """Preview the replay of the oldest messages of a selection. Raises NotFound, Conflict for named messages."""
        return await self._port.previewer.preview(selection, at_most=PREVIEW_MESSAGES)

    async def measure(self, selection: Selection) -> int:
        """Return the number of held messages that match. Raises NotFound, Conflict for named messages."""
        async with self._access.reading() as connection:
            await store.check_ids(connection, selection)
            total, _ = await replays.measure(connection, selection)
        return total

    async def replay(self, selections: Sequence[Selection]) -> list[Replay]:
        """Request a replay job for each selection. Raises NotFound, Conflict."""
        context = self._access.context()
        async with self._access.changing() as connection:
            return [await replays.request_replay(connection, selection, context) for selection in selections]

    async def dismiss(self, selections: Sequence[Selection]) -> int:
        """Dismiss held messages; return their number. Raises NotFound, Conflict."""
        context = self._access.context()
        async with self._access.changing() as connection:
            return sum([await store.dismiss(connection, selection, context) for selection in selections])

    async def jobs(self, limit: int) -> list[Replay]:
        """Return up to ``limit`` replays, newest first."""
        async with self._access.reading() as connection:
            return await replays.list_replays(connection, tenants_shown(), limit=limit)

    async def latest_jobs(self, seen_by: Viewer, limit: int) -> list[Replay]:
        """Return the newest replays that ``seen_by`` may see, for a live page."""
        async with self._access.reading(seen_by) as connection:
            return await replays.list_replays(connection, seen_by.tenant_id, limit=limit)

    async def job(self, replay_id: int) -> Replay:
        """Return one replay. Raises NotFound."""
        async with self._access.reading() as connection:
            return await replays.get_replay(connection, replay_id, viewer().tenant_id)

    async def cancel(self, replay_id: int) -> Replay:
        """Cancel a replay; what is stored stays stored. Raises NotFound, Conflict."""
        context = self._access.context()
        async with self._access.changing() as connection:
            return await replays.cancel(connection, replay_id, context, viewer().tenant_id)

    def _shown(self, *, unknown: bool) -> str | None:
        return OPERATOR if self._is_unknown(unknown=unknown) else tenants_shown()

    def _is_unknown(self, *, unknown: bool) -> bool:
        """Return whether messages of no known tenant are asked for. Raises Invalid for others than operators.

        To ignore it would show, replay or dismiss other messages than were asked for.
        """
        if unknown and not viewer().is_operator:
            raise Invalid("Only operators see messages of no known tenant.", "unknown_tenant")
        return unknown


def _selection(asked: QuarantineFilter, tenant_id: str | None, now: datetime, zone: tzinfo | None) -> Selection:
    for name, value in (("device", asked.device), ("site", asked.site)):
        if value is not None and not valid_id(value):
            raise Invalid("An id has 1 to 64 of A-Z a-z 0-9 . _ - and does not start with a dot.", name)
    return Selection(
        tenant_id=tenant_id,
        device_id=asked.device,
        site_id=asked.site,
        reasons=asked.reason,
        since=moment(asked.since, "since", now, zone),
        until=moment(asked.until, "until", now, zone),
    )


def moment(text: str | None, field: str, now: datetime, zone: tzinfo | None) -> datetime | None:
    """Return a time as people write it, see TIME. Raises Invalid, naming ``field``."""
    if text is None:
        return None
    try:
        if (span := re.fullmatch(r"(\d{1,6})([mhd])", text)) is not None:
            return _before(now, int(span[1]), span[2], zone)
        found = datetime.fromisoformat(text)
        return _utc(local_time.instant(found, zone)) if found.tzinfo is None else found
    except (ValueError, OverflowError):
        raise Invalid("This must be a time such as 2026-01-31, 2026-01-31T12:00+01:00, 90m or 7d.", field) from None


def _before(now: datetime, count: int, unit: str, zone: tzinfo | None) -> datetime:
    """Return the time so many minutes, hours or days of the calendar before ``now``."""
    if unit == "d":
        return _utc(local_time.days_later(now.timestamp(), -count, zone))
    return now - timedelta(seconds=count * UNIT_SECONDS[unit])


def _utc(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)
