"""Numbers and times as people read them. Pure functions; templates use them as filters."""

import math
from collections.abc import Mapping
from datetime import datetime, tzinfo
from typing import Any

MINUS = "\N{MINUS SIGN}"
MAX_TEXT = 40
"""Characters of a text metric that a list shows."""


def count(value: int) -> str:
    """Return ``138240`` as ``138,240``."""
    return f"{value:,}".replace("-", MINUS)


def rate(value: float) -> str:
    """Return a rate per second with as many digits as mean something: ``0.04``, ``38.4``, ``1,240``."""
    if value == 0:
        return "0"
    if value < 0.1:
        return f"{value:.2f}"
    return f"{value:.1f}" if value < 1000 else f"{value:,.0f}"


def size(value: float) -> str:
    """Return bytes in the largest unit below them: ``412 MB``, ``31.2 GB``."""
    for factor, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= factor:
            scaled = value / factor
            return f"{scaled:.1f} {unit}" if scaled < 100 and unit != "kB" else f"{scaled:,.0f} {unit}"
    return f"{value:.0f} bytes"


def milliseconds(seconds: float) -> str:
    """Return seconds in milliseconds, without the unit: ``0.4``, ``6.1``, ``84``, ``1,250``."""
    value = 1000 * seconds
    return f"{value:.1f}" if value < 10 else f"{value:,.0f}"


def percent(part: int, whole: int) -> str:
    """Return a share in percent, without the sign: ``0.15``; only an empty share is shown as 0."""
    if part <= 0 or whole <= 0:
        return "0"
    share = 100 * part / whole
    if share < 0.01:
        return "<0.01"
    return f"{share:.2g}" if share < 10 else f"{share:.0f}"


def metric(value: Any) -> str:
    """Return a metric's value: shortest exact decimal, true minus sign, long text cut."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value).replace("-", MINUS)
    if isinstance(value, float):
        text = f"{value:.0f}" if value.is_integer() and abs(value) < 1e15 else repr(value)
        return text.replace("-", MINUS)
    text = str(value)
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"


def quantity(value: float, decimals: int | None) -> str:
    """Return a number with so many decimals, for None as it is: ``4.50``; true minus sign, no minus before a zero."""
    if decimals is None or abs(value) >= 1e15:
        return metric(value)
    text = f"{value:,.{decimals}f}"
    if not text.strip("-0.,"):
        text = text.removeprefix("-")
    return text.replace("-", MINUS)


def lasting(seconds: float) -> str:
    """Return a duration in the largest suitable unit: ``0.5 s``, ``45 s``, ``5 min``, ``2.5 h``, ``3 d``."""
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


def metrics(values: Mapping[str, Any], shown: int = 4) -> list[tuple[str, str]]:
    """Return the first metrics of a reading, as name and value."""
    return [(name, metric(values[name])) for name in list(values)[:shown]]


def ago(then: float, now: float) -> str:
    """Return how long ago, in the largest whole unit: ``now``, ``12 s ago``, ``26 min ago``, ``5 h ago``."""
    seconds = math.floor(now - then)
    if seconds < 1:
        return "now"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"


def local(moment: float, zone: tzinfo | None) -> datetime:
    """Return the moment in the viewer's zone; None is the machine's own."""
    return datetime.fromtimestamp(moment, tz=zone).astimezone(zone)


def absolute(moment: float, zone: tzinfo | None) -> str:
    """Return ``Mon 23 Nov 2026, 14:19:05 CET``."""
    return f"{local(moment, zone):%a %-d %b %Y, %H:%M:%S %Z}"


def day_time(moment: float, zone: tzinfo | None) -> str:
    """Return a time of any year to the minute: ``21 Nov 2026, 00:00``."""
    return f"{local(moment, zone):%-d %b %Y, %H:%M}"


def clock_time(moment: float, zone: tzinfo | None) -> str:
    """Return ``14:32:08 CET``."""
    return f"{local(moment, zone):%H:%M:%S %Z}"


def short_time(moment: float, zone: tzinfo | None) -> str:
    """Return ``14:32``."""
    return f"{local(moment, zone):%H:%M}"


def day(moment: float, zone: tzinfo | None) -> str:
    """Return ``23 Nov 2026``."""
    return f"{local(moment, zone):%-d %b %Y}"


def moment_of(moment: float, now: float, zone: tzinfo | None) -> str:
    """Return a time in a list: ``14:32:08`` of today, else with its day, ``23 Nov 14:32:08``."""
    when = local(moment, zone)
    return f"{when:%H:%M:%S}" if when.date() == local(now, zone).date() else f"{when:%-d %b %H:%M:%S}"


def delay(seconds: float) -> str:
    """Return the delay of a message: ``41 ms``, ``1.2 s``, ``3 h``; negative with a minus sign."""
    if abs(seconds) < 1:
        return f"{round(1000 * seconds)} ms".replace("-", MINUS)  # rounded first: no "-0"
    return lasting(seconds) if seconds > 0 else f"{MINUS}{lasting(-seconds)}"


def iso(moment: float, zone: tzinfo | None) -> str:
    """Return the value for ``<time datetime>``: ``2026-11-23T14:19:05+01:00``."""
    return local(moment, zone).isoformat(timespec="seconds")
