"""What to do about each error."""

import psycopg
import pytest

from appliance.db.pool import PoolTimeout
from appliance.db.sqlstate import Failure, classify, classify_state
from appliance.db.trio_psycopg import CommitOutcomeUnknown, connect
from tests.support.postgres_server import Database

EXPECTED = {
    Failure.UNIQUE: ["23505"],
    Failure.RETRY: ["08000", "08003", "08006", "57P01", "57P02", "57P03", "57014", "40001", "40P01", "25006", "55P03"],
    Failure.RESOURCES: ["53000", "53100", "53200", "53300", "58030"],
    Failure.POISON: ["22003", "22P02", "22P05", "22021", "54000", "54001", "54011", "23502", "23503", "23P01"],
    Failure.STOP: ["42501", "42P01", "42703", "42601", "0A000", "25P02", "28P01", "3D000", "XX000", "XX001", "ZZZZZ"],
}


@pytest.mark.parametrize(("failure", "state"), [(f, state) for f, states in EXPECTED.items() for state in states])
def test_each_state_has_its_answer(failure: Failure, state: str) -> None:
    assert classify_state(state) is failure


def test_a_violated_check_is_not_a_missing_partition() -> None:
    assert classify_state("23514", "ingest_ledger_balanced") is Failure.POISON
    assert classify_state("23514") is Failure.NO_PARTITION


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (psycopg.OperationalError("connection lost"), Failure.RETRY),
        (PoolTimeout("none free"), Failure.RETRY),
        (CommitOutcomeUnknown("no answer"), Failure.RETRY),
        (psycopg.DataError("cannot dump"), Failure.POISON),
        (psycopg.ProgrammingError("no such parameter"), Failure.STOP),
        (psycopg.InterfaceError("the cursor is closed"), Failure.STOP),
    ],
)
def test_errors_that_never_reached_the_server(error: psycopg.Error, failure: Failure) -> None:
    assert classify(error) is failure


OF_NO_PARTITION = """
INSERT INTO telemetry (tenant_id, device_id, kind, ts, digest, received_at, ts_adjusted, late, metrics)
VALUES ('t', 'd', 'telemetry', '1999-01-01', 1, now(), false, false, '{}')
"""


SAID = [
    (OF_NO_PARTITION, Failure.NO_PARTITION),
    ("INSERT INTO ingest_ledger (minute, instance, received) VALUES (now(), 'i', 1)", Failure.POISON),
    ("SELECT repeat('[', 100000)::jsonb", Failure.POISON),
    ("SELECT '\"\\u0000\"'::jsonb", Failure.POISON),
    ("SELECT 1e400::float8", Failure.POISON),
    (
        "INSERT INTO tenants (created_at, updated_at, tenant_id) VALUES (now(), now(), 'a'), (now(), now(), 'a')",
        Failure.UNIQUE,
    ),
    ("SELECT * FROM nowhere", Failure.STOP),
    ("SELECT pg_terminate_backend(pg_backend_pid())", Failure.RETRY),
]


async def test_what_the_server_really_says(database: Database) -> None:
    for statement, failure in SAID:
        connection = await connect(database.conninfo())
        with pytest.raises(psycopg.Error) as caught:
            await connection.execute(statement.encode())
        connection.abandon()
        assert classify(caught.value) is failure, statement
