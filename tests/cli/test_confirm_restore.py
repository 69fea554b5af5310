"""``appliance confirm-restore``: notices are sent again, once, with a row in the audit."""

from contextlib import closing

import psycopg

from tests.cli.test_administration import ask
from tests.support.appliance_process import ApplianceProcess
from tests.support.pipeline import look
from tests.support.postgres_server import Database


def test_the_hold_is_ended_once_and_recorded(database: Database) -> None:
    with psycopg.connect(database.conninfo(), autocommit=True) as connection:
        connection.execute("INSERT INTO restores (restored_at, made_at) VALUES (now(), now() - interval '1 day')")
    with closing(ApplianceProcess()) as process:
        process.settings["APPLIANCE_DATABASE_URL"] = database.url
        assert ask(process, "confirm-restore") == {"confirmed": True, "released": 0}
        assert ask(process, "confirm-restore") == {"confirmed": False, "released": 0}
    assert look(database, "SELECT action, actor_kind FROM audit_log WHERE action = 'restore.confirm'") == [
        ("restore.confirm", "command")
    ]
