"""``appliance tenant export`` and ``delete`` on the machine."""

import json
import os
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import click.testing
import pytest
from structlog.testing import capture_logs

from appliance.children.data_dir import open_data_dir
from appliance.errors import Invalid, NotFound
from appliance.upgrade.copies import FOLDER, name_of
from tests.support.offboarding import fill, rows_of
from tests.support.pipeline import look
from tests.support.postgres_server import Database
from tests.support.program import invoke

LEAVING, STAYING = "acme", "rival"


def run(
    database: Database, *arguments: str, typed: str | None = None, data_dir: Path | None = None
) -> click.testing.Result:
    """Run ``appliance tenant ...`` on the database."""
    settings = {"APPLIANCE_DATABASE_URL": database.url}
    if data_dir is not None:
        settings["APPLIANCE_DATA_DIR"] = str(data_dir)
    return invoke(settings, "tenant", *arguments, typed=typed)


def test_an_export_is_a_new_file_for_its_owner_alone(database: Database, tmp_path: Path) -> None:
    fill(database, LEAVING)
    file = tmp_path / "acme.zip"
    done = run(database, "export", LEAVING, str(file), "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.output) == {"tenant_id": LEAVING, "file": str(file), "bytes": file.stat().st_size}
    assert zipfile.ZipFile(file).testzip() is None
    assert file.stat().st_mode & 0o777 == 0o600
    kept = file.read_bytes()
    again = run(database, "export", LEAVING, str(file))
    assert isinstance(again.exception, Invalid)
    assert "exists already" in str(again.exception)
    assert file.read_bytes() == kept
    nobody = run(database, "export", "nobody", str(tmp_path / "nobody.zip"))
    assert isinstance(nobody.exception, NotFound)
    assert [path.name for path in tmp_path.iterdir()] == ["acme.zip"]


@pytest.mark.parametrize("typed", ["rival\n", "acme\nn\n", "acme\n\n", ""])
def test_a_deletion_is_asked_for_twice_and_any_other_answer_deletes_nothing(database: Database, typed: str) -> None:
    fill(database, LEAVING)
    refused = run(database, "delete", LEAVING, typed=typed)
    assert refused.exit_code != 0
    assert look(database, "SELECT status FROM tenants WHERE tenant_id = %s", LEAVING) == [("ACTIVE",)]
    assert look(database, "SELECT 1 FROM tenant_deletions") == []


def test_without_an_appliance_the_command_does_the_work(database: Database) -> None:
    fill(database, LEAVING, STAYING)
    whole = rows_of(database, STAYING)
    done = run(database, "delete", LEAVING, typed="acme\ny\n")
    assert done.exit_code == 0, done.output
    assert "5 devices with all of their readings" in done.output
    assert "none is left in any table" in done.output
    assert rows_of(database, LEAVING) == {}
    assert rows_of(database, STAYING) == whole


def test_what_is_kept_of_a_deleted_tenant_is_told(database: Database, tmp_path: Path) -> None:
    fill(database, LEAVING, STAYING)
    with capture_logs(), open_data_dir(tmp_path):
        pass
    none = run(database, "delete", LEAVING, typed="acme\ny\n", data_dir=tmp_path)
    assert "no copy made before is kept here" in none.output
    made_at = datetime(2026, 5, 1, 3, 15, 2, tzinfo=UTC)
    copy = tmp_path / FOLDER / name_of(37, 40, made_at)
    copy.parent.mkdir()
    copy.touch()
    os.utime(copy, (made_at.timestamp(), made_at.timestamp()))
    told = run(database, "delete", STAYING, typed="rival\ny\n", data_dir=tmp_path)
    assert f"still in {copy} of 2026-05-01 03:15 UTC: removed after 2026-05-31 03:15 UTC" in told.output
