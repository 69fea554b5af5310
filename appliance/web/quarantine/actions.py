"""What people do with messages that were not accepted, for pages and API alike: who may, whose, and in which words.

A selection that names messages may come from an operator who looks at all tenants: it is carried out tenant by tenant,
so that each finds its own decision in its audit. One that goes by reason, device or time is always of one tenant, or
of the messages that belong to none.
"""

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Annotated

import msgspec
import trio
from msgspec import Meta

from appliance.broker.refusals import BrokerRefusal
from appliance.devices.topics import valid_id
from appliance.errors import Invalid
from appliance.ingest.quarantine import replays, store
from appliance.ingest.quarantine.replay_preview import Offer, ReplayPreview
from appliance.ingest.quarantine.replays import Replay
from appliance.ingest.quarantine.store import (
    MAX_IDS,
    OPERATOR,
    HeldCause,
    HeldReach,
    MessageStatus,
    QuarantinedMessage,
    RefusalCause,
    Selection,
)
from appliance.reading import Reason
from appliance.web.access.auth import Viewer, viewer
from appliance.web.access.transactions import tenant_of, tenants_shown
from appliance.web.platform import Platform
from appliance.web.quarantine.port import QuarantinePort

SHOWN_BYTES = 160
"""Bytes of a payload that a list carries."""
PREVIEW_SECONDS = 2000
"""Messages that a forecast looks at while somebody waits for it."""
OFFER_TENANTS = 20
"""Tenants whose offers an operator of all tenants sees."""
OFFER_SECONDS = 1.0
OFFER_SHARE = 20
"""So many times as long as it took to find them, offers are good enough: it takes a twentieth of a core at most."""
NEWER = 1000
"""New messages that a page counts while it stays as it is."""
EXPORT_PAGE = 200
TIME_RANGES = {"m": 60, "h": 3600, "d": 86_400}
TIME = "RFC 3339, a date, or a span that ends now such as 90m, 24h, 7d. Without an offset: your own time zone."

Moment = Annotated[str | None, Meta(description=TIME)]


class QuarantineFilter(msgspec.Struct, frozen=True, kw_only=True):
    """What narrows the list of messages."""

    reason: Annotated[tuple[Reason, ...], Meta(description="Any of these.")] = ()
    device: str | None = None
    site: Annotated[str | None, Meta(description="The site that the message names.")] = None
    since: Moment = None
    until: Moment = None
    unknown_tenant: Annotated[bool, Meta(description="For operators: only messages of no known tenant.")] = False


@dataclass(frozen=True, slots=True)
class Counted:
    """Refused messages by reason over the last ``steps`` spans of ``step``; exact, kept as rows or not."""

    since: datetime
    step: timedelta
    by_reason: dict[Reason, list[int]]


@dataclass(frozen=True, slots=True)
class TenantOffer:
    """Held messages of a tenant that could be replayed now."""

    tenant_id: str
    offer: Offer


