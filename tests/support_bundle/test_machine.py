"""What is told of the machine."""

from pathlib import Path

import pytest

from appliance.children.mosquitto_files import CONFIGURATION
from appliance.support_bundle import machine


def test_of_an_option_that_may_hold_a_secret_only_the_name_is_told(tmp_path: Path) -> None:
    (tmp_path / "mosquitto").mkdir()
    (tmp_path / "mosquitto" / CONFIGURATION).write_text(
        "# a comment\nlistener 1883\nmax_connections 10\nremote_password canary-1\nauth_opt_key canary-2\n\n"
    )
    assert machine.broker(tmp_path) == "listener 1883\nmax_connections 10\nremote_password (set)\nauth_opt_key (set)\n"


def test_a_broker_that_was_never_started_has_no_settings(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        machine.broker(tmp_path)


def test_the_data_folder_is_measured_entry_by_entry(tmp_path: Path) -> None:
    (tmp_path / "postgres" / "base").mkdir(parents=True)
    (tmp_path / "postgres" / "base" / "1").write_bytes(bytes(5000))
    (tmp_path / "run.json").write_bytes(bytes(10))
    (tmp_path / "sockets").symlink_to("/nowhere")
    found = machine.disk(tmp_path)
    assert found["entries"] == {"postgres": 5000, "run.json": 10, "sockets": len("/nowhere")}
    assert found["bytes"]["total"] > found["bytes"]["free"] > 0
    assert found["file_system"]["type"]


async def test_the_versions_are_those_of_what_runs() -> None:
    found = await machine.versions()
    assert found["packages"]["psycopg"].startswith("3.")
    assert int(found["postgres_program"]) >= 15
    assert found["mosquitto_program"].startswith("2.")
