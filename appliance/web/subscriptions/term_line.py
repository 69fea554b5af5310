"""The line of a term as a picture: what is used, what is left, grace and suspension, on a scale of two years.

Pure. Everything is placed in percent of the width, so that the picture needs no script and no inline style.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from appliance import local_time
from appliance.subscriptions.lifecycle import (
    LAPSE,
    TRANSITIONS,
    Mark,
    Subscription,
    SubscriptionStatus,
    instant_of,
    usable,
)
from appliance.subscriptions.terms import last_full_day

TICK_MONTHS = 4
TICKS = 6
SHOWN_BEFORE = timedelta(days=274)
"""How much of the past the scale shows at least: nine months of its two years."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Two years around now, beginning with a third of a year of the calendar."""

    began: datetime
    ends: datetime
    today: float
    """The place of now, in percent."""
    ticks: tuple[tuple[float, str], ...]
    """The place of each third of a year, in percent, and what it is called."""

    def place(self, at: datetime) -> float:
        """Return the place of an instant in percent, at the edge if it lies outside."""
        share = (at - self.began) / (self.ends - self.began)
        return 100 * min(max(share, 0.0), 1.0)


@dataclass(frozen=True, slots=True)
class Span:
    """One part of the line: its CSS class, and where it begins and how wide it is, in percent."""

    kind: str
    x: float
    width: float


@dataclass(frozen=True, slots=True)
class TermLine:
    """The picture of one subscription."""

    spans: tuple[Span, ...]
    label: str
    """The same in words."""


def scale_at(now: datetime, zone: tzinfo | None) -> Scale:
    """Return the scale at ``now``, by the calendar of a zone."""
    first = local_time.wall_clock((now - SHOWN_BEFORE).timestamp(), zone)
    year, month = first.year, 1 + (first.month - 1) // TICK_MONTHS * TICK_MONTHS
    edges = []
    for _ in range(TICKS + 1):
        day = first.date().replace(year=year, month=month, day=1)
        edges.append((day, datetime.fromtimestamp(local_time.start_of_day(day, zone), now.tzinfo)))
        month += TICK_MONTHS
        if month > 12:
            year, month = year + 1, 1
    bare = Scale(edges[0][1], edges[-1][1], 0.0, ())
    ticks = tuple((bare.place(at), f"{day:%Y}" if day.month == 1 else f"{day:%b}") for day, at in edges[:-1])
    return Scale(bare.began, bare.ends, bare.place(now), ticks)


def term_line(
    row: Subscription, scale: Scale, now: datetime, zone: tzinfo | None, *, grace: timedelta, began: datetime | None
) -> TermLine:
    """Return the picture of a subscription with its status of ``now``; ``zone``: its tenant's.

    ``began``: when the term that runs now began, where the newest one begins later.
    """
    start = row.term_start if began is None else began
    marks = {transition.mark for transition in TRANSITIONS[row.subscription_type]}
    grace_end, lapse_end = (instant_of(mark, row, grace=grace) for mark in (Mark.GRACE_END, Mark.LAPSE_END))
    parts: list[tuple[str, datetime, datetime]] = []
    if Mark.GRACE_END in marks and row.status is not SubscriptionStatus.EXPIRED:
        parts += [("susp", grace_end, lapse_end), ("grace", row.term_end, grace_end)]
    if row.term_start > now and began is not None:
        parts += [("next", row.term_start, row.term_end), ("", start, row.term_start)]
    else:
        parts.append(("", start, row.term_end))
    over = row.term_end <= now and not usable(row.status)
    parts.append(("done old" if over else "done", start, min(now, row.term_end)))
    drawn = (Span(kind, scale.place(first), scale.place(last) - scale.place(first)) for kind, first, last in parts)
    return TermLine(tuple(one for one in drawn if one.width > 0), _label(row, now, zone, grace))


def _label(row: Subscription, now: datetime, zone: tzinfo | None, grace: timedelta) -> str:
    ends = f"{last_full_day(row.term_end, zone):%-d %B %Y}"
    ended = row.term_end <= now
    text = f"The term {'ended' if ended else 'ends'} after {ends}"
    if row.status is SubscriptionStatus.EXPIRED:
        return f"{text}, expired"
    marks = {transition.mark for transition in TRANSITIONS[row.subscription_type]}
    if Mark.GRACE_END not in marks:
        return text
    grace_end = instant_of(Mark.GRACE_END, row, grace=grace)
    until = f"grace until {last_full_day(grace_end, zone):%-d %B %Y}"
    expires = f"suspended until {last_full_day(grace_end + LAPSE, zone):%-d %B %Y}"
    return f"{text}, then {until}, then {expires}"
