"""When a whole site is silent: one alert that stands for those of its devices."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

CLOSING_SHARE = 0.2
"""At most this share of silent devices ends the silence of a site."""
RETURN_SECONDS = 600.0
"""Seconds of listening after the last device came back: who has not, stands for itself from then on."""


@dataclass(frozen=True, slots=True)
class SitePolicy:
    """When a site counts as silent."""

    devices: int
    """Silent devices at least."""
    share: float
    """Their share of the devices that were heard, at least."""


@dataclass(frozen=True, slots=True)
class SiteCount:
    """The ACTIVE devices of a site that were heard once."""

    name: str
    devices: int
    silent: int
    """Those that are STALE or OFFLINE."""
    since: datetime | None
    """When the last of these was heard."""

    def falls_silent(self, policy: SitePolicy) -> bool:
        """Return whether the site is silent, once one of its devices turns OFFLINE."""
        return self.silent >= policy.devices and self.silent >= policy.share * self.devices

    def is_heard(self) -> bool:
        """Return whether nearly all of the site is heard again."""
        return self.silent <= CLOSING_SHARE * self.devices


@dataclass(frozen=True, slots=True)
class SiteSilence:
    """What the alert of a site keeps of it, in its details."""

    silent: int
    devices: int
    most: int
    """The most devices that were silent at once."""
    returned_at: str | None = None
    """When a device came back last, RFC 3339."""

    @classmethod
    def begin(cls, count: SiteCount) -> "SiteSilence":
        """Return what an alert that opens keeps."""
        return cls(count.silent, count.devices, count.silent)

    @classmethod
    def of(cls, details: dict[str, Any]) -> "SiteSilence":
        """Return what an alert has kept."""
        silent = details.get("silent", 0)
        return cls(silent, details.get("devices", 0), details.get("most", silent), details.get("returned_at"))

    def follow(self, count: SiteCount, now: datetime) -> "SiteSilence":
        """Return the same with the present count; more devices that talk than before are a return.

        A return that lies ahead was written by a wrong clock, and counts from now on.
        """
        returned = count.devices - count.silent > self.devices - self.silent
        ahead = self.returned_at is not None and datetime.fromisoformat(self.returned_at) > now
        return replace(
            self,
            silent=count.silent,
            devices=count.devices,
            most=max(self.most, count.silent),
            returned_at=now.isoformat() if returned or ahead else self.returned_at,
        )

    @property
    def details(self) -> dict[str, Any]:
        """Return it as JSON."""
        returned = {} if self.returned_at is None else {"returned_at": self.returned_at}
        return {"silent": self.silent, "devices": self.devices, "most": self.most, **returned}

    def present(self, name: str) -> str:
        """Return what is wrong, in words."""
        return f"{self.silent} of {self.devices} {_devices(self.devices)} at {name} are silent"

    def past(self, name: str) -> str:
        """Return what was wrong, in words."""
        return f"{self.most} of {max(self.devices, self.most)} {_devices(self.devices)} at {name} were silent"


def _devices(number: int) -> str:
    return "device" if number == 1 else "devices"
