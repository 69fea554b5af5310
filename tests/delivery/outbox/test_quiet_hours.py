"""Quiet hours in the zone of a route, across midnight and changes of the clock."""

from datetime import UTC, datetime, time

import pytest

from appliance.delivery.outbox.quiet_hours import quiet_until
from appliance.delivery.routes.route import QuietHours
from tests.support.alerts import add_alert
from tests.support.couriers import PlayedSender, SetClock, open_couriers, states
from tests.support.postgres_server import Database
from tests.support.routes import add_integration, add_route

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


@pytest.mark.parametrize(
    ("opened", "told"),
    [
        pytest.param("2026-03-28T22:30:00", "2026-03-29T04:00:00", id="a night of seven hours"),
        pytest.param("2026-10-24T21:30:00", "2026-10-25T05:00:00", id="a night of nine hours"),
    ],
)
async def test_a_notice_is_held_to_the_end_of_a_night_in_which_clocks_change(
    database: Database, opened: str, told: str
) -> None:
    add_route(database, add_integration(database), quiet_from=time(22), quiet_until=time(6), quiet_zone=BERLIN)
    sender, clock = PlayedSender(), SetClock(seconds(opened))
    async with open_couriers(database, sender, clock=clock) as couriers:
        add_alert(database, created_at=datetime.fromtimestamp(clock.at, UTC))
        await couriers.pass_time(seconds(told) - 1 - clock.at)
        assert sender.sent == []
        assert [row[3] for row in states(database)] == ["quiet_hours"]
        await couriers.pass_time(1.0)
    assert [notice.event.value for notice in sender.sent] == ["OPEN"]
