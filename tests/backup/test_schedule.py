"""When the next backup is due: at its time of day in its zone, again after a failure, soon where there is none."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from appliance.backup.record import Attempt, GoodBackup, Record, is_overdue
from appliance.backup.schedule import RETRY_SECONDS, Slots, due_at

NIGHT = Slots(time(2, 30), UTC)
NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def at(moment: datetime) -> float:
    return moment.timestamp()


def made(began_at: datetime, error: str | None = None, *, good: bool = True) -> Record:
    ended_at = began_at + timedelta(minutes=5)
    return Record(
        since=began_at,
        last=Attempt(began_at, ended_at, error),
        good=GoodBackup("f", ended_at, 1, 1.0) if good else None,
    )


def test_after_a_good_one_the_next_slot_is_due() -> None:
    assert due_at(made(datetime(2026, 3, 10, 2, 30, tzinfo=UTC)), NIGHT, at(NOW)) == at(
        datetime(2026, 3, 11, 2, 30, tzinfo=UTC)
    )


def test_a_night_that_was_missed_is_made_up_for() -> None:
    assert due_at(made(datetime(2026, 3, 8, 2, 30, tzinfo=UTC)), NIGHT, at(NOW)) < at(NOW)


def test_one_that_was_asked_for_by_day_does_not_replace_the_night() -> None:
    assert due_at(made(NOW), NIGHT, at(NOW + HOUR)) == at(datetime(2026, 3, 11, 2, 30, tzinfo=UTC))


def test_where_there_is_none_one_is_due_at_once() -> None:
    assert due_at(Record(), NIGHT, at(NOW)) <= at(NOW)


@pytest.mark.parametrize("good", [True, False])
def test_a_failure_is_tried_again_an_hour_later(*, good: bool) -> None:
    assert due_at(made(NOW, "full", good=good), NIGHT, at(NOW + HOUR / 2)) == at(NOW) + RETRY_SECONDS


def test_one_that_was_killed_is_tried_again() -> None:
    record = Record(last=Attempt(NOW, None), good=GoodBackup("f", NOW - HOUR, 1, 1.0))
    assert due_at(record, NIGHT, at(NOW + HOUR / 2)) == at(NOW) + RETRY_SECONDS


def test_a_record_of_the_future_was_written_by_a_wrong_clock_and_keeps_nothing() -> None:
    assert due_at(made(NOW + timedelta(days=4000)), NIGHT, at(NOW)) <= at(NOW)
    assert due_at(made(NOW + timedelta(days=4000), "full", good=False), NIGHT, at(NOW)) <= at(NOW)


def test_slots_are_times_of_the_wall_clock_whatever_the_length_of_the_day() -> None:
    berlin = Slots(time(2, 30), ZoneInfo("Europe/Berlin"))
    found, moment = [], at(datetime(2026, 3, 27, 12, tzinfo=UTC))
    for _ in range(4):
        moment = berlin.after(moment)
        found.append(datetime.fromtimestamp(moment, UTC).strftime("%d %H:%M"))
    assert found == ["28 01:30", "29 01:30", "30 00:30", "31 00:30"]  # on the 29th there is no 2:30
    assert berlin.before(moment) == moment
    autumn = berlin.after(at(datetime(2026, 10, 24, 23, tzinfo=UTC)))
    assert berlin.after(autumn) - autumn == 25 * 3600, "2:30 comes twice in that night, and is used once"


def test_two_days_without_a_good_one_are_too_many() -> None:
    assert not is_overdue(made(NOW), NOW + timedelta(days=2))
    assert is_overdue(made(NOW), NOW + timedelta(days=2, minutes=6))
    assert is_overdue(made(NOW, "full", good=False), NOW + timedelta(days=2, minutes=6))
    assert not is_overdue(Record(), NOW)


def test_what_a_wrong_clock_noted_for_the_future_hides_no_missing_backup() -> None:
    later = NOW + timedelta(days=4000)
    record = Record(since=NOW, last=Attempt(later, later), good=GoodBackup("f", later, 1, 1.0))
    assert is_overdue(record, NOW + timedelta(days=3))
    assert not is_overdue(Record(since=later), NOW)
