"""The list of maintenance windows as a CSV file."""

from collections.abc import Iterable
from typing import Any

from quart import Response

from appliance.alerts.maintenance.store import MAX_LISTED
from appliance.local_time import wall_clock, zone_of
from appliance.web.maintenance.actions import KnownWindow, MaintenanceActions, WindowState
from appliance.web.maintenance.schemas import shown
from appliance.web.page import csv
from appliance.web.platform import Platform

HEADS = (
    "tenant_id", "window_id", "name", "reason", "state", "when", "time_zone", "site_ids", "tags", "device_ids",
    "active_until", "next_start", "created_by",
)  # fmt: skip


async def answer(platform: Platform, windows: MaintenanceActions, states: Iterable[WindowState]) -> Response:
    """Return the download of the windows that the viewer sees, of these states or of all."""
    now = platform.clock.settled()
    page = await windows.page(MAX_LISTED, None, states)
    return csv.answer("maintenance", HEADS, csv.at_once(_cells(one, now) for one in page.windows), now)


def _cells(known: KnownWindow, now: float) -> tuple[Any, ...]:
    out = shown(known, wall_clock(now, zone_of(known.window.time_zone)).date())
    until = None if out.active is None else out.active.end
    following = None if out.next is None else out.next.start
    return (
        out.tenant_id, str(out.window_id), out.name, out.reason, out.state.value, out.when, out.time_zone,
        out.scope.site_ids, out.scope.tags, out.scope.device_ids, until, following, out.created_by,
    )  # fmt: skip
