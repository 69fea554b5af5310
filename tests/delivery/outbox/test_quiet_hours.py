"""Quiet hours in the zone of a route, across midnight and changes of the clock."""

from datetime import UTC, datetime, time

import pytest

from appliance.delivery.outbox.quiet_hours import quiet_until
from appliance.delivery.routes.route import QuietHours

BERLIN = "Europe/Berlin"


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("begins", "ends", "now", "until"),
    [
        pytest.param("22:00", "06:00", "2026-11-30T20:59:59", None, id="before the evening"),
        pytest.param("22:00", "06:00", "2026-11-30T21:00:00", "2026-12-01T05:00:00", id="from the first second"),
        pytest.param("22:00", "06:00", "2026-12-01T04:59:59", "2026-12-01T05:00:00", id="after midnight"),
        pytest.param("22:00", "06:00", "2026-12-01T05:00:00", None, id="over with the last second"),
        pytest.param("12:00", "13:00", "2026-12-01T11:30:00", "2026-12-01T12:00:00", id="within a day"),
        pytest.param("12:00", "13:00", "2026-12-01T12:00:00", None, id="after them, within a day"),
        pytest.param("22:00", "06:00", "2026-03-29T00:30:00", "2026-03-29T04:00:00", id="a night of seven hours"),
        pytest.param("22:00", "06:00", "2026-10-25T01:30:00", "2026-10-25T05:00:00", id="a night of nine hours"),
        pytest.param("22:00", "02:30", "2026-10-25T01:15:00", "2026-10-25T01:30:00", id="an end that comes twice"),
        pytest.param("22:00", "02:30", "2026-03-29T01:15:00", "2026-03-29T01:30:00", id="an end that does not exist"),
        pytest.param("02:30", "03:00", "2026-03-29T01:10:00", None, id="nothing is left of a skipped half hour"),
        pytest.param("02:30", "04:00", "2026-10-25T00:45:00", "2026-10-25T03:00:00", id="a begin that comes twice"),
    ],
)
def test_when_they_end(begins: str, ends: str, now: str, until: str | None) -> None:
    quiet = QuietHours(time.fromisoformat(begins), time.fromisoformat(ends), BERLIN, spares_critical=True)
    assert quiet_until(quiet, seconds(now)) == (None if until is None else seconds(until))
