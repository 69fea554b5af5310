"""The server that all database tests stand on."""

import psycopg
import pytest

from tests.support.postgres_server import Database, PostgresServer

pytestmark = pytest.mark.real  # servers of their own, which the fixtures' names do not tell


def test_a_clone_is_reachable_and_empty_of_others(database: Database) -> None:
    with psycopg.connect(database.conninfo()) as connection:
        row = connection.execute("SELECT current_database()").fetchone()
    assert row == (database.name,)


def test_data_outlives_a_power_cut() -> None:
    with PostgresServer() as server:
        with psycopg.connect(server.conninfo()) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
        server.kill()
        server.start()
        with psycopg.connect(server.conninfo()) as connection:
            assert connection.execute("SELECT one FROM kept").fetchone() == (1,)
