"""``migrate`` and ``psql`` on a real database, found by its address and by run.json."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.children.data_dir import locked_data_dir
from appliance.db.migrations import shipped
from tests.support.postgres_server import Database, PostgresServer, create_database, drop_database
from tests.support.program import run_program


@pytest.fixture
def empty(postgres_server: PostgresServer) -> Iterator[Database]:
    """A database nobody has prepared."""
    made = create_database(postgres_server)
    yield made
    drop_database(made)


def test_migrate_then_psql_on_an_external_database(empty: Database, tmp_path: Path) -> None:
    url = {"APPLIANCE_DATABASE_URL": empty.url}
    first = run_program("migrate", "--json", cwd=tmp_path, **url)
    assert first.returncode == 0, first.stderr
    steps = [migration.file_name for migration in shipped()]
    assert json.loads(first.stdout) == {"version": len(steps), "applied": steps}
    again = run_program("migrate", cwd=tmp_path, **url)
    assert again.stdout == f"schema version {len(steps)}, nothing to do\n"
    asked = run_program("psql", "-At", "-c", "SELECT current_database(), current_user", cwd=tmp_path, **url)
    assert asked.stdout == f"{empty.name}|appliance_ingest\n", asked.stderr


def test_psql_on_the_appliance_that_runs(empty: Database, tmp_path: Path) -> None:
    run = {"pid": os.getpid(), "web_url": "", "mqtt_host": "", "mqtt_port": 1, "socket_dir": str(tmp_path)}
    run["database"] = f"host={empty.server.socket_dir} port={empty.server.port} dbname={empty.name}"
    with locked_data_dir(tmp_path):
        (tmp_path / "run.json").write_text(json.dumps(run))
        asked = run_program("psql", "-At", "-c", "SELECT current_user", cwd=tmp_path, APPLIANCE_DATA_DIR=str(tmp_path))
        failed = run_program("psql", "-c", "SELECT 1/0", cwd=tmp_path, APPLIANCE_DATA_DIR=str(tmp_path))
    assert asked.stdout == "postgres\n", asked.stderr
    assert failed.returncode == 1, "psql's own exit code"


def test_a_database_that_cannot_be_reached_is_one_line(tmp_path: Path) -> None:
    url = f"postgresql://me:correct-horse-battery@/x?host={tmp_path}"
    done = run_program("migrate", cwd=tmp_path, APPLIANCE_DATABASE_URL=url)
    assert done.returncode == 1
    assert done.stderr.startswith("error: the database cannot be reached: ")
    assert done.stderr.count("\n") == 1
    assert "battery" not in done.stderr
