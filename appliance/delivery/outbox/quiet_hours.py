"""Quiet hours: whether an instant is in them, and when they end. Pure; local times are looked up one by one."""

from datetime import datetime, timedelta

from appliance.delivery.routes.route import QuietHours
from appliance.local_time import instant, last_instant, wall_clock, zone_of


def quiet_until(quiet: QuietHours, now: float) -> float | None:
    """Return when the quiet hours end that ``now`` is in, in seconds since 1970; None outside of them.

    They begin the first time that a wall clock shows ``begins`` on a day, and end the last time that it shows ``ends``.
    """
    zone = zone_of(quiet.zone)
    today = wall_clock(now, zone).date()
    for day in (today - timedelta(days=1), today):
        last_day = day + timedelta(days=1) if quiet.begins > quiet.ends else day
        begin = instant(datetime.combine(day, quiet.begins), zone)
        end = last_instant(datetime.combine(last_day, quiet.ends), zone)
        if begin <= now < end:
            return end
    return None
