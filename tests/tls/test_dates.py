"""From when until when a certificate holds, whatever the clock shows."""

from datetime import UTC, datetime, timedelta

import pytest

from appliance.service_clock.build_date import BUILD_DATE
from appliance.tls.dates import LIFE, Dates, Moment, dates_of_new, is_due, within

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
NOW = BUILD_DATE + 100 * DAY
ISSUED = Dates(NOW - DAY, NOW - DAY + LIFE)


def test_trusted_it_begins_the_day_before_and_holds_for_397_days_at_most() -> None:
    assert dates_of_new(Moment(NOW, True), None) == ISSUED
    assert timedelta(days=397) >= LIFE


@pytest.mark.parametrize(
    ("later", "due"),
    [(0 * DAY, False), (263 * DAY, False), (264 * DAY, True), (500 * DAY, True), (-HOUR, False), (-DAY, True)],
)
def test_it_is_renewed_when_a_third_is_left_and_when_a_clock_that_was_ahead_has_issued_it(
    later: timedelta, due: bool
) -> None:
    assert is_due(ISSUED, Moment(NOW + later, True)) is due
    assert not is_due(ISSUED, Moment(NOW + later, False)), "in doubt none is renewed"


def test_what_is_issued_is_not_due_at_once() -> None:
    assert not is_due(dates_of_new(Moment(NOW, True), None), Moment(NOW, True))


def test_in_doubt_the_first_has_the_build_date_and_later_ones_the_dates_of_the_one_before() -> None:
    doubtful = Moment(BUILD_DATE + timedelta(hours=3), False)
    first = dates_of_new(doubtful, None)
    assert first == Dates(BUILD_DATE, BUILD_DATE + LIFE)
    assert dates_of_new(Moment(NOW, False), ISSUED) == ISSUED


def test_in_doubt_a_program_that_is_older_than_a_certificate_may_be_goes_by_service_time() -> None:
    late = BUILD_DATE + 500 * DAY
    assert dates_of_new(Moment(late, False), None) == Dates(late - DAY, late - DAY + LIFE)


def test_it_goes_no_further_than_its_authority() -> None:
    assert within(ISSUED, ISSUED.ends) == ISSUED
    end = NOW + 10 * DAY
    assert within(ISSUED, end) == Dates(end - LIFE, end)


def test_what_a_clock_in_2036_has_issued_is_issued_anew_once_it_is_right() -> None:
    wrong = dates_of_new(Moment(datetime(2036, 1, 1, tzinfo=UTC), True), None)
    assert is_due(wrong, Moment(NOW, True))
