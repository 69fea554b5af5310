"""What every page of a tenant says while notices find no way out. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from appliance.web.page import formats

PATIENCE = timedelta(minutes=2)
"""How long integrations may reach nobody before pages say so: a router that restarts takes less."""


@dataclass(frozen=True, slots=True)
class NoWayOut:
    """Integrations that reach nobody, and what waits for that."""

    first: datetime
    """Since when the first of them reaches nobody."""
    last: datetime
    """Since when the last of them does."""
    integrations: int
    name: str
    """Of one of them."""
    reached: int
    """Other integrations that were reached after the last was lost: it is not the way out that is missing."""
    others: int
    """Other integrations that were ever reached."""
    waiting: int
    """Notices."""

    @property
    def cut_off(self) -> bool:
        """Return whether it is the way out: of one integration among others nobody knows, so it takes two."""
        return not self.reached and (self.integrations > 1 or not self.others)

    def title(self, now: float, zone: tzinfo | None) -> str:
        """Return what is wrong, and since when."""
        when = formats.local((self.last if self.cut_off else self.first).timestamp(), zone)
        today = when.date() == formats.local(now, zone).date()
        since = f"since {when:%H:%M}" if today else f"since {when:%-d %b %H:%M}"
        if self.cut_off:
            return f"No way out {since}."
        who = self.name if self.integrations == 1 else f"{self.integrations:,} integrations"
        return f"{who} cannot be reached {since}."

    def text(self, longest: timedelta) -> str:
        """Return what becomes of the notices, which wait ``longest`` at most."""
        others = " Receivers in your own network may still work." if self.cut_off else ""
        others = " The other integrations work." if self.reached else others
        if not self.waiting:
            return f"No notice is waiting.{others}"
        notices, verb = ("1 notice", "is") if self.waiting == 1 else (f"{self.waiting:,} notices", "are")
        days = f"{longest.days} day{'' if longest.days == 1 else 's'}"
        return f"{notices} {verb} waiting and will be sent when the connection returns, for up to {days}.{others}"
