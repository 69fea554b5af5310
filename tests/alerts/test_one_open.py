"""P13: of one tenant and fingerprint, one alert at a time is not closed, whoever opens it and however many at once."""

from collections import Counter

import psycopg
import pytest

from tests.alerts.contender import FINGERPRINT
from tests.support.alerts import add_alert
from tests.support.contenders import PROCESSES, contend
from tests.support.postgres_server import Database
from tests.support.tenants import INGEST, TENANT, add_tenant, ingest

CALLERS = 50
"""In each process."""


def open_and_close(database: Database, rounds: int) -> Counter[str]:
    """Two processes with fifty callers each; what became of all tries."""
    return contend("tests.alerts.contender", database.conninfo(INGEST), str(CALLERS), str(rounds))


def statuses(database: Database) -> Counter[str]:
    with psycopg.connect(database.conninfo()) as connection:
        rows = connection.execute("SELECT status FROM fleet_alert WHERE fingerprint = %s", [FINGERPRINT]).fetchall()
    return Counter(status for (status,) in rows)


async def test_a_hundred_callers_in_two_processes_open_one_alert(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection, TENANT)
    outcomes = open_and_close(database, rounds=1)
    assert outcomes == {"opened": 1, "there": PROCESSES * CALLERS - 1}
    assert statuses(database) == {"OPEN": 1}


async def test_opened_and_closed_by_all_at_once_no_two_are_ever_open(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection, TENANT)
    outcomes = open_and_close(database, rounds=4)
    found = statuses(database)
    assert outcomes["opened"] + outcomes["there"] == PROCESSES * CALLERS * 4
    assert found["OPEN"] <= 1
    assert found["CLOSED"] == outcomes["done"] > 0, "each was closed by one of those who tried"
    assert sum(found.values()) == outcomes["opened"]


def test_the_same_fingerprint_is_free_for_another_tenant_and_after_the_end(database: Database) -> None:
    add_alert(database, fingerprint="f")
    add_alert(database, "rival", fingerprint="f")
    add_alert(database, fingerprint="f", status="CLOSED")
    for status in ("OPEN", "ACKNOWLEDGED"):
        with pytest.raises(psycopg.errors.UniqueViolation, match="fleet_alert_one_open"):
            add_alert(database, fingerprint="f", status=status)
