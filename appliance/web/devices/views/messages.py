"""The messages of one device, accepted and refused: as rows, and the page that lists all of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC
from functools import partial
from typing import Any

import msgspec
from quart import Blueprint, Response, request

from appliance.devices import fleet
from appliance.ingest.telemetry import messages
from appliance.ingest.telemetry.messages import MessagePage, MessagePosition, RefusedMessage, StoredReading
from appliance.web.access.auth import READERS, allow, viewer
from appliance.web.access.transactions import tenant_of
from appliance.web.page import cursor
from appliance.web.page.labels import ReasonLabel, reason_label
from appliance.web.page.paths import device_of_path, of_tenant, to_device
from appliance.web.page.renderer import PageRenderer
from appliance.web.quarantine.payload import masked

PAGE_ROWS = 50
PAYLOAD_SHOWN = 160
"""Characters of a payload in a row."""


@dataclass(frozen=True, slots=True)
class MessageRow:
    """A message as the table shows it. Times are seconds since 1970."""

    received_at: float
    kind: str
    text: str
    delay: float | None
    """Seconds between the device's time and the receipt; None if the device gave no time."""
    notes: Sequence[str]
    refused: ReasonLabel | None
    detail: str = ""
    event_id: int | None = None
    """The id in quarantine of a refused message."""


def blueprint(renderer: PageRenderer) -> Blueprint:
    """Return the route of the page."""
    routes = Blueprint("device_messages", __name__)
    access = renderer.platform.access

    @routes.get("/devices/<device_id>/messages")
    @allow(READERS)
    async def all_messages(device_id: str) -> Response:
        tenant_id, identity, who = tenant_of(), device_of_path(device_id), viewer()
        after = cursor.read(request.args.get("cursor"), MessagePosition)
        async with access.reading() as connection:
            member = await fleet.get(connection, tenant_id, identity)
            page = await messages.page(connection, tenant_id, identity, limit=PAGE_ROWS, after=after)
        return await renderer.page(
            "devices/messages.html",
            member=member,
            messages=message_rows(page),
            next=cursor.write(page.next),
            to=partial(to_device, who, tenant_id, identity),
            back=of_tenant("/devices", who, tenant_id),
        )

    return routes


def message_rows(page: MessagePage) -> list[MessageRow]:
    """Return the rows of a page of messages, in its order."""
    return [_stored(one) if isinstance(one, StoredReading) else _refused(one) for one in page.messages]


def _stored(reading: StoredReading) -> MessageRow:
    notes = []
    if reading.ts_adjusted:
        notes.append("impossible time")
    if reading.late:
        notes.append("late")
    delay = None if reading.ts == reading.received_at or reading.ts_adjusted else reading.delay
    return MessageRow(reading.received_at.timestamp(), reading.kind.value, _rebuilt(reading), delay, notes, None)


def _rebuilt(reading: StoredReading) -> str:
    """Return the message rebuilt from its reading: the bytes of accepted messages are not kept."""
    parts: dict[str, Any] = dict(reading.metrics)
    if reading.seq is not None:
        parts["seq"] = reading.seq
    if reading.lat is not None and reading.lng is not None:
        parts |= {"lat": reading.lat, "lng": reading.lng}
    return msgspec.json.encode(parts).decode()


def _refused(message: RefusedMessage) -> MessageRow:
    text = masked(message.payload_start).decode("utf-8", "replace")
    shown = "".join(one if one.isprintable() else "\N{MIDDLE DOT}" for one in text[:PAYLOAD_SHOWN])
    return MessageRow(
        received_at=message.at.astimezone(UTC).timestamp(),
        kind=message.kind or "",
        text=shown,
        delay=None,
        notes=[],
        refused=reason_label(message.reason),
        detail=message.detail,
        event_id=message.event_id,
    )
