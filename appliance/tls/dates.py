"""From when until when a certificate of ours holds, and when it is renewed. Pure.

Trusted, a certificate begins the day before service time, so that devices whose clock is a little behind take it. While
the clock is in doubt nobody knows what day it is: a certificate that is issued then, because the machine has a new
address, has the dates of the one before, which devices accepted; the first one has those of the build date, which no
right clock is before. It is renewed once the doubt is over.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from appliance.service_clock.build_date import BUILD_DATE

LIFE = timedelta(days=397)
"""Of a certificate: more than 398 days are refused by browsers."""
RENEW_BEFORE_END = LIFE / 3
"""What is left of it when it is renewed."""
BACKDATING = timedelta(days=1)
"""How far it begins before service time."""
LEAST_BACKDATING = timedelta(hours=1)
"""One that begins later than this before service time was issued by a clock that was ahead."""


@dataclass(frozen=True, slots=True)
class Dates:
    """From when until when a certificate holds."""

    begins: datetime
    ends: datetime


@dataclass(frozen=True, slots=True)
class Moment:
    """Service time, and whether the clock is trusted."""

    now: datetime
    trusted: bool


def dates_of_new(moment: Moment, before: Dates | None) -> Dates:
    """Return the dates of a certificate that is issued now; ``before`` are those of the one that it replaces."""
    if moment.trusted:
        return Dates(moment.now - BACKDATING, moment.now - BACKDATING + LIFE)
    if before is not None:
        return before
    from_build = Dates(BUILD_DATE, BUILD_DATE + LIFE)
    if from_build.ends > moment.now:
        return from_build
    # The program is older than a certificate may be.
    return Dates(moment.now - BACKDATING, moment.now - BACKDATING + LIFE)


def is_due(dates: Dates, moment: Moment) -> bool:
    """Return whether a certificate is to be renewed. While in doubt none is."""
    if not moment.trusted:
        return False
    return moment.now >= dates.ends - RENEW_BEFORE_END or moment.now < dates.begins + LEAST_BACKDATING


def within(dates: Dates, end: datetime) -> Dates:
    """Return dates that go no further than ``end``, that of the authority."""
    return dates if dates.ends <= end else Dates(min(dates.begins, end - LIFE), end)
