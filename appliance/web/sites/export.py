"""The list of sites as a CSV file."""

from dataclasses import astuple
from typing import Any

from quart import Response

from appliance.devices.sites import TenantSite
from appliance.web.sites.actions import SiteCollection

HEADS = ("tenant_id", "site_id", "name", "time_zone", "lat", "lng", "zone", "devices")


def answer(sites: SiteCollection) -> Response:
    """Return the download of the sites that the viewer sees, or of those of ``?tenant=``."""
    return sites.csv("sites", HEADS, _cells)


def _cells(kept: TenantSite) -> tuple[Any, ...]:
    return (kept.tenant_id, *astuple(kept.site), kept.zone, kept.devices)
