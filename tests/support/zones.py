"""Forty time zones, and when each of them changes its clock."""

from datetime import datetime, timedelta
from functools import cache
from itertools import pairwise
from zoneinfo import ZoneInfo

YEAR = 2026
"""A year with a change in spring and in autumn, in most zones."""

ZONES = (
    "Africa/Cairo", "Africa/Casablanca", "Africa/Johannesburg", "America/Anchorage", "America/Asuncion",
    "America/Caracas", "America/Chicago", "America/Denver", "America/Halifax", "America/Havana",
    "America/Los_Angeles", "America/Mexico_City", "America/New_York", "America/Nuuk", "America/Santiago",
    "America/Sao_Paulo", "America/Scoresbysund", "America/St_Johns", "Antarctica/Troll", "Asia/Beirut", "Asia/Gaza",
    "Asia/Jerusalem", "Asia/Kathmandu", "Asia/Kolkata", "Asia/Tehran", "Asia/Tokyo", "Atlantic/Azores",
    "Australia/Adelaide", "Australia/Lord_Howe", "Australia/Sydney", "Europe/Berlin", "Europe/Chisinau",
    "Europe/Dublin", "Europe/Kyiv", "Europe/London", "Europe/Oslo", "Pacific/Apia", "Pacific/Auckland",
    "Pacific/Chatham", "Pacific/Marquesas",
)  # fmt: skip
"""Quarters and halves of an hour, changes at and around midnight, by half an hour and by two hours, and none at all."""


@cache
def changes_of(zone: str, year: int) -> list[float]:
    """Return when the zone changes its clock in a year, in seconds since 1970."""
    where = ZoneInfo(zone)
    begin, end = (datetime(number, 1, 1, tzinfo=where).timestamp() for number in (year, year + 1))

    def offset(at: float) -> timedelta | None:
        return datetime.fromtimestamp(at, where).utcoffset()

    days = [*range(int(begin), int(end), 86_400), int(end)]
    return [_moved(where, early, late) for early, late in pairwise(days) if offset(early) != offset(late)]


def _moved(zone: ZoneInfo, early: int, late: int) -> float:
    """Return the one instant between two at which the offset is another from then on."""
    before = datetime.fromtimestamp(early, zone).utcoffset()
    while late - early > 1:
        middle = (early + late) // 2
        if datetime.fromtimestamp(middle, zone).utcoffset() == before:
            early = middle
        else:
            late = middle
    return float(late)


CHANGES = tuple((zone, change) for zone in ZONES for change in changes_of(zone, YEAR))
"""Each change of each zone in YEAR."""
