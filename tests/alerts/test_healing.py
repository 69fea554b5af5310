"""Times of alerts that a wrong clock wrote come back, and no silence lasts for years."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from appliance import healing
from appliance.alerts.alert import AlertType
from appliance.alerts.conditions.condition import Condition
from appliance.alerts.conditions.store import raise_condition
from appliance.db.pool import open_pool
from appliance.db.roles import INGEST
from appliance.service_clock.service_time import Step
from appliance.severity import Severity
from tests.support.alerts import add_alert, alert_row, entries_of
from tests.support.postgres_server import Database
from tests.support.tenants import add_tenant, ingest, rows

NOW = datetime(2027, 5, 1, 12, tzinfo=UTC)
WRONG = NOW + timedelta(days=3650)
SKEW = 300.0
BACK = Step(WRONG.timestamp() - 3600, WRONG.timestamp(), NOW.timestamp())
HOUR = timedelta(hours=1)
TIMES = ("created_at", "started_at", "last_triggered_at", "due_at", "acknowledged_at", "closed_at")


async def heal(database: Database, step: Step | None) -> None:
    async with open_pool(database.conninfo(INGEST), name="healing", min_size=1, max_size=1) as pool:
        await healing.heal(pool, "one", NOW.timestamp(), step, SKEW)


def times(database: Database, alert_id: int, *names: str) -> dict[str, Any]:
    row = alert_row(database, alert_id)
    assert row is not None
    return {name: row[name] and datetime.fromisoformat(row[name]) for name in names}


@pytest.mark.parametrize(
    ("written", "step", "healed"),
    [
        pytest.param(NOW - HOUR, BACK, NOW - HOUR, id="right"),
        pytest.param(WRONG - HOUR, BACK, NOW - HOUR, id="moved by the step"),
        pytest.param(WRONG - HOUR, None, NOW, id="the present, as nobody knows how wrong the clock was"),
    ],
)
async def test_the_times_of_an_alert_come_back(
    database: Database, written: datetime, step: Step | None, healed: datetime
) -> None:
    alert_id = add_alert(database, status="CLOSED", acknowledged_at=written, created_at=written)
    await heal(database, step)
    assert times(database, alert_id, *TIMES) == dict.fromkeys(TIMES, healed)


async def test_what_never_was_stays_so_and_what_is_due_soon_stays_due(database: Database) -> None:
    soon = NOW + timedelta(seconds=SKEW + 30)
    open_one = add_alert(database, created_at=WRONG)
    due = add_alert(database, created_at=NOW, due_at=soon)
    await heal(database, None)
    assert times(database, open_one, "acknowledged_at", "closed_at") == {"acknowledged_at": None, "closed_at": None}
    assert times(database, due, "created_at", "due_at") == {"created_at": NOW, "due_at": soon}


async def test_a_silence_of_a_wrong_clock_keeps_its_length_or_ends(database: Database) -> None:
    ends = WRONG + HOUR
    silence = {"silenced_by": "ann", "silence_reason": "works"}
    for step, left in ((BACK, NOW + HOUR), (None, None)):
        alert_id = add_alert(database, silenced_until=ends, **silence)
        long = add_alert(database, silenced_until=NOW + timedelta(days=365), **silence)
        await heal(database, step)
        assert times(database, alert_id, "silenced_until") == {"silenced_until": left}
        assert times(database, long, "silenced_until") == {"silenced_until": NOW + timedelta(days=365)}
        told = [kind for kind, _, _ in entries_of(database, alert_id)]
        assert told == (["opened"] if left else ["opened", "unsilenced"])


async def test_a_persons_close_under_a_wrong_clock_holds_while_the_condition_lasts(database: Database) -> None:
    full = Condition("acme", "capacity", AlertType.CAPACITY, Severity.HIGH, "All seats are in use")
    async with ingest(database) as connection:
        await add_tenant(connection)
        await raise_condition(connection, full, WRONG, reopen_after=24 * HOUR)
        closed = "UPDATE fleet_alert SET status = 'CLOSED', close_reason = 'closed', closed_at = %s"
        await connection.execute(closed, [WRONG])
        await heal(database, None)
        await raise_condition(connection, full, NOW + HOUR, reopen_after=24 * HOUR)
        assert await rows(connection, "SELECT status FROM fleet_alert") == [("CLOSED",)]
        await raise_condition(connection, full, NOW + 25 * HOUR, reopen_after=24 * HOUR)
        assert await rows(connection, "SELECT status FROM fleet_alert ORDER BY id") == [("CLOSED",), ("OPEN",)]


async def test_losses_of_a_wrong_clock_are_over_ten_minutes_from_now(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        await connection.execute("INSERT INTO message_losses VALUES ('acme', 'd', 3, %s, %s)", [NOW - HOUR, WRONG])
        await heal(database, None)
        times = await rows(connection, "SELECT first_at, last_at FROM message_losses")
        assert times == [(NOW - HOUR, NOW)]
