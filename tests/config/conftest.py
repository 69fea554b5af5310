"""Every test of the configuration runs in a folder of its own."""

from pathlib import Path

import pytest

from appliance.config import file as config_file


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Change to an empty folder, so that no machine's own file in /etc plays a part."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(config_file, "STANDARD_PLACES", (Path("appliance.toml"), tmp_path / "etc.toml"))
