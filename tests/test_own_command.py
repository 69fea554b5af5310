"""What a process of ours starts when it starts the program once more."""

import subprocess
import sys
from pathlib import Path

import pytest

from appliance import __version__
from appliance.own_command import own_command


def test_the_program_starts_itself_past_a_folder_that_has_its_name(tmp_path: Path) -> None:
    (tmp_path / "appliance").mkdir()
    (tmp_path / "appliance" / "__init__.py").write_text("raise SystemExit(3)")

    done = subprocess.run(own_command("version"), cwd=tmp_path, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout.split()[:2]) == (0, ["appliance", __version__]), done.stderr


def test_the_single_file_starts_itself_without_an_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(sys, "executable", "/opt/appliance/appliance")

    assert own_command("backup", "FILE") == ["/opt/appliance/appliance", "backup", "FILE"]
