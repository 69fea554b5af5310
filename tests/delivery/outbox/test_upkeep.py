"""What waits too long, what ended long ago, and what nobody looks at any more."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from appliance.db.pool import open_pool
from appliance.db.roles import INGEST
from appliance.delivery.outbox.upkeep import Upkeep
from appliance.metrics import Metrics
from tests.support.alerts import add_alert
from tests.support.clock import DoubtfulClock
from tests.support.couriers import NOON, rows
from tests.support.postgres_server import Database
from tests.support.routes import add_integration, add_route

NOW = datetime.fromtimestamp(NOON, UTC)


async def keep(database: Database, *, trusted: bool = True) -> Metrics:
    metrics, clock = Metrics(), DoubtfulClock(NOON, NOON, trusted=trusted)
    async with open_pool(database.conninfo(INGEST), name="upkeep", min_size=1, max_size=1) as pool:
        await Upkeep(pool, clock, metrics, timedelta(days=7)).make_round()
    return metrics


def job(database: Database, **columns: object) -> int:
    """Write a job of an alert of its own and return its id."""
    if not rows(database, "SELECT 1 FROM integrations"):
        add_route(database, add_integration(database))
    alert_id = add_alert(database)
    for column, value in columns.items():
        rows(database, f"UPDATE delivery_jobs SET {column} = %s WHERE alert_id = %s", value, alert_id)
    [(job_id,)] = rows(database, "SELECT job_id FROM delivery_jobs WHERE alert_id = %s", alert_id)
    found: int = job_id
    return found


def state(database: Database, job_id: int) -> tuple[str, str | None]:
    [(status, reason)] = rows(database, "SELECT status, reason FROM delivery_jobs WHERE job_id = %s", job_id)
    return status, reason


async def test_what_waited_a_week_for_a_way_out_is_dead(database: Database) -> None:
    old = job(database, unreachable_since=NOW - timedelta(days=7, seconds=1))
    young = job(database, unreachable_since=NOW - timedelta(days=6))
    await keep(database, trusted=False)
    assert state(database, old) == ("PENDING", None), "while the clock is in doubt nothing is too old"
    await keep(database)
    assert (state(database, old), state(database, young)) == (("DEAD", "too_old"), ("PENDING", None))


async def test_after_a_week_without_a_way_out_an_open_alert_is_reminded_of(database: Database) -> None:
    integration = add_integration(database)
    add_route(database, integration, remind_minutes=30)
    open_one = job(database, unreachable_since=NOW - timedelta(days=8))
    job(database, unreachable_since=NOW - timedelta(days=8))
    rows(
        database,
        "UPDATE fleet_alert SET status = 'CLOSED', closed_at = %s, close_reason = 'cleared' WHERE id = ("
        "SELECT max(id) FROM fleet_alert)",
        NOW,
    )
    await keep(database)
    query = "SELECT event, status, next_run_at, alert_id FROM delivery_jobs WHERE event = 'REMINDER'"
    [(alert_id,)] = rows(database, "SELECT alert_id FROM delivery_jobs WHERE job_id = %s", open_one)
    assert rows(database, query) == [("REMINDER", "PENDING", NOW + timedelta(minutes=30), alert_id)]


async def test_what_ended_ninety_days_ago_goes_with_its_attempts(database: Database) -> None:
    kept = {}
    for days in (89, 91):
        kept[days] = job(database)
        rows(
            database,
            "UPDATE delivery_jobs SET status = 'COMPLETED', finished_at = %s WHERE job_id = %s",
            NOW - timedelta(days=days),
            kept[days],
        )
        rows(
            database,
            "INSERT INTO delivery_attempts (tenant_id, job_id, at, latency_ms, outcome)"
            " VALUES ('acme', %s, %s, 1, 'delivered')",
            kept[days],
            NOW,
        )
    rows(database, "UPDATE fleet_alert SET status = 'CLOSED', closed_at = %s, close_reason = 'cleared'", NOW)
    of_open_alert = job(database)
    rows(
        database,
        "UPDATE delivery_jobs SET status = 'COMPLETED', finished_at = %s WHERE job_id = %s",
        NOW - timedelta(days=91),
        of_open_alert,
    )
    waiting = job(database, created_at=NOW - timedelta(days=400))
    await keep(database, trusted=False)
    assert len(rows(database, "SELECT 1 FROM delivery_jobs")) == 4
    await keep(database)
    assert rows(database, "SELECT job_id FROM delivery_jobs ORDER BY 1") == [(kept[89],), (of_open_alert,), (waiting,)]
    assert rows(database, "SELECT job_id FROM delivery_attempts") == [(kept[89],)]


async def test_jobs_of_an_integration_that_is_gone_say_so(database: Database) -> None:
    orphan = job(database, integration_id=uuid4())
    await keep(database)
    assert state(database, orphan) == ("SKIPPED", "integration_off")


async def test_the_queue_is_counted_by_what_each_notice_waits_for(database: Database) -> None:
    for columns in (
        {"next_run_at": NOW},
        {"next_run_at": NOW + timedelta(hours=1), "reason": "quiet_hours"},
        {"next_run_at": NOW + timedelta(hours=1), "reason": "retrying"},
        {"next_run_at": NOW, "reason": "unreachable"},
    ):
        job(database, **columns)
    text = (await keep(database)).exposition().decode()
    for label, count in (("due", 1), ("held", 1), ("retrying", 1), ("unreachable", 1), ("sending", 0)):
        assert f'appliance_delivery_queue{{state="{label}"}} {count}.0' in text


async def test_integrations_that_fail_are_counted_by_type(database: Database) -> None:
    for kind, since, enabled in (("webhook", NOW, True), ("slack", None, True), ("email", NOW, False)):
        identity = add_integration(database, type=kind, enabled=enabled)
        health = "INSERT INTO integration_health (tenant_id, integration_id, failing_since) VALUES ('acme', %s, %s)"
        rows(database, health, identity, since)
    metrics = await keep(database)
    for kind, count in (("webhook", 1.0), ("slack", 0.0), ("email", 0.0)):
        assert metrics.registry.get_sample_value("appliance_integrations_failing", {"type": kind}) == count
