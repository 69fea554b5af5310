"""The query of the list of devices, as the page and the API read it from an address."""

from typing import Annotated

import msgspec

from appliance.devices.device import DeviceStatus
from appliance.devices.fleet import DeviceFilter, Sort
from appliance.devices.live.presence import Presence
from appliance.devices.site_ids import mentioned_site
from appliance.web.devices.labels import NONE

MAX_PAGE = 1000
"""Devices on one page at most."""


class DeviceQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which devices, in which order. A device matches a parameter with several values if it matches one of them."""

    q: Annotated[str, msgspec.Meta(max_length=200, description="Words in id, name, place or tags.")] = ""
    presence: tuple[Presence, ...] = ()
    status: tuple[DeviceStatus, ...] = ()
    site: Annotated[
        tuple[str, ...],
        msgspec.Meta(description="Ids of sites, or names as devices give them; `.none` for devices without one."),
    ] = ()
    subscription: Annotated[tuple[str, ...], msgspec.Meta(description="Ids; `.none` for devices without a seat.")] = ()
    tag: tuple[str, ...] = ()
    sort: Annotated[
        str,
        msgspec.Meta(
            pattern=f"^-?({'|'.join(Sort)})$", description=f"One of {', '.join(Sort)}; with `-` before it from the end."
        ),
    ] = Sort.DEVICE
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_PAGE)] = 50
    cursor: Annotated[str, msgspec.Meta(max_length=1000)] = ""

    def order(self) -> tuple[Sort, bool]:
        """Return the column to sort by, and whether to sort in descending order."""
        return Sort(self.sort.removeprefix("-")), self.sort.startswith("-")


def filter_of(asked: DeviceQuery, tenant_id: str | None) -> DeviceFilter:
    """Return the filter that a query asks for. Raises Invalid for a site that cannot be."""
    return DeviceFilter(
        tenant_id,
        asked.q,
        asked.presence,
        asked.status,
        tuple(site and mentioned_site(site).site_id for site in _or_none(asked.site)),
        _or_none(asked.subscription),
        asked.tag,
    )


def _or_none(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple("" if value == NONE else value for value in values)
