"""The names, parameters, defaults and exceptions of aiomqtt, as the installed release has them, against our own.

Its source is read, since it cannot be imported beside our version of mqtt5. docs/mqtt-client.md has the table of what
differs: a difference that no row names is red, and so is a row of what differs no more.
"""

import re
from importlib.metadata import distribution

from appliance.mqtt import aiomqtt
from tests.support.mqtt.python_interface import interface
from tests.support.project import PACKAGE, ROOT

DOCS = (ROOT / "docs" / "mqtt-client.md").read_text()
REFERENCE = distribution("aiomqtt")


def _reference() -> dict[str, str]:
    files = [file for file in REFERENCE.files or () if file.suffix == ".py" and file.parts[0] == "aiomqtt"]
    assert len(files) == 3
    return interface(file.read_text() for file in files)


def _ours() -> dict[str, str]:
    return interface(path.read_text() for path in (PACKAGE / "mqtt" / "aiomqtt").glob("*.py"))


def _named() -> list[str]:
    """Return the keys in the first column of the table of differences in names and parameters."""
    part = DOCS.partition("### Names and parameters\n")[2].partition("\n### ")[0].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in part.splitlines() if line.startswith("| `")]
    return [key for row in rows for key in re.findall(r"`([^`]+)`", row)]


def test_the_reference_is_the_release_that_the_page_names() -> None:
    assert REFERENCE.version == aiomqtt.__version__ == "3.0.0a1"
    assert f"aiomqtt {REFERENCE.version}" in DOCS


def test_every_difference_to_the_reference_is_in_the_table_and_nothing_else() -> None:
    reference, ours = _reference(), _ours()
    assert len(reference) > 140
    different = {key for key in reference.keys() | ours.keys() if reference.get(key) != ours.get(key)}
    assert different == set(_named())
    assert len(_named()) == len(set(_named()))


def test_every_exported_name_can_be_had() -> None:
    assert [name for name in aiomqtt.__all__ if not hasattr(aiomqtt, name)] == []
