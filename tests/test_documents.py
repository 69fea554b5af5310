"""The documents tell the truth: what they link to, name and list exists. (What commands do: tests/system.)"""

import re
import shlex

import click
import pytest

from appliance.cli import cli
from appliance.config import FIELDS
from appliance.reading import HELD_REASONS, Reason
from appliance.web.ingest.api import STATUSES
from tests.support.documents import (
    DOCUMENTS,
    GUIDES,
    NOT_RUN,
    TRIED,
    anchors,
    blocks,
    code,
    commands,
    links,
    prose,
    text,
    to_run,
)
from tests.support.project import PACKAGE, ROOT

SECTIONS = {name.partition(".")[0] for name in FIELDS if "." in name}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_link_leads_somewhere(name: str) -> None:
    for path, anchor in links(name):
        assert path.exists(), path
        if anchor:
            assert anchor in anchors(path), f"{path.name}#{anchor}"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_line_of_prose_is_longer_than_one_of_code(name: str) -> None:
    """Tables and pictures are one line each, and the name of a test has no place to be broken at."""
    fenced, long = False, []
    for line in text(name).splitlines():
        fenced ^= line.lstrip().startswith("```")
        prose_alone = re.sub(r"`tests/\S+`", "", line)
        if len(prose_alone) > 120 and not fenced and not line.lstrip().startswith(("|", "![")):
            long.append(line)
    assert long == []


@pytest.mark.parametrize("name", GUIDES)
def test_every_picture_is_small_and_described(name: str) -> None:
    pictures = re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", prose(name))
    for words, path in pictures:
        assert len(words) > 20, path
        assert (ROOT / name).parent.joinpath(path).stat().st_size < MAX_PICTURE_BYTES
    assert len(pictures) == (2 if name == "README.md" else 0)


MAX_PICTURE_BYTES = 300_000
"""So that a clone, and the page of the project, stay small."""


def test_every_guide_is_in_the_index() -> None:
    listed = {path.resolve() for path, _ in links("docs/README.md")}
    guides = {(ROOT / name).resolve() for name in DOCUMENTS if name.startswith("docs/")} - {ROOT / "docs" / "README.md"}
    assert guides <= listed


@pytest.mark.parametrize("name", ["README.md", "docs/operators-guide.md", "docs/devices.md", "docs/security.md"])
def test_a_table_of_contents_has_every_heading(name: str) -> None:
    headings = {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^## (.+)$", prose(name), re.MULTILINE)
    }
    assert headings == headings & {anchor for path, anchor in links(name) if path == ROOT / name}


@pytest.mark.parametrize("name", GUIDES)
def test_every_command_is_run_or_has_a_reason_why_not(name: str) -> None:
    assert name in TRIED or to_run(name) == []


def test_every_reason_not_to_run_a_command_is_needed() -> None:
    lines = [line for name in GUIDES for line in commands(name)]
    assert [start for start in NOT_RUN if not any(line.startswith(start) for line in lines)] == []


def test_the_tests_that_the_reasons_name_exist() -> None:
    named = [found for reason in NOT_RUN.values() for found in re.findall(r"tests/[\w/]+\.py", reason)]
    assert [name for name in named if not (ROOT / name).is_file()] == []


@pytest.mark.parametrize("name", GUIDES)
def test_shell_and_python_can_be_read(name: str) -> None:
    for line in commands(name):
        assert shlex.split(line)
    for source in blocks(name, "python"):
        compile(source, name, "exec")


@pytest.mark.parametrize("name", GUIDES)
def test_every_command_of_the_appliance_exists(name: str) -> None:
    for line in code(name):
        if line.startswith("sudo -u appliance"):
            continue  # the user of that name
        of_ours = line.partition("exec appliance ")[2] if line.startswith("docker ") else line
        for found in re.findall(r"(?:^|bin/|\s)appliance ((?:[a-z-]+ ?)+)", of_ours):
            _walk(found.split(), line)


def _walk(words: list[str], line: str) -> None:
    """Follow the words of a command line through the commands and their subcommands."""
    command: click.Command = cli
    for word in words:
        if not isinstance(command, click.Group):
            return
        below = command.get_command(click.Context(command), word)
        assert below is not None, f"{word!r} in {line!r}"
        command = below


@pytest.mark.parametrize("name", GUIDES)
def test_every_variable_and_key_of_the_configuration_exists(name: str) -> None:
    variables = {field.variable for field in FIELDS.values()} | {"APPLIANCE_CONFIG", "APPLIANCE_UNPACK_DIR"}
    assert set(re.findall(r"\bAPPLIANCE_[A-Z][A-Z_]+\b", text(name))) - variables == set()
    keys = [found for found in code(name) if re.fullmatch(rf"({'|'.join(SECTIONS)})\.[a-z_]+", found)]
    files = {f"{key}_file" for key in FIELDS}
    assert [key for key in keys if key not in FIELDS and key not in files and key not in OTHER_NAMES] == []


OTHER_NAMES = {"subscriptions.plans", "alerts.summary"}
"""A table of the configuration without keys of its own, and a type of notice."""


@pytest.mark.parametrize("name", GUIDES)
def test_every_metric_exists(name: str) -> None:
    known = (PACKAGE / "metrics.py").read_text() + (PACKAGE / "db" / "roles.py").read_text()
    named = {found for found in code(name) if re.fullmatch(r"appliance_[a-z_]+", found)}
    assert {found for found in named if f'"{found}"' not in known} == set()


def test_the_devices_guide_explains_every_reason_with_its_status() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| (\d+) \| (held|) ?\| \S", text("docs/devices.md"), re.MULTILINE)
    assert [reason for reason, _, _ in rows] == [reason.value for reason in Reason]
    assert {reason: int(status) for reason, status, _ in rows} == {
        reason.value: status.value for reason, status in STATUSES.items()
    }
    assert {reason for reason, _, held in rows if held} == {reason.value for reason in HELD_REASONS}
