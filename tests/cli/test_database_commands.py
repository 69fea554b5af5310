"""``migrate`` and ``psql`` on a real database, found by its address and by run.json."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.children.data_dir import locked_data_dir
from appliance.db.migrations import shipped
from tests.support.postgres_server import Database, PostgresServer, create_database, drop_database
from tests.support.project import ROOT


@pytest.fixture
def empty(postgres_server: PostgresServer) -> Iterator[Database]:
    """A database nobody has prepared."""
    made = create_database(postgres_server)
    yield made
    drop_database(made)


def _run(*arguments: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "appliance", *arguments],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def _url(database: Database) -> str:
    return f"postgresql://postgres@/{database.name}?host={database.server.socket_dir}"


def test_migrate_then_psql_on_an_external_database(empty: Database, tmp_path: Path) -> None:
    url = {"APPLIANCE_DATABASE_URL": _url(empty)}
    first = _run("migrate", "--json", cwd=tmp_path, **url)
    assert first.returncode == 0, first.stderr
    steps = [migration.file_name for migration in shipped()]
    assert json.loads(first.stdout) == {"version": len(steps), "applied": steps}
    again = _run("migrate", cwd=tmp_path, **url)
    assert again.stdout == f"schema version {len(steps)}, nothing to do\n"
    asked = _run("psql", "-At", "-c", "SELECT current_database(), current_user", cwd=tmp_path, **url)
    assert asked.stdout == f"{empty.name}|appliance_ingest\n", asked.stderr


def test_psql_on_the_appliance_that_runs(empty: Database, tmp_path: Path) -> None:
    run = {"pid": os.getpid(), "web_url": "", "mqtt_host": "", "mqtt_port": 1, "socket_dir": str(tmp_path)}
    run["database"] = f"host={empty.server.socket_dir} port={empty.server.port} dbname={empty.name}"
    with locked_data_dir(tmp_path):
        (tmp_path / "run.json").write_text(json.dumps(run))
        asked = _run("psql", "-At", "-c", "SELECT current_user", cwd=tmp_path, APPLIANCE_DATA_DIR=str(tmp_path))
        failed = _run("psql", "-c", "SELECT 1/0", cwd=tmp_path, APPLIANCE_DATA_DIR=str(tmp_path))
    assert asked.stdout == "postgres\n", asked.stderr
    assert failed.returncode == 1, "psql's own exit code"


def test_a_database_that_cannot_be_reached_is_one_line(tmp_path: Path) -> None:
    url = f"postgresql://me:correct-horse-battery@/x?host={tmp_path}"
    done = _run("migrate", cwd=tmp_path, APPLIANCE_DATABASE_URL=url)
    assert done.returncode == 1
    assert done.stderr.startswith("error: the database cannot be reached: ")
    assert done.stderr.count("\n") == 1
    assert "battery" not in done.stderr
