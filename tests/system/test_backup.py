"""A whole appliance has a backup made when an operator asks for it, and tells what became of it."""

import json
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from appliance.backup.archive import open_backup, read_archive
from tests.support.appliance_process import ApplianceProcess

PASSPHRASE = "canary-horse-battery-staple"


def ask(appliance: ApplianceProcess, token: str, path: str, method: str) -> tuple[int, Any]:
    request = urllib.request.Request(
        f"{appliance.run['web_url']}{path}", headers={"Authorization": f"Bearer {token}"}, method=method
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def backups(appliance: ApplianceProcess, token: str) -> dict[str, Any]:
    found: dict[str, Any] = ask(appliance, token, "/operator/system", "GET")[1]["backups"]
    return found


def settled(appliance: ApplianceProcess, token: str) -> dict[str, Any]:
    """Return the state of backups once none is made."""
    deadline = time.monotonic() + 60
    while True:
        state = backups(appliance, token)
        if not state["running"] and state["last_at"] is not None:
            return state
        assert time.monotonic() < deadline, appliance.tail()
        time.sleep(0.05)


def test_an_operator_has_one_made_and_the_appliance_tells_of_it(tmp_path: Path, appliance: ApplianceProcess) -> None:
    folder = tmp_path / "backups"
    appliance.settings |= {"APPLIANCE_BACKUP_FOLDER": str(folder), "APPLIANCE_BACKUP_PASSPHRASE": PASSPHRASE}
    appliance.start()
    token = appliance.command("token", "add", appliance.set_up().email, "--scopes", "read,write")["token"]
    assert backups(appliance, token)["good_at"] is None
    assert ask(appliance, token, "/operator/system/backup", "POST") == (202, {"asked": True})
    state = settled(appliance, token)
    assert state["last_error"] == f"backup.folder {folder} is not there: mount the disk, or make the folder"
    folder.mkdir()
    assert ask(appliance, token, "/operator/system/backup", "POST")[0] == 202
    deadline = time.monotonic() + 60
    while (state := settled(appliance, token))["good_at"] is None:
        assert time.monotonic() < deadline, appliance.tail()
    assert state["last_error"] is None
    assert [path.name for path in folder.iterdir()] == [state["good_file"]]
    with open_backup(folder / state["good_file"], PASSPHRASE) as stream:
        assert len(list(read_archive(stream))) > 3
    asked = appliance.query("SELECT actor_kind FROM audit_log WHERE action = 'backup.request' ORDER BY at")
    made = appliance.query("SELECT actor, actor_kind FROM audit_log WHERE action = 'backup.make'")
    assert asked == [("token",), ("token",)]
    assert made == [("backup", "appliance")]
    assert b"appliance_backup_bytes 0.0" not in appliance.get("/metrics")
    assert PASSPHRASE.encode() not in appliance.log.read_bytes()
