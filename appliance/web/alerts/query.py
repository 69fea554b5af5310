"""The query of the list of alerts, as the page and the API read it from an address."""

from datetime import tzinfo
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta

from appliance.alerts.alert import AlertType, Status
from appliance.alerts.store import AlertFilter, AlertSort, AlertTab
from appliance.devices.site_ids import mentioned_site
from appliance.devices.topics import valid_id
from appliance.errors import Invalid
from appliance.severity import Severity
from appliance.web.page.time_range import moment_of

MAX_PAGE = 1000
"""Alerts on one page at most."""
NO_SITE = ".none"
"""The query value that selects alerts without a site. No id begins with a dot."""
TIME = "A day, RFC 3339, or seconds since 1970. Without an offset: your time zone."

AlertId = Annotated[int, Meta(ge=1, le=2**63 - 1)]


class AlertQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which alerts, in which order. An alert matches a parameter with several values if it matches one of them."""

    tab: Annotated[AlertTab, Meta(description="As on the page: `open` leaves silenced and inhibited alerts out.")] = (
        AlertTab.ALL
    )
    status: Annotated[tuple[Status, ...], Meta(description="Plain statuses, silenced or inhibited or not.")] = ()
    severity: tuple[Severity, ...] = ()
    alert_type: tuple[AlertType, ...] = ()
    device_id: str | None = None
    site_id: Annotated[
        tuple[str, ...],
        Meta(description="Ids of sites, or names as devices give them; `.none` for alerts without one."),
    ] = ()
    rule_id: UUID | None = None
    inhibited_by: Annotated[AlertId | None, Meta(description="The alert that stands for them.")] = None
    since: Annotated[str | None, Meta(description=f"Written at this time or later. {TIME}")] = None
    until: Annotated[str | None, Meta(description=f"Written before this time. {TIME}")] = None
    q: Annotated[str, Meta(max_length=200, description="Words in summary, device, place, site or rule.")] = ""
    sort: AlertSort = AlertSort.NEWEST
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE)] = 50
    cursor: Annotated[str, Meta(max_length=1000)] = ""


def filter_of(asked: AlertQuery, tenant_id: str | None, zone: tzinfo | None) -> AlertFilter:
    """Return the filter that a query asks for; ``zone`` is the viewer's. Raises Invalid, naming the parameter."""
    if asked.device_id is not None and not valid_id(asked.device_id):
        raise Invalid("An id has 1 to 64 of A-Z a-z 0-9 . _ - and does not start with a dot.", "device_id")
    since = None if asked.since is None else moment_of(asked.since, zone, "since")
    until = None if asked.until is None else moment_of(asked.until, zone, "until", ends=True)
    if since is not None and until is not None and since >= until:
        raise Invalid("`since` must be before `until`.", "since")
    return AlertFilter(
        tenant_id,
        asked.tab,
        asked.status,
        asked.severity,
        asked.alert_type,
        asked.device_id,
        tuple(map(_site, asked.site_id)),
        asked.rule_id,
        asked.inhibited_by,
        since,
        until,
        asked.q,
    )


def _site(text: str) -> str:
    if "\0" in text:
        raise Invalid("This holds characters that cannot be shown.", "site_id")
    return "" if text == NO_SITE else mentioned_site(text).site_id
