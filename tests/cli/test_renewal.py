"""``appliance subscription`` while the clock is in doubt: no subscription has ended, and none is renewed."""

import json
import time
from pathlib import Path

import psycopg
import pytest
from click.testing import Result

from appliance.cli.program import first_error
from appliance.errors import Conflict, KeyReused
from appliance.service_clock import machine, record
from appliance.service_clock.service_time import Cause, Doubt, Instant, Recorded
from tests.support.postgres_server import Database
from tests.support.program import invoke

DAY = 86_400.0


def run_subscription(folder: Path, database: Database, *arguments: str) -> Result:
    """Run ``appliance subscription ...`` on the database, with the record of the clock in ``folder``."""
    settings = {"APPLIANCE_DATA_DIR": str(folder), "APPLIANCE_DATABASE_URL": database.url}
    return invoke(settings, "subscription", *arguments)


def doubt(folder: Path, *, ahead: float, since: float) -> None:
    """Let the record of the service clock be so far ahead of the machine, in doubt for so long; in seconds."""
    elapsed = time.clock_gettime(time.CLOCK_BOOTTIME)
    at = time.time() + ahead
    record.write(folder, Recorded(Instant(at, elapsed, machine.boot_id()), Doubt(Cause.OFF, at - since)))


@pytest.mark.parametrize("how", [(), ("--dry-run",)])
def test_a_renewal_under_a_clock_in_doubt_is_refused_with_the_mend(
    database: Database, tmp_path: Path, how: tuple[str, ...]
) -> None:
    subscription = sold(database)
    doubt(tmp_path, ahead=14 * 3600, since=60)
    refused = run_subscription(tmp_path, database, "renew", subscription, "--days", "30", *how)
    assert refused.exception is not None
    error = first_error(refused.exception)
    assert isinstance(error, Conflict)
    assert "confirm the time" in str(error)


def test_what_ended_in_the_time_of_a_doubt_is_not_listed_as_ended(database: Database, tmp_path: Path) -> None:
    sold(database)
    doubt(tmp_path, ahead=40 * DAY, since=20 * DAY)
    listed = json.loads(run_subscription(tmp_path, database, "list", "--json").stdout)
    assert [row["status"] for row in listed] == ["ACTIVE"]


def test_a_look_before_a_repetition_says_that_it_changes_nothing(database: Database, tmp_path: Path) -> None:
    subscription = sold(database)
    with psycopg.connect(database.conninfo()) as connection:
        connection.execute("UPDATE subscriptions SET term_end = now() - interval '1 day'")
    renew = ("renew", subscription, "--days", "30", "--json")
    again = (*renew, "--again", "--key", "once more")
    for command in (renew, again):
        assert looked(tmp_path, database, *command)["would_change"] is True
        done = run_subscription(tmp_path, database, *command).stdout
        made = json.loads(done[done.index("{\n") :])  # the log comes before it
        assert made["changed"] is True
        told = looked(tmp_path, database, *command)
        assert told == {
            "subscription_id": subscription,
            "would_change": False,
            "term_end": made["new_term_end"],
            "note": "Already active",
        }
    used = run_subscription(
        tmp_path, database, "renew", subscription, "--days", "90", "--key", "once more", "--dry-run"
    )
    assert used.exception is not None
    assert isinstance(first_error(used.exception), KeyReused)


def looked(folder: Path, database: Database, *arguments: str) -> dict[str, object]:
    """What the command would do."""
    found: dict[str, object] = json.loads(run_subscription(folder, database, *arguments, "--dry-run").stdout)
    return found


def sold(database: Database) -> str:
    """A TEMPORARY subscription of which 30 days are left; its id."""
    with psycopg.connect(database.conninfo()) as connection:
        connection.execute("INSERT INTO tenants (created_at, updated_at, tenant_id) VALUES (now(), now(), 'acme')")
        connection.execute(
            "INSERT INTO subscriptions (created_at, tenant_id, subscription_id, subscription_type, device_limit,"
            " term_start, term_end, status) VALUES (now(), 'acme', 'SUB-1', 'TEMPORARY', 2, now() - interval '9 days',"
            " now() + interval '30 days', 'ACTIVE')"
        )
    return "SUB-1"
