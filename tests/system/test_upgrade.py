"""A newer program on an old database, and an old one on a newer: what is refused, and the way back."""

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance import __version__
from appliance.db.migrations import shipped
from tests.support.appliance_process import ApplianceProcess
from tests.support.newer_program import VERSION, newer_program
from tests.support.postgres_server import Database
from tests.support.project import ROOT

STEP = "CREATE TABLE newer (n integer);"


@pytest.fixture
def old(database: Database) -> Iterator[ApplianceProcess]:
    """An appliance on an external database, not started yet."""
    process = ApplianceProcess({"APPLIANCE_DATABASE_URL": database.url})
    yield process
    process.close()


@pytest.fixture
def new(old: ApplianceProcess, tmp_path: Path) -> Iterator[ApplianceProcess]:
    """Another one on the same database, of a newer program; not started yet."""
    process = ApplianceProcess({"APPLIANCE_DATABASE_URL": old.settings["APPLIANCE_DATABASE_URL"]})
    process.program = newer_program(tmp_path / "newer", STEP)
    yield process
    process.close()


def test_nobody_migrates_while_an_older_program_runs_and_one_that_runs_on_ends(
    old: ApplianceProcess, new: ApplianceProcess
) -> None:
    old.start()
    [(instance,)] = old.query("SELECT instance FROM ingest_instances")
    new.launch()
    assert new.process is not None
    assert new.process.wait(60) == 1
    named = f"another program runs on it: {socket.gethostname()} (version {__version__}, instance {instance})"
    assert named in new.tail()
    assert "Stop it; when every appliance on this database is stopped, start one with this version" in new.tail()
    assert old.query("SELECT max(version) FROM schema_migrations") == [(len(shipped()),)]

    done = new.command("migrate", "--despite-peers")
    assert done == {"version": len(shipped()) + 1, "applied": [f"{len(shipped()) + 1:04}_newer.sql"]}
    assert old.process is not None
    assert old.process.wait(60) == 1, "it must not write into a schema that it does not know"
    assert "the database was migrated while this program ran, which ends" in old.tail()
    assert old.children() == []

    old.launch()
    assert old.process.wait(60) == 1
    said = old.tail()
    assert f"made by version {VERSION}; this is version {__version__}" in said
    assert "restore a backup made by it: `appliance restore FILE --replace`" in said
    assert "Traceback" not in said


def test_the_copy_before_an_upgrade_leads_back_with_all_of_it(appliance: ApplianceProcess, tmp_path: Path) -> None:
    appliance.furnish()
    appliance.command("tenant", "add", "acme")
    appliance.program = newer_program(tmp_path / "newer", f"{STEP} DROP TABLE tenants CASCADE;")
    assert appliance.command("migrate")["version"] == len(shipped()) + 1
    appliance.program = ROOT
    refused = appliance.invoke("tenant", "list")
    way = re.search(r"`appliance (restore \S+ --replace)`.* no readings received since would be lost", refused.stderr)
    assert way is not None, refused.stderr
    restored = appliance.invoke(*way[1].split())
    assert restored.returncode == 0, restored.stderr
    assert [tenant["tenant_id"] for tenant in appliance.command("tenant", "list")] == ["acme"]
