"""The table of commands, and the commands that need no server."""

import json
import os
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from appliance.children.data_dir import locked_data_dir
from appliance.cli import COMMANDS, cli
from appliance.cli.psql import find_psql
from appliance.config import FIELDS
from appliance.db.endpoint import environment
from appliance.errors import ApplianceError


def _invoke(*arguments: str, **environ: str) -> Result:
    return CliRunner().invoke(cli, arguments, env=environ, catch_exceptions=False)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in [name for name in os.environ if name.startswith("APPLIANCE_")]:
        monkeypatch.delenv(variable)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_can_be_imported_and_explains_itself(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.help
    help_text = _invoke(name, "--help").output
    assert f"appliance {name}" in help_text.replace("cli ", "appliance ")


def test_help_lists_every_command() -> None:
    output = _invoke("--help").output
    assert all(f"  {name} " in output for name in COMMANDS)


def test_check_config_names_every_value_and_its_origin() -> None:
    Path("a.toml").write_text("web.port = 81\n")
    lines = _invoke("--config", "a.toml", "check-config", APPLIANCE_LOG_LEVEL="debug").stdout.splitlines()
    assert lines[0].split() == ["KEY", "VALUE", "FROM"]
    assert [line.split()[0] for line in lines[1:]] == list(FIELDS)
    rows = {line.split()[0]: line.split()[1:] for line in lines}
    assert rows["web.port"] == ["81", "a.toml:1"]
    assert rows["log.level"] == ["debug", "$APPLIANCE_LOG_LEVEL"]
    assert rows["web.public_url"] == ["-", "default"]
    starts = {line.index(rows[line.split()[0]][-1], 40) for line in lines}
    assert len(starts) == 1, "aligned"


def test_check_config_as_json() -> None:
    output = json.loads(_invoke("check-config", "--json", APPLIANCE_WEB_PORT="81").output)
    assert output["file"] is None
    assert list(output["settings"]) == list(FIELDS)
    assert output["settings"]["web.port"] == {"value": 81, "origin": "$APPLIANCE_WEB_PORT"}


def test_check_config_warns_of_links_that_lead_into_the_own_network() -> None:
    assert _invoke("check-config").stderr.startswith("warning: web.public_url is not set: links in notices lead to ")
    assert [one["key"] for one in json.loads(_invoke("check-config", "--json").stdout)["warnings"]] == [
        "web.public_url"
    ]
    named = {"APPLIANCE_WEB_PUBLIC_URL": "http://edge.example"}
    assert _invoke("check-config", **named).stderr == ""
    assert json.loads(_invoke("check-config", "--json", **named).stdout)["warnings"] == []


def test_check_config_warns_of_tls_without_a_proxy_that_is_named() -> None:
    named = {"APPLIANCE_WEB_PUBLIC_URL": "https://edge.example"}
    assert _invoke("check-config", **named).stderr.startswith("warning: web.trusted_proxies is not set, but web.pub")
    assert _invoke("check-config", **named, APPLIANCE_WEB_TRUSTED_PROXIES="127.0.0.1,::1").stderr == ""


def test_check_config_shows_lists_as_they_are_written() -> None:
    Path("a.toml").write_text("[delivery]\nallow_networks = ['10.20.0.31/32', 'fd12::/64']\n")
    shown = _invoke("--config", "a.toml", "check-config").stdout
    assert '["10.20.0.31/32", "fd12::/64"]' in shown
    settings = json.loads(_invoke("--config", "a.toml", "check-config", "--json").stdout)["settings"]
    assert settings["delivery.allow_networks"]["value"] == ["10.20.0.31/32", "fd12::/64"]


def test_check_config_shows_plans_with_their_origin() -> None:
    Path("a.toml").write_text("[subscriptions]\n\n[subscriptions.plans]\nbasic = 25\npro = 200\n")
    assert '{"basic": 25, "pro": 200}  a.toml:3\n' in _invoke("--config", "a.toml", "check-config").stdout
    settings = json.loads(_invoke("--config", "a.toml", "check-config", "--json").stdout)["settings"]
    assert settings["subscriptions.plans"] == {"value": {"basic": 25, "pro": 200}, "origin": "a.toml:3"}


@pytest.mark.parametrize("arguments", [["check-config"], ["check-config", "--json"]])
def test_check_config_masks_secrets(arguments: list[str]) -> None:
    given = {
        "APPLIANCE_DATABASE_URL": "postgresql://me:correct-horse-battery@db/x",
        "APPLIANCE_DELIVERY_HEARTBEAT_URL": "https://watcher.example/horse-battery",
    }
    output = _invoke(*arguments, **given).output
    assert "********" in output
    assert "battery" not in output
    assert "me" not in output.split("********")[0].rsplit("database.url")[-1]


def test_version_as_json() -> None:
    found = json.loads(_invoke("version", "--json").output)
    assert set(found) == {"version", "python", "platform", "packages", "single_file"}


def test_a_command_on_the_database_says_that_nothing_runs(tmp_path: Path) -> None:
    for content in (
        None,
        "",
        '{"pid": 1}',
        '{"pid":4194305,"web_url":"","mqtt_host":"","mqtt_port":1,"database":"","socket_dir":null}',
    ):
        if content is not None:
            (tmp_path / "run.json").write_text(content)
        with pytest.raises(ApplianceError, match=rf"^no appliance runs on {tmp_path}: start it with appliance run, "):
            _invoke("psql", APPLIANCE_DATA_DIR=str(tmp_path))
    with (
        locked_data_dir(tmp_path),
        pytest.raises(ApplianceError, match=rf"^the appliance on {tmp_path} \(pid {os.getpid()}\) is not ready, "),
    ):
        _invoke("psql", APPLIANCE_DATA_DIR=str(tmp_path))


def test_the_password_goes_to_psql_by_the_environment() -> None:
    found = environment("postgresql://me:a%20b@h:1/d?options=-c%20role%3Dx&sslmode=require&keepalives_idle=3")
    assert found == {
        "PGHOST": "h", "PGPORT": "1", "PGUSER": "me", "PGPASSWORD": "a b", "PGDATABASE": "d",
        "PGOPTIONS": "-c role=x", "PGSSLMODE": "require",
    }  # fmt: skip


def test_psql_is_found_and_else_its_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert Path(find_psql()).exists()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("appliance.cli.psql.DEBIAN_PLACES", tmp_path)
    with pytest.raises(ApplianceError, match="apt-get install postgresql-client"):
        find_psql()
    for version in ("9", "15"):
        (tmp_path / version / "bin").mkdir(parents=True)
        (tmp_path / version / "bin" / "psql").touch()
    assert find_psql() == str(tmp_path / "15" / "bin" / "psql")
