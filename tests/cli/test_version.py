"""``appliance version``: the program, its Python and its packages."""

import json
from importlib.metadata import version

from click.testing import CliRunner

from appliance import __version__
from appliance.cli import cli


def test_versions_are_those_of_what_runs() -> None:
    found = json.loads(CliRunner().invoke(cli, ["version", "--json"]).stdout)
    assert found["version"] == __version__
    assert found["packages"]["trio"] == version("trio")
    assert found["single_file"] is False
