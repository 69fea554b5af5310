"""docs/mqtt-client.md tells the truth: its programs print what stands below them, and its tests exist."""

import re
from pathlib import Path

import pytest

from tests.mqtt.aiomqtt.program import running
from tests.support.mosquitto_server import MosquittoServer
from tests.support.project import ROOT, TESTS
from tests.test_named_tests import names_in

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
    rows = rows_below("### What it does otherwise")
    named = named_in(rows)
    assert len(named) == len(rows) >= 20
    assert [test for file, test in named if test not in names_in(TESTS / "mqtt" / file)] == []


def test_every_test_that_a_difference_of_a_broker_names_exists() -> None:
    named = named_in(rows_below("## Brokers tried"))
    assert len(named) >= 8
    assert [test for file, test in named if test not in names_in(TESTS / "mqtt" / "interop" / file)] == []


def rows_below(heading: str) -> list[str]:
    """Return the rows of the table below a heading, without its head."""
    section = PAGE.partition(f"{heading}\n")[2].partition("\n## ")[0]
    return [row for row in section.splitlines() if row.startswith("| ")][1:]


def named_in(rows: list[str]) -> list[list[str]]:
    """Return file and name of the test in the last column of each row that has one."""
    return [row.rsplit("|", 2)[1].strip(" `").split("::") for row in rows if "::" in row]
