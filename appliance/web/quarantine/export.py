"""The list of quarantined messages as a CSV file: every column, the payload without its token."""

from collections.abc import AsyncIterator
from typing import Any

from quart import Response

from appliance.ingest.quarantine.store import QuarantinedMessage
from appliance.web.page import csv
from appliance.web.quarantine.payload import masked

HEADS = (
    *("id", "received_at", "ts", "tenant_id", "device_id", "site_id", "kind", "reason", "detail", "topic"),
    *("status", "decided_at", "decided_by", "payload_bytes", "payload"),
)


def answer(pages: AsyncIterator[list[QuarantinedMessage]], now: float) -> Response:
    """Return the download; ``pages`` is read while it is sent."""
    return csv.answer("quarantine", HEADS, _rows(pages), now)


async def _rows(pages: AsyncIterator[list[QuarantinedMessage]]) -> AsyncIterator[list[tuple[Any, ...]]]:
    async for events in pages:
        yield [_row(event) for event in events]


def _row(event: QuarantinedMessage) -> tuple[Any, ...]:
    shown = masked(event.payload)
    try:
        text = shown.decode()
    except UnicodeDecodeError:
        text = f"0x{shown.hex()}"
    return (
        event.event_id,
        event.ingested_at,
        event.event_ts,
        event.tenant_id,
        event.device_id,
        event.site_id,
        event.kind,
        event.reason.value,
        event.detail,
        event.topic,
        event.status.value,
        event.decided_at,
        event.decided_by,
        event.payload_bytes,
        text,
    )
