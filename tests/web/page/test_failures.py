"""What people are told while the appliance is not ready, and when another transaction was in the way of theirs."""

from typing import Any

import psycopg
import pytest

from appliance.diagnostics.readiness import Health
from appliance.web.page.failures import MET, NO_ROOM, ROLLED_BACK, trouble_text
from tests.support.pipeline import arrange
from tests.support.postgres_server import Database
from tests.support.tenants import TENANT, add_tenant, ingest, sell
from tests.support.web.api_caller import calling, dashboard
from tests.support.web.serving import over


def test_the_banner_names_what_is_away_and_what_that_means() -> None:
    assert trouble_text({}) is None
    assert "broker queues messages" in str(trouble_text({"postgres": "restarting", "schema": "unknown"}))
    assert "restarting" in str(trouble_text({"broker": "restarting"}))
    assert "Devices cannot publish" in str(trouble_text({"publishing": "refused"}))
    assert "not stored: a lock" in str(trouble_text({"storing": "a lock"}))
    full = trouble_text({"postgres": "is waiting", "disk": "the disk is full: 3 MB are free"})
    assert str(full).startswith("The disk is full: 3 MB are free. Messages wait in the broker. Remove what is not")


async def test_a_change_that_met_a_manual_transaction_is_told_so_and_may_be_sent_again(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        main = await sell(connection, 5)
    asked = {"subscription_id": main.subscription_id, "term_days": 30, "new_device_limit": 9}
    with psycopg.connect(database.conninfo()) as manual:
        manual.execute(f"ALTER DATABASE {database.name} SET lock_timeout = '100ms'".encode())
        manual.commit()
        manual.execute(b"SELECT FROM subscriptions WHERE tenant_id = %s FOR UPDATE", [TENANT])
        async with dashboard(database) as served, calling(served, database) as admin:
            refused = await admin.ask("POST", "/customer/subscription/renew", 503, json=asked)
            assert refused["detail"] == MET
            answer = await admin.raw("POST", "/customer/subscription/renew", json=asked)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
            manual.rollback()
            assert (await admin.ask("POST", "/customer/subscription/renew", json=asked))["changed"]


async def test_a_change_without_room_on_the_disk_is_told_so_and_saves_nothing(database: Database) -> None:
    arrange(
        database,
        "CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$",
        "CREATE TRIGGER no_room AFTER INSERT ON sites FOR EACH STATEMENT EXECUTE FUNCTION no_room()",
    )
    async with dashboard(database) as served, calling(served, database) as admin:
        refused = await admin.ask("POST", "/customer/sites", 507, json={"site_id": "hall-3"})
        assert (refused["code"], refused["detail"]) == ("DISK_FULL", NO_ROOM)
        assert (await admin.ask("GET", "/customer/sites"))["items"] == []


async def test_a_full_disk_takes_no_import_and_still_says_what_one_would_do(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        await sell(connection, 5)
    full, rows = Health(None, None, None, disk="the disk is full"), "device_id\npump-1\n"
    async with over(database, health=lambda: full) as served, calling(served, database) as admin:
        given: dict[str, Any] = {"content": rows, "headers": {"Content-Type": "text/csv"}}
        answer = await admin.raw("POST", "/customer/devices/import", **given)
        assert (answer.status_code, answer.json()["code"]) == (507, "DISK_FULL")
        assert (await admin.ask("GET", "/customer/devices"))["items"] == []
        answer = await admin.raw("POST", "/customer/devices/import?dry_run=true", **given)
        assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("error", ROLLED_BACK)
def test_errors_of_a_transaction_that_met_another_do_not_count_as_a_database_that_is_away(
    error: type[psycopg.Error],
) -> None:
    assert (error.sqlstate or "")[:2] in {"40", "55"}
    assert issubclass(error, psycopg.OperationalError), "the more exact handler is for these"
