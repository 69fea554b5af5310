"""docs/mqtt-client.md tells the truth: its programs print what stands below them, and its tests exist."""

import re
from pathlib import Path

import pytest

from tests.mqtt.aiomqtt.program import running
from tests.support.mosquitto_server import MosquittoServer
from tests.support.project import ROOT, TESTS
from tests.test_promises import names_in

PAGE = (ROOT / "docs" / "mqtt-client.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", PAGE, re.DOTALL)


def test_every_example_says_what_it_prints() -> None:
    assert len(EXAMPLES) == PAGE.count("```python") >= 4


@pytest.mark.parametrize(("source", "printed"), EXAMPLES)
async def test_an_example_prints_what_it_says(
    mosquitto: MosquittoServer, tmp_path: Path, source: str, printed: str
) -> None:
    own = source.replace("1883", str(mosquitto.port)).replace("kitchen", f"docs/{tmp_path.name}")
    async with running(own, tmp_path) as program:
        lines = [line for line in await program.rest() if "mqtt connected" not in line]  # a line of the log
    assert lines == printed.replace("kitchen", f"docs/{tmp_path.name}").splitlines()


def test_every_test_that_a_difference_names_exists() -> None:
    rows = PAGE.partition("### What it does otherwise\n")[2].splitlines()
    named = [row.rsplit("|", 2)[1].strip(" `").split("::") for row in rows if row.startswith("| ") and "::" in row]
    assert len(named) == sum(row.startswith("| ") for row in rows) - 1 >= 20
    assert [test for file, test in named if test not in names_in(TESTS / "mqtt" / file)] == []