class QuarantineActions:
    """The current viewer's quarantine."""

    def __init__(self, platform: Platform, port: QuarantinePort) -> None:
        self._port = port
        self._platform = platform
        self._access = platform.access
        self._offers: dict[str, tuple[float, Sequence[Offer]]] = {}

    # Looking

    def selection(self, asked: QuarantineFilter) -> Selection:
        """What a filter means for the current viewer. Raises Invalid, which names the parameter."""
        return _selection(asked, self._shown(unknown=asked.unknown_tenant), self._access.now(), viewer().zone)

    def live_selection(self, asked: QuarantineFilter, seen_by: Viewer, tenant: str | None) -> Selection:
        """The same for a live page of ``seen_by``; operators ask for a tenant, or for all of them.

        Raises Invalid, which names the parameter.
        """
        if seen_by.is_operator and tenant and not valid_id(tenant):
            raise Invalid("There is no such tenant.", "tenant")
        shown = seen_by.tenant_id or tenant or None
        unknown = asked.unknown_tenant and seen_by.is_operator
        return _selection(asked, OPERATOR if unknown else shown, self._access.now(), seen_by.zone)

    async def newest(self, tenant_id: str | None) -> int:
        """The newest message there is; 0 while there is none."""
        async with self._access.reading() as connection:
            return await store.newest(connection, tenant_id)

    async def newer(
        self, seen_by: Viewer, selection: Selection, *, status: MessageStatus | None, after: int
    ) -> tuple[int, int]:
        """How many that match have come in after one, for a live page, and how many were looked at: NEWER at most."""
        async with self._access.reading(seen_by) as connection:
            return await store.count_newer(connection, selection, status=status, after=after, most=NEWER)

    async def messages(
        self, selection: Selection, *, status: MessageStatus | None, before: int | None, limit: int
    ) -> tuple[list[QuarantinedMessage], int | None]:
        """A page of messages, newest first, and where the next one begins."""
        async with self._access.reading() as connection:
            events = await store.list_events(
                connection, selection, status=status, before=before, limit=limit + 1, payload_bytes=SHOWN_BYTES
            )
        return events[:limit], events[limit - 1].event_id if len(events) > limit else None

    def export(self, selection: Selection, status: MessageStatus | None) -> AsyncIterator[list[QuarantinedMessage]]:
        """All that match with their payloads, page by page; read while it is sent, after the request."""
        return self._export(viewer(), selection, status)

    async def _export(
        self, seen_by: Viewer, selection: Selection, status: MessageStatus | None
    ) -> AsyncIterator[list[QuarantinedMessage]]:
        """Each page is a transaction of its own."""
        before = None
        while True:
            async with self._access.reading(seen_by) as connection:
                events = await store.list_events(connection, selection, status=status, before=before, limit=EXPORT_PAGE)
            if events:
                yield events
            if len(events) < EXPORT_PAGE:
                return
            before = events[-1].event_id

    async def message(self, event_id: int) -> QuarantinedMessage:
        """One message. Raises NotFound."""
        async with self._access.reading() as connection:
            return await store.get_event(connection, event_id, viewer().tenant_id)

    async def causes(self, selection: Selection) -> tuple[list[RefusalCause], HeldReach]:
        """What is held, by reason, and how far back holding reaches."""
        async with self._access.reading() as connection:
            counted = await store.counts(connection, Selection(tenant_id=selection.tenant_id))
            return counted, await store.reach(connection, selection.tenant_id)

    async def overview(self, tenant_id: str | None, seen_by: Viewer | None = None) -> tuple[list[HeldCause], HeldReach]:
        """What is held, by reason, without the exact counts; and how far back holding reaches."""
        async with self._access.reading(seen_by) as connection:
            held = await store.held_by_reason(connection, tenant_id)
            return held, store.reach_of(await store.totals(connection, tenant_id), held)

    async def trend(self, tenant_id: str | None, step: timedelta, steps: int, seen_by: Viewer | None = None) -> Counted:
        """The exact counts of the last ``steps`` spans, the one that runs included."""
        seconds = int(step.total_seconds())
        end = (int(self._access.now().timestamp()) // seconds + 1) * seconds
        since = datetime.fromtimestamp(end, self._access.now().tzinfo) - step * steps
        async with self._access.reading(seen_by) as connection:
            counted = await store.refused_by_step(connection, tenant_id, since=since, step=step, steps=steps)
        return Counted(since, step, counted)

    async def offers(self) -> list[TenantOffer]:
        """Held messages that could be replayed by now; as many tenants' as a moment allows."""
        shown = tenants_shown()
        if shown is not None:
            tenants = [shown]
        else:
            async with self._access.reading() as connection:
                tenants = await store.tenants_with_held(connection, OFFER_TENANTS)
        found: list[TenantOffer] = []
        with trio.move_on_after(OFFER_SECONDS):
            for tenant_id in tenants:
                found += [TenantOffer(tenant_id, offer) for offer in await self._offers_of(tenant_id)]
        return found

    async def _offers_of(self, tenant_id: str) -> Sequence[Offer]:
        """To look at every held message of a tenant may be dear; what was found then holds for a moment."""
        began = trio.current_time()
        known = self._offers.get(tenant_id)
        if known is not None and began < known[0]:
            return known[1]
        offers = await self._port.previewer.offers(tenant_id)
        good_until = trio.current_time() + OFFER_SHARE * (trio.current_time() - began)
        if len(self._offers) >= 2 * OFFER_TENANTS:
            self._offers.clear()
        self._offers[tenant_id] = (good_until, offers)
        return offers

    def door(self, device_id: str | None = None) -> Sequence[BrokerRefusal]:
        """What the broker refused lately, newest first."""
        return self._port.broker_refusals(tenants_shown(), device_id)

    # Deciding

    async def chosen(self, asked: QuarantineFilter, ids: Sequence[int]) -> list[Selection]:
        """What a person has chosen: the messages ``ids``, or all that match. One selection a tenant.

        Raises Invalid when it is nobody's in particular, NotFound when a message is not there.
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

    async def forecast(self, selection: Selection) -> ReplayPreview:
        """What would become of the oldest of them. Raises NotFound, Conflict for named messages."""
        return await self._port.previewer.preview(selection, at_most=PREVIEW_SECONDS)

    async def measure(self, selection: Selection) -> int:
        """How many held messages match. Raises NotFound, Conflict for named ones."""
        async with self._access.reading() as connection:
            await store.check_ids(connection, selection)
            total, _ = await replays.measure(connection, selection)
        return total

    async def replay(self, selections: Sequence[Selection]) -> list[Replay]:
        """Have them replayed: a job a tenant. Raises NotFound, Conflict."""
        context = self._access.context()
        async with self._access.changing() as connection:
            return [await replays.request_replay(connection, selection, context) for selection in selections]

    async def dismiss(self, selections: Sequence[Selection]) -> int:
        """Decide that they are not wanted; how many they were. Raises NotFound, Conflict."""
        context = self._access.context()
        async with self._access.changing() as connection:
            return sum([await store.dismiss(connection, selection, context) for selection in selections])

    # Jobs

    async def jobs(self, limit: int) -> list[Replay]:
        """Replays, newest first."""
        async with self._access.reading() as connection:
            return await replays.list_replays(connection, tenants_shown(), limit=limit)

    async def latest_jobs(self, seen_by: Viewer, limit: int) -> list[Replay]:
        """The newest replays of all that ``seen_by`` may see, for a live page."""
        async with self._access.reading(seen_by) as connection:
            return await replays.list_replays(connection, seen_by.tenant_id, limit=limit)

    async def job(self, replay_id: int) -> Replay:
        """One replay. Raises NotFound."""
        async with self._access.reading() as connection:
            return await replays.get_replay(connection, replay_id, viewer().tenant_id)

    async def cancel(self, replay_id: int) -> Replay:
        """Stop one where it stands. Raises NotFound, Conflict."""
        context = self._access.context()
        async with self._access.changing() as connection:
            return await replays.cancel(connection, replay_id, context, viewer().tenant_id)

    def _shown(self, *, unknown: bool) -> str | None:
        return OPERATOR if self._is_unknown(unknown=unknown) else tenants_shown()

    def _is_unknown(self, *, unknown: bool) -> bool:
        """Messages of no known tenant are the operator's; a customer has none."""
        return unknown and viewer().is_operator


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
    """A time as people write it, see TIME. Raises Invalid that names ``field``."""
    if text is None:
        return None
    try:
        if (span := re.fullmatch(r"(\d{1,6})([mhd])", text)) is not None:
            return now - timedelta(seconds=int(span[1]) * TIME_RANGES[span[2]])
        found = datetime.fromisoformat(text)
        return found.replace(tzinfo=zone).astimezone(now.tzinfo) if found.tzinfo is None else found
    except (ValueError, OverflowError):
        raise Invalid("This must be a time such as 2026-01-31, 2026-01-31T12:00+01:00, 90m or 7d.", field) from None
