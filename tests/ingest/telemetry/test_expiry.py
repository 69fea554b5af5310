"""Days expire by the clock of UTC, later than the last reading of them is accepted, and the database agrees."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

from hypothesis import given
from hypothesis import strategies as st

from appliance.db.partitions import DayPartition
from appliance.ingest.telemetry import expiry
from appliance.ingest.telemetry.expiry import Cause, ExpiredDay, Wait, cutoff, expired, expires_at, waits_for

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
KEEP = st.integers(1, 3650)
MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2050, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds of UTC


def partition(day: date, *, empty: bool = False, pending_hours: int = 0) -> DayPartition:
    return DayPartition(day, 0 if empty else 8192, empty, pending_hours)


@given(ts=MOMENTS, to_midnight=st.one_of(st.none(), st.floats(1e-6, 7200)), keep=KEEP, later=st.floats(0, 3600))
def test_what_admission_accepts_falls_into_a_day_that_is_kept(
    ts: datetime, to_midnight: float | None, keep: int, later: float
) -> None:
    """Check 14 of ingest accepts what is as old as the retention when it is received; it is stored soon after."""
    if to_midnight is not None:  # the last readings of a day are those that matter
        ts = expiry.midnight(ts.date()) + timedelta(days=1) - timedelta(seconds=to_midnight)
    stored = ts + timedelta(days=keep, seconds=later)
    assert list(expired([partition(ts.date())], stored, keep)) == []


@given(now=MOMENTS, day=st.integers(-4000, 40), keep=KEEP)
def test_a_day_goes_when_all_of_it_is_older_and_not_before(now: datetime, day: int, keep: int) -> None:
    one = partition(now.date() + timedelta(days=day))
    gone = list(expired([one], now, keep))
    assert bool(gone) is (now >= expires_at(one.day, keep))
    end_of_day = expiry.midnight(one.day) + timedelta(days=1)
    assert bool(gone) is (end_of_day <= cutoff(now, keep))
    assert all(found.cause is Cause.AGE for found in gone)


def test_the_oldest_goes_first() -> None:
    given_days = [partition(date(2026, 11, day)) for day in (20, 3, 12)]
    assert [one.partition.day.day for one in expired(given_days, NOON, 1)] == [3, 12, 20]


@given(zone=st.sampled_from(sorted(available_timezones())), moment=MOMENTS, keep=KEEP)
def test_the_zone_in_which_a_moment_is_given_does_not_matter(zone: str, moment: datetime, keep: int) -> None:
    around = [partition(moment.date() - timedelta(days=keep + n)) for n in (-1, 0, 1, 2)]
    assert list(expired(around, moment.astimezone(ZoneInfo(zone)), keep)) == list(expired(around, moment, keep))


def test_of_the_future_only_an_empty_day_goes_that_a_wrong_clock_made() -> None:
    far, near = date(2036, 11, 23), NOON.date() + timedelta(days=2)
    given_days = [
        partition(near, empty=True),
        partition(far, empty=True),
        partition(far + timedelta(days=1)),
        partition(far + timedelta(days=2), empty=True, pending_hours=1),
    ]
    assert [(one.partition.day, one.cause) for one in expired(given_days, NOON, 30)] == [(far, Cause.AHEAD)]


def test_the_reason_of_a_wait_is_the_one_to_mend_first() -> None:
    done, pending = (ExpiredDay(partition(NOON.date(), pending_hours=hours), Cause.AGE) for hours in (0, 3))
    assert waits_for(pending, trusted=False, blocked=Wait.LOCK) is Wait.CLOCK
    assert waits_for(pending, trusted=True, blocked=Wait.BACKUP) is Wait.ROLLUPS
    assert waits_for(done, trusted=True, blocked=Wait.LOCK) is Wait.LOCK
    assert waits_for(done, trusted=True, blocked=Wait.BACKUP) is Wait.BACKUP
    assert waits_for(done, trusted=True, blocked=None) is Wait.TURN
