"""The time range of a chart, read from its address: ``range=7d``, or ``from`` and ``to``.

A moment is RFC 3339 with an offset, seconds since 1970, or - as people and forms write it - a day or a day and a time
in the viewer's zone. A day as the end of a range is included.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from enum import StrEnum

from appliance import local_time
from appliance.errors import Invalid
from appliance.history.series import TimeSpan
from appliance.local_time import HOUR
from appliance.web.page.formats import local

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_EARLIEST, _LATEST = datetime(1970, 1, 2, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)


class RangeName(StrEnum):
    """A time range that ends now."""

    HOUR = "1h"
    DAY = "24h"
    WEEK = "7d"
    MONTH = "30d"
    YEAR = "1y"


HOURS: Mapping[RangeName, int] = {RangeName.HOUR: 1, RangeName.DAY: 24}
DAYS: Mapping[RangeName, int] = {RangeName.WEEK: 7, RangeName.MONTH: 30, RangeName.YEAR: 365}
"""Days begin at the same time of the wall clock as they end, so that one with a change of the clock counts as one."""
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
    name = RangeName(asked) if asked else USUAL
    last = moment_of(last_text, zone, "to", ends=True).timestamp() if last_text else now.timestamp()
    first = moment_of(first_text, zone, "from").timestamp() if first_text else _start(last, name, zone)
    if first >= last:
        raise Invalid("`from` must be before `to`.", "from")
    return TimeRange(TimeSpan(local(first, zone), local(last, zone)), None if first_text or last_text else name)


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
        return local(seconds, zone)
    try:
        if _DAY.fullmatch(text):
            day = date.fromisoformat(text) + timedelta(days=1 if ends else 0)
            at = local_time.start_of_day(day, zone)
        else:
            moment = datetime.fromisoformat(
                text.replace(" ", "+") if "T" in text else text
            )  # in an address, + is a blank
            at = local_time.instant(moment, zone) if moment.tzinfo is None else moment.timestamp()
        if not _EARLIEST.timestamp() <= at <= _LATEST.timestamp():
            raise wrong
        return local(at, zone)
    except (ValueError, OverflowError, OSError):
        raise wrong from None


def _start(last: float, name: RangeName, zone: tzinfo | None) -> float:
    """Return when a named range begins that ends at ``last``."""
    return last - HOURS[name] * HOUR if name in HOURS else local_time.days_later(last, -DAYS[name], zone)
