"""What an alert costs does not grow with the alerts that there were before."""

import psycopg

from appliance.db import statements
from tests.support.plans import kept_plan
from tests.support.postgres_server import Database

BY_KEY = {
    "lock_states": {"alert_rule_state"},
    "load_states": {"alert_rule_state"},
    "write_states": {"alert_rule_state"},
    "close_alerts": {"fleet_alert"},
    "cancel_ends": {"fleet_alert"},
    "open_alerts": {"alert_rules", "device_registry"},
    "count_triggers": {"fleet_alert"},
}
"""Statements that are about what a batch names, and the tables that they look into."""


def test_rows_are_found_by_key_although_nothing_is_known_of_the_tables(database: Database) -> None:
    queries = statements.load("alert_engine")
    with psycopg.connect(database.conninfo()) as connection:
        connection.execute(statements.load("ingest")["begin_effects"].encode(), {"milliseconds": 1000})
        for name, tables in BY_KEY.items():
            plan = kept_plan(connection, name, queries[name])
            assert not [table for table in tables if f"Seq Scan on {table}" in plan], plan
            assert [table for table in tables if f"on {table}" in plan] == list(tables), plan


def test_the_other_statements_of_a_batch_are_planned_as_ever(database: Database) -> None:
    names = ("lock_timeout", "plan_cache_mode", "enable_seqscan")
    ask = "SELECT " + ", ".join(f"current_setting('{name}')" for name in names)
    queries = statements.load("ingest")
    with psycopg.connect(database.conninfo()) as connection:
        before = connection.execute(ask.encode()).fetchone()
        connection.execute(queries["begin_effects"].encode(), {"milliseconds": 1000})
        assert connection.execute(ask.encode()).fetchone() == ("1s", "force_generic_plan", "off")
        connection.execute(queries["end_effects"].encode())
        assert connection.execute(ask.encode()).fetchone() == before
