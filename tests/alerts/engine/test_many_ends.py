"""A change of a rule that ends very many alerts holds nothing up: the first thousand at once, the others in slices."""

import psycopg
import pytest

from appliance.alerts.engine import upkeep
from tests.alerts.engine.test_observer import WARM
from tests.support.engine import add_rule, open_engine
from tests.support.pipeline import arrange, furnish, look
from tests.support.postgres_server import Database
from tests.support.routes import add_integration, add_route

AT_ONCE = 1000
MANY = AT_ONCE + 250
OPEN_MANY = """
INSERT INTO fleet_alert (tenant_id, device_id, rule_id, rule_version, alert_type, fingerprint, severity, summary,
  created_at, started_at, last_triggered_at, due_at)
SELECT tenant_id, 'd' || n, rule_id, version, 'THRESHOLD', 'rule:' || rule_id || ':d' || n, severity, name, now(),
  now(), now(), now()
FROM alert_rules, generate_series(1, {number}) AS n WHERE built_in IS NULL"""
TELL_MANY = (
    "INSERT INTO alert_events (tenant_id, alert_id, at, kind) SELECT tenant_id, id, now(), 'opened' FROM fleet_alert"
)
CHANGES = {
    "rule_disabled": "UPDATE alert_rules SET enabled = false, updated_at = now()",
    "rule_deleted": "UPDATE alert_rules SET deleted_at = now(), updated_at = now()",
}
BY_STATE = "SELECT status, close_reason, count(*) FROM fleet_alert GROUP BY 1, 2 ORDER BY 1"


@pytest.mark.parametrize("reason", CHANGES)
async def test_all_alerts_of_a_rule_end_with_their_reason_and_are_told(
    database: Database, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    monkeypatch.setattr(upkeep, "SLICE_ENDS", 100)
    await furnish(database)
    add_rule(database, WARM)
    add_route(database, add_integration(database))
    arrange(database, OPEN_MANY.format(number=MANY), TELL_MANY, f"{CHANGES[reason]} WHERE built_in IS NULL")
    assert look(database, BY_STATE) == [("CLOSED", reason, AT_ONCE), ("OPEN", None, MANY - AT_ONCE)]
    async with open_engine(database) as engine:
        await engine.upkeep.round()
    assert look(database, BY_STATE) == [("CLOSED", reason, MANY)]
    assert look(database, "SELECT count(*) FROM alert_ends") == [(0,)]
    assert look(database, "SELECT count(DISTINCT closed_at) FROM fleet_alert") == [(1,)], "at the time of the change"
    assert look(database, "SELECT event, count(*) FROM delivery_jobs GROUP BY 1 ORDER BY 1") == [
        ("CLOSED", MANY),
        ("OPEN", MANY),
    ]


async def test_a_slice_that_somebody_holds_waits_and_the_others_go_on(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "SLICE_ENDS", 10)
    await furnish(database)
    add_rule(database, WARM)
    arrange(database, OPEN_MANY.format(number=AT_ONCE + 35), f"{CHANGES['rule_disabled']} WHERE built_in IS NULL")
    left = "SELECT id FROM fleet_alert WHERE status = 'OPEN' ORDER BY id LIMIT 20"
    with psycopg.connect(database.conninfo()) as person:
        person.execute(f"{left} FOR UPDATE".encode())
        async with open_engine(database) as engine:
            await engine.upkeep.round()
            assert [count for status, _, count in look(database, BY_STATE) if status == "OPEN"] == [20]
            person.rollback()
            await engine.upkeep.round()
    assert look(database, BY_STATE) == [("CLOSED", "rule_disabled", AT_ONCE + 35)]
