"""The part of the preview for rules about silence: no reading opens them, so the gaps between messages are looked at.

Silence counts only while an appliance listened, and anew after each time in which none did: what the appliance itself
missed is not held against a device. A device that sent nothing in these days is left out: since when it is silent is
not known here.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from appliance.alerts.rules.findings import MAX_READINGS, STATEMENTS, Covered, Findings, Opening, PreviewedRule
from appliance.db.trio_psycopg import Connection


class Stretch(NamedTuple):
    """A time, in seconds since 1970 UTC."""

    first: float
    last: float


async def find(
    connection: Connection[Any],
    tenant_id: str,
    rule: PreviewedRule,
    devices: Sequence[Covered],
    found: Findings,
    first: datetime,
    last: datetime,
) -> None:
    """Add what the rule would have opened for the devices, one after the other."""
    seconds = getattr(rule.parameters, "seconds", None)
    cursor = await connection.execute(STATEMENTS["select_listening"], {"first": first})
    listened = [Stretch(*row) for row in await cursor.fetchall()]
    of = {"tenant": tenant_id, "metric": rule.parameters.metric, "first": first, "last": last}
    for device in devices:
        silence = device.offline_after if seconds is None else float(seconds)
        limits = {"silence": timedelta(seconds=silence), "limit": MAX_READINGS - found.readings}
        cursor = await connection.execute(
            STATEMENTS["read_silences"], of | limits | {"device": device.device_id}, prepare=False
        )
        row = await cursor.fetchone()
        assert row is not None, "an aggregate always has a row"  # noqa: S101 - narrows the type
        messages, newest, befores, afters = row
        found.readings += messages
        if messages:
            gaps = zip(befores, afters, strict=True)
            for opening in openings(device.device_id, gaps, newest, silence, listened, last.timestamp()):
                found.add(opening)
        found.stopped = found.due_stop()
        if found.stopped is not None:
            return
        found.checked += 1


def openings(
    device_id: str,
    gaps: Iterator[tuple[float, float]],
    newest: float,
    silence: float,
    listened: Sequence[Stretch],
    now: float,
) -> Iterator[Opening]:
    """Yield what the gaps between messages, and the time since the newest one, would have opened."""
    for before, after in gaps:
        opened_at = _opens(before, after, silence, listened)
        if opened_at is not None:
            yield Opening(device_id, opened_at, after, None, None)
    opened_at = _opens(newest, now, silence, listened)
    if opened_at is not None:
        yield Opening(device_id, opened_at, None, None, None)


def _opens(before: float, after: float, silence: float, listened: Sequence[Stretch]) -> float | None:
    """Return when the silence between two moments had lasted, all of it listened to; None if it never had."""
    for stretch in listened:
        opens = max(before, stretch.first) + silence
        if opens <= min(after, stretch.last):
            return opens
    return None
