"""The time range of a chart, read from its address: ``range=7d``, or ``from`` and ``to``.

A moment is RFC 3339 with an offset, seconds since 1970, or - as people and forms write it - a day or a day and a time
in the viewer's zone. A day as the end of a range is included.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum

from appliance.errors import Invalid
from appliance.history.series import TimeSpan

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_EARLIEST, _LATEST = datetime(1970, 1, 2, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)


class RangeName(StrEnum):
    """A time range that ends now."""

    HOUR = "1h"
    DAY = "24h"
    WEEK = "7d"
    MONTH = "30d"
    YEAR = "1y"


LENGTHS: Mapping[RangeName, timedelta] = {
    RangeName.HOUR: timedelta(hours=1),
    RangeName.DAY: timedelta(days=1),
    RangeName.WEEK: timedelta(days=7),
    RangeName.MONTH: timedelta(days=30),
    RangeName.YEAR: timedelta(days=365),
}
TITLES: Mapping[RangeName, str] = {
    RangeName.HOUR: "1 h",
    RangeName.DAY: "24 h",
    RangeName.WEEK: "7 d",
    RangeName.MONTH: "30 d",
    RangeName.YEAR: "1 y",
}
USUAL = RangeName.DAY


@dataclass(frozen=True, slots=True)
class TimeRange:
    """A span, and its named range; None: free dates."""

    span: TimeSpan
    range: RangeName | None


def choose(arguments: Mapping[str, str], now: datetime, zone: tzinfo | None) -> TimeRange:
    """Return the range that ``range``, ``from`` and ``to`` ask for; the last day by default. Raises Invalid.

    ``zone`` is the viewer's, None the machine's own; both ends of the span are in it.
    """
    asked = arguments.get("range", "")
    first_text, last_text = arguments.get("from", ""), arguments.get("to", "")
    if asked and asked not in set(RangeName):
        raise Invalid(f"`range` is one of {', '.join(RangeName)}.", "range")
    if not (first_text or last_text):
        chosen = RangeName(asked) if asked else USUAL
        return TimeRange(TimeSpan((now - LENGTHS[chosen]).astimezone(zone), now.astimezone(zone)), chosen)
    last = moment_of(last_text, zone, "to", ends=True) if last_text else now.astimezone(zone)
    # In UTC: between two times of one zone, Python subtracts wall clock times.
    length = LENGTHS[RangeName(asked) if asked else USUAL]
    first = moment_of(first_text, zone, "from") if first_text else (last.astimezone(UTC) - length).astimezone(zone)
    if first.timestamp() >= last.timestamp():
        raise Invalid("`from` must be before `to`.", "from")
    return TimeRange(TimeSpan(first, last), None)


def moment_of(text: str, zone: tzinfo | None, field: str, *, ends: bool = False) -> datetime:
    """Return the moment of ``text``, in ``zone``. Raises Invalid, naming ``field``."""
    wrong = Invalid(f"`{field}` must be a day or a time, such as 2026-01-31 or 2026-01-31T12:00:00Z.", field)
    text = text.strip()
    try:
        seconds = float(text)
    except ValueError:
        pass
    else:
        if not math.isfinite(seconds) or not _EARLIEST.timestamp() <= seconds <= _LATEST.timestamp():
            raise wrong
        return datetime.fromtimestamp(seconds, UTC).astimezone(zone)
    try:
        moment = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)  # in an address, + is a blank
        if ends and _DAY.fullmatch(text):
            moment += timedelta(days=1)
        if moment.tzinfo is None:
            moment = moment.astimezone() if zone is None else moment.replace(tzinfo=zone)
        if not _EARLIEST <= moment <= _LATEST:
            raise wrong
        return moment.astimezone(zone)
    except (ValueError, OverflowError, OSError):
        raise wrong from None
