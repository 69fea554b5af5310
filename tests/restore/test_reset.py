"""What a restored database begins anew: whoever had a promise or a lease of the old machine has none here."""

from datetime import UTC, date, datetime, timedelta

import psycopg

from appliance.db.audit import Actor, ActorKind
from appliance.db.change_context import ChangeContext
from appliance.db.roles import OWNER
from appliance.db.trio_psycopg import connect
from appliance.restore import reset
from tests.support.alerts import add_alert
from tests.support.couriers import NOON, PlayedSender, close, open_couriers, rows
from tests.support.postgres_server import Database
from tests.support.retention import TENANTS, make_days, store
from tests.support.routes import add_integration, add_route

AT = datetime.fromtimestamp(NOON, UTC)
MADE = AT - timedelta(days=1)
CONTEXT = ChangeContext(Actor("kim", ActorKind.COMMAND), AT, AT, user_id=None)
OF_THE_OLD_MACHINE = """
INSERT INTO users (email, name, role, created_at) VALUES ('a@b.example', 'A', 'operator', now());
INSERT INTO sessions (session_hash, user_id, created_at, seen_at, idle_until, expires_at, kept)
  SELECT sha256('s'), user_id, now(), now(), now() + '1 day', now() + '1 day', true FROM users;
INSERT INTO links (link_hash, purpose, user_id, expires_at)
  SELECT sha256('l'), 'password', user_id, now() + '1 h' FROM users;
INSERT INTO api_requests (user_id, key_hash, sealed, asked_at, until)
  SELECT user_id, sha256('k'), 'x', now(), now() + '1 day' FROM users;
INSERT INTO broker_copies (instance, lock_key, applied, applied_at) VALUES ('one', 1, '900000:900000:', now());
INSERT INTO clock_confirmations (instance, wall, elapsed, boot_id) VALUES ('one', now(), 1, 'boot');
INSERT INTO watchdog_probes (instance, number, at) VALUES ('one', 1, now());
INSERT INTO quarantine_replays (selection, status, total, last_id, created_at, created_by, instance, beat_at)
  VALUES ('{}', 'RUNNING', 9, 9, now(), 'kim', 'one', now());
INSERT INTO tenant_deletions (deleted_tenant, status, requested_at, requested_by, beat_at, removed_at,
  removed_by_transaction) VALUES ('gone', 'CHECKING', now(), 'kim', now(), now(), '900000');
"""


async def begin(database: Database) -> int:
    async with await connect(database.conninfo(OWNER)) as connection:
        return await reset.reset_database(connection, CONTEXT, MADE, {"instance": "one"})


async def test_sessions_leases_and_what_a_server_counted_begin_anew(database: Database) -> None:
    rows(database, OF_THE_OLD_MACHINE)
    assert await begin(database) == 0
    for table in ("sessions", "links", "api_requests", "broker_copies", "clock_confirmations", "watchdog_probes"):
        assert rows(database, f"SELECT count(*) FROM {table}") == [(0,)], table
    assert rows(database, "SELECT count(*) FROM users") == [(1,)]
    assert rows(database, "SELECT status, instance, beat_at FROM quarantine_replays") == [("WAITING", None, None)]
    [(beat_at, meaningful)] = rows(
        database,
        "SELECT beat_at, removed_by_transaction < pg_snapshot_xmax(pg_current_snapshot()) FROM tenant_deletions",
    )
    assert (beat_at, meaningful) == (None, True)
    assert rows(database, "SELECT restored_at, made_at, confirmed_at FROM restores") == [(AT, MADE, None)]
    [(actor, after)] = rows(database, "SELECT actor, after FROM audit_log WHERE action = 'restore.apply'")
    assert (actor, after["backup_of"], after["skipped_notices"]) == ("kim", MADE.isoformat(), 0)
    await begin(database)
    assert rows(database, "SELECT count(*) FROM restores") == [(1,)], "the hold is written once"


async def test_readings_of_all_tenants_before_a_day_are_counted(database: Database) -> None:
    last = date(2026, 11, 3)
    await make_days(database, date(2026, 11, 1), last)
    for readings, tenant, day in ((3, TENANTS[0], 1), (4, TENANTS[1], 2), (5, TENANTS[0], 3)):
        store(database, date(2026, 11, day), readings, tenant=tenant)
    async with await connect(database.conninfo(OWNER)) as connection:
        assert await reset.count_before(connection, last) == 7


async def test_what_was_not_delivered_is_skipped_and_what_it_opened_gets_its_end(database: Database) -> None:
    add_route(database, add_integration(database), deliver_on=["OPEN", "CLOSED"], delay_seconds=3600)
    pending, sending, dead, told = (add_alert(database, created_at=AT) for _ in range(4))
    with psycopg.connect(database.conninfo(), autocommit=True) as connection:
        for alert, changes in (
            (sending, "status = 'PROCESSING', leased_by = 'one', lease_until = now() + interval '1 min'"),
            (dead, "status = 'DEAD', reason = 'refused', receipt = 'refused', finished_at = now()"),
            (told, "status = 'COMPLETED', receipt = 'confirmed', finished_at = now()"),
        ):
            connection.execute(f"UPDATE delivery_jobs SET {changes} WHERE alert_id = %s".encode(), [alert])
    assert await begin(database) == 3
    assert rows(database, "SELECT alert_id, status, reason, receipt FROM delivery_jobs ORDER BY alert_id") == [
        (pending, "SKIPPED", "restored", "possible"),
        (sending, "SKIPPED", "restored", "possible"),
        (dead, "SKIPPED", "restored", "refused"),
        (told, "COMPLETED", None, "confirmed"),
    ]
    rows(database, "UPDATE restores SET confirmed_at = now(), confirmed_by = 'kim'")
    sender = PlayedSender()
    async with open_couriers(database, sender) as couriers:
        for alert in (pending, sending, dead, told):
            close(database, alert, NOON)
        await couriers.rest()
    assert sorted(sender.told()) == [("CLOSED", pending), ("CLOSED", sending), ("CLOSED", told)]


async def test_the_guard_of_a_load_skips_and_holds_in_any_schema(database: Database) -> None:
    add_route(database, add_integration(database))
    add_alert(database, created_at=AT)
    rows(database, reset.guard(AT, MADE))
    assert rows(database, "SELECT status, reason FROM delivery_jobs") == [("SKIPPED", "restored")]
    assert rows(database, "SELECT made_at FROM restores WHERE confirmed_at IS NULL") == [(MADE,)]
    rows(database, "DROP TABLE restores; DROP TABLE delivery_jobs CASCADE")
    rows(database, reset.guard(AT, MADE))
