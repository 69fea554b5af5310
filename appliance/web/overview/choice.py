"""What an Overview shows: tenant, site and time range, as its address and the name of its live page say."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from appliance.devices.topics import valid_id
from appliance.errors import Invalid
from appliance.web.devices.labels import NONE

PAGE = "overview"
"""The name of the live page; with a choice it is ``overview/TENANT/RANGE/SITE``."""


class OverviewRange(StrEnum):
    """A time range that ends now."""

    HOUR = "1h"
    DAY = "24h"
    WEEK = "7d"


@dataclass(frozen=True, slots=True)
class Scale:
    """How a range is counted: in ``steps`` of ``step`` seconds; ``joined`` steps make a column."""

    title: str
    description: str
    """As in ``last hour``."""
    step: int
    steps: int
    joined: int
    labels: int
    """Intervals between the labels of its axis."""
    good_for: float
    """Seconds for which numbers may be reused: those of a long range cost more and change less."""


SCALES: Mapping[OverviewRange, Scale] = {
    OverviewRange.HOUR: Scale("1 h", "last hour", 60, 60, 2, 5, 2.0),
    OverviewRange.DAY: Scale("24 h", "last 24 hours", 600, 144, 6, 6, 5.0),
    OverviewRange.WEEK: Scale("7 d", "last 7 days", 3600, 168, 6, 7, 20.0),
}


@dataclass(frozen=True, slots=True)
class OverviewChoice:
    """The choice. ``tenant`` None: all tenants; ``site`` None: all sites, empty: devices without one."""

    tenant: str | None
    site: str | None = None
    range: OverviewRange = OverviewRange.HOUR

    @classmethod
    def of(cls, tenant: str | None, arguments: Mapping[str, str]) -> "OverviewChoice":
        """Return the choice of ``range`` and ``site`` in an address. Raises Invalid, which names the parameter."""
        asked, site = arguments.get("range") or OverviewRange.HOUR, arguments.get("site") or None
        if asked not in list(OverviewRange):
            raise Invalid("This must be 1h, 24h or 7d.", "range")
        if site is None:
            return cls(tenant, None, OverviewRange(asked))
        if site != NONE and not valid_id(site):
            raise Invalid("A site id has 1 to 64 of A-Z a-z 0-9 . _ - and does not start with a dot.", "site")
        if tenant is None:
            raise Invalid("Choose a tenant first: a site belongs to one.", "site")
        return cls(tenant, "" if site == NONE else site, OverviewRange(asked))

    @classmethod
    def of_live_page(cls, which: str, own: str | None) -> "OverviewChoice | None":
        """Return the choice of a live page's name after ``overview/``, or None for a name that is not valid.

        ``own`` is the viewer's tenant: a viewer with a tenant always gets that one.
        """
        parts = which.split("/")
        tenant, asked, site = (*parts, "", "")[:3]
        if len(parts) > 3 or (tenant and not valid_id(tenant)):
            return None
        try:
            return cls.of(own or tenant or None, {"range": asked, "site": site})
        except Invalid:
            return None

    @property
    def live_page(self) -> str:
        """Return the name of its live page."""
        parts: Sequence[str] = (self.tenant or "", "", "")
        if self.site is not None or self.range is not OverviewRange.HOUR:
            parts = (self.tenant or "", self.range, NONE if self.site == "" else self.site or "")
        return "/".join((PAGE, *parts)).rstrip("/")

    @property
    def scale(self) -> Scale:
        """Return how its range is counted."""
        return SCALES[self.range]

    def since(self, now: float) -> float:
        """Return the start of the range whose last whole step is over, in seconds since 1970-01-01 UTC."""
        return (math.floor(now / self.scale.step) - self.scale.steps) * self.scale.step
